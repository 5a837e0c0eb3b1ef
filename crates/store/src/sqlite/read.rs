//! What is read, on any connection.
//!
//! Invariant: whatever comes out of a journal, the snapshots or the blobs was checked against its hash; a damaged
//! entry is named and never handed out.
use super::fault::Tx;
use super::write::{first, int, uint};
use crate::filter::{Arg, Query};
use crate::types::*;
use crate::{StoreError, sql};
use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, Params, Row, ToSql, params_from_iter};

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Arg::Int(n) => Ok(ToSqlOutput::Owned(Value::Integer(*n))),
            Arg::Text(s) => s.to_sql(),
        }
    }
}

fn rows<T>(conn: &Connection, sql: &str, params: impl Params, map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Tx<Vec<T>> {
    let mut stmt = conn.prepare_cached(sql)?;
    let rows = stmt.query_map(params, map)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn event(r: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        gseq: uint(r.get(0)?),
        task: r.get(1)?,
        seq: uint(r.get(2)?),
        epoch: uint(r.get(3)?),
        at: r.get(4)?,
        kind: r.get(5)?,
        body: r.get(6)?,
        hash: r.get(7)?,
    })
}

fn doc(r: &Row<'_>) -> rusqlite::Result<Doc> {
    Ok(Doc { kind: r.get(0)?, key: r.get(1)?, json: r.get(2)?, revision: uint(r.get(3)?) })
}

/// A row in the order of [`sql::LISTED`].
fn listed(r: &Row<'_>) -> rusqlite::Result<ListedTask> {
    Ok(ListedTask {
        task: r.get(0)?,
        created_at: r.get(1)?,
        batch: r.get(2)?,
        description: r.get::<_, Option<String>>(3)?.unwrap_or_default(),
        row: TaskRow {
            status: r.get(4)?,
            kind: r.get(5)?,
            priority: r.get(6)?,
            lane: r.get(7)?,
            terminal: r.get(8)?,
            wake_at: r.get(9)?,
            json: r.get(10)?,
        },
        head: Head { seq: uint(r.get(11)?), hash: r.get(12)? },
        epoch: uint(r.get(13)?),
        owner: r.get(14)?,
    })
}

/// See [`crate::Journal::read`].
pub(crate) fn journal(conn: &Connection, task: &str, after: u64, limit: u32) -> Tx<Vec<EventRow>> {
    let limit = limit.min(PAGE_ROWS_MAX) as usize;
    // One snapshot of the database for both reads: the entries must reach the end that the row promises.
    // (On a database in memory this runs inside the writing thread's transaction.)
    let view = if conn.is_autocommit() { Some(conn.unchecked_transaction()?) } else { None };
    let Some(end) = head(conn, task)? else {
        return Ok(Vec::new());
    };
    // The entry at `after` comes along for its hash.
    let mut found = damaged(task, after + 1, rows(conn, sql::EVENT_READ, (task, int(after), limit as i64 + 1), event))?;
    drop(view);
    let mut prev = Head::default();
    if after > 0 && after <= end.seq {
        match found.first() {
            Some(e) if e.seq == after => prev = Head { seq: after, hash: e.hash },
            _ => {
                return Err(StoreError::Corrupt { task: task.to_owned(), seq: after }.into());
            }
        }
        found.remove(0);
    }
    found.truncate(limit);
    for e in &found {
        let hash = chain_hash(&prev.hash, prev.seq + 1, e.at, &e.kind, &e.body);
        if e.seq != prev.seq + 1 || e.hash != hash {
            return Err(StoreError::Corrupt { task: task.to_owned(), seq: prev.seq + 1 }.into());
        }
        prev = Head { seq: e.seq, hash };
    }
    let reached_end = found.len() < limit || prev.seq == end.seq;
    if after <= end.seq && reached_end && prev != end {
        // Entries are missing at the end, or the last one is not the one that was committed.
        let seq = if prev.seq < end.seq { prev.seq + 1 } else { end.seq };
        return Err(StoreError::Corrupt { task: task.to_owned(), seq }.into());
    }
    Ok(found)
}

/// A value that does not even have its type any more is a damaged entry, not an error of the database.
fn damaged<T>(task: &str, seq: u64, found: Tx<T>) -> Tx<T> {
    use super::fault::Fault;
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    match found {
        Err(Fault::Sql(FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))) => {
            Err(StoreError::Corrupt { task: task.to_owned(), seq }.into())
        }
        other => other,
    }
}

/// See [`crate::Journal::head`].
pub(crate) fn head(conn: &Connection, task: &str) -> Tx<Option<Head>> {
    first(conn, sql::HEAD, (task,), |r| Ok(Head { seq: uint(r.get(0)?), hash: r.get(1)? }))
}

/// See [`crate::Journal::snapshot`].
pub(crate) fn snapshot(conn: &Connection, task: &str) -> Tx<Option<(u64, Vec<u8>)>> {
    let stored = first(conn, sql::SNAPSHOT, (task,), |r| Ok((uint(r.get(0)?), r.get::<_, Vec<u8>>(1)?, r.get::<_, Vec<u8>>(2)?)))?;
    Ok(stored.and_then(|(seq, hash, body)| {
        let good = blob_hash(&body)[..] == hash[..];
        if !good {
            tracing::warn!(task, seq, "a damaged snapshot is left aside; the journal is folded from its start");
        }
        good.then_some((seq, body))
    }))
}

/// See [`crate::Journal::get_blob`].
pub(crate) fn blob(conn: &Connection, hash: &Hash) -> Tx<Option<Vec<u8>>> {
    let body: Option<Vec<u8>> = first(conn, sql::BLOB, (hash,), |r| r.get(0))?;
    if body.as_deref().is_some_and(|b| blob_hash(b) != *hash) {
        return Err(StoreError::CorruptBlob { hash: *hash }.into());
    }
    Ok(body)
}

/// See [`crate::Journal::feed`].
pub(crate) fn feed(conn: &Connection, after: u64, limit: u32, task: Option<&str>) -> Tx<Vec<EventRow>> {
    let limit = i64::from(limit.min(PAGE_ROWS_MAX));
    match task {
        Some(task) => rows(conn, sql::FEED_TASK, (task, int(after), limit), event),
        None => rows(conn, sql::FEED, (int(after), limit), event),
    }
}

/// See [`crate::Journal::last_gseq`].
pub(crate) fn last_gseq(conn: &Connection) -> Tx<u64> {
    Ok(uint(first(conn, sql::LAST_GSEQ, (), |r| r.get::<_, Option<i64>>(0))?.flatten().unwrap_or(0)))
}

/// See [`crate::Queue::inbox`].
pub(crate) fn inbox(conn: &Connection, task: &str) -> Tx<Vec<InboxEntry>> {
    rows(conn, sql::INBOX, (task, i64::from(PAGE_ROWS_MAX)), |r| Ok(InboxEntry { id: r.get(0)?, at: r.get(1)?, json: r.get(2)? }))
}

/// See [`crate::Catalog::list`].
pub(crate) fn list(conn: &Connection, query: &Query) -> Tx<Vec<ListedTask>> {
    rows(conn, &query.sql, params_from_iter(&query.args), listed)
}

/// See [`crate::Catalog::row`].
pub(crate) fn row(conn: &Connection, task: &str) -> Tx<Option<ListedTask>> {
    let sql = format!("SELECT {} FROM task t WHERE t.task = $1", sql::LISTED);
    first(conn, &sql, (task,), listed)
}

/// See [`crate::Catalog::count`].
pub(crate) fn count(conn: &Connection, query: &Query) -> Tx<u64> {
    let n = first(conn, &query.sql, params_from_iter(&query.args), |r| r.get::<_, i64>(0))?;
    Ok(uint(n.unwrap_or(0)))
}

/// See [`crate::Catalog::counts_by_status`].
pub(crate) fn counts(conn: &Connection) -> Tx<Vec<(String, u64)>> {
    rows(conn, sql::STATUS_COUNTS, (), |r| Ok((r.get(0)?, uint(r.get(1)?))))
}

/// See [`crate::Catalog::get_doc`].
pub(crate) fn get_doc(conn: &Connection, kind: &str, key: &str) -> Tx<Option<Doc>> {
    first(conn, sql::DOC_GET, (kind, key), doc)
}

/// See [`crate::Catalog::list_docs`].
pub(crate) fn list_docs(conn: &Connection, kind: &str, after: &str, limit: u32) -> Tx<Vec<Doc>> {
    rows(conn, sql::DOC_LIST, (kind, after, i64::from(limit.min(PAGE_ROWS_MAX))), doc)
}

/// See [`crate::Catalog::ledger`].
pub(crate) fn ledger(conn: &Connection, key: &str) -> Tx<i64> {
    Ok(first(conn, sql::LEDGER, (key,), |r| r.get(0))?.unwrap_or(0))
}
