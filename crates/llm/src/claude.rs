//! Anthropic's Messages API, streamed.
//!
//! Invariant: a reply has a stop reason and only finished blocks; thinking blocks go back exactly as they came.
//! Must not know the gate, prices in money, or tasks.
pub(crate) mod error;
mod request;
mod stream;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use maos_engine::message::{CallError, FailureClass, Request};
use reqwest::{
    Method, Url,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use serde::Deserialize;

use self::stream::Assembler;
use crate::{
    headers,
    http::{Http, Incoming, Who, base_url, host_of, proxy_for, secret_header},
    model::{Answer, Checked, Description, Model, PartSink},
    models::{CLAUDE_MODEL_DEFAULT, ConfigError},
    options::{ClaudeOptions, Provider},
    prices::PriceTable,
    sse::Sse,
};

/// Where Anthropic is.
const BASE_URL_DEFAULT: &str = "https://api.anthropic.com";
/// The version of the wire format this file speaks.
const API_VERSION: &str = "2023-06-01";
/// Names taken from the list of models.
pub(crate) const MODELS_LISTED_MAX: usize = 1_000;

/// Anthropic's client.
pub(crate) struct Claude {
    http: Http,
    who: Who,
    base: Url,
    messages_url: Url,
    models_url: Url,
    headers: HeaderMap,
    table: Arc<PriceTable>,
    default_model: String,
}

impl Claude {
    /// Opens no connection.
    pub(crate) fn new(options: &ClaudeOptions, http: Http, table: Arc<PriceTable>) -> Result<Self, ConfigError> {
        let text = options.base_url.as_deref().unwrap_or(BASE_URL_DEFAULT);
        let base = base_url(text.trim_end_matches('/').trim_end_matches("/v1"), "claude.base_url")?;
        let join = |path: &str| base.join(path).map_err(|e| ConfigError::BadUrl { name: "claude.base_url", reason: e.to_string() });
        let key = options.api_key.expose_secret().trim();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", secret_header(key, &options.key_name)?);
        if options.bearer {
            headers.insert(AUTHORIZATION, secret_header(&format!("Bearer {key}"), &options.key_name)?);
        }
        headers.insert("anthropic-version", HeaderValue::from_static(API_VERSION));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            who: Who {
                provider: Provider::Claude.as_str(),
                host: host_of(&base),
                key: Some(key.to_owned().into()),
                key_name: options.key_name.as_str().into(),
            },
            messages_url: join("v1/messages")?,
            models_url: join("v1/models?limit=1000")?,
            base,
            http,
            headers,
            table,
            default_model: options.model.clone().unwrap_or_else(|| CLAUDE_MODEL_DEFAULT.to_owned()),
        })
    }

    async fn failed(&self, mut answer: Incoming) -> CallError {
        let retry_after_ms = headers::retry_after_ms(answer.headers());
        let status = answer.status.as_u16();
        let body = answer.error_body(&self.who).await;
        error::of_status(&self.who, status, retry_after_ms, &body)
    }

    async fn read(&self, answer: &mut Incoming, request_bytes: usize, parts: &dyn PartSink) -> Result<Answer, CallError> {
        let limits = headers::anthropic_limits(answer.headers());
        let request_id = answer.header("request-id").map(str::to_owned);
        let mut sse = Sse::default();
        let mut reply = Assembler::new(&self.who, parts);
        loop {
            let piece = answer.chunk(&self.who).await;
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
                answer.drain(&self.who).await;
                break;
            }
            // Whole but for its last words: what was paid for is not thrown away.
            if ended || (piece.is_err() && reply.has_stop()) {
                break;
            }
            piece?;
        }
        let reply = reply.finish(request_bytes, request_id)?;
        Ok(Answer { reply, limits })
    }
}

#[async_trait]
impl Model for Claude {
    async fn call(&self, request: &Request, parts: &dyn PartSink) -> Result<Answer, CallError> {
        let accepts = self.table.accepts(Provider::Claude, &request.model);
        let body = request::body(request, accepts)
            .map_err(|e| self.who.error(FailureClass::BadRequest, &format!("the request cannot be written as JSON: {e}")))?;
        let bytes = body.len();
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        // Compression would only hold the pieces back.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let url = self.messages_url.clone();
        let mut answer = self.http.send(&self.who, Method::POST, url, headers, Some(Bytes::from(body))).await?;
        if !answer.status.is_success() {
            return Err(self.failed(answer).await);
        }
        let result = self.read(&mut answer, bytes, parts).await;
        if result.is_err() && parts.wanted() {
            parts.part(crate::model::Part::Reset);
        }
        result
    }

    fn provider(&self) -> &'static str {
        Provider::Claude.as_str()
    }

    fn describe(&self) -> Description {
        Description {
            provider: Provider::Claude.as_str(),
            models: std::iter::once(self.default_model.clone())
                .chain(self.table.active(Provider::Claude, i64::MAX).into_iter().filter(|m| *m != self.default_model))
                .collect(),
            base_url: Some(self.base.as_str().trim_end_matches('/').to_owned()),
            key_name: Some(self.who.key_name.to_string()),
            proxy: proxy_for(&self.base),
            note: None,
        }
    }

    async fn check(&self) -> Result<Checked, CallError> {
        let url = self.models_url.clone();
        let mut answer = self.http.send(&self.who, Method::GET, url, self.headers.clone(), None).await?;
        if !answer.status.is_success() {
            return Err(CallError { possibly_billed: false, ..self.failed(answer).await });
        }
        let body = answer.body(&self.who).await?;
        listed(&self.who, &answer, &body, "request-id")
    }
}

/// Reads `{"data":[{"id":…}]}`, the list of models of both wire formats.
pub(crate) fn listed(who: &Who, answer: &Incoming, body: &[u8], id_header: &str) -> Result<Checked, CallError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let list: List = serde_json::from_slice(body).map_err(|_| {
        let text = format!("{} answered, but not with a list of models; is the base URL right?", who.host);
        CallError { status: Some(answer.status.as_u16()), ..who.error(FailureClass::Fatal, &text) }
    })?;
    Ok(Checked {
        latency_ms: answer.elapsed_ms(),
        status: answer.status.as_u16(),
        models: list.data.into_iter().take(MODELS_LISTED_MAX).map(|m| m.id).collect(),
        request_id: answer.header(id_header).map(str::to_owned),
    })
}
