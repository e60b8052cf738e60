//! The outside view: starts the real program and looks at what it says.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod command;
