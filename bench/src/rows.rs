//! The rows that measure a [`maos_runtime::Runtime`] in a process of its own against the scripted model server.
//!
//! Invariant: every figure comes from a run of the released path: real HTTP, real store, every commit synced.
use crate::child::Done;
use crate::first_byte::FirstByte;
use crate::place::{Place, script};
use crate::table::{Line, median};
use anyhow::Result;

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Calls the model server has answered whole.
fn completed(stats: &serde_json::Value) -> u64 {
    stats["completed"].as_u64().unwrap_or(0)
}

fn per(us: u64, n: u64) -> f64 {
    ms(us) / n.max(1) as f64
}

fn cpu_note(done: &Done, calls: u64) -> String {
    format!(
        "CPU {:.2} ms a call ({:.2} user + {:.2} system)",
        per(done.user_us + done.system_us, calls),
        per(done.user_us, calls),
        per(done.system_us, calls)
    )
}

/// Plan → 8 agents × 3 calls → synthesis.
pub(crate) fn makespan(place: &Place) -> Result<Vec<Line>> {
    const LATENCY_MS: u64 = 200;
    const CRITICAL_MS: f64 = 5.0 * LATENCY_MS as f64;
    const CALLS: u64 = 1 + 8 * 3 + 1;
    let model = place.model(&script(8, "parallel", 3, LATENCY_MS, LATENCY_MS))?;
    let mut job = place.job(model.url(), if place.quick { 3 } else { 9 })?;
    job.one_by_one = true;
    let done = place.run(&job)?;
    let took = ms(median(&mut done.each_us.clone()));
    let ratio = took / CRITICAL_MS;
    let line = Line::new(
        "plan → 8 agents × 3 calls → synthesis at 200 ms a call, durable",
        "makespan ≤ 1.05 × the critical path",
        format!("{took:.0} ms (median of {}); {}", job.tasks, cpu_note(&done, CALLS * job.tasks as u64)),
        ratio <= 1.05,
    );
    let sequential = (CALLS * LATENCY_MS) as f64;
    Ok(vec![line.ratio(format!("{ratio:.3} × critical path; {:.1} × faster than one call after the other", sequential / took))])
}

/// CPU of a call and calls per second, at no latency.
pub(crate) fn throughput(place: &Place) -> Result<Vec<Line>> {
    let model = place.model(&script(8, "parallel", 3, 0, 0))?;
    let mut best: Option<(f64, u64, Done)> = None;
    for _ in 0..if place.quick { 1 } else { 3 } {
        model.reset()?;
        let job = place.job(model.url(), if place.quick { 40 } else { 150 })?;
        let done = place.run(&job)?;
        let calls = completed(&model.stats()?) - 26 * job.warm_up as u64;
        let rate = calls as f64 * 1e6 / done.elapsed_us as f64;
        if best.as_ref().is_none_or(|(b, ..)| rate > *b) {
            best = Some((rate, calls, done));
        }
    }
    let Some((rate, calls, done)) = best else { return Ok(vec![]) };
    let cpu = per(done.user_us + done.system_us, calls);
    let work = "(tasks of plan → 8 agents × 3 calls with 2 tool calls → synthesis)";
    Ok(vec![
        Line::new(
            format!("CPU (user + system) per durable model call at 0 ms {work}"),
            "≤ 0.3 ms",
            format!("{cpu:.3} ms ({:.3} user + {:.3} system; {calls} calls)", per(done.user_us, calls), per(done.system_us, calls)),
            cpu <= 0.3,
        ),
        Line::new(
            format!("durable model calls per second at 0 ms {work}"),
            "≥ 2,500",
            format!("{rate:.0}/s ({calls} calls, {} journal entries in {:.0} ms)", done.events, ms(done.elapsed_us)),
            rate >= 2_500.0,
        ),
    ])
}

/// Many small tasks at once.
pub(crate) fn small_tasks(place: &Place) -> Result<Vec<Line>> {
    const TASKS: usize = 200;
    let model = place.model(&script(2, "parallel", 1, 20, 20))?;
    let mut best: Option<Done> = None;
    for _ in 0..if place.quick { 1 } else { 5 } {
        let done = place.run(&place.job(model.url(), TASKS)?)?;
        if best.as_ref().is_none_or(|b| done.elapsed_us < b.elapsed_us) {
            best = Some(done);
        }
    }
    let Some(done) = best else { return Ok(vec![]) };
    let rate = TASKS as f64 * 1e6 / done.elapsed_us as f64;
    let line = Line::new(
        "200 small tasks (plan → 2 agents × 1 call → synthesis) at 20 ms, all submitted at once",
        "≥ 500 tasks/s",
        format!("{rate:.0} tasks/s ({:.0} ms; {})", ms(done.elapsed_us), cpu_note(&done, 4 * TASKS as u64)),
        rate >= 500.0,
    );
    let sequential = (TASKS * 4 * 20) as f64;
    let took = ms(done.elapsed_us);
    Ok(vec![line.ratio(format!(
        "{:.1} × the critical path of one (60 ms); {:.0} × faster than one call after the other",
        took / 60.0,
        sequential / took
    ))])
}

/// A thousand agents in one process.
pub(crate) fn thousand_agents(place: &Place) -> Result<Vec<Line>> {
    const AGENTS: usize = 1_000;
    let step_ms = if place.quick { 1_000 } else { 5_000 };
    let model = place.model(&script(AGENTS, "parallel", 3, 0, step_ms))?;
    let mut job = place.job(model.url(), 1)?;
    (job.warm_up, job.steps_max) = (0, 1_000);
    // In the third call of every agent, when what its turns leave behind is there too.
    job.look_at_ms = Some(step_ms * 2 + step_ms * 4 / 5);
    let done = place.run(&job)?;
    let stats = model.stats()?;
    let (took, limit) = (ms(done.elapsed_us) / 1e3, 3.0 * step_ms as f64 / 1e3 + 0.6);
    let idle = done.rss_before_kib;
    let each = |kib: u64| kib.saturating_sub(idle) as f64 / AGENTS as f64;
    let (waiting, most) = (each(done.rss_waiting_kib), each(done.rss_peak_kib));
    let peak = done.rss_peak_kib as f64 / 1024.0;
    let line = Line::new(
        format!("1,000 agents × 3 calls of {} s each in one process (one task of 1,000 steps)", step_ms / 1_000),
        format!("≤ {limit} s; ≤ 64 KiB an agent; ≤ 256 MiB in all"),
        format!(
            "{took:.2} s; {waiting:.0} KiB an agent while all wait in their third call ({most:.0} at the peak); {peak:.0} MiB in all (idle {:.0}); most calls at once {}; {}",
            idle as f64 / 1024.0,
            stats["highest_concurrency"],
            cpu_note(&done, completed(&stats)),
        ),
        took <= limit && waiting <= 64.0 && peak <= 256.0,
    );
    let critical = 3.0 * step_ms as f64 / 1e3;
    Ok(vec![line.ratio(format!(
        "{:.3} × critical path; {:.0} × faster than one call after the other",
        took / critical,
        1_000.0 * critical / took
    ))])
}

/// From the submission to the first byte of the first request at the model server.
pub(crate) fn first_request(place: &Place) -> Result<Vec<Line>> {
    let answer = "rules:\n  - {match: {has_tool: submit_plan}, reply: {tool_calls: [{name: answer, input: {text: four}}]}}\n";
    let model = place.model(answer)?;
    let between = FirstByte::start(model.addr())?;
    let mut job = place.job(between.url(), if place.quick { 20 } else { 100 })?;
    job.one_by_one = true;
    let done = place.run(&job)?;
    let seen = between.requests();
    let after_warm_up = seen.iter().skip(job.warm_up);
    let mut waits: Vec<u64> = done.submitted_us.iter().zip(after_warm_up).map(|(sent, seen)| seen.saturating_sub(*sent)).collect();
    let middle = ms(median(&mut waits));
    let worst = ms(waits.last().copied().unwrap_or(0));
    Ok(vec![Line::new(
        "submit → first model request (in process; the task is committed first)",
        "≤ 15 ms median",
        format!("{middle:.1} ms median, {worst:.1} ms at most ({} submissions)", waits.len()),
        middle <= 15.0 && waits.len() == job.tasks,
    )])
}
