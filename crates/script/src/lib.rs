//! maos-script
