//! maos-local
