//! Measures whether a long queue is claimed from as fast as a short one, and what its lists cost.
//!
//! `cargo run --release --example queue_depth -p maos-store -- DIR [TASKS]`: submits that many tasks, then claims
//! and gives back one at a time, and reads the first page, a middle page and the counts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program for people")]
use maos_store::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Claims that are measured.
const CLAIMS: usize = 300;
/// Tasks submitted at the same time.
const SUBMITS: usize = 256;

fn task(prefix: u32, n: usize) -> NewTask {
    let event = NewEvent { kind: "submitted", at: 1, body: "{}".into() };
    let row = TaskRow {
        status: "QUEUED".into(),
        priority: (n % 4) as i16,
        lane: (n % 4) as i64,
        wake_at: Some(0),
        json: format!("{{\"n\":{n}}}"),
        ..TaskRow::default()
    };
    NewTask {
        task: format!("task_{prefix}_{n:09}"),
        created_at: n as i64,
        batch: None,
        description: format!("Task number {n}"),
        commit: Commit { events: vec![event], row, ..Commit::default() },
        depends_on: vec![],
        idempotency: None,
        claim: None,
    }
}

async fn fill(store: &Arc<dyn Store>, tasks: usize) {
    let prefix = std::process::id();
    let mut running = tokio::task::JoinSet::new();
    for t in 0..SUBMITS {
        let store = store.clone();
        running.spawn(async move {
            for n in (t..tasks).step_by(SUBMITS) {
                store.submit(task(prefix, n)).await.unwrap();
            }
        });
    }
    running.join_all().await;
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    println!("{what}: p50 {:.2?}, p99 {:.2?}", took[took.len() / 2], took[took.len() * 99 / 100]);
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().cloned().unwrap_or_else(|| ".".into());
    let tasks: usize = args.get(1).map_or(1_000, |a| a.parse().unwrap());
    let url = format!("sqlite:{dir}/queue_depth.db");
    let store = connect(&url, ConnectOptions::default()).await.unwrap();
    let start = Instant::now();
    fill(&store, tasks).await;
    println!("{tasks} submits: {:.0}/s", tasks as f64 / start.elapsed().as_secs_f64());
    let mut took = Vec::new();
    for _ in 0..CLAIMS {
        let owner = Owner { id: "bench".into(), until: i64::MAX };
        let start = Instant::now();
        let request = ClaimRequest { owner, now: i64::MAX - 1, limit: 1, lane_max: None };
        let claimed = store.claim(request).await.unwrap();
        took.push(start.elapsed());
        store.release(&claimed[0].lease).await.unwrap();
    }
    show("claim", took);
    let start = Instant::now();
    let page = store.list(Filter::default(), Page::default()).await.unwrap();
    println!("first page: {:.2?}", start.elapsed());
    let mut after = page[0].cursor();
    after.created_at /= 2;
    let start = Instant::now();
    store.list(Filter::default(), Page { after: Some(after), ..Page::default() }).await.unwrap();
    println!("middle page: {:.2?}", start.elapsed());
    let start = Instant::now();
    let counts = store.counts_by_status().await.unwrap();
    println!("counts {counts:?}: {:.2?}", start.elapsed());
    store.close().await.unwrap();
}
