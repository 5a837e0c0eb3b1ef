//! What the sandbox adds to a command. This program is its own helper, as `maos` is.
//!
//! Invariant: the command is the same in all; it runs bare and in each of the others in turn, so that all see the same load.
use crate::place::Place;
use crate::table::{Line, median};
use anyhow::{Result, ensure};
use maos_sandbox::{Choice, Helper, Job, Quota, Sandbox, Workspace};
use std::sync::Arc;
use std::time::Instant;
use tokio::process::Command;

/// The argument that makes this program the helper.
pub(crate) const HELPER: &str = "sandbox-exec";
/// Commands measured in each way.
const COMMANDS: usize = 100;
/// Commands before that.
const WARM_UP: usize = 5;
/// What runs.
const COMMAND: [&str; 3] = ["/bin/sh", "-c", "echo done"];

/// A command bare, in tier 1 and in both ways to tier 2.
pub(crate) fn overhead(place: &Place) -> Result<Vec<Line>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(place))
}

async fn measure(place: &Place) -> Result<Vec<Line>> {
    let dir = place.dir()?;
    let helper = Helper { program: "/proc/self/exe".into(), prefix: vec![HELPER.to_owned()] };
    let workspace = Arc::new(Workspace::open(&dir.join("task"), Quota::default())?);
    let lsm = Sandbox::choose(Choice::Lsm, helper.clone(), &dir.join("state-1")).await?;
    let namespaces = Sandbox::choose(Choice::Namespaces, helper.clone(), &dir.join("state-2")).await?;
    let own = Sandbox::choose_with(Choice::Namespaces, helper, &dir.join("state-3"), None).await?;
    let (mut bare, mut one, mut two, mut three) = (vec![], vec![], vec![], vec![]);
    for number in 0..WARM_UP + COMMANDS {
        let began = Instant::now();
        let out = Command::new(COMMAND[0]).args(&COMMAND[1..]).output().await?;
        ensure!(out.stdout == b"done\n", "the bare command failed");
        let took_bare = began.elapsed();
        let took_one = sandboxed(&lsm, &workspace).await?;
        let took_two = sandboxed(&namespaces, &workspace).await?;
        let took_three = sandboxed(&own, &workspace).await?;
        if number >= WARM_UP {
            for (all, took) in [(&mut bare, took_bare), (&mut one, took_one), (&mut two, took_two), (&mut three, took_three)] {
                all.push(u64::try_from(took.as_micros())?);
            }
        }
    }
    let (bare_p95, bare_p50) = (p95(&mut bare), median(&mut bare));
    let line = |name: &str, target_us: u64, all: &mut Vec<u64>| {
        let (high, middle) = (p95(all), median(all));
        let over = high.saturating_sub(bare_p95);
        Line::new(
            format!("a sandboxed command (`sh -c 'echo done'`), {name}: p95 over {COMMANDS}"),
            format!("≤ {} ms above the bare command", target_us / 1000),
            format!("{:.1} ms above", over as f64 / 1e3),
            over <= target_us,
        )
        .ratio(format!(
            "p95 {:.1} ms, median {:.1} ms; bare p95 {:.1} ms, median {:.1} ms; cgroup {}",
            high as f64 / 1e3,
            middle as f64 / 1e3,
            bare_p95 as f64 / 1e3,
            bare_p50 as f64 / 1e3,
            lsm.describe().cgroup
        ))
    };
    Ok(vec![
        line("tier 1 (lsm)", 10_000, &mut one),
        line("tier 2 (namespaces, by bubblewrap where it is installed)", 60_000, &mut two),
        line("tier 2 (namespaces, by MAOS itself)", 60_000, &mut three),
    ])
}

async fn sandboxed(sandbox: &Sandbox, workspace: &Arc<Workspace>) -> Result<std::time::Duration> {
    let began = Instant::now();
    let done = sandbox.run(Job::new(COMMAND, Arc::clone(workspace))).await?;
    ensure!(done.stdout.text() == "done\n", "the sandboxed command failed: {done:?}");
    Ok(began.elapsed())
}

fn p95(all: &mut [u64]) -> u64 {
    all.sort_unstable();
    all.get(all.len() * 95 / 100).copied().unwrap_or(0)
}
