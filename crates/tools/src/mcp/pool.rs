//! All MCP servers of a node, shared by all agents.
use crate::mcp::config::{McpConfig, McpFiles};
use crate::mcp::connection::Means;
use crate::mcp::pins::{Definitions, Pins};
use crate::mcp::server::{Server, ServerState, ServerStatus};
use crate::mcp::tool::McpTool;
use crate::tool::Tool;
use maos_sandbox::Keep;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the pool is started with, besides the servers.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The client of every HTTP server: one that judges addresses when it dials.
    pub http: reqwest::Client,
    /// Our environment; children get the variables of [`super::INHERITED`] of it and nothing else.
    pub environment: Vec<(String, String)>,
    /// Where pins are.
    pub files: McpFiles,
    /// How servers that are programs are kept; without it they are not started.
    pub keep: Option<Keep>,
}

/// The MCP servers of a node. Dropping it ends them; [`McpPool::shutdown`] does so in order and waits.
pub struct McpPool {
    servers: Vec<Arc<Server>>,
    pins: Pins,
    version: watch::Sender<u64>,
    stop: CancellationToken,
    running: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for McpPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpPool").field("servers", &self.status()).finish_non_exhaustive()
    }
}

impl McpPool {
    /// Starts to connect to every server that is not disabled; does not wait. Must be called inside a Tokio runtime.
    ///
    /// Tools that were approved in an earlier run are on offer at once; calls to them wait for the connection.
    pub fn start(config: McpConfig, options: PoolOptions) -> Arc<Self> {
        for problem in &config.problems {
            tracing::warn!(component = "mcp", "{problem}");
        }
        let pins = Pins::new(&options.files.pins);
        let servers: Vec<Arc<Server>> = config.servers.into_iter().map(|c| Arc::new(Server::new(c, &pins))).collect();
        let version = watch::Sender::new(0);
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        if servers.iter().any(|s| !s.config.disabled) {
            let means = Arc::new(Means { http: options.http, inherited: options.environment, keep: options.keep });
            for server in servers.iter().filter(|s| !s.config.disabled) {
                running.spawn(Arc::clone(server).run(Arc::clone(&means), pins.clone(), version.clone(), stop.clone()));
            }
        }
        Arc::new(Self { servers, pins, version, stop, running: Mutex::new(running) })
    }

    /// The approved tools of all servers, as they are now; the order is that of their names.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let mut all: BTreeMap<String, Arc<dyn Tool>> = BTreeMap::new();
        for server in &self.servers {
            let wanted = |name: &str| server.config.tools.as_ref().is_none_or(|only| only.contains(name));
            for definition in server.definitions().tools.iter().filter(|d| wanted(&d.name)) {
                match McpTool::new(server, definition) {
                    Ok(tool) => {
                        let name = tool.spec().name;
                        // Names cannot collide unless somebody found a digest; then the first one stays.
                        all.entry(name).or_insert_with(|| Arc::new(tool));
                    }
                    Err(why) => {
                        let tool = &definition.name;
                        tracing::warn!(component = "mcp", server = server.config.name, tool, "a tool is left out: {why}");
                    }
                }
            }
        }
        all.into_values().collect()
    }

    /// Grows whenever [`Self::tools`] would give something else.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// How every server is.
    pub fn status(&self) -> Vec<ServerStatus> {
        self.servers.iter().map(|s| s.status()).collect()
    }

    /// Waits until a server's status satisfies `wanted`; `None` for an unknown name.
    pub async fn wait_for(&self, name: &str, wanted: impl FnMut(&ServerStatus) -> bool) -> Option<ServerStatus> {
        let server = self.servers.iter().find(|s| s.config.name == name)?;
        Some(server.wait_for(wanted).await)
    }

    /// Waits until every server has been connected or has failed to be for the first time.
    pub async fn settled(&self) {
        for server in &self.servers {
            server.wait_for(|s| !matches!(s.state, ServerState::Connecting)).await;
        }
    }

    /// Approves the tools that a server offered last, if they still are those with this digest. `None` when nothing waits.
    ///
    /// # Errors
    /// The record cannot be read or written.
    pub fn approve(&self, name: &str, digest: &str) -> std::io::Result<Option<Definitions>> {
        let approved = self.pins.approve(name, digest)?;
        if let Some(server) = self.servers.iter().find(|s| s.config.name == name && approved.is_some()) {
            server.approved.notify_one();
        }
        Ok(approved)
    }

    /// Ends every server, in order, and waits until the last one is gone.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(ended) = running.join_next().await {
            if let Err(e) = ended {
                tracing::error!(component = "mcp", "the watch over an MCP server failed: {e}");
            }
        }
    }
}

impl Drop for McpPool {
    fn drop(&mut self) {
        // The tasks are aborted with the set they are in; each drops its child, which kills it.
        self.stop.cancel();
    }
}
