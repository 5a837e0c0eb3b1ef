//! The tools against real servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the counts are part of the proof")]
mod http_tool;
mod programs;
mod search;
mod ssrf;
mod web;
mod web_server;
#[path = "../../../egress/tests/world/mod.rs"]
mod world;
