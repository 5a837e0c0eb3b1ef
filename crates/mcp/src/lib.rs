//! MAOS as an MCP server: other programs submit tasks, follow them and read results. Two faces, one set of tools: stdio for
//! `maos mcp serve`, streamable HTTP for `/mcp`.
//!
//! Invariant: every tool is one or two calls of the API and decides nothing; both faces answer the same. Must not know the runtime, the
//! store, or who listens: whoever mounts the HTTP face puts the API's own guard (Host, Origin, key) before it.
mod door;
mod serve;
mod tools;
mod view;

pub use door::{Door, Refusal};
pub use serve::{HttpService, http_service, serve_stdio};
