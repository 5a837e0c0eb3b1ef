//! The files of a task, beneath one root. Every path that comes from a model is opened relative to the root by the kernel
//! (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS`); no string is ever compared with a prefix.
use std::path::{Path, PathBuf};

/// A task's folder.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The folder itself, for the sandbox to bind.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
