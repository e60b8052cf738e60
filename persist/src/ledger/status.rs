//! How the ledger is doing, for metrics and health.

use std::time::Duration;

use shard::Seconds;

use super::gaps::Gaps;
use crate::books::State;
use crate::suspicion::Suspected;

/// How the ledger is doing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LedgerStatus {
    /// There is a connection, and the journal is this process's to write.
    pub connected: bool,
    /// How the books are, and what to do.
    pub state: State,
    /// All records before this one are in the database, for good; `None` until it has been asked.
    pub position: Option<u64>,
    /// When the oldest record came about that is known and not in the database; `None` when all are, or
    /// when it was of no peer.
    pub oldest_at: Option<Seconds>,
    /// How often everything was found to be written.
    pub caught_up: u64,
    /// Facts written so far.
    pub facts: u64,
    /// Changes of the site written so far.
    pub changes: u64,
    /// Peers so far that left without saying so.
    pub gone: u64,
    /// Transactions so far.
    pub batches: u64,
    /// Records in the last one; far behind, many more than `batch_max`.
    pub batch_records: u64,
    /// How long it took.
    pub batch_time: Duration,
    /// How long all of them took.
    pub batches_time: Duration,
    /// How many records the next one may have.
    pub batch_max: u64,
    /// How often a batch was begun anew, or the database looked for again.
    pub retries: u64,
    /// Records, or parts of them, that the database did not take and that are in the table `rejected`.
    pub rejected: u64,
    /// Credits for users that are not in the database any more, added up by user and batch.
    pub unknown_users: u64,
    /// Figures of torrents that are not in the database any more, by torrent and batch.
    pub unknown_torrents: u64,
    /// Use of tokens that are not in the database any more, by token and batch.
    pub unknown_tokens: u64,
    /// Announces reported in the table `suspicions`.
    pub suspected: Suspected,
    /// Records that the database will never get, as its table `gaps` has them now.
    pub gaps: Gaps,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
}
