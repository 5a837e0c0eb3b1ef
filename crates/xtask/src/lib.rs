//! Checks that run with the tests: see `tests/tidy.rs`.
