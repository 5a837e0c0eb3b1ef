//! A model served: llama.cpp's own HTTP server as a managed child.
//!
//! [`Local`] starts the child on first need, watches it, starts it again with growing pauses when it dies, and ends it with itself. The
//! child listens on loopback, on a random port, behind a random key, and cannot outlive this process, not even after `kill -9`.
//! Address and key stay the same over restarts of the child where possible.
//! This file must not know what is asked of the model: clients of the chat-completions protocol do that.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{LocalError, Store};

mod child;
mod health;
mod leftover;
mod runner;
mod supervise;

pub use runner::{Runner, find_runner, prepare_runner};

/// Tokens of context for each slot, unless configured: prompt and reply of one call together.
const CONTEXT_TOKENS: u32 = 8192;
/// Calls answered at the same time, unless configured.
const SLOTS: u32 = 4;

/// How a local model is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of this installation (`~/.maos`): `models/`, `llama/`, `logs/` and `run/` lie in it.
    pub home: PathBuf,
    /// Catalogue name of the model to serve; the best one present if `None`.
    pub model: Option<String>,
    /// Path of a `llama-server` to use; else the one on the PATH, else the Python wheel.
    pub llama_server: Option<PathBuf>,
    /// Threads that compute; the machine's cores less one if `None`, at least 1.
    pub threads: Option<u32>,
    /// Calls answered at the same time (the others wait in line); 4 if `None`.
    pub slots: Option<u32>,
    /// Context of each slot in tokens, prompt and reply together; 8192 if `None`.
    pub context_tokens: Option<u32>,
}

impl Options {
    /// The defaults for an installation folder.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into(), model: None, llama_server: None, threads: None, slots: None, context_tokens: None }
    }

    /// The store of this installation.
    pub fn store(&self) -> Store {
        Store::new(self.home.join("models"))
    }

    /// Where the server's output goes.
    pub fn log_file(&self) -> PathBuf {
        self.home.join("logs").join("local-model.log")
    }

    fn threads(&self) -> u32 {
        // All cores would be twice as slow as all but one as soon as anything else runs: the slowest thread sets the pace.
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        self.threads.unwrap_or(cores.saturating_sub(1)).max(1)
    }

    fn slots(&self) -> u32 {
        self.slots.unwrap_or(SLOTS).max(1)
    }

    fn context_tokens(&self) -> u32 {
        self.context_tokens.unwrap_or(CONTEXT_TOKENS).max(512)
    }
}

/// A model that answers.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base of the chat-completions protocol, `http://127.0.0.1:PORT/v1`, without a slash at the end.
    pub base_url: String,
    /// Bearer key of this run.
    pub key: SecretString,
    /// Name to put into requests, e.g. `qwen2.5-coder-1.5b`.
    pub model: String,
    /// What the model is worth, in one sentence, to be shown wherever its work is shown.
    pub worth: String,
    /// Calls answered at the same time.
    pub slots: u32,
    /// Context of each call in tokens, prompt and reply together.
    pub context_tokens: u32,
}

/// Where the child stands.
#[derive(Debug, Clone)]
pub enum State {
    /// Never needed so far.
    Idle,
    /// Coming up, or waiting before the next attempt.
    Starting,
    /// Answering.
    Ready(Endpoint),
    /// Given up; a new attempt may be made from `again` on.
    GaveUp {
        /// Why.
        error: LocalError,
        /// From when on [`Local::endpoint`] tries again.
        again: Instant,
    },
    /// Ended for good.
    Stopped,
}

/// The managed local model of this process. Dropping the last clone ends the child.
#[derive(Debug, Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    store: Store,
    state: watch::Sender<State>,
    stop: watch::Sender<bool>,
}

impl Local {
    /// The models of [`Options::store`]. Nothing is started yet.
    pub fn new(options: Options) -> Self {
        let store = options.store();
        Self::with_store(options, store)
    }

    /// The models of another store, possibly with another catalogue. Nothing is started yet.
    pub fn with_store(options: Options, store: Store) -> Self {
        Self { inner: Arc::new(Inner { options, store, state: watch::Sender::new(State::Idle), stop: watch::Sender::new(false) }) }
    }

    /// The options this was made with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The endpoint, as soon as it answers. The first call starts the child (seconds; minutes if the server must be installed first);
    /// a call while the child is being restarted waits for it. Dropping the future does not stop the start.
    ///
    /// # Errors
    /// [`LocalError::NotInstalled`], [`LocalError::WrongContents`], [`LocalError::NoRunner`]: the next call tries again.
    /// [`LocalError::Server`]: it died too often; tried again by the first call some minutes later. [`LocalError::Stopped`].
    pub async fn endpoint(&self) -> Result<Endpoint, LocalError> {
        self.start_if_needed();
        let mut states = self.inner.state.subscribe();
        loop {
            let state = states.borrow_and_update().clone();
            match state {
                State::Ready(endpoint) => return Ok(endpoint),
                State::GaveUp { error, .. } => return Err(error),
                State::Stopped => return Err(LocalError::Stopped),
                State::Idle | State::Starting => states.changed().await.expect("the sender lives in self"),
            }
        }
    }

    /// The endpoint if it answers now. Starts nothing.
    pub fn running(&self) -> Option<Endpoint> {
        match &*self.inner.state.borrow() {
            State::Ready(endpoint) => Some(endpoint.clone()),
            State::Idle | State::Starting | State::GaveUp { .. } | State::Stopped => None,
        }
    }

    /// Where the child stands, now and on every change. Starts nothing.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.inner.state.subscribe()
    }

    /// Ends the child and waits until it is gone. For good: later calls of [`Local::endpoint`] fail with [`LocalError::Stopped`].
    pub async fn stop(&self) {
        self.inner.stop.send_replace(true);
        self.inner.state.send_if_modified(|state| match state {
            State::Idle | State::GaveUp { .. } => {
                *state = State::Stopped;
                true
            }
            State::Starting | State::Ready(_) | State::Stopped => false,
        });
        let mut states = self.inner.state.subscribe();
        let _stopped = states.wait_for(|state| matches!(state, State::Stopped)).await;
    }

    fn start_if_needed(&self) {
        let start = self.inner.state.send_if_modified(|state| {
            let due = match state {
                State::Idle => true,
                State::GaveUp { again, .. } => Instant::now() >= *again,
                State::Starting | State::Ready(_) | State::Stopped => false,
            };
            if due {
                *state = State::Starting;
            }
            due
        });
        if start {
            let (options, state, stop) = (self.inner.options.clone(), self.inner.state.clone(), self.inner.stop.subscribe());
            tokio::spawn(supervise::run(options, self.inner.store.clone(), state, stop));
        }
    }
}

/// How often and how fast a dying child is started again. Pure, so that it can be tested as a table.
#[derive(Debug, Default)]
struct Deaths {
    times: Vec<Instant>,
    ever_ready: bool,
}

impl Deaths {
    /// Deaths within [`Deaths::WINDOW`] after which the child is given up.
    const MAX: usize = 5;
    /// The same for a child that never came up: it will not do better the third time.
    const MAX_NEVER_READY: usize = 2;
    const WINDOW: Duration = Duration::from_secs(300);
    const PAUSE_MAX: Duration = Duration::from_secs(30);

    /// Notes a death. The pause before the next start, or `None` to give up.
    fn next_pause(&mut self, now: Instant) -> Option<Duration> {
        self.times.retain(|at| now.duration_since(*at) < Self::WINDOW);
        self.times.push(now);
        let count = self.times.len();
        let max = if self.ever_ready { Self::MAX } else { Self::MAX_NEVER_READY };
        (count < max).then(|| Duration::from_secs(1 << (count - 1)).min(Self::PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_grow_and_the_fifth_death_in_five_minutes_is_the_last() {
        let mut deaths = Deaths { ever_ready: true, ..Deaths::default() };
        let start = Instant::now();
        let pauses: Vec<_> = (0..5).map(|n| deaths.next_pause(start + Duration::from_secs(n)).map(|p| p.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(8), None]);
        let later = start + Deaths::WINDOW + Duration::from_secs(10);
        assert_eq!(deaths.next_pause(later), Some(Duration::from_secs(1)), "old deaths are forgotten");
    }

    #[tokio::test]
    async fn a_child_that_never_answered_is_tried_twice() {
        let mut deaths = Deaths::default();
        assert_eq!(deaths.next_pause(Instant::now()), Some(Duration::from_secs(1)));
        assert_eq!(deaths.next_pause(Instant::now()), None);
    }

    #[tokio::test]
    async fn stopped_before_it_was_needed_stays_stopped() {
        let local = Local::new(Options::new("/nonexistent"));
        local.stop().await;
        assert!(matches!(local.endpoint().await, Err(LocalError::Stopped)));
    }

    #[tokio::test]
    async fn without_a_model_the_error_names_the_command_and_the_next_call_tries_again() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::new(Options::new(dir.path()));
        for _ in 0..2 {
            let error = local.endpoint().await.unwrap_err();
            assert!(error.to_string().contains("maos model pull qwen2.5-coder-1.5b"), "{error}");
        }
        local.stop().await;
    }
}
