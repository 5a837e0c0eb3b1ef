//! All integration tests of the store in one binary.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in helpers")]
mod corrupt;
mod crash;
mod data_dir;
mod disk;
mod schema;
mod sqlite_file;
mod sqlite_memory;

use maos_store::conformance::{append, commit, held, row};
use maos_store::{ConnectOptions, Head, Lease, Store, connect};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A directory with the path of a database in it.
pub(crate) struct Place {
    /// Deleted when the test ends.
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("maos.db")
    }

    pub(crate) fn url(&self) -> String {
        url(&self.path())
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        connect(&self.url(), ConnectOptions::default()).await.unwrap()
    }

    /// A connection of one's own, to look behind the store's back.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

pub(crate) fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Makes a held task with `n` events in all.
pub(crate) async fn journal(store: &dyn Store, id: &str, n: i64) -> (Lease, Head) {
    let (lease, mut head) = held(store, id, "a").await;
    for i in 1..n {
        head = append(store, &lease, &head, commit(i, row("RUNNING"))).await;
    }
    (lease, head)
}
