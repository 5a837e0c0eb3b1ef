//! Files over HTTP: uploads come in as a stream of bounded length, artifacts go out as files to be kept, never as pages to be shown.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use maos_api::files::{Artifact, Upload, bad_name};
use maos_api::limits::FILE_BYTES_MAX;
use maos_api::query::NoQuery;
use maos_api::{List, Problem, ProblemCode};

use crate::app::App;
use crate::backend::ByteStream;
use crate::input::{Id, Params};
use crate::reply::{Answer, Fault};

/// Types that are sent as what they are. Everything else, above all what a browser could run, is sent as bytes.
const SAFE_TYPES: [&str; 8] =
    ["application/json", "application/pdf", "image/gif", "image/jpeg", "image/png", "image/webp", "text/csv", "text/plain"];

/// `POST /api/files`
#[utoipa::path(post, path = "/api/files", operation_id = "upload_file", tag = "tasks", summary = "Upload a file to be attached to tasks",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The content, at most 256 MiB."),
    responses((status = 201, description = "The file is kept. The same content has the same id.", body = Upload)))]
pub(crate) async fn upload(State(app): State<Arc<App>>, _: Params<NoQuery>, headers: HeaderMap, body: Body) -> Answer<Response> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !text(header::CONTENT_TYPE).trim().eq_ignore_ascii_case("application/octet-stream") {
        let problem = Problem::new(ProblemCode::UnsupportedMediaType, "A file must be declared as application/octet-stream.");
        return Err(problem.with_hint("Send `Content-Type: application/octet-stream`.").into());
    }
    if text(header::CONTENT_LENGTH).parse::<u64>().is_ok_and(|n| n > FILE_BYTES_MAX) {
        return Err(too_large());
    }
    let passed = Arc::new(AtomicBool::new(false));
    match app.backend.upload(limited(body, passed.clone())).await {
        _ if passed.load(Ordering::Relaxed) => Err(too_large()),
        Ok(upload) => Ok((StatusCode::CREATED, Json(upload)).into_response()),
        Err(problem) => Err(problem.into()),
    }
}

fn too_large() -> Fault {
    Fault::new(ProblemCode::FileTooLarge, format!("The file is larger than {} MiB.", FILE_BYTES_MAX / (1024 * 1024)))
}

/// The body, ended by an error where it passes [`FILE_BYTES_MAX`]; `passed` tells that error from others.
fn limited(body: Body, passed: Arc<AtomicBool>) -> ByteStream {
    let mut left = FILE_BYTES_MAX;
    body.into_data_stream()
        .map(move |chunk| {
            let chunk = chunk.map_err(std::io::Error::other)?;
            match left.checked_sub(chunk.len() as u64) {
                Some(rest) => left = rest,
                None => {
                    passed.store(true, Ordering::Relaxed);
                    return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "the file is too large"));
                }
            }
            Ok(chunk)
        })
        .boxed()
}

/// `GET /api/tasks/{id}/artifacts`
#[utoipa::path(get, path = "/api/tasks/{id}/artifacts", operation_id = "list_artifacts", tag = "tasks", summary = "The files a task made",
    params(("id" = String, Path, description = "The task.")), responses((status = 200, description = "The files, by name.", body = List<Artifact>)))]
pub(crate) async fn artifacts(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>) -> Answer<Json<List<Artifact>>> {
    Ok(Json(List::whole(app.backend.artifacts(&id).await?)))
}

/// `GET /api/tasks/{id}/artifacts/{name}`
#[utoipa::path(get, path = "/api/tasks/{id}/artifacts/{*name}", operation_id = "get_artifact", tag = "tasks", summary = "One file a task made",
    params(("id" = String, Path, description = "The task."), ("name" = String, Path, description = "Its name, with `/` between folders.")),
    responses((status = 200, description = "The content, as a file to be kept. Types a browser could run are sent as bytes.", content_type = "application/octet-stream", body = Vec<u8>)))]
pub(crate) async fn artifact(
    State(app): State<Arc<App>>,
    Path((id, name)): Path<(String, String)>,
    _: Params<NoQuery>,
) -> Answer<Response> {
    if bad_name(&name).is_some() {
        return Err(Fault::new(ProblemCode::ArtifactNotFound, "The name is not that of a file in a workspace."));
    }
    let content = app.backend.artifact(&id, &name).await?;
    let mut response = Body::from_stream(content.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sent_as(&content.artifact.media_type)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.artifact.bytes));
    headers.insert(header::CONTENT_DISPOSITION, disposition(&name));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}

/// What a type is sent as.
fn sent_as(media_type: &str) -> &'static str {
    let bare = media_type.split(';').next().unwrap_or("").trim();
    match SAFE_TYPES.iter().find(|t| **t == bare) {
        Some(&"text/csv") => "text/csv; charset=utf-8",
        Some(&"text/plain") => "text/plain; charset=utf-8",
        Some(safe) => safe,
        None if matches!(bare, "text/markdown" | "text/x-python" | "text/x-rust" | "application/yaml" | "application/toml") => {
            "text/plain; charset=utf-8"
        }
        None => "application/octet-stream",
    }
}

/// `attachment` with the last part of the name, percent-encoded (RFC 6266).
fn disposition(name: &str) -> HeaderValue {
    let last = name.rsplit('/').next().unwrap_or("file");
    let encoded: String = last
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{encoded}")).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_browser_could_run_keeps_its_type() {
        for runs in ["text/html", "image/svg+xml", "application/javascript", "text/xml", "application/xhtml+xml", "nonsense", ""] {
            assert_eq!(sent_as(runs), "application/octet-stream", "{runs}");
        }
        assert_eq!(
            [sent_as("image/png"), sent_as("text/csv"), sent_as("text/markdown")],
            ["image/png", "text/csv; charset=utf-8", "text/plain; charset=utf-8"]
        );
        assert_eq!(disposition("a/b \"c\".csv"), "attachment; filename*=UTF-8''b%20%22c%22.csv");
    }
}
