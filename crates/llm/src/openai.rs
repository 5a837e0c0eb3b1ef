//! Chat completions, streamed, as spoken by OpenAI, vLLM, Ollama, llama.cpp and LM Studio. Also the `local` provider.
//!
//! Invariant: a reply has a finish reason. Must not know who starts the server: an [`Endpoint`] says where it is.
mod constrain;
mod error;
mod request;
mod stream;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use maos_engine::message::{CallError, FailureClass, Request};
use reqwest::{
    Method, Url,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};

use self::{request::Dialect, stream::Assembler};
use crate::{
    claude::listed,
    headers,
    http::{Http, Incoming, Who, base_url, host_of, proxy_for, secret_header},
    model::{Answer, Checked, Description, Endpoint, Model, Part, PartSink},
    models::{ConfigError, OPENAI_MODEL_DEFAULT},
    options::{LocalOptions, OpenAiOptions, Provider},
    prices::PriceTable,
    sse::Sse,
};

/// Where OpenAI is.
const BASE_URL_DEFAULT: &str = "https://api.openai.com/v1";

/// A client of chat completions.
pub(crate) struct OpenAi {
    provider: Provider,
    http: Http,
    place: Place,
    table: Arc<PriceTable>,
    default_model: String,
    constrain: bool,
    note: Option<String>,
}

/// Where the server is.
enum Place {
    Fixed(Arc<Target>),
    /// Asked before each call; the last answer is kept in its prepared form.
    Asked {
        endpoint: Arc<dyn Endpoint>,
        last: Mutex<Option<Arc<Target>>>,
    },
}

/// A server, ready to be called.
struct Target {
    said_url: String,
    who: Who,
    base: Url,
    chat_url: Url,
    models_url: Url,
    headers: HeaderMap,
    /// Connections may be used again. llama.cpp closes its connection after each stream while its headers promise to keep it, so a
    /// second call would be lost, and count as perhaps paid. Not assumed until a first answer shows another server.
    keeps: AtomicBool,
    /// `max_completion_tokens`: OpenAI itself wants it, others know only `max_tokens`.
    completion_tokens: bool,
}

impl Target {
    fn new(provider: Provider, said_url: &str, key: Option<&SecretString>, key_name: &str) -> Result<Self, ConfigError> {
        let name = match provider {
            Provider::Local => "local.base_url",
            Provider::OpenAi | Provider::Claude | Provider::Scripted => "openai.base_url",
        };
        let mut base = base_url(said_url, name)?;
        // A bare host stands for its usual path; any other path is meant as it is.
        if base.path() == "/" {
            base.set_path("/v1/");
        }
        let join = |path: &str| base.join(path).map_err(|e| ConfigError::BadUrl { name, reason: e.to_string() });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let key = key.map(|k| k.expose_secret().trim()).filter(|k| !k.is_empty());
        if let Some(key) = key {
            headers.insert(AUTHORIZATION, secret_header(&format!("Bearer {key}"), key_name)?);
        }
        let host = base.host_str().unwrap_or_default();
        Ok(Self {
            said_url: said_url.to_owned(),
            keeps: AtomicBool::new(false),
            completion_tokens: host == "api.openai.com" || host.ends_with(".openai.azure.com"),
            who: Who {
                provider: provider.as_str(),
                host: host_of(&base),
                key: key.map(|k| k.to_owned().into()),
                key_name: key_name.into(),
            },
            chat_url: join("chat/completions")?,
            models_url: join("models")?,
            base,
            headers,
        })
    }

    /// The headers of the next request.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        if !self.keeps.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers
    }

    /// Learns from an answer whether its server keeps connections.
    fn learn(&self, answer: &Incoming) {
        let breaks = answer.header("server").is_some_and(|s| s.to_ascii_lowercase().contains("llama.cpp"));
        self.keeps.store(!breaks, Ordering::Relaxed);
    }

    fn is(&self, said_url: &str, key: Option<&SecretString>) -> bool {
        let key = key.map(|k| k.expose_secret().trim()).filter(|k| !k.is_empty());
        self.said_url == said_url && self.who.key.as_ref().map(ExposeSecret::expose_secret) == key
    }
}

impl OpenAi {
    /// A configured server.
    pub(crate) fn new(options: &OpenAiOptions, http: Http, table: Arc<PriceTable>) -> Result<Self, ConfigError> {
        let url = options.base_url.as_deref().unwrap_or(BASE_URL_DEFAULT);
        let target = Target::new(Provider::OpenAi, url, options.api_key.as_ref(), &options.key_name)?;
        Ok(Self {
            provider: Provider::OpenAi,
            http,
            place: Place::Fixed(Arc::new(target)),
            table,
            default_model: options.model.clone().unwrap_or_else(|| OPENAI_MODEL_DEFAULT.to_owned()),
            constrain: options.constrain,
            note: None,
        })
    }

    /// The model on this machine; where it is will be asked when it is needed.
    pub(crate) fn local(options: &LocalOptions, http: Http, table: Arc<PriceTable>) -> Self {
        Self {
            provider: Provider::Local,
            http,
            place: Place::Asked { endpoint: Arc::clone(&options.endpoint), last: Mutex::new(None) },
            table,
            default_model: options.model.clone(),
            constrain: options.constrain,
            note: options.note.clone(),
        }
    }

    async fn target(&self) -> Result<Arc<Target>, CallError> {
        let (endpoint, last) = match &self.place {
            Place::Fixed(target) => return Ok(Arc::clone(target)),
            Place::Asked { endpoint, last } => (endpoint, last),
        };
        let at = endpoint.resolve().await?;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = last.as_ref().filter(|t| t.is(&at.base_url, at.key.as_ref())) {
            return Ok(Arc::clone(target));
        }
        let target = Target::new(self.provider, &at.base_url, at.key.as_ref(), "").map_err(|e| CallError {
            class: FailureClass::Fatal,
            message: format!("{}: {e}", self.provider),
            retry_after_ms: None,
            status: None,
            possibly_billed: false,
        })?;
        let target = Arc::new(target);
        *last = Some(Arc::clone(&target));
        Ok(target)
    }

    async fn failed(&self, who: &Who, mut answer: Incoming) -> CallError {
        let retry_after_ms = headers::retry_after_ms(answer.headers());
        let status = answer.status.as_u16();
        let body = answer.error_body(who).await;
        error::of_status(who, status, retry_after_ms, &body)
    }

    async fn read(who: &Who, answer: &mut Incoming, mut reply: Assembler<'_>, request_bytes: usize) -> Result<Answer, CallError> {
        let limits = headers::openai_limits(answer.headers());
        let request_id = answer.header("x-request-id").map(str::to_owned);
        // A server (or a gateway) that does not stream answers in one piece of the same shape.
        if answer.header("content-type").is_some_and(|t| t.starts_with("application/json")) {
            let body = answer.body(who).await?;
            reply.event(&body)?;
            return Ok(Answer { reply: reply.finish(request_bytes, request_id)?, limits });
        }
        let mut sse = Sse::default();
        loop {
            let piece = answer.chunk(who).await;
            let ended = matches!(piece, Ok(None));
            match &piece {
                Ok(Some(piece)) => sse.push(piece),
                Ok(None) => sse.finish(),
                Err(_) => {}
            }
            while let Some(event) = sse.next() {
                reply.event(sse.bytes(&event))?;
            }
            if reply.is_over() {
                answer.drain(who).await;
                break;
            }
            // Whole but for its last words: what was paid for is not thrown away.
            if ended || (piece.is_err() && reply.has_stop()) {
                break;
            }
            piece?;
        }
        Ok(Answer { reply: reply.finish(request_bytes, request_id)?, limits })
    }
}

#[async_trait]
impl Model for OpenAi {
    async fn call(&self, request: &Request, parts: &dyn PartSink) -> Result<Answer, CallError> {
        let target = self.target().await?;
        let who = &target.who;
        let dialect = Dialect {
            accepts: self.table.accepts(self.provider, &request.model),
            completion_tokens: target.completion_tokens,
            constrain: self.constrain,
        };
        let body = request::body(request, dialect)
            .map_err(|e| who.error(FailureClass::BadRequest, &format!("the request cannot be written as JSON: {e}")))?;
        let bytes = body.len();
        let mut headers = target.headers();
        // Compression would only hold the pieces back.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let url = target.chat_url.clone();
        let mut answer = self.http.send(who, Method::POST, url, headers, Some(Bytes::from(body))).await?;
        target.learn(&answer);
        if !answer.status.is_success() {
            return Err(self.failed(who, answer).await);
        }
        let reply = Assembler::new(who, parts, request, self.constrain);
        let result = Self::read(who, &mut answer, reply, bytes).await;
        if result.is_err() && parts.wanted() {
            parts.part(Part::Reset);
        }
        result
    }

    fn provider(&self) -> &'static str {
        self.provider.as_str()
    }

    fn describe(&self) -> Description {
        let (base_url, key_name, proxy) = match &self.place {
            Place::Fixed(target) => (
                Some(target.base.as_str().trim_end_matches('/').to_owned()),
                target.who.key.is_some().then(|| target.who.key_name.to_string()),
                proxy_for(&target.base),
            ),
            Place::Asked { endpoint, .. } => (endpoint.known_url(), None, None),
        };
        Description {
            provider: self.provider.as_str(),
            models: vec![self.default_model.clone()],
            base_url,
            key_name,
            proxy,
            note: self.note.clone(),
        }
    }

    async fn check(&self) -> Result<Checked, CallError> {
        let target = self.target().await?;
        let url = target.models_url.clone();
        let mut answer = self.http.send(&target.who, Method::GET, url, target.headers(), None).await?;
        if !answer.status.is_success() {
            return Err(CallError { possibly_billed: false, ..self.failed(&target.who, answer).await });
        }
        let body = answer.body(&target.who).await?;
        listed(&target.who, &answer, &body, "x-request-id")
    }
}
