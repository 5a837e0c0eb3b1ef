//! maos-local: a real small model with no key and no network.
//!
//! Two halves. The [`Store`] keeps model files under `~/.maos/models`, and [`pull`] fills it; a file gets its name only after its size
//! and SHA-256 agree with the [`Catalog`]. [`Local`] runs llama.cpp's own server as a managed child on loopback and hands out an
//! [`Endpoint`] which any client of the chat-completions protocol can call.
//! This crate must not know tasks, agents, the journal or any other provider.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod catalog;
mod error;
mod pull;
mod server;
mod store;

pub use catalog::{Catalog, Model, Packages};
pub use error::LocalError;
pub use pull::{Progress, Silent, Source, Step, pull};
pub use server::{Endpoint, Local, Options, Runner, State, find_runner, prepare_runner};
pub use store::{Installed, Store};
