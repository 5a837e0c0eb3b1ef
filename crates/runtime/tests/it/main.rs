//! The runtime from outside: real store, real loop, a scripted model.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]
#![expect(clippy::print_stdout, reason = "the measured figures are part of the proof")]
mod harness;
mod life;
mod prefix;
mod provider_search;
