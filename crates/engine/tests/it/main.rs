//! Tests of the engine from outside: what is stored, what each input does in each state, and the simulation.
#[path = "../sim/mod.rs"]
mod sim;
mod simulation;
