//! The margay tracker.

fn main() {}
