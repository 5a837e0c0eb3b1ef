//! What follows from the state alone: the next calls, within the budget; parking; joining; the end.
use crate::consensus::{Consensus, Outcome, ROUNDS_MAX, tally};
use crate::decide::{Ctx, Manner, Mode};
use crate::event::{Event, Failure, Repeat, TextRef};
use crate::ids::{AgentType, EffectId, Place};
use crate::message::{FailureClass, StopReason};
use crate::outcome::cut;
use crate::status::{FailureCode, PauseReason, Status, StepStatus};
use crate::taint::Taint;
use crate::task::{CallState, Run, Task, Turn};
use crate::time::Time;

/// Most failed steps named in the reason of a failed task; the plan shows all.
const FAILED_NAMED_MAX: usize = 8;

/// How long a person's consent to a tool call holds while the task cannot act on it, in milliseconds.
pub const APPROVAL_MS_MAX: u64 = 600_000;

/// What became of a wish to call a model.
pub(crate) enum Asked {
    Requested,
    /// The budget is held by calls in flight; try again when one is settled.
    Waits,
    Paused,
}

impl Task {
    pub(crate) fn advance(&mut self, now: Time, ctx: Ctx<'_>, out: &mut Vec<Event>) {
        if matches!(self.status, Status::Queued | Status::Running) {
            self.make_calls(now, ctx, out);
        }
        if self.status == Status::Paused {
            self.park(now, out);
        }
        if matches!(self.status, Status::Queued | Status::Running | Status::Paused) {
            self.join(now, out);
        }
    }

    /// While the task is held, an agent whose call has ended leaves its place; another takes it up later from where it stood.
    fn park(&mut self, now: Time, out: &mut Vec<Event>) {
        let quiet: Vec<Place> = self
            .running
            .iter()
            .filter(|p| {
                let run = &self.runs[*p];
                let held = run.current().and_then(|t| t.open.as_ref());
                !run.is_open() || held.is_some_and(|o| self.held_back(run, o))
            })
            .cloned()
            .collect();
        for place in quiet {
            self.emit(now, Event::RunParked { place }, out);
        }
    }

    fn make_calls(&mut self, now: Time, ctx: Ctx<'_>, out: &mut Vec<Event>) {
        let wanting: Vec<Place> = self.wanting.iter().cloned().collect();
        let mut waits = false;
        for place in wanting {
            if ctx.draining || self.status == Status::Paused || self.status.is_terminal() {
                return;
            }
            if self.runs[&place].held {
                continue;
            }
            // Once a call waits for the budget no other is tried in its stead: a small one must not starve it, and each try costs a quote.
            if !self.start_tools(now, &place, ctx, out) && !waits && self.wanting.contains(&place) {
                match self.request(now, &place, now, Mode::Normal, ctx, out) {
                    Asked::Requested => {}
                    Asked::Waits => waits = true,
                    Asked::Paused => return,
                }
            }
        }
    }

    /// Starts the tool calls a reply asked for; `false` if there are none to wait for.
    fn start_tools(&mut self, now: Time, place: &Place, ctx: Ctx<'_>, out: &mut Vec<Event>) -> bool {
        let Some(run) = self.runs.get(place) else {
            return false;
        };
        let number = run.turns.len() as u32;
        let Some(turn) = run.current().filter(|t| t.paid.is_some()) else {
            return false;
        };
        let asked: Vec<(String, String)> =
            turn.calls.iter().filter(|c| startable(&c.state, now)).map(|c| (c.id.clone(), c.name.clone())).collect();
        let busy = !turn.settled();
        for (id, name) in asked {
            let effect = EffectId::tool(place.clone(), number, id);
            // A tool that has gone since it was asked for is not guessed at: it counts as not repeatable and fails when performed.
            let manner = ctx.tools.manner(&name);
            let manner = manner.unwrap_or(Manner { repeat: Repeat::Never, writes: true, brings: Taint::NONE });
            let brings = if manner.writes { manner.brings } else { Taint::NONE };
            self.emit(now, Event::ToolRequested { effect, name, repeat: manner.repeat, writes: manner.writes, brings }, out);
        }
        self.ask_again(now, place, out);
        if busy && self.runs[place].current().is_some_and(|t| t.waits_for_person() && !t.is_open() && !t.has_asked()) {
            self.emit(now, Event::RunWaiting { place: place.clone() }, out);
        }
        busy
    }

    /// Consent that is too old by the time the call could start is asked for once more.
    fn ask_again(&mut self, now: Time, place: &Place, out: &mut Vec<Event>) {
        let number = self.runs[place].turns.len() as u32;
        let calls = self.runs[place].current().map_or(&[][..], |t| &t.calls);
        let stale = calls.iter().filter_map(|c| match &c.state {
            CallState::Asked { consent: Some(consent) } => Some((EffectId::tool(place.clone(), number, c.id.clone()), consent.ask.clone())),
            CallState::Asked { consent: None } | CallState::Waiting { .. } | CallState::Open { .. } | CallState::Settled { .. } => None,
        });
        for (effect, ask) in stale.collect::<Vec<_>>() {
            self.emit(now, Event::HumanAsked { effect, ask }, out);
        }
    }

    /// Whether a conversation has turns that a summary could stand for.
    pub(crate) fn can_condense(&self, place: &Place) -> bool {
        let run = &self.runs[place];
        let step = matches!(place, Place::Step(_));
        step && run.current().is_some_and(|t| !t.compact) && run.turns_since_compaction() > 0
    }

    /// Asks the model to condense the conversation, instead of its next turn.
    pub(crate) fn condense(&mut self, now: Time, place: &Place, ctx: Ctx<'_>, out: &mut Vec<Event>) {
        if self.may_ask(place, ctx) {
            self.request(now, place, now, Mode::Compact, ctx, out);
        }
    }

    /// Whether a place may ask for anything new: not while the task or its agent is held, or the node is being stopped.
    pub(crate) fn may_ask(&self, place: &Place, ctx: Ctx<'_>) -> bool {
        !ctx.draining && self.status != Status::Paused && !self.runs[place].held
    }

    /// Records the intent to make the next call of a place, if the budget allows.
    pub(crate) fn request(&mut self, now: Time, place: &Place, not_before: Time, mode: Mode, ctx: Ctx<'_>, out: &mut Vec<Event>) -> Asked {
        let run = &self.runs[place];
        let unpaid = run.current().filter(|t| t.paid.is_none());
        let number = run.turns.len() as u32 + u32::from(unpaid.is_none());
        let attempt = unpaid.map_or(0, |t| t.attempts) + 1;
        let used = number - run.base;
        let most = run.traits.max_turns.unwrap_or(ctx.limits.turns_max);
        if used > most {
            self.give_up(now, place, FailureCode::TurnLimit, format!("no answer after {most} turns"), out);
            return Asked::Requested;
        }
        let effect = EffectId::model(place.clone(), number);
        // It could not be condensed when it became too long, because nothing new was asked then.
        let exceeded = |t: &Turn| match &t.paid {
            Some(paid) => paid.stop == StopReason::ContextExceeded,
            None => t.last_class == Some(FailureClass::ContextExceeded),
        };
        let overdue = mode == Mode::Normal && run.current().is_some_and(exceeded) && self.can_condense(place);
        let mut mode = match mode {
            Mode::Compact => Mode::Compact,
            _ if overdue => Mode::Compact,
            _ if unpaid.is_some_and(|t| t.compact) => Mode::Compact,
            _ if used == most && matches!(place, Place::Step(_) | Place::Synthesis | Place::Revision) => Mode::Last,
            _ => Mode::Normal,
        };
        let mut quote = ctx.quotes.quote(self, &effect, mode);
        // One turn is left for the answer: condensing now would only take it.
        if mode == Mode::Normal && quote.crowded && used + 1 < most && self.can_condense(place) {
            mode = Mode::Compact;
            quote = ctx.quotes.quote(self, &effect, mode);
        }
        if let Some((reason, message)) = self.over_budget(quote.reserve, ctx) {
            if self.any_model_open() && reason != PauseReason::PriceUnknown {
                return Asked::Waits;
            }
            self.emit(now, Event::Paused { reason, message }, out);
            return Asked::Paused;
        }
        let event = Event::ModelRequested {
            effect,
            attempt,
            model: quote.model,
            request: quote.request,
            reserved: quote.reserve,
            not_before,
            last: mode == Mode::Last,
            compact: mode == Mode::Compact,
        };
        self.emit(now, event, out);
        Asked::Requested
    }

    /// Why a call of this worst case may not be made now.
    fn over_budget(&self, reserve: Option<crate::money::Money>, ctx: Ctx<'_>) -> Option<(PauseReason, String)> {
        let id = &self.id;
        let limit = self.spec.max_cost;
        let Some(reserve) = reserve else {
            let text = "a budget is set but the price of the model is not known";
            return (limit.is_some() || ctx.daily_left.is_some()).then(|| {
                (PauseReason::PriceUnknown, format!("{text}; add it to prices.yml or remove the budget, then: maos task resume {id}"))
            });
        };
        let committed = self.account.committed();
        if let Some(limit) = limit.filter(|l| committed.plus(reserve) > *l) {
            let need = committed.plus(reserve);
            return Some((
                PauseReason::Budget,
                format!(
                    "the next call may cost up to ${reserve}; ${committed} of ${limit} is used. maos task update {id} --max-cost {need} && maos task resume {id}"
                ),
            ));
        }
        let left = ctx.daily_left?.minus(committed);
        if reserve <= left {
            return None;
        }
        Some((
            PauseReason::DailyBudget,
            format!(
                "the next call may cost up to ${reserve}; ${left} of today's budget (budget.daily) is left. Raise it or wait for tomorrow, then: maos task resume {id}"
            ),
        ))
    }

    /// Ends the task when nothing is left to do.
    fn join(&mut self, now: Time, out: &mut Vec<Event>) {
        let Some(steps) = self.plan.as_ref().map(|p| p.steps.len()).filter(|_| self.open_steps == 0) else {
            return;
        };
        if (self.done_steps as usize) < steps {
            let failed = || self.steps().filter(|(_, r)| r.status == StepStatus::Failed);
            let why = |r: &Run| r.error.as_ref().map_or(String::new(), |e| cut(&e.message));
            let mut named: Vec<String> = failed().take(FAILED_NAMED_MAX).map(|(s, r)| format!("{} ({})", s.id, why(r))).collect();
            let more = failed().skip(FAILED_NAMED_MAX).count();
            if more > 0 {
                named.push(format!("and {more} more"));
            }
            let message = format!("{} of {steps} steps completed; failed: {}", self.done_steps, named.join("; "));
            self.emit(now, Event::Failed { error: Failure { code: FailureCode::StepFailed, message } }, out);
            return;
        }
        let Some(draft) = self.draft().cloned() else { return };
        match self.spec.consensus {
            None => self.emit(now, Event::Completed { result: draft }, out),
            Some(rule) => self.ballots(now, rule, draft, out),
        }
    }

    /// The ballot comes before the end: it is opened, counted as votes come in, and after a loss the result is mended once.
    fn ballots(&mut self, now: Time, rule: Consensus, draft: TextRef, out: &mut Vec<Event>) {
        if let Some(open) = self.ballots.iter().find(|b| b.outcome.is_none()) {
            let round = open.round;
            let seats = || self.runs.iter().filter(|(p, _)| matches!(p, Place::Vote { round: r, .. } if *r == round));
            let missing = seats().filter(|(_, r)| !r.status.is_over()).count() as u32;
            let absent = (u32::from(open.voters)).saturating_sub(open.votes.len() as u32 + missing);
            if let Some(outcome) = tally(&rule, &open.votes, missing, absent) {
                self.emit(now, Event::BallotClosed { round, outcome }, out);
                self.join(now, out);
            }
            return;
        }
        let base = self.ballot_base as usize;
        let done = self.ballots.len() - base.min(self.ballots.len());
        match self.ballots.iter().skip(base).last().and_then(|b| b.outcome) {
            Some(Outcome::Approved) => self.emit(now, Event::Completed { result: draft }, out),
            Some(Outcome::Rejected) if done >= usize::from(ROUNDS_MAX) => {
                let ballot = self.ballots.last().expect("one was lost");
                let yes = ballot.votes.iter().filter(|v| v.vote == crate::consensus::Choice::Approve).count();
                let message = format!(
                    "{yes} of {} voters approved, also not enough after a revision; the draft is kept (maos task results {id}) and so are all votes \
                     (maos task show {id})",
                    ballot.voters,
                    id = self.id
                );
                self.emit(now, Event::Failed { error: Failure { code: FailureCode::ConsensusNotReached, message } }, out);
            }
            // The revision is not written yet.
            Some(Outcome::Rejected) if self.runs.get(&Place::Revision).is_none_or(|r| r.output.is_none()) => {}
            // A retry goes on with the revision that was being written.
            None if self.runs.get(&Place::Revision).is_some_and(|r| r.output.is_none() && !r.status.is_over()) => {}
            Some(Outcome::Rejected) | None => {
                let round = u8::try_from(self.ballots.len() + 1).unwrap_or(u8::MAX);
                let kinds = crate::plan::usual(&self.spec);
                let voters: Vec<AgentType> = kinds.iter().cycle().take(usize::from(rule.voters)).cloned().collect();
                self.emit(now, Event::BallotOpened { round, draft, voters }, out);
            }
        }
    }
}

/// Whether a tool call can start: nobody needs to be asked, or a person has agreed not too long ago.
fn startable(state: &CallState, now: Time) -> bool {
    match state {
        CallState::Asked { consent } => consent.as_ref().is_none_or(|c| now.since_ms(c.at) <= APPROVAL_MS_MAX),
        CallState::Waiting { .. } | CallState::Open { .. } | CallState::Settled { .. } => false,
    }
}
