//! Questions of agents and answers of people, over HTTP.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use maos_api::people::{Question, TaskInput};
use maos_api::query::NoQuery;
use maos_api::{List, Problem, Task};

use crate::app::App;
use crate::backend;
use crate::input::{Id, JsonBody, Params};
use crate::reply::Answer;
use crate::validate;

/// `GET /api/tasks/{id}/questions`
#[utoipa::path(get, path = "/api/tasks/{id}/questions", operation_id = "list_task_questions", tag = "tasks", summary = "What people are asked now",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "Open questions and requests for consent.", body = List<Question>)))]
pub(crate) async fn questions(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<List<Question>>> {
    Ok(Json(List::whole(app.backend.questions(&id).await?)))
}

/// `POST /api/tasks/{id}/input`
#[utoipa::path(post, path = "/api/tasks/{id}/input", operation_id = "answer_question", tag = "tasks", summary = "Answer a question, or agree to a tool call",
    params(("id" = String, Path, description = "The task."), ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless for 24 h.", min_length = 1, max_length = 255)),
    request_body = TaskInput,
    responses(
        (status = 200, description = "The answer counts; the task as it is now.", body = Task),
        (status = 202, description = "The answer is kept, and counts once the task is taken up unless another one comes first.", body = Task)))]
pub(crate) async fn input(
    State(app): State<Arc<App>>,
    Id(id): Id,
    _: Params<NoQuery>,
    JsonBody(input): JsonBody<TaskInput>,
) -> Answer<(StatusCode, Json<Task>)> {
    let faults = validate::input(&input);
    if !faults.is_empty() {
        return Err(Problem::validation(faults).into());
    }
    let answer = match (input.answer, input.approve) {
        (Some(text), _) => backend::Answer::Text(text),
        (None, Some(true)) => backend::Answer::Approve,
        (None, _) => backend::Answer::Deny { reason: input.reason },
    };
    let answered = app.backend.answer(&id, input.question.as_deref(), answer).await?;
    let status = if answered.applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(app.linked(answered.task))))
}
