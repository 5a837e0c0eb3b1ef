//! From problems to HTTP answers: every error leaves as `application/problem+json`.
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maos_api::{Problem, ProblemCode};

/// An error answer. The guard adds request id and path.
#[derive(Debug)]
pub(crate) struct Fault(pub Box<Problem>);

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, Fault>;

impl Fault {
    /// A problem from the catalogue.
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }
}

impl From<Box<Problem>> for Fault {
    fn from(p: Box<Problem>) -> Self {
        Self(p)
    }
}

impl From<Problem> for Fault {
    fn from(p: Problem) -> Self {
        Self(Box::new(p))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some(seconds) = retry_after(self.0.code) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code == ProblemCode::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"maos\""));
        }
        // The body is written by the guard, which knows the request.
        response.extensions_mut().insert(Pending(self.0));
        response
    }
}

/// How long a client should wait, in seconds.
fn retry_after(code: ProblemCode) -> Option<u64> {
    match code {
        ProblemCode::IdempotencyInProgress | ProblemCode::NotReady | ProblemCode::RateLimited => Some(1),
        ProblemCode::ShuttingDown | ProblemCode::StorageFull | ProblemCode::ProviderUnavailable | ProblemCode::ProviderTimeout => Some(5),
        _ => None,
    }
}

/// An answer that is not a problem although its status says error: the page of a missing dashboard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsIs;

/// A problem on its way out.
#[derive(Debug, Clone)]
struct Pending(Box<Problem>);

/// Writes the problem document of an error answer, whoever made the answer.
pub(crate) fn finish(response: Response, method: &str, path: &str, request_id: &str) -> Response {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || response.extensions().get::<AsIs>().is_some() {
        return response;
    }
    let (mut parts, _body) = response.into_parts();
    let mut problem = match parts.extensions.remove::<Pending>() {
        Some(Pending(p)) => *p,
        None => from_status(status, method, path),
    };
    if problem.code == ProblemCode::Internal {
        tracing::error!(request_id, path, detail = problem.detail, "internal error");
        problem.detail = "MAOS met a fault of its own; the log has the details.".into();
        problem.hint = format!("{} Request id: {request_id}.", problem.hint);
    }
    problem.instance = Some(path.to_owned());
    problem.request_id = Some(request_id.to_owned());
    parts.headers.remove(header::CONTENT_LENGTH);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut out = (status, Json(&problem)).into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE {
            out.headers_mut().append(name, value.clone());
        }
    }
    out.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    out
}

/// For answers that axum itself made.
fn from_status(status: StatusCode, method: &str, path: &str) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(ProblemCode::NotFound, format!("There is nothing at {path}.")),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(ProblemCode::MethodNotAllowed, format!("{path} does not take {method}.")),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(ProblemCode::PayloadTooLarge, "The body is larger than 1 MiB."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(ProblemCode::UnsupportedMediaType, "The body is not declared as application/json.")
        }
        s if s.is_client_error() => Problem::new(ProblemCode::MalformedJson, "The request cannot be read."),
        s => Problem::new(ProblemCode::Internal, format!("unexpected answer {s}")),
    }
}
