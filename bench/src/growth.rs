//! How time grows with tasks, agents, journals and queues: ten times the work must take about ten times as long.
//!
//! Invariant: the smallest size is large enough that constant costs do not flatter the ratio.
use crate::place::{Place, script};
use crate::table::{Line, median};
use anyhow::{Result, bail};
use maos_store::{ClaimRequest, Commit, ConnectOptions, NewEvent, NewTask, Owner, Submitted, TaskRow};
use std::sync::Arc;
use std::time::Instant;

/// Due for each factor of ten.
const FACTOR_MAX: f64 = 11.0;
/// A claim may take this much longer in a queue a thousand times as long.
const CLAIM_FACTOR_MAX: f64 = 2.0;
/// Tasks taken in one claim.
const CLAIM_TASKS: u32 = 64;
/// Claims measured.
const CLAIMS: usize = 12;

fn series(what: &str, unit: &str, points: &[(usize, u64)]) -> Line {
    let factors: Vec<f64> = points.windows(2).map(|w| (w[1].1 as f64 / w[0].1 as f64) / (w[1].0 as f64 / w[0].0 as f64) * 10.0).collect();
    let measured = points.iter().map(|(n, us)| format!("{n}: {:.1} ms", *us as f64 / 1e3)).collect::<Vec<_>>().join(", ");
    let shown = factors.iter().map(|f| format!("{f:.1}")).collect::<Vec<_>>().join(", ");
    let ok = factors.iter().all(|f| *f <= FACTOR_MAX);
    Line::new(format!("growth: {what}"), "≤ 11 × time for 10 ×", format!("{measured} ({unit})"), ok)
        .ratio(format!("× {shown} for each 10 ×"))
}

/// Tasks, agents, journal length.
pub(crate) fn work(place: &Place) -> Result<Vec<Line>> {
    let sizes = |small: usize, count: usize| (0..count).map(move |i| small * 10usize.pow(u32::try_from(i).unwrap_or(0)));
    let most = if place.quick { 2 } else { 3 };
    let mut out = vec![];

    let mut points = vec![];
    for n in sizes(50, most) {
        let model = place.model(&script(2, "parallel", 1, 0, 0))?;
        points.push((n, place.run(&place.job(model.url(), n)?)?.elapsed_us));
    }
    out.push(series("tasks, all at once (plan → 2 agents × 1 call → synthesis at 0 ms)", "tasks: time", &points));

    for (shape, what) in
        [("parallel", "agents of one task, all at once"), ("chain", "steps one after the other: journal length of one task")]
    {
        let (mut points, mut folds) = (vec![], vec![]);
        for n in sizes(if shape == "chain" { 20 } else { 100 }, most) {
            let model = place.model(&script(n, shape, 1, 0, 0))?;
            let mut job = place.job(model.url(), 1)?;
            (job.warm_up, job.steps_max, job.one_by_one) = (0, 10_000, true);
            let done = place.run(&job)?;
            points.push((n, done.elapsed_us));
            folds.push((usize::try_from(done.fold_events)?, done.fold_us));
        }
        out.push(series(what, "steps: time", &points));
        out.push(series("reading and folding that journal from its beginning", "entries: time", &folds));
    }
    Ok(out)
}

/// Claiming from a long queue.
pub(crate) fn claims(place: &Place) -> Result<Vec<Line>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let long = if place.quick { 100_000 } else { 1_000_000 };
    let short_us = runtime.block_on(claim_us(place, 1_000))?;
    let long_us = runtime.block_on(claim_us(place, long))?;
    let ratio = long_us as f64 / short_us.max(1) as f64;
    let line = Line::new(
        format!("a queue of {long} tasks is claimed from as fast as one of 1,000 ({CLAIM_TASKS} tasks a claim)"),
        "as fast",
        format!("1,000: {:.2} ms; {long}: {:.2} ms (medians of {CLAIMS} durable claims)", short_us as f64 / 1e3, long_us as f64 / 1e3),
        ratio <= CLAIM_FACTOR_MAX,
    );
    Ok(vec![line.ratio(format!("× {ratio:.2}"))])
}

async fn claim_us(place: &Place, tasks: usize) -> Result<u64> {
    let dir = place.dir()?;
    let store = maos_store::connect(&format!("sqlite:{}", dir.join("queue.db").display()), ConnectOptions::default()).await?;
    let mut filling = tokio::task::JoinSet::new();
    const FILLERS: usize = 256;
    for filler in 0..FILLERS {
        let store = Arc::clone(&store);
        filling.spawn(async move {
            for n in (filler..tasks).step_by(FILLERS) {
                if !matches!(store.submit(queued(n)).await?, Submitted::Created { .. }) {
                    bail!("a task was not made");
                }
            }
            Ok(())
        });
    }
    while let Some(done) = filling.join_next().await {
        done??;
    }
    let mut took = vec![];
    for n in 0..CLAIMS {
        let request = ClaimRequest { owner: Owner { id: "bench".into(), until: i64::MAX }, now: 10, limit: CLAIM_TASKS, lane_max: None };
        let start = Instant::now();
        let claimed = store.claim(request).await?.len();
        took.push(u64::try_from(start.elapsed().as_micros())?);
        if claimed != CLAIM_TASKS as usize {
            bail!("claim {n} got {claimed} tasks");
        }
    }
    store.close().await?;
    drop(store);
    std::fs::remove_dir_all(&dir)?;
    Ok(median(&mut took))
}

fn queued(n: usize) -> NewTask {
    let body = "{\"type\":\"submitted\",\"spec\":{\"description\":\"one of very many\"}}".to_owned();
    let row =
        TaskRow { status: "QUEUED".into(), priority: 1, lane: (n % 7) as i64, wake_at: Some(1), json: body.clone(), ..TaskRow::default() };
    NewTask {
        task: format!("task_{n:016}"),
        created_at: 1 + n as i64 % 5,
        batch: None,
        description: "one of very many".into(),
        commit: Commit { events: vec![NewEvent { kind: "submitted", at: 1, body }], row, ..Commit::default() },
        depends_on: vec![],
        idempotency: None,
        claim: None,
    }
}
