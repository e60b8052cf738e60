//! Where records come from.

use std::error::Error;
use std::sync::Arc;

pub use crate::journal::Record;
use crate::journal::{Reader, Status};

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

/// The journal that this process writes, followed while it grows.
pub struct JournalSource {
    status: Arc<Status>,
    reader: Option<Reader>,
    records: Vec<Record>,
}

impl JournalSource {
    /// Reads nothing before it is told where to begin.
    pub fn new(status: Arc<Status>) -> Self {
        Self { status, reader: None, records: Vec::new() }
    }
}

impl Source for JournalSource {
    fn journal(&self) -> u64 {
        self.status.id()
    }

    fn first(&self) -> u64 {
        self.status.begin()
    }

    fn seek(&mut self, number: u64) -> Result<(), SourceError> {
        self.reader = Some(Reader::follow(&self.status, number)?);
        Ok(())
    }

    fn next_batch(&mut self, max: usize, out: &mut Vec<(u64, Record)>) -> Result<(), SourceError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        self.records.clear();
        let first = reader.read_into(max, &mut self.records)?;
        out.extend((first..).zip(self.records.drain(..)));
        Ok(())
    }
}
