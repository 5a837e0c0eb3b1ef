//! maos
fn main() {}
