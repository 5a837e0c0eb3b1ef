//! The long form of the kill -9 loop.
fn main() {}
