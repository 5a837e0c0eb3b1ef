//! Tasks over HTTP: submit, list, read, change, act.
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use maos_api::limits::{PAGE_ITEMS_DEFAULT, WAIT_SECONDS_MAX};
use maos_api::query::{NoQuery, TaskQuery, WaitQuery};
use maos_api::{List, Priority, Problem, Task, TaskPatch, TaskStatus, TaskSubmit, TaskType, Time};
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::backend::{Action, IdempotencyKey};
use crate::cursor;
use crate::etag;
use crate::input::{Id, JsonBody, NoBody, Params};
use crate::reply::Answer;
use crate::validate;

/// `POST /api/tasks`
#[utoipa::path(post, path = "/api/tasks", operation_id = "submit_task", tag = "tasks", summary = "Submit a task",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless for 24 h.", min_length = 1, max_length = 255)),
    request_body = TaskSubmit,
    responses((status = 201, description = "The task. It survives any crash from now on.", body = Task, headers(("Location" = String, description = "The task's address."), ("ETag" = String, description = "Its version.")))))]
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    _: Params<NoQuery>,
    key: Option<Extension<IdempotencyKey>>,
    JsonBody(body): JsonBody<TaskSubmit>,
) -> Answer<Response> {
    let faults = validate::submit(&body);
    if !faults.is_empty() {
        return Err(Problem::validation(faults).into());
    }
    let submitted = app.backend.submit(body, key.map(|Extension(k)| k)).await?;
    let task = app.linked(submitted.task);
    let location = HeaderValue::from_str(&task.links.self_).unwrap_or(HeaderValue::from_static("/api/tasks"));
    let mut response = shown(StatusCode::CREATED, &task);
    response.headers_mut().insert(header::LOCATION, location);
    if submitted.replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A task with its ETag.
fn shown(status: StatusCode, task: &Task) -> Response {
    let mut response = (status, Json(task)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", tag(task))) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Changes whenever anything shown changes: the revision, then a digest of the whole representation.
fn tag(task: &Task) -> String {
    use sha2::{Digest, Sha256};
    let text = serde_json::to_vec(task).expect("a task has string keys and finite numbers");
    let digest: String = Sha256::digest(&text)[..6].iter().map(|b| format!("{b:02x}")).collect();
    format!("r{}.{digest}", task.revision)
}

/// `GET /api/tasks`
#[utoipa::path(get, path = "/api/tasks", operation_id = "list_tasks", tag = "tasks", summary = "List tasks",
    params(
        ("status" = Option<Vec<TaskStatus>>, Query, style = Form, explode = false, description = "Any of these, comma-separated."),
        ("type" = Option<Vec<TaskType>>, Query, style = Form, explode = false, description = "Any of these, comma-separated."),
        ("priority" = Option<Vec<Priority>>, Query, style = Form, explode = false, description = "Any of these, comma-separated."),
        ("created_after" = Option<Time>, Query, description = "Submitted at or after."),
        ("created_before" = Option<Time>, Query, description = "Submitted before."),
        ("q" = Option<String>, Query, description = "Text in id or description, any case.", min_length = 1, max_length = 4096),
        ("sort" = Option<String>, Query, description = "`-created_at` (default), `created_at`, `-priority` or `priority`.", pattern = "^-?(created_at|priority)$"),
        ("limit" = Option<u32>, Query, description = "Rows on the page; default 50.", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("include" = Option<String>, Query, description = "`total`: also count all matching rows.", pattern = "^total$"),
    ),
    responses((status = 200, description = "A page. `label.KEY=VALUE` parameters select by label. `MAOS-Event-Seq` is the event sequence the page is at least as new as.", body = List<Task>,
        headers(("MAOS-Event-Seq" = u64, description = "Follow `/api/events?after=` from here."), ("Link" = Option<String>, description = "The next page.")))))]
pub(crate) async fn list(State(app): State<Arc<App>>, Params(query): Params<TaskQuery>) -> Answer<Response> {
    let after = query.cursor.as_deref().map(cursor::read).transpose()?;
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let seq = app.backend.last_seq().await?;
    let listed = app.backend.list(&query, after, limit).await?;
    let next = listed.next.as_ref().map(cursor::write);
    let page = List {
        object: "list".to_owned(),
        data: listed.tasks.into_iter().map(|t| app.linked(t)).collect(),
        has_more: next.is_some(),
        next_cursor: next.clone(),
        prev_cursor: None,
        total: listed.total,
    };
    let mut response = Json(page).into_response();
    response.headers_mut().insert("maos-event-seq", HeaderValue::from(seq));
    if let Some(link) = next.and_then(|next| cursor::link(&query, next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /api/tasks/{id}`
#[utoipa::path(get, path = "/api/tasks/{id}", operation_id = "get_task", tag = "tasks", summary = "Read a task",
    params(
        ("id" = String, Path, description = "The task."),
        ("wait" = Option<String>, Query, description = "Answer when the task has ended, or after this long (`30s`, at most 60 s).", pattern = "^([0-9]{1,9}|([0-9]{1,9}(ms|s|m|h|d|w))+)$"),
        ("Prefer" = Option<String>, Header, description = "`wait=30`: as `wait`, in seconds (RFC 7240)."),
    ),
    responses((status = 200, description = "The task.", body = Task, headers(("ETag" = String, description = "Its version."))), (status = 304, description = "Not changed since the version in If-None-Match.")))]
pub(crate) async fn get(State(app): State<Arc<App>>, Id(id): Id, Params(query): Params<WaitQuery>, headers: HeaderMap) -> Answer<Response> {
    let wait = Wait::asked(&query, &headers);
    let task = app.linked(wait.task(&app, &id).await?);
    if etag::none_match(&headers, &tag(&task)) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        if let Some(tag) = shown(StatusCode::OK, &task).headers_mut().remove(header::ETAG) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        return Ok(response);
    }
    Ok(wait.applied(shown(StatusCode::OK, &task)))
}

/// `PATCH /api/tasks/{id}`
#[utoipa::path(patch, path = "/api/tasks/{id}", operation_id = "update_task", tag = "tasks", summary = "Change a task",
    params(("id" = String, Path, description = "The task."), ("If-Match" = Option<String>, Header, description = "Only if the task still has this ETag.")),
    request_body = TaskPatch,
    responses((status = 200, description = "The task as it is now.", body = Task, headers(("ETag" = String, description = "Its version.")))))]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Id(id): Id,
    _: Params<NoQuery>,
    headers: HeaderMap,
    JsonBody(patch): JsonBody<TaskPatch>,
) -> Answer<Response> {
    let faults = validate::patch(&patch);
    if !faults.is_empty() {
        return Err(Problem::validation(faults).into());
    }
    let revision = etag::task_revision(&headers)?;
    let task = app.linked(app.backend.update(&id, patch, revision).await?);
    Ok(shown(StatusCode::OK, &task))
}

/// 202 when it was asked for, 200 when it was so already.
async fn act(app: &App, id: &str, action: Action) -> Answer<Response> {
    let acted = app.backend.act(id, action).await?;
    let status = if acted.already { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(shown(status, &app.linked(acted.task)))
}

macro_rules! action {
    ($name:ident, $path:literal, $operation:literal, $summary:literal, $action:expr) => {
        #[doc = concat!("`POST ", $path, "`")]
        #[utoipa::path(post, path = $path, operation_id = $operation, tag = "tasks", summary = $summary,
            params(("id" = String, Path, description = "The task."), ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless for 24 h.", min_length = 1, max_length = 255)),
            responses((status = 202, description = "Accepted; the task as it is now.", body = Task), (status = 200, description = "It was so already.", body = Task)))]
        pub(crate) async fn $name(State(app): State<Arc<App>>, Id(id): Id, _: Params<NoQuery>, _: NoBody) -> Answer<Response> {
            act(&app, &id, $action).await
        }
    };
}

action!(cancel, "/api/tasks/{id}/cancel", "cancel_task", "Stop a task for good", Action::Cancel);
action!(pause, "/api/tasks/{id}/pause", "pause_task", "Hold a task", Action::Pause);
action!(resume, "/api/tasks/{id}/resume", "resume_task", "Let a held task go on", Action::Resume);
action!(retry, "/api/tasks/{id}/retry", "retry_task", "Run again what did not complete", Action::Retry);

/// A long-poll: how long, and how it was asked for.
pub(crate) struct Wait {
    ms: u64,
    preferred_seconds: Option<u64>,
}

impl Wait {
    /// For this long.
    pub(crate) fn for_ms(ms: u64) -> Self {
        Self { ms, preferred_seconds: None }
    }

    /// `?wait=` wins over `Prefer: wait=`.
    pub(crate) fn asked(query: &WaitQuery, headers: &HeaderMap) -> Self {
        let prefer = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split([',', ';']));
        let mut seconds = prefer.filter_map(|p| p.trim().strip_prefix("wait=")?.trim_matches('"').parse::<u64>().ok());
        match (query.wait_ms, seconds.next()) {
            (Some(ms), _) => Self { ms, preferred_seconds: None },
            (None, Some(s)) => Self { ms: s.min(WAIT_SECONDS_MAX) * 1000, preferred_seconds: Some(s.min(WAIT_SECONDS_MAX)) },
            (None, None) => Self { ms: 0, preferred_seconds: None },
        }
    }

    /// The task when it has ended, or as it is when the time is up or the server stops.
    pub(crate) async fn task(&self, app: &App, id: &str) -> Answer<Task> {
        let mut heard = app.hub.subscribe();
        let mut task = app.backend.task(id).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.ms);
        while self.ms > 0 && !task.status.is_final() {
            let ended = async {
                loop {
                    match heard.recv().await {
                        Ok(f) if f.event.task_id.as_deref() == Some(id) && f.event.event_type.is_task_end() => {
                            return;
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = ended => task = app.backend.task(id).await?,
                () = tokio::time::sleep_until(deadline) => return Ok(app.backend.task(id).await?),
                () = app.stop.cancelled() => return Ok(task),
            }
        }
        Ok(task)
    }

    /// Says that the preference was kept.
    pub(crate) fn applied(&self, mut response: Response) -> Response {
        if let Some(s) = self.preferred_seconds
            && let Ok(value) = HeaderValue::from_str(&format!("wait={s}"))
        {
            response.headers_mut().insert("preference-applied", value);
        }
        response
    }
}
