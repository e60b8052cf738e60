//! Decisions and descriptions: what is counted, who is allowed, how options are declared and events logged.

#![forbid(unsafe_code)]

pub mod counters;
pub mod health;
pub mod host;
pub mod lists;
pub mod log;
pub mod metrics;
pub mod options;
pub mod process;
pub mod rates;
pub mod screening;
pub mod service;
pub mod slot;
pub mod tls;
pub mod watched;
