//! What the configuration may say about models. Plain data; keys are `SecretString` and never shown.
use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc};

use maos_engine::message::FailureClass;
use secrecy::SecretString;

use crate::model::Endpoint;

/// The providers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// Anthropic's Messages API.
    Claude,
    /// Chat completions, as spoken by OpenAI, vLLM, Ollama, llama.cpp, LM Studio.
    OpenAi,
    /// A model on this machine, served by a managed child.
    Local,
    /// Replies from a script; never a model.
    Scripted,
}

impl Provider {
    /// The word used in configuration, journals and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::OpenAi => "openai",
            Self::Local => "local",
            Self::Scripted => "scripted",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "claude" | "anthropic" => Ok(Self::Claude),
            "openai" => Ok(Self::OpenAi),
            "local" => Ok(Self::Local),
            "scripted" => Ok(Self::Scripted),
            other => Err(format!("unknown provider `{other}`: use claude, openai, local or scripted")),
        }
    }
}

/// A model, and the provider if it was named: `claude-sonnet-4-5` or `openai/gpt-4.1`. Only the four provider words count as
/// a prefix, so `qwen/qwen3` stays one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelRef {
    /// The provider, if named.
    pub provider: Option<Provider>,
    /// The model; empty means the provider's default.
    pub model: String,
}

impl From<&str> for ModelRef {
    fn from(s: &str) -> Self {
        match s.split_once('/') {
            Some((head, rest)) => match head.parse() {
                Ok(provider) => Self { provider: Some(provider), model: rest.to_owned() },
                Err(_) => Self { provider: None, model: s.to_owned() },
            },
            None => Self { provider: None, model: s.to_owned() },
        }
    }
}

/// Everything the configuration may say about models.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Anthropic, if configured.
    pub claude: Option<ClaudeOptions>,
    /// An OpenAI-compatible server, if configured.
    pub openai: Option<OpenAiOptions>,
    /// The local model, if configured.
    pub local: Option<LocalOptions>,
    /// The script, if configured.
    pub scripted: Option<ScriptedOptions>,
    /// Which provider is used where none is named. If absent: the first configured of claude, openai, local, scripted.
    pub provider: Option<Provider>,
    /// Model per agent type (`coordinator`, `researcher`, …).
    pub agent_models: BTreeMap<String, ModelRef>,
    /// What a configured (perhaps retired) name stands for.
    pub model_aliases: BTreeMap<String, String>,
    /// Where to go when a model fails. Empty: nowhere.
    pub fallbacks: Vec<Fallback>,
    /// Time limits of a call.
    pub timeouts: Timeouts,
    /// Rate limits known beforehand, by model name or `*`; the provider's headers correct them.
    pub rates: BTreeMap<String, RateOptions>,
    /// A price table that is laid over the built-in one.
    pub prices_path: Option<PathBuf>,
}

/// Anthropic's Messages API.
#[derive(Debug, Clone)]
pub struct ClaudeOptions {
    /// The key.
    pub api_key: SecretString,
    /// Where the key came from (`CLAUDE_API_KEY`, `claude.api_key`), for messages.
    pub key_name: String,
    /// Default `https://api.anthropic.com`.
    pub base_url: Option<String>,
    /// The model used where none is named; the built-in default if absent.
    pub model: Option<String>,
    /// Also send the key as `Authorization: Bearer` (some gateways want that).
    pub bearer: bool,
}

/// An OpenAI-compatible server.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// The key, if the server wants one.
    pub api_key: Option<SecretString>,
    /// Where the key came from, for messages.
    pub key_name: String,
    /// Default `https://api.openai.com/v1`.
    pub base_url: Option<String>,
    /// The model used where none is named.
    pub model: Option<String>,
    /// Hold forced tool calls to a JSON Schema by `response_format` (for servers that do not obey `tool_choice`).
    pub constrain: bool,
}

/// A model on this machine.
#[derive(Clone)]
pub struct LocalOptions {
    /// Where it lives; starts it if need be.
    pub endpoint: Arc<dyn Endpoint>,
    /// Name of the model in requests and outputs.
    pub model: String,
    /// Hold forced tool calls to a JSON Schema; small models need it.
    pub constrain: bool,
    /// A line that outputs must carry, such as what the model cannot do.
    pub note: Option<String>,
}

impl fmt::Debug for LocalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalOptions").field("model", &self.model).field("constrain", &self.constrain).finish_non_exhaustive()
    }
}

/// Replies from a script.
#[derive(Debug, Clone, Default)]
pub struct ScriptedOptions {
    /// The script (YAML); the built-in demonstration if absent (`maos_script::Script::demo`).
    pub path: Option<PathBuf>,
    /// Name of the "model"; `scripted-1` if absent.
    pub model: Option<String>,
}

/// Time and size limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To a TCP and TLS connection.
    pub connect_ms: u64,
    /// From sending to the first byte of the answer.
    pub first_byte_ms: u64,
    /// Between two pieces of an answer.
    pub idle_ms: u64,
    /// The whole call.
    pub call_ms: u64,
    /// Size of an answer after decompression.
    pub reply_bytes_max: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 10_000, first_byte_ms: 120_000, idle_ms: 60_000, call_ms: 900_000, reply_bytes_max: 16 << 20 }
    }
}

/// Rate limits known beforehand, per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateOptions {
    /// Requests.
    pub requests_per_minute: Option<u64>,
    /// Input tokens.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens.
    pub output_tokens_per_minute: Option<u64>,
}

/// Where to go when a model fails in one of these ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The model that failed. No model: any of that provider; neither model nor provider: any at all.
    pub from: ModelRef,
    /// What to use instead.
    pub to: ModelRef,
    /// On which failures.
    pub on: Vec<FailureClass>,
}
