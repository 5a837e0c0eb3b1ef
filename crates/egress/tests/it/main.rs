//! Tests of the way out: the SSRF battery inside a network namespace, fetching from servers that misbehave, the sandbox's proxy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the counts are part of the proof")]
mod fetch;
mod proxy;
mod ssrf;
#[path = "../world/mod.rs"]
mod world;
