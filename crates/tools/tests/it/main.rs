//! The tools against real programs, files and servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the counts are part of the proof")]
mod http_tool;
mod mcp;
mod mcp_config;
mod mcp_faults;
mod search;
mod skills;
mod ssrf;
mod web;
mod web_server;
#[path = "../../../egress/tests/world/mod.rs"]
mod world;
