//! Agents over HTTP: list, spawn, hold, end, measure.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maos_api::agents::{Agent, AgentMetrics, AgentSpawn, AgentType};
use maos_api::query::{AgentQuery, LogQuery, NoQuery};
use maos_api::system::LogEntry;
use maos_api::words::LogLevel;
use maos_api::{AgentStatus, Event, List, Problem, Time};

use crate::app::App;
use crate::backend::AgentAction;
use crate::input::{Id, JsonBody, NoBody, Params};
use crate::logs;
use crate::reply::Answer;
use crate::validate;

/// `GET /api/agents`
#[utoipa::path(get, path = "/api/agents", operation_id = "list_agents", tag = "agents", summary = "The agents of this server",
    params(
        ("status" = Option<Vec<AgentStatus>>, Query, style = Form, explode = false, description = "Any of these, comma-separated."),
        ("type" = Option<String>, Query, description = "Any of these types, comma-separated.", min_length = 1),
    ),
    responses((status = 200, description = "The agents.", body = List<Agent>)))]
pub(crate) async fn agents(State(app): State<Arc<App>>, Params(query): Params<AgentQuery>) -> Answer<Response> {
    let seq = app.backend.last_seq().await?;
    let agents = app.backend.agents(&query).await?;
    Ok(([("maos-event-seq", seq.to_string())], Json(List::whole(agents))).into_response())
}

/// `GET /api/agents/{id}`
#[utoipa::path(get, path = "/api/agents/{id}", operation_id = "get_agent", tag = "agents", summary = "One agent",
    params(("id" = String, Path, description = "The agent.")), responses((status = 200, description = "The agent.", body = Agent)))]
pub(crate) async fn agent(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<Agent>> {
    Ok(Json(app.backend.agent(&id).await?))
}

/// `GET /api/agent-types`
#[utoipa::path(get, path = "/api/agent-types", operation_id = "list_agent_types", tag = "agents", summary = "The types of agents",
    responses((status = 200, description = "The types.", body = List<AgentType>)))]
pub(crate) async fn agent_types(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Json<List<AgentType>>> {
    Ok(Json(List::whole(app.backend.agent_types().await?)))
}

/// `POST /api/agents`
#[utoipa::path(post, path = "/api/agents", operation_id = "spawn_agents", tag = "agents", summary = "Add agents to the pool",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless for 24 h.", min_length = 1, max_length = 255)),
    request_body = AgentSpawn,
    responses((status = 201, description = "The new agents. They wait in the pool for steps of their type.", body = List<Agent>)))]
pub(crate) async fn spawn(State(app): State<Arc<App>>, _: Params<NoQuery>, JsonBody(body): JsonBody<AgentSpawn>) -> Answer<Response> {
    let faults = validate::spawn(&body);
    if !faults.is_empty() {
        return Err(Problem::validation(faults).into());
    }
    Ok((StatusCode::CREATED, Json(List::whole(app.backend.spawn(body).await?))).into_response())
}

/// `DELETE /api/agents/{id}`
#[utoipa::path(delete, path = "/api/agents/{id}", operation_id = "terminate_agent", tag = "agents", summary = "End an agent; its step goes to another one",
    params(("id" = String, Path, description = "The agent.")), responses((status = 200, description = "The agent as it is now.", body = Agent)))]
pub(crate) async fn terminate(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>, _: NoBody) -> Answer<Json<Agent>> {
    Ok(Json(app.backend.act_on_agent(&id, AgentAction::Terminate).await?))
}

macro_rules! action {
    ($name:ident, $path:literal, $operation:literal, $summary:literal, $action:expr) => {
        #[doc = concat!("`POST ", $path, "`")]
        #[utoipa::path(post, path = $path, operation_id = $operation, tag = "agents", summary = $summary,
            params(("id" = String, Path, description = "The agent."), ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless for 24 h.", min_length = 1, max_length = 255)),
            responses((status = 200, description = "The agent as it is now.", body = Agent)))]
        pub(crate) async fn $name(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>, _: NoBody) -> Answer<Json<Agent>> {
            Ok(Json(app.backend.act_on_agent(&id, $action).await?))
        }
    };
}

action!(pause, "/api/agents/{id}/pause", "pause_agent", "Hold an agent after its current call", AgentAction::Pause);
action!(resume, "/api/agents/{id}/resume", "resume_agent", "Let a held agent go on", AgentAction::Resume);
action!(restart, "/api/agents/{id}/restart", "restart_agent", "Begin an agent's current turn anew", AgentAction::Restart);

/// `GET /api/agents/{id}/metrics`
#[utoipa::path(get, path = "/api/agents/{id}/metrics", operation_id = "get_agent_metrics", tag = "agents", summary = "What an agent has done",
    params(("id" = String, Path, description = "The agent.")), responses((status = 200, description = "Measured figures.", body = AgentMetrics)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<AgentMetrics>> {
    Ok(Json(app.backend.agent_metrics(&id).await?))
}

/// `GET /api/agents/{id}/logs`
#[utoipa::path(get, path = "/api/agents/{id}/logs", operation_id = "get_agent_logs", tag = "agents", summary = "The server's log lines about an agent",
    params(
        ("id" = String, Path, description = "The agent."),
        ("level" = Option<LogLevel>, Query, description = "This level and above."),
        ("component" = Option<String>, Query, description = "Only this part.", min_length = 1),
        ("task_id" = Option<String>, Query, description = "Only about this task.", min_length = 1),
        ("q" = Option<String>, Query, description = "Text in the line, any case.", min_length = 1),
        ("since" = Option<Time>, Query, description = "Written at or after."),
        ("tail" = Option<u32>, Query, description = "The last lines only; default 100.", minimum = 1, maximum = 10000),
        ("follow" = Option<bool>, Query, description = "Answer with an event stream of `log.entry`: the last lines, then live ones."),
    ),
    responses((status = 200, description = "Lines, oldest first (or a stream of them).", content((List<LogEntry> = "application/json"), (Event = "text/event-stream")))))]
pub(crate) async fn agent_logs(State(app): State<Arc<App>>, Id(id): Id, Params(query): Params<LogQuery>) -> Answer<Response> {
    app.backend.agent(&id).await?;
    logs::logs(State(app), Params(LogQuery { agent_id: Some(id), ..query })).await
}
