//! What one commit writes, inside the writing thread's transaction.
//!
//! Invariant: each function does the whole of its work or asks for it to be undone; it must not begin or end
//! transactions.
use super::fault::Tx;
use super::writer::Step;
use crate::types::*;
use crate::{StoreError, sql};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use std::collections::BTreeMap;

/// Bytes of id and description that `q` searches.
const SEARCH_BYTES_MAX: usize = 16 * 1024;

/// A commit made ready outside the writing thread: hashes are computed, sizes are checked.
pub(crate) struct Prepared {
    pub(crate) commit: Commit,
    pub(crate) hashes: Vec<Hash>,
    pub(crate) snapshot_hash: Hash,
    pub(crate) first: u64,
    pub(crate) head: Head,
    pub(crate) bytes: usize,
}

impl Prepared {
    /// Checks the limits and computes the hash chain behind `expected`.
    pub(crate) fn new(commit: Commit, expected: &Head) -> crate::Result<Prepared> {
        let bytes = size(&commit)?;
        let mut head = *expected;
        let mut hashes = Vec::with_capacity(commit.events.len());
        for event in &commit.events {
            head.seq += 1;
            head.hash = chain_hash(&head.hash, head.seq, event.at, event.kind, &event.body);
            hashes.push(head.hash);
        }
        let snapshot_hash = commit.snapshot.as_deref().map(blob_hash).unwrap_or_default();
        Ok(Prepared { commit, hashes, snapshot_hash, first: expected.seq + 1, head, bytes })
    }

    /// The time of this commit: when its last event happened.
    fn at(&self) -> Micros {
        self.commit.events.last().map_or(0, |e| e.at)
    }
}

fn size(commit: &Commit) -> crate::Result<usize> {
    let limit = |what, size, limit| {
        if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
    };
    limit("the events of a commit", commit.events.len(), COMMIT_EVENTS_MAX)?;
    let mut bytes = commit.row.json.len() + commit.snapshot.as_ref().map_or(0, Vec::len);
    for event in &commit.events {
        limit("an event body", event.body.len(), EVENT_BODY_BYTES_MAX)?;
        bytes += event.body.len();
    }
    bytes += commit.blobs.iter().map(|(_, b)| b.len()).sum::<usize>();
    for doc in &commit.docs {
        limit("a document key", doc.key.len(), KEY_BYTES_MAX)?;
        bytes += doc.json.len();
    }
    limit("a commit", bytes, COMMIT_BYTES_MAX)?;
    Ok(bytes)
}

/// Runs a statement from the cache and answers how many rows it changed.
pub(crate) fn exec(conn: &Connection, sql: &str, params: impl Params) -> Tx<usize> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

/// Runs a statement from the cache and answers its first row, if any.
pub(crate) fn first<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Tx<Option<T>> {
    Ok(conn.prepare_cached(sql)?.query_row(params, map).optional()?)
}

/// An unsigned number as SQL keeps it; positions and epochs never come near 2⁶³.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number from SQL that is never negative.
pub(crate) fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Appends to a journal; see [`crate::Journal::append`].
pub(crate) fn append(conn: &Connection, lease: &Lease, expected: &Head, p: &Prepared) -> Tx<Step<Appended>> {
    if !advance(conn, lease, expected, p)? {
        let holder = first(conn, sql::LEASE, (&lease.task,), |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Option<String>>(1)?)))?;
        let current = holder.is_some_and(|(epoch, owner)| uint(epoch) == lease.epoch && owner.as_ref() == Some(&lease.owner));
        return Ok(Step::Undo(if current { Appended::Conflict } else { Appended::Fenced }));
    }
    if let Some((key, used, limit)) = book(conn, &p.commit.ledger)? {
        return Ok(Step::Undo(Appended::LedgerFull { key, used, limit }));
    }
    let first_gseq = store(conn, &lease.task, lease.epoch, p)?;
    for id in &p.commit.consumed {
        if exec(conn, sql::INBOX_USED, (id, &lease.task))? == 0 {
            let why = format!("inbox entry {id} of task {} does not exist or was used up before", lease.task);
            return Err(StoreError::Invalid { why }.into());
        }
    }
    for on in &p.commit.waits_for {
        match first(conn, sql::TASK_END, (on,), |r| Ok((r.get::<_, bool>(0)?, r.get::<_, String>(1)?)))? {
            Some((true, status)) => drop(exec(conn, sql::INBOX_PUT, (&lease.task, p.at(), dependency_ended(on, &status)))?),
            Some((false, _)) => drop(exec(conn, sql::DEP_PUT, (on, &lease.task))?),
            None => {
                let why = format!("task {on}, which task {} is to wait for, does not exist", lease.task);
                return Err(StoreError::Invalid { why }.into());
            }
        }
    }
    if p.commit.release {
        exec(conn, sql::RELEASE, (&lease.task, int(lease.epoch), &lease.owner))?;
    }
    Ok(Step::Keep(Appended::Ok { head: p.head, first_gseq }))
}

/// Moves the end of the journal and stores the row, if the lease and the end are what the caller thinks.
fn advance(conn: &Connection, lease: &Lease, expected: &Head, p: &Prepared) -> Tx<bool> {
    let row = &p.commit.row;
    let epoch = int(lease.epoch);
    #[rustfmt::skip]
    let same = exec(conn, sql::APPEND_SAME, rusqlite::params![
        int(p.head.seq), p.head.hash, row.json,
        lease.task, epoch, lease.owner, int(expected.seq), expected.hash,
        row.status, row.kind, row.priority, row.lane, row.terminal, row.wake_at,
    ])?;
    if same == 1 {
        return Ok(true);
    }
    #[rustfmt::skip]
    let changed = exec(conn, sql::APPEND, rusqlite::params![
        int(p.head.seq), p.head.hash, row.json, row.status, row.kind, row.priority, row.lane, row.terminal, row.wake_at,
        lease.task, epoch, lease.owner, int(expected.seq), expected.hash,
    ])?;
    Ok(changed == 1)
}

/// Everything of a commit that is not the row itself; answers the feed position of its first event.
fn store(conn: &Connection, task: &str, epoch: u64, p: &Prepared) -> Tx<u64> {
    let mut first_gseq = 0;
    for (i, event) in p.commit.events.iter().enumerate() {
        let seq = int(p.first) + i as i64;
        exec(conn, sql::EVENT_INSERT, (task, seq, int(epoch), event.at, event.kind, &event.body, p.hashes[i]))?;
        if i == 0 {
            first_gseq = uint(conn.last_insert_rowid());
        }
    }
    for (hash, body) in &p.commit.blobs {
        exec(conn, sql::BLOB_PUT, (hash, body))?;
    }
    if let Some(body) = &p.commit.snapshot {
        exec(conn, sql::SNAPSHOT_PUT, (task, int(p.head.seq), p.snapshot_hash, body))?;
    }
    for doc in &p.commit.docs {
        first(conn, sql::DOC_PUT, (&doc.kind, &doc.key, &doc.json), |_| Ok(()))?;
    }
    if let Some(labels) = &p.commit.labels {
        exec(conn, sql::LABEL_CLEAR, (task,))?;
        for (label, value) in labels {
            exec(conn, sql::LABEL_PUT, (task, label, value))?;
        }
    }
    if p.commit.row.terminal {
        let told = exec(conn, sql::DEP_TELL, (p.at(), dependency_ended(task, &p.commit.row.status), task))?;
        if told > 0 {
            exec(conn, sql::DEP_WAKE, (p.at(), task))?;
            exec(conn, sql::DEP_DONE, (task,))?;
        }
    }
    Ok(first_gseq)
}

/// The input that tells a task that one it waits for has ended.
fn dependency_ended(task: &str, status: &str) -> String {
    serde_json::json!({"type": "dependency_ended", "task": task, "status": status}).to_string()
}

/// Books the running sums; answers key, sum and limit of the first one that would pass its limit.
fn book(conn: &Connection, deltas: &[LedgerDelta]) -> Tx<Option<(String, i64, i64)>> {
    for d in deltas {
        let used = first(conn, sql::LEDGER_ADD, (&d.key, d.delta), |r| r.get::<_, i64>(0))?.unwrap_or(d.delta);
        if let Some(limit) = d.limit.filter(|limit| d.delta > 0 && used > *limit) {
            return Ok(Some((d.key.clone(), used - d.delta, limit)));
        }
    }
    Ok(None)
}

/// Makes a task; see [`crate::Queue::submit`].
pub(crate) fn submit(conn: &Connection, new: &NewTask, p: &Prepared) -> Tx<Step<Submitted>> {
    if let Some(idem) = &new.idempotency {
        if let Some(answer) = replay(conn, idem)? {
            return Ok(Step::Undo(answer));
        }
        let hash = &idem.body_hash;
        exec(conn, sql::IDEM_PUT, (&idem.path, &idem.key, hash, &new.task, idem.at))?;
        exec(conn, sql::IDEM_FORGET, (idem.at - IDEMPOTENCY_KEPT,))?;
    }
    let mut ended = Vec::new();
    for on in &new.depends_on {
        match first(conn, sql::TASK_END, (on,), |r| Ok((r.get::<_, bool>(0)?, r.get::<_, String>(1)?)))? {
            None => {
                return Ok(Step::Undo(Submitted::DependencyMissing { task: on.clone() }));
            }
            Some((true, status)) => ended.push(dependency_ended(on, &status)),
            Some((false, _)) => drop(exec(conn, sql::DEP_PUT, (on, &new.task))?),
        }
    }
    if !insert(conn, new, p, !ended.is_empty())? {
        return Ok(Step::Undo(Submitted::Exists));
    }
    for json in ended {
        exec(conn, sql::INBOX_PUT, (&new.task, new.created_at, json))?;
    }
    if let Some((key, used, limit)) = book(conn, &p.commit.ledger)? {
        return Ok(Step::Undo(Submitted::LedgerFull { key, used, limit }));
    }
    let epoch = u64::from(new.claim.is_some());
    let first_gseq = store(conn, &new.task, epoch, p)?;
    let lease = match &new.claim {
        Some(owner) => {
            exec(conn, sql::NODE_PUT, (&owner.id, owner.until))?;
            Some(Lease { task: new.task.clone(), epoch, owner: owner.id.clone() })
        }
        None => None,
    };
    Ok(Step::Keep(Submitted::Created { lease, head: p.head, first_gseq }))
}

/// The answer to a repeated request, while its key is remembered.
fn replay(conn: &Connection, idem: &Idempotency) -> Tx<Option<Submitted>> {
    let stored = first(conn, sql::IDEM_GET, (&idem.path, &idem.key), |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, Hash>(1)?, r.get::<_, Micros>(2)?))
    })?;
    let Some((task, body_hash, at)) = stored else {
        return Ok(None);
    };
    if at < idem.at - IDEMPOTENCY_KEPT {
        return Ok(None);
    }
    let same = body_hash == idem.body_hash;
    Ok(Some(if same { Submitted::Replayed { task } } else { Submitted::KeyReused { task } }))
}

fn insert(conn: &Connection, new: &NewTask, p: &Prepared, has_mail: bool) -> Tx<bool> {
    let row = &p.commit.row;
    let wake_at = if has_mail { Some(row.wake_at.unwrap_or(new.created_at).min(new.created_at)) } else { row.wake_at };
    let ready = new.claim.is_none() && wake_at.is_some_and(|at| at <= new.created_at);
    let owner = new.claim.as_ref().map(|o| o.id.as_str());
    #[rustfmt::skip]
    let made = exec(conn, sql::TASK_INSERT, rusqlite::params![
        new.task, int(p.head.seq), p.head.hash, i64::from(new.claim.is_some()), owner,
        row.status, row.kind, row.priority, row.lane, row.terminal,
        ready, wake_at, new.created_at, new.batch, row.json,
    ])?;
    if made == 1 {
        exec(conn, sql::TEXT_INSERT, (&new.task, &new.description, searchable(new)))?;
    }
    Ok(made == 1)
}

fn searchable(new: &NewTask) -> String {
    let mut end = SEARCH_BYTES_MAX.min(new.description.len());
    while !new.description.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n{}", new.task, &new.description[..end]).to_lowercase()
}

/// Puts an input into an inbox; see [`crate::Queue::post`].
pub(crate) fn post(conn: &Connection, task: &str, json: &str, now: Micros) -> Tx<bool> {
    if exec(conn, sql::WAKE, (now, task))? == 0 {
        return Ok(false);
    }
    exec(conn, sql::INBOX_PUT, (task, now, json))?;
    Ok(true)
}

/// Writes a document; see [`crate::Catalog::put_doc`].
pub(crate) fn put_doc(conn: &Connection, doc: &NewDoc, expect: Expect) -> Tx<DocPut> {
    let revision = |r: &Row<'_>| r.get::<_, i64>(0);
    let written = match expect {
        Expect::Any => first(conn, sql::DOC_PUT, (&doc.kind, &doc.key, &doc.json), revision)?,
        Expect::Absent => first(conn, sql::DOC_NEW, (&doc.kind, &doc.key, &doc.json), revision)?,
        Expect::Revision(n) => first(conn, sql::DOC_CHANGE, (&doc.json, &doc.kind, &doc.key, int(n)), revision)?,
    };
    doc_answer(conn, &doc.kind, &doc.key, written)
}

/// Deletes a document; see [`crate::Catalog::delete_doc`].
pub(crate) fn delete_doc(conn: &Connection, kind: &str, key: &str, expect: Expect) -> Tx<DocPut> {
    let revision = |r: &Row<'_>| r.get::<_, i64>(0);
    let gone = match expect {
        Expect::Any => first(conn, sql::DOC_DELETE, (kind, key), revision)?,
        Expect::Absent => None,
        Expect::Revision(n) => first(conn, sql::DOC_DELETE_AT, (kind, key, int(n)), revision)?,
    };
    doc_answer(conn, kind, key, gone)
}

fn doc_answer(conn: &Connection, kind: &str, key: &str, done: Option<i64>) -> Tx<DocPut> {
    if let Some(revision) = done {
        return Ok(DocPut::Ok { revision: uint(revision) });
    }
    let current = first(conn, sql::DOC_REVISION, (kind, key), |r| r.get::<_, i64>(0))?;
    Ok(DocPut::Conflict { current: current.map(uint) })
}

/// Labels are few and short.
pub(crate) fn labels_ok(labels: &BTreeMap<String, String>) -> crate::Result<()> {
    const LABELS_MAX: usize = 64;
    if labels.len() > LABELS_MAX {
        return Err(StoreError::TooLarge { what: "the labels of a task", size: labels.len(), limit: LABELS_MAX });
    }
    for (label, value) in labels {
        let size = label.len().max(value.len());
        if size > KEY_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "a label", size, limit: KEY_BYTES_MAX });
        }
    }
    Ok(())
}
