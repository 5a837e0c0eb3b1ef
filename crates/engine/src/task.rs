//! The state of a task: the fold of its journal. Only `apply` changes it; everything else reads.
pub use crate::account::{ABORT_MS_MAX, Account};
use crate::action::Action;
use crate::body::Body;
use crate::event::{CallOutcome, Event, Failure, Recorded, Repeat, TextRef};
use crate::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use crate::message::{StopReason, Usage};
use crate::money::Money;
use crate::plan::{Plan, PlanSource, PlanStep};
use crate::share::Share;
use crate::spec::TaskSpec;
use crate::status::{PauseReason, Status, StepStatus};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A model call that should be in flight, or waits for its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The attempt.
    pub attempt: u32,
    /// Not sent before.
    pub not_before: Time,
    /// Held for it.
    pub reserved: Option<Money>,
    /// When the intent was recorded.
    pub at: Time,
}

/// State of a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CallState {
    /// Asked for, not yet started.
    Asked,
    /// Should be in flight.
    Open {
        /// May it be repeated?
        repeat: Repeat,
        /// Since when.
        at: Time,
    },
    /// Ended.
    Settled {
        /// How.
        outcome: CallOutcome,
        /// What the model is told.
        result: Body,
        /// When it was started; absent if it never was.
        started_at: Option<Time>,
        /// When it ended.
        at: Time,
    },
}

/// A tool call of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: CallState,
}

/// A paid reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// The reply as JSON.
    pub reply: Body,
    /// Why it stopped.
    pub stop: StopReason,
    /// Tokens.
    pub usage: Usage,
    /// Cost; `None` if the price is unknown.
    pub cost: Option<Money>,
    /// When the request left.
    pub sent_at: Time,
    /// When it was recorded.
    pub at: Time,
}

/// One turn: a model call and the tool calls it asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Turn {
    /// Model asked last.
    pub model: String,
    /// Requests made so far.
    pub attempts: u32,
    /// Failures since the last hold (429 apart).
    pub failed: u32,
    /// 429s since the last hold.
    pub limited: u32,
    /// The last failure, in one line.
    pub last_error: Option<String>,
    /// Its class: decides on a fallback model, where one is configured.
    #[serde(default)]
    pub last_class: Option<crate::message::FailureClass>,
    /// First intent.
    pub requested_at: Option<Time>,
    /// The call, while it should be in flight.
    pub open: Option<OpenCall>,
    /// The reply.
    pub paid: Option<Paid>,
    /// Tool calls asked for.
    pub calls: Vec<ToolCall>,
    /// Hash of names and arguments of the calls, to notice repetition.
    pub signature: u64,
    /// No tool was offered.
    pub last: bool,
    /// What the model is told after this turn besides tool results.
    pub note: Option<String>,
}

impl Turn {
    /// All tool calls have ended.
    pub fn settled(&self) -> bool {
        self.calls.iter().all(|c| matches!(c.state, CallState::Settled { .. }))
    }
    /// Something of it should be in flight.
    pub fn is_open(&self) -> bool {
        self.open.is_some() || self.calls.iter().any(|c| matches!(c.state, CallState::Open { .. }))
    }
    /// There were calls, and none was valid.
    pub(crate) fn all_invalid(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(|c| matches!(c.state, CallState::Settled { outcome: CallOutcome::Invalid, .. }))
    }
}

/// A conversation of an agent with a model at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// State.
    pub status: StepStatus,
    /// Type of agent that does it.
    pub kind: AgentType,
    /// Index of the step in the plan; 0 for the coordinator's places.
    pub index: u32,
    /// Dependencies that have not completed.
    pub waits_on: u32,
    /// Longest remaining path to the end of the plan, in steps.
    pub path: u32,
    /// Who has it, or had it last.
    pub agent: Option<AgentId>,
    /// Since when it waits for an agent.
    pub ready_at: Option<Time>,
    /// When an agent first took it.
    pub started_at: Option<Time>,
    /// How long the task had been held by then; its deadline does not count that.
    #[serde(default)]
    pub held_ms: u64,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Writes of the shared state shown in the first prompt.
    pub state_seen: u32,
    /// Messages shown in the first prompt.
    pub mail_seen: u32,
    /// Messages read so far.
    pub mail_read: u32,
    /// Turns of earlier tries (`task retry`), which the model is not shown.
    pub base: u32,
    /// The turns, from 1.
    pub turns: Vec<Turn>,
    /// Its output.
    pub output: Option<TextRef>,
    /// Why it was given up.
    pub error: Option<Failure>,
    /// Tokens.
    pub usage: Usage,
    /// Known cost.
    pub cost: Money,
}

impl Run {
    pub(crate) fn new(status: StepStatus, kind: AgentType, index: u32, at: Time) -> Self {
        let ready_at = (status == StepStatus::Ready).then_some(at);
        Self {
            status,
            kind,
            index,
            waits_on: 0,
            path: 0,
            agent: None,
            ready_at,
            started_at: None,
            held_ms: 0,
            finished_at: None,
            state_seen: 0,
            mail_seen: 0,
            mail_read: 0,
            base: 0,
            turns: vec![],
            output: None,
            error: None,
            usage: Usage::default(),
            cost: Money::ZERO,
        }
    }
    /// The turn with this number, from 1.
    pub fn turn(&self, number: u32) -> Option<&Turn> {
        self.turns.get((number as usize).checked_sub(1)?)
    }
    pub(crate) fn turn_mut(&mut self, number: u32) -> Option<&mut Turn> {
        self.turns.get_mut((number as usize).checked_sub(1)?)
    }
    /// Turns of this try.
    pub fn turns_now(&self) -> &[Turn] {
        &self.turns[(self.base as usize).min(self.turns.len())..]
    }
    /// The last turn of this try.
    pub fn current(&self) -> Option<&Turn> {
        self.turns_now().last()
    }
    /// Something of it should be in flight.
    pub fn is_open(&self) -> bool {
        self.current().is_some_and(Turn::is_open)
    }
    /// Answered turns at the end that asked for exactly the same calls. The same before and after the next call is asked for, so that its
    /// prompt is the same at each attempt.
    pub fn repeats(&self) -> u32 {
        let answered = || self.turns_now().iter().rev().skip_while(|t| t.paid.is_none());
        let Some(last) = answered().next().filter(|t| !t.calls.is_empty()) else {
            return 0;
        };
        answered().take_while(|t| !t.calls.is_empty() && t.signature == last.signature).count() as u32
    }
}

/// Places whose actions may have changed since they were last asked for. Not part of the state: never stored, always equal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(pub(crate) BTreeSet<Place>);
impl PartialEq for Changes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What was asked for, with later updates.
    pub spec: TaskSpec,
    /// State.
    pub status: Status,
    /// Entries folded so far: the sequence number of the last.
    pub seq: u64,
    /// Submitted at.
    pub created_at: Time,
    /// First agent at.
    pub started_at: Option<Time>,
    /// Ended at.
    pub finished_at: Option<Time>,
    /// Last entry at.
    pub updated_at: Time,
    /// 1, and one more for each retry.
    pub attempt: u32,
    /// Changes by people so far.
    pub revision: u32,
    /// Tasks that must complete first and have not.
    pub waiting_for: BTreeSet<TaskId>,
    /// The plan.
    pub plan: Option<Plan>,
    /// Where the plan came from.
    pub plan_source: Option<PlanSource>,
    /// All conversations.
    pub runs: BTreeMap<Place, Run>,
    /// Which steps wait for a step.
    pub followers: BTreeMap<StepId, Vec<StepId>>,
    /// Steps not over.
    pub open_steps: u32,
    /// Steps completed.
    pub done_steps: u32,
    /// Shared state and messages.
    pub share: Share,
    /// Money.
    pub account: Account,
    /// Tokens of all calls.
    pub usage: Usage,
    /// Model calls paid.
    pub calls: u32,
    /// Why it is held.
    pub pause: Option<(PauseReason, String)>,
    /// Held since.
    pub paused_at: Option<Time>,
    /// Held in all, before, since the first agent. Milliseconds.
    pub paused_ms: u64,
    /// Where the result stands.
    pub result: Option<TextRef>,
    /// Why it ended badly.
    pub error: Option<Failure>,
    /// Places an agent is at.
    pub running: BTreeSet<Place>,
    /// Places whose next call is to be made.
    pub(crate) wanting: BTreeSet<Place>,
    #[serde(skip)]
    pub(crate) changed: Changes,
}

impl Task {
    /// The state before the first event. `apply` the journal to it.
    pub fn empty(id: TaskId) -> Self {
        Self {
            id,
            spec: TaskSpec {
                description: String::new(),
                kind: None,
                priority: crate::status::Priority::Normal,
                max_agents: 1,
                agent_type: None,
                timeout_s: None,
                step_timeout_s: 0,
                max_cost: None,
                context: None,
                constraints: None,
                depends_on: vec![],
                labels: BTreeMap::new(),
            },
            status: Status::Queued,
            seq: 0,
            created_at: Time(0),
            started_at: None,
            finished_at: None,
            updated_at: Time(0),
            attempt: 1,
            revision: 0,
            waiting_for: BTreeSet::new(),
            plan: None,
            plan_source: None,
            runs: BTreeMap::new(),
            followers: BTreeMap::new(),
            open_steps: 0,
            done_steps: 0,
            share: Share::default(),
            account: Account::default(),
            usage: Usage::default(),
            calls: 0,
            pause: None,
            paused_at: None,
            paused_ms: 0,
            result: None,
            error: None,
            running: BTreeSet::new(),
            wanting: BTreeSet::new(),
            changed: Changes::default(),
        }
    }

    /// Folds a journal.
    pub fn fold<'a>(id: TaskId, journal: impl IntoIterator<Item = &'a Recorded>) -> Self {
        let mut task = Self::empty(id);
        for entry in journal {
            task.apply(entry.at, &entry.event);
        }
        task
    }

    /// The step of the plan at a place.
    pub fn step(&self, place: &Place) -> Option<&PlanStep> {
        let run = self.runs.get(place)?;
        place.step().and_then(|_| self.plan.as_ref()?.steps.get(run.index as usize))
    }

    /// The steps in the order of the plan.
    pub fn steps(&self) -> impl Iterator<Item = (&PlanStep, &Run)> {
        self.plan.iter().flat_map(|p| &p.steps).filter_map(|s| Some((s, self.runs.get(&Place::Step(s.id.clone()))?)))
    }

    /// Whether any model call should be in flight.
    pub(crate) fn any_model_open(&self) -> bool {
        self.running.iter().any(|p| self.runs[p].current().is_some_and(|t| t.open.is_some()))
    }

    /// The one step everything leads to, if there is just one.
    pub(crate) fn sink(&self) -> Option<&StepId> {
        let plan = self.plan.as_ref()?;
        let mut ends = plan.steps.iter().filter(|s| self.followers.get(&s.id).is_none_or(Vec::is_empty));
        let first = ends.next()?;
        ends.next().is_none().then_some(&first.id)
    }

    /// Everything that should be in flight. The loop starts what is missing and aborts what is extra; first start, resume, pause,
    /// cancel, take-over and crash recovery are this one function.
    pub fn pending(&self) -> Vec<Action> {
        let mut out: Vec<Action> = self.runs.keys().flat_map(|p| self.actions(p)).collect();
        out.extend(self.deadline());
        out
    }

    /// The part of [`Task::pending`] that belongs to one place.
    pub fn actions(&self, place: &Place) -> Vec<Action> {
        let Some(run) = self.runs.get(place) else {
            return vec![];
        };
        if self.status.is_terminal() || self.status == Status::Blocked {
            return vec![];
        }
        let at_work = run.status == StepStatus::Running;
        if !at_work && (run.status != StepStatus::Ready || self.status == Status::Paused) {
            return vec![];
        }
        let since = run.ready_at.unwrap_or(self.created_at);
        let mut out =
            vec![Action::Seat { place: place.clone(), kind: run.kind.clone(), agent: run.agent.clone(), at_work, path: run.path, since }];
        if !at_work {
            return out;
        }
        if let Some(turn) = run.current() {
            let number = run.turns.len() as u32;
            if let Some(open) = turn.open.as_ref() {
                out.push(Action::Model {
                    effect: EffectId::model(place.clone(), number),
                    attempt: open.attempt,
                    not_before: open.not_before,
                });
            }
            for call in &turn.calls {
                if let CallState::Open { repeat, .. } = call.state {
                    out.push(Action::Tool {
                        effect: EffectId::tool(place.clone(), number, call.id.clone()),
                        name: call.name.clone(),
                        repeat,
                    });
                }
            }
        }
        out.extend(self.step_deadline(place));
        out
    }

    /// Whether a call waited for its time when the task was held: it is not sent before the task goes on.
    pub(crate) fn held_back(&self, open: &OpenCall) -> bool {
        self.paused_at.is_some_and(|since| open.not_before > since.plus_ms(ABORT_MS_MAX))
    }

    /// The deadline of a step an agent is at, while its time runs.
    pub(crate) fn step_deadline(&self, place: &Place) -> Option<Action> {
        let run = self.runs.get(place)?;
        let limit = self.spec.step_timeout_s;
        let live = run.status == StepStatus::Running && self.status == Status::Running;
        if !live || limit == 0 || place.step().is_none() {
            return None;
        }
        let held = self.paused_ms.saturating_sub(run.held_ms);
        Some(Action::StepDeadline { place: place.clone(), at: run.started_at?.plus_ms(limit.saturating_mul(1_000).saturating_add(held)) })
    }

    /// The task's own deadline, while its time runs.
    pub fn deadline(&self) -> Option<Action> {
        let (started, limit) = (self.started_at?, self.spec.timeout_s?);
        let live = !self.status.is_terminal() && !matches!(self.status, Status::Paused | Status::Blocked);
        live.then(|| Action::Deadline { at: started.plus_ms(limit.saturating_mul(1_000).saturating_add(self.paused_ms)) })
    }

    /// The places whose actions may differ from when this was last called. Only a way to avoid asking for all of
    /// [`Task::pending`] after every input, which would make long plans quadratic.
    pub fn take_changed(&mut self) -> BTreeSet<Place> {
        std::mem::take(&mut self.changed.0)
    }

    /// Blobs that prompts of the runs not yet over may need.
    pub fn live_bodies(&self) -> impl Iterator<Item = &Body> {
        self.runs.values().flat_map(|r| &r.turns).flat_map(|t| {
            let results = t.calls.iter().filter_map(|c| match &c.state {
                CallState::Settled { result, .. } => Some(result),
                CallState::Asked | CallState::Open { .. } => None,
            });
            t.paid.iter().map(|p| &p.reply).chain(results)
        })
    }

    /// Emits an event: applies it and adds it to the list to be committed.
    pub(crate) fn emit(&mut self, now: Time, event: Event, out: &mut Vec<Event>) {
        self.apply(now, &event);
        out.push(event);
    }
}
