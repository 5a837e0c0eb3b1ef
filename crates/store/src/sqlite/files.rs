//! Notices when somebody deletes or replaces the database while it is open.
//!
//! Invariant: what was committed is acknowledged only while the paths still name the files it was written to.
use crate::{Result, StoreError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The identity of the files that SQLite has open, to notice when somebody deletes or replaces them.
pub(crate) struct Files {
    database: (PathBuf, Identity),
    log: (PathBuf, Option<Identity>),
}

type Identity = (u64, u64);

impl Files {
    /// Remembers what is at `path` now.
    pub(crate) fn open(path: PathBuf) -> Result<Files> {
        let identity = identity(&path).ok_or_else(|| StoreError::Missing { path: path.display().to_string() })?;
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        Ok(Files { database: (path, identity), log: (PathBuf::from(log), None) })
    }

    /// After a commit and before anybody is told: what was written is still what the paths name.
    pub(crate) fn check(&mut self) -> Result<()> {
        let replaced = |path: &Path| StoreError::Replaced { path: path.display().to_string() };
        if identity(&self.database.0) != Some(self.database.1) {
            return Err(replaced(&self.database.0));
        }
        // The log is made by the first commit and stays while the database is open.
        let now = identity(&self.log.0);
        if self.log.1.is_some() && now != self.log.1 {
            return Err(replaced(&self.log.0));
        }
        self.log.1 = now;
        Ok(())
    }
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
