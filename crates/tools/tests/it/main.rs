//! The tools against real programs, files and servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod mcp;
mod mcp_config;
mod mcp_faults;
mod skills;
