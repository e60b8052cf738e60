//! margay: a sharded thread-per-core BitTorrent tracker.

pub mod config;
pub mod connection_id;
pub mod wire;
