//! The rate gate: one per provider key and model. Callers wait here, first come first served, and hold nothing else.
//!
//! Invariant: no call leaves while the gate is closed by a 429 or an open circuit; after it opens, at most two calls leave in
//! the first 100 ms. Cancel-safe: a caller that stops waiting leaves no trace. The rules are in [`core`]: pure, with the time
//! given; this file only waits. Must not know requests or HTTP.
pub mod breaker;
pub mod bucket;
pub mod core;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use maos_engine::message::{CallError, FailureClass, Request, Usage};
use rand::RngExt;
use tokio::{sync::Notify, time::Instant};

use self::core::{Core, Outcome, Verdict};
use crate::{
    model::{Answer, Limits},
    options::RateOptions,
};

/// A guess of the output of a call whose length nobody knows yet, in tokens.
const OUTPUT_GUESS_TOKENS: u64 = 512;
/// Bytes of text per token, roughly, in the languages we meet.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// What a call will take from the buckets, as far as can be said beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
}

impl Need {
    /// A rough estimate (four bytes a token); corrected when the call ends.
    pub fn of(request: &Request) -> Self {
        Self {
            input_tokens: crate::estimate::request_tokens(request),
            output_tokens: OUTPUT_GUESS_TOKENS.min(u64::from(request.max_output_tokens)),
        }
    }
}

/// What can be seen of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateView {
    /// Callers that wait.
    pub waiting: usize,
    /// Calls that have left and not come back.
    pub in_flight: usize,
    /// Milliseconds until the gate opens again, if it is closed by the provider's word.
    pub closed_ms: Option<u64>,
    /// The circuit is open or half-open: the provider fails.
    pub circuit_open: bool,
    /// The limits known, with what is left of them by our own count.
    pub limits: Limits,
}

/// The gate of one provider key and model.
#[derive(Debug)]
pub struct Gate {
    name: String,
    core: Mutex<Core>,
    /// Held by the caller whose turn it is; tokio's mutex is fair, so this is the queue.
    turn: tokio::sync::Mutex<()>,
    /// The head of the queue should look again.
    changed: Notify,
    /// A probe of an open circuit failed: everyone who waits fails with it.
    dismissed: Notify,
    waiting: AtomicUsize,
}

impl Gate {
    /// A gate with the limits known beforehand. `name` is `provider/model`, for messages.
    pub fn new(name: impl Into<String>, rates: RateOptions) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            core: Mutex::new(Core::new(rates, Instant::now())),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            dismissed: Notify::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// `provider/model`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for this caller's turn. Costs next to nothing when no limit is known and nobody waits.
    ///
    /// # Errors
    /// While the circuit is open one caller at a time is let through to probe the provider; when the probe fails, all who wait
    /// get its class here (never `possibly_billed`), so that a dead provider is reported and not waited for without end.
    pub async fn enter(self: &Arc<Self>, need: Need) -> Result<Permit, CallError> {
        if let Ok(_turn) = self.turn.try_lock()
            && let Verdict::Go { probe } = self.core().ask(Instant::now(), need)
        {
            return Ok(self.permit(need, probe));
        }
        let _counted = Counted::new(&self.waiting);
        let dismissed = self.dismissed.notified();
        tokio::pin!(dismissed);
        dismissed.as_mut().enable();
        tokio::select! {
            biased;
            () = &mut dismissed => Err(self.core().dismissal(Instant::now(), &self.name)),
            permit = self.in_turn(need) => Ok(permit),
        }
    }

    async fn in_turn(self: &Arc<Self>, need: Need) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let verdict = self.core().ask(Instant::now(), need);
            match verdict {
                Verdict::Go { probe } => return self.permit(need, probe),
                Verdict::WaitUntil(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = &mut changed => {}
                    }
                }
                Verdict::WaitForProbe => changed.await,
            }
        }
    }

    fn permit(self: &Arc<Self>, need: Need, probe: bool) -> Permit {
        Permit { gate: Arc::clone(self), need, probe, settled: false }
    }

    /// What can be seen now.
    pub fn view(&self) -> GateView {
        let mut view = self.core().view(Instant::now());
        view.waiting = self.waiting.load(Ordering::Relaxed);
        view
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // The core does arithmetic only; were it ever to panic, its state would still be usable.
        self.core.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn settle(&self, need: Need, probe: bool, outcome: &Outcome<'_>) {
        let dismiss = self.core().settle(Instant::now(), need, probe, outcome, rand::rng().random());
        if self.waiting.load(Ordering::Acquire) > 0 {
            if dismiss {
                self.dismissed.notify_waiters();
            }
            self.changed.notify_waiters();
        }
    }
}

/// The right to make one call. Dropping it without [`Permit::settle`] means that the call was cancelled.
#[derive(Debug)]
#[must_use = "settle it with the result of the call"]
pub struct Permit {
    gate: Arc<Gate>,
    need: Need,
    probe: bool,
    settled: bool,
}

impl Permit {
    /// Tells the gate how the call went, so that all callers of the key profit from it.
    pub fn settle(mut self, result: &Result<Answer, CallError>) {
        self.settled = true;
        let outcome = match result {
            Ok(answer) => Outcome::Answered { usage: &answer.reply.usage, limits: answer.limits.as_ref() },
            Err(error) => Outcome::Failed(error),
        };
        self.gate.settle(self.need, self.probe, &outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.gate.settle(self.need, self.probe, &Outcome::Cancelled);
        }
    }
}

/// Counts a waiting caller for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Input tokens that count against a limit: what was read from a cache does not.
pub(crate) fn counted_input(usage: &Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.cache_write_5m_tokens).saturating_add(usage.cache_write_1h_tokens)
}

/// Failures that say the provider is unwell.
pub(crate) fn is_unwell(class: FailureClass) -> bool {
    matches!(class, FailureClass::Overloaded | FailureClass::Unreachable | FailureClass::Stalled)
}
