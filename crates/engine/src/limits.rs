//! Every limit the rules know, with its unit in its name. The values come from the configuration.
use serde::{Deserialize, Serialize};

/// Bounds of planning, turns, retries and sharing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Whether tasks are planned at all; if not, each runs as one step.
    pub planner: bool,
    /// Most steps of a plan.
    pub plan_steps_max: u32,
    /// Planning calls before the task runs as one step (the first and two corrections).
    pub plan_rounds_max: u32,
    /// Turns of an agent on one step; in the last one no tool is offered.
    pub turns_max: u32,
    /// Tool calls carried out in one turn; the others are answered with an error.
    pub calls_per_turn_max: u32,
    /// Turns in a row whose tool calls were all invalid, before the step is given up.
    pub repairs_max: u32,
    /// Attempts of one model call when the provider fails.
    pub attempts_max: u32,
    /// Attempts of one model call when the provider says 429.
    pub rate_limited_max: u32,
    /// First back-off, milliseconds.
    pub backoff_first_ms: u64,
    /// Longest back-off, milliseconds.
    pub backoff_max_ms: u64,
    /// The same call with the same arguments this often in a row: the agent is warned.
    pub repeat_warn: u32,
    /// And this often: the step is given up.
    pub repeat_stop: u32,
    /// Seconds one step may take; 0 is no limit.
    pub step_timeout_s: u64,
    /// Keys of the shared state.
    pub state_keys_max: u32,
    /// Bytes of one value of the shared state.
    pub state_value_bytes_max: u32,
    /// Messages of one task.
    pub messages_max: u32,
    /// Bytes of one message.
    pub message_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            planner: true,
            plan_steps_max: 32,
            plan_rounds_max: 3,
            turns_max: 24,
            calls_per_turn_max: 64,
            repairs_max: 3,
            attempts_max: 4,
            rate_limited_max: 12,
            backoff_first_ms: 500,
            backoff_max_ms: 30_000,
            repeat_warn: 3,
            repeat_stop: 6,
            step_timeout_s: 3_600,
            state_keys_max: 1_000,
            state_value_bytes_max: 64 * 1024,
            messages_max: 10_000,
            message_bytes_max: 16 * 1024,
        }
    }
}
