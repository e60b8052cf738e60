//! This process and its machine: limits, memory, threads, the clock and the log.

pub mod clock;
pub mod limits;
pub mod log;
pub mod memory;
pub mod thread;
