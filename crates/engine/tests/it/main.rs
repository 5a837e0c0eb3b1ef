//! Tests of the engine from outside: what is stored, what each input does in each state, and the simulation.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where")]

mod budget;
mod conversation;
mod figures;
mod golden;
mod growth;
mod kit;
mod lifecycle;
mod people;
mod plans;
mod pool;
#[path = "../sim/mod.rs"]
mod sim;
mod simulation;
mod table;
mod total;
