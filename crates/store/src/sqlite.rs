//! The SQLite back-end: one writing thread, a few reading connections.
//!
//! Invariant: everything that writes goes through the writing thread; hashes and checks are done by the caller
//! before, so that the thread only runs SQL. It must not know what events mean.
mod checkpoint;
mod claim;
mod fault;
mod files;
pub(crate) mod open;
#[cfg(test)]
mod plans;
mod read;
mod write;
mod writer;

use crate::types::*;
use crate::url::Place;
use crate::{Catalog, ConnectOptions, Journal, Queue, Result, Store, StoreError, filter, migrate};
use async_trait::async_trait;
use checkpoint::Checkpointer;
use fault::Tx;
use files::Files;
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use write::Prepared;
use writer::{About, Step, Writer, keep};

/// A store in one SQLite database.
pub(crate) struct Sqlite {
    writer: Writer,
    /// `None` for a database in memory, which only the writing thread's connection can see.
    readers: Option<Arc<Readers>>,
}

/// Connections for reading; the permits say how many are free.
struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// Opens the store. Blocks while the schema is brought up to date.
pub(crate) fn open(place: &Place, options: &ConnectOptions) -> Result<Sqlite> {
    let conn = open::writer(place, options.create, options.bytes_max)?;
    let missing = open::status(&conn)?.iter().filter(|m| m.applied_at.is_none()).count();
    if missing > 0 {
        if !options.migrate {
            let known = migrate::newest(migrate::SQLITE);
            let missing = u32::try_from(missing).unwrap_or(known);
            return Err(StoreError::SchemaOlder { found: known - missing, known });
        }
        open::migrate(&conn)?;
    }
    let readers = match place {
        Place::Memory => None,
        Place::File(path) => {
            let n = options.readers.max(1);
            let free = (0..n).map(|_| open::reader(path)).collect::<Result<Vec<_>>>()?;
            Some(Arc::new(Readers { free: Mutex::new(free), permits: Semaphore::new(n) }))
        }
    };
    let side = match place {
        Place::Memory => None,
        Place::File(path) => {
            let copier = open::writer(place, false, options.bytes_max)?;
            Some((Files::open(path.clone())?, Checkpointer::start(copier)?))
        }
    };
    Ok(Sqlite { writer: Writer::start(conn, side, options.queue)?, readers })
}

impl Sqlite {
    /// Runs a read on a free connection, away from the async threads.
    async fn read<T: Send + 'static>(&self, mut work: impl FnMut(&Connection) -> Tx<T> + Send + 'static) -> Result<T> {
        let Some(readers) = self.readers.clone() else {
            return self.writer.write(About::default(), move |conn| Ok(Step::Keep(work(conn)?))).await;
        };
        self.writer.open()?;
        let shared = readers.clone();
        let _permit = shared.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let conn = readers.lock().pop().ok_or(StoreError::Closed)?;
            let result = work(&conn).map_err(StoreError::from);
            readers.lock().push(conn);
            result
        });
        done.await.map_err(|_| StoreError::Closed)?
    }

    async fn write<T: Send + 'static>(&self, work: impl FnMut(&Connection) -> Tx<Step<T>> + Send + 'static) -> Result<T> {
        self.writer.write(About::default(), work).await
    }
}

impl Readers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A panic while the list was locked left the list itself whole.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_ok(what: &'static str, id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(StoreError::Invalid { why: format!("{what} is empty") });
    }
    if id.len() > KEY_BYTES_MAX {
        return Err(StoreError::TooLarge { what, size: id.len(), limit: KEY_BYTES_MAX });
    }
    Ok(())
}

fn json_ok(json: &str) -> Result<()> {
    if json.len() > EVENT_BODY_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "an input", size: json.len(), limit: EVENT_BODY_BYTES_MAX });
    }
    Ok(())
}

#[async_trait]
impl Journal for Sqlite {
    async fn append(&self, lease: &Lease, expected: &Head, commit: Commit) -> Result<Appended> {
        if let Some(labels) = &commit.labels {
            write::labels_ok(labels)?;
        }
        let prepared = Prepared::new(commit, expected)?;
        let about = About { bytes: prepared.bytes, submit: false };
        let (lease, expected) = (lease.clone(), *expected);
        self.writer.write(about, move |conn| write::append(conn, &lease, &expected, &prepared)).await
    }

    async fn read(&self, task: &str, after_seq: u64, limit: u32) -> Result<Vec<EventRow>> {
        let task = task.to_owned();
        self.read(move |conn| read::journal(conn, &task, after_seq, limit)).await
    }

    async fn head(&self, task: &str) -> Result<Option<Head>> {
        let task = task.to_owned();
        self.read(move |conn| read::head(conn, &task)).await
    }

    async fn snapshot(&self, task: &str) -> Result<Option<(u64, Vec<u8>)>> {
        let task = task.to_owned();
        self.read(move |conn| read::snapshot(conn, &task)).await
    }

    async fn get_blob(&self, hash: &Hash) -> Result<Option<Vec<u8>>> {
        let hash = *hash;
        self.read(move |conn| read::blob(conn, &hash)).await
    }

    async fn feed(&self, after_gseq: u64, limit: u32, task: Option<&str>) -> Result<Vec<EventRow>> {
        let task = task.map(str::to_owned);
        self.read(move |conn| read::feed(conn, after_gseq, limit, task.as_deref())).await
    }

    async fn last_gseq(&self) -> Result<u64> {
        self.read(read::last_gseq).await
    }
}

#[async_trait]
impl Queue for Sqlite {
    async fn submit(&self, new: NewTask) -> Result<Submitted> {
        id_ok("a task id", &new.task)?;
        if let Some(idem) = &new.idempotency {
            id_ok("an idempotency key", &idem.key)?;
            id_ok("an idempotency path", &idem.path)?;
        }
        if let Some(labels) = &new.commit.labels {
            write::labels_ok(labels)?;
        }
        if new.commit.release || !new.commit.consumed.is_empty() {
            return Err(StoreError::Invalid { why: "a new task has no lease and no inbox to use up".to_owned() });
        }
        let mut new = new;
        let prepared = Prepared::new(std::mem::take(&mut new.commit), &Head::default())?;
        let about = About { bytes: prepared.bytes + new.description.len(), submit: true };
        self.writer.write(about, move |conn| write::submit(conn, &new, &prepared)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>> {
        id_ok("an owner", &request.owner.id)?;
        self.write(move |conn| keep(claim::claim(conn, &request)?)).await
    }

    async fn renew(&self, owner: &Owner) -> Result<bool> {
        let owner = owner.clone();
        self.write(move |conn| keep(claim::renew(conn, &owner)?)).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool> {
        let lease = lease.clone();
        self.write(move |conn| keep(claim::release(conn, &lease)?)).await
    }

    async fn post(&self, task: &str, json: String, now: Micros) -> Result<bool> {
        json_ok(&json)?;
        let task = task.to_owned();
        self.write(move |conn| keep(write::post(conn, &task, &json, now)?)).await
    }

    async fn inbox(&self, task: &str) -> Result<Vec<InboxEntry>> {
        let task = task.to_owned();
        self.read(move |conn| read::inbox(conn, &task)).await
    }

    async fn steal_all(&self, owner: &str) -> Result<u64> {
        let owner = owner.to_owned();
        self.write(move |conn| keep(claim::steal_all(conn, &owner)?)).await
    }

    async fn next_wake(&self) -> Result<Option<Micros>> {
        self.read(claim::next_wake).await
    }
}

#[async_trait]
impl Catalog for Sqlite {
    async fn list(&self, filter: Filter, page: Page) -> Result<Vec<ListedTask>> {
        let query = filter::list(&filter, &page)?;
        self.read(move |conn| read::list(conn, &query)).await
    }

    async fn count(&self, filter: Filter) -> Result<u64> {
        let query = filter::count(&filter)?;
        self.read(move |conn| read::count(conn, &query)).await
    }

    async fn counts_by_status(&self) -> Result<Vec<(String, u64)>> {
        self.read(read::counts).await
    }

    async fn row(&self, task: &str) -> Result<Option<ListedTask>> {
        let task = task.to_owned();
        self.read(move |conn| read::row(conn, &task)).await
    }

    async fn put_doc(&self, doc: NewDoc, expect: Expect) -> Result<DocPut> {
        id_ok("a document key", &doc.key)?;
        if doc.json.len() > COMMIT_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "a document", size: doc.json.len(), limit: COMMIT_BYTES_MAX });
        }
        self.write(move |conn| keep(write::put_doc(conn, &doc, expect)?)).await
    }

    async fn get_doc(&self, kind: &str, key: &str) -> Result<Option<Doc>> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        self.read(move |conn| read::get_doc(conn, &kind, &key)).await
    }

    async fn delete_doc(&self, kind: &str, key: &str, expect: Expect) -> Result<DocPut> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        self.write(move |conn| keep(write::delete_doc(conn, &kind, &key, expect)?)).await
    }

    async fn list_docs(&self, kind: &str, after_key: Option<&str>, limit: u32) -> Result<Vec<Doc>> {
        let (kind, after) = (kind.to_owned(), after_key.unwrap_or_default().to_owned());
        self.read(move |conn| read::list_docs(conn, &kind, &after, limit)).await
    }

    async fn ledger(&self, key: &str) -> Result<i64> {
        let key = key.to_owned();
        self.read(move |conn| read::ledger(conn, &key)).await
    }
}

#[async_trait]
impl Store for Sqlite {
    fn failure(&self) -> Option<StoreError> {
        self.writer.failure()
    }

    async fn close(&self) -> Result<()> {
        self.writer.close().await
    }
}
