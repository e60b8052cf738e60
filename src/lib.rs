//! margay: a sharded thread-per-core BitTorrent tracker.

pub mod config;
pub mod snapshot_command;
