//! How much a server may say without being asked. Above that it is cut off: a flood must cost it its connection, not us our memory.
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Most unasked messages (notifications, requests, answers nobody waits for, lines that are no messages) within `WINDOW`.
const UNASKED_MAX: u32 = 1_000;
/// See `UNASKED_MAX`.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts what a connection was told, and keeps the reason why it was closed.
#[derive(Debug)]
pub(super) struct Noise(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    since: Instant,
    unasked: u32,
    /// Ids of requests sent and neither answered nor given up.
    open: HashSet<String>,
    reason: Option<String>,
}

impl Noise {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Counts { since: Instant::now(), unasked: 0, open: HashSet::new(), reason: None }))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Counts) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request went out.
    pub(super) fn asked(&self, id: String) {
        self.with(|c| c.open.insert(id));
    }

    /// An answer came, or the request was given up; whether anybody waits for it. An error without an id may belong to any request.
    pub(super) fn settled(&self, id: Option<&str>) -> bool {
        self.with(|c| id.map_or(!c.open.is_empty(), |id| c.open.remove(id)))
    }

    /// Something unasked came; whether that is still bearable.
    pub(super) fn bearable(&self) -> bool {
        self.with(|c| {
            if c.since.elapsed() > WINDOW {
                (c.since, c.unasked) = (Instant::now(), 0);
            }
            c.unasked += 1;
            let bearable = c.unasked <= UNASKED_MAX;
            if !bearable {
                c.reason =
                    Some(format!("it was cut off: more than {UNASKED_MAX} messages in {} s that nobody asked for", WINDOW.as_secs()));
            }
            bearable
        })
    }

    /// Closes with this reason.
    pub(super) fn close_because(&self, reason: impl Into<String>) {
        self.with(|c| c.reason = Some(reason.into()));
    }

    /// Why the connection was closed, if it was us.
    pub(super) fn reason(&self) -> Option<String> {
        self.with(|c| c.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_noticed_and_a_trickle_is_not() {
        let noise = Noise::new();
        for _ in 0..5 {
            assert!((0..UNASKED_MAX).all(|_| noise.bearable()));
            tokio::time::advance(WINDOW + Duration::from_millis(1)).await;
        }
        assert_eq!(noise.reason(), None);
        assert!((0..UNASKED_MAX).all(|_| noise.bearable()));
        assert!(!noise.bearable());
        assert!(noise.reason().unwrap().contains("cut off"));
    }

    #[tokio::test]
    async fn an_answer_needs_its_question() {
        let noise = Noise::new();
        assert!(!noise.settled(Some("1")) && !noise.settled(None));
        noise.asked("1".into());
        assert!(!noise.settled(Some("2")));
        assert!(noise.settled(None) && noise.settled(Some("1")));
        assert!(!noise.settled(Some("1")));
    }
}
