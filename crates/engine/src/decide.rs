//! `handle`: what to record because of an input.
//!
//! It decides and applies as it goes, because deciding on a copy would cost the size of the task per input and make long plans
//! quadratic. The caller commits the returned events before it acts on them; if the commit is refused it drops this state and folds the
//! journal again. A [`Rejected`] input changes nothing.
use crate::action::Action;
use crate::body::Body;
use crate::event::{Answer, CallOutcome, Event, Failure, Repeat};
use crate::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use crate::input::{Command, Input, Rejected, Traits, Update};
use crate::limits::Limits;
use crate::money::Money;
use crate::plan::{Plan, PlanSource};
use crate::retry::{Verdict, verdict};
use crate::share::FIRST_MAIL_BYTES_MAX;
use crate::spec::TaskSpec;
use crate::status::{FailureCode, PauseReason, Status, StepStatus};
use crate::taint::Taint;
use crate::task::{ABORT_MS_MAX, CallState, Task, Turn};
use crate::time::Time;
use serde_json::Value;

/// What is known of a tool call before it is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// A person must agree, whatever the agent has seen: why.
    pub ask: Option<String>,
    /// Where it sends data, if anywhere.
    pub to: Option<String>,
    /// The operator's configuration allows that destination for anything.
    pub allowed: bool,
    /// It does no more than read this address: nothing leaves by it if the address was found, and not made up.
    pub address: Option<String>,
}

/// How a tool is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Whether its calls may be repeated.
    pub repeat: Repeat,
    /// It may change the task's files.
    pub writes: bool,
    /// What it brings into the conversation, and so into the files it writes.
    pub brings: Taint,
}

/// What the rules ask of the tools, without knowing them.
pub trait ToolTable {
    /// Checks a call of an agent of this type. The error is a sentence for the model.
    fn check(&self, kind: &AgentType, name: &str, args: &Value) -> Result<Checked, String>;
    /// Whether agents of this type may ask the person who gave the task.
    fn may_ask_person(&self, _kind: &AgentType) -> bool {
        true
    }
    /// How this tool is run; `None` if it does not exist (any more).
    fn manner(&self, name: &str) -> Option<Manner>;
}

/// A model call about to be made, and its worst case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Model asked.
    pub model: String,
    /// First 16 hex digits of the SHA-256 of the request.
    pub request: String,
    /// Worst-case cost; `None` if the price is unknown.
    pub reserve: Option<Money>,
    /// The conversation is about to become longer than the model's window: it should be condensed first.
    pub crowded: bool,
}

/// What a model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The next turn.
    Normal,
    /// The last turn: no tools.
    Last,
    /// To condense the turns so far.
    Compact,
}

impl Mode {
    /// The mode of a call that was asked for.
    pub fn of(turn: &Turn) -> Self {
        match (turn.compact, turn.last) {
            (true, _) => Self::Compact,
            (false, true) => Self::Last,
            (false, false) => Self::Normal,
        }
    }
}

/// What the rules ask about a conversation and its next model call, without knowing prompts, texts or prices. Must be a pure function of
/// its arguments.
pub trait Quoter {
    /// The call `effect` as it would be made from this state.
    fn quote(&self, task: &Task, effect: &EffectId, mode: Mode) -> Quote;
    /// Whether an address that the agent at a place wants to read with a tool is one that somebody else told it. Whoever cannot know says no.
    fn found(&self, _task: &Task, _place: &Place, _tool: &str, _address: &str) -> bool {
        false
    }
}

/// What surrounds a decision.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// Bounds.
    pub limits: &'a Limits,
    /// Tools.
    pub tools: &'a dyn ToolTable,
    /// Prompts and prices.
    pub quotes: &'a dyn Quoter,
    /// What is left of the daily budget; `None` if there is none.
    pub daily_left: Option<Money>,
    /// The node is being stopped: no new call is made; the next owner makes it.
    pub draining: bool,
}

impl Task {
    /// A new task and its first events.
    pub fn submit(id: TaskId, now: Time, spec: TaskSpec, ctx: Ctx<'_>) -> (Self, Vec<Event>) {
        let mut task = Self::empty(id);
        let mut out = vec![];
        let single = spec.max_agents <= 1 || !ctx.limits.planner;
        let plan = single.then(|| Plan::single(&spec));
        task.emit(now, Event::Submitted { spec: Box::new(spec) }, &mut out);
        if let Some(plan) = plan {
            task.emit(now, Event::PlanAccepted { plan: Box::new(plan), source: PlanSource::Single }, &mut out);
        }
        (task, out)
    }

    /// Decides what to record because of `input`, and applies it. Late or repeated outcomes give no events.
    pub fn handle(&mut self, now: Time, input: Input, ctx: Ctx<'_>) -> Result<Vec<Event>, Rejected> {
        let mut out = vec![];
        // From here on, what is left of the day is counted from the task's account as it stood before this input, so that several
        // calls requested because of one input cannot each take the same rest.
        let ctx = Ctx { daily_left: ctx.daily_left.map(|l| l.plus(self.account.committed())), ..ctx };
        if self.status.is_terminal() {
            match &input {
                Input::Command(Command::Retry {} | Command::DependencyEnded { .. }) => {}
                Input::Command(Command::Cancel { .. }) if self.status != Status::Cancelled => {
                    return Err(self.rejected("it has ended and cannot be cancelled"));
                }
                Input::Command(Command::Unseat { .. } | Command::HoldAgent { .. }) => return Ok(out),
                Input::Command(Command::Answer { .. }) => return Err(self.rejected("it has ended and waits for no answer")),
                Input::Command(Command::Pause {} | Command::Resume {} | Command::Update(_)) => {
                    return Err(self.rejected("it has ended; `maos task retry` runs what did not complete"));
                }
                Input::Command(Command::Cancel { .. })
                | Input::Claimed { .. }
                | Input::Unseated { .. }
                | Input::Replied { .. }
                | Input::CallFailed { .. }
                | Input::ToolDone { .. }
                | Input::Deadline
                | Input::StepDeadline { .. } => return Ok(out),
                Input::Seated { .. } => {
                    return Err(self.rejected("it has ended and needs no agent"));
                }
            }
        }
        match input {
            Input::Command(command) => self.command(now, command, &mut out)?,
            Input::Claimed { epoch } => self.claimed(now, epoch, &mut out),
            Input::Seated { place, agent, traits } => self.seated(now, place, agent, traits, &mut out)?,
            Input::Unseated { place } => self.unseated(now, &place, &mut out),
            Input::Replied { effect, attempt, reply, body, sent_at, cost } => {
                if self.awaits(&effect, attempt) {
                    self.replied(now, &effect, &reply, body, sent_at, cost, ctx, &mut out);
                }
            }
            Input::CallFailed { effect, attempt, error, dice } => {
                if self.awaits(&effect, attempt) {
                    self.call_failed(now, &effect, &error, dice, ctx, &mut out);
                }
            }
            Input::ToolDone { effect, result, is_error, taint } => {
                if self.awaits_tool(&effect) {
                    let outcome = if is_error { CallOutcome::Failed } else { CallOutcome::Done };
                    // What reads the user's files brings what the files carry.
                    let taint = if taint.private { taint.and(self.files_taint) } else { taint };
                    self.emit(now, Event::ToolSettled { effect, outcome, result, taint }, &mut out);
                }
            }
            // A bell that rang too early (the time was extended, or did not run) is ignored; the drive sets it anew.
            Input::Deadline => {
                if matches!(self.deadline(), Some(Action::Deadline { at }) if at <= now) {
                    self.emit(now, Event::TimedOut {}, &mut out);
                }
            }
            Input::StepDeadline { place: place @ Place::Vote { .. } } => {
                if matches!(self.vote_deadline(&place), Some(Action::StepDeadline { at, .. }) if at <= now)
                    && !self.runs[&place].status.is_over()
                {
                    let message = "the ballot's time was up (consensus.timeout)".into();
                    self.give_up(now, &place, FailureCode::Timeout, message, &mut out);
                }
            }
            Input::StepDeadline { place } => {
                if matches!(self.step_deadline(&place), Some(Action::StepDeadline { at, .. }) if at <= now) {
                    let limit = self.runs[&place].traits.timeout_s.unwrap_or(self.spec.step_timeout_s);
                    let message = format!("the step took longer than {limit} s (agents.defaults.timeout)");
                    self.give_up(now, &place, FailureCode::Timeout, message, &mut out);
                }
            }
        }
        self.advance(now, ctx, &mut out);
        Ok(out)
    }

    fn rejected(&self, what: &'static str) -> Rejected {
        Rejected { status: self.status, what }
    }

    /// The turn an agent is at, if it is the one this effect belongs to.
    fn turn_of(&self, effect: &EffectId) -> Option<&Turn> {
        let run = self.runs.get(&effect.place)?;
        let now = run.status == StepStatus::Running && run.turns.len() == effect.turn as usize;
        run.current().filter(|_| now)
    }

    /// Whether this attempt of a model call is the one in flight.
    fn awaits(&self, effect: &EffectId, attempt: u32) -> bool {
        effect.call.is_none() && self.turn_of(effect).and_then(|t| t.open.as_ref()).is_some_and(|o| o.attempt == attempt)
    }

    /// Whether this tool call is in flight.
    fn awaits_tool(&self, effect: &EffectId) -> bool {
        self.turn_of(effect).is_some_and(|t| {
            t.calls.iter().any(|c| Some(c.id.as_str()) == effect.call.as_deref() && matches!(c.state, CallState::Open { .. }))
        })
    }

    fn command(&mut self, now: Time, command: Command, out: &mut Vec<Event>) -> Result<(), Rejected> {
        match command {
            Command::DependencyEnded { task, status } => {
                if self.waiting_for.contains(&task) {
                    let failed = status != Status::Completed;
                    let error =
                        Failure { code: FailureCode::DependencyFailed, message: format!("{task}, which this task waits for, is {status}") };
                    self.emit(now, Event::DependencyEnded { task, status }, out);
                    if failed && !self.status.is_terminal() {
                        self.emit(now, Event::Failed { error }, out);
                    }
                }
            }
            Command::Cancel { reason } => self.emit(now, Event::Cancelled { reason }, out),
            Command::Pause {} => {
                if self.status != Status::Paused {
                    let message = format!("paused by a person; maos task resume {}", self.id);
                    self.emit(now, Event::Paused { reason: PauseReason::User, message }, out);
                }
            }
            Command::Resume {} => {
                if self.status == Status::Paused {
                    self.emit(now, Event::Resumed {}, out);
                }
            }
            Command::Update(Update { max_agents, priority, timeout_s, max_cost, labels }) => {
                self.emit(now, Event::Updated { max_agents, priority, timeout_s, max_cost, labels }, out);
            }
            Command::Answer { effect, answer } => self.answered_by_person(now, effect, answer, out)?,
            Command::Unseat { agent } => {
                for place in self.places_of(&agent) {
                    self.unseated(now, &place, out);
                }
            }
            Command::HoldAgent { agent, held } => {
                for place in self.places_of(&agent) {
                    if self.runs[&place].held != held {
                        self.emit(now, Event::RunHeld { place, held }, out);
                    }
                }
            }
            Command::Retry {} => {
                if !matches!(self.status, Status::Failed | Status::Cancelled | Status::TimedOut) {
                    return Err(self.rejected("only a task that is FAILED, CANCELLED or TIMED_OUT can be retried"));
                }
                self.lose_stopped_tools(now, out);
                let attempt = self.attempt + 1;
                self.emit(now, Event::Retried { attempt }, out);
            }
        }
        Ok(())
    }

    /// Where an agent works now.
    fn places_of(&self, agent: &AgentId) -> Vec<Place> {
        self.running.iter().filter(|p| self.runs[*p].agent.as_ref() == Some(agent)).cloned().collect()
    }

    /// A person answers a question or agrees to a call. Single use: a call that is not waiting takes no answer.
    fn answered_by_person(&mut self, now: Time, effect: EffectId, answer: Answer, out: &mut Vec<Event>) -> Result<(), Rejected> {
        let Some(approval) = self.questions().find(|q| q.effect == effect).map(|q| matches!(q.ask, crate::event::Ask::Approval { .. }))
        else {
            return Err(self.rejected("nothing of that id waits for an answer"));
        };
        // A person's own words, a password perhaps, are private; a refusal says nothing that was asked for.
        let taint = if matches!(answer, Answer::Text { .. }) { Taint::PRIVATE } else { Taint::NONE };
        let settled = match (&answer, approval) {
            (Answer::Approve {}, true) => None,
            (Answer::Text { text }, false) => Some((CallOutcome::Done, text.clone())),
            (Answer::Deny { reason }, _) => {
                let why = reason.as_ref().map_or(String::new(), |r| format!(": {r}"));
                Some((CallOutcome::Refused, format!("A person refused{why}. Do without it, or give what you have.")))
            }
            (Answer::Approve {}, false) => return Err(self.rejected("a question takes an answer in words")),
            (Answer::Text { .. }, true) => return Err(self.rejected("a tool call takes consent or refusal, not words")),
        };
        self.emit(now, Event::HumanAnswered { effect: effect.clone(), answer }, out);
        if let Some((outcome, text)) = settled {
            self.emit(now, Event::ToolSettled { effect, outcome, result: Body::Inline(text), taint }, out);
        }
        Ok(())
    }

    /// What was in flight on another node, or before a crash, is not any more. Model calls may have been charged for and are made again;
    /// a tool that must not be repeated is settled as lost, and the agent is told.
    fn claimed(&mut self, now: Time, epoch: u64, out: &mut Vec<Event>) {
        let places: Vec<Place> = self.running.iter().cloned().collect();
        let mut events = vec![];
        for place in &places {
            self.interrupted(now, place, &mut events);
        }
        // Also where nobody is at work time may run: it stood while nobody had the task.
        let timed = self.status == Status::Running && self.ballots.iter().any(|b| b.outcome.is_none()) || self.deadline().is_some();
        if !places.is_empty() || timed {
            self.emit(now, Event::TakenOver { epoch }, out);
        }
        for event in events {
            self.emit(now, event, out);
        }
    }

    /// What an agent had in flight at a place ends without a result; `sent_by`: a call due later was not sent.
    fn interrupted(&self, sent_by: Time, place: &Place, events: &mut Vec<Event>) {
        let Some(run) = self.runs.get(place) else {
            return;
        };
        let number = run.turns.len() as u32;
        let Some(turn) = run.current() else { return };
        if turn.open.as_ref().is_some_and(|o| o.not_before <= sent_by && !self.held_back(run, o)) {
            events.push(Event::ModelInterrupted { effect: EffectId::model(place.clone(), number) });
        }
        lost(place, number, turn, events);
    }

    /// Tools that must not be repeated and were in flight when the task ended: nobody waited for them.
    fn lose_stopped_tools(&mut self, now: Time, out: &mut Vec<Event>) {
        let mut events = vec![];
        for (place, run) in &self.runs {
            if let Some(turn) = run.current().filter(|_| run.status == StepStatus::Cancelled) {
                lost(place, run.turns.len() as u32, turn, &mut events);
            }
        }
        for event in events {
            self.emit(now, event, out);
        }
    }

    fn seated(&mut self, now: Time, place: Place, agent: AgentId, traits: Traits, out: &mut Vec<Event>) -> Result<(), Rejected> {
        let Some(run) = self.runs.get(&place) else {
            return Err(self.rejected("it has no such place"));
        };
        match run.status {
            StepStatus::Running if run.agent.as_ref() == Some(&agent) => return Ok(()),
            StepStatus::Running => {}
            StepStatus::Ready if matches!(self.status, Status::Queued | Status::Running) => {
                if self.running.len() >= self.spec.max_agents.max(1) as usize {
                    return Err(self.rejected("it has as many agents as it may use"));
                }
            }
            StepStatus::Ready
            | StepStatus::Pending
            | StepStatus::Waiting
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled => {
                return Err(self.rejected("the place needs no agent now"));
            }
        }
        if self.voters_beside(&place).contains(&agent) {
            return Err(self.rejected("that agent votes at another seat of the same ballot"));
        }
        let (state_seen, mail_seen) = (self.share.revs, self.first_mail(&place, &agent));
        self.emit(now, Event::RunStarted { place, agent, state_seen, mail_seen, traits }, out);
        Ok(())
    }

    /// How many messages of the task are read with a first prompt: all, or those before the first that would make it too long.
    fn first_mail(&self, place: &Place, agent: &AgentId) -> u32 {
        let mut bytes = 0;
        let fits = |m: &&crate::share::Mail| {
            bytes += if m.reaches(place, Some(agent)) { m.body.len() } else { 0 };
            bytes <= FIRST_MAIL_BYTES_MAX
        };
        self.share.mail.iter().take_while(fits).count() as u32
    }

    fn unseated(&mut self, now: Time, place: &Place, out: &mut Vec<Event>) {
        if self.running.contains(place) {
            let mut events = vec![];
            self.interrupted(now.plus_ms(ABORT_MS_MAX), place, &mut events);
            for event in events {
                self.emit(now, event, out);
            }
            self.emit(now, Event::RunParked { place: place.clone() }, out);
        }
    }

    fn call_failed(
        &mut self,
        now: Time,
        effect: &EffectId,
        error: &crate::message::CallError,
        dice: u32,
        ctx: Ctx<'_>,
        out: &mut Vec<Event>,
    ) {
        let event = Event::ModelFailed {
            effect: effect.clone(),
            class: error.class,
            message: error.message.clone(),
            possibly_billed: error.possibly_billed,
        };
        self.emit(now, event, out);
        if error.class == crate::message::FailureClass::ContextExceeded && self.can_condense(&effect.place) {
            self.condense(now, &effect.place, ctx, out);
            return;
        }
        let turn = self.runs.get(&effect.place).and_then(|r| r.turn(effect.turn)).expect("a call that is awaited has a turn");
        let failed = if error.class == crate::message::FailureClass::RateLimited { turn.limited } else { turn.failed };
        match verdict(error, failed.max(1), dice, ctx.limits) {
            // While the task or its agent is held, or the node is being stopped, nothing new is asked; the call is made when they go on.
            Verdict::Again { .. } if !self.may_ask(&effect.place, ctx) => {}
            Verdict::Again { after_ms } => {
                let mode = Mode::of(self.runs[&effect.place].turn(effect.turn).expect("a call that is awaited has a turn"));
                self.request(now, &effect.place, now.plus_ms(after_ms), mode, ctx, out);
            }
            Verdict::Hold(reason) => {
                if self.status != Status::Paused {
                    let message = format!("{}; then: maos task resume {}", error.message, self.id);
                    self.emit(now, Event::Paused { reason, message }, out);
                }
            }
            Verdict::GiveUp(code) => self.give_up(now, &effect.place, code, error.message.clone(), out),
        }
    }

    /// A conversation is given up: what depends on it is skipped, everything else goes on.
    pub(crate) fn give_up(&mut self, now: Time, place: &Place, code: FailureCode, message: String, out: &mut Vec<Event>) {
        let error = Failure { code, message };
        self.emit(now, Event::RunFailed { place: place.clone(), error: error.clone() }, out);
        let step = match place {
            Place::Step(step) => step,
            // A voter who does not vote is counted as absent.
            Place::Vote { .. } => return,
            Place::Plan | Place::Synthesis | Place::Revision => {
                self.emit(now, Event::Failed { error }, out);
                return;
            }
        };
        let mut queue: Vec<StepId> = self.followers.get(step).cloned().unwrap_or_default();
        while let Some(next) = queue.pop() {
            if self.runs.get(&Place::Step(next.clone())).is_some_and(|r| !r.status.is_over()) {
                queue.extend(self.followers.get(&next).into_iter().flatten().cloned());
                self.emit(now, Event::StepSkipped { step: next, because: step.clone() }, out);
            }
        }
    }
}

/// The calls of a turn that were in flight and must not be repeated.
fn lost(place: &Place, number: u32, turn: &Turn, events: &mut Vec<Event>) {
    for call in &turn.calls {
        if matches!(call.state, CallState::Open { repeat: Repeat::Never, .. }) {
            let result = Body::Inline("outcome: unknown. The tool was started and MAOS was interrupted before it answered. It was not run again. Check what it did before you decide.".into());
            events.push(Event::ToolSettled {
                effect: EffectId::tool(place.clone(), number, call.id.clone()),
                outcome: CallOutcome::Lost,
                result,
                taint: Taint::NONE,
            });
        }
    }
}
