//! Kills MAOS with `kill -9` and proves that nothing was lost and nothing was bought twice.
//!
//! Drives the real binary against the scripted model server, both as processes of their own, and compares what the client was told, what
//! the journal holds and what the model server saw. Used by tests and by the benchmark; no part of the product. It must not know anything
//! of MAOS but its command line, its HTTP API and its journal.
pub mod check;
mod check_tools;
pub mod cycle;
pub mod evidence;
pub mod http;
pub mod loops;
pub mod maos;
pub mod model;
pub mod points;
pub mod remains;
pub mod scenario;

use std::io::{Error, Result};
use std::path::PathBuf;

/// A program that lies beside this one, or one directory above it (as tests do).
///
/// # Errors
/// It is in neither place.
pub fn beside(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let places = me.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    places.into_iter().find(|p| p.is_file()).ok_or_else(|| Error::other(format!("{name} is not built: cargo build -p maos -p maos-script")))
}

/// A new directory for the data of a run: in memory where that is possible, because a kill cannot lose what the kernel has.
///
/// # Errors
/// No directory can be made.
pub fn scratch() -> Result<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let dir = tempfile::Builder::new().prefix("maos-chaos-").tempdir_in(base)?;
    Ok(dir.keep())
}
