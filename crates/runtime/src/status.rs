//! What a node tells about itself: state, agents, models, figures.
use crate::{Runtime, clock};
use maos_engine::Time;
use maos_engine::ids::{AgentId, AgentType, Place, TaskId};
use maos_engine::money::Money;
use maos_engine::status::AgentStatus;
use maos_store::Result as StoreResult;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// An agent of the pool.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// Id.
    pub id: AgentId,
    /// Type.
    pub kind: AgentType,
    /// State.
    pub status: AgentStatus,
    /// Where it works.
    pub at: Option<(TaskId, Place)>,
    /// Places served since the node started.
    pub served: u64,
    /// In the pool since.
    pub since: Time,
    /// Last change.
    pub changed: Time,
    /// What it was spawned to be good at.
    pub capabilities: Vec<String>,
    /// Most memory of its programs, bytes, if it has a limit of its own.
    pub memory_bytes: Option<u64>,
    /// Longest time of a step, seconds, if it has a limit of its own.
    pub timeout_s: Option<u64>,
    /// A person spawned it.
    pub spawned: bool,
}

/// A configured model.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// For which type of agent.
    pub agent_type: String,
    /// Provider.
    pub provider: &'static str,
    /// Model.
    pub model: String,
    /// A line that outputs must carry.
    pub note: Option<String>,
    /// Where requests go.
    pub base_url: Option<String>,
    /// What it costs; `None` if nobody knows.
    pub price: Option<maos_llm::Price>,
    /// Since when it is retired, in words.
    pub retired: Option<String>,
    /// What replaces it.
    pub replacement: Option<String>,
}

/// Whether work can be done.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// The store answers and takes writes.
    pub store: Result<(), String>,
    /// A model can be asked.
    pub models: Result<(), String>,
    /// The disk has room.
    pub disk: bool,
}

/// The node at a glance.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Since when it runs.
    pub started: Time,
    /// Tasks by status.
    pub tasks: BTreeMap<String, u64>,
    /// Tasks held in memory.
    pub live: usize,
    /// Agents at work.
    pub agents_busy: u32,
    /// Agents in the pool.
    pub agents: usize,
    /// Most agents at work at once.
    pub agents_max: u32,
    /// Places that wait for an agent.
    pub waiting: usize,
    /// Tasks that were in flight at a crash and were taken over since the start.
    pub recovered: u64,
    /// Tasks put aside, and why.
    pub quarantined: BTreeMap<TaskId, String>,
    /// The disk is full.
    pub storage_full: bool,
    /// Spent and held today (UTC).
    pub spent_today: Money,
    /// Budget per day.
    pub budget_daily: Option<Money>,
    /// Being stopped.
    pub draining: bool,
}

impl Runtime {
    /// The node at a glance.
    pub async fn status(&self) -> StoreResult<NodeStatus> {
        let tasks = self.node.store.counts_by_status().await?.into_iter().collect();
        let today = crate::ledger::key(clock::now().day());
        let spent_today = Money(self.node.store.ledger(&today).await?);
        let pool = self.node.pool();
        Ok(NodeStatus {
            started: self.started,
            tasks,
            live: self.node.live_count(),
            agents_busy: pool.busy(),
            agents: pool.agents().count(),
            agents_max: pool.node_max(),
            waiting: pool.waiting(),
            recovered: self.node.recovered.load(Ordering::Relaxed),
            quarantined: self.node.quarantined(),
            storage_full: self.node.full.load(Ordering::Relaxed),
            spent_today,
            budget_daily: self.node.settings().budget_daily,
            draining: self.node.draining.load(Ordering::Relaxed),
        })
    }

    /// What was spent and is held today (UTC), over all tasks.
    pub async fn spent_today(&self) -> StoreResult<Money> {
        self.node.store.ledger(&crate::ledger::key(clock::now().day())).await.map(Money)
    }

    /// Whether work can be done now.
    pub async fn readiness(&self) -> Readiness {
        let store = match self.node.store.failure() {
            Some(error) => Err(error.to_string()),
            None => self.node.store.last_gseq().await.map(|_| ()).map_err(|e| e.to_string()),
        };
        Readiness { store, models: self.models_ready().map_err(|e| e.to_string()), disk: !self.node.full.load(Ordering::Relaxed) }
    }

    /// All agents, by id, also those that were terminated.
    pub fn agents(&self) -> Vec<AgentView> {
        self.node.agent_docs().iter().map(|doc| self.agent_view(doc)).collect()
    }

    /// The definitions of agents.
    pub fn definitions(&self) -> Vec<crate::Definition> {
        self.node.refresh_tools(false);
        self.node.tools().definitions().all().cloned().collect()
    }

    /// How the parts of the tools are: sandbox, web, MCP servers, what was read from folders.
    pub fn tool_health(&self) -> Vec<crate::ToolHealth> {
        self.node.refresh_tools(false);
        self.node.toolset.health()
    }

    /// Names of all tools agents can be given.
    pub fn tool_names(&self) -> Vec<String> {
        self.node.tools().names().map(str::to_owned).collect()
    }

    /// The configured models, by type of agent.
    pub fn models(&self) -> Vec<ModelView> {
        let models = self.node.models();
        let Some(models) = models.as_ref() else { return vec![] };
        let now_ms = clock::now().0 / 1_000;
        let view = |d: &crate::Definition| {
            let chosen = crate::prompt::chosen_for(models, d);
            let about = chosen.model.describe();
            let retired = models.retired(chosen.provider, &chosen.name, now_ms);
            ModelView {
                agent_type: d.name.clone(),
                provider: chosen.provider.as_str(),
                model: chosen.name.to_string(),
                note: about.note,
                base_url: about.base_url,
                price: models.price(chosen.provider, &chosen.name, now_ms),
                replacement: retired.as_ref().and_then(|r| r.replacement.clone()),
                retired: retired.map(|r| r.on.to_string()),
            }
        };
        self.node.tools().definitions().all().map(view).collect()
    }

    /// Models that are named, but whose provider is not configured: another one is asked instead, which should not go unnoticed.
    pub fn models_fallen_back(&self) -> Vec<String> {
        let models = self.node.models();
        let Some(models) = models.as_ref() else { return vec![] };
        let settings = self.node.settings();
        let voters = settings.consensus.models.iter().map(|m| ("consensus.models".to_owned(), m.clone()));
        let tools = self.node.tools();
        let own = tools.definitions().all().filter_map(|d| Some((format!("agent type {}", d.name), d.model.as_deref()?.into())));
        let told = |(by, model): (String, maos_llm::ModelRef)| {
            let maos_llm::ConfigError::NotConfigured { provider, hint, .. } = models.named(&model).err()? else { return None };
            Some(format!("{by} names {provider}/{}, but {provider} is not configured, so another model is asked: {hint}", model.model))
        };
        voters.chain(own).filter_map(told).collect()
    }

    /// Asks each configured provider something that costs nothing.
    pub async fn check_models(&self) -> Vec<(String, std::result::Result<maos_llm::Checked, maos_engine::message::CallError>)> {
        let models = self.node.models();
        let Some(models) = models.as_ref() else { return vec![] };
        let mut out: Vec<(String, _)> = vec![];
        for d in self.node.tools().definitions().all() {
            let chosen = crate::prompt::chosen_for(models, d);
            if !out.iter().any(|(p, _)| *p == chosen.provider.as_str()) {
                out.push((chosen.provider.as_str().to_owned(), chosen.model.check().await));
            }
        }
        out
    }

    /// The figures as Prometheus reads them.
    pub async fn metrics(&self) -> StoreResult<String> {
        let in_state = self.node.store.counts_by_status().await?;
        let mut agents: BTreeMap<(String, String), i64> = BTreeMap::new();
        for a in self.agents() {
            *agents.entry((a.kind.to_string(), a.status.to_string())).or_default() += 1;
        }
        let agents: Vec<_> = agents.into_iter().map(|((k, s), n)| (k, s, n)).collect();
        Ok(self.node.metrics.text(&in_state, &agents))
    }
}
