//! The runtime from outside: real store, real loop, a scripted model.
mod harness;
mod life;
