//! What agents ask of people, and what people answer.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tasks::Task;
use crate::time::Time;
use crate::words::words;

words! {
    /// What a person is asked for.
    QuestionKind {
        /// An answer in words.
        Ask = "ask",
        /// Consent to one tool call with exactly these arguments.
        Approval = "approval",
    }
}

/// Something a person is asked. The step that asked waits; everything else goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Question {
    /// Always `question`.
    pub object: String,
    /// Its id, to be given back with the answer.
    pub question_id: String,
    /// The task.
    pub task_id: String,
    /// The step that waits.
    pub step_id: Option<String>,
    /// Who asks.
    pub agent_id: Option<String>,
    /// What is asked for.
    pub kind: QuestionKind,
    /// The question in the agent's words, or why consent is asked for. Text of a model: show it, never run it.
    pub text: String,
    /// Answers the agent suggests; any other text is as good.
    pub options: Vec<String>,
    /// The tool that waits for consent.
    pub tool: Option<String>,
    /// Its exact arguments.
    #[schema(value_type = Option<Object>)]
    pub arguments: Option<serde_json::Value>,
    /// Where it would send data.
    pub to: Option<String>,
    /// When it was asked.
    pub asked_at: Time,
    /// When it is no longer waited for.
    pub expires_at: Option<Time>,
}

/// A person's answer: either `answer`, or `approve`. Unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"answer": "Use the data of 2024"}))]
pub struct TaskInput {
    /// Which question; may be left out while only one is open, but not with `approve`: consent is for the call it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The answer to a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 65536)]
    pub answer: Option<String>,
    /// Consent (true) or refusal (false) of a tool call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<bool>,
    /// Why it is refused; the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub reason: Option<String>,
}

/// What became of an answer: the body and the status (200 or 202) of the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The task as it is now.
    pub task: Task,
    /// It counts. If not, it is kept and counts once the task is taken up, unless another one comes first.
    pub applied: bool,
}
