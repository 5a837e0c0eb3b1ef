//! What should be in flight: derived from the state, never stored.
use crate::event::Repeat;
use crate::ids::{AgentId, AgentType, EffectId, Place};
use crate::time::Time;

/// Something the loop must have in flight for as long as the state asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Wait for an agent and keep it.
    Seat {
        /// Where.
        place: Place,
        /// Type of agent.
        kind: AgentType,
        /// The agent that had the place when the process ended, or left it; `None` for a place that had none.
        agent: Option<AgentId>,
        /// It is at work: seat it at once, whatever the limits say.
        at_work: bool,
        /// Longest remaining path to the end of the plan, in steps; larger goes first.
        path: u32,
        /// Waits since.
        since: Time,
        /// What the step asks of the agent.
        abilities: Vec<String>,
        /// Agents that may not have it: they have voted in this ballot.
        avoid: Vec<AgentId>,
    },
    /// Call a model.
    Model {
        /// The call.
        effect: EffectId,
        /// The attempt.
        attempt: u32,
        /// Not before.
        not_before: Time,
    },
    /// Run a tool.
    Tool {
        /// The call.
        effect: EffectId,
        /// The tool.
        name: String,
        /// Whether it may be repeated.
        repeat: Repeat,
    },
    /// Wake the task when a step's time is up.
    StepDeadline {
        /// Where.
        place: Place,
        /// When.
        at: Time,
    },
    /// Wake the task when its time is up.
    Deadline {
        /// When.
        at: Time,
    },
}
