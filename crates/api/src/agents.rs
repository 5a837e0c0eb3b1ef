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
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The model it uses.
    pub model: Option<String>,
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

/// A type of agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentType {
    /// Always `agent_type`.
    pub object: String,
    /// Its name: `researcher`, `coder`, `analyst`, `tester`, `coordinator`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The tools it has.
    pub tools: Vec<String>,
    /// The model it uses; null when no provider is configured.
    pub model: Option<String>,
    /// Comes with MAOS.
    pub built_in: bool,
}
