//! The sandbox and the file operations, against real programs on this machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod place;
mod running;
