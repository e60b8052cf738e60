//! Tests of the publishing side with real programs.

#![allow(clippy::unwrap_used, reason = "a test")]

mod torrent;
