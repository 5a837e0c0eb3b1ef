//! Copies the write-ahead log into the database beside the writing thread, so that commits need not wait for it.
//!
//! SQLite's own automatic would copy inside a commit and hide a failed sync. Here a second connection copies while
//! commits go on, and the writing thread copies only the short rest, after which the log starts anew.
//! Invariant: a failed copy stops the store; it is never tried again.
use super::fault::classify;
use crate::{Result, StoreError, crash};
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// The log is copied when it holds so many pages (of 4 KiB).
const LOG_PAGES_MAX: i64 = 4096;
/// The writing thread copies at most so many pages itself.
const REST_PAGES_MAX: i64 = 256;

/// The writing thread's end of the copying thread.
pub(crate) struct Checkpointer {
    ask: SyncSender<()>,
    state: Arc<State>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    busy: AtomicBool,
    failure: OnceLock<StoreError>,
}

impl Checkpointer {
    /// Starts the copying thread on a connection of its own.
    pub(crate) fn start(conn: Connection) -> Result<Checkpointer> {
        let (ask, asked) = sync_channel(1);
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = std::thread::Builder::new()
            .name("maos-store-copier".to_owned())
            .spawn(move || copy_when_asked(&conn, &asked, &shared))
            .map_err(|e| StoreError::Database { detail: format!("cannot start the copying thread: {e}") })?;
        Ok(Checkpointer { ask, state, thread })
    }

    /// Waits for a copy that is under way and copies everything that is left; the log is empty afterwards.
    pub(crate) fn finish(self, writer: &Connection) -> Result<()> {
        drop(self.ask);
        let ended = self.thread.join();
        if let Some(e) = self.state.failure.get() {
            return Err(e.clone());
        }
        ended.map_err(|_| StoreError::Database { detail: "the copying thread panicked".to_owned() })?;
        wal(writer, "PRAGMA wal_checkpoint(TRUNCATE)").map(|_| ())
    }

    /// Looks after the log; called by the writing thread after each transaction.
    pub(crate) fn look(&self, writer: &Connection) -> Result<()> {
        if let Some(e) = self.state.failure.get() {
            return Err(e.clone());
        }
        let (log, copied) = wal(writer, "PRAGMA wal_checkpoint(NOOP)")?;
        if log < LOG_PAGES_MAX || log == copied || self.state.busy.load(Ordering::Acquire) {
            return Ok(());
        }
        if log - copied <= REST_PAGES_MAX {
            return wal(writer, "PRAGMA wal_checkpoint(PASSIVE)").map(|_| ());
        }
        self.state.busy.store(true, Ordering::Release);
        // The channel has room: the thread is not busy. If it has ended, its failure is seen next time.
        let _ = self.ask.try_send(());
        Ok(())
    }
}

fn copy_when_asked(conn: &Connection, asked: &Receiver<()>, state: &State) {
    while asked.recv().is_ok() {
        crash::point("store.copy.before");
        if let Err(e) = wal(conn, "PRAGMA wal_checkpoint(PASSIVE)") {
            // The first failure is the only one: the thread ends here and stays busy for ever.
            let _ = state.failure.set(e);
            return;
        }
        crash::point("store.copy.after");
        state.busy.store(false, Ordering::Release);
    }
}

/// Pages in the log and pages of it that are in the database, after running the statement.
fn wal(conn: &Connection, pragma: &str) -> Result<(i64, i64)> {
    let run = || conn.prepare_cached(pragma)?.query_row([], |r| Ok((r.get(1)?, r.get(2)?)));
    run().map_err(|e| classify(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::open;
    use crate::url::Place;

    fn fill(conn: &Connection, pages: usize) {
        let row = vec![7_u8; 4000];
        for _ in 0..pages {
            conn.prepare_cached("INSERT INTO t VALUES ($1)").unwrap().execute([&row]).unwrap();
        }
    }

    fn copied(checkpointer: &Checkpointer, conn: &Connection) {
        checkpointer.look(conn).unwrap();
        while checkpointer.state.busy.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn long_log_is_copied_and_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::File(dir.path().join("maos.db"));
        let conn = open::writer(&place, true, None).unwrap();
        conn.execute_batch("CREATE TABLE t (b BLOB)").unwrap();
        let checkpointer = Checkpointer::start(open::writer(&place, false, None).unwrap()).unwrap();
        let log = || wal(&conn, "PRAGMA wal_checkpoint(NOOP)").unwrap();
        fill(&conn, 100);
        copied(&checkpointer, &conn);
        assert_eq!(log().1, 0, "a short log is left alone");
        conn.execute_batch("BEGIN").unwrap();
        fill(&conn, LOG_PAGES_MAX as usize);
        conn.execute_batch("COMMIT").unwrap();
        copied(&checkpointer, &conn);
        let (all, done) = log();
        assert_eq!(all, done);
        // The next commits go to the beginning of the log.
        fill(&conn, 1);
        assert!(log().0 < 100, "{:?}", log());
        // A short rest behind a long copied log is copied by the writing thread itself.
        conn.execute_batch("BEGIN").unwrap();
        fill(&conn, LOG_PAGES_MAX as usize);
        conn.execute_batch("COMMIT").unwrap();
        let reader = open::writer(&place, false, None).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        assert!(reader.query_row("SELECT COUNT(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap() > 8000);
        copied(&checkpointer, &conn);
        fill(&conn, 10);
        reader.execute_batch("COMMIT").unwrap();
        checkpointer.look(&conn).unwrap();
        let (all, done) = log();
        assert_eq!(all, done);
    }
}
