//! margay: a sharded thread-per-core BitTorrent tracker.

pub mod api;
pub mod command;
pub mod config;
pub mod control;
pub mod core;
pub mod front;
pub mod handover;
pub mod net;
pub mod private;
pub mod process;
pub mod server;
pub mod wire;
