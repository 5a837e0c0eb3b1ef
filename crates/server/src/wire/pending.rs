//! Temporary.
use super::Wire;
use crate::backend::*;
use async_trait::async_trait;
use maos_api::agents::{Agent, AgentMetrics, AgentSpawn};
use maos_api::files::{Artifact, Upload};
use maos_api::people::Question;
use maos_api::{Problem, ProblemCode, Task};

fn pending<T>() -> Reply<T> {
    Err(Box::new(Problem::new(ProblemCode::NotReady, "This part of the server is not there yet.")))
}

#[async_trait]
impl Pool for Wire {
    async fn spawn(&self, _: AgentSpawn) -> Reply<Vec<Agent>> {
        pending()
    }
    async fn act_on_agent(&self, _: &str, _: AgentAction) -> Reply<Agent> {
        pending()
    }
    async fn agent_metrics(&self, _: &str) -> Reply<AgentMetrics> {
        pending()
    }
}
#[async_trait]
impl People for Wire {
    async fn questions(&self, _: &str) -> Reply<Vec<Question>> {
        pending()
    }
    async fn answer(&self, _: &str, _: Option<&str>, _: Answer) -> Reply<Task> {
        pending()
    }
}
#[async_trait]
impl Files for Wire {
    async fn upload(&self, _: ByteStream) -> Reply<Upload> {
        pending()
    }
    async fn artifacts(&self, _: &str) -> Reply<Vec<Artifact>> {
        pending()
    }
    async fn artifact(&self, _: &str, _: &str) -> Reply<Content> {
        pending()
    }
}
