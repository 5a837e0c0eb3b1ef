//! The machine over the runtime: agents, models, status, health, figures.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use maos_api::agents::{Agent, AgentType};
use maos_api::query::AgentQuery;
use maos_api::system::{Health, HealthCheck, ModelInfo, Prices, ProviderInfo, Status};
use maos_api::words::{HealthStatus, ModelStatus};
use maos_api::{AgentStatus, Money, Problem, ProblemCode, TaskStatus};
use maos_engine::task::Task as State;
use maos_runtime::{AgentView, ModelView, Readiness, Runtime};

use super::analysis::usage_by_agent;
use super::fault::store;
use super::task::agent_status_of;
use super::{RuntimeBackend, money, time};
use crate::backend::{Feed, Machine, Reply};

/// Longest check of a provider, in seconds.
const PROVIDER_CHECK_SECONDS: u64 = 10;

fn agent(view: &AgentView, runtime: &Runtime, models: &[ModelView]) -> Agent {
    let definition = runtime.definitions().into_iter().find(|d| d.name == view.kind.as_str());
    Agent {
        object: "agent".into(),
        agent_id: view.id.to_string(),
        agent_type: view.kind.to_string(),
        status: agent_status_of(view.status),
        capabilities: definition.map(|d| d.capabilities).unwrap_or_default(),
        model: models.iter().find(|m| m.agent_type == view.kind.as_str()).map(|m| m.model.clone()),
        task_id: view.at.as_ref().map(|(task, _)| task.to_string()),
        step_id: view.at.as_ref().and_then(|(_, place)| place.step()).map(ToString::to_string),
        activity: None,
        last_activity_at: Some(time(view.changed)),
        created_at: Some(time(view.since)),
        steps: view.served,
        calls: None,
        usage: None,
        cost: None,
    }
}

/// Agents that work or worked on a task, with what they used in it.
pub(super) fn task_agents(runtime: &Runtime, state: &State) -> Vec<Agent> {
    let (models, pool, sums) = (runtime.models(), runtime.agents(), usage_by_agent(state));
    let at_work: BTreeMap<String, _> = state.at_work(usize::MAX).into_iter().map(|a| (a.agent.to_string(), a)).collect();
    let mut out: BTreeMap<String, Agent> = BTreeMap::new();
    for (place, run) in &state.runs {
        let Some(id) = &run.agent else { continue };
        let entry = out.entry(id.to_string()).or_insert_with(|| {
            let known = pool.iter().find(|v| v.id == *id).map(|v| agent(v, runtime, &models));
            let mut agent = known.unwrap_or_else(|| gone(id.as_str(), run.kind.as_str()));
            (agent.steps, agent.task_id) = (0, Some(state.id.to_string()));
            agent
        });
        entry.steps += 1;
        if entry.step_id.is_none() {
            entry.step_id = place.step().map(ToString::to_string);
        }
    }
    for (id, agent) in &mut out {
        let sum = sums.get(id).cloned().unwrap_or_default();
        (agent.calls, agent.usage, agent.cost) = (Some(sum.calls), Some(sum.wire_usage()), Some(sum.wire_cost()));
        if let Some(work) = at_work.get(id) {
            (agent.activity, agent.last_activity_at) = (Some(work.activity.clone()), Some(time(work.since)));
        }
    }
    out.into_values().collect()
}

/// An agent of an earlier run of the server.
fn gone(id: &str, kind: &str) -> Agent {
    Agent {
        object: "agent".into(),
        agent_id: id.into(),
        agent_type: kind.into(),
        status: AgentStatus::Terminated,
        capabilities: vec![],
        model: None,
        task_id: None,
        step_id: None,
        activity: None,
        last_activity_at: None,
        created_at: None,
        steps: 0,
        calls: None,
        usage: None,
        cost: None,
    }
}

fn check(component: &str, status: HealthStatus, detail: impl Into<String>, fix: Option<&str>) -> HealthCheck {
    HealthCheck { component: component.into(), status, latency_ms: None, detail: detail.into(), fix: fix.map(str::to_owned) }
}

/// How to get a provider of models.
const NO_PROVIDER_FIX: &str = "maos config set claude.api_key, or maos config set openai.base_url URL, or maos model pull";

impl RuntimeBackend {
    /// What can be said without asking anyone outside.
    async fn quick_checks(&self) -> Vec<HealthCheck> {
        let begun = Instant::now();
        let Readiness { store, models, disk } = self.runtime.readiness().await;
        let mut database = match store {
            Ok(()) => check("database", HealthStatus::Ok, self.storage.clone(), None),
            Err(why) => check("database", HealthStatus::Fail, why, Some("maos logs --level ERROR")),
        };
        database.latency_ms = Some((begun.elapsed().as_secs_f64() * 1e4).round() / 10.0);
        let storage = if disk {
            check("storage", HealthStatus::Ok, "there is room", None)
        } else {
            check("storage", HealthStatus::Fail, "the disk is full; work is held and resumes by itself", Some("free some space"))
        };
        let provider = match models {
            Ok(()) => check("provider", HealthStatus::Ok, self.provider().note.unwrap_or_else(|| "configured".into()), None),
            Err(why) => check("provider", HealthStatus::Degraded, format!("tasks cannot run: {why}"), Some(NO_PROVIDER_FIX)),
        };
        let mut out = vec![database, check("bus", HealthStatus::Ok, "in-process", None), storage, provider];
        if let Ok(status) = self.runtime.status().await {
            out.push(check(
                "agents",
                HealthStatus::Ok,
                format!("{} of {} at work, {} waiting", status.agents_busy, status.agents_max, status.waiting),
                None,
            ));
            if let Some((task, why)) = status.quarantined.first_key_value() {
                let detail = format!("{} tasks are put aside; {task}: {why}", status.quarantined.len());
                out.push(check("journal", HealthStatus::Degraded, detail, Some("maos logs --level ERROR")));
            }
        }
        out
    }

    /// Asks each provider something that costs nothing.
    async fn provider_checks(&self) -> Vec<HealthCheck> {
        let limit = Duration::from_secs(PROVIDER_CHECK_SECONDS);
        let Ok(checks) = tokio::time::timeout(limit, self.runtime.check_models()).await else {
            let detail = format!("no answer in {PROVIDER_CHECK_SECONDS} s");
            return vec![check("provider", HealthStatus::Fail, detail, Some("maos logs --level WARNING"))];
        };
        let one = |(name, result): (String, Result<_, maos_engine::message::CallError>)| match result {
            Ok(checked) => {
                let checked: maos_runtime::Checked = checked;
                let mut ok = check(&name, HealthStatus::Ok, format!("HTTP {}", checked.status), None);
                ok.latency_ms = Some(f64::from(u32::try_from(checked.latency_ms).unwrap_or(u32::MAX)));
                ok
            }
            Err(e) => check(&name, HealthStatus::Fail, e.message, Some("maos config show")),
        };
        checks.into_iter().map(one).collect()
    }

    fn provider(&self) -> ProviderInfo {
        let models = self.runtime.models();
        let ready = self.runtime.models_ready();
        let chosen = models.iter().find(|m| m.agent_type == "coordinator").or(models.first());
        ProviderInfo {
            name: chosen.map(|m| m.provider.to_owned()),
            model: chosen.map(|m| m.model.clone()),
            ready: ready.is_ok(),
            note: match ready {
                Ok(()) => chosen.and_then(|m| m.note.clone()),
                Err(e) => Some(e.to_string()),
            },
        }
    }
}

fn prices(price: &maos_runtime::Price) -> Prices {
    let nanos = Money::from_nanos;
    Prices {
        input: nanos(price.rates.input),
        output: nanos(price.rates.output),
        cache_read: nanos(price.rates.cache_read),
        cache_write_5m: nanos(price.rates.cache_write_5m),
        cache_write_1h: nanos(price.rates.cache_write_1h),
        price_table: price.effective_from.to_string(),
    }
}

#[async_trait]
impl Machine for RuntimeBackend {
    async fn agents(&self, query: &AgentQuery) -> Reply<Vec<Agent>> {
        let models = self.runtime.models();
        let mut agents: Vec<Agent> = self.runtime.agents().iter().map(|v| agent(v, &self.runtime, &models)).collect();
        agents.retain(|a| {
            (query.status.is_empty() || query.status.contains(&a.status)) && (query.types.is_empty() || query.types.contains(&a.agent_type))
        });
        let tasks: BTreeSet<String> = agents.iter().filter_map(|a| a.task_id.clone()).collect();
        for task in tasks {
            // An agent may have moved on since; then it simply has no activity here.
            let Ok(state) = self.runtime.view(&task).await else { continue };
            for work in state.at_work(usize::MAX) {
                if let Some(a) = agents.iter_mut().find(|a| a.agent_id == work.agent.as_str()) {
                    (a.activity, a.last_activity_at) = (Some(work.activity), Some(time(work.since)));
                }
            }
        }
        Ok(agents)
    }

    async fn agent(&self, id: &str) -> Reply<Agent> {
        let all = self.agents(&AgentQuery::default()).await?;
        let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
        let unknown = || Problem::new(ProblemCode::AgentNotFound, format!("There is no agent '{shown}'."));
        all.into_iter().find(|a| a.agent_id == id).ok_or_else(|| unknown().into())
    }

    async fn agent_types(&self) -> Reply<Vec<AgentType>> {
        let models = self.runtime.models();
        let one = |d: maos_runtime::Definition| {
            let model = models.iter().find(|m| m.agent_type == d.name);
            // A small local model is offered no tools: see the runtime's tool box.
            let tools = if model.is_some_and(|m| m.provider == "local") { &[][..] } else { &maos_engine::share::TOOLS[..] };
            AgentType {
                object: "agent_type".into(),
                name: d.name,
                description: d.description,
                capabilities: d.capabilities,
                tools: tools.iter().map(|t| (*t).to_owned()).collect(),
                model: model.map(|m| m.model.clone()),
                built_in: true,
            }
        };
        Ok(self.runtime.definitions().into_iter().map(one).collect())
    }

    async fn status(&self) -> Reply<Status> {
        let node = self.runtime.status().await.map_err(store)?;
        let all = |words: &[&str]| words.iter().map(|w| ((*w).to_owned(), 0)).collect::<BTreeMap<String, u64>>();
        let (mut tasks, mut agents) = (all(TaskStatus::WORDS), all(AgentStatus::WORDS));
        tasks.extend(node.tasks);
        for view in self.runtime.agents() {
            *agents.entry(view.status.to_string()).or_default() += 1;
        }
        Ok(Status {
            object: "status".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            draining: node.draining,
            started_at: time(node.started),
            uptime_ms: maos_runtime::clock::now().since_ms(node.started),
            components: self.quick_checks().await,
            tasks,
            agents,
            agents_max: u64::from(node.agents_max),
            spent_today: Some(money(self.runtime.spent_today().await.map_err(store)?)),
            budget_daily: node.daily.map(|(_, limit)| money(limit)),
            provider: self.provider(),
            storage: self.storage.clone(),
            bus: "in-process".into(),
            event_seq: self.last_seq().await?,
        })
    }

    async fn health(&self, component: Option<&str>) -> Reply<Option<Health>> {
        let mut checks = self.quick_checks().await;
        // Only asked when wanted: it goes over the network.
        if component.is_none_or(|c| !checks.iter().any(|k| k.component == c) || c == "provider") {
            checks.extend(self.provider_checks().await);
        }
        if let Some(wanted) = component {
            checks.retain(|c| c.component == wanted);
        }
        let worst = checks.iter().map(|c| c.status).max();
        Ok(worst.map(|status| Health { object: "health".into(), status, checks }))
    }

    async fn models(&self) -> Reply<Vec<ModelInfo>> {
        let mut out: Vec<ModelInfo> = Vec::new();
        for m in self.runtime.models() {
            if let Some(known) = out.iter_mut().find(|i| i.id == m.model && i.provider == m.provider) {
                known.used_by.push(m.agent_type);
                continue;
            }
            let status = match (&m.retired, &m.price) {
                (Some(_), _) => ModelStatus::Retired,
                (None, Some(_)) => ModelStatus::Active,
                (None, None) => ModelStatus::Unknown,
            };
            out.push(ModelInfo {
                object: "model".into(),
                id: m.model,
                provider: m.provider.into(),
                status,
                replacement: m.replacement,
                prices: m.price.as_ref().map(prices),
                used_by: vec![m.agent_type],
            });
        }
        Ok(out)
    }

    async fn ready(&self) -> Reply<()> {
        match self.runtime.readiness().await.store {
            Ok(()) => Ok(()),
            Err(why) => {
                tracing::warn!(component = "database", "not ready: {why}");
                Err(Problem::new(ProblemCode::NotReady, "The database does not answer.").into())
            }
        }
    }

    async fn metrics(&self) -> Reply<String> {
        let text = self.runtime.metrics().await.map_err(store)?;
        Ok(text.strip_suffix("# EOF\n").unwrap_or(&text).to_owned())
    }
}
