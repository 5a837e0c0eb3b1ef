//! A circuit breaker: opens when half of the last 20 calls failed, then lets one probe through after a growing pause.
//! Pure: time and randomness are given.
use tokio::time::{Duration, Instant};

/// Outcomes looked at.
const WINDOW: u32 = 20;
/// Failures in the window that open the circuit: 50 %.
const FAILURES_TO_OPEN: u32 = WINDOW / 2;
/// First pause.
const PAUSE_MIN_MS: u64 = 500;
/// Longest pause.
const PAUSE_MAX_MS: u64 = 30_000;

/// The breaker's state.
#[derive(Debug, Clone, Copy)]
pub enum Breaker {
    /// All is well; bit i of `failures` is the i-th last outcome.
    Closed {
        /// One bit per outcome, the newest lowest.
        failures: u32,
    },
    /// Nobody passes until then; `times` probes have failed before.
    Open {
        /// When the next probe may leave.
        until: Instant,
        /// How often in a row it opened.
        times: u32,
    },
    /// One probe is under way.
    Probing {
        /// How often in a row it opened.
        times: u32,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// A call failed because the provider is unwell. `jitter` in 0..1. Returns whether a probe failed.
    pub fn failed(&mut self, now: Instant, probe: bool, jitter: f64) -> bool {
        match *self {
            Self::Closed { failures } => {
                let failures = ((failures << 1) | 1) & ((1 << WINDOW) - 1);
                *self = if failures.count_ones() >= FAILURES_TO_OPEN {
                    Self::Open { until: now + pause(0, jitter), times: 0 }
                } else {
                    Self::Closed { failures }
                };
                false
            }
            Self::Probing { times } if probe => {
                let times = times.saturating_add(1);
                *self = Self::Open { until: now + pause(times, jitter), times };
                true
            }
            // A call that left before the circuit opened tells nothing new.
            Self::Open { .. } | Self::Probing { .. } => false,
        }
    }

    /// The provider answered. Returns whether this closed the circuit.
    pub fn answered(&mut self, probe: bool) -> bool {
        match *self {
            Self::Closed { failures } => {
                *self = Self::Closed { failures: (failures << 1) & ((1 << WINDOW) - 1) };
                false
            }
            Self::Probing { .. } if probe => {
                *self = Self::default();
                true
            }
            Self::Open { .. } | Self::Probing { .. } => false,
        }
    }

    /// A call was cancelled: says nothing, but a probe's place is free again.
    pub fn cancelled(&mut self, now: Instant, probe: bool) {
        if let Self::Probing { times } = *self
            && probe
        {
            *self = Self::Open { until: now, times };
        }
    }
}

/// Exponential, half of it jitter.
fn pause(times: u32, jitter: f64) -> Duration {
    let full = (PAUSE_MIN_MS << times.min(10)).min(PAUSE_MAX_MS);
    Duration::from_millis(full / 2) + Duration::from_millis(full / 2).mul_f64(jitter.clamp(0.0, 1.0))
}
