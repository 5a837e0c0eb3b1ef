//! The plan of a task: a graph of steps with their states.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tasks::{Cost, TaskError};
use crate::time::Time;
use crate::words::{StepState, words};
use std::fmt;
use std::str::FromStr;

words! {
    /// Where a plan came from.
    PlanSource {
        /// The planner made it.
        Planner = "planner",
        /// The planner answered at once; there are no steps.
        Answer = "answer",
        /// One agent was asked for, so there was nothing to plan.
        SingleAgent = "single_agent",
        /// The planner's plans were invalid; the task runs as one step.
        Fallback = "fallback",
    }
}

/// The plan of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Always `plan`.
    pub object: String,
    /// The task.
    pub task_id: String,
    /// Where it came from; null while there is no plan.
    pub source: Option<PlanSource>,
    /// Why the work was split this way, in the planner's words.
    pub rationale: Option<String>,
    /// 1 for the first plan; 0 while there is none.
    pub version: u32,
    /// The steps, in an order in which every step comes after what it depends on.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Unique in the plan: `[a-z][a-z0-9_]{0,31}`.
    pub id: String,
    /// A few words.
    pub title: String,
    /// What the agent is told to do.
    pub instructions: String,
    /// Who does it.
    pub agent_type: String,
    /// What the agent must be able to do.
    pub capabilities: Vec<String>,
    /// Steps whose outputs it needs.
    pub depends_on: Vec<String>,
    /// Where it stands.
    pub state: StepState,
    /// Who has it.
    pub agent_id: Option<String>,
    /// When it first ran.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// From start to end, in milliseconds; null until it has ended.
    pub duration_ms: Option<u64>,
    /// What it cost so far.
    pub cost: Cost,
    /// Requests to a model, repeats included.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<TaskError>,
}
