//! The HTTP side of MAOS: routes, event streams, security, the OpenAPI document.
//!
//! Handlers parse, make one call and convert; they hold no rules. What a request may do is decided behind [`backend::Backend`]. This
//! crate must not know SQL, providers of models, or how anything is printed.
mod agents;
mod app;
pub mod auth;
pub mod backend;
pub mod config;
mod configuration;
mod cursor;
mod doc;
mod etag;
mod files;
mod guard;
mod hub;
mod idempotency;
mod input;
pub mod logs;
mod machine;
mod mcp;
mod metrics;
mod pages;
mod people;
mod reply;
mod serve;
mod stream;
mod tasks;
mod validate;
mod views;
pub mod wire;

pub use app::BuildInfo;
pub use auth::AuthOptions;
pub use doc::openapi;
pub use logs::LogBuffer;
pub use serve::{ServeError, ServeOptions, ServerHandle, serve};
