//! The tools agents are offered: those every agent has, decided by the engine itself, and those that run outside it.
use async_trait::async_trait;
use maos_engine::decide::ToolTable;
use maos_engine::event::Repeat;
use maos_engine::ids::{EffectId, TaskId};
use maos_engine::message::ToolSpec;
use maos_engine::share;
use maos_llm::Provider;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tool that runs outside the engine.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Name, description and schema.
    fn spec(&self) -> ToolSpec;
    /// Whether the same call may be run twice. There is no default: whoever writes a tool must decide.
    fn repeat(&self) -> Repeat;
    /// Checks arguments; the error is a sentence for the model.
    fn check(&self, args: &Value) -> Result<(), String>;
    /// Runs it. Dropping the future must stop it. `Err` is a failure the model is told.
    async fn run(&self, task: &TaskId, effect: &EffectId, args: Value) -> Result<String, String>;
}

/// All tools by name.
#[derive(Clone)]
pub struct ToolBox {
    tools: BTreeMap<String, Arc<dyn Tool>>,
    /// What agents are offered, made once: every request holds it.
    offered: Arc<[ToolSpec]>,
}

impl Default for ToolBox {
    fn default() -> Self {
        Self::new([])
    }
}

impl ToolBox {
    /// A box of these tools.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        let tools: BTreeMap<String, Arc<dyn Tool>> = tools.into_iter().map(|t| (t.spec().name, t)).collect();
        let offered = share::tool_specs().into_iter().chain(tools.values().map(|t| t.spec())).collect();
        Self { tools, offered }
    }
    /// By name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }
    /// What agents of a type are offered. A small model on this machine is offered none: it calls them for no reason and repeats the
    /// calls, and its step ends without an output.
    pub fn offered(&self, provider: Provider) -> Arc<[ToolSpec]> {
        if provider == Provider::Local {
            return Arc::default();
        }
        Arc::clone(&self.offered)
    }
}

impl ToolTable for ToolBox {
    fn check(&self, name: &str, args: &Value) -> Result<Repeat, String> {
        let Some(tool) = self.tools.get(name) else {
            let names: Vec<&str> = share::TOOLS.into_iter().chain(self.tools.keys().map(String::as_str)).collect();
            return Err(format!("there is no tool '{}'; available: {}", name.chars().take(64).collect::<String>(), names.join(", ")));
        };
        tool.check(args).map(|()| tool.repeat())
    }
    fn repeat(&self, name: &str) -> Option<Repeat> {
        self.tools.get(name).map(|t| t.repeat())
    }
}
