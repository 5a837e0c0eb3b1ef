//! Agents and their types on the wire.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tasks::{Cost, Tokens};
use crate::time::Time;
use crate::words::AgentStatus;

/// An agent. All keys are always present; null when unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Always `agent`.
    pub object: String,
    /// `agent_<type>_<NNN>`.
    pub agent_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// What it is doing.
    pub status: AgentStatus,
    /// What it can do: the capabilities of its type, then those it was spawned with.
    pub capabilities: Vec<String>,
    /// The model it uses.
    pub model: Option<String>,
    /// A person spawned it: it stays until a person ends it.
    pub spawned: bool,
    /// Most memory of its programs, in bytes; null for the default.
    pub max_memory: Option<u64>,
    /// Longest time of one step, in seconds; null for the default.
    pub timeout: Option<u64>,
    /// The task it works on (or last worked on).
    pub task_id: Option<String>,
    /// The step it works on (or last worked on).
    pub step_id: Option<String>,
    /// What it did last, in a few words.
    pub activity: Option<String>,
    /// When it last did anything.
    pub last_activity_at: Option<Time>,
    /// When it was made.
    pub created_at: Option<Time>,
    /// Steps it completed.
    pub steps_completed: u64,
    /// Steps it gave up.
    pub steps_failed: u64,
    /// Model calls it made.
    pub calls: u64,
    /// Tokens it used.
    pub usage: Tokens,
    /// What it cost.
    pub cost: Cost,
}

/// Agents to be added to the pool. Unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"type": "coder", "capabilities": ["python", "fastapi"], "max_memory": "2GB", "timeout": "2h"}))]
pub struct AgentSpawn {
    /// Their type: built-in or from `~/.maos/agents` (see `/api/agent-types`).
    #[serde(rename = "type")]
    #[schema(min_length = 1)]
    pub agent_type: String,
    /// What they are good at besides: preferred for steps that ask for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub capabilities: Vec<String>,
    /// How many; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub count: Option<u32>,
    /// Most memory of the programs of each: bytes, or a size such as `"2GB"`.
    #[serde(default, deserialize_with = "crate::size::deserialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::size::SizeInput>, inline)]
    pub max_memory: Option<u64>,
    /// Longest time of one step: seconds, or a duration such as `"2h"`.
    #[serde(default, deserialize_with = "crate::time::seconds::deserialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::time::SecondsInput>, inline)]
    pub timeout: Option<u64>,
}

/// What an agent has done since it was made (or since the server started, for `busy_ms`, `alive_ms` and `memory_peak_bytes`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentMetrics {
    /// Always `agent_metrics`.
    pub object: String,
    /// The agent.
    pub agent_id: String,
    /// Turns of its conversations.
    pub turns: u64,
    /// Model calls.
    pub calls: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Model and tool calls that failed.
    pub errors: u64,
    /// Tokens.
    pub usage: Tokens,
    /// What they cost.
    pub cost: Cost,
    /// Steps completed.
    pub steps_completed: u64,
    /// Steps given up.
    pub steps_failed: u64,
    /// Time at work, in milliseconds.
    pub busy_ms: u64,
    /// Time in the pool, in milliseconds.
    pub alive_ms: u64,
    /// `busy_ms` of `alive_ms`, from 0 to 1; null before it is known.
    pub busy_share: Option<f64>,
    /// Most memory its programs used at once, in bytes.
    pub memory_peak_bytes: u64,
}

/// A type of agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentType {
    /// Always `agent_type`.
    pub object: String,
    /// Its name: one of the built-in `researcher`, `coder`, `analyst`, `tester`, `coordinator`, or a person's own.
    pub name: String,
    /// The built-in type it belongs to.
    #[serde(rename = "type")]
    pub base: String,
    /// What it is for.
    pub description: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The tools it has.
    pub tools: Vec<String>,
    /// Tools it names that cannot be used now, and why.
    pub unavailable_tools: Vec<UnavailableTool>,
    /// MCP servers all of whose tools it may use.
    pub mcp_servers: Vec<String>,
    /// The model it uses; null when no provider is configured.
    pub model: Option<String>,
    /// Most turns of a step; null for the default.
    pub max_turns: Option<u32>,
    /// Most memory of its programs, in bytes; null for the default.
    pub max_memory: Option<u64>,
    /// Longest time of one step, in seconds; null for the default.
    pub timeout: Option<u64>,
    /// Its system prompt.
    pub prompt: String,
    /// Colour in the dashboard, if its file names one.
    pub color: Option<String>,
    /// Comes with MAOS.
    pub built_in: bool,
    /// `built-in`, `user` or `imported`.
    pub source: String,
    /// Its file on the server.
    pub path: Option<String>,
}

/// A tool that is named and cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnavailableTool {
    /// Its name.
    pub name: String,
    /// Why, and what has to be added.
    pub reason: String,
}
