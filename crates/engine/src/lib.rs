//! The words of MAOS and its rules: pure, no I/O, no clock, no randomness.
//!
//! A task is a journal; its state ([`task::Task`]) is the fold of the journal; what should be in flight
//! ([`task::Task::pending`]) is a function of the state. Everything here is deterministic: time, ids and
//! dice are arguments. The crate must never know what a database, a network or a provider is.
mod account;
pub mod action;
mod advance;
pub mod analysis;
mod apply;
pub mod body;
pub mod consensus;
pub mod decide;
pub mod drive;
pub mod event;
pub mod ids;
pub mod input;
pub mod limits;
pub mod message;
pub mod money;
mod outcome;
pub mod plan;
pub mod pool;
pub mod retry;
pub mod share;
pub mod spec;
pub mod status;
pub mod summary;
pub mod taint;
pub mod task;
pub mod time;

pub use advance::APPROVAL_MS_MAX;
pub use time::Time;
