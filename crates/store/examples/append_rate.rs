//! Measures durable appends per second, their latency and the CPU time of one.
//!
//! `cargo run --profile release --example append_rate -p maos-store -- DIR [TASKS] [APPENDS_PER_TASK]`: that many
//! tasks append at the same time, each commit with two events of about 600 bytes and a row, synced to disk.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program for people")]
use maos_store::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OWNER: &str = "bench";

fn commit(n: usize, body: &str) -> Commit {
    let event = |kind| NewEvent { kind, at: n as i64, body: body.to_owned() };
    let row = TaskRow { status: "RUNNING".into(), priority: 1, json: body.to_owned(), ..TaskRow::default() };
    Commit { events: vec![event("requested"), event("completed")], row, ..Commit::default() }
}

async fn one(store: Arc<dyn Store>, id: String, appends: usize, body: String) -> Vec<Duration> {
    let new = NewTask {
        task: id,
        created_at: 1,
        batch: None,
        description: "bench".into(),
        commit: commit(0, &body),
        depends_on: vec![],
        idempotency: None,
        claim: Some(Owner { id: OWNER.into(), until: i64::MAX }),
    };
    let Submitted::Created { lease: Some(lease), mut head, .. } = store.submit(new).await.unwrap() else { unreachable!("a new task") };
    let mut took = Vec::with_capacity(appends);
    for n in 1..=appends {
        let start = Instant::now();
        let Appended::Ok { head: end, .. } = store.append(&lease, &head, commit(n, &body)).await.unwrap() else {
            unreachable!("only this task appends to its journal")
        };
        took.push(start.elapsed());
        head = end;
    }
    took
}

/// User and system time of this process so far, from /proc (in ticks of 10 ms).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| args.get(i).map_or(default, |a| a.parse().unwrap());
    let dir = args.first().cloned().unwrap_or_else(|| ".".into());
    let (tasks, appends): (usize, usize) = (number(1, 200), number(2, 100));
    let url = format!("sqlite:{dir}/append_rate.db");
    let store = connect(&url, ConnectOptions::default()).await.unwrap();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(588));
    let prefix = std::process::id();
    let (start, before) = (Instant::now(), cpu());
    let mut running = tokio::task::JoinSet::new();
    for t in 0..tasks {
        running.spawn(one(store.clone(), format!("task_{prefix}_{t:06}"), appends, body.clone()));
    }
    let mut took: Vec<Duration> = running.join_all().await.into_iter().flatten().collect();
    let (wall, used) = (start.elapsed(), cpu() - before);
    took.sort();
    let n = took.len();
    println!(
        "{n} appends in {wall:.2?}: {:.0}/s, p50 {:.2?}, p99 {:.2?}, CPU {:.4} ms each",
        n as f64 / wall.as_secs_f64(),
        took[n / 2],
        took[n * 99 / 100],
        used.as_secs_f64() * 1e3 / n as f64
    );
    store.close().await.unwrap();
}
