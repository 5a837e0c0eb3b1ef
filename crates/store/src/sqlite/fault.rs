//! Errors inside the SQLite back-end and how they become errors of the store.
//!
//! Invariant: "disk full" is told apart from "disk broken": after the first the store goes on, after the second
//! it stops, because a failed sync must never be tried again.
use crate::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi;

/// Result inside a transaction.
pub(crate) type Tx<T> = std::result::Result<T, Fault>;

/// What went wrong inside a transaction.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// The store said so.
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        Fault::Sql(e)
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Fault::Store(e)
    }
}

impl From<Fault> for StoreError {
    fn from(f: Fault) -> Self {
        match f {
            Fault::Sql(e) => classify(&e),
            Fault::Store(e) => e,
        }
    }
}

/// Maps an error of SQLite to one of the store.
pub(crate) fn classify(e: &rusqlite::Error) -> StoreError {
    let detail = e.to_string();
    let rusqlite::Error::SqliteFailure(code, _) = e else {
        return StoreError::Database { detail };
    };
    match code.code {
        ErrorCode::DiskFull => StoreError::Full { detail },
        // The shared-memory index could not grow: nothing of the transaction was committed.
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full { detail },
        ErrorCode::SystemIoFailure => StoreError::Io { detail: format!("{detail}, code {}", code.extended_code) },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Damaged { detail },
        _ => StoreError::Database { detail },
    }
}
