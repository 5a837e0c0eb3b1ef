//! The rules of the gate. Pure: time and randomness are given, nothing waits here.
use maos_engine::message::{CallError, FailureClass, Usage};
use tokio::time::{Duration, Instant};

use super::{GateView, Need, breaker::Breaker, bucket::Bucket, counted_input, is_unwell};
use crate::{model::Limits, options::RateOptions};

/// After the gate opens, calls leave in windows of this length: 2, 4, 8, …
const RAMP_WINDOW_MS: u64 = 100;
/// Calls in the first window.
const RAMP_FIRST_CALLS: u64 = 2;
/// After this many windows the ramp is over.
const RAMP_WINDOWS: u64 = 10;
/// Pause after the first 429 that names no time; doubles with each one in a row.
const CLOSE_MIN_MS: u64 = 1_000;
/// Longest pause that is not the provider's own word.
const CLOSE_MAX_MS: u64 = 60_000;
/// Jitter added to the provider's word: at most this.
const JITTER_MAX_MS: u64 = 1_000;
/// A longer `retry-after` than this is taken as this.
const RETRY_AFTER_MAX_MS: u64 = 24 * 3_600_000;

/// May this caller go?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes; `probe`: it is the one call that tries whether the provider is well again.
    Go {
        /// See above.
        probe: bool,
    },
    /// Not before then.
    WaitUntil(Instant),
    /// A probe is under way; its end decides.
    WaitForProbe,
}

/// How a call went.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// An answer came.
    Answered {
        /// What it used.
        usage: &'a Usage,
        /// The provider's limits, if it said.
        limits: Option<&'a Limits>,
    },
    /// It failed.
    Failed(&'a CallError),
    /// Nobody waited for the end.
    Cancelled,
}

/// The state of a gate.
#[derive(Debug)]
pub struct Core {
    requests: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
    closed_until: Option<Instant>,
    ramp: Option<Ramp>,
    /// 429s in a row.
    strikes: u32,
    in_flight: usize,
    breaker: Breaker,
    last_unwell: Option<FailureClass>,
}

#[derive(Debug, Clone, Copy)]
struct Ramp {
    from: Instant,
    window: u64,
    sent: u64,
}

impl Core {
    /// With the limits known beforehand.
    pub fn new(rates: RateOptions, now: Instant) -> Self {
        let bucket = |limit: Option<u64>| limit.map(|l| Bucket::new(l, now));
        Self {
            requests: bucket(rates.requests_per_minute),
            input: bucket(rates.input_tokens_per_minute),
            output: bucket(rates.output_tokens_per_minute),
            closed_until: None,
            ramp: None,
            strikes: 0,
            in_flight: 0,
            breaker: Breaker::default(),
            last_unwell: None,
        }
    }

    /// May a call leave now? If so it is counted as gone.
    pub fn ask(&mut self, now: Instant, need: Need) -> Verdict {
        let mut probe = false;
        match self.breaker {
            Breaker::Closed { .. } => {}
            Breaker::Open { until, .. } if until > now => return Verdict::WaitUntil(until),
            Breaker::Open { .. } => probe = true,
            Breaker::Probing { .. } => return Verdict::WaitForProbe,
        }
        if let Some(at) = self.not_before(now, need) {
            return Verdict::WaitUntil(at);
        }
        if probe && let Breaker::Open { times, .. } = self.breaker {
            self.breaker = Breaker::Probing { times };
        }
        self.take(need);
        Verdict::Go { probe }
    }

    fn not_before(&mut self, now: Instant, need: Need) -> Option<Instant> {
        if let Some(until) = self.closed_until {
            if until > now {
                return Some(until);
            }
            self.closed_until = None;
        }
        let ramp = self.ramp.and_then(|r| r.not_before(now));
        let each = [
            ramp,
            self.requests.as_mut().and_then(|b| b.ready_at(now, 1)),
            self.input.as_mut().and_then(|b| b.ready_at(now, need.input_tokens)),
            self.output.as_mut().and_then(|b| b.ready_at(now, need.output_tokens)),
        ];
        if let Some(at) = each.into_iter().flatten().max() {
            return Some(at);
        }
        self.ramp = self.ramp.and_then(|r| r.sent_one(now));
        None
    }

    fn take(&mut self, need: Need) {
        self.in_flight += 1;
        for (bucket, n) in [(&mut self.requests, 1), (&mut self.input, need.input_tokens), (&mut self.output, need.output_tokens)] {
            if let Some(b) = bucket {
                b.take(n);
            }
        }
    }

    /// A call came back. `jitter` in 0..1. Returns whether all who wait must be sent away (a probe failed).
    pub fn settle(&mut self, now: Instant, need: Need, probe: bool, outcome: &Outcome<'_>, jitter: f64) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Answered { usage, limits } => {
                self.strikes = 0;
                if let Some(b) = &mut self.input {
                    b.correct(need.input_tokens, counted_input(usage));
                }
                if let Some(b) = &mut self.output {
                    b.correct(need.output_tokens, usage.output_tokens);
                }
                if let Some(limits) = limits {
                    self.learn(now, limits);
                }
                self.answered(now, probe);
                false
            }
            Outcome::Failed(error) => self.failed(now, probe, error, jitter),
            Outcome::Cancelled => {
                self.breaker.cancelled(now, probe);
                false
            }
        }
    }

    fn answered(&mut self, now: Instant, probe: bool) {
        if self.breaker.answered(probe) {
            self.ramp = Some(Ramp::starting(now));
        }
    }

    fn failed(&mut self, now: Instant, probe: bool, error: &CallError, jitter: f64) -> bool {
        if error.class == FailureClass::RateLimited {
            let wait = match error.retry_after_ms {
                Some(ms) => retry_after(ms, jitter),
                None => own_pause(self.strikes, jitter),
            };
            self.strikes = self.strikes.saturating_add(1);
            self.close(now + wait);
        } else if let Some(ms) = error.retry_after_ms {
            self.close(now + retry_after(ms, jitter));
        }
        if is_unwell(error.class) {
            self.last_unwell = Some(error.class);
            return self.breaker.failed(now, probe, jitter);
        }
        // Any other answer, even a refusal, shows that the provider is there.
        self.answered(now, probe);
        false
    }

    fn close(&mut self, until: Instant) {
        if self.closed_until.is_none_or(|old| old < until) {
            self.closed_until = Some(until);
            self.ramp = Some(Ramp::starting(until));
        }
    }

    /// Takes over the provider's figures.
    pub fn learn(&mut self, now: Instant, limits: &Limits) {
        let idle = self.in_flight == 0;
        for (bucket, said) in
            [(&mut self.requests, limits.requests), (&mut self.input, limits.input_tokens), (&mut self.output, limits.output_tokens)]
        {
            let Some(said) = said else { continue };
            bucket.get_or_insert_with(|| Bucket::new(said.limit, now)).sync(now, said, idle);
        }
    }

    /// The error for those who waited for a probe that failed.
    pub fn dismissal(&self, now: Instant, name: &str) -> CallError {
        let wait_ms = match self.breaker {
            Breaker::Open { until, .. } => Some(millis(until.saturating_duration_since(now))),
            Breaker::Closed { .. } | Breaker::Probing { .. } => None,
        };
        CallError {
            class: self.last_unwell.unwrap_or(FailureClass::Overloaded),
            message: format!("{name} keeps failing; the circuit is open and a probe has just failed too"),
            retry_after_ms: wait_ms,
            status: None,
            possibly_billed: false,
        }
    }

    /// What can be seen (without the number of those who wait, which the queue knows).
    pub fn view(&mut self, now: Instant) -> GateView {
        GateView {
            waiting: 0,
            in_flight: self.in_flight,
            closed_ms: self.closed_until.filter(|t| *t > now).map(|t| millis(t - now)),
            circuit_open: !matches!(self.breaker, Breaker::Closed { .. }),
            limits: Limits {
                requests: self.requests.as_mut().map(|b| b.view(now)),
                input_tokens: self.input.as_mut().map(|b| b.view(now)),
                output_tokens: self.output.as_mut().map(|b| b.view(now)),
            },
        }
    }
}

impl Ramp {
    fn starting(from: Instant) -> Self {
        Self { from, window: 0, sent: 0 }
    }

    fn window_at(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.from)) / RAMP_WINDOW_MS
    }

    fn not_before(self, now: Instant) -> Option<Instant> {
        let window = self.window_at(now);
        let full = window == self.window && window < RAMP_WINDOWS && self.sent >= RAMP_FIRST_CALLS << window;
        full.then(|| self.from + Duration::from_millis((window + 1) * RAMP_WINDOW_MS))
    }

    fn sent_one(mut self, now: Instant) -> Option<Self> {
        let window = self.window_at(now);
        if window >= RAMP_WINDOWS {
            return None;
        }
        if window != self.window {
            self.window = window;
            self.sent = 0;
        }
        self.sent += 1;
        Some(self)
    }
}

fn retry_after(ms: u64, jitter: f64) -> Duration {
    let ms = ms.min(RETRY_AFTER_MAX_MS);
    Duration::from_millis(ms) + Duration::from_millis((ms / 10).min(JITTER_MAX_MS)).mul_f64(jitter.clamp(0.0, 1.0))
}

fn own_pause(strikes: u32, jitter: f64) -> Duration {
    let full = (CLOSE_MIN_MS << strikes.min(10)).min(CLOSE_MAX_MS);
    Duration::from_millis(full / 2) + Duration::from_millis(full / 2).mul_f64(jitter.clamp(0.0, 1.0))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
