//! The state of a task: the fold of its journal. Only `apply` changes it; everything else reads.
pub use crate::account::{ABORT_MS_MAX, Account};
use crate::action::Action;
use crate::body::{BODY_HASHED_BYTES_MAX, Body};
use crate::consensus::{Outcome, Vote};
use crate::event::{Ask, CallOutcome, Event, Failure, Recorded, Repeat, TextRef};
use crate::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use crate::input::Traits;
use crate::message::{StopReason, Usage};
use crate::money::Money;
use crate::plan::{Plan, PlanSource, PlanStep};
use crate::share::Share;
use crate::spec::TaskSpec;
use crate::status::{PauseReason, Status, StepStatus};
use crate::taint::Taint;
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

/// Longest circle that is looked for, in turns.
const CIRCLE_TURNS_MAX: usize = 32;

/// A person's consent to a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// To what.
    pub ask: Ask,
    /// When.
    pub at: Time,
}

/// State of a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CallState {
    /// Asked for, not yet started.
    Asked {
        /// A person agreed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Box<Consent>>,
    },
    /// A person is asked, and has not answered.
    Waiting {
        /// What.
        ask: Ask,
        /// Since when.
        at: Time,
    },
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
    /// The model was asked to condense the turns before.
    #[serde(default)]
    pub compact: bool,
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
    /// Some tool call waits for a person.
    pub fn waits_for_person(&self) -> bool {
        self.calls.iter().any(|c| matches!(c.state, CallState::Waiting { .. }))
    }
    /// A tool call that is not started and could be.
    pub(crate) fn has_asked(&self) -> bool {
        self.calls.iter().any(|c| matches!(c.state, CallState::Asked { .. }))
    }
    /// Names, arguments and results of its calls as one number; `None` while a call has no result.
    fn experience(&self) -> Option<u64> {
        self.calls.iter().try_fold(self.signature, |h, call| match &call.state {
            CallState::Settled { result, .. } => Some(h.rotate_left(9) ^ hash_of(result)),
            CallState::Asked { .. } | CallState::Waiting { .. } | CallState::Open { .. } => None,
        })
    }
    /// There were calls, and none was valid.
    pub(crate) fn all_invalid(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(|c| matches!(c.state, CallState::Settled { outcome: CallOutcome::Invalid, .. }))
    }
}

/// FNV-1a of a result; of a long one its beginning, or its address.
fn hash_of(body: &Body) -> u64 {
    let text = match body {
        Body::Inline(text) => text.as_bytes(),
        Body::Blob { blob, .. } => blob.as_bytes(),
    };
    text.iter().take(BODY_HASHED_BYTES_MAX).fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// A ballot over a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// From 1.
    pub round: u8,
    /// The result judged.
    pub draft: TextRef,
    /// Number of voters.
    pub voters: u8,
    /// Votes in the order in which they came.
    pub votes: Vec<Vote>,
    /// When it was opened, or the task began anew with it open (`task retry`).
    pub opened_at: Time,
    /// How long the task had been held by then.
    pub held_ms: u64,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
}

/// Something a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'a> {
    /// The tool call that waits; the question's id.
    pub effect: EffectId,
    /// What is asked.
    pub ask: &'a Ask,
    /// Since when.
    pub at: Time,
    /// Who asks.
    pub agent: Option<&'a AgentId>,
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
    /// Who had it when its first prompt was written, which shows that agent's messages to whoever has it later.
    #[serde(default)]
    pub opened_by: Option<AgentId>,
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
    /// A person holds its agent.
    #[serde(default)]
    pub held: bool,
    /// Since when its own clock stands: it waits for a person, or a person holds its agent.
    #[serde(default)]
    pub waiting_since: Option<Time>,
    /// How long the task's clock had stood by then. Milliseconds.
    #[serde(default)]
    pub waiting_stopped_ms: u64,
    /// How long its own clock has stood before, while the task's ran. Milliseconds; its deadline does not count that.
    #[serde(default)]
    pub waited_ms: u64,
    /// What it has seen.
    #[serde(default)]
    pub taint: Taint,
    /// What its agent brings.
    #[serde(default)]
    pub traits: Traits,
    /// The turn whose reply stands for all turns up to it; 0 if there is none.
    #[serde(default)]
    pub compacted: u32,
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
            opened_by: None,
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
            held: false,
            waiting_since: None,
            waiting_stopped_ms: 0,
            waited_ms: 0,
            taint: Taint::NONE,
            traits: Traits::default(),
            compacted: 0,
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
    /// Whose messages the first prompt shows.
    pub fn reader(&self) -> Option<&AgentId> {
        self.opened_by.as_ref().or(self.agent.as_ref())
    }
    /// Something of it should be in flight.
    pub fn is_open(&self) -> bool {
        self.current().is_some_and(Turn::is_open)
    }
    /// Answered turns at the end in which the agent goes round in circles: the same calls with the same results, turn by turn or in turns
    /// of two. The last turn counts by its calls alone while it has no results. The same before and after the next call is asked for, so
    /// that its prompt is the same at each attempt.
    pub fn repeats(&self) -> u32 {
        let answered: Vec<&Turn> = self.turns_now().iter().rev().skip_while(|t| t.paid.is_none()).take(CIRCLE_TURNS_MAX).collect();
        let circle = |period: usize| {
            let same = |i: usize| {
                let (a, b) = (answered[i], answered[i + period]);
                let settled = a.experience();
                !a.calls.is_empty() && a.signature == b.signature && (settled.is_none() || settled == b.experience())
            };
            let equal = (0..answered.len().saturating_sub(period)).take_while(|i| same(*i)).count();
            if equal == 0 { 0 } else { equal + period }
        };
        let single = answered.first().is_some_and(|t| !t.calls.is_empty()).into();
        // Two calls in turns are a circle when each came back at least once.
        let pairs = Some(circle(2)).filter(|turns| *turns >= 4).unwrap_or(0);
        u32::try_from(circle(1).max(pairs).max(single)).unwrap_or(u32::MAX)
    }
    /// Whether a call waited for its time when a person held the agent: it is not sent before the agent goes on.
    pub(crate) fn held_back(&self, open: &OpenCall) -> bool {
        self.held && due_after(open, self.waiting_since)
    }
    /// Paid turns since the conversation was last condensed.
    pub(crate) fn turns_since_compaction(&self) -> usize {
        let from = self.compacted.max(self.base) as usize;
        let counts = |t: &Turn| t.paid.as_ref().is_some_and(|p| p.stop != StopReason::ContextExceeded) && !t.compact;
        self.turns.iter().skip(from).filter(|t| counts(t)).count()
    }
}

/// Whether a call was due so long after this that it had surely not been sent.
fn due_after(open: &OpenCall, since: Option<Time>) -> bool {
    since.is_some_and(|since| open.not_before > since.plus_ms(ABORT_MS_MAX))
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
    /// Places that wait for a person.
    #[serde(default)]
    pub waiting: BTreeSet<Place>,
    /// Tool calls that wait for a person.
    #[serde(default)]
    pub asked: BTreeSet<EffectId>,
    /// Since when nothing but people's answers is waited for.
    #[serde(default)]
    pub people_since: Option<Time>,
    /// What the task's files carry.
    #[serde(default)]
    pub files_taint: Taint,
    /// Ballots over its result.
    #[serde(default)]
    pub ballots: Vec<Ballot>,
    /// Ballots of earlier tries (`task retry`).
    #[serde(default)]
    pub ballot_base: u32,
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
                own_types: vec![],
                timeout_s: None,
                step_timeout_s: 0,
                max_cost: None,
                context: None,
                constraints: None,
                depends_on: vec![],
                labels: BTreeMap::new(),
                attachments: vec![],
                consensus: None,
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
            waiting: BTreeSet::new(),
            asked: BTreeSet::new(),
            people_since: None,
            files_taint: Taint::NONE,
            ballots: vec![],
            ballot_base: 0,
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
        let mut out = vec![Action::Seat {
            place: place.clone(),
            kind: run.kind.clone(),
            agent: run.agent.clone(),
            at_work,
            path: run.path,
            since: run.ready_at.unwrap_or(self.created_at),
            abilities: self.step(place).map_or_else(Vec::new, |s| s.capabilities.clone()),
            avoid: self.voters_beside(place),
        }];
        if !at_work {
            out.extend(self.vote_deadline(place));
            return out;
        }
        if let Some(turn) = run.current() {
            let number = run.turns.len() as u32;
            if let Some(open) = turn.open.as_ref().filter(|o| !self.held_back(run, o)) {
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
        out.extend(self.step_deadline(place).or_else(|| self.vote_deadline(place)));
        out
    }

    /// Agents at the other seats of the same ballot.
    pub(crate) fn voters_beside(&self, place: &Place) -> Vec<AgentId> {
        let Place::Vote { round, .. } = place else { return vec![] };
        let others = self.runs.iter().filter(|(p, _)| *p != place && matches!(p, Place::Vote { round: r, .. } if r == round));
        others.filter_map(|(_, run)| run.agent.clone()).collect()
    }

    /// When the ballot of a voter is over, while its time runs; also for a voter that has no agent yet.
    pub(crate) fn vote_deadline(&self, place: &Place) -> Option<Action> {
        let Place::Vote { round, .. } = place else { return None };
        let limit = self.spec.consensus.map(|c| c.timeout_s).filter(|s| *s > 0)?;
        let ballot = self.ballots.iter().find(|b| b.round == *round && b.outcome.is_none())?;
        let held = self.paused_ms.saturating_sub(ballot.held_ms);
        (self.status == Status::Running).then(|| Action::StepDeadline {
            place: place.clone(),
            at: ballot.opened_at.plus_ms(limit.saturating_mul(1_000).saturating_add(held)),
        })
    }

    /// What people are asked now, in order of the places.
    pub fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        self.asked.iter().filter_map(|effect| {
            let run = self.runs.get(&effect.place)?;
            let call = run.turn(effect.turn)?.calls.iter().find(|c| Some(&c.id) == effect.call.as_ref())?;
            match &call.state {
                CallState::Waiting { ask, at } => Some(Question { effect: effect.clone(), ask, at: *at, agent: run.agent.as_ref() }),
                CallState::Asked { .. } | CallState::Open { .. } | CallState::Settled { .. } => None,
            }
        })
    }

    /// Nothing goes on before a person answers.
    pub fn only_people(&self) -> bool {
        self.status == Status::Running
            && !self.waiting.is_empty()
            && self.running.is_empty()
            && !self.runs.values().any(|r| r.status == StepStatus::Ready)
    }

    /// The result as far as it stands: what voters judge, or judged.
    pub fn draft(&self) -> Option<&TextRef> {
        let revised = self.runs.get(&Place::Revision).and_then(|r| r.output.as_ref());
        revised.or_else(|| {
            let place = self.sink().cloned().map_or(Place::Synthesis, Place::Step);
            self.runs.get(&place).and_then(|r| r.output.as_ref())
        })
    }

    /// Whether a call waited for its time when the task or its agent was held: it is not sent before they go on.
    pub(crate) fn held_back(&self, run: &Run, open: &OpenCall) -> bool {
        due_after(open, self.paused_at) || run.held_back(open)
    }

    /// How long the task's clock has stood by now: held, or with nothing but people to wait for. Milliseconds.
    pub(crate) fn stopped_ms(&self, now: Time) -> u64 {
        let since = |since: Option<Time>| since.map_or(0, |since| now.since_ms(since));
        self.paused_ms + since(self.paused_at) + since(self.people_since)
    }

    /// The deadline of a step an agent is at, while its time runs.
    pub(crate) fn step_deadline(&self, place: &Place) -> Option<Action> {
        let run = self.runs.get(place)?;
        let limit = run.traits.timeout_s.unwrap_or(self.spec.step_timeout_s);
        let live = run.status == StepStatus::Running && self.status == Status::Running && !run.held;
        if !live || limit == 0 || place.step().is_none() {
            return None;
        }
        // Neither the time in which the task's clock stood is its time, nor the rest in which its own did.
        let held = self.paused_ms.saturating_sub(run.held_ms).saturating_add(run.waited_ms);
        Some(Action::StepDeadline { place: place.clone(), at: run.started_at?.plus_ms(limit.saturating_mul(1_000).saturating_add(held)) })
    }

    /// The task's own deadline, while its time runs.
    pub fn deadline(&self) -> Option<Action> {
        let (started, limit) = (self.started_at?, self.spec.timeout_s?);
        let live = !self.status.is_terminal() && !matches!(self.status, Status::Paused | Status::Blocked) && self.people_since.is_none();
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
                CallState::Asked { .. } | CallState::Waiting { .. } | CallState::Open { .. } => None,
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
