//! What follows from the state alone: the next calls, within the budget; parking; joining; the end.
use crate::decide::Ctx;
use crate::event::{Event, Failure, TextRef};
use crate::ids::{EffectId, Place};
use crate::outcome::cut;
use crate::status::{FailureCode, PauseReason, Status, StepStatus};
use crate::task::{CallState, Run, Task};
use crate::time::Time;

/// Most failed steps named in the reason of a failed task; the plan shows all.
const FAILED_NAMED_MAX: usize = 8;

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
                !run.is_open() || held.is_some_and(|o| self.held_back(o))
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
            // Once a call waits for the budget no other is tried in its stead: a small one must not starve it, and each try costs a quote.
            if !self.start_tools(now, &place, ctx, out) && !waits && self.wanting.contains(&place) {
                match self.request(now, &place, now, ctx, out) {
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
            turn.calls.iter().filter(|c| matches!(c.state, CallState::Asked)).map(|c| (c.id.clone(), c.name.clone())).collect();
        let busy = !turn.settled();
        for (id, name) in asked {
            let effect = EffectId::tool(place.clone(), number, id);
            // A tool that has gone since it was asked for is not guessed at: it counts as not repeatable and fails when performed.
            let repeat = ctx.tools.repeat(&name).unwrap_or(crate::event::Repeat::Never);
            self.emit(now, Event::ToolRequested { effect, name, repeat }, out);
        }
        busy
    }

    /// Records the intent to make the next call of a place, if the budget allows.
    pub(crate) fn request(&mut self, now: Time, place: &Place, not_before: Time, ctx: Ctx<'_>, out: &mut Vec<Event>) -> Asked {
        let run = &self.runs[place];
        let unpaid = run.current().filter(|t| t.paid.is_none());
        let number = run.turns.len() as u32 + u32::from(unpaid.is_none());
        let attempt = unpaid.map_or(0, |t| t.attempts) + 1;
        let used = number - run.base;
        if used > ctx.limits.turns_max {
            self.give_up(now, place, FailureCode::TurnLimit, format!("no answer after {} turns", ctx.limits.turns_max), out);
            return Asked::Requested;
        }
        let last = used == ctx.limits.turns_max && *place != Place::Plan;
        let effect = EffectId::model(place.clone(), number);
        let quote = ctx.quotes.quote(self, &effect, last);
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
            last,
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
        let place = self.sink().cloned().map_or(Place::Synthesis, Place::Step);
        let result: Option<TextRef> = self.runs.get(&place).and_then(|r| r.output.clone());
        if let Some(result) = result {
            self.emit(now, Event::Completed { result }, out);
        }
    }
}
