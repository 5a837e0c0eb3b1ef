//! One reader of the durable feed for all streams: it follows hints, and hands each event, encoded once, to everybody who listens.
//!
//! Invariant: events leave in order of `seq`, each once. A listener that falls behind the bounded queue reads the durable feed itself,
//! so a slow client costs time, never events and never memory. Live-only text may be dropped; `/output` fills the hole.
use std::sync::Arc;
use std::time::Duration;

use maos_api::{Event, Problem};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, News};

/// Frames that may wait for a listener.
pub(crate) const QUEUE_FRAMES_MAX: usize = 1_000;
/// Events read at once.
pub(crate) const PAGE_EVENTS: u32 = 256;
/// The feed is read at least this often, in milliseconds, should every hint be lost.
const POLL_MS: u64 = 1_000;

/// An event on its way to the streams.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) event: Event,
    /// Stored: has an `id:` line.
    pub(crate) durable: bool,
    pub(crate) text: bytes::Bytes,
}

impl Frame {
    pub(crate) fn new(event: Event, durable: bool) -> Self {
        let text = encode(&event, durable);
        Self { event, durable, text }
    }
}

/// `id`, `event` and `data` lines of an event.
pub(crate) fn encode(event: &Event, durable: bool) -> bytes::Bytes {
    let data = serde_json::to_string(event).expect("an event has string keys and finite numbers");
    let id = if durable { format!("id: {}\n", event.seq) } else { String::new() };
    format!("{id}event: {}\ndata: {data}\n\n", event.event_type).into()
}

/// Where streams listen.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    tx: broadcast::Sender<Arc<Frame>>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { tx: broadcast::Sender::new(QUEUE_FRAMES_MAX) }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Frame>> {
        self.tx.subscribe()
    }

    /// Reads the feed until `stop`. Errors are logged and tried again with the next hint or poll.
    pub(crate) async fn run(self, backend: Arc<dyn Backend>, stop: CancellationToken) {
        let mut news = backend.subscribe();
        let mut cursor = None;
        loop {
            if let Err(problem) = self.pump(&*backend, &mut cursor).await {
                tracing::warn!(detail = problem.detail, "the event feed cannot be read; trying again");
            }
            // Wait for one reason to read again; live text passes through meanwhile.
            let reason = async {
                loop {
                    match news.recv().await {
                        Ok(News::Live(mut event)) => {
                            // The sequence it follows: what was sent to every listener before it.
                            event.seq = cursor.unwrap_or(event.seq);
                            drop(self.tx.send(Arc::new(Frame::new(*event, false))));
                        }
                        Ok(News::Hint) | Err(RecvError::Lagged(_)) => return true,
                        Err(RecvError::Closed) => return false,
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                open = tokio::time::timeout(Duration::from_millis(POLL_MS), reason) => if open == Ok(false) { return },
            }
        }
    }

    /// Sends everything new.
    async fn pump(&self, backend: &dyn Backend, cursor: &mut Option<u64>) -> Result<(), Box<Problem>> {
        let mut after = match *cursor {
            Some(seq) => seq,
            None => backend.last_seq().await?,
        };
        loop {
            let page = backend.feed(after, PAGE_EVENTS, None).await?;
            for event in page.events {
                // Without a listener there is nobody to tell; the feed keeps the event.
                drop(self.tx.send(Arc::new(Frame::new(event, true))));
            }
            after = after.max(page.upto);
            *cursor = Some(after);
            if page.end {
                return Ok(());
            }
        }
    }
}
