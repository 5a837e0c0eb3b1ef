//! Runs programs of agents where they can do no harm, and touches files of a task beneath one root however a path is spelled.
//!
//! Invariant: if the asked tier cannot be built, nothing runs. Must not know models, tasks' rules, or the network's rules.
mod workspace;

pub use workspace::Workspace;
