//! What happens after a failed model call: a pure function of the class of failure, with its table in the tests.
use crate::limits::Limits;
use crate::message::{CallError, FailureClass};
use crate::status::{FailureCode, PauseReason};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after so many milliseconds.
    Again {
        /// The wait.
        after_ms: u64,
    },
    /// Hold the task until a person acts; the call is made anew when it is resumed.
    Hold(PauseReason),
    /// Give the call up.
    GiveUp(FailureCode),
}

/// Decides after the `failed`-th failure of one call (1 is the first). `dice` is uniform in `0..=1000`.
///
/// Back-off: exponential from `backoff_first_ms` to `backoff_max_ms` with full jitter
/// (M. Brooker, "Exponential Backoff And Jitter", 2015), never shorter than the provider's `retry-after`.
pub fn verdict(error: &CallError, failed: u32, dice: u32, limits: &Limits) -> Verdict {
    let most = match error.class {
        FailureClass::Overloaded | FailureClass::Unreachable | FailureClass::Stalled | FailureClass::Truncated => limits.attempts_max,
        FailureClass::RateLimited => limits.rate_limited_max,
        FailureClass::Auth => return Verdict::Hold(PauseReason::Auth),
        FailureClass::Billing => return Verdict::Hold(PauseReason::Billing),
        FailureClass::ModelGone => return Verdict::Hold(PauseReason::ModelGone),
        FailureClass::BadRequest => return Verdict::GiveUp(FailureCode::BadRequest),
        FailureClass::ContextExceeded => return Verdict::GiveUp(FailureCode::ContextOverflow),
        FailureClass::Fatal => return Verdict::GiveUp(FailureCode::ProviderFailed),
    };
    if failed >= most {
        return Verdict::GiveUp(FailureCode::ProviderFailed);
    }
    let ceiling = limits.backoff_first_ms.saturating_mul(1 << (failed - 1).min(20)).min(limits.backoff_max_ms);
    let jittered = ceiling.saturating_mul(u64::from(dice.min(1000))) / 1000;
    Verdict::Again { after_ms: jittered.max(error.retry_after_ms.unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_table() {
        let limits = Limits::default();
        let call =
            |class, retry_after_ms| CallError { class, message: String::new(), retry_after_ms, status: None, possibly_billed: false };
        use FailureClass as C;
        let cases = [
            (C::Overloaded, None, 1, 1000, Verdict::Again { after_ms: 500 }),
            (C::Overloaded, None, 3, 1000, Verdict::Again { after_ms: 2000 }),
            (C::Overloaded, None, 3, 0, Verdict::Again { after_ms: 0 }),
            (C::Overloaded, None, 4, 1000, Verdict::GiveUp(FailureCode::ProviderFailed)),
            (C::RateLimited, Some(7000), 1, 1000, Verdict::Again { after_ms: 7000 }),
            (C::RateLimited, None, 11, 1000, Verdict::Again { after_ms: 30_000 }),
            (C::RateLimited, None, 12, 1000, Verdict::GiveUp(FailureCode::ProviderFailed)),
            (C::Stalled, None, 1, 500, Verdict::Again { after_ms: 250 }),
            (C::Truncated, None, 2, 1000, Verdict::Again { after_ms: 1000 }),
            (C::Unreachable, None, 4, 1, Verdict::GiveUp(FailureCode::ProviderFailed)),
            (C::Auth, None, 1, 0, Verdict::Hold(PauseReason::Auth)),
            (C::Billing, None, 1, 0, Verdict::Hold(PauseReason::Billing)),
            (C::ModelGone, None, 1, 0, Verdict::Hold(PauseReason::ModelGone)),
            (C::BadRequest, None, 1, 0, Verdict::GiveUp(FailureCode::BadRequest)),
            (C::ContextExceeded, None, 1, 0, Verdict::GiveUp(FailureCode::ContextOverflow)),
            (C::Fatal, None, 1, 0, Verdict::GiveUp(FailureCode::ProviderFailed)),
        ];
        for (class, after, failed, dice, want) in cases {
            assert_eq!(verdict(&call(class, after), failed, dice, &limits), want, "{class:?} {failed}");
        }
    }
}
