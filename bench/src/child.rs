//! The measured process: a [`Runtime`] and nothing else, so that CPU time and memory are of MAOS alone.
//!
//! Invariant: reads one [`Job`] as JSON from stdin, does it, and writes one [`Done`] as JSON to stdout. It must not know the rows.
use anyhow::{Context, Result, anyhow, bail};
use maos_engine::Time;
use maos_engine::ids::TaskId;
use maos_engine::task::Task;
use maos_llm::{ClaudeOptions, Options as LlmOptions};
use maos_runtime::{Hint, Options, Runtime, Submit};
use maos_store::PAGE_ROWS_MAX;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::RecvError;

/// Longest time for the whole job.
const JOB_WAIT: Duration = Duration::from_secs(900);
/// How often the number of ended tasks is looked at while many run.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Tokens a generated plan may take.
const PLAN_TOKENS_MAX: u32 = 4_000_000;

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Address of the model server.
    pub(crate) url: String,
    /// Directory of the data.
    pub(crate) dir: PathBuf,
    /// Tasks.
    pub(crate) tasks: usize,
    /// One after the other, or all at once.
    pub(crate) one_by_one: bool,
    /// Tasks before the measurement, so that connections and caches are warm.
    pub(crate) warm_up: usize,
    /// Most steps of a plan.
    pub(crate) steps_max: u32,
    /// Most turns of an agent.
    pub(crate) turns_max: u32,
    /// Look at the memory so long after the start, in milliseconds.
    pub(crate) look_at_ms: Option<u64>,
}

/// What was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// From the first submission to the end of the last task, in microseconds.
    pub(crate) elapsed_us: u64,
    /// Each task by itself, where they ran one by one.
    pub(crate) each_us: Vec<u64>,
    /// When each task was submitted, microseconds since 1970, where they ran one by one.
    pub(crate) submitted_us: Vec<u64>,
    /// CPU time in user mode meanwhile.
    pub(crate) user_us: u64,
    /// CPU time in the kernel meanwhile.
    pub(crate) system_us: u64,
    /// Memory before the work, KiB.
    pub(crate) rss_before_kib: u64,
    /// Memory in the middle of the work, while nothing happens but waiting for models, KiB; 0 if not asked for.
    pub(crate) rss_waiting_kib: u64,
    /// Most memory ever, KiB.
    pub(crate) rss_peak_kib: u64,
    /// Journal entries written by the measured tasks.
    pub(crate) events: u64,
    /// Reading and folding the largest journal from the beginning, microseconds.
    pub(crate) fold_us: u64,
    /// Entries of that journal.
    pub(crate) fold_events: u64,
}

/// Runs the job on stdin.
pub(crate) fn main() -> Result<()> {
    let job: Job = serde_json::from_reader(std::io::stdin().lock()).context("the job")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async { tokio::time::timeout(JOB_WAIT, run(&job)).await }).context("the job took too long")??;
    serde_json::to_writer(std::io::stdout().lock(), &done)?;
    Ok(())
}

fn options(job: &Job) -> Options {
    let mut options = Options::new(job.dir.clone());
    options.models = LlmOptions {
        claude: Some(ClaudeOptions {
            api_key: "bench".into(),
            key_name: "CLAUDE_API_KEY".into(),
            base_url: Some(job.url.clone()),
            model: None,
            bearer: false,
        }),
        ..LlmOptions::default()
    };
    options.max_agents = 100_000;
    options.live_tasks_max = 100_000;
    options.plan_output_tokens_max = PLAN_TOKENS_MAX;
    options.limits.plan_steps_max = job.steps_max;
    options.limits.turns_max = job.turns_max;
    options.limits.repeat_stop = u32::MAX;
    options.limits.repeat_warn = u32::MAX;
    options
}

fn submission(n: usize) -> Submit {
    Submit { description: format!("bench task {n}"), max_agents: Some(10_000), ..Submit::default() }
}

async fn run(job: &Job) -> Result<Done> {
    let maos = Runtime::open(options(job), "bench", vec![]).await?;
    for n in 0..job.warm_up {
        one(&maos, 1_000_000 + n).await?;
    }
    let mut done = Done { rss_before_kib: memory_kib("VmRSS:")?, ..Done::default() };
    let first_event = maos.store().last_gseq().await?;
    let (user, system) = cpu_us()?;
    let start = Instant::now();
    let look = job.look_at_ms.map(|ms| {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            memory_kib("VmRSS:")
        })
    });
    if job.one_by_one {
        for n in 0..job.tasks {
            done.submitted_us.push(now_us());
            let start = Instant::now();
            one(&maos, n).await?;
            done.each_us.push(micros(start));
        }
    } else {
        together(&maos, job.tasks, job.warm_up).await?;
    }
    done.elapsed_us = micros(start);
    let (user_now, system_now) = cpu_us()?;
    (done.user_us, done.system_us) = (user_now - user, system_now - system);
    done.rss_peak_kib = memory_kib("VmHWM:")?;
    if let Some(look) = look {
        done.rss_waiting_kib = look.await??;
    }
    done.events = maos.store().last_gseq().await? - first_event;
    let start = Instant::now();
    done.fold_events = fold(&maos).await?;
    done.fold_us = micros(start);
    maos.stop(Duration::from_secs(5)).await;
    Ok(done)
}

/// One task, from before its submission until its end is committed.
async fn one(maos: &Runtime, n: usize) -> Result<()> {
    let mut hints = maos.hints();
    let id = maos.submit(submission(n)).await?.task.id.to_string();
    loop {
        // Only commits that may have ended the task are looked at: reading costs CPU that is not MAOS's own.
        let row = maos.store().row(&id).await?.context("the task is gone")?;
        if row.row.terminal {
            let task = maos.view(&id).await?;
            return ended_well(&row.row.status).with_context(|| format!("{:?}", task.error));
        }
        match hints.recv().await {
            Ok(Hint { .. }) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => bail!("the runtime ended"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        while hints.try_recv().is_ok() {}
    }
}

/// All at once.
async fn together(maos: &Runtime, tasks: usize, before: usize) -> Result<()> {
    let mut submitting = tokio::task::JoinSet::new();
    for n in 0..tasks {
        let maos = maos.clone();
        submitting.spawn(async move { maos.submit(submission(n)).await.map(drop) });
    }
    while let Some(done) = submitting.join_next().await {
        done??;
    }
    loop {
        let counts = maos.store().counts_by_status().await?;
        if let Some((status, _)) = counts.iter().find(|(s, _)| !matches!(s.as_str(), "QUEUED" | "RUNNING" | "COMPLETED")) {
            ended_well(status)?;
        }
        let completed = counts.iter().find(|(s, _)| s == "COMPLETED").map_or(0, |(_, n)| *n);
        if completed == (tasks + before) as u64 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn ended_well(status: &str) -> Result<()> {
    if status == "COMPLETED" { Ok(()) } else { bail!("a task is {status}") }
}

/// Reads, verifies and folds the newest journal from its beginning, as a restart without a snapshot would; answers how many entries it has.
async fn fold(maos: &Runtime) -> Result<u64> {
    let store = maos.store();
    let newest = store.feed(store.last_gseq().await?.saturating_sub(1), 1, None).await?;
    let Some(last) = newest.last() else { return Ok(0) };
    let mut task = Task::empty(TaskId::new(last.task.clone()).map_err(|e| anyhow!("{e}"))?);
    loop {
        let rows = store.read(&last.task, task.seq, PAGE_ROWS_MAX).await?;
        for row in &rows {
            task.apply(Time(row.at), &serde_json::from_str(&row.body)?);
        }
        if rows.len() < PAGE_ROWS_MAX as usize {
            return Ok(task.seq);
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

/// User and system time of this process.
fn cpu_us() -> Result<(u64, u64)> {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let us = |t: nix::sys::time::TimeVal| u64::try_from(t.tv_sec() * 1_000_000 + t.tv_usec()).unwrap_or(0);
    Ok((us(used.user_time()), us(used.system_time())))
}

fn memory_kib(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(field)).context("the kernel says nothing about memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
