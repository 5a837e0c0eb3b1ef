//! The probes, and what is answered where there is no route.
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use maos_api::ProblemCode;
use maos_api::query::NoQuery;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::input::Params;
use crate::reply::{Answer, Fault};

/// Which listener a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// The API's port.
    Api,
    /// The dashboard's port; the same routes, and the dashboard's pages.
    Dashboard,
}

/// A probe's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Probe {
    /// `ok`.
    status: String,
}

fn ok() -> Json<Probe> {
    Json(Probe { status: "ok".into() })
}

/// `GET /livez`
#[utoipa::path(get, path = "/livez", operation_id = "get_livez", tag = "system", summary = "The process answers", responses((status = 200, description = "It does.", body = Probe)))]
pub(crate) async fn livez(_: Params<NoQuery>) -> Json<Probe> {
    ok()
}

/// `GET /readyz`
#[utoipa::path(get, path = "/readyz", operation_id = "get_readyz", tag = "system", summary = "The server takes work", responses((status = 200, description = "It does.", body = Probe)))]
pub(crate) async fn readyz(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Json<Probe>> {
    if app.stop.is_cancelled() {
        return Err(Fault::new(ProblemCode::ShuttingDown, "The server is stopping."));
    }
    app.backend.ready().await?;
    Ok(ok())
}

/// Everything else.
pub(crate) async fn fallback(face: Option<Extension<Face>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let reads = matches!(method, Method::GET | Method::HEAD);
    let wants_page = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).is_none_or(|a| a.contains("text/html") || a.contains("*/*"));
    let is_page = !uri.path().starts_with("/api") && !uri.path().contains('.');
    if face.is_some_and(|Extension(f)| f == Face::Dashboard) && reads && wants_page && is_page {
        return no_dashboard();
    }
    let path: String = uri.path().chars().take(200).collect();
    Fault::new(ProblemCode::NotFound, format!("There is nothing at {path}.")).into_response()
}

/// This binary holds no dashboard, and says so.
fn no_dashboard() -> Response {
    let page = Html(include_str!("no_dashboard.html"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_SECURITY_POLICY, policy)], page).into_response();
    response.extensions_mut().insert(crate::reply::AsIs);
    response
}
