//! What can be read of one task, over HTTP.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use maos_api::List;
use maos_api::agents::Agent;
use maos_api::analysis::Analysis;
use maos_api::plan::Plan;
use maos_api::query::{NoQuery, OutputQuery, WaitQuery};
use maos_api::shared::{Message, Output, StateEntry};
use maos_api::tasks::Results;
use maos_api::usage::UsageReport;

use crate::app::App;
use crate::input::{Id, Params};
use crate::reply::Answer;
use crate::tasks::Wait;

/// `GET /api/tasks/{id}/results`
#[utoipa::path(get, path = "/api/tasks/{id}/results", operation_id = "get_task_results", tag = "tasks", summary = "The result of a task, or what there is of it",
    params(
        ("id" = String, Path, description = "The task."),
        ("wait" = Option<String>, Query, description = "Answer when the task has ended, or after this long (`30s`, at most 60 s).", pattern = "^([0-9]{1,9}|([0-9]{1,9}(ms|s|m|h|d|w))+)$"),
        ("Prefer" = Option<String>, Header, description = "`wait=30`: as `wait`, in seconds (RFC 7240)."),
    ),
    responses((status = 200, description = "Never an error for a task that exists: `final` says whether it is the end.", body = Results)))]
pub(crate) async fn results(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Params(query): Params<WaitQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    let wait = Wait::asked(&query, &headers);
    wait.task(&app, &id).await?;
    Ok(wait.applied(Json(app.backend.results(&id).await?).into_response()))
}

/// `GET /api/tasks/{id}/plan`
#[utoipa::path(get, path = "/api/tasks/{id}/plan", operation_id = "get_task_plan", tag = "tasks", summary = "The plan of a task with the states of its steps",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "The plan; no steps before there is one.", body = Plan)))]
pub(crate) async fn plan(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<Plan>> {
    Ok(Json(app.backend.plan(&id).await?))
}

/// `GET /api/tasks/{id}/analysis`
#[utoipa::path(get, path = "/api/tasks/{id}/analysis", operation_id = "get_task_analysis", tag = "tasks", summary = "Where a task's time and money went",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "Measured figures.", body = Analysis)))]
pub(crate) async fn analysis(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<Analysis>> {
    Ok(Json(app.backend.analysis(&id).await?))
}

/// `GET /api/tasks/{id}/usage`
#[utoipa::path(get, path = "/api/tasks/{id}/usage", operation_id = "get_task_usage", tag = "tasks", summary = "Tokens and cost of a task",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "By step, agent and model; rows sum to the total.", body = UsageReport)))]
pub(crate) async fn usage(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<UsageReport>> {
    Ok(Json(app.backend.usage(&id).await?))
}

/// `GET /api/tasks/{id}/agents`
#[utoipa::path(get, path = "/api/tasks/{id}/agents", operation_id = "list_task_agents", tag = "tasks", summary = "Agents that work or worked on a task",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "The agents.", body = List<Agent>)))]
pub(crate) async fn agents(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<List<Agent>>> {
    Ok(Json(List::whole(app.backend.task_agents(&id).await?)))
}

/// `GET /api/tasks/{id}/state`
#[utoipa::path(get, path = "/api/tasks/{id}/state", operation_id = "get_task_state", tag = "tasks", summary = "The shared state of a task's agents",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "Every key with its history.", body = List<StateEntry>)))]
pub(crate) async fn state(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<List<StateEntry>>> {
    Ok(Json(List::whole(app.backend.state(&id).await?)))
}

/// `GET /api/tasks/{id}/messages`
#[utoipa::path(get, path = "/api/tasks/{id}/messages", operation_id = "list_task_messages", tag = "tasks", summary = "Messages between a task's agents",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "The messages, oldest first.", body = List<Message>)))]
pub(crate) async fn messages(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<List<Message>>> {
    Ok(Json(List::whole(app.backend.messages(&id).await?)))
}

/// `GET /api/tasks/{id}/output`
#[utoipa::path(get, path = "/api/tasks/{id}/output", operation_id = "get_task_output", tag = "tasks", summary = "The text a task's agents have written",
    params(
        ("id" = String, Path, description = "The task."),
        ("agent" = Option<String>, Query, description = "Only this agent's text.", min_length = 1),
        ("stream" = Option<String>, Query, description = "Only this stream (`s3/t2/model`).", min_length = 1),
        ("offset" = Option<u64>, Query, description = "Text from this byte on.", minimum = 0),
        ("tail" = Option<u64>, Query, description = "Only the last bytes of each section.", minimum = 0),
    ),
    responses((status = 200, description = "One section for each model call; at most 256 KiB of text in each.", body = Output)))]
pub(crate) async fn output(State(app): State<Arc<App>>, Id(id): Id, Params(query): Params<OutputQuery>) -> Answer<Json<Output>> {
    Ok(Json(app.backend.output(&id, &query).await?))
}
