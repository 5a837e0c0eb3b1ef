//! The words of MAOS and its rules: pure, no I/O, no clock, no randomness.
//!
//! A task is a journal; its state is the fold of the journal; what should be in flight is a function of the state.
pub mod message;
