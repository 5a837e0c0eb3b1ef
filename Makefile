# Two commands matter: `make demo` (see it work) and `make test` (everything that CI runs).
.PHONY: help demo test build bench chaos simulate fmt lint

help:
	@echo "make demo      build, start with a real model, run a task worth splitting, print the result and the speed-up"
	@echo "make test      everything that CI runs"
	@echo "make build     the binary, optimised: target/release/maos"
	@echo "make bench     the figures of bench/RESULTS.md, measured here"
	@echo "make chaos     the long form of the kill -9 loop"
	@echo "make simulate  the long form of the simulation"

demo: ; @scripts/demo
test: ; @scripts/test
build:
	@scripts/bootstrap
	cargo build --release -p maos
bench:
	@scripts/bootstrap
	cargo build --release -p maos -p maos-script -p maos-bench
	cargo run --release -p maos-bench --
chaos:
	@scripts/bootstrap
	cargo build -p maos -p maos-script -p maos-chaos
	cargo run -p maos-chaos -- --seeds 20 --random 200
simulate:
	@scripts/bootstrap
	cargo run -p maos-engine --release --example simulate -- --seeds 20000
fmt: ; cargo fmt
lint: ; cargo clippy --workspace --all-targets -- -D warnings
