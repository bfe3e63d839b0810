//! Filled in later.
fn main() {}
