//! Tests of maos-local through its public interface.
//!
//! `pulls` and `child` use small fake files and a fake `llama-server`; `model` runs the real 0.5B model, which
//! `scripts/fetch-model coder-0.5b DIR` fetches (see `real::models_dir`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test should panic where it fails")]

mod child;
mod fake;
mod model;
mod pulls;
mod real;
mod script;
