//! The publisher as its users have it: real programs, real files.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod feed;
