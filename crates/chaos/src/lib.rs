//! Kills MAOS with `kill -9` and proves that nothing was lost and nothing was bought twice.
//!
//! Drives the real binary against the scripted model server, both as processes of their own. Used by tests and by the benchmark; no
//! part of the product. It must not know anything of MAOS but its command line, its HTTP API and its journal.
pub mod http;
pub mod model;
