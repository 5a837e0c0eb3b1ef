//! The runtime from outside: real store, real loop, a scripted model.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]
mod harness;
mod life;
mod marks;
mod prefix;
mod provider_search;
mod sweep;
mod turns;
