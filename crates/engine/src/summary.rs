//! The list row of a task: what every view shows, computed from the state and stored with each commit, so that all back-ends and all
//! views show the same facts.
use crate::event::Failure;
use crate::ids::{AgentId, AgentType, Place};
use crate::message::Usage;
use crate::money::Money;
use crate::spec::TaskSpec;
use crate::status::{PauseReason, Status, StepStatus};
use crate::task::{Account, CallState, Run, Task};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Most agents listed in a row; the task's own page lists all.
pub const ROW_AGENTS_MAX: usize = 16;
/// Longest description in a row, in characters.
pub const ROW_DESCRIPTION_CHARS_MAX: usize = 2_000;

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps completed.
    pub completed: u32,
    /// Steps of the plan; 0 before there is one.
    pub total: u32,
    /// In words.
    pub message: String,
}

/// An agent at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtWork {
    /// Who.
    pub agent: AgentId,
    /// Type.
    pub kind: AgentType,
    /// Where.
    pub place: Place,
    /// What it does, in words.
    pub activity: String,
    /// Since when.
    pub since: Time,
    /// A person holds it: it makes no new call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// The row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What was asked for (the description cut to [`ROW_DESCRIPTION_CHARS_MAX`], without texts and attachments).
    pub spec: TaskSpec,
    /// State.
    pub status: Status,
    /// Entries of the journal.
    pub seq: u64,
    /// Submitted.
    pub created_at: Time,
    /// First agent.
    pub started_at: Option<Time>,
    /// Ended.
    pub finished_at: Option<Time>,
    /// Last entry.
    pub updated_at: Time,
    /// 1, and one more for each retry.
    pub attempt: u32,
    /// Changes by people.
    pub revision: u32,
    /// Tasks it still waits for.
    pub waiting_for: Vec<String>,
    /// How far it is.
    pub progress: Progress,
    /// Agents at work, at most [`ROW_AGENTS_MAX`].
    pub agents: Vec<AtWork>,
    /// Number of agents at work.
    pub agents_at_work: u32,
    /// Tokens.
    pub usage: Usage,
    /// Money.
    pub account: Account,
    /// Model calls paid.
    pub calls: u32,
    /// Why it is held.
    pub pause: Option<(PauseReason, String)>,
    /// Why it ended badly.
    pub error: Option<Failure>,
    /// Questions and requests for consent that wait for a person.
    #[serde(default)]
    pub questions: u32,
    /// Files given with it; their names stand in the task only, since there may be thousands and a row is written with each commit.
    #[serde(default)]
    pub attachments: u32,
}

impl Summary {
    /// Known cost so far; `None` if some call had no known price.
    pub fn cost(&self) -> Option<Money> {
        (!self.account.price_unknown).then_some(self.account.spent)
    }
}

impl Task {
    /// The row of this state.
    pub fn summary(&self) -> Summary {
        // Field by field: the long texts are not copied at each commit.
        let of = &self.spec;
        let spec = TaskSpec {
            description: of.description.chars().take(ROW_DESCRIPTION_CHARS_MAX).collect(),
            kind: of.kind,
            priority: of.priority,
            max_agents: of.max_agents,
            agent_type: of.agent_type.clone(),
            own_types: vec![],
            timeout_s: of.timeout_s,
            step_timeout_s: of.step_timeout_s,
            max_cost: of.max_cost,
            context: None,
            constraints: None,
            depends_on: of.depends_on.clone(),
            labels: of.labels.clone(),
            attachments: vec![],
            consensus: of.consensus,
        };
        Summary {
            spec,
            status: self.status,
            seq: self.seq,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            updated_at: self.updated_at,
            attempt: self.attempt,
            revision: self.revision,
            waiting_for: self.waiting_for.iter().map(ToString::to_string).collect(),
            progress: self.progress(),
            agents: self.at_work(ROW_AGENTS_MAX),
            agents_at_work: self.running.len() as u32,
            usage: self.usage,
            account: self.account,
            calls: self.calls,
            pause: self.pause.clone(),
            error: self.error.clone(),
            questions: self.asked.len() as u32,
            attachments: self.spec.attachments.len() as u32,
        }
    }

    /// How far the task is.
    pub fn progress(&self) -> Progress {
        let total = self.plan.as_ref().map_or(0, |p| p.steps.len()) as u32;
        let message = match self.status {
            Status::Blocked => format!("waits for {} tasks", self.waiting_for.len()),
            Status::Queued => "waits for an agent".into(),
            Status::Paused => self.pause.as_ref().map_or(String::new(), |(r, _)| format!("paused: {r}")),
            Status::Running => self.doing(),
            Status::Completed | Status::Failed | Status::Cancelled | Status::TimedOut => {
                self.status.as_str().to_ascii_lowercase().replace('_', " ")
            }
        };
        Progress { completed: self.done_steps, total, message }
    }

    fn doing(&self) -> String {
        match self.running.iter().next() {
            Some(Place::Plan) => "planning".into(),
            Some(Place::Synthesis) => "joining the outputs".into(),
            Some(Place::Vote { .. }) => "voting on the result".into(),
            Some(Place::Revision) => "revising the result".into(),
            Some(first @ Place::Step(_)) => {
                let title = self.step(first).map_or("", |s| s.title.as_str());
                match self.running.len() {
                    1 => title.to_owned(),
                    n => format!("{title} and {} more", n - 1),
                }
            }
            None if self.only_people() => "waits for your answer".into(),
            None => "waits for agents".into(),
        }
    }

    /// The agents at work, at most `most`.
    pub fn at_work(&self, most: usize) -> Vec<AtWork> {
        self.running.iter().filter_map(|place| self.activity_of(place)).take(most).collect()
    }

    /// The agent at work at a place.
    pub fn activity_of(&self, place: &Place) -> Option<AtWork> {
        let run = self.runs.get(place).filter(|r| r.status == StepStatus::Running)?;
        let (activity, since) = activity(run);
        Some(AtWork { agent: run.agent.clone()?, kind: run.kind.clone(), place: place.clone(), activity, since, held: run.held })
    }
}

/// What an agent at work does, in words, and since when.
fn activity(run: &Run) -> (String, Time) {
    let since = run.started_at.unwrap_or_default();
    let Some(turn) = run.turns.last() else {
        return ("starting".into(), since);
    };
    let number = run.turns.len() - (run.base as usize).min(run.turns.len());
    if let Some(open) = &turn.open {
        let retry = if open.attempt > 1 { format!(", attempt {}", open.attempt) } else { String::new() };
        return (format!("asking {} (turn {number}{retry})", turn.model), open.at);
    }
    let tools: Vec<&str> = turn.calls.iter().filter(|c| matches!(c.state, CallState::Open { .. })).map(|c| c.name.as_str()).collect();
    let at = turn.paid.as_ref().map_or(since, |p| p.at);
    if tools.is_empty() { (format!("after turn {number}"), at) } else { (format!("running {}", tools.join(", ")), at) }
}
