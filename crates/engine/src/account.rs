//! The money of a task: paid, held, possibly charged. Changes only with the journal; knows no prices.
use crate::money::Money;
use crate::status::StepStatus;
use crate::task::{OpenCall, Run};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Between a decision to stop a call and its abort (the commit lies between) less than this passes, in milliseconds: a call due later
/// was not sent.
pub const ABORT_MS_MAX: u64 = 5_000;

/// Money of a task. `committed` never exceeds the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Paid for replies.
    pub spent: Money,
    /// Held for calls in flight.
    pub reserved: Money,
    /// Held for calls that were cut off and may have been charged for.
    pub possibly_billed: Money,
    /// Calls that were cut off and may have been charged for.
    pub possibly_billed_calls: u32,
    /// Some call had no known price: `spent` is not the whole cost.
    pub price_unknown: bool,
}

impl Account {
    /// Spent, held and possibly billed together.
    pub fn committed(&self) -> Money {
        self.spent.plus(self.reserved).plus(self.possibly_billed)
    }

    /// Ends the reservation of a call that gave no reply.
    pub(crate) fn settle(&mut self, open: &OpenCall, possibly_billed: bool) {
        let held = open.reserved.unwrap_or_default();
        self.reserved = self.reserved.minus(held);
        if possibly_billed {
            self.possibly_billed = self.possibly_billed.plus(held);
            self.possibly_billed_calls += 1;
            self.price_unknown |= open.reserved.is_none();
        }
    }

    /// A conversation ends at `at` with a call in flight: the call is aborted, and may have been charged for if it was sent.
    pub(crate) fn cut_off(&mut self, run: &mut Run, at: Time) {
        if let Some(open) = run.turns.last_mut().and_then(|t| t.open.take()) {
            let sent = run.status == StepStatus::Running && open.not_before <= at.plus_ms(ABORT_MS_MAX) && !run.held_back(&open);
            self.settle(&open, sent);
        }
    }
}
