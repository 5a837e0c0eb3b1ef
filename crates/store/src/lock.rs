//! The lock of a data directory: one MAOS at a time.
//!
//! Invariant: the lock is the operating system's, so it ends with the process however that ends; the process id in
//! the file is only told to people.
use crate::{Result, StoreError};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the lock file inside the data directory.
pub const LOCK_FILE: &str = "maos.lock";

/// Holds a data directory until it is dropped or the process ends.
#[derive(Debug)]
pub struct DataDirLock {
    // Closing the file gives the lock back.
    _file: File,
}

/// Takes the data directory for this process. [`StoreError::InUse`] names the process that has it.
pub fn lock_data_dir(dir: &Path) -> Result<DataDirLock> {
    let path = dir.join(LOCK_FILE);
    let io = |e: std::io::Error| StoreError::Database { detail: format!("cannot use {}: {e}", path.display()) };
    // Not truncated: it may hold the process id of the present holder.
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0);
            return Err(StoreError::InUse { pid });
        }
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    file.set_len(0).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(DataDirLock { _file: file })
}
