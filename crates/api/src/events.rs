//! The event stream: one envelope for everything that happens, in one global order.
//!
//! `seq` is the durable global sequence, strictly increasing. Live text (`agent.output_delta`) is not stored one by one and has
//! no seq of its own; the stored output fills any hole.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::time::Time;
use crate::words::words;

words! {
    /// What happened.
    EventType {
        /// A task was submitted.
        TaskCreated = "task.created",
        /// It waits for its turn.
        TaskQueued = "task.queued",
        /// It waits for other tasks.
        TaskBlocked = "task.blocked",
        /// It began to run.
        TaskStarted = "task.started",
        /// Its steps or limits moved on.
        TaskProgress = "task.progress",
        /// It has a (new) plan.
        TaskPlanUpdated = "task.plan_updated",
        /// It is held.
        TaskPaused = "task.paused",
        /// It goes on.
        TaskResumed = "task.resumed",
        /// A person is asked: `{"question_id","kind","text","options","tool","to","step_id"}`.
        TaskInputRequested = "task.input_requested",
        /// A person answered: `{"question_id","kind","approved"}`.
        TaskInputReceived = "task.input_received",
        /// It ended with a result.
        TaskCompleted = "task.completed",
        /// It ended without a result.
        TaskFailed = "task.failed",
        /// It was ended by a person.
        TaskCancelled = "task.cancelled",
        /// It ran out of time.
        TaskTimedOut = "task.timed_out",
        /// A step was added.
        StepCreated = "step.created",
        /// An agent began a step.
        StepStarted = "step.started",
        /// A step has its output.
        StepCompleted = "step.completed",
        /// A step was given up.
        StepFailed = "step.failed",
        /// A step is tried again.
        StepRetried = "step.retried",
        /// A new agent: `{"type","by_person"}`. Live only.
        AgentSpawned = "agent.spawned",
        /// An agent's status changed.
        AgentStatusChanged = "agent.status_changed",
        /// An agent did something (a model call began or ended).
        AgentActivity = "agent.activity",
        /// Live text of a model call: `{"stream","offset","text"}`, offset in UTF-8 bytes.
        AgentOutputDelta = "agent.output_delta",
        /// The text of a call so far is void (the call is made again): `{"stream"}`.
        AgentOutputReset = "agent.output_reset",
        /// A tool call began.
        AgentToolStarted = "agent.tool_started",
        /// A tool call ended.
        AgentToolFinished = "agent.tool_finished",
        /// An agent was ended by a person: `{"type","by_person"}`. Live only.
        AgentTerminated = "agent.terminated",
        /// A message between agents.
        MessageSent = "message.sent",
        /// Voters are asked whether the result is good: `{"round","voters"}`.
        ConsensusOpened = "consensus.opened",
        /// A vote: `{"round","vote","confidence","reason"}`.
        ConsensusVoted = "consensus.voted",
        /// A ballot is over: `{"round","outcome"}`.
        ConsensusClosed = "consensus.closed",
        /// A key of the shared state changed.
        StateChanged = "state.changed",
        /// Tokens or cost changed.
        UsageUpdated = "usage.updated",
        /// A log line.
        LogEntry = "log.entry",
        /// A configuration key changed.
        ConfigChanged = "config.changed",
        /// The state of the server changed.
        SystemStatus = "system.status",
    }
}

impl EventType {
    /// A task's stream ends after this.
    pub const fn is_task_end(self) -> bool {
        matches!(self, Self::TaskCompleted | Self::TaskFailed | Self::TaskCancelled | Self::TaskTimedOut)
    }

    /// Whether a filter such as `task.*`, `*` or `step.failed` names this type.
    pub fn matches(self, filter: &str) -> bool {
        match filter.strip_suffix('*') {
            Some(prefix) => self.as_str().starts_with(prefix),
            None => self.as_str() == filter,
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Durable global sequence. Live-only events repeat the sequence they follow.
    pub seq: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When.
    pub time: Time,
    /// The task it is about.
    pub task_id: Option<String>,
    /// The agent it is about.
    pub agent_id: Option<String>,
    /// Details; the keys depend on the type.
    pub data: Value,
}

words! {
    /// Why a stream could not be continued where it was left.
    ResyncReason {
        /// The asked-for range is no longer stored.
        Gone = "gone",
        /// The client read too slowly and the bounded queue overflowed.
        Lagged = "lagged",
    }
}

/// Data of the `resync` frame: events were left out; read the resources again, then go on from `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resync {
    /// Why.
    pub reason: ResyncReason,
    /// The stream continues after this sequence.
    pub seq: u64,
}
