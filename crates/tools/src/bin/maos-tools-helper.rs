//! The sandbox's helper for the tests of this crate; in MAOS it is the hidden command `maos sandbox-exec`.
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    maos_sandbox::helper_main(&args)
}
