//! One file per command. A command parses, asks, prints; rules live in the server.
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod health;
pub(crate) mod help;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod mcp;
pub(crate) mod model;
pub(crate) mod openapi;
pub(crate) mod restart;
pub(crate) mod skill;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod version;
