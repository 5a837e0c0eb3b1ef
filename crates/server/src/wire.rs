//! The routes' back-end over the runtime: engine words in, wire words out. Nothing is decided here.
//!
//! Invariant: the same journal entry gives the same event with the same `seq`, always. One entry may show as several events, so `seq` is
//! the entry's feed position times [`EVENTS_PER_ENTRY`] plus the event's place within the entry.
mod analysis;
mod events;
mod fault;
mod machine;
mod output;
mod task;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use maos_api::{Money, Time};
use maos_runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use crate::backend::News;

/// Most events one journal entry shows as.
const EVENTS_PER_ENTRY: u64 = 64;
/// News that may wait for a slow listener.
const NEWS_MAX: usize = 4_096;

/// The runtime as the routes see it.
pub struct RuntimeBackend {
    runtime: Runtime,
    /// Where tasks are kept, for people: `sqlite ~/.maos/maos.db`.
    storage: String,
    news: broadcast::Sender<News>,
    /// Sequence of the newest hint, for live-only events.
    newest: Arc<AtomicU64>,
    forwarder: AbortHandle,
}

impl RuntimeBackend {
    /// Must be called inside a tokio runtime: a task forwards the runtime's hints and live text until this value is dropped.
    pub fn new(runtime: Runtime, storage: impl Into<String>) -> Self {
        let (news, newest) = (broadcast::Sender::new(NEWS_MAX), Arc::new(AtomicU64::new(0)));
        let forwarder = tokio::spawn(events::forward(runtime.hints(), runtime.live(), news.clone(), Arc::clone(&newest))).abort_handle();
        Self { runtime, storage: storage.into(), news, newest, forwarder }
    }
}

impl Drop for RuntimeBackend {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl std::fmt::Debug for RuntimeBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeBackend")
            .field("storage", &self.storage)
            .field("newest", &self.newest.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// The last sequence of a feed position.
fn seq_end(gseq: u64) -> u64 {
    gseq * EVENTS_PER_ENTRY + EVENTS_PER_ENTRY - 1
}

fn time(t: maos_engine::Time) -> Time {
    Time::from_millis(t.0.div_euclid(1_000))
}

fn money(m: maos_engine::money::Money) -> Money {
    Money::from_nanos(m.0)
}
