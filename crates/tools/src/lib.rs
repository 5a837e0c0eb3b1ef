//! The tools of agents that run outside the engine: the seam ([`Tool`]), the built-in ones, declarative HTTP tools, MCP, skills.
//!
//! The model is an untrusted interpreter: arguments are checked here as if an attacker wrote them. A tool declares its schema, its
//! limits, whether repeating it is safe, what its result brings into a conversation, and where it sends data. Must not know the store,
//! models or the server.
mod arguments;
mod beneath;
pub mod files;
pub mod http_tool;
pub mod instructions;
pub mod mcp;
mod private_file;
mod problem;
pub mod run;
pub mod skills;
pub mod tool;
pub mod turns;
pub mod web;

pub use problem::Problem;
pub use tool::{Approval, Call, Nature, Output, Outward, Tool};
pub use turns::{Turn, Turns};
