//! The server over real HTTP on loopback, with an in-memory back-end that stands in for the runtime.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]
mod client;
mod document;
mod fake;
mod idempotency;
mod mcp;
mod people;
mod problems;
mod sites;
mod streams;
mod support;
mod tasks;
mod wire;
mod wire_people;
