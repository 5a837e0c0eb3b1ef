//! The seam between MAOS and what acts on the world. Nothing here acts.
use crate::turns::Turn;
use async_trait::async_trait;
use maos_engine::event::Repeat;
use maos_engine::ids::{AgentId, EffectId, TaskId};
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use maos_sandbox::Workspace;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A tool that runs outside the engine.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Name, description and schema, as the model sees them.
    fn spec(&self) -> ToolSpec;
    /// What it does to the world. There is no default: whoever writes a tool must decide.
    fn nature(&self) -> Nature;
    /// Checks arguments before anything is recorded; the error is a sentence for the model. Pure and fast.
    fn check(&self, args: &Value) -> Result<(), String>;
    /// Where a call with these (checked) arguments sends data; `None` if nothing leaves this machine.
    fn outward(&self, args: &Value) -> Option<Outward>;
    /// Waits until a call of this agent may begin. What it gives is held until the call has ended, and the call's time runs from here on.
    /// Tools whose calls could use up the machine together have a reason to make them wait; others have none.
    async fn turn(&self, _agent: &AgentId) -> Turn {
        Turn::default()
    }
    /// Runs it. Dropping the future must stop it and everything it started.
    async fn run(&self, call: Call) -> Output;
}

/// What a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Whether the same call may be run twice.
    pub repeat: Repeat,
    /// What every result of it brings into the conversation that sees it.
    pub brings: Taint,
    /// It may change files of the workspace.
    pub writes: bool,
    /// When a person must agree first, whatever the taint is.
    pub approval: Approval,
}

/// When a person must agree before a tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Only where the taint of the conversation asks for it.
    #[default]
    Never,
    /// When it sends data anywhere that is not on the allow-list.
    OutsideAllowlist,
    /// Each time.
    Always,
}

/// A way out of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outward {
    /// Where to, for people: `api.example.org`, `mcp:github`.
    pub to: String,
    /// The operator's configuration allows this destination for anything.
    pub allowed: bool,
    /// The call does no more than read this address, which is short: it carries nothing out if it was found somewhere and not made up.
    pub address: Option<String>,
}

/// A call: what the model asked for, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Call {
    /// The task.
    pub task: TaskId,
    /// The call; its text is the idempotency key where a receiver takes one.
    pub effect: EffectId,
    /// Who asked.
    pub agent: AgentId,
    /// Checked arguments.
    pub args: Value,
    /// The task's files.
    pub workspace: Arc<Workspace>,
    /// Most memory of its processes together, bytes.
    pub memory_bytes: u64,
    /// Longest time, whatever the tool's own limits say.
    pub timeout: Duration,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What the model is told, in words it can act on.
    pub text: String,
    /// It failed or was refused.
    pub is_error: bool,
    /// What this result brings besides [`Nature::brings`].
    pub brings: Taint,
    /// Most memory its processes used at once, bytes; 0 if it started none.
    pub memory_peak_bytes: u64,
}

impl Output {
    /// It went well.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: false, brings: Taint::NONE, memory_peak_bytes: 0 }
    }
    /// It failed; the text says why and what would help.
    pub fn error(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: true, brings: Taint::NONE, memory_peak_bytes: 0 }
    }
}
