//! maos-runtime
