//! `Idempotency-Key` on every POST: the first success is kept for 24 h and given again to whoever sends the same request.
//!
//! Failures are not kept, so a mended request may use the same key. What must hold across a crash of the server (a submit) is held by
//! the store, which keeps the key together with the task; this layer keeps whole answers, in memory, up to a limit.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maos_api::limits::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX};
use maos_api::{FieldError, Problem, ProblemCode};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::backend::IdempotencyKey;
use crate::guard::Principal;
use crate::input::read_body;
use crate::reply::Fault;

/// How long an answer is kept, in seconds.
const KEPT_SECONDS: u64 = 24 * 3600;
/// Most bytes of kept answers together.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most answers kept.
const KEPT_ENTRIES_MAX: usize = 20_000;

/// An answer as it was given.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    status: StatusCode,
    headers: HeaderMap,
    body: bytes::Bytes,
}

/// What is known of a key.
#[derive(Debug, Clone)]
pub(crate) enum Begun {
    /// Nothing: go on; the key is taken until `finish` or `abort`.
    Fresh,
    /// The same request is being worked on.
    InProgress,
    /// The same request was answered.
    Answered(Stored),
    /// The key was used for another request.
    Reused,
}

#[derive(Debug)]
struct Entry {
    hash: [u8; 32],
    answer: Option<Stored>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    /// Answered keys, oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

/// Keys in memory, oldest dropped first.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<Kept>);

impl Keys {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A panic while holding the lock leaves the map usable: every change is one insert or remove.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a key for a request (`scope` names key, principal and path; `hash` the body), or says what is known of it.
    pub(crate) fn begin(&self, scope: &str, hash: [u8; 32]) -> Begun {
        let mut kept = self.lock();
        kept.drop_old();
        match kept.entries.get(scope) {
            None => {
                kept.entries.insert(scope.to_owned(), Entry { hash, answer: None, at: Instant::now() });
                Begun::Fresh
            }
            Some(e) if e.hash != hash => Begun::Reused,
            Some(Entry { answer: Some(stored), .. }) => Begun::Answered(stored.clone()),
            Some(_) => Begun::InProgress,
        }
    }

    /// Keeps the answer.
    pub(crate) fn finish(&self, scope: &str, answer: Stored) {
        let mut kept = self.lock();
        let bytes = answer.body.len();
        if let Some(entry) = kept.entries.get_mut(scope) {
            entry.answer = Some(answer);
            entry.at = Instant::now();
            kept.order.push_back(scope.to_owned());
            kept.bytes += bytes;
        }
    }

    /// Gives the key free.
    pub(crate) fn abort(&self, scope: &str) {
        self.lock().entries.remove(scope);
    }
}

impl Kept {
    fn drop_old(&mut self) {
        let too_old = |e: &Entry| e.at.elapsed() > Duration::from_secs(KEPT_SECONDS);
        while let Some(oldest) = self.order.front() {
            let full = self.bytes > KEPT_BYTES_MAX || self.order.len() > KEPT_ENTRIES_MAX;
            if !full && !self.entries.get(oldest).is_some_and(too_old) {
                return;
            }
            if let Some(scope) = self.order.pop_front()
                && let Some(answer) = self.entries.remove(&scope).and_then(|e| e.answer)
            {
                self.bytes -= answer.body.len();
            }
        }
    }
}

/// Gives the key free when the request ends without an answer to keep, also when the client went away.
struct Claim {
    keys: Arc<Keys>,
    scope: Option<String>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(scope) = self.scope.take() {
            self.keys.abort(&scope);
        }
    }
}

/// The layer.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // An upload may be larger than what is kept here, and repeating it is harmless by itself: the same content is the same file.
    if request.method() != Method::POST || request.uri().path() == "/api/files" {
        return next.run(request).await;
    }
    match keyed(app, request, next).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    }
}

async fn keyed(app: Arc<App>, request: Request, next: Next) -> Result<Response, Fault> {
    let Some(key) = request.headers().get("idempotency-key") else {
        return Ok(next.run(request).await);
    };
    let key = key.to_str().ok().filter(|k| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&k.len())).ok_or_else(|| {
        let detail = format!("must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters");
        Problem::validation(vec![FieldError::parameter("Idempotency-Key", "invalid", detail)])
    })?;
    let principal = request.extensions().get::<Principal>().map_or_else(String::new, |p| p.0.clone());
    let path = format!("{principal} {}", request.uri().path_and_query().map_or("/", |p| p.as_str()));
    let (scope, key) = (format!("{path} {key}"), key.to_owned());
    let (parts, body) = request.into_parts();
    let mut bare = Request::new(body);
    *bare.headers_mut() = parts.headers.clone();
    let bytes = read_body(bare).await?;
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    match app.keys.begin(&scope, hash) {
        Begun::Fresh => {}
        Begun::InProgress => {
            return Err(Fault::new(ProblemCode::IdempotencyInProgress, "A request with this Idempotency-Key is being worked on."));
        }
        Begun::Reused => {
            return Err(Fault::new(ProblemCode::IdempotencyKeyReused, "This Idempotency-Key was used for a different request."));
        }
        Begun::Answered(stored) => return Ok(replay(stored)),
    }
    let mut claim = Claim { keys: app.keys.clone(), scope: Some(scope) };
    let mut request = Request::from_parts(parts, Body::from(bytes));
    request.extensions_mut().insert(IdempotencyKey { key, path, body_hash: hash });
    let response = next.run(request).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 2 * BODY_BYTES_MAX)
        .await
        .map_err(|e| Fault::new(ProblemCode::Internal, format!("answer not kept: {e}")))?;
    let stored = Stored { status: parts.status, headers: parts.headers.clone(), body: body.clone() };
    if let Some(scope) = claim.scope.take() {
        claim.keys.finish(&scope, stored);
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn replay(stored: Stored) -> Response {
    let mut response = Response::new(Body::from(stored.body));
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.headers;
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(bytes: usize) -> Stored {
        Stored { status: StatusCode::CREATED, headers: HeaderMap::new(), body: vec![0; bytes].into() }
    }

    #[test]
    fn keys_are_taken_kept_and_given_free() {
        let keys = Keys::default();
        assert!(matches!(keys.begin("k", [1; 32]), Begun::Fresh));
        assert!(matches!(keys.begin("k", [1; 32]), Begun::InProgress));
        assert!(matches!(keys.begin("k", [2; 32]), Begun::Reused));
        keys.abort("k");
        assert!(matches!(keys.begin("k", [2; 32]), Begun::Fresh));
        keys.finish("k", stored(3));
        assert!(matches!(keys.begin("k", [2; 32]), Begun::Answered(s) if s.body.len() == 3));
    }

    #[test]
    fn memory_is_bounded() {
        let keys = Keys::default();
        for i in 0..40 {
            assert!(matches!(keys.begin(&format!("k{i}"), [0; 32]), Begun::Fresh));
            keys.finish(&format!("k{i}"), stored(1024 * 1024));
        }
        assert!(matches!(keys.begin("k0", [0; 32]), Begun::Fresh), "the oldest was dropped");
        assert!(matches!(keys.begin("k39", [0; 32]), Begun::Answered(_)));
        assert!(keys.lock().bytes <= KEPT_BYTES_MAX);
    }
}
