//! How SQLite runs the statements that must not get slower with the size of the queue or the journals.
use super::open;
use crate::filter;
use crate::url::Place;
use crate::{Cursor, Filter, Page, SortBy, sql};
use rusqlite::Connection;

fn empty() -> Connection {
    let conn = open::writer(&Place::Memory, true, None).unwrap();
    open::migrate(&conn).unwrap();
    conn
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut stmt = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let n = stmt.parameter_count();
    for i in 1..=n {
        stmt.raw_bind_parameter(i, 1).unwrap();
    }
    let mut rows = stmt.raw_query();
    let mut lines = Vec::new();
    while let Some(r) = rows.next().unwrap() {
        lines.push(r.get::<_, String>(3).unwrap());
    }
    lines
}

/// No table or whole index is read through, and nothing is sorted.
fn direct(conn: &Connection, sql: &str) {
    let lines = plan(conn, sql);
    let slow = |l: &String| l.starts_with("SCAN") || l.contains("TEMP B-TREE");
    assert!(!lines.iter().any(slow), "{sql}\n{lines:#?}");
}

#[test]
fn claims_read_the_start_of_the_claim_index() {
    let conn = empty();
    direct(&conn, sql::CLAIM);
    direct(&conn, sql::PROMOTE);
    direct(&conn, sql::SWEEP);
    direct(&conn, sql::RELEASE);
    assert!(plan(&conn, sql::CLAIM).iter().any(|l| l.contains("task_ready")));
    assert!(plan(&conn, sql::PROMOTE).iter().any(|l| l.contains("task_timer")));
    assert!(plan(&conn, sql::SWEEP).iter().any(|l| l.contains("task_held")));
    // These stop at the first entry of a partial index.
    assert!(plan(&conn, sql::ANY_READY).iter().any(|l| l.contains("task_ready")));
    assert!(plan(&conn, sql::NEXT_WAKE).iter().any(|l| l.contains("SEARCH") && l.contains("task_timer")));
}

#[test]
fn journals_are_read_by_key() {
    let conn = empty();
    for sql in [
        sql::APPEND_SAME,
        sql::APPEND,
        sql::LEASE,
        sql::EVENT_READ,
        sql::FEED,
        sql::FEED_TASK,
        sql::INBOX,
        sql::INBOX_USED,
        sql::WAKE,
        sql::DEP_TELL,
        sql::DEP_WAKE,
        sql::DEP_DONE,
        sql::TASK_END,
        sql::SNAPSHOT,
        sql::BLOB,
        sql::DOC_LIST,
        sql::IDEM_GET,
        sql::IDEM_FORGET,
        sql::LEDGER,
    ] {
        direct(&conn, sql);
    }
}

#[test]
fn pages_continue_from_an_index() {
    let conn = empty();
    let after = Some(Cursor { priority: 1, created_at: 1, task: "t".into() });
    let status = Filter { status: vec!["RUNNING".into()], ..Filter::default() };
    let batch = Filter { batch: Some("b".into()), ..Filter::default() };
    for filter in [Filter::default(), status, batch] {
        let page = Page { after: after.clone(), ..Page::default() };
        direct(&conn, &filter::list(&filter, &page).unwrap().sql);
    }
    let page = Page { sort: SortBy::Priority, after, ..Page::default() };
    direct(&conn, &filter::list(&Filter::default(), &page).unwrap().sql);
}
