//! The seam between MAOS and a language model.
//!
//! Invariant: an [`Answer`] is complete (its stop reason was received); parts are for display and prove nothing.
//! Must not know which provider stands behind it.
use async_trait::async_trait;
use maos_engine::message::{CallError, Reply, Request};
use secrecy::SecretString;

/// Live pieces for display only; never a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A piece of the answer's text.
    Text(String),
    /// A piece of the model's thinking.
    Thinking(String),
    /// The model begins to ask for a tool.
    ToolStart {
        /// Name of the tool as the model gave it.
        name: String,
    },
    /// What was shown so far is void (the attempt failed after it had begun to speak).
    Reset,
}

/// Where live pieces go. Called from inside the call: must not block.
pub trait PartSink: Send + Sync {
    /// Takes one piece.
    fn part(&self, part: Part);
    /// `false` spares the provider the making of pieces that nobody will look at.
    fn wanted(&self) -> bool {
        true
    }
}

/// Nobody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoParts;

impl PartSink for NoParts {
    fn part(&self, _part: Part) {}
    fn wanted(&self) -> bool {
        false
    }
}

/// A language model behind some provider.
#[async_trait]
pub trait Model: Send + Sync {
    /// One attempt: at most one request on the wire, no hidden retries. Dropping the future aborts the request.
    ///
    /// # Errors
    /// [`CallError`] by class; `possibly_billed` is set when the request may have reached the model.
    async fn call(&self, request: &Request, parts: &dyn PartSink) -> Result<Answer, CallError>;

    /// `claude`, `openai`, `local` or `scripted`.
    fn provider(&self) -> &'static str;

    /// What this is, for people; never holds a key.
    fn describe(&self) -> Description;

    /// Asks the provider something that costs nothing (its list of models).
    ///
    /// # Errors
    /// The same classes as a call; never `possibly_billed`.
    async fn check(&self) -> Result<Checked, CallError>;
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The final message.
    pub reply: Reply,
    /// What the provider said about its rate limits, if it did.
    pub limits: Option<Limits>,
}

/// Rate limits as read from the headers of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests per minute.
    pub requests: Option<Bucket>,
    /// Input tokens per minute.
    pub input_tokens: Option<Bucket>,
    /// Output tokens per minute.
    pub output_tokens: Option<Bucket>,
}

/// One rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// How many per minute.
    pub limit: u64,
    /// How many are left now.
    pub remaining: u64,
    /// Milliseconds until the bucket is full again, if given.
    pub reset_ms: Option<u64>,
}

/// What a provider is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `claude`, `openai`, `local` or `scripted`.
    pub provider: &'static str,
    /// Models worth naming in a hint; not a complete list.
    pub models: Vec<String>,
    /// Where requests go, without key, user or password.
    pub base_url: Option<String>,
    /// Where the key came from (`CLAUDE_API_KEY`); never the key.
    pub key_name: Option<String>,
    /// The proxy that requests go through by the environment, without user and password.
    pub proxy: Option<String>,
    /// A line that every output of this provider must carry (`scripted: …`), if any.
    pub note: Option<String>,
}

/// The result of [`Model::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// From sending the request to reading the whole answer.
    pub latency_ms: u64,
    /// HTTP status.
    pub status: u16,
    /// Ids of the models the provider listed (at most `MODELS_LISTED_MAX`).
    pub models: Vec<String>,
    /// The provider's id of the request, for support.
    pub request_id: Option<String>,
}

/// Where a provider lives, found when it is first needed (so that a managed child can be started then).
#[async_trait]
pub trait Endpoint: Send + Sync {
    /// The base URL (with or without `/v1`) and the key. Called before each request: must be fast once it is up.
    ///
    /// # Errors
    /// Usually [`maos_engine::message::FailureClass::Unreachable`], with what the person can do.
    async fn resolve(&self) -> Result<Resolved, CallError>;

    /// Where it lives, if that is already known; for display.
    fn known_url(&self) -> Option<String> {
        None
    }
}

/// The answer of an [`Endpoint`].
#[derive(Debug, Clone)]
pub struct Resolved {
    /// For example `http://127.0.0.1:8080`.
    pub base_url: String,
    /// Sent as bearer token, if any.
    pub key: Option<SecretString>,
}
