//! Talks to language models: one trait, one file per provider, a rate gate, a price table.
//!
//! Invariant: one call of [`Model::call`] is at most one request on the wire. Nothing here retries; the engine decides that,
//! because every attempt is journaled. Must not know tasks, the journal, budgets or tools that are run.
mod build_providers;
mod claude;
mod estimate;
pub mod gate;
mod headers;
mod http;
pub mod model;
pub mod models;
mod openai;
pub mod options;
pub mod prices;
mod scripted;
mod sse;
#[cfg(test)]
mod testing;
mod tools;
mod usage;

pub use gate::{Gate, GateView, Need, Permit};
pub use model::{Answer, Bucket, Checked, Description, Endpoint, Limits, Model, NoParts, Part, PartSink, Resolved};
pub use models::{Chosen, ConfigError, Models, connect};
pub use options::{
    ClaudeOptions, Fallback, LocalOptions, ModelRef, OpenAiOptions, Options, Provider, RateOptions, ScriptedOptions, Timeouts,
};
pub use prices::{Money, Price, PriceTable, WEB_SEARCH};
