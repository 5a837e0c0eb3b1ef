//! The sandbox and the file operations, against real programs on this machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod escapes;
mod files;
mod keeping;
mod limits;
mod neighbours;
mod nobody;
mod place;
mod running;
mod server_dies;
mod wait;
mod world;
