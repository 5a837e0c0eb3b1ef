//! The server over real HTTP on loopback, with an in-memory back-end that stands in for the runtime.
mod client;
mod document;
mod fake;
mod idempotency;
mod problems;
mod sites;
mod streams;
mod support;
mod tasks;
