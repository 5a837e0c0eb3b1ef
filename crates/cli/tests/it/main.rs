//! Black-box tests of the `maos` program: exit code, stdout and stderr of every command.
#![allow(clippy::unwrap_used)]
mod agents;
mod config;
mod errors;
mod files;
mod mcp;
mod offline;
mod people;
mod server;
mod streams;
mod support;
