//! Where time and money of a task went, for people: figures of the engine, and what follows from them.
use std::collections::BTreeMap;

use maos_api::analysis::{Analysis, CostDriver, PathStep, Suggestion, Waits};
use maos_api::tasks::{Cost, Tokens};
use maos_api::usage::{UsageReport, UsageRow};
use maos_api::{Money, TaskStatus};
use maos_engine::Time;
use maos_engine::analysis::{Analysis as Figures, Share};
use maos_engine::ids::Place;
use maos_engine::message::Usage;
use maos_engine::task::{Run, Task as State};

use super::money;
use super::task::{place_name, run_cost, status_of, tokens};

#[expect(clippy::cast_precision_loss, reason = "figures of a task fit a double")]
fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| (a as f64 / b as f64 * 1000.0).round() / 1000.0)
}

pub(super) fn analysis(state: &State, now: Time) -> Analysis {
    let figures = state.analysis(now);
    let by_place: BTreeMap<&Place, &Share> = figures.shares.iter().map(|s| (&s.place, s)).collect();
    let work = |p: &Place| by_place.get(p).map_or(0, |s| s.work_ms);
    let path = figures.critical_path.iter().map(|p| PathStep {
        id: place_name(p),
        title: by_place.get(p).map_or_else(String::new, |s| s.title.clone()),
        duration_ms: work(p),
    });
    let (gate_ms, retry_ms) = call_waits(state);
    let end = state.finished_at.unwrap_or(now);
    let (steps, models) = (cost_by_step(state), cost_by_model(state));
    Analysis {
        object: "analysis".into(),
        task_id: state.id.to_string(),
        is_final: state.status.is_terminal(),
        wall_ms: figures.wall_ms,
        busy_ms: figures.work_ms,
        speedup: ratio(figures.work_ms, figures.wall_ms),
        critical_path: path.collect(),
        critical_path_ms: figures.critical_path_ms,
        best_possible_speedup: ratio(figures.work_ms, figures.critical_path_ms),
        planning_ms: work(&Place::Plan),
        synthesis_ms: work(&Place::Synthesis),
        waits: Waits {
            queue_ms: figures.queue_wait_ms,
            agent_ms: figures.shares.iter().map(|s| s.seat_wait_ms).sum(),
            gate_ms,
            paused_ms: state.paused_ms + state.paused_at.map_or(0, |since| end.since_ms(since)),
            retry_ms,
        },
        suggestions: suggestions(state, &figures, gate_ms, &models),
        cost_by_step: steps,
        cost_by_model: models,
    }
}

/// Time between the intent of a call and its sending: of first attempts (rate gate), and of calls that were repeated.
fn call_waits(state: &State) -> (u64, u64) {
    let (mut gate, mut retry) = (0, 0);
    for turn in state.runs.values().flat_map(|r| &r.turns) {
        let (Some(paid), Some(asked)) = (&turn.paid, turn.requested_at) else { continue };
        let wait = paid.sent_at.since_ms(asked);
        if turn.attempts > 1 { retry += wait } else { gate += wait }
    }
    (gate, retry)
}

fn drivers(rows: Vec<(String, u64, u64, Option<Money>)>) -> Vec<CostDriver> {
    let known: i64 = rows.iter().filter_map(|r| r.3).map(Money::nanos).sum();
    let share = |m: Option<Money>| ratio(u64::try_from(m?.nanos()).ok()?, u64::try_from(known).ok()?);
    let mut out: Vec<CostDriver> =
        rows.into_iter().map(|(name, calls, tokens, cost)| CostDriver { name, calls, tokens, cost, share: share(cost) }).collect();
    out.sort_by_key(|d| std::cmp::Reverse((d.cost.map_or(0, Money::nanos), d.tokens)));
    out
}

fn cost_by_step(state: &State) -> Vec<CostDriver> {
    let row = |(place, run): (&Place, &Run)| (place_name(place), paid_calls(run), run.usage.total(), run_cost(run).amount);
    drivers(state.runs.iter().map(row).filter(|r| r.1 > 0).collect())
}

fn cost_by_model(state: &State) -> Vec<CostDriver> {
    drivers(usage_by_model(state).into_iter().map(|(name, sum)| (name, sum.calls, sum.usage.total(), sum.cost())).collect())
}

fn paid_calls(run: &Run) -> u64 {
    run.turns.iter().filter(|t| t.paid.is_some()).count() as u64
}

/// What the figures say should be done; each with the figure it rests on.
fn suggestions(state: &State, figures: &Figures, gate_ms: u64, models: &[CostDriver]) -> Vec<Suggestion> {
    let mut out = Vec::new();
    let mut say = |text: String, command: Option<String>| out.push(Suggestion { text, command });
    let agent_ms: u64 = figures.shares.iter().map(|s| s.seat_wait_ms).sum();
    if agent_ms * 10 > figures.wall_ms && agent_ms > 100 {
        let most = figures.most_at_once.max(1);
        let (what, command) = if most >= state.spec.max_agents {
            (format!("max_agents is {}", state.spec.max_agents), format!("maos task submit --max-agents {} …", most * 2))
        } else {
            ("other tasks held the agents of this server".to_owned(), format!("maos config set system.max_agents {}", most * 2))
        };
        say(format!("Steps waited {:.1} s in all for a free agent ({what}).", seconds(agent_ms)), Some(command));
    }
    if gate_ms * 5 > figures.wall_ms && gate_ms > 100 {
        let text = format!("Calls waited {:.1} s in all for the rate limit of the provider.", seconds(gate_ms));
        say(text, Some("maos config set model.researcher OTHER_MODEL".into()));
    }
    let steps = state.plan.as_ref().map_or(0, |p| p.steps.len());
    if let Some(best) = ratio(figures.work_ms, figures.critical_path_ms).filter(|b| steps > 1 && *b < 1.25) {
        let text = format!("The {steps} steps form a chain: no number of agents could have been more than {best:.2} times as fast as one.");
        say(text, Some("maos task submit --max-agents 1 …".into()));
    }
    let longest = figures.shares.iter().filter(|s| s.critical && s.place.step().is_some()).max_by_key(|s| s.work_ms);
    if let Some(step) = longest.filter(|s| steps > 1 && s.work_ms * 2 > figures.critical_path_ms) {
        let percent = step.work_ms * 100 / figures.critical_path_ms.max(1);
        say(
            format!("Step {} \"{}\" is {percent} % of the critical path: ask for it to be split.", place_name(&step.place), step.title),
            None,
        );
    }
    if let Some(top) = models.first().filter(|m| models.len() > 1 && m.share.is_some_and(|s| s > 0.8)) {
        let text = format!("The model {} took {:.0} % of the cost.", top.name, top.share.unwrap_or(0.0) * 100.0);
        say(text, Some("maos config set model.researcher CHEAPER_MODEL".into()));
    }
    if out.is_empty() && status_of(state.status) == TaskStatus::Completed {
        let text = "Nothing stands out: the work was spread as well as the plan allowed.".to_owned();
        out.push(Suggestion { text, command: None });
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a task fit a double")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// A sum over calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) usage: Usage,
    nanos: i64,
    unknown: bool,
}

impl Sum {
    pub(super) fn add(&mut self, usage: Usage, cost: Option<maos_engine::money::Money>) {
        self.calls += 1;
        self.usage += usage;
        self.nanos = self.nanos.saturating_add(cost.map_or(0, |c| c.0));
        self.unknown |= cost.is_none();
    }
    fn cost(&self) -> Option<Money> {
        (!self.unknown).then(|| Money::from_nanos(self.nanos))
    }
    pub(super) fn wire_cost(&self) -> Cost {
        Cost::usd(self.cost(), self.usage.estimated, None)
    }
    fn row(&self, name: String) -> UsageRow {
        UsageRow { name, calls: self.calls, usage: self.wire_usage(), cost: self.wire_cost() }
    }
    pub(super) fn wire_usage(&self) -> Tokens {
        tokens(&self.usage)
    }
}

/// Sums over the paid calls of a task, by any name.
fn sums(state: &State, name: impl Fn(&Place, &Run, &maos_engine::task::Turn) -> String) -> BTreeMap<String, Sum> {
    let mut out: BTreeMap<String, Sum> = BTreeMap::new();
    for (place, run) in &state.runs {
        for turn in &run.turns {
            if let Some(paid) = &turn.paid {
                out.entry(name(place, run, turn)).or_default().add(paid.usage, paid.cost);
            }
        }
    }
    out
}

fn usage_by_model(state: &State) -> BTreeMap<String, Sum> {
    sums(state, |_, _, turn| turn.model.clone())
}

/// By agent: a conversation counts for the agent that had it last.
pub(super) fn usage_by_agent(state: &State) -> BTreeMap<String, Sum> {
    sums(state, |_, run, _| run.agent.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string))
}

pub(super) fn usage(state: &State) -> UsageReport {
    let rows = |sums: BTreeMap<String, Sum>| sums.into_iter().map(|(name, sum)| sum.row(name)).collect();
    let total = sums(state, |_, _, _| "total".into()).remove("total").unwrap_or_default();
    UsageReport {
        object: "usage".into(),
        task_id: state.id.to_string(),
        total: total.row("total".into()),
        by_step: rows(sums(state, |place, _, _| place_name(place))),
        by_agent: rows(usage_by_agent(state)),
        by_model: rows(usage_by_model(state)),
        max_cost: state.spec.max_cost.map(money),
        reserved: money(state.account.reserved),
        possibly_billed: money(state.account.possibly_billed),
        possibly_billed_calls: u64::from(state.account.possibly_billed_calls),
    }
}
