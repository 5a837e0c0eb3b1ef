//! The OpenAPI document and the problem catalogue, both served by the server they describe.
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maos_api::events::Resync;
use maos_api::problem::ProblemInfo;
use maos_api::query::NoQuery;
use maos_api::{Event, EventType, List, Problem, ProblemCode};
use serde_json::Value;
use std::sync::OnceLock;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use crate::input::{Id, Params};
use crate::reply::{Answer, Fault};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MAOS",
        description = "Multi-Agent Operating System: submit a task in one line, follow it live, read its result.\n\nErrors are `application/problem+json` from the catalogue at `/api/problems`. Every POST takes an `Idempotency-Key`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "tasks", description = "Work: submit, follow, change, read results."),
        (name = "events", description = "Server-sent events: what is stored, then what happens."),
        (name = "agents", description = "Who does the work."),
        (name = "config", description = "Settings."),
        (name = "system", description = "The server itself."),
    ),
    components(schemas(Problem, ProblemCode, Event, EventType, Resync)),
    modifiers(&Keys)
)]
struct Head;

struct Keys;

impl Modify for Keys {
    fn modify(&self, doc: &mut OpenApi) {
        let components = doc.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
    }
}

/// The document without its paths.
pub(crate) fn head() -> OpenApi {
    Head::openapi()
}

/// The whole OpenAPI 3.1 document.
pub fn openapi() -> OpenApi {
    let (_, mut doc) = crate::app::routes().split_for_parts();
    // `{*name}` is the router's way to say that a name may hold slashes; the document knows names only.
    doc.paths.paths = std::mem::take(&mut doc.paths.paths).into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for (path, item) in &mut doc.paths.paths {
        for operation in operations(item) {
            finish(path, operation);
        }
    }
    doc
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

/// What every operation has: its error answers and how a key is given.
fn finish(path: &str, operation: &mut Operation) {
    let mut errors = vec![
        ("400", "The query or body cannot be read."),
        ("403", "Host or Origin is not allowed."),
        ("405", "The method is not one of `Allow`."),
        ("422", "A parameter or field has a wrong value."),
    ];
    if path.contains('{') {
        errors.push(("404", "There is no such thing."));
    }
    let upload = path == "/api/files";
    if operation.request_body.is_some()
        || path.ends_with("/cancel")
        || path.ends_with("/pause")
        || path.ends_with("/resume")
        || path.ends_with("/retry")
        || path.ends_with("/restart")
    {
        errors.extend([
            ("409", "The state it is in does not allow this, or the same request is being worked on."),
            ("413", if upload { "The file is larger than 256 MiB." } else { "The body is larger than 1 MiB." }),
            ("415", if upload { "The body is not declared as application/octet-stream." } else { "The body is not declared as JSON." }),
            ("507", "The disk is full."),
        ]);
    }
    if operation.parameters.iter().flatten().any(|p| matches!(p, RefOr::T(p) if p.name == "If-Match")) {
        errors.push(("412", "It was changed in the meantime."));
    }
    if path.starts_with("/api/config/") && operation.request_body.is_some() {
        errors.push(("428", "If-Match is required."));
    }
    if path.ends_with("/events") || path.ends_with("/logs") {
        errors.push(("429", "Too many streams are open."));
    }
    let probe = matches!(path, "/livez" | "/readyz");
    if !probe {
        errors.push(("401", "A key is asked for."));
        let none: [String; 0] = [];
        operation.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("bearer", none.clone()),
            SecurityRequirement::new("api_key", none),
        ]);
    }
    errors.extend([("500", "A fault in MAOS; the log has the details."), ("503", "The server is starting or stopping.")]);
    for (status, description) in errors {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content("application/problem+json", content).build();
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
    }
}

/// The document as it is served and checked in.
pub(crate) fn openapi_value() -> &'static Value {
    static DOC: OnceLock<Value> = OnceLock::new();
    DOC.get_or_init(|| serde_json::to_value(openapi()).expect("the document is plain data"))
}

/// `GET /api/openapi.json`
#[utoipa::path(get, path = "/api/openapi.json", operation_id = "get_openapi_json", tag = "system", summary = "This document",
    responses((status = 200, description = "OpenAPI 3.1.", body = Value)))]
pub(crate) async fn openapi_json(_: Params<NoQuery>) -> Json<&'static Value> {
    Json(openapi_value())
}

/// `GET /api/openapi.yaml`
#[utoipa::path(get, path = "/api/openapi.yaml", operation_id = "get_openapi_yaml", tag = "system", summary = "This document as YAML",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/yaml", body = Value)))]
pub(crate) async fn openapi_yaml(_: Params<NoQuery>) -> Answer<Response> {
    let text = serde_saphyr::to_string(openapi_value()).map_err(|e| Fault::new(ProblemCode::Internal, format!("YAML: {e}")))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// `GET /api/problems`
#[utoipa::path(get, path = "/api/problems", operation_id = "list_problems", tag = "system", summary = "Every problem this API can answer with",
    responses((status = 200, description = "The catalogue.", body = List<ProblemInfo>)))]
pub(crate) async fn problems(_: Params<NoQuery>) -> Json<List<ProblemInfo>> {
    Json(List::whole(ProblemCode::ALL.iter().map(|c| ProblemInfo::from(*c)).collect()))
}

/// `GET /api/problems/{slug}`
#[utoipa::path(get, path = "/api/problems/{slug}", operation_id = "get_problem", tag = "system", summary = "One problem of the catalogue",
    params(("slug" = String, Path, description = "Such as `task-not-found`.")), responses((status = 200, description = "The problem.", body = ProblemInfo)))]
pub(crate) async fn problem(Id(slug): Id, _: Params<NoQuery>) -> Answer<Json<ProblemInfo>> {
    let code = ProblemCode::from_wire(&slug)
        .ok_or_else(|| Fault::new(ProblemCode::NotFound, "There is no such problem; GET /api/problems lists them."))?;
    Ok(Json(ProblemInfo::from(code)))
}
