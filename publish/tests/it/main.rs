//! The publisher from outside: real tools, real clients, real trackers.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod announce;
mod attacks;
mod bridge;
mod by_hand;
mod command;
mod crash;
mod engine;
mod failover;
mod feed;
mod feed_over_tls;
mod keys;
#[path = "../../../tests/it/names.rs"]
mod names;
mod nginx;
mod operating;
mod places;
mod prepared;
mod registered;
mod screened;
mod signals;
mod site;
mod story;
mod torrent;
mod watch;
