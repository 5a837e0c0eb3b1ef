//! Opening SQLite databases: the library's version, settings, schema.
//!
//! Invariants: the library is new enough not to have the WAL-reset bug (before 3.51.3 two connections could lose
//! commits); every commit is synced (`synchronous=FULL`); SQLite never copies the log into the database by itself.
use super::fault::{Fault, Tx};
use crate::migrate::{Migration, SQLITE, newest};
use crate::url::Place;
use crate::{Micros, Result, StoreError, crash};
use rusqlite::{Connection, OpenFlags};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First SQLite without the WAL-reset bug.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a connection waits for another process (a backup, say) that locks the database.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; more than there are texts, lists included.
const STATEMENTS_MAX: usize = 128;
/// The log file is cut down to this after it was copied, in bytes.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Opens the connection that writes. `create`: make the file when there is none.
pub(crate) fn writer(place: &Place, create: bool, bytes_max: Option<u64>) -> Result<Connection> {
    let run = || -> Tx<Connection> {
        library_ok()?;
        let conn = match place {
            Place::Memory => Connection::open_in_memory()?,
            Place::File(path) => {
                make_file(path, create)?;
                let conn = Connection::open_with_flags(path, flags())?;
                conn.busy_timeout(BUSY_WAIT)?;
                let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
                if mode != "wal" {
                    let detail = format!("{} cannot use a write-ahead log (mode {mode})", path.display());
                    return Err(StoreError::Database { detail }.into());
                }
                conn
            }
        };
        settings(&conn, 16)?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        if let Some(bytes) = bytes_max {
            let page: i64 = conn.query_row("PRAGMA page_size", [], |r| r.get(0))?;
            let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page;
            conn.query_row("PRAGMA max_page_count", [], |r| r.get::<_, i64>(0))?;
            conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |r| r.get::<_, i64>(0))?;
        }
        Ok(conn)
    };
    run().map_err(StoreError::from)
}

/// Opens a connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection> {
    let run = || -> Tx<Connection> {
        let conn = Connection::open_with_flags(path, flags())?;
        conn.busy_timeout(BUSY_WAIT)?;
        settings(&conn, 4)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(conn)
    };
    run().map_err(StoreError::from)
}

fn flags() -> OpenFlags {
    // Each connection is used by one thread at a time.
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn settings(conn: &Connection, cache_mib: i64) -> Tx<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -cache_mib * 1024)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

fn library_ok() -> Result<()> {
    let version = rusqlite::version_number();
    if version < SQLITE_VERSION_MIN {
        let detail = format!("SQLite {version} can lose commits; at least {SQLITE_VERSION_MIN} is needed");
        return Err(StoreError::Database { detail });
    }
    Ok(())
}

/// The journals hold what people asked and models answered: the file is its owner's alone.
fn make_file(path: &Path, create: bool) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    if !create {
        return Err(StoreError::Missing { path: path.display().to_string() });
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(|e| StoreError::Database { detail: format!("cannot make {}: {e}", path.display()) })
}

/// What the database has and what is still to be done. [`StoreError::SchemaNewer`] when it is too new.
pub(crate) fn status(conn: &Connection) -> Result<Vec<Migration>> {
    let run = || -> Tx<Vec<Migration>> {
        let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migration'";
        let mut have: Vec<(u32, Micros)> = Vec::new();
        if conn.prepare(table)?.exists([])? {
            let mut stmt = conn.prepare("SELECT version, applied_at FROM schema_migration ORDER BY version")?;
            let rows = stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            have = rows.collect::<rusqlite::Result<_>>()?;
        }
        let (found, known) = (have.last().map_or(0, |m| m.0), newest(SQLITE));
        if found > known {
            return Err(StoreError::SchemaNewer { found, known }.into());
        }
        let at = |version| have.iter().find(|m| m.0 == version).map(|m| m.1);
        let one = |s: &crate::migrate::Step| Migration { version: s.version, name: s.name.to_owned(), applied_at: at(s.version) };
        Ok(SQLITE.iter().map(one).collect())
    };
    run().map_err(StoreError::from)
}

/// Applies what is missing and answers what was applied.
pub(crate) fn migrate(conn: &Connection) -> Result<Vec<Migration>> {
    let mut done = Vec::new();
    for step in SQLITE {
        let run = || -> Tx<Option<Migration>> {
            conn.execute_batch("BEGIN IMMEDIATE")?;
            // Looked up inside the transaction: another process may have done it meanwhile.
            if status(conn)?.iter().any(|m| m.version == step.version && m.applied_at.is_some()) {
                return Ok(None);
            }
            conn.execute_batch(
                "CREATE TABLE IF NOT EXISTS schema_migration (version INTEGER NOT NULL PRIMARY KEY, \
                 name TEXT NOT NULL, applied_at BIGINT NOT NULL)",
            )?;
            conn.execute_batch(step.sql)?;
            let at = now();
            let row = (step.version, step.name, at);
            conn.execute("INSERT INTO schema_migration (version, name, applied_at) VALUES ($1, $2, $3)", row)?;
            crash::point("store.migrate.before_commit");
            conn.execute_batch("COMMIT")?;
            Ok(Some(Migration { version: step.version, name: step.name.to_owned(), applied_at: Some(at) }))
        };
        let outcome = run();
        if !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK").map_err(Fault::from)?;
        }
        done.extend(outcome.map_err(StoreError::from)?);
    }
    Ok(done)
}

/// Only for the record of when a migration ran.
fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// Problems that SQLite finds in the structure of the file; empty when it is sound.
pub(crate) fn check(conn: &Connection) -> Result<Vec<String>> {
    let run = || -> Tx<Vec<String>> {
        let mut stmt = conn.prepare("PRAGMA quick_check")?;
        let lines = stmt.query_map([], |r| r.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(lines.into_iter().filter(|l| l != "ok").collect())
    };
    run().map_err(StoreError::from)
}
