//! One server for as long as the pool lives: connect, check its tools against what was approved, serve calls, connect again.
//!
//! Invariant: a call is sent at most once, and only to a server whose list of tools is the approved one; a call that was not answered
//! says that its effect is unknown. Must not decide whether a call is repeated.
use crate::mcp::config::ServerConfig;
use crate::mcp::connection::{Connection, Means, alive, chain};
use crate::mcp::output::output;
use crate::mcp::pins::{Definitions, Pins, Verdict, definitions};
use crate::mcp::text::clean;
use crate::tool::Output;
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResponse, JsonObject, RequestMetaObject};
use rmcp::service::{Peer, ServiceError};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// Pause before the first attempt to connect again; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A connection that held this long begins the pauses anew.
const STEADY: Duration = Duration::from_secs(60);
/// How often a server whose tools changed looks whether a person has approved them (with another command).
const APPROVAL_LOOK: Duration = Duration::from_secs(3);
/// A list that changes is read again at most this often.
const RELIST_PAUSE: Duration = Duration::from_secs(1);
/// Most calls to one server at a time; more wait.
const CALLS_MAX: usize = 16;
/// Longest error text of a server, bytes.
const ERROR_BYTES_MAX: usize = 2 * 1024;
/// Where a call's id is told to the server: the same for a call that is made again, so that a server can notice.
const CALL_ID_META: &str = "maos/call-id";

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ServerState {
    /// `disabled` in the configuration.
    Disabled,
    /// Being started or greeted.
    Connecting,
    /// Calls are served.
    Ready,
    /// It cannot be reached; it is tried again.
    Down {
        /// What went wrong.
        error: String,
        /// Pause before the next attempt, milliseconds.
        retry_ms: u64,
    },
    /// Its tools are not the approved ones: a person must look at them (`maos mcp approve NAME`).
    Changed {
        /// `+ new`, `- gone`, `~ changed`.
        changes: Vec<String>,
    },
    /// The pool was shut down.
    Stopped,
}

/// What is known of a server, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// How it is.
    #[serde(flatten)]
    pub state: ServerState,
    /// Tools on offer.
    pub tools: usize,
    /// Connections made or tried so far.
    pub attempts: u32,
    /// How long the last greeting took, milliseconds.
    pub connect_ms: Option<u64>,
    /// The process, for a program of ours.
    pub pid: Option<i32>,
    /// Tools that are left out, and why.
    pub left_out: Vec<String>,
}

/// What others see of a server.
#[derive(Clone)]
struct Shown {
    state: ServerState,
    peer: Option<Peer<RoleClient>>,
    approved: Arc<Definitions>,
    attempts: u32,
    connect_ms: Option<u64>,
    pid: Option<i32>,
    left_out: Vec<String>,
}

/// A server of the pool.
pub(super) struct Server {
    pub(super) config: ServerConfig,
    shown: watch::Sender<Shown>,
    /// A call failed in a way that says something about the server.
    trouble: Notify,
    /// A person approved.
    pub(super) approved: Notify,
    calls: Semaphore,
}

/// Says that nobody watches over the server any more, however that came about: no call must wait for ever.
struct Stopped(Arc<Server>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.set(ServerState::Stopped);
    }
}

/// Why a connection that served calls is given up.
enum End {
    Stop,
    Lost(String),
    Changed(Vec<String>),
}

impl Server {
    /// A server that is not connected yet; its tools are those that were approved in earlier runs.
    pub(super) fn new(config: ServerConfig, pins: &Pins) -> Self {
        let approved = pins.get(&config.name).ok().flatten().map(|pin| pin.approved).unwrap_or_default();
        let state = if config.disabled { ServerState::Disabled } else { ServerState::Connecting };
        let shown =
            Shown { state, peer: None, approved: Arc::new(approved), attempts: 0, connect_ms: None, pid: None, left_out: Vec::new() };
        Self { config, shown: watch::Sender::new(shown), trouble: Notify::new(), approved: Notify::new(), calls: Semaphore::new(CALLS_MAX) }
    }

    /// The approved tools; none for a disabled server.
    pub(super) fn definitions(&self) -> Arc<Definitions> {
        if self.config.disabled { Arc::default() } else { Arc::clone(&self.shown.borrow().approved) }
    }

    pub(super) fn status(&self) -> ServerStatus {
        let shown = self.shown.borrow();
        ServerStatus {
            name: self.config.name.clone(),
            transport: self.config.endpoint.transport(),
            state: shown.state.clone(),
            tools: shown.approved.tools.len(),
            attempts: shown.attempts,
            connect_ms: shown.connect_ms,
            pid: shown.pid,
            left_out: shown.left_out.clone(),
        }
    }

    /// Waits until the status satisfies `wanted`; gives it.
    pub(super) async fn wait_for(&self, mut wanted: impl FnMut(&ServerStatus) -> bool) -> ServerStatus {
        let mut seen = self.shown.subscribe();
        loop {
            seen.mark_unchanged();
            let status = self.status();
            if wanted(&status) || seen.changed().await.is_err() {
                return status;
            }
        }
    }

    fn set(&self, state: ServerState) {
        self.shown.send_modify(|s| {
            if !matches!(state, ServerState::Ready) {
                (s.peer, s.pid) = (None, None);
            }
            s.state = state;
        });
    }

    /// Keeps the server connected until `stop`. `version` grows whenever the set of tools changes.
    pub(super) async fn run(self: Arc<Self>, means: Arc<Means>, pins: Pins, version: watch::Sender<u64>, stop: CancellationToken) {
        let _stopped = Stopped(Arc::clone(&self));
        let mut pause = PAUSE_FIRST;
        while !stop.is_cancelled() {
            self.shown.send_modify(|s| s.attempts = s.attempts.saturating_add(1));
            self.set(ServerState::Connecting);
            let connected = tokio::select! {
                connected = self.connect(&means, &pins, &version) => connected,
                () = stop.cancelled() => break,
            };
            let since = Instant::now();
            let (connection, end) = match connected {
                Ok(mut connection) => {
                    let end = self.serve(&mut connection, &pins, &stop).await;
                    (Some(connection), end)
                }
                Err(end) => (None, end),
            };
            if since.elapsed() >= STEADY {
                pause = PAUSE_FIRST;
            }
            match &end {
                End::Stop => {}
                End::Lost(error) => {
                    tracing::warn!(
                        component = "mcp",
                        server = self.config.name,
                        retry_ms = millis(pause),
                        "an MCP server is not there: {error}"
                    );
                    self.set(ServerState::Down { error: error.clone(), retry_ms: millis(pause) });
                }
                End::Changed(changes) => {
                    let (name, what) = (&self.config.name, changes.join(", "));
                    tracing::warn!(
                        component = "mcp",
                        server = name,
                        "its tools changed ({what}); it is not used until: maos mcp approve {name}"
                    );
                    self.set(ServerState::Changed { changes: changes.clone() });
                }
            }
            if let Some(connection) = connection {
                connection.close().await;
            }
            tokio::select! {
                () = self.pause_after(&end, pause, &pins) => {}
                () = stop.cancelled() => {}
            }
            pause = if matches!(end, End::Changed(_)) { PAUSE_FIRST } else { (pause * 2).min(PAUSE_MAX) };
        }
    }

    /// Until it makes sense to connect again.
    async fn pause_after(&self, end: &End, pause: Duration, pins: &Pins) {
        match end {
            End::Stop => {}
            End::Lost(_) => sleep(pause).await,
            End::Changed(_) => loop {
                tokio::select! {
                    () = self.approved.notified() => return,
                    () = sleep(APPROVAL_LOOK) => {}
                }
                // A record that cannot be read keeps the server out, as anything else does that is not an approval.
                if pins.get(&self.config.name).is_ok_and(|pin| pin.is_none_or(|pin| pin.offered.is_none())) {
                    return;
                }
            },
        }
    }

    /// Connects, lists the tools and compares them with the approved ones.
    async fn connect(&self, means: &Means, pins: &Pins, version: &watch::Sender<u64>) -> Result<Connection, End> {
        let connection = Connection::open(&self.config, means).await.map_err(End::Lost)?;
        let (approved, left_out) = match self.compare(&connection, pins).await {
            Ok(approved) => approved,
            Err(end) => {
                connection.close().await;
                return Err(end);
            }
        };
        let mut news = false;
        self.shown.send_modify(|s| {
            news = s.approved.digest != approved.digest;
            s.approved = Arc::new(approved);
            s.state = ServerState::Ready;
            s.peer = Some(connection.peer.clone());
            s.connect_ms = Some(millis(connection.took));
            s.pid = connection.pid();
            s.left_out = left_out;
        });
        if news {
            version.send_modify(|v| *v += 1);
        }
        tracing::info!(component = "mcp", server = self.config.name, ms = millis(connection.took), "an MCP server is connected");
        Ok(connection)
    }

    async fn compare(&self, connection: &Connection, pins: &Pins) -> Result<(Definitions, Vec<String>), End> {
        let (offered, left_out) = definitions(&connection.list().await.map_err(End::Lost)?);
        match pins.check(&self.config.name, &offered) {
            Ok(Verdict::Approved(approved)) => Ok((approved, left_out)),
            Ok(Verdict::Changed(changes)) => Err(End::Changed(changes)),
            Err(e) => Err(End::Lost(format!("its tools cannot be compared with the approved ones: {e}"))),
        }
    }

    /// Watches over an open connection.
    async fn serve(&self, connection: &mut Connection, pins: &Pins, stop: &CancellationToken) -> End {
        let changed = Arc::clone(&connection.changed);
        loop {
            tokio::select! {
                () = stop.cancelled() => return End::Stop,
                why = connection.ended() => return End::Lost(why),
                () = changed.notified() => {
                    if let Err(end) = self.compare(connection, pins).await {
                        return end;
                    }
                    tokio::select! {
                        () = sleep(RELIST_PAUSE) => {}
                        () = stop.cancelled() => return End::Stop,
                    }
                }
                () = self.trouble.notified() => {
                    // Its end is only being taken note of; how it ended says more than that it does not answer.
                    if connection.peer.is_transport_closed() {
                        return End::Lost(connection.ended().await);
                    }
                    if !alive(&connection.peer).await {
                        return End::Lost("it does not answer any more".into());
                    }
                }
            }
        }
    }

    /// Makes a call. Dropping the future tells the server that the call is given up.
    pub(super) async fn call(&self, tool: &str, args: JsonObject, call_id: &str, longest: Duration) -> Output {
        let name = &self.config.name;
        let limit = longest.min(self.config.timeout);
        let deadline = Instant::now() + limit;
        let ready = async {
            // The semaphore is never closed.
            let permit = self.calls.acquire().await.map_err(|e| e.to_string())?;
            self.ready().await.map(|peer| (permit, peer))
        };
        let (_permit, peer) = match timeout_at(deadline, ready).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(why)) => return Output::error(format!("The MCP server '{name}' {why} Nothing was sent.")),
            Err(_) => {
                return Output::error(format!("The MCP server '{name}' was busy or still starting. Nothing was sent; try again later."));
            }
        };
        let mut meta = RequestMetaObject::new();
        meta.insert(CALL_ID_META.into(), call_id.into());
        let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        params.meta = Some(meta);
        match timeout_at(deadline, peer.call_tool_once(params)).await {
            Ok(Ok(CallToolResponse::Complete(result))) => output(&result),
            Ok(Ok(_)) => Output::error(format!("The MCP server '{name}' wants input from a person for this, which is not possible here.")),
            Ok(Err(ServiceError::McpError(e))) => {
                Output::error(format!("The MCP server '{name}' refused the call: {}", clean(&e.message, ERROR_BYTES_MAX)))
            }
            Ok(Err(e)) => {
                self.trouble.notify_one();
                let why = clean(&chain(&e), ERROR_BYTES_MAX);
                Output::error(format!("The connection to the MCP server '{name}' broke during the call ({why}). {UNKNOWN}"))
            }
            Err(_) => {
                self.trouble.notify_one();
                Output::error(format!("The MCP server '{name}' did not answer within {} s. {UNKNOWN}", limit.as_secs_f64()))
            }
        }
    }

    /// The connection, once there is one; otherwise why there is none.
    async fn ready(&self) -> Result<Peer<RoleClient>, String> {
        let mut seen = self.shown.subscribe();
        loop {
            {
                let shown = seen.borrow_and_update();
                match (&shown.state, &shown.peer) {
                    (ServerState::Ready, Some(peer)) => return Ok(peer.clone()),
                    (ServerState::Ready | ServerState::Connecting, _) => {}
                    (ServerState::Disabled | ServerState::Stopped, _) => return Err("is switched off.".into()),
                    (ServerState::Down { error, .. }, _) => {
                        return Err(format!("cannot be reached ({}); MAOS keeps trying.", clean(error, ERROR_BYTES_MAX)));
                    }
                    (ServerState::Changed { .. }, _) => {
                        let name = &self.config.name;
                        return Err(format!(
                            "has changed its tools and is not used until a person approves them (maos mcp approve {name})."
                        ));
                    }
                }
            }
            seen.changed().await.map_err(|_| "is switched off.".to_owned())?;
        }
    }
}

/// What a model must know after a call without an answer.
const UNKNOWN: &str = "Whether it took effect is unknown: find out before you ask for it again.";

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
