//! Replies from a script, in this process: for demonstrations, tests and load. Never a model, and says so in every output.
//!
//! Invariant: what the script decides is played as a provider would: its latency, its pieces, its faults, in our classes.
//! Must not know how the script decides.
use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use maos_engine::message::{Block, CallError, Reply, Request, StopReason};
use maos_script::{Fault, Meta, Part as Said, Piece, Planned, RateLine, Script, ScriptState};
use tokio::time::{Duration, Instant};

use crate::{
    model::{Answer, Bucket, Checked, Description, Limits, Model, Part, PartSink},
    models::{ConfigError, SCRIPTED_MODEL_DEFAULT},
    options::{Provider, ScriptedOptions, Timeouts},
    tools::{make_ids_unique, tool_block},
};

/// What every output of this provider carries.
const NOTE_DEMO: &str = "scripted: replies come from the built-in script, no model was asked";

/// Plays a script.
pub(crate) struct Scripted {
    state: ScriptState,
    model: String,
    note: String,
    timeouts: Timeouts,
    /// The origin of the script's clock.
    started: Instant,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("model", &self.model).field("note", &self.note).finish_non_exhaustive()
    }
}

impl Scripted {
    /// Reads the script; the built-in one if none is named.
    pub(crate) fn new(options: &ScriptedOptions, timeouts: Timeouts) -> Result<Self, ConfigError> {
        let (script, note) = match &options.path {
            Some(path) => (load(path)?, format!("scripted: replies come from {}, no model was asked", path.display())),
            None => (Script::demo(), NOTE_DEMO.to_owned()),
        };
        Ok(Self {
            state: ScriptState::new(Arc::new(script)),
            model: options.model.clone().unwrap_or_else(|| SCRIPTED_MODEL_DEFAULT.to_owned()),
            note,
            timeouts,
            started: Instant::now(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn fail(&self, planned: &Planned, fault: &Fault, parts: &dyn PartSink) -> CallError {
        // Silence lasts as long as a client would bear it.
        let silence_ms = match fault {
            Fault::NoHeader => self.timeouts.first_byte_ms,
            Fault::Stall { .. } => self.timeouts.idle_ms,
            Fault::Status { .. }
            | Fault::Reset { .. }
            | Fault::Cut { .. }
            | Fault::EndEarly
            | Fault::ErrorEvent { .. }
            | Fault::Malformed
            | Fault::Raw { .. }
            | Fault::GzipBomb { .. } => 0,
        };
        wait(Duration::from_millis(silence_ms)).await;
        if parts.wanted() && matches!(fault, Fault::Cut { .. } | Fault::EndEarly | Fault::Stall { .. } | Fault::ErrorEvent { .. }) {
            parts.part(Part::Reset);
        }
        fault.call_error(&planned.headers)
    }

    /// Plays the pieces in their tempo; in one wait if nobody looks.
    async fn play(planned: &Planned, parts: &dyn PartSink) {
        if !parts.wanted() {
            if !planned.drip.is_zero() {
                let gaps = planned.parts().count().saturating_sub(1);
                wait(planned.drip.saturating_mul(u32::try_from(gaps).unwrap_or(u32::MAX))).await;
            }
            return;
        }
        let all: Vec<Said<'_>> = planned.parts().collect();
        for (i, said) in all.into_iter().enumerate() {
            if i > 0 {
                wait(planned.drip).await;
            }
            match said {
                Said::Text(text) => parts.part(Part::Text(text.to_owned())),
                Said::Thinking(text) => parts.part(Part::Thinking(text.to_owned())),
                Said::ToolStart { name, .. } => parts.part(Part::ToolStart { name: name.to_owned() }),
                Said::ToolJson(_) => {}
            }
        }
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn load(path: &Path) -> Result<Script, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Script(format!("{}: {e}", path.display())))?;
    Script::parse(&text).map_err(|e| ConfigError::Script(format!("{}: {e}", path.display())))
}

/// The reply, with tool calls read the way a client of a wire reads them.
fn reply(planned: Planned) -> Reply {
    let Reply { model, stop, usage, request_id, .. } = planned.reply();
    let cut = stop == StopReason::MaxTokens;
    let last = planned.pieces.len().saturating_sub(1);
    let mut content: Vec<Block> = planned
        .pieces
        .into_iter()
        .enumerate()
        .map(|(i, piece)| match piece {
            Piece::Text(text) | Piece::Cited { text, .. } => Block::Text { text },
            Piece::Thinking { text, signature } => Block::Thinking { thinking: text, signature },
            Piece::Redacted(data) => Block::RedactedThinking { data },
            Piece::Server(block) => Block::Provider { block },
            Piece::Tool { id, name, json } => tool_block(id, name, json, None, cut && i == last),
        })
        .collect();
    make_ids_unique(&mut content, "toolu");
    Reply { model, content, stop, usage, request_id }
}

fn limits(planned: &Planned) -> Option<Limits> {
    let bucket = |line: Option<RateLine>| line.map(|l| Bucket { limit: l.limit, remaining: l.remaining, reset_ms: Some(l.reset_ms) });
    planned.rate.as_ref().map(|seen| Limits {
        requests: bucket(seen.requests),
        input_tokens: bucket(seen.input_tokens),
        output_tokens: bucket(seen.output_tokens),
    })
}

#[async_trait]
impl Model for Scripted {
    async fn call(&self, request: &Request, parts: &dyn PartSink) -> Result<Answer, CallError> {
        let planned = self.state.answer(request, &Meta { now_ms: self.now_ms(), ..Meta::default() });
        self.state.begins();
        wait(planned.latency).await;
        if let Some(calls) = planned.until_calls {
            self.state.until_calls(calls).await;
        }
        if let Some(fault) = &planned.fault {
            return Err(self.fail(&planned, fault, parts).await);
        }
        self.state.first_token(&planned);
        Self::play(&planned, parts).await;
        let limits = limits(&planned);
        Ok(Answer { reply: reply(planned), limits })
    }

    fn provider(&self) -> &'static str {
        Provider::Scripted.as_str()
    }

    fn describe(&self) -> Description {
        Description {
            provider: Provider::Scripted.as_str(),
            models: vec![self.model.clone()],
            base_url: None,
            key_name: None,
            proxy: None,
            note: Some(self.note.clone()),
        }
    }

    async fn check(&self) -> Result<Checked, CallError> {
        Ok(Checked { latency_ms: 0, status: 200, models: vec![self.model.clone()], request_id: None })
    }
}
