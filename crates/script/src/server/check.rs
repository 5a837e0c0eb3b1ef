//! What both APIs share when a call comes in: the request in the engine's words, the way to refuse it, and the checks that need the script.
use std::collections::HashSet;

use maos_engine::message::{Block, Request};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cache::Mark;
use crate::reply::signature_of;
use crate::script::Script;

/// A call, understood.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) stream: bool,
    /// The stream ends with usage (always so with the Messages API).
    pub(crate) include_usage: bool,
    pub(crate) json_schema: Option<String>,
    pub(crate) marks: Vec<Mark>,
}

/// A call that is refused.
pub(crate) struct Wrong {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// More, as JSON, where the provider gives it.
    pub(crate) details: Option<&'static str>,
}

impl Wrong {
    /// 400 with the provider's words.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self { status: 400, kind: "invalid_request_error", message: message.into(), details: None }
    }

    /// Any status, with the error type that belongs to it.
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, kind: crate::fault::kind_of_status(status), message: message.into(), details: None }
    }
}

/// Checks the key against the script.
pub(crate) fn key(script: &Script, key: Option<&str>) -> Result<(), Wrong> {
    match key {
        None if script.require_key => Err(Wrong::new(401, "x-api-key header is required")),
        Some(key) if !script.keys.is_empty() && !script.keys.iter().any(|known| known == key) => Err(Wrong::new(401, "invalid x-api-key")),
        None | Some(_) => Ok(()),
    }
}

/// Checks what depends on the script: the model exists, and thinking comes back with its signature unchanged.
pub(crate) fn against_script(script: &Script, request: &Request) -> Result<(), Wrong> {
    if !script.models.is_empty() && !script.models.contains(&request.model) {
        return Err(Wrong::new(404, format!("model: {}", request.model)));
    }
    for (m, message) in request.messages.iter().enumerate() {
        for (b, block) in message.content.iter().enumerate() {
            if let Block::Provider { block } = block
                && !crate::search::is_unchanged(block)
            {
                return Err(Wrong::request(format!("messages.{m}.content.{b}: Invalid `encrypted_content` in `web_search_result` block")));
            }
            if let Block::Thinking { thinking, signature } = block
                && !signature_is_ours(thinking, signature, &script.signatures)
            {
                return Err(Wrong::request(format!("messages.{m}.content.{b}: Invalid `signature` in `thinking` block")));
            }
        }
    }
    Ok(())
}

fn signature_is_ours(thinking: &str, signature: &str, given: &HashSet<String>) -> bool {
    given.contains(signature) || signature == signature_of(thinking)
}

/// The name of a request: sha256 of its body as canonical JSON (keys in order, no blanks).
pub(crate) fn hash(body: &Value) -> [u8; 32] {
    let mut text = String::with_capacity(1_024);
    canonical(body, &mut text);
    Sha256::digest(text.as_bytes()).into()
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            // Sorted already, unless a feature of serde_json elsewhere in the build keeps insertion order.
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                crate::template::push_json_string(out, key);
                out.push(':');
                canonical(item, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Value::String(text) => crate::template::push_json_string(out, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}
