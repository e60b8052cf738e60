//! The state that outlives the process: the journal of what happened and snapshots of the swarms, in a data directory
//! that one process owns, and the database that a private tracker shares with its site.

#![forbid(unsafe_code)]

pub mod bans;
pub mod belongs;
pub mod books;
pub mod check;
pub mod data_dir;
pub mod journal;
pub mod lease;
pub mod ledger;
pub mod postgres;
pub mod register;
pub mod restart;
pub mod snapshot;
mod stoppable;
pub mod suspicion;
mod trouble;

#[cfg(test)]
mod pieces;
#[cfg(test)]
mod scratch;

pub use data_dir::{DataDir, DataDirError};
pub use lease::{Lease, LeaseOptions, Tenure};
pub use ledger::{Ledger, LedgerOptions, LedgerStatus};
pub use postgres::{Database, DatabaseError};
pub use snapshot::{
    Covered, Grace, Meta, Mode, Restored, Snapshot, SnapshotError, SnapshotWriter, Totals, Written,
};
pub use stoppable::{StopSign, Stoppable};
pub use trouble::Trouble;
