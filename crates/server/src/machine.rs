//! The machine over HTTP: agents, models, status, health, version.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maos_api::agents::{Agent, AgentType};
use maos_api::query::{AgentQuery, NoQuery};
use maos_api::system::{Health, ModelInfo, Status, Version};
use maos_api::{API_VERSION, AgentStatus, List, ProblemCode};

use crate::app::App;
use crate::input::{Id, Params};
use crate::reply::{Answer, Fault};

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

/// `GET /api/status`
#[utoipa::path(get, path = "/api/status", operation_id = "get_status", tag = "system", summary = "What the server is doing",
    responses((status = 200, description = "The status.", body = Status)))]
pub(crate) async fn status(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Response> {
    let status = app.backend.status().await?;
    Ok(([("maos-event-seq", status.event_seq.to_string())], Json(status)).into_response())
}

/// `GET /api/health`
#[utoipa::path(get, path = "/api/health", operation_id = "get_health", tag = "system", summary = "The state of every part",
    responses((status = 200, description = "The checks; `status` is the worst of them.", body = Health)))]
pub(crate) async fn health(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Json<Health>> {
    check(&app, None).await
}

/// `GET /api/health/{component}`
#[utoipa::path(get, path = "/api/health/{component}", operation_id = "get_component_health", tag = "system", summary = "The state of one part",
    params(("component" = String, Path, description = "`database`, `bus`, `provider`, `agents`, `storage`, …")),
    responses((status = 200, description = "Its check.", body = Health)))]
pub(crate) async fn component(State(app): State<Arc<App>>, Id(component): Id, _: Params<NoQuery>) -> Answer<Json<Health>> {
    check(&app, Some(&component)).await
}

async fn check(app: &App, component: Option<&str>) -> Answer<Json<Health>> {
    let unknown = || Fault::new(ProblemCode::NotFound, "There is no such component; GET /api/health lists them.");
    Ok(Json(app.backend.health(component).await?.ok_or_else(unknown)?))
}

/// `GET /api/version`
#[utoipa::path(get, path = "/api/version", operation_id = "get_version", tag = "system", summary = "What program this is",
    responses((status = 200, description = "Versions.", body = Version)))]
pub(crate) async fn version(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Json<Version> {
    Json(Version {
        object: "version".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        api_version: API_VERSION,
        git: app.build.git.clone(),
        rustc: app.build.rustc.clone(),
    })
}

/// `GET /api/models`
#[utoipa::path(get, path = "/api/models", operation_id = "list_models", tag = "system", summary = "Models and what they cost",
    responses((status = 200, description = "The models.", body = List<ModelInfo>)))]
pub(crate) async fn models(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Json<List<ModelInfo>>> {
    Ok(Json(List::whole(app.backend.models().await?)))
}
