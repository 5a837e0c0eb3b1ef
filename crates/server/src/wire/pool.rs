//! Agents over the runtime: rows of the pool with what their journals say they have done.
use async_trait::async_trait;
use maos_api::agents::{Agent, AgentMetrics, AgentSpawn};
use maos_runtime::{AgentFigures, AgentView, RuntimeError, Spawn};

use super::problems::{invalid, problem};
use super::{Wire, convert};
use crate::backend::{AgentAction, Pool, Reply};

impl Wire {
    /// The row of an agent.
    pub(super) async fn agent_of(&self, view: &AgentView, figures: Option<&AgentFigures>) -> Agent {
        let mut row = self.agent_row(view.id.as_str(), view.kind.as_str());
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
        if let Some((task, place)) = &view.at {
            row.task_id = Some(task.to_string());
            row.step_id = place.step().map(ToString::to_string);
            let task = self.runtime.view(task.as_str()).await.ok();
            row.activity = task.and_then(|t| t.at_work(usize::MAX).into_iter().find(|a| a.place == *place)).map(|a| a.activity);
        }
        row
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
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            out.push(self.agent_of(&self.runtime.agent(id.as_str()).map_err(problem)?, None).await);
        }
        Ok(out)
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
        Ok(self.agent_of(&view, Some(&figures)).await)
    }

    async fn agent_metrics(&self, id: &str) -> Reply<AgentMetrics> {
        let m = self.runtime.agent_metrics(id).await.map_err(problem)?;
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let busy_share = (m.alive_ms > 0).then(|| (m.busy_ms as f64 / m.alive_ms as f64).min(1.0));
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
