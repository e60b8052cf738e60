//! Decisions and descriptions: what is counted, who is allowed.

#![forbid(unsafe_code)]

pub mod counters;
pub mod health;
pub mod host;
pub mod lists;
pub mod metrics;
pub mod process;
pub mod slot;
