//! `/mcp`: the tools of the MCP server over streamable HTTP, behind the same guard as every other route.
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use maos_api::limits::{BODY_BYTES_MAX, PAGE_ITEMS_DEFAULT};
use maos_api::people::{Answered, Question, TaskInput};
use maos_api::query::TaskQuery;
use maos_api::tasks::Results;
use maos_api::{List, Problem, Task, TaskSubmit};
use maos_mcp::{Door, Refusal, http_service};

use crate::app::App;
use crate::backend::{Action, Answer};
use crate::cursor;
use crate::reply::{AsIs, Fault};
use crate::tasks::Wait;
use crate::validate;

/// The route. What it answers is the protocol's own, also when it refuses; refusals of the guard are problems as everywhere.
pub(crate) fn router(app: Arc<App>) -> Router<Arc<App>> {
    let service = http_service(Arc::new(Inside(app)), BODY_BYTES_MAX);
    Router::new().route_service("/mcp", service).layer(map_response(|mut response: Response| async {
        response.extensions_mut().insert(AsIs);
        response
    }))
}

/// The tools' way to this server.
struct Inside(Arc<App>);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::from(&*fault.0)
    }
}

#[async_trait]
impl Door for Inside {
    async fn submit(&self, task: TaskSubmit) -> Result<Task, Refusal> {
        let faults = validate::submit(&task);
        if !faults.is_empty() {
            return Err(Refusal::from(&Problem::validation(faults)));
        }
        Ok(self.0.backend.submit(task, None).await?.task)
    }

    async fn task(&self, id: &str) -> Result<Task, Refusal> {
        Ok(self.0.backend.task(id).await?)
    }

    async fn list(&self, query: &TaskQuery) -> Result<List<Task>, Refusal> {
        let listed = self.0.backend.list(query, None, query.limit.unwrap_or(PAGE_ITEMS_DEFAULT)).await?;
        let next_cursor = listed.next.as_ref().map(cursor::write);
        Ok(List { has_more: next_cursor.is_some(), next_cursor, total: listed.total, ..List::whole(listed.tasks) })
    }

    async fn wait(&self, id: &str, wait_ms: u64) -> Result<Task, Refusal> {
        Ok(Wait::for_ms(wait_ms).task(&self.0, id).await?)
    }

    async fn results(&self, id: &str) -> Result<Results, Refusal> {
        Ok(self.0.backend.results(id).await?)
    }

    async fn cancel(&self, id: &str) -> Result<Task, Refusal> {
        Ok(self.0.backend.act(id, Action::Cancel).await?.task)
    }

    async fn questions(&self, id: &str) -> Result<Vec<Question>, Refusal> {
        Ok(self.0.backend.questions(id).await?)
    }

    async fn answer(&self, id: &str, question: &str, text: String) -> Result<Answered, Refusal> {
        let input = TaskInput { answer: Some(text.clone()), ..TaskInput::default() };
        let faults = validate::input(&input);
        if !faults.is_empty() {
            return Err(Refusal::from(&Problem::validation(faults)));
        }
        Ok(self.0.backend.answer(id, Some(question), Answer::Text(text)).await?)
    }

    async fn upload(&self, content: Vec<u8>) -> Result<String, Refusal> {
        let whole = futures_util::stream::iter([Ok(bytes::Bytes::from(content))]);
        Ok(self.0.backend.upload(Box::pin(whole)).await?.file_id)
    }
}
