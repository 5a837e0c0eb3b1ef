//! The HTTP side: a script over real sockets, as the Messages API and as chat completions.
//!
//! Invariant: the bytes are a provider's bytes, and every fault happens on the socket as the script says. The connection is handled by hand (parsing by
//! `httparse`) because a framework would tidy up exactly the faults that are wanted here, and because load tests need the speed.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};

use crate::script::Script;
use crate::state::ScriptState;

mod anthropic_in;
mod anthropic_messages;
mod anthropic_out;
mod check;
mod connection;
mod control;
mod frames;
mod http;
mod ledger;
mod openai_in;
mod openai_out;
mod play;
mod route;
mod times;

pub use ledger::{Count, Stats};

use ledger::Ledger;

/// Where and how to serve.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Address to bind; `127.0.0.1:0` if absent.
    pub addr: Option<SocketAddr>,
    /// Completed calls are appended to this file, one JSON line each, before their last byte leaves; calls already in it count as completed.
    pub log: Option<PathBuf>,
}

/// What all connections share.
pub(crate) struct Shared {
    state: RwLock<Arc<ScriptState>>,
    pub(crate) ledger: Arc<Ledger>,
    started: Instant,
}

impl Shared {
    /// The script in play.
    pub(crate) fn state(&self) -> Arc<ScriptState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins another script; calls under way end by the old one.
    pub(crate) fn set_script(&self, script: Arc<Script>) {
        let fresh = Arc::new(ScriptState::new(script));
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Milliseconds since the server began.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Seconds since 1970, for the `created` and reset fields of answers.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// The server; see [`Server::start`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds and serves the script until the result is shut down or dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(script: Script, addr: SocketAddr) -> std::io::Result<Running> {
        Self::start_with(script, Options { addr: Some(addr), log: None }).await
    }

    /// As [`Server::start`], with options.
    ///
    /// # Errors
    /// The address cannot be bound, or the log cannot be opened or read.
    pub async fn start_with(script: Script, options: Options) -> std::io::Result<Running> {
        let ledger = Arc::new(Ledger::open(options.log.as_deref())?);
        let listener = listen(options.addr.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))))?;
        let addr = listener.local_addr()?;
        let state = RwLock::new(Arc::new(ScriptState::new(script)));
        let shared = Arc::new(Shared { state, ledger, started: Instant::now() });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Running { addr, shared, task })
    }
}

/// Connections that may wait to be accepted: more than agents begin at once in one process. One that finds no room is tried again by the
/// kernel after a second.
const ACCEPT_QUEUE: u32 = 4_096;

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: a server that restarts may have its port again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(ACCEPT_QUEUE)
}

/// Pause after an accept error such as "too many open files", in milliseconds.
const ACCEPT_RETRY_MS: u64 = 10;

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, shared.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(ACCEPT_RETRY_MS)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection ended badly");
                }
            }
        }
    }
}

/// A server that runs. Dropping it closes the socket and every connection.
pub struct Running {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Running").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Running {
    /// `http://127.0.0.1:PORT`, without a slash at the end: what `ANTHROPIC_BASE_URL` wants. `OPENAI_BASE_URL` wants `/v1` after it.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        self.shared.ledger.stats()
    }

    /// The log of calls as JSON lines, oldest first; see docs/scripted-models.md.
    pub fn log(&self) -> String {
        self.shared.ledger.log_lines(0)
    }

    /// Waits until the counters say so. Checked after every start and end of a call, and without `by_rule` and `by_hash`, which are empty here.
    pub async fn until(&self, done: impl Fn(&Stats) -> bool) {
        let mut changes = self.shared.ledger.changes();
        while !done(&self.shared.ledger.summary()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Begins another script with fresh counters of its rules; the server's counters stay.
    pub fn set_script(&self, script: Script) {
        self.shared.set_script(Arc::new(script));
    }

    /// Sets the server's counters and log back to nothing and begins the script anew.
    pub fn reset(&self) {
        control::reset(&self.shared);
    }

    /// Ends the server: no connection is left open.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // Cancelled is the only way this task ends.
        if let Err(error) = (&mut self.task).await
            && error.is_panic()
        {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
