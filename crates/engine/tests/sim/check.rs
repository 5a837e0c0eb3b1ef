//! The invariants, checked entry by entry by a second, simpler reading of the journal that shares no code with the engine's fold.
//! It asks the engine nothing but figures to compare with its own.
//!
//! I1 an acknowledged task exists · I2 journals have no gap, and their hash chain holds · I4 a model call has one result, each attempt a
//! committed intent, and is sent once · I5 a call whose result is committed is never asked for again · I6 a tool that must not be repeated
//! runs at most once · I8 spent + held + possibly charged never exceed a budget, and all is settled at the end · I9, I10 only the holder
//! of the lease appends · I11 nothing starts before what it depends on completed · I13 the fold of the journal, also from a snapshot, is
//! the live state · I14 with faults switched off everything ends.
use maos_engine::consensus::Outcome;
use maos_engine::event::{Answer, Event, Repeat};
use maos_engine::ids::{AgentId, EffectId, Place, TaskId};
use maos_engine::money::Money;
use maos_engine::plan::Plan;
use maos_engine::status::Status;
use maos_engine::task::{ABORT_MS_MAX, Task};
use maos_engine::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// What went wrong, in words.
pub(crate) type Violation = String;

/// Fails with a formatted violation unless the condition holds.
macro_rules! ensure {
    ($cond:expr, $($what:tt)+) => {
        if !$cond { return Err(format!($($what)+)); }
    };
}
pub(crate) use ensure;

#[derive(Debug, Clone)]
struct OpenCall {
    attempt: u32,
    held: Money,
    not_before: Time,
}

/// The second reading of one task's journal.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    status: Option<Status>,
    started: bool,
    max_agents: usize,
    max_cost: Option<Money>,
    waits_for: BTreeSet<TaskId>,
    depends: BTreeMap<Place, Vec<Place>>,
    completed: BTreeSet<Place>,
    running: BTreeMap<Place, AgentId>,
    /// Places whose agent a person holds, and since when.
    held: BTreeMap<Place, Time>,
    open: BTreeMap<EffectId, OpenCall>,
    attempts: BTreeMap<EffectId, u32>,
    /// Model calls whose result is committed.
    pub(crate) replied: BTreeSet<EffectId>,
    /// Tool calls with a committed intent: whether they may be repeated, and whether they ended.
    pub(crate) tools: BTreeMap<EffectId, (Repeat, bool)>,
    /// Tool calls a person was asked about: whether they agreed.
    asked: BTreeMap<EffectId, bool>,
    /// Votes by ballot and agent, and how ballots ended.
    votes: BTreeSet<(u8, AgentId)>,
    voters: BTreeMap<Place, AgentId>,
    ballots: BTreeMap<u8, Option<Outcome>>,
    must_agree: bool,
    spent: Money,
    reserved: Money,
    possibly: Money,
    /// Epoch of the lease: no entry of an earlier one may follow.
    pub(crate) epoch: u64,
}

impl Checker {
    /// Whether this attempt of a model call has a committed intent.
    pub(crate) fn intended(&self, effect: &EffectId, attempt: u32) -> bool {
        self.attempts.get(effect).is_some_and(|a| *a >= attempt)
    }

    fn committed(&self) -> Money {
        self.spent.plus(self.reserved).plus(self.possibly)
    }

    fn become_status(&mut self, next: Status) -> Result<(), Violation> {
        let before = self.status.replace(next);
        ensure!(before.is_none_or(|b| b == next || b.may_become(next)), "the task went from {before:?} to {next}");
        Ok(())
    }

    fn close(&mut self, effect: &EffectId, billed: bool) -> Result<OpenCall, Violation> {
        let open = self.open.remove(effect).ok_or_else(|| format!("{effect} was not open"))?;
        self.reserved = self.reserved.minus(open.held);
        if billed {
            self.possibly = self.possibly.plus(open.held);
        }
        Ok(open)
    }

    /// A place ends or is left: a call in flight there is cut off.
    fn cut(&mut self, place: &Place, at: Time) {
        let sent_by = at.plus_ms(ABORT_MS_MAX);
        let at_work = self.running.contains_key(place);
        let cut: Vec<EffectId> = self.open.keys().filter(|e| e.place == *place).cloned().collect();
        for effect in cut {
            let due = self.open[&effect].not_before;
            let held_back = self.held.get(place).is_some_and(|since| due > since.plus_ms(ABORT_MS_MAX));
            let sent = at_work && due <= sent_by && !held_back;
            self.close(&effect, sent).expect("it is open");
        }
    }

    fn end_all(&mut self, at: Time, status: Status) -> Result<(), Violation> {
        let places: BTreeSet<Place> = self.open.keys().map(|e| e.place.clone()).collect();
        for place in places {
            self.cut(&place, at);
        }
        self.running.clear();
        self.become_status(status)
    }

    /// Reads one committed entry.
    pub(crate) fn read(&mut self, epoch: u64, at: Time, event: &Event) -> Result<(), Violation> {
        ensure!(epoch >= self.epoch, "I10: an entry of epoch {epoch} after one of {}", self.epoch);
        self.epoch = epoch;
        if let Some(status) = self.status
            && status.is_terminal()
        {
            ensure!(
                matches!(event, Event::DependencyEnded { .. } | Event::Retried { .. } | Event::ToolSettled { .. }),
                "{} was recorded after the task was {status}",
                event.kind()
            );
        }
        match event {
            Event::Submitted { spec } => {
                self.max_agents = spec.max_agents.max(1) as usize;
                self.max_cost = spec.max_cost;
                self.must_agree = spec.consensus.is_some();
                self.waits_for = spec.depends_on.iter().cloned().collect();
                self.become_status(self.standing())
            }
            Event::DependencyEnded { task, status } => {
                if *status == Status::Completed {
                    ensure!(self.waits_for.remove(task), "I11: released by {task} twice");
                    if self.waits_for.is_empty() && self.status == Some(Status::Blocked) {
                        self.become_status(Status::Queued)?;
                    }
                }
                Ok(())
            }
            Event::RunStarted { place, agent, .. } => self.read_start(place, agent),
            Event::RunParked { place } => {
                self.held.remove(place);
                ensure!(self.running.remove(place).is_some(), "{place} was left by nobody");
                Ok(())
            }
            Event::RunWaiting { .. }
            | Event::RunHeld { .. }
            | Event::HumanAsked { .. }
            | Event::HumanAnswered { .. }
            | Event::BallotOpened { .. }
            | Event::VoteCast { .. }
            | Event::BallotClosed { .. } => self.read_people(at, event),
            Event::PlanAccepted { plan, .. } => {
                self.read_plan(plan);
                self.cut(&Place::Plan, at);
                self.running.remove(&Place::Plan);
                Ok(())
            }
            Event::RunCompleted { place, .. } => {
                // A revision is written again when a later ballot is lost, after a retry.
                ensure!(self.completed.insert(place.clone()) || *place == Place::Revision, "I11: {place} completed twice");
                self.cut(place, at);
                self.running.remove(place);
                Ok(())
            }
            Event::RunFailed { place, .. } => {
                self.cut(place, at);
                self.running.remove(place);
                Ok(())
            }
            Event::Paused { .. } => {
                ensure!(self.status != Some(Status::Paused), "held twice");
                self.become_status(Status::Paused)
            }
            Event::Resumed {} => self.become_status(self.standing()),
            Event::Updated { max_agents, max_cost, .. } => {
                self.max_agents = max_agents.map_or(self.max_agents, |m| m.max(1) as usize);
                self.max_cost = max_cost.or(self.max_cost);
                Ok(())
            }
            Event::Retried { .. } => {
                self.started = false;
                self.become_status(self.standing())
            }
            Event::Completed { result } => {
                ensure!(
                    result.answer || self.completed.contains(&result.place),
                    "the result stands at {}, which did not complete",
                    result.place
                );
                let agreed = self.ballots.values().next_back() == Some(&Some(Outcome::Approved));
                ensure!(!self.must_agree || agreed, "completed without the voters' agreement");
                self.end_all(at, Status::Completed)
            }
            Event::Failed { .. } => self.end_all(at, Status::Failed),
            Event::Cancelled { .. } => self.end_all(at, Status::Cancelled),
            Event::TimedOut {} => self.end_all(at, Status::TimedOut),
            _ => self.read_effect(event),
        }
    }

    fn read_people(&mut self, at: Time, event: &Event) -> Result<(), Violation> {
        match event {
            Event::RunWaiting { place } => {
                ensure!(self.running.remove(place).is_some(), "{place} waits for a person and nobody was there");
                ensure!(!self.open.keys().any(|e| e.place == *place), "{place} waits for a person with a call in flight");
                Ok(())
            }
            Event::RunHeld { place, held } => {
                if *held {
                    self.held.insert(place.clone(), at);
                } else {
                    self.held.remove(place);
                }
                Ok(())
            }
            Event::HumanAsked { effect, .. } => {
                ensure!(!self.tools.contains_key(effect), "a person is asked about {effect}, which was started");
                self.asked.insert(effect.clone(), false);
                Ok(())
            }
            Event::HumanAnswered { effect, answer } => {
                ensure!(self.asked.contains_key(effect), "{effect} was answered and not asked");
                self.asked.insert(effect.clone(), *answer == Answer::Approve {});
                Ok(())
            }
            Event::BallotOpened { round, .. } => {
                ensure!(self.ballots.values().all(Option::is_some), "two ballots at once");
                ensure!(self.ballots.insert(*round, None).is_none(), "ballot {round} was opened twice");
                Ok(())
            }
            Event::VoteCast { round, vote } => {
                ensure!(self.ballots.get(round) == Some(&None), "I12: a vote in a ballot that is not open");
                ensure!(self.votes.insert((*round, vote.agent.clone())), "I12: {} votes twice in ballot {round}", vote.agent);
                Ok(())
            }
            Event::BallotClosed { round, outcome } => {
                ensure!(self.ballots.insert(*round, Some(*outcome)) == Some(None), "ballot {round} was closed twice");
                let all = self.running.keys().chain(self.open.keys().map(|e| &e.place));
                let seats: BTreeSet<Place> = all.filter(|p| matches!(p, Place::Vote { round: r, .. } if r == round)).cloned().collect();
                for seat in seats {
                    self.cut(&seat, at);
                    self.running.remove(&seat);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The state of a task that is live and not held.
    fn standing(&self) -> Status {
        if !self.waits_for.is_empty() {
            Status::Blocked
        } else if self.started {
            Status::Running
        } else {
            Status::Queued
        }
    }

    fn read_plan(&mut self, plan: &Plan) {
        for step in &plan.steps {
            let place = |s: &maos_engine::ids::StepId| Place::Step(s.clone());
            self.depends.insert(place(&step.id), step.depends_on.iter().map(place).collect());
        }
    }

    fn read_start(&mut self, place: &Place, agent: &AgentId) -> Result<(), Violation> {
        self.held.remove(place);
        self.started = true;
        let new = self.running.insert(place.clone(), agent.clone()).is_none();
        ensure!(self.waits_for.is_empty(), "I11: {place} started before the tasks it waits for completed");
        ensure!(!self.completed.contains(place) || *place == Place::Revision, "{place} started after it completed");
        if let Place::Vote { round, .. } = place {
            self.voters.insert(place.clone(), agent.clone());
            let seats = self.voters.iter().filter(|(p, a)| matches!(p, Place::Vote { round: r, .. } if r == round) && *a == agent);
            ensure!(seats.count() == 1, "I12: {agent} has two seats of ballot {round}");
        }
        for before in self.depends.get(place).into_iter().flatten() {
            ensure!(self.completed.contains(before), "I11: {place} started before {before} completed");
        }
        if *place == Place::Synthesis {
            let all = self.depends.keys().all(|s| self.completed.contains(s));
            ensure!(all, "I11: the outputs were joined before all were there");
        }
        if new {
            ensure!(self.running.len() <= self.max_agents, "{} agents work on a task that may use {}", self.running.len(), self.max_agents);
            ensure!(matches!(self.status, Some(Status::Queued | Status::Running)), "{place} started while the task was {:?}", self.status);
            self.become_status(Status::Running)?;
        }
        Ok(())
    }

    fn read_effect(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::ModelRequested { effect, attempt, reserved, not_before, .. } => {
                let last = self.attempts.insert(effect.clone(), *attempt).unwrap_or(0);
                ensure!(*attempt == last + 1, "I4: attempt {attempt} of {effect} after {last}");
                ensure!(!self.replied.contains(effect), "I5: {effect} is asked for again after its result was committed");
                ensure!(self.running.contains_key(&effect.place), "{effect} is asked for by nobody");
                ensure!(self.status == Some(Status::Running), "{effect} is asked for while the task is {:?}", self.status);
                let held = reserved.unwrap_or_default();
                let open = OpenCall { attempt: *attempt, held, not_before: *not_before };
                ensure!(self.open.insert(effect.clone(), open).is_none(), "I4: {effect} was open");
                self.reserved = self.reserved.plus(held);
                if let Some(max) = self.max_cost {
                    ensure!(reserved.is_some(), "I8: a call of unknown price under a budget");
                    ensure!(self.committed() <= max, "I8: ${} is committed of ${max}", self.committed());
                }
            }
            Event::ModelReplied { effect, cost, .. } => {
                let open = self.close(effect, false)?;
                ensure!(self.replied.insert(effect.clone()), "I4: {effect} has two results");
                let cost = cost.unwrap_or_default();
                ensure!(cost <= open.held || open.held == Money::ZERO, "attempt {} of {effect} cost more than was held", open.attempt);
                self.spent = self.spent.plus(cost);
            }
            Event::ModelFailed { effect, possibly_billed, .. } => {
                self.close(effect, *possibly_billed)?;
            }
            Event::ModelInterrupted { effect } => {
                let open = self.close(effect, true)?;
                let held = self.held.get(&effect.place);
                ensure!(
                    held.is_none_or(|since| open.not_before <= since.plus_ms(ABORT_MS_MAX)),
                    "{effect} waited for its time when its agent was held, and counts as sent"
                );
            }
            Event::ToolRequested { effect, name, repeat, .. } => {
                ensure!(name != super::actors::NO_SUCH_TOOL, "{effect} is started and no check let it through");
                let before = self.tools.insert(effect.clone(), (*repeat, false));
                ensure!(before.is_none(), "{effect} is intended twice");
                ensure!(self.asked.get(effect) != Some(&false), "{effect} is started without the consent that was asked for");
                ensure!(self.running.contains_key(&effect.place), "{effect} is started by nobody");
            }
            Event::ToolSettled { effect, .. } => {
                let tool = self.tools.entry(effect.clone());
                let tool = tool.or_insert((Repeat::Never, false));
                ensure!(!tool.1, "{effect} ended twice");
                tool.1 = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares this reading with the engine's state.
    pub(crate) fn compare(&mut self, task: &Task) -> Result<(), Violation> {
        let account = task.account;
        ensure!(
            (account.spent, account.reserved, account.possibly_billed) == (self.spent, self.reserved, self.possibly),
            "I8: the account {account:?} should be {:?}",
            (self.spent, self.reserved, self.possibly)
        );
        ensure!(account.reserved >= Money::ZERO, "I8: {account:?}");
        ensure!(self.status == Some(task.status), "the engine says {}, the journal {:?}", task.status, self.status);
        let running: BTreeSet<&Place> = self.running.keys().collect();
        ensure!(running == task.running.iter().collect(), "the engine says {:?} work, the journal {running:?}", task.running);
        if task.status.is_terminal() {
            ensure!(
                self.open.is_empty() && account.reserved == Money::ZERO,
                "I8: not everything is settled at the end: {:?}",
                self.open.keys()
            );
        }
        Ok(())
    }
}
