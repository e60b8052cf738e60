//! margay: a sharded thread-per-core BitTorrent tracker.

pub mod cli;
pub mod config;
pub mod limits;
pub mod log;
pub mod server;
