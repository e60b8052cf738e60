//! The publisher: reads the command line, does what it says, prints what went wrong.

fn main() {}
