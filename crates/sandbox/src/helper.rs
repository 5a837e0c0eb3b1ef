//! The helper: the program (or a hidden command of it) that the sandbox starts again to supervise a run, inside new namespaces to become
//! the program, and to keep a program that is in no sandbox. One thread, no async runtime.
//!
//! Invariant: it does nothing but what its modes say; anything else is an error.
use crate::restrict::{Inside, ORDER_FD, become_program};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::process::ExitCode;

/// Exit code of a helper that could not do its part; what it said before is the reason.
pub(crate) const FAILED: u8 = 125;

/// Runs the helper with the arguments that follow its prefix: `supervise`, `inside` or `keep N`. To be called before any thread is started.
#[must_use]
pub fn helper_main(args: &[String]) -> ExitCode {
    match args.first().map(String::as_str) {
        Some("supervise") if args.len() == 1 => crate::supervise::supervise(),
        Some("inside") if args.len() == 1 => {
            if let Some(inside) = read_order() {
                become_program(&inside);
            }
            ExitCode::from(FAILED)
        }
        Some("keep") if args.len() == 2 => crate::keep::keep(&args[1]),
        _ => ExitCode::from(FAILED),
    }
}

fn read_order() -> Option<Inside> {
    // SAFETY: the supervisor put the order at this number for this process alone, and nothing else here owns it.
    #[expect(unsafe_code, reason = "the descriptor comes by its number through bubblewrap")]
    let mut file = unsafe { std::fs::File::from_raw_fd(ORDER_FD) };
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
