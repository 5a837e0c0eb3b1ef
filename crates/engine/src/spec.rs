//! What was asked for: fixed at submission, with all defaults filled in, so that a later change of the configuration does not change it.
use crate::consensus::Consensus;
use crate::ids::{AgentType, TaskId};
use crate::money::Money;
use crate::status::{Priority, TaskType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;
/// Longest context or constraints, in bytes.
pub const CONTEXT_BYTES_MAX: usize = 256 * 1024;
/// Most tasks one task may wait for.
pub const DEPENDS_ON_MAX: usize = 256;

/// A submitted task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The work, in the user's words.
    pub description: String,
    /// Kind of work.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<TaskType>,
    /// Urgency.
    pub priority: Priority,
    /// Most agents at work at once, ≥ 1. 1 skips planning.
    pub max_agents: u32,
    /// Every step is done by this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<AgentType>,
    /// People's own types that the planner is offered too, as there were when it was submitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_types: Vec<AgentType>,
    /// Seconds of running time before it is `TIMED_OUT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Seconds one step may take; 0 is no limit.
    #[serde(default)]
    pub step_timeout_s: u64,
    /// Spend plus reservations never exceed this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// Background for the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Rules for the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<String>,
    /// Tasks that must complete first; their results are given to the agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<TaskId>,
    /// Labels for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Files given with the task; they stand in its workspace before the first agent starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Voters must agree on the result before the task completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus: Option<Consensus>,
}

/// A file given with a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name in the workspace, with `/` between folders.
    pub name: String,
    /// SHA-256 of the content, lower-case hex.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}
