//! This process and its machine: limits, memory, threads and the clock.

pub mod clock;
pub mod limits;
pub mod memory;
pub mod thread;
