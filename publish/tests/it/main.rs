//! The publisher from outside: real tools, real clients, real trackers.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod announce;
mod attacks;
mod bridge;
mod command;
mod crash;
mod engine;
mod failover;
mod feed;
mod nginx;
mod places;
mod site;
mod story;
mod torrent;
mod watch;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of what the tests use from PyPI.
fn packages() -> &'static Path {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let prepare = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/prepare");
        let prepared = Command::new(prepare).output().unwrap();
        let said = String::from_utf8_lossy(&prepared.stderr);
        assert!(prepared.status.success(), "{prepare} failed: {said}");
        PathBuf::from(String::from_utf8(prepared.stdout).unwrap().trim())
    })
}
