//! The publisher from outside, with the programs that people use.

mod watch;
