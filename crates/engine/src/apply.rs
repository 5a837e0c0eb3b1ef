//! `apply`: the fold. Total: it asks nobody and never fails or panics, whatever it is given; it trusts that entries fit the state, since
//! `handle` makes no others.
use crate::body::Body;
use crate::consensus::Outcome;
use crate::event::{Answer, Ask, AskedCall, CallOutcome, Event, Failure, TextRef};
use crate::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use crate::input::Traits;
use crate::message::FailureClass;
use crate::plan::{Plan, PlanSource, coordinator};
use crate::share::{Mail, Written};
use crate::spec::TaskSpec;
use crate::status::{Status, StepStatus};
use crate::taint::Taint;
use crate::task::{Ballot, CallState, Consent, OpenCall, Paid, Run, Task, ToolCall, Turn};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

impl Task {
    /// Folds one entry into the state.
    pub fn apply(&mut self, at: Time, event: &Event) {
        self.seq += 1;
        let before = std::mem::replace(&mut self.updated_at, at);
        match event {
            Event::Submitted { spec } => self.on_submitted(at, spec),
            Event::DependencyEnded { task, status } => self.on_dependency(task, *status),
            Event::TakenOver { .. } => self.on_taken_over(before, at),
            Event::RunStarted { place, agent, state_seen, mail_seen, traits } => {
                self.on_run_started(at, place, agent, (*state_seen, *mail_seen), traits);
            }
            Event::RunParked { place } => self.on_parked(at, place),
            Event::ModelRequested { effect, attempt, model, reserved, not_before, last, compact, request: _ } => {
                self.account.reserved = self.account.reserved.plus(reserved.unwrap_or_default());
                let open = OpenCall { attempt: *attempt, not_before: *not_before, reserved: *reserved, at };
                self.on_requested(at, effect, model, open, (*last, *compact));
            }
            Event::ModelReplied { effect, reply, calls, stop, usage, cost, sent_at, taint } => {
                let paid = Paid { reply: reply.clone(), stop: stop.clone(), usage: *usage, cost: *cost, sent_at: *sent_at, at };
                self.on_replied(effect, paid, calls, *taint);
            }
            Event::ModelFailed { effect, class, message, possibly_billed } => {
                self.on_model_failed(effect, *class, message, *possibly_billed)
            }
            Event::ModelInterrupted { effect } => {
                self.close_call(effect, true);
            }
            Event::ToolRequested { effect, name: _, repeat, writes, brings } => {
                if let Some(call) = self.tool_mut(effect) {
                    call.state = CallState::Open { repeat: *repeat, at };
                }
                self.wanting.remove(&effect.place);
                if let Some(run) = self.runs.get(&effect.place).filter(|_| *writes) {
                    // Before it ends: others may read what it has written by then.
                    self.files_taint = self.files_taint.and(run.taint).and(*brings);
                }
            }
            Event::ToolSettled { effect, outcome, result, taint } => self.on_settled(at, effect, *outcome, result, *taint),
            Event::HumanAsked { .. }
            | Event::HumanAnswered { .. }
            | Event::RunWaiting { .. }
            | Event::RunHeld { .. }
            | Event::Compacted { .. }
            | Event::BallotOpened { .. }
            | Event::VoteCast { .. }
            | Event::BallotClosed { .. } => self.apply_people(at, event),
            Event::StateSet { .. } | Event::MessageSent { .. } | Event::MailRead { .. } => self.apply_share(at, event),
            Event::PlanRejected { reason } => self.on_plan_rejected(reason),
            Event::PlanAccepted { plan, source } => self.on_plan(at, plan, *source),
            Event::RunCompleted { place, output } => {
                if let Some(run) = self.runs.get_mut(place) {
                    run.output = Some(output.clone());
                }
                self.end_run(at, place, StepStatus::Completed);
            }
            Event::RunFailed { place, error } => {
                if let Some(run) = self.runs.get_mut(place) {
                    run.error = Some(error.clone());
                }
                self.end_run(at, place, StepStatus::Failed);
            }
            Event::StepSkipped { step, because: _ } => self.end_run(at, &Place::Step(step.clone()), StepStatus::Skipped),
            Event::Paused { reason, message } => {
                self.status = Status::Paused;
                self.pause = Some((*reason, message.clone()));
                self.paused_at = Some(at);
                self.all_changed();
            }
            Event::Resumed {} => self.on_resumed(at),
            Event::Updated { max_agents, priority, timeout_s, max_cost, labels } => {
                let spec = &mut self.spec;
                spec.max_agents = max_agents.unwrap_or(spec.max_agents);
                spec.priority = priority.unwrap_or(spec.priority);
                spec.timeout_s = timeout_s.or(spec.timeout_s);
                spec.max_cost = max_cost.or(spec.max_cost);
                if let Some(labels) = labels {
                    spec.labels.clone_from(labels);
                }
                self.revision += 1;
                self.all_changed();
            }
            Event::Retried { attempt } => self.on_retried(at, *attempt),
            Event::Completed { result } => {
                self.result = Some(result.clone());
                self.end(at, Status::Completed, None);
            }
            Event::Failed { error } => self.end(at, Status::Failed, Some(error.clone())),
            Event::Cancelled { .. } => self.end(at, Status::Cancelled, None),
            Event::TimedOut {} => self.end(at, Status::TimedOut, None),
        }
        self.count_waiting(at);
    }

    /// People and voters.
    fn apply_people(&mut self, at: Time, event: &Event) {
        match event {
            Event::HumanAsked { effect, ask } => self.on_asked(at, effect, ask),
            Event::HumanAnswered { effect, answer } => self.on_answered(at, effect, answer),
            Event::RunWaiting { place } => self.on_waiting(at, place),
            Event::RunHeld { place, held } => {
                if *held {
                    self.stop_clock(at, place);
                } else {
                    self.start_clock(at, place);
                }
                if let Some(run) = self.runs.get_mut(place) {
                    run.held = *held;
                }
                if !held && self.running.contains(place) && !self.runs[place].is_open() {
                    self.wanting.insert(place.clone());
                }
                self.changed.0.insert(place.clone());
            }
            Event::Compacted { place, turn } => {
                if let Some(run) = self.runs.get_mut(place) {
                    run.compacted = *turn;
                }
            }
            Event::BallotOpened { round, draft, voters } => self.on_ballot(at, *round, draft, voters),
            Event::VoteCast { round, vote } => {
                if let Some(ballot) = self.ballots.iter_mut().find(|b| b.round == *round) {
                    ballot.votes.push(vote.clone());
                }
            }
            Event::BallotClosed { round, outcome } => self.on_ballot_closed(at, *round, *outcome),
            _ => {}
        }
    }

    /// What agents share.
    fn apply_share(&mut self, at: Time, event: &Event) {
        match event {
            Event::StateSet { key, value, version: _, by, taint } => {
                self.share.revs += 1;
                let write = Written { value: value.clone(), by: by.clone(), at, rev: self.share.revs, taint: *taint };
                self.share.state.entry(key.clone()).or_default().push(write);
            }
            Event::MessageSent { from, from_step, to, to_place, body, taint } => {
                let (from, from_step, to, to_place, body) = (from.clone(), from_step.clone(), to.clone(), to_place.clone(), body.clone());
                self.share.mail.push(Mail { from, from_step, to, to_place, body, at, taint: *taint });
            }
            Event::MailRead { place, upto } => {
                if let Some(run) = self.runs.get_mut(place) {
                    let read = self.share.mail.iter().take(*upto as usize).skip(run.mail_read as usize);
                    let seen = read.filter(|m| m.reaches(place, run.agent.as_ref())).fold(Taint::NONE, |t, m| t.and(m.taint));
                    (run.mail_read, run.taint) = (*upto, run.taint.and(seen));
                }
            }
            _ => {}
        }
    }

    /// Nobody worked on it between its last entry and now, or nothing came of it: that is not its time.
    fn on_taken_over(&mut self, last: Time, at: Time) {
        if self.status == Status::Running && self.people_since.is_none() {
            self.paused_ms += at.since_ms(last);
        }
        self.all_changed();
    }

    /// From now on the time of a conversation is not its own.
    fn stop_clock(&mut self, at: Time, place: &Place) {
        let stopped = self.stopped_ms(at);
        if let Some(run) = self.runs.get_mut(place).filter(|r| r.waiting_since.is_none()) {
            (run.waiting_since, run.waiting_stopped_ms) = (Some(at), stopped);
        }
    }

    /// The time of a conversation runs again. What the task's clock has stood meanwhile is counted there.
    fn start_clock(&mut self, at: Time, place: &Place) {
        let stopped = self.stopped_ms(at);
        if let Some(run) = self.runs.get_mut(place)
            && let Some(since) = run.waiting_since.take()
        {
            run.waited_ms += at.since_ms(since).saturating_sub(stopped.saturating_sub(run.waiting_stopped_ms));
        }
    }

    /// Time in which nothing but people's answers is waited for is not the task's time.
    fn count_waiting(&mut self, at: Time) {
        match (self.only_people(), self.people_since) {
            (true, None) => self.people_since = Some(at),
            (false, Some(since)) => {
                self.people_since = None;
                self.paused_ms += at.since_ms(since);
                self.all_changed();
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn on_asked(&mut self, at: Time, effect: &EffectId, ask: &Ask) {
        if let Some(call) = self.tool_mut(effect) {
            call.state = CallState::Waiting { ask: ask.clone(), at };
            self.asked.insert(effect.clone());
        }
        self.look_again(&effect.place);
    }

    /// Whether the place can go on is decided anew: a call of its turn has changed, and none is in flight.
    fn look_again(&mut self, place: &Place) {
        if self.running.contains(place) && !self.runs[place].is_open() {
            self.wanting.insert(place.clone());
        }
    }

    /// Consent lets the call start; an answer in words settles it, in an event of its own.
    fn on_answered(&mut self, at: Time, effect: &EffectId, answer: &Answer) {
        self.asked.remove(effect);
        if let (Some(call), Answer::Approve {}) = (self.tool_mut(effect), answer) {
            if let CallState::Waiting { ask, .. } = &call.state {
                call.state = CallState::Asked { consent: Some(Box::new(Consent { ask: ask.clone(), at })) };
            }
            if self.running.contains(&effect.place) {
                self.wanting.insert(effect.place.clone());
            }
            self.wake(at, &effect.place);
        }
    }

    fn on_waiting(&mut self, at: Time, place: &Place) {
        self.stop_clock(at, place);
        if let Some(run) = self.runs.get_mut(place) {
            run.status = StepStatus::Waiting;
            run.held = false;
        }
        self.running.remove(place);
        self.wanting.remove(place);
        self.waiting.insert(place.clone());
        self.changed.0.insert(place.clone());
    }

    /// A conversation that waited for a person can go on: it needs an agent again.
    fn wake(&mut self, at: Time, place: &Place) {
        if !self.waiting.remove(place) {
            return;
        }
        self.start_clock(at, place);
        if let Some(run) = self.runs.get_mut(place) {
            run.status = StepStatus::Ready;
            run.ready_at = Some(at);
        }
        self.changed.0.insert(place.clone());
    }

    fn on_ballot(&mut self, at: Time, round: u8, draft: &TextRef, voters: &[AgentType]) {
        for (kind, seat) in voters.iter().zip(1..) {
            let place = Place::Vote { round, seat };
            self.runs.insert(place.clone(), Run::new(StepStatus::Ready, kind.clone(), u32::from(seat), at));
            self.changed.0.insert(place);
        }
        self.ballots.push(Ballot {
            round,
            draft: draft.clone(),
            voters: u8::try_from(voters.len()).unwrap_or(u8::MAX),
            votes: vec![],
            opened_at: at,
            held_ms: self.paused_ms,
            outcome: None,
        });
    }

    fn on_ballot_closed(&mut self, at: Time, round: u8, outcome: Outcome) {
        if let Some(ballot) = self.ballots.iter_mut().find(|b| b.round == round) {
            ballot.outcome = Some(outcome);
        }
        let seats: Vec<Place> = self.runs.keys().filter(|p| matches!(p, Place::Vote { round: r, .. } if *r == round)).cloned().collect();
        for seat in seats {
            self.end_run(at, &seat, StepStatus::Cancelled);
        }
        let last = u32::from(round).saturating_sub(self.ballot_base) >= u32::from(crate::consensus::ROUNDS_MAX);
        if outcome == Outcome::Rejected && !last {
            let run = self.runs.entry(Place::Revision).or_insert_with(|| Run::new(StepStatus::Ready, coordinator(), 0, at));
            // One of an earlier try becomes a new conversation.
            (run.status, run.base, run.output, run.error) = (StepStatus::Ready, run.turns.len() as u32, None, None);
            (run.ready_at, run.started_at, run.finished_at) = (Some(at), None, None);
            self.changed.0.insert(Place::Revision);
        }
    }

    fn on_dependency(&mut self, task: &TaskId, status: Status) {
        if status == Status::Completed {
            self.waiting_for.remove(task);
        }
        if self.status == Status::Blocked && self.waiting_for.is_empty() {
            self.status = Status::Queued;
            self.all_changed();
        }
    }

    /// A reply with a tool call is answered by that call's result; one without is told here.
    fn on_plan_rejected(&mut self, reason: &str) {
        if let Some(turn) = self.runs.get_mut(&Place::Plan).and_then(|r| r.turns.last_mut())
            && turn.calls.is_empty()
        {
            turn.note = Some(reason.to_owned());
        }
    }

    fn on_submitted(&mut self, at: Time, spec: &TaskSpec) {
        self.created_at = at;
        self.waiting_for = spec.depends_on.iter().cloned().collect();
        self.status = if self.waiting_for.is_empty() { Status::Queued } else { Status::Blocked };
        self.spec = spec.clone();
        if !spec.attachments.is_empty() {
            self.files_taint = Taint::BOTH;
        }
        self.runs.insert(Place::Plan, Run::new(StepStatus::Ready, coordinator(), 0, at));
        self.changed.0.insert(Place::Plan);
    }

    fn on_plan(&mut self, at: Time, plan: &Plan, source: PlanSource) {
        if source == PlanSource::Single {
            self.runs.remove(&Place::Plan);
        } else {
            self.end_run(at, &Place::Plan, StepStatus::Completed);
        }
        self.changed.0.insert(Place::Plan);
        let mut index: BTreeMap<&StepId, usize> = BTreeMap::new();
        for (i, step) in plan.steps.iter().enumerate() {
            index.insert(&step.id, i);
            for d in &step.depends_on {
                self.followers.entry(d.clone()).or_default().push(step.id.clone());
            }
        }
        let path = remaining_paths(plan, &index);
        for (i, step) in plan.steps.iter().enumerate() {
            let status = if step.depends_on.is_empty() { StepStatus::Ready } else { StepStatus::Pending };
            let kind = step.agent_type.clone().unwrap_or_else(coordinator);
            let mut run = Run::new(status, kind, u32::try_from(i).expect("a plan has fewer steps than u32"), at);
            run.waits_on = step.depends_on.len() as u32;
            run.path = path[i];
            let place = Place::Step(step.id.clone());
            self.changed.0.insert(place.clone());
            self.runs.insert(place, run);
        }
        self.open_steps = plan.steps.len() as u32;
        self.plan = Some(plan.clone());
        self.plan_source = Some(source);
    }

    fn on_run_started(&mut self, at: Time, place: &Place, agent: &AgentId, (state_seen, mail_seen): (u32, u32), traits: &Traits) {
        if self.status == Status::Queued {
            self.status = Status::Running;
            // The time of an open ballot runs while the task does.
            self.changed.0.extend(self.runs.keys().filter(|p| matches!(p, Place::Vote { .. })).cloned());
        }
        if self.started_at.is_none() {
            self.started_at = Some(at);
            self.paused_ms = 0;
            // A ballot that stood open when the task ended has its whole time again.
            for ballot in self.ballots.iter_mut().filter(|b| b.outcome.is_none()) {
                (ballot.opened_at, ballot.held_ms) = (at, 0);
            }
        }
        self.start_clock(at, place);
        let held_ms = self.paused_ms;
        let given = self.given_taint(place, agent, state_seen, mail_seen);
        let Some(run) = self.runs.get_mut(place) else {
            return;
        };
        run.status = StepStatus::Running;
        run.agent = Some(agent.clone());
        run.held = false;
        run.traits = traits.clone();
        if run.started_at.is_none() {
            run.started_at = Some(at);
            run.held_ms = held_ms;
        }
        // The first prompt of a conversation never changes.
        if run.turns_now().is_empty() {
            run.opened_by = Some(agent.clone());
            run.state_seen = state_seen;
            run.mail_seen = mail_seen;
            run.mail_read = run.mail_read.max(mail_seen);
            run.taint = run.taint.and(given);
        }
        self.running.insert(place.clone());
        if !self.runs[place].is_open() {
            self.wanting.insert(place.clone());
        }
        self.changed.0.insert(place.clone());
        // Who votes at one seat may not vote at another.
        if let Place::Vote { round, .. } = place {
            self.changed.0.extend(self.runs.keys().filter(|p| matches!(p, Place::Vote { round: r, .. } if r == round)).cloned());
        }
    }

    /// What the first prompt of a conversation brings: outputs of other steps and tasks, shared state, messages.
    fn given_taint(&self, place: &Place, agent: &AgentId, state_seen: u32, mail_seen: u32) -> Taint {
        let mut taint = if self.spec.depends_on.is_empty() { Taint::NONE } else { Taint::BOTH };
        let of = |id: &StepId| self.runs.get(&Place::Step(id.clone())).map_or(Taint::NONE, |r| r.taint);
        let Some(step) = self.step(place) else {
            // The coordinator and the voters see all outputs.
            return self.runs.values().fold(taint, |t, r| t.and(r.taint));
        };
        taint = step.depends_on.iter().fold(taint, |t, d| t.and(of(d)));
        let writes = self.share.state.values().flatten().filter(|w| w.rev <= state_seen);
        taint = writes.fold(taint, |t, w| t.and(w.taint));
        let mail = self.share.mail.iter().take(mail_seen as usize).filter(|m| m.reaches(place, Some(agent)));
        mail.fold(taint, |t, m| t.and(m.taint))
    }

    fn on_parked(&mut self, at: Time, place: &Place) {
        self.start_clock(at, place);
        if let Some(run) = self.runs.get_mut(place) {
            run.held = false;
            run.status = StepStatus::Ready;
            run.ready_at = Some(at);
        }
        self.running.remove(place);
        self.wanting.remove(place);
        self.changed.0.insert(place.clone());
    }

    fn on_requested(&mut self, at: Time, effect: &EffectId, model: &str, open: OpenCall, (last, compact): (bool, bool)) {
        self.wanting.remove(&effect.place);
        self.changed.0.insert(effect.place.clone());
        let Some(run) = self.runs.get_mut(&effect.place) else {
            return;
        };
        if run.turns.len() < effect.turn as usize {
            run.turns.push(Turn::default());
        }
        if let Some(turn) = run.turn_mut(effect.turn) {
            turn.model.clear();
            turn.model.push_str(model);
            turn.attempts = open.attempt;
            turn.requested_at.get_or_insert(at);
            turn.open = Some(open);
            (turn.last, turn.compact) = (last, compact);
        }
    }

    /// Takes a model call out of flight and settles its reservation.
    fn close_call(&mut self, effect: &EffectId, possibly_billed: bool) {
        let Some(turn) = self.runs.get_mut(&effect.place).and_then(|r| r.turn_mut(effect.turn)) else {
            return;
        };
        let Some(open) = turn.open.take() else { return };
        self.account.settle(&open, possibly_billed);
        self.wanting.insert(effect.place.clone());
        self.changed.0.insert(effect.place.clone());
    }

    fn on_replied(&mut self, effect: &EffectId, paid: Paid, calls: &[AskedCall], taint: Taint) {
        self.close_call(effect, false);
        self.usage += paid.usage;
        self.calls += 1;
        match paid.cost {
            Some(cost) => self.account.spent = self.account.spent.plus(cost),
            None => self.account.price_unknown = true,
        }
        let Some(run) = self.runs.get_mut(&effect.place) else {
            return;
        };
        run.taint = run.taint.and(taint);
        run.usage += paid.usage;
        run.cost = run.cost.plus(paid.cost.unwrap_or_default());
        if let Some(turn) = run.turn_mut(effect.turn) {
            turn.signature = calls.iter().fold(0, |h: u64, c| h.rotate_left(7) ^ c.signature);
            turn.calls = calls
                .iter()
                .map(|c| ToolCall { id: c.id.clone(), name: c.name.clone(), state: CallState::Asked { consent: None } })
                .collect();
            turn.paid = Some(paid);
        }
    }

    fn on_model_failed(&mut self, effect: &EffectId, class: FailureClass, message: &str, possibly_billed: bool) {
        self.close_call(effect, possibly_billed);
        if let Some(turn) = self.runs.get_mut(&effect.place).and_then(|r| r.turn_mut(effect.turn)) {
            match class {
                FailureClass::RateLimited => turn.limited += 1,
                FailureClass::Auth | FailureClass::Billing | FailureClass::ModelGone => (turn.failed, turn.limited) = (0, 0),
                FailureClass::Overloaded
                | FailureClass::Unreachable
                | FailureClass::Stalled
                | FailureClass::Truncated
                | FailureClass::BadRequest
                | FailureClass::ContextExceeded
                | FailureClass::Fatal => turn.failed += 1,
            }
            turn.last_error = Some(message.to_owned());
            turn.last_class = Some(class);
        }
    }

    fn tool_mut(&mut self, effect: &EffectId) -> Option<&mut ToolCall> {
        self.changed.0.insert(effect.place.clone());
        let id = effect.call.as_deref()?;
        self.runs.get_mut(&effect.place)?.turn_mut(effect.turn)?.calls.iter_mut().find(|c| c.id == id)
    }

    fn on_settled(&mut self, at: Time, effect: &EffectId, outcome: CallOutcome, result: &Body, taint: Taint) {
        if let Some(run) = self.runs.get_mut(&effect.place) {
            run.taint = run.taint.and(taint);
        }
        let Some(call) = self.tool_mut(effect) else {
            return;
        };
        let started_at = match call.state {
            CallState::Open { at, .. } => Some(at),
            CallState::Asked { .. } | CallState::Waiting { .. } | CallState::Settled { .. } => None,
        };
        call.state = CallState::Settled { outcome, result: result.clone(), started_at, at };
        let run = &self.runs[&effect.place];
        if run.turns.len() == effect.turn as usize {
            let answered = run.current().is_some_and(|t| !t.waits_for_person());
            self.look_again(&effect.place);
            if answered {
                self.wake(at, &effect.place);
            }
        }
    }

    fn on_resumed(&mut self, at: Time) {
        self.end_pause(at);
        self.status = self.standing();
        self.all_changed();
    }

    fn end_pause(&mut self, at: Time) {
        self.pause = None;
        if let Some(since) = self.paused_at.take() {
            self.paused_ms += at.since_ms(since);
        }
    }

    /// The live state that fits what has happened so far.
    fn standing(&self) -> Status {
        if !self.waiting_for.is_empty() {
            Status::Blocked
        } else if self.started_at.is_some() {
            Status::Running
        } else {
            Status::Queued
        }
    }

    fn on_retried(&mut self, at: Time, attempt: u32) {
        self.attempt = attempt;
        (self.error, self.finished_at, self.started_at, self.paused_ms) = (None, None, None, 0);
        self.status = self.standing();
        let open: Vec<u8> = self.ballots.iter().filter(|b| b.outcome.is_none()).map(|b| b.round).collect();
        self.ballot_base = (self.ballots.len() - open.len()) as u32;
        let completed: BTreeSet<StepId> =
            self.steps().filter(|(_, r)| r.status == StepStatus::Completed).map(|(s, _)| s.id.clone()).collect();
        let plan = self.plan.clone();
        for (place, run) in &mut self.runs {
            let over = matches!(place, Place::Vote { round, .. } if !open.contains(round));
            if run.status == StepStatus::Completed || over {
                continue;
            }
            let deps = place.step().and_then(|_| plan.as_ref()?.steps.get(run.index as usize)).map_or(&[][..], |s| &s.depends_on);
            let stopped = run.status == StepStatus::Cancelled;
            run.waits_on = deps.iter().filter(|d| !completed.contains(d)).count() as u32;
            run.status = if run.waits_on == 0 { StepStatus::Ready } else { StepStatus::Pending };
            (run.ready_at, run.started_at, run.finished_at, run.error) = (Some(at), None, None, None);
            (run.waiting_since, run.waited_ms, run.held) = (None, 0, false);
            let number = run.turns.len() as u32;
            match run.turns.last_mut() {
                // The last call never came back: it is made again, the turns before it are kept.
                Some(turn) if turn.paid.is_none() => (turn.failed, turn.limited) = (0, 0),
                // It was well when the task was stopped: it goes on where it stood, nothing is bought again.
                Some(turn) if stopped => {
                    let waits = turn.calls.iter().filter(|c| matches!(c.state, CallState::Waiting { .. }));
                    let effects = waits.map(|c| EffectId::tool(place.clone(), number, c.id.clone()));
                    self.asked.extend(effects);
                }
                None if stopped => {}
                // The conversation itself went wrong: a new one, with new turn numbers.
                _ => run.base = run.turns.len() as u32,
            }
            if place.step().is_some() {
                self.open_steps += 1;
            }
            self.changed.0.insert(place.clone());
        }
    }

    /// A conversation is over; its followers may start.
    fn end_run(&mut self, at: Time, place: &Place, status: StepStatus) {
        let Some(run) = self.runs.get_mut(place) else {
            return;
        };
        if run.status.is_over() {
            return;
        }
        self.account.cut_off(run, at);
        run.status = status;
        run.finished_at = Some(at);
        run.held = false;
        self.running.remove(place);
        self.waiting.remove(place);
        self.wanting.remove(place);
        self.asked.retain(|effect| effect.place != *place);
        self.changed.0.insert(place.clone());
        let Some(step) = place.step() else { return };
        self.open_steps = self.open_steps.saturating_sub(1);
        if status != StepStatus::Completed {
            return;
        }
        self.done_steps += 1;
        for next in self.followers.get(step).cloned().unwrap_or_default() {
            let next = Place::Step(next);
            if let Some(run) = self.runs.get_mut(&next) {
                run.waits_on = run.waits_on.saturating_sub(1);
                if run.waits_on == 0 && run.status == StepStatus::Pending {
                    run.status = StepStatus::Ready;
                    run.ready_at = Some(at);
                    self.changed.0.insert(next);
                }
            }
        }
        self.maybe_synthesis(at);
    }

    /// All steps completed and more than one end: the coordinator joins them.
    fn maybe_synthesis(&mut self, at: Time) {
        let steps = self.plan.as_ref().map_or(0, |p| p.steps.len());
        if self.done_steps as usize == steps && self.sink().is_none() && !self.runs.contains_key(&Place::Synthesis) {
            self.runs.insert(Place::Synthesis, Run::new(StepStatus::Ready, coordinator(), 0, at));
            self.changed.0.insert(Place::Synthesis);
        }
    }

    fn end(&mut self, at: Time, status: Status, error: Option<Failure>) {
        self.status = status;
        self.error = error;
        self.finished_at = Some(at);
        self.end_pause(at);
        for (place, run) in &mut self.runs {
            if !run.status.is_over() {
                self.account.cut_off(run, at);
                run.status = StepStatus::Cancelled;
                run.finished_at = Some(at);
                run.held = false;
                self.changed.0.insert(place.clone());
            }
        }
        self.open_steps = 0;
        self.running.clear();
        self.waiting.clear();
        self.asked.clear();
        self.wanting.clear();
    }

    fn all_changed(&mut self) {
        self.changed.0.extend(self.runs.iter().filter(|(_, r)| !r.status.is_over()).map(|(p, _)| p.clone()));
    }
}

/// Longest path from each step to an end of the plan, in steps, itself included.
fn remaining_paths(plan: &Plan, index: &BTreeMap<&StepId, usize>) -> Vec<u32> {
    let n = plan.steps.len();
    let mut followers_left = vec![0u32; n];
    for step in &plan.steps {
        for d in &step.depends_on {
            if let Some(&i) = index.get(d) {
                followers_left[i] += 1;
            }
        }
    }
    let mut path = vec![1u32; n];
    let mut ends: Vec<usize> = (0..n).filter(|i| followers_left[*i] == 0).collect();
    while let Some(i) = ends.pop() {
        for d in &plan.steps[i].depends_on {
            if let Some(&d) = index.get(d) {
                path[d] = path[d].max(path[i] + 1);
                followers_left[d] -= 1;
                if followers_left[d] == 0 {
                    ends.push(d);
                }
            }
        }
    }
    path
}
