//! Tests of the publisher with real programs.

mod engine;
