//! What a task's time and money went into: figures computed from its state, so from its journal.
//!
//! *Work* is the time model and tool calls took. *Measured speed-up* = work ÷ wall time (what one agent doing one call after the other
//! would have needed ÷ what was needed). The *critical path* is the longest chain of work through the plan; *best possible speed-up* of
//! the plan = work ÷ critical path (the span law: Brent 1974).
use crate::ids::{Place, StepId};
use crate::money::Money;
use crate::status::StepStatus;
use crate::task::{CallState, Run, Task};
use crate::time::Time;
use std::collections::BTreeMap;

/// Where one conversation's time went. Milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Where.
    pub place: Place,
    /// Title of the step, or `plan` / `synthesis`.
    pub title: String,
    /// State.
    pub status: StepStatus,
    /// Model and tool calls.
    pub work_ms: u64,
    /// Waiting for an agent.
    pub seat_wait_ms: u64,
    /// Waiting for the rate gate, back-off and retries.
    pub call_wait_ms: u64,
    /// From first agent to end.
    pub wall_ms: u64,
    /// Model calls paid.
    pub calls: u32,
    /// Attempts that failed or were cut off.
    pub failed_attempts: u32,
    /// Known cost.
    pub cost: Money,
    /// It lies on the critical path.
    pub critical: bool,
}

/// The whole analysis. Milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// From the first agent (since the last retry) to the end (or now), held time not counted.
    pub wall_ms: u64,
    /// From submission to the first agent.
    pub queue_wait_ms: u64,
    /// All model and tool calls since then added up.
    pub work_ms: u64,
    /// The longest chain of work.
    pub critical_path_ms: u64,
    /// Its places in order.
    pub critical_path: Vec<Place>,
    /// Per place, in order of the plan.
    pub shares: Vec<Share>,
    /// Cost per model.
    pub by_model: BTreeMap<String, (u32, Money)>,
    /// Most agents at work at the same time.
    pub most_at_once: u32,
}

impl Analysis {
    /// Work ÷ wall time.
    pub fn speedup(&self) -> f64 {
        ratio(self.work_ms, self.wall_ms)
    }
    /// Work ÷ critical path: what this plan allowed at most.
    pub fn best_speedup(&self) -> f64 {
        ratio(self.work_ms, self.critical_path_ms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a task fit a double")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

impl Task {
    /// Analyses the task as it stands at `now`.
    pub fn analysis(&self, now: Time) -> Analysis {
        let end = self.finished_at.unwrap_or(now);
        let start = self.started_at.unwrap_or(end);
        let held = self.paused_ms + self.paused_at.map_or(0, |since| end.since_ms(since));
        let mut shares: Vec<Share> = vec![];
        let places = [Place::Plan]
            .into_iter()
            .chain(self.plan.iter().flat_map(|p| &p.steps).map(|s| Place::Step(s.id.clone())))
            .chain([Place::Synthesis])
            .chain(self.runs.keys().filter(|p| matches!(p, Place::Vote { .. } | Place::Revision)).cloned());
        for place in places {
            if let Some(run) = self.runs.get(&place) {
                shares.push(self.share(place, run, start, end));
            }
        }
        let (critical_path, critical_path_ms) = self.critical(&shares);
        for share in &mut shares {
            share.critical = critical_path.contains(&share.place);
        }
        let mut by_model: BTreeMap<String, (u32, Money)> = BTreeMap::new();
        for turn in self.runs.values().flat_map(|r| &r.turns) {
            if let Some(paid) = &turn.paid {
                let entry = by_model.entry(turn.model.clone()).or_default();
                entry.0 += 1;
                entry.1 = entry.1.plus(paid.cost.unwrap_or_default());
            }
        }
        Analysis {
            wall_ms: end.since_ms(start).saturating_sub(held),
            queue_wait_ms: start.since_ms(self.created_at),
            work_ms: shares.iter().map(|s| s.work_ms).sum(),
            critical_path_ms,
            critical_path,
            most_at_once: self.most_at_once(start, end),
            shares,
            by_model,
        }
    }

    fn share(&self, place: Place, run: &Run, start: Time, end: Time) -> Share {
        let mut share = Share {
            title: match &place {
                Place::Plan => "plan".into(),
                Place::Synthesis => "synthesis".into(),
                Place::Revision => "revision".into(),
                Place::Vote { round, seat } => format!("vote {seat} of ballot {round}"),
                Place::Step(_) => self.step(&place).map_or(String::new(), |s| s.title.clone()),
            },
            place,
            status: run.status,
            work_ms: 0,
            seat_wait_ms: run.ready_at.map_or(0, |r| run.started_at.unwrap_or(end).since_ms(r)),
            call_wait_ms: 0,
            wall_ms: run.started_at.map_or(0, |s| run.finished_at.unwrap_or(end).since_ms(s)),
            calls: 0,
            failed_attempts: 0,
            cost: run.cost,
            critical: false,
        };
        for turn in &run.turns {
            if let Some(paid) = &turn.paid {
                share.calls += 1;
                // Time before a retry is neither in the wall time nor in the work.
                if paid.sent_at >= start {
                    share.work_ms += paid.at.since_ms(paid.sent_at);
                    share.call_wait_ms += turn.requested_at.map_or(0, |r| paid.sent_at.since_ms(r.max(start)));
                }
            }
            share.failed_attempts += turn.attempts.saturating_sub(u32::from(turn.paid.is_some()) + u32::from(turn.open.is_some()));
            for call in &turn.calls {
                if let CallState::Settled { started_at: Some(from), at, .. } = call.state
                    && from >= start
                {
                    share.work_ms += at.since_ms(from);
                }
            }
        }
        share
    }

    /// The chain of places with the most work, from the plan to the synthesis.
    fn critical(&self, shares: &[Share]) -> (Vec<Place>, u64) {
        let work: BTreeMap<&Place, u64> = shares.iter().map(|s| (&s.place, s.work_ms)).collect();
        let mut best: BTreeMap<&StepId, (u64, Option<&StepId>)> = BTreeMap::new();
        // The runs' `path` falls along every edge, so this order is topological.
        let mut steps: Vec<_> = self.steps().collect();
        steps.sort_by_key(|(_, run)| std::cmp::Reverse(run.path));
        for (step, _) in &steps {
            let before = step.depends_on.iter().filter_map(|d| Some((best.get(d)?.0, d))).max();
            let own = work.get(&Place::Step(step.id.clone())).copied().unwrap_or(0);
            best.insert(&step.id, (own + before.map_or(0, |b| b.0), before.map(|b| b.1)));
        }
        let mut path = vec![];
        let mut total = 0;
        if let Some((mut at, (ms, _))) = best.iter().max_by_key(|(_, (ms, _))| *ms).map(|(s, b)| (*s, *b)) {
            total = ms;
            path.push(Place::Step(at.clone()));
            // Bounded, so that even a plan that is no DAG cannot hold it up.
            while let Some(before) = best[at].1.filter(|_| path.len() < best.len()) {
                at = before;
                path.push(Place::Step(at.clone()));
            }
        }
        path.reverse();
        if let Some(ms) = work.get(&Place::Plan) {
            path.insert(0, Place::Plan);
            total += ms;
        }
        if let Some(ms) = work.get(&Place::Synthesis) {
            path.push(Place::Synthesis);
            total += ms;
        }
        // Of the voters of a ballot the slowest counts, unless the outcome was fixed without it.
        for ballot in &self.ballots {
            if ballot.draft.place == Place::Revision && !path.contains(&Place::Revision) {
                path.push(Place::Revision);
                total += work.get(&Place::Revision).copied().unwrap_or(0);
            }
            let seats = shares.iter().filter(|s| matches!(s.place, Place::Vote { round, .. } if round == ballot.round));
            if let Some(slowest) = seats.max_by_key(|s| s.work_ms) {
                path.push(slowest.place.clone());
                total += slowest.work_ms;
            }
        }
        (path, total)
    }

    fn most_at_once(&self, start: Time, end: Time) -> u32 {
        let mut edges: Vec<(Time, i32)> = vec![];
        for run in self.runs.values() {
            if let Some(from) = run.started_at.filter(|from| *from >= start) {
                edges.push((from, 1));
                edges.push((run.finished_at.unwrap_or(end), -1));
            }
        }
        edges.sort();
        let (mut now, mut most) = (0i32, 0i32);
        for (_, step) in edges {
            now += step;
            most = most.max(now);
        }
        u32::try_from(most).unwrap_or(0)
    }
}
