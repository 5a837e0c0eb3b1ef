//! The configuration over HTTP: read all or one key, set one key.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use maos_api::query::NoQuery;
use maos_api::system::{ConfigEntry, ConfigPut, ConfigView};

use crate::app::App;
use crate::config::unknown_key;
use crate::etag;
use crate::input::{Id, JsonBody, Params};
use crate::reply::Answer;

fn tagged<T: serde::Serialize>(revision: &str, body: T) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// `GET /api/config`
#[utoipa::path(get, path = "/api/config", operation_id = "get_config", tag = "config", summary = "The configuration in force",
    responses((status = 200, description = "Every key with value, default and origin. Secrets are masked.", body = ConfigView, headers(("ETag" = String, description = "For If-Match.")))))]
pub(crate) async fn view(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Response> {
    let view = app.config.view().await?;
    Ok(tagged(&view.revision.clone(), view))
}

/// `GET /api/config/{key}`
#[utoipa::path(get, path = "/api/config/{key}", operation_id = "get_config_key", tag = "config", summary = "One configuration key",
    params(("key" = String, Path, description = "Such as `system.max_agents`.")),
    responses((status = 200, description = "The key.", body = ConfigEntry, headers(("ETag" = String, description = "For If-Match.")))))]
pub(crate) async fn get(State(app): State<Arc<App>>, Id(key): Id, _: Params<NoQuery>) -> Answer<Response> {
    let view = app.config.view().await?;
    let entry = view.entries.into_iter().find(|e| e.key == key).ok_or_else(|| unknown_key(&key))?;
    Ok(tagged(&view.revision, entry))
}

/// `PUT /api/config/{key}`
#[utoipa::path(put, path = "/api/config/{key}", operation_id = "set_config_key", tag = "config", summary = "Set one configuration key",
    params(("key" = String, Path, description = "Such as `system.max_agents`."), ("If-Match" = String, Header, description = "The ETag of the configuration; required.")),
    request_body = ConfigPut,
    responses((status = 200, description = "The key as it is now.", body = ConfigEntry, headers(("ETag" = String, description = "For the next If-Match.")))))]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    Id(key): Id,
    _: Params<NoQuery>,
    headers: HeaderMap,
    JsonBody(put): JsonBody<ConfigPut>,
) -> Answer<Response> {
    let view = app.config.view().await?;
    if !view.entries.iter().any(|e| e.key == key) {
        return Err(unknown_key(&key).into());
    }
    let revision = etag::config_revision(&headers)?.unwrap_or(view.revision);
    let entry = app.config.set(&key, put.value, &revision).await?;
    let now = app.config.view().await?.revision;
    Ok(tagged(&now, entry))
}
