//! Where pure decisions meet the world: the use cases, the one worker loop, leases, the agent pool, the bus. [`Runtime::open`] wires
//! store, models and tools together. It must not know axum, clap, JSON shapes of the API, SQL, or the wire form of any provider.
pub mod agents;
mod bodies;
pub mod bus;
pub mod clock;
mod crash_points;
mod error;
mod figures;
mod files;
mod found;
mod instructions;
mod ledger;
mod metrics;
mod node;
mod options;
mod people;
mod perform;
mod pool;
mod prompt;
mod read_output;
mod status;
mod sweep;
mod tasks;
pub mod tools;
mod toolset;
mod views;
mod warm;
mod worker;

pub use agents::{Definition, Definitions};
pub use bus::{Hint, Live};
pub use error::{Result, RuntimeError};
pub use figures::AgentFigures;
pub use files::{ATTACHMENTS_MAX, Artifact, Incoming, UPLOAD_BYTES_MAX, Upload};
pub use options::{ConsensusOptions, Options};
pub use people::{ANSWER_BYTES_MAX, Answered, Question};
pub use pool::{AgentMetrics, SPAWN_MAX, Spawn};
pub use status::{AgentView, ModelView, NodeStatus, Readiness};
pub use sweep::Swept;
pub use tasks::{Accepted, Instructions, LABELS_MAX, Listed, Outcome, Piece, StepOutput, Submit, TASK_AGENTS_MAX, TIMEOUT_S_MAX};
pub use toolset::{MEMORY_BYTES_DEFAULT, ToolHealth, ToolOptions};

use maos_llm::Models;
use maos_store::{ConnectOptions, DataDirLock, PAGE_ROWS_MAX, Store, StoreError};
use node::Node;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tools::Tool;
use toolset::Toolset;
use worker::AgentDoc;

/// Tasks claimed at a time.
const CLAIM_MAX: u32 = 64;
/// Longest time between two looks at the queue, milliseconds: the backstop for lost hints.
const POLL_MS: u64 = 1_000;

/// A node: everything of MAOS but its faces.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) node: Arc<Node>,
    started: maos_engine::Time,
    models_error: Arc<arc_swap::ArcSwap<Option<maos_llm::ConfigError>>>,
    _lock: Arc<DataDirLock>,
}

impl Runtime {
    /// Opens the data directory, takes over what was interrupted, and begins to work. `extra` tools are given to every agent.
    pub async fn open(options: Options, version: &str, extra: Vec<Arc<dyn Tool>>) -> Result<Self> {
        std::fs::create_dir_all(&options.data_dir)
            .map_err(|e| StoreError::Io { detail: format!("{}: {e}", options.data_dir.display()) })?;
        let lock = maos_store::lock_data_dir(&options.data_dir)?;
        let store = maos_store::connect(&options.database_url, ConnectOptions::default()).await?;
        let known = known_agents(&*store).await?;
        let today = clock::now().day();
        let used = store.ledger(&ledger::key(today)).await?;
        let (models, models_error) = connect_models(&options);
        let toolset = Toolset::open(options.tools.clone(), Arc::clone(&store), &options.data_dir, extra).await;
        let toolset = toolset.map_err(RuntimeError::Tools)?;
        let node = Arc::new(Node::new(store, options, models, toolset, known, (today, used), version));
        sweep::begin(&node)?;
        node.store.steal_all(&node.owner).await?;
        maos_store::crash::point("recovery.steal");
        let runtime = Self {
            node,
            started: clock::now(),
            models_error: Arc::new(arc_swap::ArcSwap::from_pointee(models_error)),
            _lock: Arc::new(lock),
        };
        let node = Arc::clone(&runtime.node);
        runtime.node.tracker.spawn(claim_loop(Arc::clone(&node)));
        runtime.node.tracker.spawn(renew_loop(Arc::clone(&node)));
        runtime.node.tracker.spawn(sweep::sweep_loop(Arc::clone(&node)));
        if let Some(changes) = node.toolset.mcp_version() {
            runtime.node.tracker.spawn(refresh_loop(node, changes));
        }
        Ok(runtime)
    }

    /// Takes a changed configuration. Data directory and database stay what they were.
    pub fn reconfigure(&self, options: Options) {
        let (models, error) = connect_models(&options);
        self.models_error.store(Arc::new(error));
        self.node.configure(options, models);
    }

    /// Why there is no model to ask.
    pub(crate) fn without_models(&self) -> RuntimeError {
        match self.models_error.load().as_ref() {
            Some(error @ maos_llm::ConfigError::NoProvider) => RuntimeError::NoProvider(error.to_string()),
            Some(error) => RuntimeError::BadModels(error.to_string()),
            None => RuntimeError::NoProvider(maos_llm::ConfigError::NoProvider.to_string()),
        }
    }

    /// Stops: no new call starts; calls in flight get `grace`; the rest goes on at the next start. Returns how many tasks will.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.node.draining.store(true, Ordering::Relaxed);
        self.node.stopping.cancel();
        let quiet = self.node.calls_ended();
        // Past the grace, calls in flight are cut off and booked as possibly billed.
        let _ = tokio::time::timeout(grace, quiet).await;
        let left = self.node.live_count();
        self.node.tell_all_to_stop();
        self.node.all_ended().await;
        self.node.tracker.close();
        self.node.tracker.wait().await;
        self.node.toolset.shutdown().await;
        if let Err(error) = self.node.store.close().await {
            tracing::error!(component = "database", "closing the database failed: {error}");
        }
        left
    }

    /// Why the process has to end, once it does (exit code 74): the store cannot be trusted any more.
    pub async fn failed(&self) -> StoreError {
        let mut fatal = self.node.fatal.subscribe();
        loop {
            if let Some(error) = fatal.borrow_and_update().clone() {
                return error;
            }
            if fatal.changed().await.is_err() {
                return StoreError::Closed;
            }
        }
    }

    /// Hints that something was committed.
    pub fn hints(&self) -> tokio::sync::broadcast::Receiver<Hint> {
        self.node.bus.hints()
    }

    /// Agents that come and go.
    pub fn pool_changes(&self) -> tokio::sync::broadcast::Receiver<bus::PoolChange> {
        self.node.bus.pool_changes()
    }

    /// Live pieces of the agents' output.
    pub fn live(&self) -> tokio::sync::broadcast::Receiver<Live> {
        self.node.bus.live()
    }

    /// The store's documents, for what lives beside tasks (idempotency keys of other requests, later templates and batches).
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.node.store)
    }

    /// The node is being stopped.
    pub fn is_stopping(&self) -> bool {
        self.node.draining.load(Ordering::Relaxed)
    }

    /// Ends when the node begins to stop.
    pub async fn stopping(&self) {
        self.node.stopping.cancelled().await;
    }
}

fn connect_models(options: &Options) -> (Option<Models>, Option<maos_llm::ConfigError>) {
    match maos_llm::connect(options.models.clone()) {
        Ok(models) => (Some(models), None),
        Err(error) => (None, Some(error)),
    }
}

async fn known_agents(store: &dyn Store) -> Result<Vec<AgentDoc>> {
    let mut out: Vec<AgentDoc> = vec![];
    let mut after: Option<String> = None;
    loop {
        let docs = store.list_docs("agent", after.as_deref(), PAGE_ROWS_MAX).await?;
        for doc in &docs {
            out.push(serde_json::from_str(&doc.json).map_err(|e| RuntimeError::Unreadable {
                task: doc.key.clone(),
                seq: 0,
                why: e.to_string(),
            })?);
        }
        match docs.last() {
            Some(last) if docs.len() == PAGE_ROWS_MAX as usize => after = Some(last.key.clone()),
            _ => return Ok(out),
        }
    }
}

/// Takes due tasks while there is room. Woken by hints; looks by itself now and then.
async fn claim_loop(node: Arc<Node>) {
    loop {
        let room = node.settings().live_tasks_max.saturating_sub(node.live_count());
        let limit = CLAIM_MAX.min(u32::try_from(room).unwrap_or(CLAIM_MAX));
        let mut more = false;
        if limit > 0 {
            match Runtime::claim_due(&node, limit).await {
                Ok(count) => more = count == limit as usize,
                Err(error) => {
                    tracing::error!(component = "orchestrator", "looking for work failed and is tried again: {error}");
                    node.check_store();
                }
            }
        }
        if more {
            continue;
        }
        let due = node
            .store
            .next_wake()
            .await
            .ok()
            .flatten()
            .map_or(POLL_MS, |at| maos_engine::Time(at).since_ms(clock::now()).clamp(5, POLL_MS));
        let wait = if limit == 0 { POLL_MS } else { due };
        tokio::select! {
            () = node.stopping.cancelled() => return,
            () = node.wake.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
        }
    }
}

/// Offers what MCP servers offer now.
async fn refresh_loop(node: Arc<Node>, mut changes: tokio::sync::watch::Receiver<u64>) {
    loop {
        tokio::select! {
            () = node.stopping.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                node.rebuild_tools();
            }
        }
    }
}

/// Keeps the leases of this node.
async fn renew_loop(node: Arc<Node>) {
    loop {
        let every = Duration::from_millis(node.settings().lease_ms / 3);
        tokio::select! {
            () = node.stopping.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if node.live_count() == 0 {
            node.check_store();
            continue;
        }
        match node.store.renew(&node.owner()).await {
            Ok(_) => {}
            Err(error) => {
                tracing::error!(component = "database", "the leases could not be renewed: {error}");
                node.check_store();
            }
        }
    }
}
