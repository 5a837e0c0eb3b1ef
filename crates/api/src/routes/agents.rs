//! Agents: spawn, hold, end, measure.
use crate::agents::{Agent, AgentMetrics, AgentSpawn, AgentType};
use crate::client::{Call, Client, json};
use crate::error::ClientError;
use crate::page::List;
use crate::query::{AgentQuery, Query};
use reqwest::Method;

impl Client {
    /// `GET /api/agents`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn agents(&self, query: &AgentQuery) -> Result<List<Agent>, ClientError> {
        self.get(&["api", "agents"], query.to_pairs()).await
    }

    /// `POST /api/agents`: adds agents to the pool.
    ///
    /// # Errors
    /// As [`ClientError`]; `validation-failed` for an unknown type or when the pool would be too large.
    pub async fn spawn_agents(&self, spawn: &AgentSpawn, key: Option<&str>) -> Result<List<Agent>, ClientError> {
        self.post(&["api", "agents"], Some(json(spawn)), key).await
    }

    /// `GET /api/agents/{id}`.
    ///
    /// # Errors
    /// As [`ClientError`]; `agent-not-found`.
    pub async fn agent(&self, id: &str) -> Result<Agent, ClientError> {
        self.get(&["api", "agents", id], Vec::new()).await
    }

    /// `DELETE /api/agents/{id}`: ends it; its step goes to another agent.
    ///
    /// # Errors
    /// As [`ClientError`]; `agent-not-found`.
    pub async fn terminate_agent(&self, id: &str) -> Result<Agent, ClientError> {
        self.send(Call::new(Method::DELETE, &["api", "agents", id])).await
    }

    /// `POST /api/agents/{id}/pause`: makes no new call after the current one.
    ///
    /// # Errors
    /// As [`ClientError`]; `agent-not-found`, `invalid-state`.
    pub async fn pause_agent(&self, id: &str) -> Result<Agent, ClientError> {
        self.post(&["api", "agents", id, "pause"], None, None).await
    }

    /// `POST /api/agents/{id}/resume`.
    ///
    /// # Errors
    /// As [`ClientError`]; `agent-not-found`, `invalid-state`.
    pub async fn resume_agent(&self, id: &str) -> Result<Agent, ClientError> {
        self.post(&["api", "agents", id, "resume"], None, None).await
    }

    /// `POST /api/agents/{id}/restart`: its step's current turn begins anew.
    ///
    /// # Errors
    /// As [`ClientError`]; `agent-not-found`, `invalid-state`.
    pub async fn restart_agent(&self, id: &str) -> Result<Agent, ClientError> {
        self.post(&["api", "agents", id, "restart"], None, None).await
    }

    /// `GET /api/agents/{id}/metrics`.
    ///
    /// # Errors
    /// As [`ClientError`]; `agent-not-found`.
    pub async fn agent_metrics(&self, id: &str) -> Result<AgentMetrics, ClientError> {
        self.get(&["api", "agents", id, "metrics"], Vec::new()).await
    }

    /// `GET /api/agent-types`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn agent_types(&self) -> Result<List<AgentType>, ClientError> {
        self.get(&["api", "agent-types"], Vec::new()).await
    }
}
