//! margay: a sharded thread-per-core BitTorrent tracker.

pub mod clock;
pub mod config;
pub mod control;
pub mod gather;
pub mod interval;
pub mod mesh;
pub mod net;
pub mod route;
