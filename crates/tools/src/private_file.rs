//! Small JSON files of our own that only their owner can read, changed in one step under a lock.
//!
//! Invariant: a reader sees the old or the new content, never a part; a damaged file is an error, never an empty one.
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the file says; the default when there is none.
///
/// # Errors
/// The system's, or `InvalidData` for a damaged file.
pub(crate) fn read<T: DeserializeOwned + Default>(path: &Path) -> io::Result<T> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    let damaged = |e: serde_json::Error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged ({e}); move it away and approve again", path.display()))
    };
    serde_json::from_slice(&text).map_err(damaged)
}

/// Reads, changes and writes the file while no other process does. Written only if `change` says so (the first of its pair).
///
/// # Errors
/// As [`read`], or writing failed; then the old content stays.
pub(crate) fn update<T, R>(path: &Path, change: impl FnOnce(&mut T) -> (bool, R)) -> io::Result<R>
where
    T: Serialize + DeserializeOwned + Default,
{
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(format!(".{name}.lock")))?;
    lock.lock()?;
    let mut content: T = read(path)?;
    let (changed, out) = change(&mut content);
    if changed {
        let temp = dir.join(format!(".{name}.{}.tmp", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
            let text = serde_json::to_vec_pretty(&content)?;
            // What could not be read again must not take the place of what can.
            if text.len() as u64 >= FILE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("{} would be larger than {FILE_BYTES_MAX} bytes", path.display()),
                ));
            }
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&temp, path)
        })();
        if let Err(error) = written {
            // The first failure is the one to report; a left-over temporary file is not worth another.
            drop(std::fs::remove_file(&temp));
            return Err(error);
        }
    }
    Ok(out)
}
