//! Tests of the publisher with real programs.

mod announce;
mod bridge;
