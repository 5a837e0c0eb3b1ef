//! Where the time and the money of a task went. Every figure is measured, none is claimed.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::money::Money;

/// The analysis of a task. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Analysis {
    /// Always `analysis`.
    pub object: String,
    /// The task.
    pub task_id: String,
    /// The task has ended; until then the figures are those of now.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// From the first start to the end (or now).
    pub wall_ms: u64,
    /// Sum of all model and tool time: what one agent would have needed, one call after the other.
    pub busy_ms: u64,
    /// `busy_ms / wall_ms`; null before anything has run.
    pub speedup: Option<f64>,
    /// The longest chain of steps that had to wait for each other.
    pub critical_path: Vec<PathStep>,
    /// Length of that chain, planning and synthesis included.
    pub critical_path_ms: u64,
    /// `busy_ms / critical_path_ms`: the most any number of agents could have reached with this plan.
    pub best_possible_speedup: Option<f64>,
    /// Time of the planning calls.
    pub planning_ms: u64,
    /// Time of the final synthesis call.
    pub synthesis_ms: u64,
    /// Time that was not work.
    pub waits: Waits,
    /// Cost by step, dearest first.
    pub cost_by_step: Vec<CostDriver>,
    /// Cost by model, dearest first.
    pub cost_by_model: Vec<CostDriver>,
    /// What would make it faster or cheaper.
    pub suggestions: Vec<Suggestion>,
}

/// One step of the critical path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathStep {
    /// The step's id, or `plan` or `synthesis`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// Time that was not work, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waits {
    /// From submission to the first start.
    pub queue_ms: u64,
    /// Sum over steps that were ready and waited for an agent.
    pub agent_ms: u64,
    /// Sum over calls that waited for the rate gate of a model.
    pub gate_ms: u64,
    /// Held by a person or a limit.
    pub paused_ms: u64,
    /// Waited before trying again.
    pub retry_ms: u64,
}

/// What one part of the work cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostDriver {
    /// A step's id (or `plan`, `synthesis`), or a model's name.
    pub name: String,
    /// Model calls.
    pub calls: u64,
    /// All tokens.
    pub tokens: u64,
    /// Cost; null when a price is unknown.
    pub cost: Option<Money>,
    /// Share of the task's known cost, 0–1; null when the cost is unknown or 0.
    pub share: Option<f64>,
}

/// What would make the next such task faster or cheaper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// One sentence with the figure it rests on.
    pub text: String,
    /// A command that does it, if there is one.
    pub command: Option<String>,
}
