//! The store of MAOS: journals, queue and catalogue in one database, behind one door.
//!
//! [`connect`] is the only way in. Invariants: an append is stored whole and synced, or not at all; only the
//! holder of the current lease epoch appends; each journal is numbered without gaps and hash-chained; whatever
//! was answered survives any crash. The store keeps bytes: it never decides a status and must not know models,
//! tools, HTTP or policy.
use async_trait::async_trait;
use std::sync::Arc;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod crash;
mod error;
mod filter;
mod lock;
mod migrate;
mod sql;
mod sqlite;
mod types;
mod url;

pub use error::{StoreError, hex};
pub use lock::{DataDirLock, LOCK_FILE, lock_data_dir};
pub use migrate::Migration;
pub use types::*;

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The truth: one journal per task, and what its events refer to.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends `commit` to the lease's task if the lease is current and the journal ends at `expected`.
    ///
    /// The only write of a task's state: events, row, snapshot, used-up inbox entries, blobs, documents and
    /// running sums are stored together. Answered after the commit was synced.
    async fn append(&self, lease: &Lease, expected: &Head, commit: Commit) -> Result<Appended>;

    /// Entries of a journal behind `after_seq` in order, at most `limit` (≤ [`PAGE_ROWS_MAX`]), their hash chain
    /// verified. Fewer than the limit means that the journal ends there. An unknown task has no entries.
    ///
    /// [`StoreError::Corrupt`] names the first entry that is damaged or missing.
    async fn read(&self, task: &str, after_seq: u64, limit: u32) -> Result<Vec<EventRow>>;

    /// Where a journal ends; `None` when there is no such task.
    async fn head(&self, task: &str) -> Result<Option<Head>>;

    /// The newest snapshot of a task and the position it was taken at. A damaged one counts as absent.
    async fn snapshot(&self, task: &str) -> Result<Option<(u64, Vec<u8>)>>;

    /// The blob with this address. [`StoreError::CorruptBlob`] when its content does not fit the address.
    async fn get_blob(&self, hash: &Hash) -> Result<Option<Vec<u8>>>;

    /// Entries of all journals (or one) behind feed position `after_gseq` in commit order. Not verified.
    async fn feed(&self, after_gseq: u64, limit: u32, task: Option<&str>) -> Result<Vec<EventRow>>;

    /// The newest feed position; 0 when there is none.
    async fn last_gseq(&self) -> Result<u64>;
}

/// Who works on what.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Makes a task. Tasks it depends on that ended already are told to its inbox in the same transaction.
    async fn submit(&self, new: NewTask) -> Result<Submitted>;

    /// Claims tasks that are due and held by nobody (or by an owner that let its leases run out), in claim order.
    /// Every claim bumps the task's epoch. A claim that gets something extends all leases of the owner.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>>;

    /// Extends all leases of an owner. False: there are none, or they ran out and were taken away; stop all work.
    async fn renew(&self, owner: &Owner) -> Result<bool>;

    /// Gives a lease back. False: it was not the caller's any more. A task with mail is due at once.
    async fn release(&self, lease: &Lease) -> Result<bool>;

    /// Puts an input into a task's inbox and makes the task due. False: there is no such task.
    async fn post(&self, task: &str, json: String, now: Micros) -> Result<bool>;

    /// The inbox of a task in order of arrival, at most [`PAGE_ROWS_MAX`] entries.
    async fn inbox(&self, task: &str) -> Result<Vec<InboxEntry>>;

    /// Takes all leases of everybody but `owner` away; tasks that have not ended are due at once. For the start of
    /// the only process on a single-process back-end. Answers how many leases there were.
    async fn steal_all(&self, owner: &str) -> Result<u64>;

    /// When the next task that nobody holds becomes due: a time in the past when one is due now.
    async fn next_wake(&self) -> Result<Option<Micros>>;
}

/// What can be listed.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// One page of the tasks that pass the filter.
    async fn list(&self, filter: Filter, page: Page) -> Result<Vec<ListedTask>>;

    /// How many tasks pass the filter.
    async fn count(&self, filter: Filter) -> Result<u64>;

    /// How many tasks there are by status word.
    async fn counts_by_status(&self) -> Result<Vec<(String, u64)>>;

    /// One task as lists show it.
    async fn row(&self, task: &str) -> Result<Option<ListedTask>>;

    /// Writes a document if the expectation holds.
    async fn put_doc(&self, doc: NewDoc, expect: Expect) -> Result<DocPut>;

    /// Reads a document.
    async fn get_doc(&self, kind: &str, key: &str) -> Result<Option<Doc>>;

    /// Deletes a document if the expectation holds; deleting an absent one is a conflict.
    async fn delete_doc(&self, kind: &str, key: &str, expect: Expect) -> Result<DocPut>;

    /// Documents of a kind in order of their keys, behind `after_key`, at most `limit` (≤ [`PAGE_ROWS_MAX`]).
    async fn list_docs(&self, kind: &str, after_key: Option<&str>, limit: u32) -> Result<Vec<Doc>>;

    /// A running sum in nano-USD; 0 when nothing was booked under the key.
    async fn ledger(&self, key: &str) -> Result<i64>;
}

/// The whole store.
#[async_trait]
pub trait Store: Journal + Queue + Catalog {
    /// Why nothing is accepted any more, once that is so: the process has to end (exit code 74).
    fn failure(&self) -> Option<StoreError>;

    /// Writes everything that is queued, tidies up and stops. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<()>;
}

/// How to open a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Make the database when there is none.
    pub create: bool,
    /// Bring an older schema up to date.
    pub migrate: bool,
    /// Commits that may wait for the writer before callers wait, at least 1.
    pub queue: usize,
    /// Connections for reading, at least 1.
    pub readers: usize,
    /// Refuse to let the database file grow beyond this, in bytes, as if the disk were full.
    pub bytes_max: Option<u64>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions { create: true, migrate: true, queue: 1024, readers: 3, bytes_max: None }
    }
}

/// Opens the store at `url`: `sqlite:/path/maos.db`, or `sqlite::memory:` for one that ends with the process.
///
/// Does not lock the data directory: that is for the one process that serves it, see [`lock_data_dir`].
pub async fn connect(url: &str, options: ConnectOptions) -> Result<Arc<dyn Store>> {
    let place = url::parse(url)?;
    let store = blocking(move || sqlite::open(&place, &options)).await?;
    Ok(Arc::new(store))
}

/// Brings the schema up to date and answers what was (with `dry_run`: what would be) applied.
pub async fn migrate(url: &str, dry_run: bool) -> Result<Vec<Migration>> {
    let place = url::parse(url)?;
    blocking(move || {
        let conn = sqlite::open::writer(&place, !dry_run, None)?;
        let missing = sqlite::open::status(&conn)?.into_iter().filter(|m| m.applied_at.is_none());
        if dry_run { Ok(missing.collect()) } else { sqlite::open::migrate(&conn) }
    })
    .await
}

/// All schema versions this program knows, with when the database got each of them.
pub async fn status(url: &str) -> Result<Vec<Migration>> {
    let place = url::parse(url)?;
    blocking(move || sqlite::open::status(&sqlite::open::writer(&place, false, None)?)).await
}

/// Problems in the structure of the database file; empty when it is sound. Journals are verified by reading them.
pub async fn check(url: &str) -> Result<Vec<String>> {
    let place = url::parse(url)?;
    blocking(move || sqlite::open::check(&sqlite::open::writer(&place, false, None)?)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|e| StoreError::Database { detail: format!("opening the database failed: {e}") })?
}
