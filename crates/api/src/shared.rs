//! What agents share while they work: state, messages, and the text they write.
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::time::Time;

/// One key of a task's shared state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateEntry {
    /// The key.
    pub key: String,
    /// Its value, any JSON.
    pub value: Value,
    /// 1 at first; one more with every write.
    pub version: u64,
    /// Who wrote it last.
    pub writer: String,
    /// When it was written last.
    pub updated_at: Time,
    /// Earlier values, newest first.
    pub history: Vec<StateVersion>,
}

/// An earlier value of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateVersion {
    /// Its version.
    pub version: u64,
    /// The value.
    pub value: Value,
    /// Who wrote it.
    pub writer: String,
    /// When.
    pub updated_at: Time,
}

/// A message between agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Position in the task, from 1.
    pub number: u64,
    /// Who sent it.
    pub from: String,
    /// An agent, a step, or `all`.
    pub to: String,
    /// The text.
    pub body: String,
    /// When.
    pub time: Time,
}

/// The text the agents of a task have written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Output {
    /// Always `output`.
    pub object: String,
    /// The task.
    pub task_id: String,
    /// One section for each model call that wrote text, in order of start.
    pub sections: Vec<OutputSection>,
}

/// Text of one model call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputSection {
    /// Name of the stream: the effect's id, such as `s3/t2/model`. Deltas on the event stream carry the same name.
    pub stream: String,
    /// Who wrote it.
    pub agent_id: Option<String>,
    /// In which step.
    pub step_id: Option<String>,
    /// Where `text` begins, in UTF-8 bytes from the start of the section.
    pub offset: u64,
    /// Length of the whole section so far, in bytes.
    pub total_bytes: u64,
    /// The text from `offset` on.
    pub text: String,
    /// Nothing more will be added.
    pub complete: bool,
}
