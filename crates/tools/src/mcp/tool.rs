//! A tool of an MCP server as a tool of agents.
use crate::mcp::names::tool_name;
use crate::mcp::pins::Definition;
use crate::mcp::schema;
use crate::mcp::server::Server;
use crate::tool::{Call, Nature, Output, Outward, Tool};
use async_trait::async_trait;
use jsonschema::Validator;
use maos_engine::event::Repeat;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use serde_json::Value;
use std::sync::Arc;

/// Most faults of arguments that a model is told at once.
const FAULTS_MAX: usize = 3;

/// A tool of a server.
pub(super) struct McpTool {
    server: Arc<Server>,
    /// The server's name for it.
    remote: String,
    spec: ToolSpec,
    validator: Validator,
}

impl McpTool {
    /// # Errors
    /// Its schema is not one.
    pub(super) fn new(server: &Arc<Server>, definition: &Definition) -> Result<Self, String> {
        let validator = schema::validator(&definition.input_schema)?;
        let description = match definition.description.trim() {
            "" => format!("The tool {} of the MCP server {}.", definition.name, server.config.name),
            text => text.to_owned(),
        };
        let name = tool_name(&server.config.name, &definition.name);
        let spec = ToolSpec { name, description, input_schema: definition.input_schema.clone() };
        Ok(Self { server: Arc::clone(server), remote: definition.name.clone(), spec, validator })
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    /// Repeating is safe only where the operator says so: a server's own hints are text of strangers. What it answers is text of
    /// strangers too, and it may be the user's own data (mail, documents, a data base): nobody can tell from here, so it is both.
    fn nature(&self) -> Nature {
        let safe = self.server.config.repeat_safe.contains(&self.remote);
        Nature {
            repeat: if safe { Repeat::Safe } else { Repeat::Never },
            brings: Taint::BOTH,
            writes: false,
            approval: self.server.config.approval,
        }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        if !args.is_object() {
            return Err("The arguments must be an object.".into());
        }
        if !schema::affordable(&self.spec.input_schema, args) {
            return Err("The arguments are nested too deeply to be checked against this tool's schema; write them flatter.".into());
        }
        let faults: Vec<String> = self
            .validator
            .iter_errors(args)
            .take(FAULTS_MAX)
            .map(|e| match e.instance_path().to_string() {
                path if path.is_empty() => e.to_string(),
                path => format!("{path}: {e}"),
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    /// Even a program on this machine may talk to the world: where its data goes is not known here.
    fn outward(&self, _args: &Value) -> Option<Outward> {
        Some(Outward { to: format!("mcp:{}", self.server.config.name), allowed: self.server.config.allowed, address: None })
    }

    async fn run(&self, call: Call) -> Output {
        let Value::Object(args) = call.args else {
            return Output::error("The arguments must be an object.");
        };
        let call_id = format!("{}/{}", call.task, call.effect);
        self.server.call(&self.remote, args, &call_id, call.timeout).await
    }
}
