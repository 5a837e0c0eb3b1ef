//! A log file that begins anew at a size: `maos.log`, then `maos.log.1` (newest) to `maos.log.9`.
use super::LineSink;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    bytes_max: u64,
    files_max: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    bytes: u64,
    dropped: u64,
}

impl RotatingFile {
    /// Opens or creates it, 0600.
    pub(crate) fn open(path: PathBuf, bytes_max: u64, files_max: u32) -> std::io::Result<Self> {
        let file = open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(RotatingFile { path, bytes_max, files_max: files_max.max(1), state: Mutex::new(State { file, bytes, dropped: 0 }) })
    }

    fn rotate(&self, state: &mut State) -> std::io::Result<()> {
        if self.files_max == 1 {
            state.file.set_len(0)?;
        } else {
            for n in (1..self.files_max - 1).rev() {
                let from = numbered(&self.path, n);
                if from.exists() {
                    std::fs::rename(from, numbered(&self.path, n + 1))?;
                }
            }
            std::fs::rename(&self.path, numbered(&self.path, 1))?;
            state.file = open(&self.path)?;
        }
        state.bytes = 0;
        Ok(())
    }
}

impl LineSink for RotatingFile {
    fn line(&self, line: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bytes > 0 && state.bytes + line.len() as u64 > self.bytes_max && self.rotate(&mut state).is_err() {
            // Keep writing to the old file: a log that is too long is better than none.
            state.bytes = 0;
        }
        if state.dropped > 0 {
            let note = format!(
                "{{\"timestamp\":\"{}\",\"level\":\"ERROR\",\"component\":\"system\",\"message\":\"{} log lines could not be written\"}}\n",
                jiff::Timestamp::now(),
                state.dropped
            );
            if state.file.write_all(note.as_bytes()).is_ok() {
                state.dropped = 0;
            }
        }
        match state.file.write_all(line) {
            Ok(()) => state.bytes += line.len() as u64,
            Err(_) => state.dropped += 1,
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The path of an older file; 1 is the newest of them.
pub(crate) fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_move_on_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("maos.log");
        let file = RotatingFile::open(path.clone(), 10, 3).unwrap();
        for n in 0..6 {
            file.line(format!("line {n}\n").as_bytes());
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!([read(&path), read(&numbered(&path, 1)), read(&numbered(&path, 2))], ["line 5\n", "line 4\n", "line 3\n"]);
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn an_old_file_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("maos.log");
        std::fs::write(&path, "old\n").unwrap();
        RotatingFile::open(path.clone(), 100, 2).unwrap().line(b"new\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }
}
