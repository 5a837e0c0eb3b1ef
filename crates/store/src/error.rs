//! What can go wrong with the store itself. Conflicts, fencing and full budgets are results, not errors.
//!
//! Invariant: no message holds a password; every message says what the user can do.
use crate::types::Hash;

/// An error of the store. [`StoreError::is_fail_stop`] tells which ones end the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room. Nothing of the refused commit was stored; the store works again when there is room.
    #[error("the disk is full: nothing was stored. Free some space; MAOS goes on by itself ({detail})")]
    Full {
        /// What the database said.
        detail: String,
    },
    /// Reading or writing failed. Whether the last commit reached the disk is unknown, so no more is accepted.
    #[error(
        "the database cannot be written safely any more ({detail}): check the disk, then start MAOS again; it recovers from what is on disk"
    )]
    Io {
        /// What the operating system or database said.
        detail: String,
    },
    /// The database file was deleted or replaced while it was open.
    #[error("the database file {path} was deleted or replaced while MAOS was using it: put it back (or run `maos init`) and start again")]
    Replaced {
        /// The file.
        path: String,
    },
    /// There is no database and none was to be made.
    #[error("there is no database at {path}: run `maos init` to make one")]
    Missing {
        /// The file.
        path: String,
    },
    /// A journal entry is damaged or missing. Other tasks are not concerned.
    #[error(
        "journal_corrupt task={task} seq={seq}: the entry is damaged; restore the database from a backup, or fork the task from before it"
    )]
    Corrupt {
        /// The task.
        task: String,
        /// First position that does not fit.
        seq: u64,
    },
    /// A blob does not have the content its address promises.
    #[error("blob_corrupt {}: restore the database from a backup", hex(hash))]
    CorruptBlob {
        /// Its address.
        hash: Hash,
    },
    /// The database file itself is damaged.
    #[error("the database file is damaged ({detail}): restore it from a backup")]
    Damaged {
        /// What the database said.
        detail: String,
    },
    /// Another process uses the data directory.
    #[error("another MAOS (pid {pid}) uses this data directory: stop it, or use another directory (--data-dir)")]
    InUse {
        /// Its process id; 0 when it could not be read.
        pid: u32,
    },
    /// The database was made by a newer MAOS.
    #[error(
        "the database has schema {found}, this MAOS knows up to {known}: use the newer MAOS again, or restore a backup made before the upgrade"
    )]
    SchemaNewer {
        /// Schema version of the database.
        found: u32,
        /// Newest schema version this program knows.
        known: u32,
    },
    /// The database needs a migration that was not to be done.
    #[error("the database has schema {found}, this MAOS needs {known}: run `maos migrate`")]
    SchemaOlder {
        /// Schema version of the database.
        found: u32,
        /// Newest schema version this program knows.
        known: u32,
    },
    /// The address of the database is not understood.
    #[error("database url {url:?}: {why}")]
    Url {
        /// The address without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something exceeds a limit.
    #[error("{what} has {size} bytes or entries, at most {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The caller asked for something that makes no sense.
    #[error("invalid store request: {why}")]
    Invalid {
        /// What is wrong.
        why: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Anything else the database refused.
    #[error("database error: {detail}")]
    Database {
        /// What the database said.
        detail: String,
    },
}

impl StoreError {
    /// True when nothing may be written any more: the process has to end (exit code 74) and recover from disk.
    pub fn is_fail_stop(&self) -> bool {
        matches!(self, StoreError::Io { .. } | StoreError::Replaced { .. })
    }
}

/// Lower-case hexadecimal digits of a hash.
pub fn hex(hash: &Hash) -> String {
    use std::fmt::Write;
    hash.iter().fold(String::with_capacity(64), |mut s, b| {
        // Writing to a String cannot fail.
        let _ = write!(s, "{b:02x}");
        s
    })
}
