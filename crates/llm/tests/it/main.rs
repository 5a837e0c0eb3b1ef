//! Tests of maos-llm as its callers see it: real sockets on loopback, every fault a provider is known for.
mod claude;
mod contract;
mod faults;
mod gate;
mod local;
mod models;
mod openai;
mod prices;
mod scripted;
mod secrets;
mod support;
