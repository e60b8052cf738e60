//! The publisher from outside: real tools, real clients, real trackers.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod announce;
mod bridge;
mod command;
mod engine;
mod feed;
mod nginx;
mod prepared;
mod torrent;
mod watch;
