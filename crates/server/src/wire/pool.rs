//! Agents over the runtime: rows of the pool with what their journals say they have done.
use async_trait::async_trait;
use maos_api::agents::{Agent, AgentMetrics, AgentSpawn};
use maos_engine::task::Task;
use maos_runtime::{AgentFigures, AgentView, RuntimeError, Spawn};

use super::machine::Kinds;
use super::problems::{invalid, problem};
use super::{Wire, convert};
use crate::backend::{AgentAction, Pool, Reply};

/// The row of an agent; `task` is the one it works on.
pub(super) fn agent_of(kinds: &Kinds, view: &AgentView, figures: Option<&AgentFigures>, task: Option<&Task>) -> Agent {
    let mut row = kinds.agent_row(view.id.as_str(), view.kind.as_str());
    row.status = convert::agent_status(view.status);
    row.created_at = Some(convert::time(view.since));
    row.last_activity_at = Some(convert::time(view.changed));
    row.spawned = view.spawned;
    row.max_memory = view.memory_bytes.or(row.max_memory);
    row.timeout = view.timeout_s.or(row.timeout);
    for capability in &view.capabilities {
        if !row.capabilities.contains(capability) {
            row.capabilities.push(capability.clone());
        }
    }
    if let Some(figures) = figures {
        row.calls = figures.turns;
        row.steps_completed = figures.steps_completed;
        row.steps_failed = figures.steps_failed;
        row.usage = convert::tokens(&figures.usage);
        row.cost = convert::cost(Some(figures.cost));
    }
    if let Some((id, place)) = &view.at {
        row.task_id = Some(id.to_string());
        row.step_id = place.step().map(ToString::to_string);
        row.activity = task.and_then(|t| t.activity_of(place)).map(|a| a.activity);
    }
    row
}

impl Wire {
    /// The row of one agent as it is now.
    pub(super) async fn agent_now(&self, view: &AgentView, figures: Option<&AgentFigures>) -> Agent {
        let task = match &view.at {
            Some((id, _)) => self.runtime.view(id.as_str()).await.ok(),
            None => None,
        };
        agent_of(&self.kinds(), view, figures, task.as_deref())
    }
}

#[async_trait]
impl Pool for Wire {
    async fn spawn(&self, spawn: AgentSpawn) -> Reply<Vec<Agent>> {
        let wish = Spawn {
            kind: spawn.agent_type,
            capabilities: spawn.capabilities,
            count: spawn.count.unwrap_or(1),
            memory_bytes: spawn.max_memory,
            timeout_s: spawn.timeout,
        };
        let ids = self.runtime.spawn_agents(wish).await.map_err(|error| match error {
            RuntimeError::Invalid { field: "memory", why } => invalid("/max_memory", &why),
            other => problem(other),
        })?;
        let kinds = self.kinds();
        // A new agent works on nothing yet, or has only just begun.
        ids.iter().map(|id| Ok(agent_of(&kinds, &self.runtime.agent(id.as_str()).map_err(problem)?, None, None))).collect()
    }

    async fn act_on_agent(&self, id: &str, action: AgentAction) -> Reply<Agent> {
        let view = match action {
            AgentAction::Pause => self.runtime.pause_agent(id).await,
            AgentAction::Resume => self.runtime.resume_agent(id).await,
            AgentAction::Restart => self.runtime.restart_agent(id).await,
            AgentAction::Terminate => self.runtime.terminate_agent(id).await,
        };
        let view = view.map_err(problem)?;
        let figures = self.runtime.agent_metrics(id).await.map_err(problem)?.figures;
        Ok(self.agent_now(&view, Some(&figures)).await)
    }

    async fn agent_metrics(&self, id: &str) -> Reply<AgentMetrics> {
        let mut m = self.runtime.agent_metrics(id).await.map_err(problem)?;
        // The journal notes a moment later than the pool that a terminated agent has left its place.
        m.busy_ms = m.busy_ms.min(m.alive_ms);
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let busy_share = (m.alive_ms > 0).then(|| m.busy_ms as f64 / m.alive_ms as f64);
        Ok(AgentMetrics {
            object: "agent_metrics".into(),
            agent_id: id.to_owned(),
            turns: m.figures.turns,
            calls: m.figures.turns,
            tool_calls: m.figures.tool_calls,
            errors: m.figures.errors,
            usage: convert::tokens(&m.figures.usage),
            cost: convert::cost(Some(m.figures.cost)),
            steps_completed: m.figures.steps_completed,
            steps_failed: m.figures.steps_failed,
            busy_ms: m.busy_ms,
            alive_ms: m.alive_ms,
            busy_share,
            memory_peak_bytes: m.memory_peak_bytes,
        })
    }
}
