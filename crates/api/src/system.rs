//! The server itself on the wire: status, health, version, models, logs, configuration.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::money::Money;
use crate::time::Time;
use crate::words::{ConfigOrigin, HealthStatus, LogLevel, ModelStatus};

/// What the server is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Always `status`.
    pub object: String,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Stops taking work and ends soon.
    pub draining: bool,
    /// When it started.
    pub started_at: Time,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// The parts it is made of, with their state.
    pub components: Vec<HealthCheck>,
    /// Number of tasks by status; every status is a key.
    pub tasks: BTreeMap<String, u64>,
    /// Number of agents by status; every status is a key.
    pub agents: BTreeMap<String, u64>,
    /// Most agents at once on this server.
    pub agents_max: u64,
    /// Spent since midnight UTC; null when a price is unknown.
    pub spent_today: Option<Money>,
    /// Limit of spending for a day.
    pub budget_daily: Option<Money>,
    /// The provider and model in use.
    pub provider: ProviderInfo,
    /// Where tasks are kept.
    pub storage: String,
    /// How parts of the server tell each other about news.
    pub bus: String,
    /// Sequence of the newest event.
    pub event_seq: u64,
}

/// The provider of models in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderInfo {
    /// `claude`, `openai`, `local`, `scripted`; null when none is configured.
    pub name: Option<String>,
    /// The default model.
    pub model: Option<String>,
    /// Tasks can run.
    pub ready: bool,
    /// What its answers are worth, or what is missing: shown beside every result of a small or scripted model.
    pub note: Option<String>,
    /// When tasks cannot run: what to do about it, with its commands.
    pub hint: Option<String>,
}

/// The state of all parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `health`.
    pub object: String,
    /// The worst of all checks.
    pub status: HealthStatus,
    /// Each check.
    pub checks: Vec<HealthCheck>,
}

/// The state of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthCheck {
    /// Which part: `database`, `bus`, `provider`, `agents`, `storage`, …
    pub component: String,
    /// How it is.
    pub status: HealthStatus,
    /// How long the check took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// One line.
    pub detail: String,
    /// The command that mends it.
    pub fix: Option<String>,
}

/// What program this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Always `version`.
    pub object: String,
    /// Version of the program.
    pub version: String,
    /// Version of this API.
    pub api_version: u32,
    /// Commit it was built from, if known.
    pub git: Option<String>,
    /// Version of the compiler, if known.
    pub rustc: Option<String>,
}

/// A model and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelInfo {
    /// Always `model`.
    pub object: String,
    /// Its name, or a pattern such as `claude-sonnet-4-*`.
    pub id: String,
    /// Who serves it.
    pub provider: String,
    /// Whether it can be used.
    pub status: ModelStatus,
    /// What to use instead.
    pub replacement: Option<String>,
    /// US dollars for a million tokens; null when unknown.
    pub prices: Option<Prices>,
    /// The agent types that use it now.
    pub used_by: Vec<String>,
}

/// Prices of the five token classes, in US dollars for a million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Prices {
    /// Uncached input.
    pub input: Money,
    /// Output.
    pub output: Money,
    /// Read from the cache.
    pub cache_read: Money,
    /// Written to the 5-minute cache.
    pub cache_write_5m: Money,
    /// Written to the 1-hour cache.
    pub cache_write_1h: Money,
    /// Version of the table.
    pub price_table: String,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// When.
    pub time: Time,
    /// How important.
    pub level: LogLevel,
    /// Which part wrote it.
    pub component: String,
    /// The line.
    pub message: String,
    /// The task it is about.
    pub task_id: Option<String>,
    /// The agent it is about.
    pub agent_id: Option<String>,
    /// Further fields.
    pub fields: BTreeMap<String, Value>,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigView {
    /// Always `config`.
    pub object: String,
    /// The file that `set` writes.
    pub path: Option<String>,
    /// Changes with the file's content; the ETag is `"<revision>"`.
    pub revision: String,
    /// Every key, in the order of the documentation.
    pub entries: Vec<ConfigEntry>,
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigEntry {
    /// Always `config_entry`.
    pub object: String,
    /// The key, such as `system.max_agents`.
    pub key: String,
    /// The value in force; secrets are shown as `sk-…a1b2`.
    pub value: Value,
    /// The built-in default.
    pub default: Value,
    /// Where the value comes from.
    pub origin: ConfigOrigin,
    /// Its kind: `string`, `integer`, `number`, `boolean`, `duration`, `size`, `money`, `list`.
    pub kind: String,
    /// What it is for.
    pub description: String,
    /// Holds a secret: can be written, is never shown.
    pub secret: bool,
    /// Takes effect at the next start.
    pub restart_needed: bool,
    /// May be set through this API.
    pub writable: bool,
}

/// A new value for a configuration key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": 20}))]
pub struct ConfigPut {
    /// The value.
    pub value: Value,
}
