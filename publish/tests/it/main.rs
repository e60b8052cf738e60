//! The publisher from outside: real tools, real clients, real trackers.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod announce;
mod attacks;
mod bridge;
mod command;
mod crash;
mod engine;
mod feed;
mod places;
mod site;
mod story;
mod watch;
