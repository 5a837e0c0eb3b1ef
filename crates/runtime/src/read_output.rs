//! The tool by which an agent reads on in an output that was too long for its prompt.
use crate::tools::{Approval, Call, Nature, Output, Outward, Tool};
use crate::views::Views;
use async_trait::async_trait;
use maos_engine::event::Repeat;
use maos_engine::ids::{Place, StepId, TaskId};
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use maos_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The tool's name.
pub(crate) const READ_OUTPUT: &str = "read_output";
/// Bytes of one page.
const PAGE_BYTES: usize = 32 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    of: String,
    #[serde(default)]
    offset: usize,
}

/// See the head of this file. An output of the own task is named by its step, a result by the id of the task this one waited for.
pub(crate) struct ReadOutput {
    store: Arc<dyn Store>,
    views: Views,
}

impl ReadOutput {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, views: Views::default() }
    }

    /// The text, and the marks it carries: those of the conversation that wrote it, and both for what another task gave.
    async fn text(&self, task: &TaskId, of: &str) -> Result<(String, Taint), String> {
        let own = self.views.get(&*self.store, task).await.map_err(|e| e.to_string())?;
        let (state, at, taint) = if let Some(other) = own.spec.depends_on.iter().find(|t| t.as_str() == of) {
            let other = self.views.get(&*self.store, other).await.map_err(|e| e.to_string())?;
            let at = other.result.clone();
            (other, at, Taint::BOTH)
        } else {
            let run = StepId::new(of).ok().and_then(|id| own.runs.get(&Place::Step(id)));
            let (at, taint) = run.map_or((None, Taint::NONE), |r| (r.output.clone(), r.taint));
            (own, at, taint)
        };
        let at = at.ok_or_else(|| format!("'{of}' has no output: name a step that has ended, or a task this one waited for"))?;
        let text = crate::tasks::text_at(&*self.store, &state, &at).await.map_err(|e| e.to_string())?;
        Ok((text, taint))
    }
}

#[async_trait]
impl Tool for ReadOutput {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: READ_OUTPUT.into(),
            description: "Read on in the output of a step, or in the result of a task, that was shown to you cut.".into(),
            input_schema: json!({"type": "object", "additionalProperties": false, "required": ["of"], "properties": {
                "of": {"type": "string", "description": "The id of the step, or of the task."},
                "offset": {"type": "integer", "minimum": 0, "description": "Bytes from the beginning."}}}),
        }
    }
    fn nature(&self) -> Nature {
        // What it brings depends on what is read: see `run`.
        Nature { repeat: Repeat::Safe, brings: Taint::NONE, writes: false, approval: Approval::Never }
    }
    fn check(&self, args: &Value) -> Result<(), String> {
        serde_json::from_value::<Args>(args.clone()).map(drop).map_err(|e| e.to_string())
    }
    fn outward(&self, _: &Value) -> Option<Outward> {
        None
    }
    async fn run(&self, call: Call) -> Output {
        let args = match serde_json::from_value::<Args>(call.args) {
            Ok(args) => args,
            Err(error) => return Output::error(error.to_string()),
        };
        match self.text(&call.task, &args.of).await {
            Ok((text, taint)) => {
                let from = floor(&text, args.offset);
                let to = floor(&text, from.saturating_add(PAGE_BYTES));
                let rest =
                    if to < text.len() { format!("\n[{} bytes follow: read on at offset {to}]", text.len() - to) } else { String::new() };
                Output { brings: taint, ..Output::ok(format!("{}{rest}", &text[from..to])) }
            }
            Err(why) => Output::error(why),
        }
    }
}

/// The nearest character boundary at or before a byte.
pub(crate) fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
