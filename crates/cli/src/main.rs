//! The podcert command.
fn main() {}
