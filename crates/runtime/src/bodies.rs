//! Large texts of a task in memory: what its prompts and results are made of. Filled before it is needed, because prompts are built by
//! pure code that cannot wait.
use crate::error::Result;
use maos_engine::body::{Body, unhex};
use maos_engine::event::TextRef;
use maos_engine::message::{Block, Reply};
use maos_engine::task::Task;
use maos_store::{Store, StoreError};
use std::collections::HashMap;
use std::sync::Arc;

/// Texts by their hash in hex.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bodies(HashMap<String, Arc<str>>);

impl Bodies {
    /// Adds a text that was just stored.
    pub(crate) fn insert(&mut self, hash: &[u8; 32], text: impl Into<Arc<str>>) {
        self.0.insert(maos_engine::body::hex(hash), text.into());
    }

    /// The text of a body; empty if it was not loaded, which [`Bodies::load`] makes impossible for the bodies given to it.
    pub(crate) fn get<'a>(&'a self, body: &'a Body) -> &'a str {
        match body {
            Body::Inline(text) => text,
            Body::Blob { blob, .. } => self.0.get(blob).map_or("", AsRef::as_ref),
        }
    }

    /// Loads from the store what is missing.
    pub(crate) async fn load(&mut self, store: &dyn Store, bodies: impl Iterator<Item = &Body>) -> Result<()> {
        for body in bodies {
            let Body::Blob { blob, .. } = body else { continue };
            if self.0.contains_key(blob) {
                continue;
            }
            let hash = unhex(blob).ok_or_else(|| StoreError::Invalid { why: format!("'{blob}' is not the address of a blob") })?;
            let bytes = store.get_blob(&hash).await?.ok_or(StoreError::CorruptBlob { hash })?;
            self.0.insert(blob.clone(), String::from_utf8_lossy(&bytes).into());
        }
        Ok(())
    }

    /// The reply of a turn.
    pub(crate) fn reply(&self, body: &Body) -> Option<Reply> {
        serde_json::from_str(self.get(body)).ok()
    }

    /// The text a reference stands for.
    pub(crate) fn text(&self, task: &Task, at: &TextRef) -> String {
        let mut out = String::new();
        let Some(run) = task.runs.get(&at.place) else { return out };
        for number in at.from_turn..=at.to_turn {
            let Some(reply) = run.turn(number).and_then(|t| t.paid.as_ref()).and_then(|p| self.reply(&p.reply)) else { continue };
            if at.answer {
                out.push_str(&answer_text(&reply));
            } else {
                out.push_str(&reply.text());
            }
        }
        out
    }
}

fn answer_text(reply: &Reply) -> String {
    let text = reply.content.iter().find_map(|b| match b {
        Block::ToolUse { name, input, .. } if name == maos_engine::plan::ANSWER => input.get("text").and_then(|t| t.as_str()),
        _ => None,
    });
    text.unwrap_or_default().to_owned()
}
