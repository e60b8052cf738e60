//! margay: a sharded thread-per-core BitTorrent tracker.

pub mod api;
pub mod books_command;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connection_id;
pub mod control;
pub mod core;
pub mod front;
pub mod full_scrape;
pub mod gather;
pub mod interval;
pub mod journal_command;
pub mod limits;
pub mod log;
pub mod mesh;
pub mod net;
pub mod private;
pub mod route;
pub mod serve;
pub mod server;
pub mod site_command;
pub mod snapshot_command;
pub mod torrent_file;
pub mod wire;
