//! Where records come from.

use std::error::Error;

pub use crate::journal::Record;

/// Why a journal cannot be read.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// A journal that is being read while others append to it. Records are numbered without a gap.
pub trait Source: Send {
    /// The name that the journal was given when it began, at random.
    fn journal(&self) -> u64;

    /// The number of the oldest record that is there.
    fn first(&self) -> u64;

    /// The record to be given next is this one. An error when the journal does not have it any more, or
    /// ends before it.
    fn seek(&mut self, number: u64) -> Result<(), SourceError>;

    /// Appends the next records, at most `max`, with their numbers; none when there are none for now.
    /// Does not wait for them. Only records that are on the disk: the database must not know more than
    /// the journal does after a crash.
    fn next_batch(&mut self, max: usize, out: &mut Vec<(u64, Record)>) -> Result<(), SourceError>;
}
