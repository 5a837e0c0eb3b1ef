//! What the agents of a task share: versioned state and messages; and the four tools by which they do. These tools are decided here,
//! in the same commit as the reply that asked for them: they never leave the process.
use crate::ids::{AgentId, Place};
use crate::message::ToolSpec;
use crate::taint::Taint;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Longest result of `state_get` and `read_messages`, in bytes, beyond which values are left out and messages left for the next call.
pub const SHARED_RESULT_BYTES_MAX: usize = 128 * 1024;

/// Longest messages together that an agent is shown at once when it begins, in bytes; it reads the others with `read_messages`.
pub const FIRST_MAIL_BYTES_MAX: usize = 16 * 1024;

/// Longest key of the shared state, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 128;

/// One write of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Value.
    pub value: Value,
    /// By whom.
    pub by: AgentId,
    /// When.
    pub at: Time,
    /// Number of this write among all writes of the task, from 1.
    pub rev: u32,
    /// What its writer had seen.
    #[serde(default, skip_serializing_if = "Taint::is_none")]
    pub taint: Taint,
}

/// A message between agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// From.
    pub from: AgentId,
    /// The sender's place.
    pub from_step: Place,
    /// To an agent, a step or `all`.
    pub to: String,
    /// Where the agent it was sent to was at work then: whoever has the place receives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_place: Option<Place>,
    /// Text.
    pub body: String,
    /// When.
    pub at: Time,
    /// What its sender had seen.
    #[serde(default, skip_serializing_if = "Taint::is_none")]
    pub taint: Taint,
}

impl Mail {
    /// Whether the one at `place` receives it (never its own).
    pub fn reaches(&self, place: &Place, agent: Option<&AgentId>) -> bool {
        if self.from_step == *place {
            return false;
        }
        let named =
            || self.to == "all" || place.step().is_some_and(|s| s.as_str() == self.to) || agent.is_some_and(|a| a.as_str() == self.to);
        self.to_place.as_ref().map_or_else(named, |to| to == place)
    }
}

/// State and messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// All writes of each key, oldest first.
    pub state: BTreeMap<String, Vec<Written>>,
    /// Number of writes so far.
    pub revs: u32,
    /// All messages, oldest first.
    pub mail: Vec<Mail>,
}

impl Share {
    /// The state as it was after the first `rev` writes: key → (version, value).
    pub fn as_of(&self, rev: u32) -> BTreeMap<&str, (usize, &Value)> {
        self.state
            .iter()
            .filter_map(|(key, writes)| {
                let version = writes.partition_point(|w| w.rev <= rev);
                (version > 0).then(|| (key.as_str(), (version, &writes[version - 1].value)))
            })
            .collect()
    }
}

/// The tool by which an agent asks a person.
pub const ASK_HUMAN: &str = "ask_human";
/// Longest question with its options, in bytes.
pub const QUESTION_BYTES_MAX: usize = 8 * 1024;
/// Most answers an agent may suggest.
pub const QUESTION_OPTIONS_MAX: usize = 10;

/// The tools of every agent that are decided in the same commit as the reply that asked for them.
pub const TOOLS: [&str; 4] = ["state_set", "state_get", "send_message", "read_messages"];

/// Whether a tool is decided here.
pub fn is_shared_tool(name: &str) -> bool {
    TOOLS.contains(&name)
}

/// Arguments of `state_set`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetArgs {
    pub(crate) key: String,
    pub(crate) value: Value,
    #[serde(default)]
    pub(crate) expected_version: Option<u32>,
}
/// Arguments of `state_get`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetArgs {
    #[serde(default)]
    pub(crate) key: Option<String>,
}
/// Arguments of `send_message`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendArgs {
    pub(crate) to: String,
    pub(crate) body: String,
}
/// Arguments of `ask_human`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskArgs {
    pub(crate) question: String,
    #[serde(default)]
    pub(crate) options: Vec<String>,
}
/// Arguments of `read_messages`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadArgs {}

/// These tools as offered to a model.
pub fn tool_specs() -> Vec<ToolSpec> {
    let spec = |name: &str, description: &str, schema: Value| ToolSpec {
        name: name.into(),
        description: description.into(),
        input_schema: schema,
    };
    vec![
        spec(
            "state_set",
            "Write a value of the task's shared state, which all agents of the task can read.",
            json!({"type": "object", "additionalProperties": false, "required": ["key", "value"], "properties": {
            "key": {"type": "string", "maxLength": STATE_KEY_BYTES_MAX}, "value": {"description": "Any JSON value."},
            "expected_version": {"type": "integer", "minimum": 0, "description": "Write only if the key has this version now (0: only if it does not exist)."}}}),
        ),
        spec(
            "state_get",
            "Read one key of the task's shared state, or all of it.",
            json!({"type": "object", "additionalProperties": false, "properties": {"key": {"type": "string"}}}),
        ),
        spec(
            "send_message",
            "Send a message to an agent (its id), to the agent of a step (the step's id), or to all agents of the task.",
            json!({"type": "object", "additionalProperties": false, "required": ["to", "body"], "properties": {
            "to": {"type": "string"}, "body": {"type": "string"}}}),
        ),
        spec(
            "read_messages",
            "Read the messages sent to you since you last read them.",
            json!({"type": "object", "additionalProperties": false, "properties": {}}),
        ),
        spec(
            ASK_HUMAN,
            "Ask the person who gave the task. Only for what you cannot find out or decide yourself: your step waits until they answer.",
            json!({"type": "object", "additionalProperties": false, "required": ["question"], "properties": {
            "question": {"type": "string"}, "options": {"type": "array", "items": {"type": "string"}, "maxItems": QUESTION_OPTIONS_MAX}}}),
        ),
    ]
}
