//! What outlives the process: the journal of what happened and snapshots of the swarms, in a data
//! directory that one process owns.

#![forbid(unsafe_code)]

pub mod data_dir;
pub mod journal;
pub mod snapshot;

#[cfg(test)]
mod pieces;
#[cfg(test)]
mod scratch;

pub use data_dir::{DataDir, DataDirError};
pub use snapshot::{
    Grace, Meta, Restored, Snapshot, SnapshotError, SnapshotWriter, Totals, Written,
};
