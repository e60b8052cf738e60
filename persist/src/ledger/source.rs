//! Where records come from.

use std::error::Error;
use std::sync::Arc;

pub use crate::journal::Record;
use crate::journal::{JournalError, Life, Reader, Status, cut_by};

/// Why a journal cannot be read.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// A journal that is being read while others append to it. Records are numbered without a gap.
pub trait Source: Send {
    /// The name that the journal was given when it began, at random.
    fn journal(&self) -> u64;

    /// The number of the oldest record that is there.
    fn first(&self) -> u64;

    /// Records before this one are on the disk; `None` where that is not known.
    fn end(&self) -> Option<u64> {
        None
    }

    /// The lives of the journal, see [`crate::journal::Journal::lives`]; none where it has none.
    fn lives(&self) -> Vec<Life> {
        Vec::new()
    }

    /// Which records are lost for good, where it is that what keeps the journal from being read: from the
    /// first, and up to the one with which it goes on.
    fn cut_by(&self, error: &SourceError) -> Option<(u64, u64)> {
        let _ = error;
        None
    }

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
    /// Where to begin, once that has been said.
    at: Option<u64>,
    reader: Option<Reader>,
    records: Vec<Record>,
}

impl JournalSource {
    /// Reads nothing before it is told where to begin.
    pub fn new(status: Arc<Status>) -> Self {
        Self { status, at: None, reader: None, records: Vec::new() }
    }
}

impl Source for JournalSource {
    fn journal(&self) -> u64 {
        self.status.id()
    }

    fn first(&self) -> u64 {
        self.status.begin()
    }

    fn end(&self) -> Option<u64> {
        Some(self.status.durable())
    }

    fn lives(&self) -> Vec<Life> {
        self.status.lives()
    }

    fn cut_by(&self, error: &SourceError) -> Option<(u64, u64)> {
        cut_by(self.status.dir(), error.downcast_ref::<JournalError>()?)
    }

    fn seek(&mut self, number: u64) -> Result<(), SourceError> {
        self.status.hold(number);
        (self.at, self.reader) = (Some(number), None);
        self.reader = Some(Reader::follow(&self.status, number)?);
        Ok(())
    }

    fn next_batch(&mut self, max: usize, out: &mut Vec<(u64, Record)>) -> Result<(), SourceError> {
        let Some(at) = self.at else { return Ok(()) };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Reader::follow(&self.status, at)?),
        };
        self.records.clear();
        let first = reader.position();
        let read = reader.read_into(max, &mut self.records);
        // Those before an error are good.
        out.extend((first..).zip(self.records.drain(..)));
        read?;
        Ok(())
    }
}
