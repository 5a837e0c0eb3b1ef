//! The values that cross the door of the store: events, rows, leases, filters and the ordinary results.
//!
//! Invariant: nothing here knows what an event or a task row *means*; bodies and rows are JSON text made by the
//! engine, times are integer microseconds, money is integer nano-USD. It must not know SQL or any back-end.
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Microseconds since the Unix epoch (UTC).
pub type Micros = i64;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Largest JSON body of one event, in bytes: a plan as long as the longest reply a model may give (16 MiB) fits, escaped.
pub const EVENT_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest total size of one commit (bodies, row, snapshot, blobs, documents), in bytes.
pub const COMMIT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most events in one commit: one failed step may leave out all others of a plan of 10,000.
pub const COMMIT_EVENTS_MAX: usize = 65_536;
/// Most rows that one read, list or feed answers with; a larger limit is cut down to it.
pub const PAGE_ROWS_MAX: u32 = 1000;
/// Longest id of a task, key of a document or idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// How long an idempotency key answers with its first task, in microseconds (48 hours).
pub const IDEMPOTENCY_KEPT: Micros = 48 * 3600 * 1_000_000;

/// One journal entry as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Position in the feed of all tasks: strictly increasing in commit order, with gaps allowed.
    pub gseq: u64,
    /// The task whose journal this is.
    pub task: String,
    /// Position in the task's journal: 1, 2, 3 … without a gap.
    pub seq: u64,
    /// Epoch of the lease under which it was written.
    pub epoch: u64,
    /// When it was recorded, by the writer's clock.
    pub at: Micros,
    /// The event's kind, for filters and people.
    pub kind: String,
    /// The event as JSON.
    pub body: String,
    /// [`chain_hash`] of this entry and everything before it in the task's journal.
    pub hash: Hash,
}

/// One journal entry to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The event's kind.
    pub kind: &'static str,
    /// When it happened.
    pub at: Micros,
    /// The event as JSON, at most [`EVENT_BODY_BYTES_MAX`] bytes.
    pub body: String,
}

/// Where a journal ends: its last position and the hash of its last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Position of the last entry; 0 when the journal is empty.
    pub seq: u64,
    /// Hash of the last entry; all zero when the journal is empty.
    pub hash: Hash,
}

/// The right to append to one task: whoever holds the current epoch, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub task: String,
    /// Grows by one with every claim of the task.
    pub epoch: u64,
    /// Who holds it: an id that is fresh for each process start.
    pub owner: String,
}

/// The row of a task: what can be listed and claimed. Computed by the engine from the folded state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskRow {
    /// Status word, stored as given.
    pub status: String,
    /// Task type, when it has one.
    pub kind: Option<String>,
    /// Priority as a number: larger is more urgent. Used by filters and sorting.
    pub priority: i16,
    /// Claim order: smaller is claimed first; ties go to the older task.
    pub lane: i64,
    /// The task has ended: tasks that wait for it are told in the same transaction.
    pub terminal: bool,
    /// From when the task may be claimed while nobody holds it; `None`: only an inbox entry makes it claimable.
    pub wake_at: Option<Micros>,
    /// The whole summary row as JSON, handed back by lists as it is.
    pub json: String,
}

/// A document stored beside the journals (template, agent definition, batch, checkpoint…).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// Which kind of document.
    pub kind: String,
    /// Its key, unique within the kind.
    pub key: String,
    /// The document as JSON.
    pub json: String,
    /// 1 when first written, one more with each write.
    pub revision: u64,
}

/// A document to be written, whatever was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDoc {
    /// Which kind of document.
    pub kind: String,
    /// Its key, unique within the kind.
    pub key: String,
    /// The document as JSON.
    pub json: String,
}

/// A change of a running sum, made in the same transaction as the events it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDelta {
    /// Which sum, for example `day:2026-11-22`.
    pub key: String,
    /// What is added, in nano-USD; negative gives back.
    pub delta: i64,
    /// The whole commit is refused when `delta > 0` and the sum would pass this.
    pub limit: Option<i64>,
}

/// Everything that one step of a task changes. It is stored as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Journal entries in order; may be empty when only inbox entries are used up.
    pub events: Vec<NewEvent>,
    /// The task's row after these events.
    pub row: TaskRow,
    /// When given, replaces all labels of the task.
    pub labels: Option<BTreeMap<String, String>>,
    /// A snapshot of the folded state as it is after these events.
    pub snapshot: Option<Vec<u8>>,
    /// Ids of inbox entries that these events used up.
    pub consumed: Vec<i64>,
    /// Payloads the events refer to, each with its [`blob_hash`].
    pub blobs: Vec<(Hash, Vec<u8>)>,
    /// Documents to write.
    pub docs: Vec<NewDoc>,
    /// Changes of running sums.
    pub ledger: Vec<LedgerDelta>,
    /// Tasks this one waits for again (a retry): those that have ended are told to its inbox in the same transaction, the others when
    /// they end.
    pub waits_for: Vec<String>,
    /// Give the lease back in the same transaction.
    pub release: bool,
}

/// Remembers which task a request made, so that its repetition makes no second one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key, at most [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// What the key is for (route and principal); the same key under another path is another key.
    pub path: String,
    /// Hash of the request body.
    pub body_hash: Hash,
    /// When the request came.
    pub at: Micros,
}

/// Who takes a lease, and until when it holds without renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The owner's id, fresh for each process start.
    pub id: String,
    /// The owner's leases hold until then, unless renewed.
    pub until: Micros,
}

/// A task that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Its id.
    pub task: String,
    /// When it was submitted; decides its age in queue and lists.
    pub created_at: Micros,
    /// The batch it belongs to.
    pub batch: Option<String>,
    /// What it says; the text that `q` searches.
    pub description: String,
    /// First events and row; `labels` are its labels; `consumed` and `release` must be empty.
    pub commit: Commit,
    /// Tasks that must end first.
    pub depends_on: Vec<String>,
    /// Key under which a repeated submit answers with the first task.
    pub idempotency: Option<Idempotency>,
    /// Claim it in the same transaction.
    pub claim: Option<Owner>,
}

/// What became of a submit. All of these are ordinary results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The task exists and survives any crash from now on.
    Created {
        /// The lease, when it was asked for.
        lease: Option<Lease>,
        /// The end of its journal.
        head: Head,
        /// Feed position of its first event; 0 when there was none.
        first_gseq: u64,
    },
    /// The same request was stored before.
    Replayed {
        /// The task it made.
        task: String,
    },
    /// The idempotency key was used for a different body. Nothing was stored.
    KeyReused {
        /// The task that the first request made.
        task: String,
    },
    /// A task it depends on does not exist. Nothing was stored.
    DependencyMissing {
        /// The unknown task.
        task: String,
    },
    /// A task with this id exists already. Nothing was stored.
    Exists,
    /// A running sum would pass its limit. Nothing was stored.
    LedgerFull {
        /// Which sum.
        key: String,
        /// What the sum is now, in nano-USD.
        used: i64,
        /// The limit, in nano-USD.
        limit: i64,
    },
}

/// What became of an append. All of these are ordinary results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored and synced to disk.
    Ok {
        /// The new end of the journal.
        head: Head,
        /// Feed position of the first event; 0 when the commit had none.
        first_gseq: u64,
    },
    /// The journal does not end where the caller thought: read it again. Nothing was stored.
    Conflict,
    /// The lease is no longer the caller's: stop working on the task. Nothing was stored.
    Fenced,
    /// A running sum would pass its limit. Nothing was stored.
    LedgerFull {
        /// Which sum.
        key: String,
        /// What the sum is now, in nano-USD.
        used: i64,
        /// The limit, in nano-USD.
        limit: i64,
    },
}

/// What a worker asks for when it looks for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who claims, and until when the leases hold.
    pub owner: Owner,
    /// The present; a database with a clock of its own uses that instead.
    pub now: Micros,
    /// At most so many tasks.
    pub limit: u32,
    /// Only tasks whose lane is not above this.
    pub lane_max: Option<i64>,
}

/// A task that was claimed: the lease and where its journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The lease, under a new epoch.
    pub lease: Lease,
    /// The end of the journal.
    pub head: Head,
}

/// An entry of a task's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// Its id, to be named in [`Commit::consumed`]; grows with the order of arrival.
    pub id: i64,
    /// When it arrived.
    pub at: Micros,
    /// The input as JSON.
    pub json: String,
}

/// A task as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTask {
    /// Its id.
    pub task: String,
    /// When it was submitted.
    pub created_at: Micros,
    /// The batch it belongs to.
    pub batch: Option<String>,
    /// What it says.
    pub description: String,
    /// The row of its last commit.
    pub row: TaskRow,
    /// The end of its journal.
    pub head: Head,
    /// Epoch of its last claim; 0 when it was never claimed.
    pub epoch: u64,
    /// Who holds its lease.
    pub owner: Option<String>,
}

/// Which tasks a list is about. Different fields all have to hold; within a field any value does; empty: no demand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Status words.
    pub status: Vec<String>,
    /// Task types.
    pub kind: Vec<String>,
    /// Priorities.
    pub priority: Vec<i16>,
    /// Labels that must have exactly these values.
    pub labels: Vec<(String, String)>,
    /// Text that id or description contains, whatever its case.
    pub q: Option<String>,
    /// The batch.
    pub batch: Option<String>,
    /// Submitted at or after this.
    pub created_after: Option<Micros>,
    /// Submitted before this.
    pub created_before: Option<Micros>,
}

/// What a list is sorted by; ties go by submission time, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortBy {
    /// Submission time.
    #[default]
    Created,
    /// Priority.
    Priority,
}

/// Where the next page begins: the key of the last task of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Its priority (used when sorted by priority).
    pub priority: i16,
    /// Its submission time.
    pub created_at: Micros,
    /// Its id.
    pub task: String,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What to sort by.
    pub sort: SortBy,
    /// Largest (newest) first.
    pub descending: bool,
    /// Start behind this task.
    pub after: Option<Cursor>,
    /// At most so many tasks, at most [`PAGE_ROWS_MAX`].
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Page { sort: SortBy::Created, descending: true, after: None, limit: 50 }
    }
}

impl ListedTask {
    /// The cursor that continues a list behind this task.
    pub fn cursor(&self) -> Cursor {
        Cursor { priority: self.row.priority, created_at: self.created_at, task: self.task.clone() }
    }
}

/// What a writer of a document expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there is replaced.
    Any,
    /// There is no such document yet.
    Absent,
    /// It has exactly this revision.
    Revision(u64),
}

/// What became of a write or delete of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocPut {
    /// Done; the revision that was written or deleted.
    Ok {
        /// The revision.
        revision: u64,
    },
    /// The expectation did not hold. Nothing changed.
    Conflict {
        /// The revision that is there; `None`: there is no such document.
        current: Option<u64>,
    },
}

/// Hash of one journal entry, chained to the entry before it:
/// SHA-256 of `prev ‖ seq ‖ at ‖ length of kind ‖ kind ‖ body` (integers as 8 bytes, big-endian).
pub fn chain_hash(prev: &Hash, seq: u64, at: Micros, kind: &str, body: &str) -> Hash {
    let mut h = Sha256::new();
    h.update(prev);
    h.update(seq.to_be_bytes());
    h.update(at.to_be_bytes());
    // The length keeps kind and body apart: "ab"+"c" must not hash like "a"+"bc".
    h.update((kind.len() as u64).to_be_bytes());
    h.update(kind.as_bytes());
    h.update(body.as_bytes());
    h.finalize().into()
}

/// The address of a blob: SHA-256 of its bytes.
pub fn blob_hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}
