//! What the shell says.

pub mod ask;
pub mod cli;
