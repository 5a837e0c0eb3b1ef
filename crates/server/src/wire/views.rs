//! What can be read of one task, computed from its folded journal.
use async_trait::async_trait;
use maos_api::agents::Agent;
use maos_api::analysis::{Analysis, CostDriver, PathStep, Suggestion, Waits};
use maos_api::limits::OUTPUT_BYTES_MAX;
use maos_api::plan::{Plan, PlanSource, Step};
use maos_api::query::OutputQuery;
use maos_api::shared::{Message, Output, OutputSection, StateEntry, StateVersion};
use maos_api::tasks::{Partial, ResultText, Results, Tokens};
use maos_api::usage::{UsageReport, UsageRow};
use maos_engine::analysis::Share;
use maos_engine::event::TextRef;
use maos_engine::ids::Place;
use maos_engine::message::Usage;
use maos_engine::money::Money;
use maos_engine::plan as engine_plan;
use maos_engine::status::StepStatus;
use maos_engine::task::{Run, Task};
use std::collections::BTreeMap;

use super::problems::problem;
use super::{Wire, convert};
use crate::backend::{Files, Reply, Views};

/// What stands for the id of a step where the draft of the result is shown.
const DRAFT: &str = "draft";

#[async_trait]
impl Views for Wire {
    async fn results(&self, id: &str) -> Reply<Results> {
        let outcome = self.runtime.outcome(id).await.map_err(problem)?;
        let task = self.task(&outcome.task);
        let artifacts = self.artifacts(id).await?;
        let by = |at: &TextRef| outcome.task.runs.get(&at.place).and_then(|r| r.agent.as_ref()).map(ToString::to_string);
        let draft = outcome.draft.map(|text| Partial {
            step_id: DRAFT.into(),
            title: "The result as drafted; voters have not accepted it".into(),
            agent_id: outcome.task.draft().and_then(by),
            state: maos_api::StepState::Completed,
            text,
        });
        let partial = outcome.partial.into_iter().map(|o| {
            let run = outcome.task.runs.get(&Place::Step(o.step.clone()));
            Partial {
                step_id: o.step.to_string(),
                title: o.title,
                agent_id: run.and_then(|r| r.agent.as_ref()).map(ToString::to_string),
                state: run.map_or(maos_api::StepState::Completed, |r| convert::step_state(r.status)),
                text: o.text,
            }
        });
        Ok(Results {
            task_id: task.task_id,
            status: task.status,
            is_final: task.status.is_final(),
            result: outcome.text.map(ResultText::markdown),
            artifacts,
            partial: partial.chain(draft).collect(),
            error: task.error,
        })
    }

    async fn plan(&self, id: &str) -> Reply<Plan> {
        let task = self.view(id).await?;
        let source = task.plan_source.map(|s| match s {
            engine_plan::PlanSource::Model => PlanSource::Planner,
            engine_plan::PlanSource::Single => PlanSource::SingleAgent,
            engine_plan::PlanSource::Fallback => PlanSource::Fallback,
        });
        let answered = task.plan.is_none() && task.result.as_ref().is_some_and(|r| r.answer);
        Ok(Plan {
            object: "plan".into(),
            task_id: task.id.to_string(),
            source: if answered { Some(PlanSource::Answer) } else { source },
            rationale: task.plan.as_ref().map(|p| p.rationale.clone()).filter(|r| !r.is_empty()),
            version: u32::from(task.plan.is_some()),
            steps: task.steps().map(|(s, r)| step(s, r)).collect(),
        })
    }

    async fn analysis(&self, id: &str) -> Reply<Analysis> {
        let task = self.view(id).await?;
        Ok(analysis(&task))
    }

    async fn usage(&self, id: &str) -> Reply<UsageReport> {
        let task = self.view(id).await?;
        Ok(usage(&task))
    }

    async fn task_agents(&self, id: &str) -> Reply<Vec<Agent>> {
        let task = self.view(id).await?;
        let mut agents: BTreeMap<String, Agent> = BTreeMap::new();
        let kinds = self.kinds();
        let working: BTreeMap<String, _> = task.at_work(usize::MAX).into_iter().map(|a| (a.agent.to_string(), a)).collect();
        for (place, run) in &task.runs {
            let Some(id) = &run.agent else { continue };
            let row = agents.entry(id.to_string()).or_insert_with(|| kinds.agent_row(id.as_str(), run.kind.as_str()));
            row.steps_completed += u64::from(run.status == StepStatus::Completed);
            row.steps_failed += u64::from(run.status == StepStatus::Failed);
            row.calls += paid(run);
            row.usage += convert::tokens(&run.usage);
            row.cost = convert::cost(row.cost.amount.map(|sum| Money(sum.nanos()).plus(run.cost)));
            if let Some(a) = working.get(id.as_str()).filter(|a| a.place == *place) {
                row.status = convert::at_work_status(a);
                row.task_id = Some(task.id.to_string());
                row.step_id = place.step().map(ToString::to_string);
                row.activity = Some(a.activity.clone());
                row.last_activity_at = Some(convert::time(a.since));
            }
        }
        Ok(agents.into_values().collect())
    }

    async fn state(&self, id: &str) -> Reply<Vec<StateEntry>> {
        let task = self.view(id).await?;
        let entries = task.share.state.iter().filter_map(|(key, writes)| {
            let history: Vec<StateVersion> = writes
                .iter()
                .enumerate()
                .map(|(i, w)| StateVersion {
                    version: i as u64 + 1,
                    value: w.value.clone(),
                    writer: w.by.to_string(),
                    updated_at: convert::time(w.at),
                })
                .collect();
            let mut history = history;
            let last = history.pop()?;
            history.reverse();
            Some(StateEntry {
                key: key.clone(),
                value: last.value,
                version: last.version,
                writer: last.writer,
                updated_at: last.updated_at,
                history,
            })
        });
        Ok(entries.collect())
    }

    async fn messages(&self, id: &str) -> Reply<Vec<Message>> {
        let task = self.view(id).await?;
        let message = |(i, m): (usize, &maos_engine::share::Mail)| Message {
            number: i as u64 + 1,
            from: m.from.to_string(),
            to: m.to.clone(),
            body: m.body.clone(),
            time: convert::time(m.at),
        };
        Ok(task.share.mail.iter().enumerate().map(message).collect())
    }

    async fn output(&self, id: &str, query: &OutputQuery) -> Reply<Output> {
        let task = self.view(id).await?;
        let mut sections = vec![];
        for piece in self.runtime.output(id).await.map_err(problem)? {
            let run = task.runs.get(&piece.effect.place);
            let agent_id = run.and_then(|r| r.agent.as_ref()).map(ToString::to_string);
            let stream = piece.effect.to_string();
            if query.agent.as_ref().is_some_and(|a| Some(a) != agent_id.as_ref()) || query.stream.as_ref().is_some_and(|s| *s != stream) {
                continue;
            }
            let (offset, total_bytes) = (0, piece.text.len() as u64);
            let step_id = piece.effect.place.step().map(ToString::to_string);
            let section = OutputSection { stream, agent_id, step_id, offset, total_bytes, text: piece.text, complete: piece.complete };
            sections.push(cut(section, query));
        }
        Ok(Output { object: "output".into(), task_id: task.id.to_string(), sections })
    }
}

/// The part of a section that was asked for, at most [`OUTPUT_BYTES_MAX`], cut between characters.
fn cut(mut section: OutputSection, query: &OutputQuery) -> OutputSection {
    let total = section.text.len();
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(total);
    let mut from = query.offset.map_or(0, at).max(query.tail.map_or(0, |tail| total - at(tail)));
    while !section.text.is_char_boundary(from) {
        from += 1;
    }
    let mut to = total.min(from.saturating_add(at(OUTPUT_BYTES_MAX)));
    while !section.text.is_char_boundary(to) {
        to -= 1;
    }
    section.offset = from as u64;
    section.text = section.text[from..to].to_owned();
    section
}

fn paid(run: &Run) -> u64 {
    run.turns.iter().filter(|t| t.paid.is_some()).count() as u64
}

fn step(s: &engine_plan::PlanStep, r: &Run) -> Step {
    Step {
        id: s.id.to_string(),
        title: s.title.clone(),
        instructions: s.instructions.clone(),
        agent_type: r.kind.to_string(),
        capabilities: s.capabilities.clone(),
        depends_on: s.depends_on.iter().map(ToString::to_string).collect(),
        state: convert::step_state(r.status),
        agent_id: r.agent.as_ref().map(ToString::to_string),
        started_at: r.started_at.map(convert::time),
        finished_at: r.finished_at.map(convert::time),
        duration_ms: r.started_at.zip(r.finished_at).map(|(a, b)| b.since_ms(a)),
        cost: convert::cost(run_cost(r)),
        attempts: r.turns.iter().map(|t| t.attempts).max().unwrap_or(0),
        error: r.error.as_ref().map(|e| convert::failure(e, Some(s.id.to_string()))),
    }
}

/// Cost of a run; `None` if some call had no known price.
fn run_cost(run: &Run) -> Option<Money> {
    run.turns.iter().filter_map(|t| t.paid.as_ref()).all(|p| p.cost.is_some()).then_some(run.cost)
}

/// Rounded to two places, as it is shown.
fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

fn analysis(task: &Task) -> Analysis {
    let a = task.analysis(maos_runtime::clock::now());
    let final_ = task.status.is_terminal();
    let of = |place: &Place| a.shares.iter().find(|s| s.place == *place);
    let id = |place: &Place| place.step().map_or_else(|| place.to_string().trim_start_matches('@').to_owned(), ToString::to_string);
    let known = !task.account.price_unknown;
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = |cost: Money| (known && task.account.spent.0 > 0).then(|| round(cost.0 as f64 / task.account.spent.0 as f64));
    let mut by_step: Vec<CostDriver> = a
        .shares
        .iter()
        .map(|s| {
            let run = &task.runs[&s.place];
            CostDriver {
                name: id(&s.place),
                calls: u64::from(s.calls),
                tokens: run.usage.total(),
                cost: run_cost(run).map(convert::money),
                share: share(s.cost),
            }
        })
        .collect();
    by_step.sort_by_key(|d| (std::cmp::Reverse(d.cost), std::cmp::Reverse(d.tokens)));
    let by_model = models(task)
        .into_iter()
        .map(|(name, (calls, usage, cost))| CostDriver {
            name,
            calls,
            tokens: usage.total(),
            cost: cost.map(convert::money),
            share: cost.and_then(share),
        })
        .collect();
    let worked = a.wall_ms > 0 && a.work_ms > 0;
    Analysis {
        object: "analysis".into(),
        task_id: task.id.to_string(),
        is_final: final_,
        wall_ms: a.wall_ms,
        busy_ms: a.work_ms,
        speedup: worked.then(|| round(a.speedup())),
        critical_path: a
            .critical_path
            .iter()
            .filter_map(|p| of(p).map(|s| PathStep { id: id(p), title: s.title.clone(), duration_ms: s.work_ms }))
            .collect(),
        critical_path_ms: a.critical_path_ms,
        best_possible_speedup: (a.critical_path_ms > 0).then(|| round(a.best_speedup())),
        planning_ms: of(&Place::Plan).map_or(0, |s| s.work_ms),
        synthesis_ms: of(&Place::Synthesis).map_or(0, |s| s.work_ms),
        waits: Waits {
            queue_ms: a.queue_wait_ms,
            agent_ms: a.shares.iter().filter(|s| s.place.step().is_some()).map(|s| s.seat_wait_ms).sum(),
            gate_ms: a.shares.iter().filter(|s| s.failed_attempts == 0).map(|s| s.call_wait_ms).sum(),
            paused_ms: task.paused_ms,
            retry_ms: a.shares.iter().filter(|s| s.failed_attempts > 0).map(|s| s.call_wait_ms).sum(),
        },
        cost_by_step: by_step,
        cost_by_model: by_model,
        suggestions: suggestions(task, &a),
    }
}

/// Words of advice, each drawn from a measured figure.
fn suggestions(task: &Task, a: &maos_engine::analysis::Analysis) -> Vec<Suggestion> {
    let mut out = vec![];
    let steps: Vec<&Share> = a.shares.iter().filter(|s| s.place.step().is_some()).collect();
    let seat_wait: u64 = steps.iter().map(|s| s.seat_wait_ms).sum();
    if seat_wait > a.wall_ms / 10 && a.most_at_once >= task.spec.max_agents {
        let n = task.spec.max_agents + 2;
        out.push(Suggestion {
            text: format!("steps waited {:.1} s in all for one of {} agents", ms(seat_wait), task.spec.max_agents),
            command: Some(if task.status.is_terminal() {
                format!("maos task submit … --max-agents {n}")
            } else {
                format!("maos task update {} --max-agents {n}", task.id)
            }),
        });
    }
    if steps.len() > 1 && a.best_speedup() < 1.3 {
        out.push(Suggestion {
            text: "the plan is almost a chain: one agent would be about as fast and cheaper".into(),
            command: Some("maos task submit … --max-agents 1".into()),
        });
    }
    if let Some(slow) =
        steps.iter().filter(|s| s.critical).max_by_key(|s| s.work_ms).filter(|s| s.work_ms * 2 > a.critical_path_ms && steps.len() > 1)
    {
        let id = slow.place.to_string();
        out.push(Suggestion {
            text: format!(
                "step {id} alone is {:.0} % of the critical path; splitting it up would help most",
                100.0 * ms(slow.work_ms) / ms(a.critical_path_ms).max(0.001)
            ),
            command: Some(format!("maos task show {} --execution-plan", task.id)),
        });
    }
    let failed: u32 = a.shares.iter().map(|s| s.failed_attempts).sum();
    if failed > 0 {
        out.push(Suggestion {
            text: format!("{failed} model calls failed or were cut off and were made again"),
            command: Some(format!("maos logs --task {} --level WARNING", task.id)),
        });
    }
    out.truncate(3);
    out
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn ms(n: u64) -> f64 {
    n as f64 / 1_000.0
}

type ModelSums = BTreeMap<String, (u64, Usage, Option<Money>)>;

fn models(task: &Task) -> ModelSums {
    let mut sums: ModelSums = BTreeMap::new();
    for turn in task.runs.values().flat_map(|r| &r.turns) {
        if let Some(p) = &turn.paid {
            let row = sums.entry(turn.model.clone()).or_insert((0, Usage::default(), Some(Money::ZERO)));
            row.0 += 1;
            row.1 += p.usage;
            row.2 = row.2.zip(p.cost).map(|(a, b)| a.plus(b));
        }
    }
    sums
}

fn usage(task: &Task) -> UsageReport {
    let row = |name: String, calls: u64, usage: Tokens, cost: Option<Money>| UsageRow { name, calls, usage, cost: convert::cost(cost) };
    let by_step = task
        .runs
        .iter()
        .map(|(p, r)| row(p.to_string().trim_start_matches('@').to_owned(), paid(r), convert::tokens(&r.usage), run_cost(r)))
        .collect();
    let mut agents: ModelSums = BTreeMap::new();
    for run in task.runs.values() {
        if let Some(agent) = &run.agent {
            let sum = agents.entry(agent.to_string()).or_insert((0, Usage::default(), Some(Money::ZERO)));
            sum.0 += paid(run);
            sum.1 += run.usage;
            sum.2 = sum.2.zip(run_cost(run)).map(|(a, b)| a.plus(b));
        }
    }
    let rows =
        |sums: ModelSums| sums.into_iter().map(|(name, (calls, usage, cost))| row(name, calls, convert::tokens(&usage), cost)).collect();
    UsageReport {
        object: "usage".into(),
        task_id: task.id.to_string(),
        total: UsageRow {
            name: "total".into(),
            calls: u64::from(task.calls),
            usage: convert::tokens(&task.usage),
            cost: convert::account_cost(&task.account),
        },
        by_step,
        by_agent: rows(agents),
        by_model: rows(models(task)),
        max_cost: task.spec.max_cost.map(convert::money),
        reserved: convert::money(task.account.reserved),
        possibly_billed: convert::money(task.account.possibly_billed),
        possibly_billed_calls: u64::from(task.account.possibly_billed_calls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_cut_between_characters() {
        let section = |text: &str| OutputSection {
            stream: "plan/1".into(),
            agent_id: None,
            step_id: None,
            offset: 0,
            total_bytes: text.len() as u64,
            text: text.into(),
            complete: true,
        };
        let got = |offset, tail| {
            let s = cut(section("aé€z"), &OutputQuery { offset, tail, ..OutputQuery::default() });
            (s.offset, s.total_bytes, s.text)
        };
        assert_eq!(got(None, None), (0, 7, "aé€z".to_owned()));
        assert_eq!(got(Some(2), None), (3, 7, "€z".to_owned()));
        assert_eq!(got(Some(99), None), (7, 7, String::new()));
        assert_eq!(got(None, Some(2)), (6, 7, "z".to_owned()));
        assert_eq!(got(None, Some(0)), (7, 7, String::new()));
        let long = cut(section(&"é".repeat(200_000)), &OutputQuery { offset: Some(1), ..OutputQuery::default() });
        assert_eq!((long.offset, long.text.len() as u64), (2, OUTPUT_BYTES_MAX));
    }
}
