//! The machine over HTTP: models, status, health, version.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maos_api::query::NoQuery;
use maos_api::system::{Health, ModelInfo, Status, Version};
use maos_api::{API_VERSION, List, ProblemCode};

use crate::app::App;
use crate::input::{Id, Params};
use crate::reply::{Answer, Fault};

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
