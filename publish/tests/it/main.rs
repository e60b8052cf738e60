//! The publisher from outside: real tools, real clients, real trackers.

#![allow(clippy::unwrap_used)] // All of this is test code.

mod engine;
mod watch;
