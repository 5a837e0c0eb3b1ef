//! A token bucket per minute, refilled continuously, corrected by what the provider says is left. Pure: the time is given.
use tokio::time::{Duration, Instant};

use crate::model::Bucket as Said;

const MINUTE_S: f64 = 60.0;

/// One bucket.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    limit: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Full, with `limit` per minute (at least 1).
    pub fn new(limit: u64, now: Instant) -> Self {
        let limit = limit.max(1) as f64;
        Self { limit, level: limit, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + gone * self.limit / MINUTE_S).min(self.limit);
        self.at = self.at.max(now);
    }

    /// When `n` can be taken; `None` means now. More than the bucket holds counts as a full bucket, or it could never leave.
    pub fn ready_at(&mut self, now: Instant, n: u64) -> Option<Instant> {
        self.refill(now);
        let n = (n as f64).min(self.limit);
        let missing = n - self.level;
        // Below a thousandth of a token the difference is rounding of floating-point time.
        if missing < 1e-3 {
            return None;
        }
        // One millisecond more, so that the sleeper never wakes a hair too early.
        Some(now + Duration::from_secs_f64(missing * MINUTE_S / self.limit) + Duration::from_millis(1))
    }

    /// Takes `n`; the level may go below zero when the estimate was too low.
    pub fn take(&mut self, n: u64) {
        self.level -= (n as f64).min(self.limit);
    }

    /// Corrects an estimate after the call.
    pub fn correct(&mut self, estimated: u64, used: u64) {
        self.level = (self.level + (estimated as f64).min(self.limit) - used as f64).clamp(-self.limit, self.limit);
    }

    /// The provider's word. It may lower the level at any time, and raise it only when nothing of ours is under way, because
    /// its figure does not yet include that.
    pub fn sync(&mut self, now: Instant, said: Said, idle: bool) {
        self.refill(now);
        self.limit = said.limit.max(1) as f64;
        let remaining = (said.remaining as f64).min(self.limit);
        self.level = if idle { remaining } else { self.level.min(remaining) };
    }

    /// As figures for people.
    pub fn view(&mut self, now: Instant) -> Said {
        self.refill(now);
        Said { limit: self.limit as u64, remaining: self.level.max(0.0) as u64, reset_ms: None }
    }
}
