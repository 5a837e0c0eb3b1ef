//! maos-script: scripted models, for tests, demos and load.
//!
//! Two layers. The pure one (everything outside `server`) reads a YAML script and says, for a request in the engine's words, what the model answers,
//! when, and how it fails. The `server` layer speaks that answer over real HTTP as the Messages API and as chat completions, byte by byte, with every fault a
//! provider is known for. Invariant: the pure layer does no input or output and reads no clock; the time is an argument.
//! It must not know: tasks, plans, the journal.

mod cache;
mod demo;
mod error;
mod fault;
mod matching;
mod planned;
mod planreply;
mod ranges;
mod rate;
mod reply;
mod script;
mod search;
pub mod server;
mod state;
mod template;
mod tokens;
mod yaml;

pub use cache::{Mark, Place};
pub use error::ScriptError;
pub use fault::{ErrorBody, Fault};
pub use planned::{Part, Piece, Planned, UsageSaid, Wire};
pub use rate::{RateLine, RateSeen};
pub use script::Script;
pub use server::{Running, Server, Stats};
pub use state::{Meta, ScriptState};
pub use tokens::{input_tokens, tokens_of_bytes};
