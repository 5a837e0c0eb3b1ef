//! The helper on its own, for tests and benchmarks; in MAOS it is the hidden command `maos sandbox-exec`.
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    maos_sandbox::helper_main(&args)
}
