//! What arrived and is not yet recorded.
use crate::body::Body;
use crate::event::Answer;
use crate::ids::{AgentId, EffectId, Place, TaskId};
use crate::message::{CallError, Reply};
use crate::money::Money;
use crate::status::{Priority, Status};
use crate::taint::Taint;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an agent brings to its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traits {
    /// What it was spawned to be good at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abilities: Vec<String>,
    /// Its record, in thousandths: weighs its vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_milli: Option<u32>,
    /// Seconds it may work on a step; the task's own limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Most turns of a step; the configured number if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
}

impl Traits {
    /// Nothing special.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// What a person or another task says; durable (it waits in the task's inbox until the holder of the lease reads it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// A task it waits for ended.
    DependencyEnded {
        /// That task.
        task: TaskId,
        /// How.
        status: Status,
    },
    /// Stop everything.
    Cancel {
        /// Why, in the user's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Hold.
    Pause {},
    /// Go on.
    Resume {},
    /// Change what may be changed.
    Update(Update),
    /// Try again what did not complete.
    Retry {},
    /// A person answers what an agent asked, or agrees to a tool call.
    Answer {
        /// The tool call that waits.
        effect: EffectId,
        /// The answer.
        answer: Answer,
    },
    /// An agent leaves its places (it was terminated, or begins its turn anew); what it did is kept.
    Unseat {
        /// Who.
        agent: AgentId,
    },
    /// An agent makes no new call, or may again.
    HoldAgent {
        /// Who.
        agent: AgentId,
        /// Held, or not any more.
        held: bool,
    },
}

/// The changes a person may make to a live task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Update {
    /// Most agents at once, ≥ 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_agents: Option<u32>,
    /// Urgency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Seconds of running time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// Labels, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// An input of the loop.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// From the inbox.
    Command(Command),
    /// This node holds the lease now; whatever was in flight elsewhere is not any more.
    Claimed {
        /// Lease epoch.
        epoch: u64,
    },
    /// The pool gave a place an agent.
    Seated {
        /// Where.
        place: Place,
        /// Who.
        agent: AgentId,
        /// What it brings.
        traits: Traits,
    },
    /// An agent is taken away from its place.
    Unseated {
        /// Where.
        place: Place,
    },
    /// A model answered.
    Replied {
        /// The call.
        effect: EffectId,
        /// The attempt it answers.
        attempt: u32,
        /// The reply.
        reply: Box<Reply>,
        /// The same, as it will be stored.
        body: Body,
        /// When the request left.
        sent_at: Time,
        /// What it cost; `None` if the price is unknown.
        cost: Option<Money>,
    },
    /// A model call failed.
    CallFailed {
        /// The call.
        effect: EffectId,
        /// The attempt.
        attempt: u32,
        /// How.
        error: CallError,
        /// Uniform in `0..=1000`.
        dice: u32,
    },
    /// A tool ended.
    ToolDone {
        /// The call.
        effect: EffectId,
        /// What the model is told.
        result: Body,
        /// It failed.
        is_error: bool,
        /// What the result brings into the conversation.
        taint: Taint,
    },
    /// The task's time is up.
    Deadline,
    /// A step's time is up.
    StepDeadline {
        /// Where.
        place: Place,
    },
}

/// An input that does not fit the state: nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task is {status}: {what}")]
pub struct Rejected {
    /// The state it is in.
    pub status: Status,
    /// What cannot be done, and what can.
    pub what: &'static str,
}
