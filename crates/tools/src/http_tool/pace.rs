//! How often a host is asked: some allow one request in so many seconds, from all agents together.
//!
//! Invariant: two requests to one host begin at least their interval apart.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// When each host may be asked next. One for all tools of a node; it outlives the tools.
#[derive(Debug, Default)]
pub struct Paces(Mutex<HashMap<String, Instant>>);

impl Paces {
    /// Waits until a host may be asked; who comes later waits the interval longer.
    pub(super) async fn wait(&self, host: &str, interval: Duration) {
        if interval.is_zero() {
            return;
        }
        let at = {
            let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            hosts.retain(|_, next| *next > now);
            let at = hosts.get(host).copied().unwrap_or(now);
            hosts.insert(host.to_owned(), at + interval);
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    #[tokio::test(start_paused = true)]
    async fn requests_to_one_host_keep_their_distance() {
        let (paces, begun) = (Paces::default(), Instant::now());
        let ask = |host: &'static str| {
            let paces = &paces;
            async move {
                paces.wait(host, Duration::from_secs(3)).await;
                begun.elapsed().as_secs()
            }
        };
        assert_eq!(join_all([ask("a"), ask("a"), ask("b"), ask("a")]).await, [0, 3, 0, 6]);
        assert_eq!(ask("a").await, 9);
        assert_eq!(ask("b").await, 9, "its time has come long ago");
    }
}
