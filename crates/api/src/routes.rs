//! One method for each route. Errors are those of [`ClientError`]; the doc of a method names the problems it is likely to meet.
mod agents;
mod files;

use serde_json::Value;

use crate::agents::Agent;
use crate::analysis::Analysis;
use crate::client::{Call, Client, json};
use crate::error::ClientError;
use crate::page::List;
use crate::plan::Plan;
use crate::problem::ProblemInfo;
use crate::query::{LogQuery, OutputQuery, Query, TaskQuery, WaitQuery};
use crate::shared::{Message, Output, StateEntry};
use crate::system::{ConfigEntry, ConfigPut, ConfigView, Health, LogEntry, ModelInfo, Status, Version};
use crate::tasks::{Results, Task, TaskPatch, TaskSubmit};
use crate::usage::UsageReport;
use reqwest::Method;

impl Client {
    /// `POST /api/tasks`. `key` makes repeats harmless; without one a fresh key is used.
    ///
    /// # Errors
    /// As [`ClientError`]; `validation-failed`, `dependency-…`, `provider-not-configured`, `budget-exceeded`, `storage-full`.
    pub async fn submit_task(&self, task: &TaskSubmit, key: Option<&str>) -> Result<Task, ClientError> {
        self.post(&["api", "tasks"], Some(json(task)), key).await
    }

    /// `GET /api/tasks`: one page.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn tasks(&self, query: &TaskQuery) -> Result<List<Task>, ClientError> {
        self.get(&["api", "tasks"], query.to_pairs()).await
    }

    /// `GET /api/tasks/{id}`.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn task(&self, id: &str) -> Result<Task, ClientError> {
        self.get(&["api", "tasks", id], Vec::new()).await
    }

    /// `GET /api/tasks/{id}?wait=`: answers when the task has ended or after `wait_ms` (at most 60 s).
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn task_wait(&self, id: &str, wait_ms: u64) -> Result<Task, ClientError> {
        self.send(Call { pairs: WaitQuery { wait_ms: Some(wait_ms) }.to_pairs(), wait_ms, ..Call::new(Method::GET, &["api", "tasks", id]) })
            .await
    }

    /// `PATCH /api/tasks/{id}`; with `if_revision` only if the task still has that revision.
    ///
    /// # Errors
    /// As [`ClientError`]; `invalid-state`, `precondition-failed`.
    pub async fn update_task(&self, id: &str, patch: &TaskPatch, if_revision: Option<u64>) -> Result<Task, ClientError> {
        let if_match = if_revision.map(|r| format!("\"r{r}\""));
        self.send(Call { body: Some(json(patch)), if_match, ..Call::new(Method::PATCH, &["api", "tasks", id]) }).await
    }

    /// `POST /api/tasks/{id}/cancel`.
    ///
    /// # Errors
    /// As [`ClientError`]; `invalid-state` when it has ended otherwise.
    pub async fn cancel_task(&self, id: &str) -> Result<Task, ClientError> {
        self.post(&["api", "tasks", id, "cancel"], None, None).await
    }

    /// `POST /api/tasks/{id}/pause`.
    ///
    /// # Errors
    /// As [`ClientError`]; `invalid-state`.
    pub async fn pause_task(&self, id: &str) -> Result<Task, ClientError> {
        self.post(&["api", "tasks", id, "pause"], None, None).await
    }

    /// `POST /api/tasks/{id}/resume`.
    ///
    /// # Errors
    /// As [`ClientError`]; `invalid-state`, `budget-exceeded`.
    pub async fn resume_task(&self, id: &str) -> Result<Task, ClientError> {
        self.post(&["api", "tasks", id, "resume"], None, None).await
    }

    /// `POST /api/tasks/{id}/retry`: runs again what did not complete.
    ///
    /// # Errors
    /// As [`ClientError`]; `invalid-state` unless it FAILED, was CANCELLED or TIMED_OUT.
    pub async fn retry_task(&self, id: &str) -> Result<Task, ClientError> {
        self.post(&["api", "tasks", id, "retry"], None, None).await
    }

    /// `GET /api/tasks/{id}/results`; with `wait_ms` answers at the end or after that time (at most 60 s).
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn results(&self, id: &str, wait_ms: Option<u64>) -> Result<Results, ClientError> {
        let path = ["api", "tasks", id, "results"];
        self.send(Call { pairs: WaitQuery { wait_ms }.to_pairs(), wait_ms: wait_ms.unwrap_or(0), ..Call::new(Method::GET, &path) }).await
    }

    /// `GET /api/tasks/{id}/plan`.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn plan(&self, id: &str) -> Result<Plan, ClientError> {
        self.get(&["api", "tasks", id, "plan"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/analysis`.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn analysis(&self, id: &str) -> Result<Analysis, ClientError> {
        self.get(&["api", "tasks", id, "analysis"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/usage`.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn usage(&self, id: &str) -> Result<UsageReport, ClientError> {
        self.get(&["api", "tasks", id, "usage"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/agents`: agents that work or worked on it.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn task_agents(&self, id: &str) -> Result<List<Agent>, ClientError> {
        self.get(&["api", "tasks", id, "agents"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/state`: the shared state.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn state(&self, id: &str) -> Result<List<StateEntry>, ClientError> {
        self.get(&["api", "tasks", id, "state"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/messages`.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn messages(&self, id: &str) -> Result<List<Message>, ClientError> {
        self.get(&["api", "tasks", id, "messages"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/output`: the text written so far.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn output(&self, id: &str, query: &OutputQuery) -> Result<Output, ClientError> {
        self.get(&["api", "tasks", id, "output"], query.to_pairs()).await
    }

    /// `GET /api/status`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(&["api", "status"], Vec::new()).await
    }

    /// `GET /api/health`, or of one component.
    ///
    /// # Errors
    /// As [`ClientError`]; `not-found` for an unknown component.
    pub async fn health(&self, component: Option<&str>) -> Result<Health, ClientError> {
        match component {
            Some(c) => self.get(&["api", "health", c], Vec::new()).await,
            None => self.get(&["api", "health"], Vec::new()).await,
        }
    }

    /// `GET /api/version`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get(&["api", "version"], Vec::new()).await
    }

    /// `GET /api/models`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn models(&self) -> Result<List<ModelInfo>, ClientError> {
        self.get(&["api", "models"], Vec::new()).await
    }

    /// `GET /api/logs`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn logs(&self, query: &LogQuery) -> Result<List<LogEntry>, ClientError> {
        let query = LogQuery { follow: false, ..query.clone() };
        self.get(&["api", "logs"], query.to_pairs()).await
    }

    /// `GET /api/config`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn config(&self) -> Result<ConfigView, ClientError> {
        self.get(&["api", "config"], Vec::new()).await
    }

    /// `GET /api/config/{key}`.
    ///
    /// # Errors
    /// As [`ClientError`]; `config-key-not-found`.
    pub async fn config_key(&self, key: &str) -> Result<ConfigEntry, ClientError> {
        self.get(&["api", "config", key], Vec::new()).await
    }

    /// `PUT /api/config/{key}`; `revision` is that of [`ConfigView`].
    ///
    /// # Errors
    /// As [`ClientError`]; `config-key-not-found`, `validation-failed`, `forbidden` (keys not writable over HTTP), `precondition-failed`.
    pub async fn set_config_key(&self, key: &str, value: Value, revision: &str) -> Result<ConfigEntry, ClientError> {
        let if_match = Some(format!("\"{revision}\""));
        let path = ["api", "config", key];
        let call = Call { body: Some(json(&ConfigPut { value })), if_match, ..Call::new(Method::PUT, &path) };
        self.send(call).await
    }

    /// `GET /api/problems`: the catalogue.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn problems(&self) -> Result<List<ProblemInfo>, ClientError> {
        self.get(&["api", "problems"], Vec::new()).await
    }

    /// `GET /api/openapi.json`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn openapi(&self) -> Result<Value, ClientError> {
        self.get(&["api", "openapi.json"], Vec::new()).await
    }

    /// `GET /metrics`: Prometheus text.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let bytes = self.send_bytes(&Call::new(Method::GET, &["metrics"])).await?;
        String::from_utf8(bytes).map_err(|e| ClientError::Incompatible { url: self.base_url().into(), cause: e.to_string() })
    }

    /// `GET /livez`: the process answers.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn live(&self) -> Result<(), ClientError> {
        self.send_bytes(&Call::new(Method::GET, &["livez"])).await.map(drop)
    }

    /// `GET /readyz`: the server takes work.
    ///
    /// # Errors
    /// As [`ClientError`]; `not-ready`, `shutting-down`.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.send_bytes(&Call::new(Method::GET, &["readyz"])).await.map(drop)
    }
}
