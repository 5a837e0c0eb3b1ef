//! One connection to one server: made, asked for its tools, and ended. Invariant: every step has a limit of time and size.
use crate::mcp::child::Child;
use crate::mcp::config::{Endpoint, ServerConfig};
use crate::mcp::noise::Noise;
use crate::mcp::pins::TOOLS_MAX;
use crate::mcp::text::clean;
use crate::mcp::transport::{ChildTransport, Guarded, MESSAGE_BYTES_MAX};
use maos_sandbox::Keep;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::RoleClient;
use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, ListToolsRequest, PaginatedRequestParams, PingRequest, ServerResult,
    Tool,
};
use rmcp::service::{Peer, RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long a server may take to start and to greet. Generous: `npx` and `uvx` fetch programs first.
const GREETING_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to list its tools.
const LIST_MAX: Duration = Duration::from_secs(30);
/// Most pages of a list.
const PAGES_MAX: usize = 64;
/// Largest list, all pages together, bytes: what is approved of it is kept in one file for all servers.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a server may take to show that it is alive.
const PING_MAX: Duration = Duration::from_secs(15);
/// How long the library may take to end a connection.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// How often a broken stream of an HTTP server is taken up again before the connection counts as lost.
const RESUMES_MAX: usize = 5;
/// Longest pause between two attempts at that.
const RESUME_PAUSE_MAX: Duration = Duration::from_secs(15);
/// Longest error text of a server, bytes.
const ERROR_BYTES_MAX: usize = 1024;

/// What every connection is made with.
pub(super) struct Means {
    pub(super) http: reqwest::Client,
    pub(super) inherited: Vec<(String, String)>,
    pub(super) keep: Option<Keep>,
}

/// An open connection. Dropping it ends the server's program and all it started.
pub(super) struct Connection {
    pub(super) peer: Peer<RoleClient>,
    /// The server said that its tools have changed.
    pub(super) changed: Arc<Notify>,
    pub(super) took: Duration,
    noise: Arc<Noise>,
    stop: CancellationToken,
    /// The library's side; gone once it has ended.
    service: Option<AbortOnDropHandle<()>>,
    child: Option<Child>,
}

impl Connection {
    /// Connects and greets.
    ///
    /// # Errors
    /// A sentence that says what went wrong.
    pub(super) async fn open(server: &ServerConfig, means: &Means) -> Result<Self, String> {
        let begun = Instant::now();
        let (noise, changed) = (Arc::new(Noise::new()), Arc::new(Notify::new()));
        let us = ClientConfig::new(ClientCapabilities::default(), Implementation::new("maos", env!("CARGO_PKG_VERSION")));
        let (greeted, mut child) = match &server.endpoint {
            Endpoint::Stdio { .. } => {
                let (child, pipes) = Child::start(server, &means.inherited, means.keep.as_ref()).await?;
                let transport = Guarded::new(ChildTransport::new(pipes, Arc::clone(&noise)), Arc::clone(&noise), Arc::clone(&changed));
                (timeout(GREETING_MAX, serve_client(us, transport)).await, Some(child))
            }
            Endpoint::Http { url, headers, .. } => {
                let transport = StreamableHttpClientTransport::with_client(means.http.clone(), http_config(url.as_str(), headers)?);
                let transport = Guarded::new(transport, Arc::clone(&noise), Arc::clone(&changed));
                (timeout(GREETING_MAX, serve_client(us, transport)).await, None)
            }
        };
        let running = match greeted {
            Ok(Ok(running)) => running,
            Ok(Err(e)) => {
                let mut why = noise.reason().unwrap_or_else(|| clean(&chain(&e), ERROR_BYTES_MAX));
                // How the program ended says more than that its pipe is closed.
                if let Some(child) = &mut child
                    && let Ok(how) = timeout(CLOSE_MAX, child.ended()).await
                {
                    why = format!("{how} before it had greeted");
                }
                return Err(why);
            }
            Err(_) => return Err(format!("it did not greet within {} s", GREETING_MAX.as_secs())),
        };
        let (peer, stop) = (running.peer().clone(), CancellationToken::new());
        let service = Some(AbortOnDropHandle::new(tokio::spawn(run(running, stop.clone()))));
        Ok(Self { peer, changed, took: begun.elapsed(), noise, stop, service, child })
    }

    /// The process id of the server, if it is a program of ours.
    pub(super) fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(Child::pid)
    }

    /// All tools the server offers.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn list(&self) -> Result<Vec<Tool>, String> {
        match timeout(LIST_MAX, list(&self.peer)).await {
            Ok(listed) => listed.map_err(|e| self.noise.reason().unwrap_or(e)),
            Err(_) => Err(format!("it did not list its tools within {} s", LIST_MAX.as_secs())),
        }
    }

    /// Waits until the connection has ended; why, in words.
    pub(super) async fn ended(&mut self) -> String {
        // The service ends as it sees the connection end; how, is in our own notes.
        if let Some(service) = &mut self.service {
            drop(service.await);
            self.service = None;
        }
        match (self.noise.reason(), &mut self.child) {
            (Some(reason), _) => reason,
            (None, Some(child)) => timeout(CLOSE_MAX, child.ended()).await.unwrap_or_else(|_| "it closed its output".into()),
            (None, None) => "it closed the connection".into(),
        }
    }

    /// Ends it in order: closes, then the program is asked to end, then killed.
    pub(super) async fn close(self) {
        let Self { stop, service, child, .. } = self;
        stop.cancel();
        if let Some(service) = service {
            // Not ended in time, it is aborted as it is dropped here.
            drop(timeout(CLOSE_MAX, service).await);
        }
        if let Some(child) = child {
            child.end().await;
        }
    }
}

/// Runs the library's side of a connection until it ends or is stopped.
async fn run(running: RunningService<RoleClient, ClientConfig>, stop: CancellationToken) {
    let token = running.cancellation_token();
    let mut ended = pin!(running.waiting());
    tokio::select! {
        _ = &mut ended => {}
        () = stop.cancelled() => {
            token.cancel();
            drop(ended.await);
        }
    }
}

/// Whether a server that let a call time out is alive at all.
pub(super) async fn alive(peer: &Peer<RoleClient>) -> bool {
    let ping = peer.send_request(ClientRequest::PingRequest(PingRequest::default()));
    // A server that answers with an error is alive too.
    matches!(timeout(PING_MAX, ping).await, Ok(Ok(_) | Err(ServiceError::McpError(_))))
}

async fn list(peer: &Peer<RoleClient>) -> Result<Vec<Tool>, String> {
    let (mut tools, mut cursor, mut bytes) = (Vec::new(), None, 0);
    for _ in 0..PAGES_MAX {
        // Not the library's own listing: that one obeys the server on how long an old list may be kept.
        let request = ListToolsRequest::with_param(PaginatedRequestParams::default().with_cursor(cursor));
        let page = match peer.send_request(ClientRequest::ListToolsRequest(request)).await {
            Ok(ServerResult::ListToolsResult(page)) => page,
            Ok(_) => return Err("its list of tools cannot be read".into()),
            Err(e) => return Err(format!("it does not list its tools: {}", clean(&chain(&e), ERROR_BYTES_MAX))),
        };
        bytes += serde_json::to_vec(&page.tools).map_or(usize::MAX, |text| text.len());
        if bytes > LIST_BYTES_MAX {
            return Err(format!("its list of tools is larger than {LIST_BYTES_MAX} bytes"));
        }
        tools.extend(page.tools);
        if tools.len() > TOOLS_MAX {
            return Err(format!("it offers more than {TOOLS_MAX} tools"));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools);
        }
    }
    Err(format!("its list of tools has more than {PAGES_MAX} pages"))
}

fn http_config(url: &str, headers: &BTreeMap<String, SecretString>) -> Result<StreamableHttpClientTransportConfig, String> {
    let mut all = HashMap::new();
    for (name, value) in headers {
        let bad = |_| format!("'{name}' is not an HTTP header");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("'{name}' is not an HTTP header"))?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(bad)?;
        value.set_sensitive(true);
        all.insert(key, value);
    }
    let mut config = StreamableHttpClientTransportConfig::with_uri(url)
        .custom_headers(all)
        .max_sse_event_size(MESSAGE_BYTES_MAX)
        .max_json_response_size(MESSAGE_BYTES_MAX)
        // A call that met an expired session would be sent again behind our back; whether to repeat is not the library's to decide.
        .reinit_on_expired_session(false);
    // Taking up a broken stream again asks for what was missed; nothing is called twice by it.
    let mut resume = ExponentialBackoff::default();
    (resume.max_times, resume.max_delay) = (Some(RESUMES_MAX), Some(RESUME_PAUSE_MAX));
    config.retry_config = Arc::new(resume);
    Ok(config)
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
