//! Snapshots: swarms on disk.

#![forbid(unsafe_code)]
