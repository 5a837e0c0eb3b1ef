//! The one writing thread: it commits everything that is queued together, each commit inside its own savepoint.
//!
//! Invariants: nobody is told before the transaction was synced; a commit that is refused or fails takes nothing
//! of the others with it; after an I/O error nothing is written any more and no sync is tried again. It must not
//! know what the commits mean.
use super::checkpoint::Checkpointer;
use super::fault::{Fault, Tx, classify};
use super::files::Files;
use crate::{Result, StoreError, crash};
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// Most commits in one transaction.
const BATCH_COMMITS_MAX: usize = 256;
/// Most bytes of payload in one transaction, so that one sync never takes long.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a piece of work wants done with what it wrote.
pub(crate) enum Step<T> {
    /// Keep it.
    Keep(T),
    /// Undo it: the answer is an ordinary refusal.
    Undo(T),
}

/// How a piece of work ended inside the transaction.
enum Ran {
    Keep,
    Undo,
    Failed,
    /// The whole transaction is lost for this reason.
    Lost(StoreError),
}

/// A queued piece of work. It can be run again when the transaction it was part of is lost.
trait Work: Send {
    fn run(&mut self, conn: &Connection) -> Ran;
    fn answer(self: Box<Self>, lost: Option<&StoreError>);
    fn bytes(&self) -> usize;
    fn is_submit(&self) -> bool;
}

struct Call<T, F> {
    work: F,
    out: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
    about: About,
}

/// What the writer needs to know about a piece of work.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About {
    /// Payload, in bytes.
    pub(crate) bytes: usize,
    /// It makes a task (for the crash points).
    pub(crate) submit: bool,
}

impl<T: Send, F: FnMut(&Connection) -> Tx<Step<T>> + Send> Work for Call<T, F> {
    fn run(&mut self, conn: &Connection) -> Ran {
        let (out, ran) = match (self.work)(conn) {
            Ok(Step::Keep(t)) => (Ok(t), Ran::Keep),
            Ok(Step::Undo(t)) => (Ok(t), Ran::Undo),
            Err(fault) => {
                let error = StoreError::from(fault);
                // SQLite rolls the whole transaction back by itself on some errors.
                let lost = error.is_fail_stop() || matches!(error, StoreError::Full { .. }) || conn.is_autocommit();
                (Err(error.clone()), if lost { Ran::Lost(error) } else { Ran::Failed })
            }
        };
        self.out = Some(out);
        ran
    }

    fn answer(self: Box<Self>, lost: Option<&StoreError>) {
        let result = match lost {
            Some(error) => Err(error.clone()),
            None => self.out.unwrap_or(Err(StoreError::Closed)),
        };
        // The caller may have gone away: what is committed stays committed.
        let _ = self.reply.send(result);
    }

    fn bytes(&self) -> usize {
        self.about.bytes
    }

    fn is_submit(&self) -> bool {
        self.about.submit
    }
}

enum Order {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<Result<()>>),
}

/// What callers and the writing thread both see.
#[derive(Debug, Default)]
struct Shared {
    failure: OnceLock<StoreError>,
    closed: AtomicBool,
}

/// The callers' end of the queue to the writing thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts the writing thread on `conn`; `side` is `None` for a database in memory.
    pub(crate) fn start(conn: Connection, side: Option<(Files, Checkpointer)>, queue: usize) -> Result<Writer> {
        let (tx, rx) = mpsc::channel(queue.max(1));
        let shared = Arc::new(Shared::default());
        let (files, copier) = side.unzip();
        let thread = Thread { conn, files, copier, shared: shared.clone() };
        std::thread::Builder::new()
            .name("maos-store-writer".to_owned())
            .spawn(move || thread.serve(rx))
            .map_err(|e| StoreError::Database { detail: format!("cannot start the writing thread: {e}") })?;
        Ok(Writer { queue: tx, shared })
    }

    /// Runs `work` in a transaction and answers when it was synced (or refused). If the returned future is
    /// dropped, the work may be done all the same.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        about: About,
        work: impl FnMut(&Connection) -> Tx<Step<T>> + Send + 'static,
    ) -> Result<T> {
        self.open()?;
        let (reply, answer) = oneshot::channel();
        let call = Call { work, out: None, reply, about };
        self.queue.send(Order::Work(Box::new(call))).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Why nothing is accepted any more.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.shared.failure.get().cloned()
    }

    /// An error when the store was closed or has failed.
    pub(crate) fn open(&self) -> Result<()> {
        if let Some(e) = self.shared.failure.get() {
            return Err(e.clone());
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        Ok(())
    }

    /// Does everything that is queued, then stops the thread.
    pub(crate) async fn close(&self) -> Result<()> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Order::Close(reply)).await.is_err() {
            return self.failure().map_or(Ok(()), Err);
        }
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> StoreError {
        self.failure().unwrap_or(StoreError::Closed)
    }
}

struct Thread {
    conn: Connection,
    files: Option<Files>,
    copier: Option<Checkpointer>,
    shared: Arc<Shared>,
}

impl Thread {
    fn serve(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut batch: Vec<Box<dyn Work>> = Vec::with_capacity(BATCH_COMMITS_MAX);
        let mut closing = None;
        while closing.is_none() {
            match queue.blocking_recv() {
                Some(Order::Work(work)) => batch.push(work),
                Some(Order::Close(reply)) => closing = Some(reply),
                None => break,
            }
            let mut bytes = batch.first().map_or(0, |w| w.bytes());
            while closing.is_none() && batch.len() < BATCH_COMMITS_MAX && bytes < BATCH_BYTES_MAX {
                match queue.try_recv() {
                    Ok(Order::Work(work)) => {
                        bytes += work.bytes();
                        batch.push(work);
                    }
                    Ok(Order::Close(reply)) => closing = Some(reply),
                    Err(_) => break,
                }
            }
            self.together(&mut batch);
        }
        // When the store was only dropped, the log stays for the next start, as after a crash.
        let end = match &closing {
            Some(_) => self.finish(),
            None => Ok(()),
        };
        queue.close();
        while let Ok(order) = queue.try_recv() {
            match order {
                Order::Work(work) => work.answer(Some(&StoreError::Closed)),
                Order::Close(reply) => drop(reply.send(Ok(()))),
            }
        }
        if let Some(reply) = closing {
            // Nobody waits for the end any more: nothing is lost by that.
            let _ = reply.send(end);
        }
    }

    /// Commits the batch and answers everybody in it; leaves it empty.
    fn together(&mut self, batch: &mut Vec<Box<dyn Work>>) {
        if batch.is_empty() {
            return;
        }
        if let Some(e) = self.shared.failure.get() {
            batch.drain(..).for_each(|w| w.answer(Some(e)));
            return;
        }
        match self.transaction(batch) {
            Ok(()) => batch.drain(..).for_each(|w| w.answer(None)),
            // One commit may be too large for what is left: the others get their own chance.
            Err(StoreError::Full { .. }) if batch.len() > 1 => {
                for work in batch.drain(..) {
                    self.together(&mut vec![work]);
                }
                return;
            }
            Err(e) => {
                self.stop_if(&e);
                batch.drain(..).for_each(|w| w.answer(Some(&e)));
                return;
            }
        }
        if let Err(e) = self.checkpoint() {
            tracing::error!(error = %e, "copying the write-ahead log into the database failed");
            self.stop_if(&e);
        }
    }

    fn stop_if(&self, e: &StoreError) {
        if e.is_fail_stop() {
            tracing::error!(error = %e, "the store stops");
            // The first failure is the one that counts.
            let _ = self.shared.failure.set(e.clone());
        }
    }

    fn transaction(&mut self, batch: &mut [Box<dyn Work>]) -> Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        let outcome = self.run_all(batch);
        if outcome.is_err() && !self.conn.is_autocommit() {
            // The first error is the one to report; a failed rollback leaves nothing committed either.
            if let Err(e) = self.execute("ROLLBACK") {
                tracing::warn!(error = %e, "rollback failed");
            }
        }
        outcome?;
        if let Some(files) = &mut self.files {
            files.check()?;
        }
        crash::point("store.after_commit");
        if batch.iter().any(|w| w.is_submit()) {
            crash::point("store.submit.after");
        }
        Ok(())
    }

    fn run_all(&self, batch: &mut [Box<dyn Work>]) -> Result<()> {
        for work in batch.iter_mut() {
            if work.is_submit() {
                crash::point("store.submit.before");
            }
            self.execute("SAVEPOINT one")?;
            match work.run(&self.conn) {
                Ran::Keep => {}
                Ran::Undo | Ran::Failed => self.execute("ROLLBACK TO one")?,
                Ran::Lost(e) => return Err(e),
            }
            self.execute("RELEASE one")?;
        }
        crash::point("store.before_commit");
        self.execute("COMMIT")
    }

    fn execute(&self, sql: &str) -> Result<()> {
        let run = || self.conn.prepare_cached(sql)?.execute([]);
        run().map(|_| ()).map_err(|e| classify(&e))
    }

    /// Has the write-ahead log copied into the database when it has grown long.
    fn checkpoint(&self) -> Result<()> {
        self.copier.as_ref().map_or(Ok(()), |c| c.look(&self.conn))
    }

    fn finish(self) -> Result<()> {
        if let Some(e) = self.shared.failure.get() {
            return Err(e.clone());
        }
        self.shared.closed.store(true, Ordering::Release);
        self.copier.map_or(Ok(()), |c| c.finish(&self.conn))
    }
}

/// Keeps what was written and answers `t`.
pub(crate) fn keep<T>(t: T) -> Tx<Step<T>> {
    Ok::<_, Fault>(Step::Keep(t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn writer() -> Writer {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").unwrap();
        Writer::start(conn, None, 64).unwrap()
    }

    async fn insert(writer: &Writer, n: i64) -> Result<()> {
        let work = move |c: &Connection| {
            c.execute("INSERT INTO t VALUES ($1)", [n])?;
            keep(())
        };
        writer.write(About::default(), work).await
    }

    async fn count(writer: &Writer) -> Result<i64> {
        writer.write(About::default(), |c| keep(c.query_row("SELECT COUNT(*) FROM t", [], |r| r.get(0))?)).await
    }

    fn broken(code: i32) -> Fault {
        Fault::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[tokio::test]
    async fn one_failure_takes_nobody_along() {
        let writer = writer();
        insert(&writer, 1).await.unwrap();
        let twice = [1, 2, 1, 3].map(|n| insert(&writer, n));
        let [a, b, c, d] = twice;
        let (a, b, c, d) = tokio::join!(a, b, c, d);
        assert!(matches!((&a, &c), (Err(StoreError::Database { .. }), Err(StoreError::Database { .. }))));
        assert_eq!((b, d), (Ok(()), Ok(())));
        assert_eq!(count(&writer).await, Ok(3));
    }

    #[tokio::test]
    async fn io_error_stops_everything() {
        let writer = writer();
        let failing = writer.write(About::default(), |c| -> Tx<Step<()>> {
            c.execute("INSERT INTO t VALUES (7)", [])?;
            Err(broken(ffi::SQLITE_IOERR_FSYNC))
        });
        let (before, failed, after) = tokio::join!(insert(&writer, 1), failing, insert(&writer, 2));
        let failed = failed.unwrap_err();
        assert!(failed.is_fail_stop(), "{failed:?}");
        // Whoever shared the transaction or came later was not acknowledged.
        assert!(before == Ok(()) || before == Err(failed.clone()));
        assert_eq!(after, Err(failed.clone()));
        assert_eq!(writer.failure(), Some(failed.clone()));
        assert_eq!(count(&writer).await, Err(failed.clone()));
        assert_eq!(writer.close().await, Err(failed));
    }

    #[tokio::test]
    async fn full_disk_concerns_only_what_does_not_fit() {
        let writer = writer();
        let too_big = || writer.write(About::default(), |_| -> Tx<Step<()>> { Err(broken(ffi::SQLITE_FULL)) });
        let (a, full, b) = tokio::join!(insert(&writer, 1), too_big(), insert(&writer, 2));
        assert_eq!((a, b), (Ok(()), Ok(())));
        assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
        assert_eq!(count(&writer).await, Ok(2));
        assert_eq!(writer.failure(), None);
    }

    #[test]
    fn errors_are_told_apart() {
        let of = |code| classify(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(matches!(of(ffi::SQLITE_FULL), StoreError::Full { .. }));
        assert!(matches!(of(ffi::SQLITE_IOERR_SHMSIZE), StoreError::Full { .. }));
        assert!(matches!(of(ffi::SQLITE_IOERR_WRITE), StoreError::Io { .. }));
        assert!(matches!(of(ffi::SQLITE_CORRUPT), StoreError::Damaged { .. }));
        assert!(matches!(of(ffi::SQLITE_BUSY), StoreError::Database { .. }));
    }
}
