//! What the node tells about itself: agents, models, health, figures.
use async_trait::async_trait;
use maos_api::Problem;
use maos_api::agents::{Agent, AgentType, UnavailableTool};
use maos_api::problem::ProblemCode;
use maos_api::query::AgentQuery;
use maos_api::system::{Health, HealthCheck, ModelInfo, Prices, ProviderInfo, Status};
use maos_api::words::{AgentStatus, HealthStatus, ModelStatus, TaskStatus};
use maos_engine::ids::TaskId;
use maos_engine::task::Task;
use maos_runtime::{Definition, ModelView, RuntimeError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::pool::agent_of;
use super::problems::problem;
use super::{Wire, convert};
use crate::backend::{Machine, Reply};

/// Tools that run outside the engine and that every agent has.
const COMMON_TOOLS: [&str; 2] = ["read_output", "open_skill"];
/// Longest check of the providers, in seconds.
const PROVIDER_CHECK_SECONDS: u64 = 10;

/// What is known of each type of agent, looked up once for all agents of an answer.
pub(super) struct Kinds {
    definitions: BTreeMap<String, Definition>,
    models: BTreeMap<String, String>,
}

impl Kinds {
    /// An agent that is idle and has done nothing yet.
    pub(super) fn agent_row(&self, id: &str, kind: &str) -> Agent {
        let definition = self.definitions.get(kind);
        Agent {
            object: "agent".into(),
            agent_id: id.to_owned(),
            agent_type: kind.to_owned(),
            status: AgentStatus::Idle,
            max_memory: definition.and_then(|d| d.memory_bytes),
            timeout: definition.and_then(|d| d.timeout_s),
            capabilities: definition.map(|d| d.capabilities.clone()).unwrap_or_default(),
            model: self.models.get(kind).cloned(),
            spawned: false,
            task_id: None,
            step_id: None,
            activity: None,
            last_activity_at: None,
            created_at: None,
            steps_completed: 0,
            steps_failed: 0,
            calls: 0,
            usage: maos_api::tasks::Tokens::default(),
            cost: convert::cost(Some(maos_engine::money::Money::ZERO)),
        }
    }
}

impl Wire {
    /// The types of agents as they are now.
    pub(super) fn kinds(&self) -> Kinds {
        Kinds {
            definitions: self.runtime.definitions().into_iter().map(|d| (d.name.clone(), d)).collect(),
            models: self.runtime.models().into_iter().map(|m| (m.agent_type, m.model)).collect(),
        }
    }

    async fn checks(&self) -> Vec<HealthCheck> {
        let begun = std::time::Instant::now();
        let ready = self.runtime.readiness().await;
        let store_ms = (begun.elapsed().as_secs_f64() * 1e4).round() / 10.0;
        let check = |component: &str, result: Result<String, String>, bad: HealthStatus, fix: Option<String>, latency_ms: Option<f64>| {
            let (status, detail, fix) = match result {
                Ok(detail) => (HealthStatus::Ok, detail, None),
                Err(detail) => (bad, detail, fix),
            };
            HealthCheck { component: component.into(), status, latency_ms, detail, fix }
        };
        let status = self.runtime.status().await.ok();
        let mut out = vec![check(
            "database",
            ready.store.map(|()| "SQLite, write-ahead log, synced at each commit".into()),
            HealthStatus::Fail,
            Some("maos logs --level ERROR".into()),
            Some(store_ms),
        )];
        let quarantined: Vec<String> = status.iter().flat_map(|s| s.quarantined.iter().map(|(id, why)| format!("{id}: {why}"))).collect();
        let storage = match (ready.disk, quarantined.is_empty()) {
            (false, _) => Err("the disk is full; work pauses and goes on by itself".into()),
            (true, false) => Err(format!("put aside: {}", quarantined.join("; "))),
            (true, true) => Ok("room on the disk, no damaged journal seen".into()),
        };
        out.push(check("storage", storage, HealthStatus::Degraded, Some("df -h ~/.maos".into()), None));
        out.push(check("bus", Ok("in-process".into()), HealthStatus::Fail, None, None));
        if let Some(s) = &status {
            out.push(check(
                "agents",
                Ok(format!("{} of {} at work, {} waiting for one", s.agents_busy, s.agents_max, s.waiting)),
                HealthStatus::Fail,
                None,
                None,
            ));
        }
        for part in self.runtime.tool_health() {
            // `agents` is the pool; the files that describe agents are a part of their own.
            let name = if part.part == "agents" { "agent-types" } else { part.part };
            let result = if part.ok { Ok(part.detail) } else { Err(part.detail) };
            out.push(check(name, result, HealthStatus::Degraded, part.fix, None));
        }
        out.push(check(
            "models",
            ready.models.map(|()| self.models_line()),
            HealthStatus::Degraded,
            Some("maos config set claude.api_key, or maos model pull qwen2.5-coder-1.5b".into()),
            None,
        ));
        let fallen_back = self.runtime.models_fallen_back();
        if !fallen_back.is_empty() {
            out.push(check(
                "model-choice",
                Err(fallen_back.join("; ")),
                HealthStatus::Degraded,
                Some("configure the provider that is named, or name a model of one that is".into()),
                None,
            ));
        }
        out
    }

    fn models_line(&self) -> String {
        let mut names: Vec<String> = self.runtime.models().into_iter().map(|m| format!("{}/{}", m.provider, m.model)).collect();
        names.dedup();
        names.join(", ")
    }

    async fn provider_checks(&self) -> Vec<HealthCheck> {
        let limit = Duration::from_secs(PROVIDER_CHECK_SECONDS);
        let Ok(answers) = tokio::time::timeout(limit, self.runtime.check_models()).await else {
            let detail = format!("no answer in {PROVIDER_CHECK_SECONDS} s");
            let fix = Some("maos logs --level WARNING".into());
            return vec![HealthCheck { component: "provider".into(), status: HealthStatus::Fail, latency_ms: None, detail, fix }];
        };
        let mut out = vec![];
        for (provider, result) in answers {
            out.push(match result {
                Ok(checked) => HealthCheck {
                    component: provider,
                    status: HealthStatus::Ok,
                    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
                    latency_ms: Some(checked.latency_ms as f64),
                    detail: format!("HTTP {}, {} models listed", checked.status, checked.models.len()),
                    fix: None,
                },
                Err(error) => HealthCheck {
                    component: provider.clone(),
                    status: HealthStatus::Fail,
                    latency_ms: None,
                    detail: error.message,
                    fix: Some(format!("maos config show | grep {provider}")),
                },
            });
        }
        out
    }
}

#[async_trait]
impl Machine for Wire {
    async fn agents(&self, query: &AgentQuery) -> Reply<Vec<Agent>> {
        let figures = self.runtime.all_agent_figures().await.map_err(problem)?;
        let mut out = vec![];
        let kinds = self.kinds();
        let mut tasks: BTreeMap<TaskId, Option<Arc<Task>>> = BTreeMap::new();
        for view in self.runtime.agents() {
            let task = match &view.at {
                Some((id, _)) if !tasks.contains_key(id) => {
                    // A damaged task has no view; its agents are shown without what they do.
                    let task = self.runtime.view(id.as_str()).await.ok();
                    tasks.entry(id.clone()).or_insert(task).clone()
                }
                Some((id, _)) => tasks[id].clone(),
                None => None,
            };
            let row = agent_of(&kinds, &view, figures.get(&view.id), task.as_deref());
            let fits = (query.status.is_empty() || query.status.contains(&row.status))
                && (query.types.is_empty() || query.types.contains(&row.agent_type));
            if fits {
                out.push(row);
            }
        }
        Ok(out)
    }

    async fn agent(&self, id: &str) -> Reply<Agent> {
        let view = self.runtime.agent(id).map_err(problem)?;
        let figures = self.runtime.agent_metrics(id).await.map_err(problem)?.figures;
        Ok(self.agent_now(&view, Some(&figures)).await)
    }

    async fn agent_types(&self) -> Reply<Vec<AgentType>> {
        let models = self.runtime.models();
        let names = self.runtime.tool_names();
        let tools = |d: &Definition| {
            let given = |t: &&String| d.allows(t) || COMMON_TOOLS.contains(&t.as_str()) && !d.denied_tools.contains(*t);
            maos_engine::share::tool_specs().into_iter().map(|t| t.name).chain(names.iter().filter(given).cloned()).collect()
        };
        let row = |d: Definition| AgentType {
            object: "agent_type".into(),
            model: models.iter().find(|m| m.agent_type == d.name).map(|m| m.model.clone()),
            tools: tools(&d),
            unavailable_tools: d
                .unavailable
                .iter()
                .map(|(name, why)| UnavailableTool { name: name.clone(), reason: why.clone() })
                .collect(),
            mcp_servers: d.mcp_servers.iter().cloned().collect(),
            built_in: d.source == maos_runtime::agents::Source::BuiltIn,
            source: d.source.as_str().into(),
            path: d.source.path().map(|p| p.display().to_string()),
            name: d.name,
            base: d.kind,
            description: d.description,
            capabilities: d.capabilities,
            max_turns: d.max_turns,
            max_memory: d.memory_bytes,
            timeout: d.timeout_s,
            prompt: d.prompt,
            color: d.color,
        };
        Ok(self.runtime.definitions().into_iter().map(row).collect())
    }

    async fn status(&self) -> Reply<Status> {
        let s = self.runtime.status().await.map_err(|e| problem(RuntimeError::Store(e)))?;
        let spent = self.runtime.spent_today().await.map_err(|e| problem(RuntimeError::Store(e)))?;
        let model = self.runtime.models().into_iter().find(|m| m.agent_type == "coordinator");
        let missing = self.runtime.models_ready().err().map(problem);
        let all = |words: &[&str]| words.iter().map(|w| ((*w).to_owned(), 0)).collect::<BTreeMap<String, u64>>();
        let (mut tasks, mut agents) = (all(TaskStatus::WORDS), all(AgentStatus::WORDS));
        tasks.extend(s.tasks);
        for a in self.runtime.agents() {
            *agents.entry(a.status.to_string()).or_default() += 1;
        }
        Ok(Status {
            object: "status".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            draining: s.draining,
            started_at: convert::time(s.started),
            uptime_ms: maos_runtime::clock::now().since_ms(s.started),
            components: self.checks().await,
            tasks,
            agents,
            agents_max: u64::from(s.agents_max),
            spent_today: Some(convert::money(spent)),
            budget_daily: s.budget_daily.map(convert::money),
            provider: ProviderInfo {
                name: model.as_ref().map(|m| m.provider.to_owned()),
                model: model.as_ref().map(|m| m.model.clone()),
                ready: missing.is_none(),
                note: missing.as_ref().map(|p| p.detail.trim_end_matches('.').to_owned()).or_else(|| model.and_then(|m| m.note)),
                hint: missing.map(|p| p.hint),
            },
            storage: "sqlite".into(),
            bus: "in-process".into(),
            event_seq: self.runtime.last_gseq().await.map_err(problem)?,
        })
    }

    async fn health(&self, component: Option<&str>) -> Reply<Option<Health>> {
        let mut checks = self.checks().await;
        // Asked only when wanted: it goes over the network.
        if component.is_none_or(|name| checks.iter().all(|c| c.component != name)) {
            checks.extend(self.provider_checks().await);
        }
        if let Some(name) = component {
            checks.retain(|c| c.component == name);
            if checks.is_empty() {
                return Ok(None);
            }
        }
        let worst = checks.iter().map(|c| c.status).max().unwrap_or(HealthStatus::Ok);
        Ok(Some(Health { object: "health".into(), status: worst, checks }))
    }

    async fn models(&self) -> Reply<Vec<ModelInfo>> {
        let mut out: Vec<ModelInfo> = vec![];
        for m in self.runtime.models() {
            match out.iter_mut().find(|i| i.id == m.model && i.provider == m.provider) {
                Some(info) => info.used_by.push(m.agent_type),
                None => out.push(model_info(m)),
            }
        }
        Ok(out)
    }

    async fn ready(&self) -> Reply<()> {
        if self.runtime.is_stopping() {
            return Err(Box::new(Problem::new(ProblemCode::ShuttingDown, "The server is stopping.")));
        }
        let ready = self.runtime.readiness().await;
        ready.store.map_err(|why| Box::new(Problem::new(ProblemCode::NotReady, why)))
    }

    async fn metrics(&self) -> Reply<String> {
        let text = self.runtime.metrics().await.map_err(|e| problem(RuntimeError::Store(e)))?;
        Ok(text.trim_end().trim_end_matches("# EOF").to_owned())
    }
}

fn model_info(m: ModelView) -> ModelInfo {
    let price = |n: i64| maos_api::money::Money::from_nanos(n);
    ModelInfo {
        object: "model".into(),
        id: m.model,
        provider: m.provider.to_owned(),
        status: match (&m.retired, m.price.is_some()) {
            (Some(_), _) => ModelStatus::Retired,
            (None, true) => ModelStatus::Active,
            (None, false) => ModelStatus::Unknown,
        },
        replacement: m.replacement,
        prices: m.price.map(|p| Prices {
            input: price(p.rates.input),
            output: price(p.rates.output),
            cache_read: price(p.rates.cache_read),
            cache_write_5m: price(p.rates.cache_write_5m),
            cache_write_1h: price(p.rates.cache_write_1h),
            price_table: p.effective_from.to_string(),
        }),
        used_by: vec![m.agent_type],
    }
}
