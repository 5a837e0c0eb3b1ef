//! The words of a conversation with a model: messages, tools, replies, usage, and how a call can fail.
//!
//! Every provider translates these to its own wire form and back. They are stored in the journal, so fields are only ever added.
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The caller: a person, the coordinator, tool results.
    User,
    /// The model.
    Assistant,
}

/// One piece of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Plain text.
    Text {
        /// The text, UTF-8.
        text: String,
    },
    /// Extended thinking. Must be sent back unchanged, with its signature, in later turns of the same conversation.
    Thinking {
        /// The thinking text.
        thinking: String,
        /// The provider's signature over it (empty if none was given).
        signature: String,
    },
    /// Thinking the provider has encrypted; sent back unchanged.
    RedactedThinking {
        /// Opaque data.
        data: String,
    },
    /// The model asks for a tool.
    ToolUse {
        /// The provider's id for this call; unique in the conversation.
        id: String,
        /// Name of the tool.
        name: String,
        /// The arguments. `Value::Null` never stands for garbled JSON: see [`Block::BadToolUse`].
        input: Value,
    },
    /// The model asked for a tool, with arguments that are not JSON. Never executed; answered with an error result.
    BadToolUse {
        /// The provider's id for this call.
        id: String,
        /// Name of the tool as given.
        name: String,
        /// The raw argument text (cut to 4 KiB).
        raw: String,
        /// Why it could not be parsed.
        error: String,
    },
    /// The answer to a tool call.
    ToolResult {
        /// The id of the call.
        tool_use_id: String,
        /// The result as text.
        content: String,
        /// The call failed; the text says why.
        #[serde(default)]
        is_error: bool,
    },
    /// A block of a tool that the provider runs itself (its own web search): the call, or the result. Kept as it came, sent back unchanged to
    /// the same provider and left out for any other. What such tools find is text of strangers.
    Provider {
        /// The block in the provider's own form.
        block: Value,
    },
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The pieces, in order.
    pub content: Vec<Block>,
}

impl Message {
    /// A user message of one text block.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: vec![Block::Text { text: text.into() }] }
    }
}

/// A tool offered to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the arguments: an object schema.
    pub input_schema: Value,
}

/// Which tool the model may or must use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// The model must call one of the tools.
    Any,
    /// The model must call this tool.
    Tool {
        /// Its name.
        name: String,
    },
    /// No tool may be called.
    None,
}

/// One call of a model. The prefix `system` + `tools` is the same for all agents of a type, so providers may cache it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Model name as the provider knows it.
    pub model: String,
    /// System prompt; a cache boundary is set after it.
    pub system: String,
    /// The conversation so far; begins with a user message.
    pub messages: Vec<Message>,
    /// Tools offered. Shared: they are the same for all agents of a type, and a thousand requests may be held at once.
    #[serde(with = "shared")]
    pub tools: Arc<[ToolSpec]>,
    /// Tools that the provider runs itself, in its own form. A provider is only given its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provider_tools: Vec<Value>,
    /// Which tool may or must be used.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// Upper bound of output tokens.
    pub max_output_tokens: u32,
    /// Sampling temperature; the provider's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_milli: Option<u32>,
    /// Extended thinking budget in tokens; off if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_tokens: Option<u32>,
}

/// A shared list is written and read as a list.
mod shared {
    use super::{Arc, Deserialize, Serialize, ToolSpec};

    pub(super) fn serialize<S: serde::Serializer>(tools: &Arc<[ToolSpec]>, serializer: S) -> Result<S::Ok, S::Error> {
        tools.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<[ToolSpec]>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::from)
    }
}

/// Why the model stopped. Closed: what a provider adds later arrives as `Unknown` and is never taken for success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// The answer is complete.
    EndTurn,
    /// The model waits for tool results.
    ToolUse,
    /// The output limit was reached; the answer is cut.
    MaxTokens,
    /// A stop sequence was met.
    StopSequence,
    /// The model or a filter refused.
    Refusal,
    /// The provider asks to continue with the same conversation.
    PauseTurn,
    /// The conversation is longer than the model's window.
    ContextExceeded,
    /// Anything else.
    Unknown {
        /// The provider's word.
        raw: String,
    },
}

/// Token counts in five disjoint classes (`input_tokens` excludes the cached ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Uncached input tokens.
    pub input_tokens: u64,
    /// Output tokens, thinking included.
    pub output_tokens: u64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the 5-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Input tokens written to the 1-hour cache.
    pub cache_write_1h_tokens: u64,
    /// Web searches that the provider made by itself; they are charged by the piece.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub web_searches: u64,
    /// The provider gave no (or an impossible) usage; these figures are our estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// All tokens of all classes.
    pub fn total(&self) -> u64 {
        let cached = self.cache_read_tokens.saturating_add(self.cache_write_5m_tokens).saturating_add(self.cache_write_1h_tokens);
        self.input_tokens.saturating_add(self.output_tokens).saturating_add(cached)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, o: Self) {
        self.input_tokens = self.input_tokens.saturating_add(o.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(o.output_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(o.cache_read_tokens);
        self.cache_write_5m_tokens = self.cache_write_5m_tokens.saturating_add(o.cache_write_5m_tokens);
        self.cache_write_1h_tokens = self.cache_write_1h_tokens.saturating_add(o.cache_write_1h_tokens);
        self.web_searches = self.web_searches.saturating_add(o.web_searches);
        self.estimated = self.estimated || o.estimated;
    }
}

/// The final message of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The model that answered, in the provider's words.
    pub model: String,
    /// The content blocks.
    pub content: Vec<Block>,
    /// Why it stopped.
    pub stop: StopReason,
    /// What it used.
    pub usage: Usage,
    /// The provider's id of the request, for support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Reply {
    /// A tool of the provider has brought something into this reply.
    pub fn has_provider_blocks(&self) -> bool {
        self.content.iter().any(|b| matches!(b, Block::Provider { .. }))
    }

    /// All text blocks joined.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for block in &self.content {
            if let Block::Text { text } = block {
                out.push_str(text);
            }
        }
        out
    }
}

/// How a call failed: the class decides what happens next (retry, wait, pause, give up).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// 429 with or without `retry-after`: wait, then try again.
    RateLimited,
    /// 529, 500, 502, 503, 504, an `overloaded_error` inside a stream: back off, try again.
    Overloaded,
    /// Connection refused, DNS, TLS, reset: back off, try again.
    Unreachable,
    /// No header in time, a stalled stream, the hard cap: the call may have been billed. Try again.
    Stalled,
    /// The stream ended without a stop reason, or its content was malformed: may have been billed. Try again.
    Truncated,
    /// 401, 403: the key is wrong. The task pauses.
    Auth,
    /// 402, spend limit reached: the task pauses until a person acts.
    Billing,
    /// 404 for the model, or a retired model. The task pauses.
    ModelGone,
    /// 400, 413, 422: the request is wrong; never repeated.
    BadRequest,
    /// The prompt is longer than the model's window.
    ContextExceeded,
    /// Anything else that a repeat would not mend.
    Fatal,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What kind of failure.
    pub class: FailureClass,
    /// One line for people; never holds a key.
    pub message: String,
    /// Wait at least this long before the next try, in milliseconds, as the provider said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// HTTP status, if an answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The request may have reached the model and been charged for.
    #[serde(default)]
    pub possibly_billed: bool,
}
