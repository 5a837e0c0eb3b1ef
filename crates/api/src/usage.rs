//! What a task used and cost: by step, by agent, by model. The rows sum to the total exactly.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::money::Money;
use crate::tasks::{Cost, Tokens};

/// Usage of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// Always `usage`.
    pub object: String,
    /// The task.
    pub task_id: String,
    /// Everything together.
    pub total: UsageRow,
    /// By step; planning is `plan`, the final synthesis is `synthesis`.
    pub by_step: Vec<UsageRow>,
    /// By agent.
    pub by_agent: Vec<UsageRow>,
    /// By model.
    pub by_model: Vec<UsageRow>,
    /// Limit of spending.
    pub max_cost: Option<Money>,
    /// Reserved for calls in flight.
    pub reserved: Money,
    /// Worst case of calls that were cut off by a crash and may have been charged.
    pub possibly_billed: Money,
    /// How many such calls there were.
    pub possibly_billed_calls: u64,
}

/// One row of usage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// What the row is about: a step, an agent, a model, or `total`.
    pub name: String,
    /// Model calls that were answered.
    pub calls: u64,
    /// Tokens in five disjoint classes.
    pub usage: Tokens,
    /// Cost.
    pub cost: Cost,
}
