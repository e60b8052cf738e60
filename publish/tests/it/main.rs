//! The publisher from outside: real tools, real clients, real trackers.

#![allow(clippy::unwrap_used)] // All of this is test code.

mod announce;
mod bridge;
mod command;
mod engine;
mod feed;
mod torrent;
mod watch;
