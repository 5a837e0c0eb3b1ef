//! The process aborts at each crash point; whatever was answered is there afterwards, and nothing else but the
//! commit that was under way.
use crate::Place;
use maos_store::conformance::{commit, row, task};
use maos_store::*;
use std::io::Write;
use std::process::Command;

const CHILD: &str = "MAOS_STORE_TEST_CHILD";

/// Not a test of its own: run in a child process by the tests below, it appends until it is aborted.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let mut acks = std::fs::OpenOptions::new().append(true).create(true).open(format!("{dir}/acks")).unwrap();
    let mut ack = |line: String| acks.write_all(line.as_bytes()).unwrap();
    let store = connect(&format!("sqlite:{dir}/maos.db"), ConnectOptions::default()).await.unwrap();
    for t in 0..3 {
        let owner = Owner { id: "child".into(), until: Micros::MAX };
        let new = NewTask { claim: Some(owner), ..task(&format!("t{t}"), 1) };
        let Submitted::Created { lease: Some(lease), mut head, .. } = store.submit(new).await.unwrap() else { panic!() };
        ack(format!("t{t} {}\n", head.seq));
        for n in 1..4 {
            let Appended::Ok { head: end, .. } = store.append(&lease, &head, commit(n, row("RUNNING"))).await.unwrap() else { panic!() };
            head = end;
            ack(format!("t{t} {}\n", head.seq));
        }
    }
}

/// Runs the child until it aborts at `point`; answers the acknowledged and the stored end of each journal.
async fn abort_at(point: &str) -> Vec<(u64, u64)> {
    let place = Place::new();
    let dir = place.dir.path();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture"])
        .env(CHILD, dir)
        .env("MAOS_CRASH_AT", point)
        .output()
        .unwrap();
    assert!(!ended.status.success(), "{point} was never passed");
    let acks = std::fs::read_to_string(dir.join("acks")).unwrap_or_default();
    let store = place.open().await;
    store.steal_all("parent").await.unwrap();
    let mut ends = Vec::new();
    for t in 0..3 {
        let id = format!("t{t}");
        let acked = acks.lines().filter_map(|l| l.strip_prefix(&format!("{id} "))).map(|n| n.parse().unwrap()).max();
        let stored = store.head(&id).await.unwrap().unwrap_or_default().seq;
        assert_eq!(store.read(&id, 0, 100).await.unwrap().len() as u64, stored);
        ends.push((acked.unwrap_or(0), stored));
    }
    // Whatever is there can be worked on again.
    let claim = ClaimRequest { owner: conformance::owner("parent"), now: 10, limit: 10, lane_max: None };
    let stored = ends.iter().filter(|e| e.1 > 0).count();
    assert_eq!(store.claim(claim).await.unwrap().len(), stored);
    ends
}

#[tokio::test]
async fn before_the_commit_nothing_is_stored() {
    assert_eq!(abort_at("store.before_commit").await, [(0, 0), (0, 0), (0, 0)]);
    assert_eq!(abort_at("store.before_commit=3").await, [(2, 2), (0, 0), (0, 0)]);
    assert_eq!(abort_at("store.before_commit=7").await, [(4, 4), (2, 2), (0, 0)]);
}

#[tokio::test]
async fn after_the_commit_everything_is() {
    assert_eq!(abort_at("store.after_commit").await, [(0, 1), (0, 0), (0, 0)]);
    assert_eq!(abort_at("store.after_commit=6").await, [(4, 4), (1, 2), (0, 0)]);
}

#[tokio::test]
async fn around_a_submit() {
    assert_eq!(abort_at("store.submit.before=2").await, [(4, 4), (0, 0), (0, 0)]);
    assert_eq!(abort_at("store.submit.after=2").await, [(4, 4), (0, 1), (0, 0)]);
}

#[tokio::test]
async fn in_a_migration() {
    assert_eq!(abort_at("store.migrate.before_commit").await, [(0, 0), (0, 0), (0, 0)]);
}
