//! maos-api
