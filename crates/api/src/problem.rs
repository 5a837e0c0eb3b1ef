//! Errors on the wire: RFC 9457 problem documents from one closed catalogue.
//!
//! The catalogue drives everything: HTTP status, title, the command line's exit code and its `fix:` line. A problem never
//! holds internals or secrets.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::words;

/// What the catalogue says of one problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// HTTP status.
    pub status: u16,
    /// A few words.
    pub title: &'static str,
    /// Exit code of the command line.
    pub exit_code: u8,
    /// What to do: a sentence with a command.
    pub hint: &'static str,
    /// The same request may succeed later.
    pub retryable: bool,
}

/// Makes the enum and its catalogue from one table, so that no code is without its entry.
macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident = $slug:literal: $status:literal exit $exit:literal retry $retry:literal, $title:literal, $hint:literal;)+) => {
        words! {
            /// The short name of a problem. The catalogue is served at `/api/problems`.
            ProblemCode { $($(#[$doc])* $variant = $slug,)+ }
        }
        impl ProblemCode {
            /// The catalogue.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry { status: $status, title: $title, exit_code: $exit, hint: $hint, retryable: $retry },)+
                }
            }
        }
    };
}

catalogue! {
    /// A field or parameter has a value that is not allowed.
    ValidationFailed = "validation-failed": 422 exit 2 retry false, "Validation failed",
        "Each entry of `errors` names a field. The fields are described at /api/openapi.json; see `maos task submit --help`.";
    /// The body is not JSON.
    MalformedJson = "malformed-json": 400 exit 2 retry false, "Malformed JSON",
        "Send one JSON object, UTF-8, at most 64 levels deep.";
    /// A query parameter that does not exist.
    UnknownParameter = "unknown-parameter": 400 exit 2 retry false, "Unknown parameter",
        "Check the spelling; the parameters are listed at /api/openapi.json.";
    /// No key, or a wrong one.
    Unauthorized = "unauthorized": 401 exit 4 retry false, "Not signed in",
        "Set the key: `export MAOS_API_KEY=…` (it is sent as `Authorization: Bearer …`).";
    /// The key does not allow this.
    Forbidden = "forbidden": 403 exit 4 retry false, "Not allowed",
        "Ask for a key with the right scope, or change it on the server: `maos config set --help`.";
    /// The Host or Origin of the request is not ours.
    OriginNotAllowed = "origin-not-allowed": 403 exit 4 retry false, "Origin not allowed",
        "Use http://localhost, or add the name on the server: `maos config set api.allowed_hosts NAME`.";
    /// No such address.
    NotFound = "not-found": 404 exit 3 retry false, "No such address",
        "The addresses are listed at /api/openapi.json.";
    /// No such task.
    TaskNotFound = "task-not-found": 404 exit 3 retry false, "Task not found",
        "List tasks with `maos task list`.";
    /// No such agent.
    AgentNotFound = "agent-not-found": 404 exit 3 retry false, "Agent not found",
        "List agents with `maos agent list`.";
    /// No such question in this task.
    QuestionNotFound = "question-not-found": 404 exit 3 retry false, "Question not found",
        "List what is asked with `maos task input TASK`.";
    /// The task has no such file.
    ArtifactNotFound = "artifact-not-found": 404 exit 3 retry false, "Artifact not found",
        "List the files of the task with `maos task results TASK -o json`.";
    /// No such configuration key.
    ConfigKeyNotFound = "config-key-not-found": 404 exit 3 retry false, "Configuration key not found",
        "List all keys with `maos config show`.";
    /// The address exists, the method does not.
    MethodNotAllowed = "method-not-allowed": 405 exit 2 retry false, "Method not allowed",
        "The `Allow` header lists the methods.";
    /// The state it is in does not allow this.
    InvalidState = "invalid-state": 409 exit 5 retry false, "Wrong state",
        "Look at its state with `maos task show TASK`.";
    /// The task is put aside: its worker failed again and again.
    TaskQuarantined = "task-quarantined": 409 exit 5 retry false, "Task put aside",
        "See why with `maos health`; `maos restart` takes it up again.";
    /// The question was answered before.
    QuestionAnswered = "question-answered": 409 exit 5 retry false, "Already answered",
        "See what is still asked with `maos task input TASK`.";
    /// The same Idempotency-Key is being worked on.
    IdempotencyInProgress = "idempotency-in-progress": 409 exit 5 retry true, "Request in progress",
        "Wait, then send the same request again.";
    /// Someone changed it since it was read.
    PreconditionFailed = "precondition-failed": 412 exit 5 retry false, "Changed in the meantime",
        "Read it again and repeat with the new ETag in If-Match.";
    /// The body is too large.
    PayloadTooLarge = "payload-too-large": 413 exit 2 retry false, "Payload too large",
        "Send at most 1 MiB; put long material into files.";
    /// An uploaded file is too large.
    FileTooLarge = "file-too-large": 413 exit 2 retry false, "File too large",
        "Upload at most 256 MiB in one file; split it, or leave out what is not needed.";
    /// The body is not declared as JSON.
    UnsupportedMediaType = "unsupported-media-type": 415 exit 2 retry false, "Unsupported media type",
        "Send `Content-Type: application/json`.";
    /// A task to wait for does not exist.
    DependencyNotFound = "dependency-not-found": 422 exit 3 retry false, "Dependency not found",
        "List tasks with `maos task list`.";
    /// A task to wait for has failed.
    DependencyFailed = "dependency-failed": 422 exit 5 retry false, "Dependency failed",
        "Run it again with `maos task retry TASK`, or leave it out.";
    /// Tasks would wait for each other.
    DependencyCycle = "dependency-cycle": 422 exit 2 retry false, "Dependency cycle",
        "Remove one of the named dependencies.";
    /// The same Idempotency-Key came with another request.
    IdempotencyKeyReused = "idempotency-key-reused": 422 exit 5 retry false, "Idempotency key reused",
        "Use a new Idempotency-Key for a new request.";
    /// The configured model no longer answers.
    ModelRetired = "model-retired": 422 exit 10 retry false, "Model retired",
        "Choose another model: `maos config set claude.model MODEL`.";
    /// There is no provider of models.
    ProviderNotConfigured = "provider-not-configured": 422 exit 10 retry false, "No model provider",
        "Set a key (`maos config set claude.api_key`), an endpoint (`maos config set openai.base_url URL`), or fetch a local model (`maos model pull`).";
    /// The budget is spent.
    BudgetExceeded = "budget-exceeded": 422 exit 10 retry false, "Budget exceeded",
        "Raise it: `maos config set budget.daily AMOUNT`, or `maos task update TASK --max-cost AMOUNT`.";
    /// If-Match is required here.
    PreconditionRequired = "precondition-required": 428 exit 5 retry false, "If-Match required",
        "Read it first and send its ETag in If-Match.";
    /// Too many requests.
    RateLimited = "rate-limited": 429 exit 1 retry true, "Too many requests",
        "Wait as long as `Retry-After` says.";
    /// What is stored of a task is damaged; the other tasks are not concerned.
    JournalDamaged = "journal-damaged": 500 exit 1 retry false, "Journal damaged",
        "Restore the database from a backup; `maos health` names the tasks that are put aside.";
    /// A fault in MAOS.
    Internal = "internal": 500 exit 1 retry true, "Internal error",
        "Look for the request id in the log: `maos logs --level ERROR`.";
    /// The provider of models does not answer.
    ProviderUnavailable = "provider-unavailable": 502 exit 1 retry true, "Provider unavailable",
        "Check it with `maos health`.";
    /// The server is starting or cannot reach its database.
    NotReady = "not-ready": 503 exit 1 retry true, "Not ready",
        "Try again shortly; `maos health` says what is missing.";
    /// The server is stopping.
    ShuttingDown = "shutting-down": 503 exit 1 retry true, "Shutting down",
        "Start it again: `maos start`. Running tasks resume.";
    /// The provider of models took too long.
    ProviderTimeout = "provider-timeout": 504 exit 1 retry true, "Provider timeout",
        "Check it with `maos health`.";
    /// The disk is full.
    StorageFull = "storage-full": 507 exit 1 retry true, "Storage full",
        "Free some space; work resumes by itself. `maos health` shows how much is left.";
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:maos:problem:<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// A few words, the same for every problem of this code.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// Path of the request.
    pub instance: Option<String>,
    /// Short name.
    pub code: ProblemCode,
    /// Id of the request; it is in every log line of it.
    pub request_id: Option<String>,
    /// Each field that is wrong.
    pub errors: Vec<FieldError>,
    /// What to do about it.
    pub hint: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// Where the catalogue describes it.
    pub docs: String,
}

/// One wrong field or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body; null for a parameter.
    pub pointer: Option<String>,
    /// Name of a query parameter or header; null for a field.
    pub parameter: Option<String>,
    /// What kind of fault: `required`, `unknown`, `invalid`, `too-long`, `out-of-range`, `not-found`, …
    pub code: String,
    /// One sentence.
    pub detail: String,
}

impl FieldError {
    /// A fault in the body.
    pub fn field(pointer: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, code: code.into(), detail: detail.into() }
    }
    /// A fault in a query parameter or header.
    pub fn parameter(name: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), code: code.into(), detail: detail.into() }
    }
}

impl Problem {
    /// A problem from the catalogue, with what happened this time.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let e = code.entry();
        Self {
            type_uri: format!("urn:maos:problem:{code}"),
            title: e.title.into(),
            status: e.status,
            detail: detail.into(),
            instance: None,
            code,
            request_id: None,
            errors: Vec::new(),
            hint: e.hint.into(),
            retryable: e.retryable,
            docs: format!("/api/problems/{code}"),
        }
    }

    /// `validation-failed` with the wrong fields; the detail names the first.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = errors.first().map_or_else(String::new, |e| match e.pointer.as_deref().or(e.parameter.as_deref()) {
            Some(place) if !place.is_empty() => format!("{}: {}", place.trim_start_matches('/').replace('/', "."), e.detail),
            _ => e.detail.clone(),
        });
        Self { errors, ..Self::new(ProblemCode::ValidationFailed, detail) }
    }

    /// With one more wrong field.
    #[must_use]
    pub fn with_error(mut self, error: FieldError) -> Self {
        self.errors.push(error);
        self
    }

    /// With a better hint than the catalogue's.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Exit code of the command line.
    pub const fn exit_code(&self) -> u8 {
        self.code.entry().exit_code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

/// One entry of the catalogue, as served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemInfo {
    /// Always `problem`.
    pub object: String,
    /// `urn:maos:problem:<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Short name.
    pub code: ProblemCode,
    /// HTTP status.
    pub status: u16,
    /// A few words.
    pub title: String,
    /// What to do about it.
    pub hint: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// Exit code of the command line.
    pub exit_code: u8,
}

impl From<ProblemCode> for ProblemInfo {
    fn from(code: ProblemCode) -> Self {
        let e = code.entry();
        Self {
            object: "problem".into(),
            type_uri: format!("urn:maos:problem:{code}"),
            code,
            status: e.status,
            title: e.title.into(),
            hint: e.hint.into(),
            retryable: e.retryable,
            exit_code: e.exit_code,
        }
    }
}
