//! The rows that measure the real binary: kill -9, restart with much in flight, start, size, commands.
//!
//! Invariant: the binary is the one that is shipped, started as a person starts it.
use crate::place::Place;
use crate::table::{Line, median};
use anyhow::{Context, Result, bail};
use maos_chaos::cycle::Programs;
use maos_chaos::loops::Plan;
use maos_chaos::maos::{Maos, Setup, Started};
use maos_chaos::model::ModelServer;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Commands measured for a median.
const COMMANDS: usize = 20;
/// Clients that submit at the same time.
const CLIENTS: usize = 16;
/// A server is idle after that.
const IDLE_AFTER: Duration = Duration::from_secs(3);

fn setup(place: &Place, model: &ModelServer, set: &[(&str, &str)]) -> Result<Setup> {
    Ok(Setup {
        program: place.program("maos")?,
        home: place.dir()?.join("home"),
        model_url: model.url(),
        set: set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        env: vec![],
    })
}

fn ready(setup: &Setup) -> Result<Maos> {
    match setup.start(None)? {
        Started::Ready(maos) => Ok(maos),
        Started::Died(status, ..) => bail!("the server died at its start: {status}; see {}", setup.home.join("stderr.txt").display()),
    }
}

/// Kills in the middle: what was paid for is not bought again.
pub(crate) fn kills(place: &Place) -> Result<Vec<Line>> {
    let programs = Programs { maos: place.program("maos")?, scripted: place.program("maos-scripted")? };
    let plan = Plan { seeds: 0, random: if place.quick { 4 } else { 20 }, first_seed: 1, jobs: 2, only: Some("After".into()) };
    let done = plan.run(&programs, &place.dir()?, &|_| {});
    let (mut paid, mut again, mut deaths, mut interrupted) = (0, 0, 0, 0);
    let mut wrong = vec![];
    for (job, outcome) in done {
        let outcome = outcome.with_context(|| format!("seed {}", job.seed))?;
        let v = &outcome.verdict;
        paid += v.paid;
        again += v.bought_again;
        interrupted += v.interrupted;
        deaths += outcome.deaths;
        wrong.extend(v.violations.iter().map(|w| format!("seed {}: {w}", job.seed)));
    }
    let measured = format!(
        "{again} of {paid} ({deaths} kills at random moments; {interrupted} calls cut off, made again and booked as possibly billed; {} violations)",
        wrong.len()
    );
    let line = Line::new("kill -9 in the middle: completed calls bought again", "0", measured, again == 0 && wrong.is_empty());
    Ok(vec![line.ratio(wrong.join("; "))])
}

/// Restart with a thousand tasks in flight.
pub(crate) fn restart(place: &Place) -> Result<Vec<Line>> {
    const TASKS: u64 = 1_000;
    let model = place.model("rules:\n  - {latency_ms: 3600000, reply: {text: late}}\n")?;
    let setup = setup(place, &model, &[("system.max_agents", "2000"), ("calls.first_byte_timeout", "1h"), ("calls.total_timeout", "2h")])?;
    let mut took = vec![];
    for _ in 0..if place.quick { 1 } else { 3 } {
        if setup.home.exists() {
            std::fs::remove_dir_all(&setup.home)?;
        }
        let mut maos = ready(&setup)?;
        submit_many(&maos, usize::try_from(TASKS)?)?;
        model.wait_in_flight(TASKS)?;
        maos.kill()?;
        drop(maos);
        while model.stats()?["in_flight"].as_u64() != Some(0) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let start = Instant::now();
        let maos = ready(&setup)?;
        let until_ready = start.elapsed();
        model.wait_in_flight(TASKS)?;
        took.push((start.elapsed(), until_ready));
        drop(maos);
        while model.stats()?["in_flight"].as_u64() != Some(0) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    took.sort();
    let (all, until_ready) = took[took.len() / 2];
    Ok(vec![Line::new(
        "restart after kill -9 with 1,000 tasks in flight → all 1,000 calls in flight again",
        "≤ 2 s",
        format!("{:.2} s from the start of the process ({:.2} s until it answers)", all.as_secs_f64(), until_ready.as_secs_f64()),
        all <= Duration::from_secs(2),
    )])
}

fn submit_many(maos: &Maos, tasks: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let client = || -> Result<()> {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= tasks {
                    return Ok(());
                }
                let answer = maos.post("/api/tasks", &format!("bench-{n}"), &format!("{{\"description\":\"bench task {n}\"}}"))?;
                if answer.status >= 300 {
                    bail!("submit: {} {}", answer.status, answer.body);
                }
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().try_for_each(|c| c.join().map_err(|_| anyhow::anyhow!("a client died"))?)
    })
}

/// Start, idle memory, size of the binary; commands.
pub(crate) fn commands(place: &Place) -> Result<Vec<Line>> {
    let model =
        place.model("rules:\n  - {match: {has_tool: submit_plan}, reply: {tool_calls: [{name: answer, input: {text: four}}]}}\n")?;
    let setup = setup(place, &model, &[])?;
    std::fs::create_dir_all(&setup.home)?;
    let mut starts = vec![];
    for n in 0..if place.quick { 3 } else { 11 } {
        let took = timed(&setup, &["start"])?;
        // The first start makes the database: a person meets that once.
        if n > 0 {
            starts.push(took);
        }
        timed(&setup, &["stop"])?;
    }
    let start = median(&mut starts) as f64 / 1e3;
    let maos = ready(&setup)?;
    submit_many(&maos, 20)?;
    std::thread::sleep(IDLE_AFTER);
    let idle = resident_kib(maos.pid())? as f64 / 1024.0;
    let size = std::fs::metadata(&setup.program)?.len() as f64 / f64::from(1 << 20);
    let mut help = (0..COMMANDS).map(|_| timed(&setup, &["--help"])).collect::<Result<Vec<_>>>()?;
    let mut list = (0..COMMANDS).map(|_| timed(&setup, &["task", "list"])).collect::<Result<Vec<_>>>()?;
    let (help, list) = (median(&mut help) as f64 / 1e3, median(&mut list) as f64 / 1e3);
    Ok(vec![
        Line::new(
            "`maos start` → ready; idle memory (after 20 tasks); binary",
            "≤ 300 ms; ≤ 40 MiB; ≤ 40 MiB",
            format!("{start:.0} ms; {idle:.1} MiB; {size:.1} MiB"),
            start <= 300.0 && idle <= 40.0 && size <= 40.0,
        ),
        Line::new(
            "`maos --help`; `maos task list` on a local server (20 tasks)",
            "≤ 30 ms; ≤ 60 ms",
            format!("{help:.1} ms; {list:.1} ms (medians of {COMMANDS})"),
            help <= 30.0 && list <= 60.0,
        ),
    ])
}

/// Microseconds a command takes; it must succeed.
fn timed(setup: &Setup, arguments: &[&str]) -> Result<u64> {
    let mut command: Command = setup.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let took = u64::try_from(start.elapsed().as_micros())?;
    if !status.success() {
        bail!("maos {}: {status}", arguments.join(" "));
    }
    Ok(took)
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status")))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("the kernel says nothing about memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
