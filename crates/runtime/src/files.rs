//! The files of tasks: what people attach, the workspace agents work in, what comes out. Paths that come from outside go through
//! [`Workspace`] only.
use crate::Runtime;
use crate::error::{Result, RuntimeError};
use crate::node::Node;
use crate::{clock, sweep};
use maos_engine::Time;
use maos_engine::body::hex;
use maos_engine::ids::TaskId;
use maos_engine::spec::Attachment;
use maos_engine::task::Task;
use maos_sandbox::{Entry, FileError, Kind, Workspace};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

/// Largest file that can be attached, in bytes.
pub const UPLOAD_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of all uploads together.
pub(crate) const UPLOADS_BYTES_MAX: u64 = 16 << 30;
/// Most files of one task that can be attached.
pub const ATTACHMENTS_MAX: usize = 10_000;
/// Deepest folder and most files of a listing of artifacts.
const LISTED_MAX: (usize, usize) = (32, 10_000);
/// Folders that hold what can be made again: they are no artifacts.
const MADE_AGAIN: [&str; 8] = [".git", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache", "target"];
/// Longest name of an attached file, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// A file that waits to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id: the SHA-256 of its content.
    pub file_id: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A file that a task made, or was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name in the workspace, with `/` between folders.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// It was attached by a person and has not changed its size since.
    pub attached: bool,
    /// When it was last written, if the file system says.
    pub modified: Option<Time>,
}

/// A file that is being received.
pub struct Incoming {
    dir: PathBuf,
    path: PathBuf,
    file: Option<File>,
    hash: Sha256,
    bytes: u64,
    /// Of all uploads together.
    all_bytes: Arc<AtomicU64>,
}

impl Incoming {
    /// Takes a piece.
    ///
    /// # Errors
    /// The file is larger than [`UPLOAD_BYTES_MAX`], or cannot be written.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        // Both counts go together: what is taken back when this is dropped is what was added.
        self.bytes += piece.len() as u64;
        let bytes = self.all_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
        if self.bytes > UPLOAD_BYTES_MAX {
            return Err(RuntimeError::FileTooLarge { most: UPLOAD_BYTES_MAX });
        }
        if bytes > UPLOADS_BYTES_MAX {
            return Err(RuntimeError::UploadsFull { bytes, most: UPLOADS_BYTES_MAX });
        }
        self.hash.update(piece);
        self.file.as_mut().expect("open until it ends").write_all(piece).map_err(|e| io(&self.path, &e))
    }

    /// The file is complete: it is stored under the hash of its content, durably.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(mut self) -> Result<Upload> {
        let file = self.file.take().expect("open until it ends");
        file.sync_all().map_err(|e| io(&self.path, &e))?;
        let file_id = hex(&self.hash.clone().finalize());
        let place = self.dir.join(&file_id);
        if place.exists() {
            // The same content takes the place of itself.
            self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        std::fs::rename(&self.path, &place).map_err(|e| io(&place, &e))?;
        File::open(&self.dir).and_then(|d| d.sync_all()).map_err(|e| io(&self.dir, &e))?;
        Ok(Upload { file_id, bytes: self.bytes })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.file.is_some() {
            // What was cut off is worth nothing; if it stays, the next start of an upload does not mind.
            let _ = std::fs::remove_file(&self.path);
            self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

fn io(path: &Path, error: &std::io::Error) -> RuntimeError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return RuntimeError::Store(maos_store::StoreError::Full { detail: format!("{}: {error}", path.display()) });
    }
    RuntimeError::Files(format!("{}: {error}", path.display()))
}

fn file_error(name: &str, error: &FileError) -> RuntimeError {
    RuntimeError::NoFile { name: name.to_owned(), why: error.to_string() }
}

impl Node {
    /// The workspace of a task; attachments stand in it from the first time on.
    ///
    /// # Errors
    /// The folder cannot be made, or an attachment is gone.
    pub(crate) fn workspace(&self, task: &TaskId, attachments: &[Attachment]) -> Result<Arc<Workspace>> {
        let dir = self.data_dir.join("workspaces").join(task.as_str());
        let workspace = {
            let _held = self.opening.blocking_lock();
            Workspace::open(&dir, self.settings().tools.quota).map_err(|e| io(&dir, &e))?
        };
        if !attachments.is_empty() {
            let uploads = self.data_dir.join("uploads");
            let files: Vec<(&str, PathBuf)> = attachments.iter().map(|a| (a.name.as_str(), uploads.join(&a.sha256))).collect();
            let failed = |error| match error {
                FileError::Io { path, source } => io(Path::new(&path), &source),
                other => RuntimeError::Files(format!("the attachments do not go into the workspace: {other}")),
            };
            workspace.fill(&files, UPLOAD_BYTES_MAX).map_err(failed)?;
        }
        Ok(Arc::new(workspace))
    }
}

impl Runtime {
    /// Begins to receive a file.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn receive(&self) -> Result<Incoming> {
        let dir = self.node.data_dir.join("uploads");
        std::fs::create_dir_all(&dir).map_err(|e| io(&dir, &e))?;
        let path = dir.join(format!("{:016x}.tmp", rand::random::<u64>()));
        let file = File::options().write(true).create_new(true).open(&path).map_err(|e| io(&path, &e))?;
        let all_bytes = Arc::clone(&self.node.uploads_bytes);
        Ok(Incoming { dir, path, file: Some(file), hash: Sha256::new(), bytes: 0, all_bytes })
    }

    /// The attachments of a submission, checked: their files were received, their names are names of files.
    pub(crate) fn attachments(&self, named: Vec<(String, String)>) -> Result<Vec<Attachment>> {
        let invalid = |why: String| Err(RuntimeError::Invalid { field: "attachments", why });
        if named.len() > ATTACHMENTS_MAX {
            return invalid(format!("{} files; at most {ATTACHMENTS_MAX} are allowed", named.len()));
        }
        let mut out: Vec<Attachment> = vec![];
        let mut names = BTreeSet::new();
        for (name, file_id) in named {
            if let Err(why) = attachment_name(&name) {
                return invalid(format!("'{}': {why}", name.escape_debug()));
            }
            if !names.insert(name.clone()) {
                return invalid(format!("two files are called '{name}'"));
            }
            if maos_engine::body::unhex(&file_id).is_none() {
                return invalid(format!("'{}' is not the id of a file; POST /api/files gives one", file_id.escape_debug()));
            }
            let path = self.node.data_dir.join("uploads").join(&file_id);
            // Made new, so that it is not removed as one that nobody names before the task is written down.
            let _held = self.node.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            let renewed = File::open(&path).and_then(|f| {
                f.set_modified(clock::of_files(clock::now()))?;
                f.metadata()
            });
            match renewed {
                Ok(meta) => out.push(Attachment { name, sha256: file_id, bytes: meta.len() }),
                Err(_) => return invalid(format!("the file of '{name}' is not here; send it to POST /api/files first")),
            }
        }
        let quota = self.node.settings().tools.quota;
        let bytes = out.iter().fold(0, |sum: u64, a| sum.saturating_add(a.bytes));
        if bytes > quota.bytes || out.len() as u64 > quota.files {
            let most = format!("workspace.max_size is {} bytes, workspace.max_files {}", quota.bytes, quota.files);
            return invalid(format!("{} files of {bytes} bytes do not fit into a workspace: {most}", out.len()));
        }
        Ok(out)
    }

    /// Whether the files of a task were removed after its end.
    fn files_gone(&self, task: &Task) -> bool {
        let missing = !self.node.data_dir.join("workspaces").join(task.id.as_str()).exists();
        missing && sweep::long_ended(task.status.is_terminal(), task.finished_at, self.node.settings().workspace_keep, clock::now())
    }

    /// The files of a task, by name.
    ///
    /// # Errors
    /// No such task; the folder cannot be read.
    pub async fn artifacts(&self, id: &str) -> Result<Vec<Artifact>> {
        let task = self.view(id).await?;
        let missing = !self.node.data_dir.join("workspaces").join(id).exists();
        if missing && (task.spec.attachments.is_empty() || self.files_gone(&task)) {
            return Ok(vec![]);
        }
        let node = Arc::clone(&self.node);
        blocking(move || {
            let workspace = node.workspace(&task.id, &task.spec.attachments)?;
            let listing = workspace.list("", LISTED_MAX.0, LISTED_MAX.1).map_err(|e| file_error("", &e))?;
            let attached = |e: &Entry, name: &str| task.spec.attachments.iter().any(|a| a.name == name && a.bytes == e.size);
            // A program of an agent may have made what would steer others where the files are taken to: that stays here.
            let wanted = |e: &Entry| {
                e.kind == Kind::File && !maos_sandbox::steers(&e.path) && !e.path.iter().any(|part| MADE_AGAIN.iter().any(|m| part == *m))
            };
            let artifact = |e: &Entry| {
                let name = e.path.to_str()?.to_owned();
                let modified = Some(Time(i64::try_from(e.modified_ns / 1_000).unwrap_or_default()));
                Some(Artifact { attached: attached(e, &name), bytes: e.size, name, modified })
            };
            Ok(listing.entries.iter().filter(|e| wanted(e)).filter_map(artifact).collect())
        })
        .await
    }

    /// Opens a file of a task for reading.
    ///
    /// # Errors
    /// No such task or file.
    pub async fn artifact(&self, id: &str, name: &str) -> Result<(File, Artifact)> {
        let task = self.view(id).await?;
        if self.files_gone(&task) {
            let why = "the files of this task were removed: it ended longer ago than files are kept (workspace.keep)".to_owned();
            return Err(RuntimeError::NoFile { name: name.to_owned(), why });
        }
        let (node, name) = (Arc::clone(&self.node), name.to_owned());
        blocking(move || {
            if maos_sandbox::steers(std::path::Path::new(&name)) {
                let why = "it would steer programs or agents where it is taken to, so it is not given out".to_owned();
                return Err(RuntimeError::NoFile { name, why });
            }
            let workspace = node.workspace(&task.id, &task.spec.attachments)?;
            let (file, bytes) = workspace.open_file(&name).map_err(|e| file_error(&name, &e))?;
            let changed = file.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let modified = changed.and_then(|since| i64::try_from(since.as_micros()).ok()).map(Time);
            let attached = task.spec.attachments.iter().any(|a| a.name == name && a.bytes == bytes);
            Ok((file, Artifact { name, bytes, attached, modified }))
        })
        .await
    }
}

/// Whether a text can be the name of an attached file: relative, no way up, nothing that confuses a terminal.
fn attachment_name(name: &str) -> std::result::Result<(), &'static str> {
    let part = |p: &str| !p.is_empty() && p != "." && p != "..";
    match name {
        _ if name.is_empty() || name.len() > NAME_BYTES_MAX => Err("a name has 1 to 512 bytes"),
        _ if name.chars().any(char::is_control) || name.contains('\\') => Err("control characters and backslashes are not allowed"),
        _ if !name.split('/').all(part) => Err("a name is relative to the workspace and has no empty, '.' or '..' part"),
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| RuntimeError::Files(format!("reading files failed: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(dir: &Path, bytes: u64, all_bytes: &Arc<AtomicU64>) -> Incoming {
        let path = dir.join("piece.tmp");
        all_bytes.fetch_add(bytes, Ordering::Relaxed);
        let file = Some(File::create(&path).unwrap());
        Incoming { dir: dir.to_owned(), path, file, hash: Sha256::new(), bytes, all_bytes: Arc::clone(all_bytes) }
    }

    #[test]
    fn what_is_refused_or_cut_off_is_not_counted_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let all_bytes = Arc::new(AtomicU64::new(1_000));
        let left = || (all_bytes.load(Ordering::Relaxed), std::fs::read_dir(dir.path()).unwrap().count());
        let mut too_large = incoming(dir.path(), UPLOAD_BYTES_MAX, &all_bytes);
        assert!(matches!(too_large.write(b"x").unwrap_err(), RuntimeError::FileTooLarge { .. }));
        drop(too_large);
        assert_eq!(left(), (1_000, 0));
        let mut cut_off = incoming(dir.path(), 0, &all_bytes);
        cut_off.write(b"abc").unwrap();
        assert_eq!(left(), (1_003, 1));
        drop(cut_off);
        assert_eq!(left(), (1_000, 0));
        // All uploads together.
        all_bytes.store(UPLOADS_BYTES_MAX, Ordering::Relaxed);
        let mut one_more = incoming(dir.path(), 0, &all_bytes);
        assert!(matches!(one_more.write(b"x").unwrap_err(), RuntimeError::UploadsFull { .. }));
        drop(one_more);
        assert_eq!(left(), (UPLOADS_BYTES_MAX, 0));
        // The same content twice takes its room once.
        all_bytes.store(0, Ordering::Relaxed);
        for _ in 0..2 {
            let mut whole = incoming(dir.path(), 0, &all_bytes);
            whole.write(b"abc").unwrap();
            whole.end().unwrap();
            assert_eq!(left(), (3, 1));
        }
    }
}
