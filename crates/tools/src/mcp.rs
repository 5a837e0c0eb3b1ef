//! MCP servers as sources of tools: a pool for the whole node, from `mcp.json`.
//!
//! A server is code and text of somebody else. Its programs get no secrets of ours and die with us; its tools are pinned and count only
//! as they were approved; what it says is bounded, cleaned and marked as text of strangers. Must not know agents, tasks or the journal.
mod child;
mod config;
mod connection;
mod lines;
mod names;
mod noise;
mod output;
mod pins;
mod pool;
mod probe;
mod schema;
mod server;
mod text;
mod tool;
mod transport;
mod trust;

pub use child::INHERITED;
pub use config::{Endpoint, McpConfig, McpFiles, ServerConfig, Variables};
pub use pins::{Definition, Definitions, Pin, Pins};
pub use pool::{McpPool, PoolOptions};
pub use probe::{Probe, probe};
pub use server::{ServerState, ServerStatus};
pub(crate) use text::head_and_tail;
pub use trust::trust;
