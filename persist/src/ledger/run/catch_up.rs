//! The ledger's way when it is far behind: it takes in many records as the few rows that come of them, and writes
//! these in one transaction.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use shard::private::UserId;

use super::{Counts, SessionError, Worker};
use crate::journal::Life;
use crate::ledger::batch::{LastCredits, note_credit};
use crate::ledger::digest::{Digest, PEERS_MAX};
use crate::ledger::write::{Fault, Writer};
use crate::ledger::{Record, Source, SourceError};

/// How large the next digest may be, and whether there is to be one.
#[derive(Debug)]
pub(super) struct Stride {
    /// Clients of the next one.
    peers: usize,
    /// As many as of a batch: with so many it begins, and begins again after a failure.
    peers_first: usize,
    /// The database refused a row of one. To find out which, all that is behind is written in batches.
    refused: bool,
    /// The last one was ended by a change of the site when it was smaller than a batch, which takes several of
    /// them: the next is a batch.
    ended_early: bool,
}

impl Stride {
    /// `peers_first` are the records of a batch.
    pub(super) fn new(peers_first: usize) -> Self {
        Self { peers: peers_first, peers_first, refused: false, ended_early: false }
    }

    /// Far behind is where so many batches would be full.
    fn is_far(&mut self, behind: u64) -> bool {
        let far = behind >= self.peers_first as u64 * BATCHES_BEHIND;
        if !far {
            *self = Self::new(self.peers_first);
        }
        far && !std::mem::take(&mut self.ended_early) && !self.refused
    }

    /// The connection was lost, or somebody was in the way: what was done in vain is not to be much again.
    pub(super) fn fail(&mut self) {
        self.peers = self.peers_first;
    }

    fn refuse(&mut self) {
        self.refused = true;
    }

    /// The last one was written, and was full or not. The larger, the cheaper a record.
    fn adapt(&mut self, full: bool, took: Duration) {
        let most = PEERS_MAX.max(self.peers_first);
        if took > DIGEST_TIME {
            self.peers = (self.peers / 2).max(self.peers_first);
        } else if full && took < DIGEST_TIME / 4 {
            self.peers = (self.peers * 4).min(most);
        } else if full && took < DIGEST_TIME / 2 {
            self.peers = (self.peers * 2).min(most);
        }
    }
}

impl<S: Source> Worker<S> {
    /// Where it is far behind, writes a digest of what follows on record `next`: with which record it goes on.
    /// `None` where a batch is to be written. `read` are records from `next` on that have been read before, and
    /// are those that have been when this returns.
    pub(super) fn catch_up(
        &mut self,
        writer: &mut Writer,
        read: &mut Vec<(u64, Record)>,
        next: u64,
    ) -> Result<Option<u64>, SessionError> {
        let Some(end) = self.source.end() else { return Ok(None) };
        if writer.is_measuring() || !self.stride.is_far(end.saturating_sub(next)) {
            return Ok(None);
        }
        let mut digest = Digest::new(next, self.stride.peers, self.options.peers);
        self.take_in(&mut digest, read)?;
        if self.shared.stops() {
            return Ok(Some(next));
        }
        let records = digest.records();
        if records == 0 {
            return Ok(None);
        }
        let strangers = writer.strangers(&digest).map_err(self.database.failed("look up users"))?;
        let start = Instant::now();
        let full = digest.is_full();
        let written = match strangers.len() <= STRANGERS_MAX {
            true => {
                let strays = self.last_credits(&digest, &strangers, read.len() as u64)?;
                let last = next + records - 1;
                writer.write_digest(&digest, &strays, Life::of(&self.source.lives(), last))
            }
            false => Err(Fault::Refused {
                sqlstate: String::new(),
                error: format!("{} users are not in users", strangers.len()),
            }),
        };
        let tally = match written {
            Err(Fault::Refused { sqlstate, error }) => {
                tracing::info!(
                    records,
                    sqlstate,
                    error,
                    "the database refused what was taken together; it is written in batches"
                );
                self.stride.refuse();
                read.clear();
                self.source.seek(next).map_err(|source| SessionError::Journal(next, source))?;
                return Ok(Some(next));
            }
            written => self.outcome(written, next)?,
        };
        let took = start.elapsed();
        self.stride.adapt(full, took);
        self.stride.ended_early = !read.is_empty() && records < self.stride.peers_first as u64;
        let (facts, changes, gone) = (digest.facts, digest.said.len() as u64, digest.gone);
        self.count(Counts { records, facts, changes, gone }, tally, next, took);
        self.report(writer)?;
        Ok(Some(next + records))
    }

    /// Reads records into a digest until it takes no more, or there are no more for now.
    fn take_in(
        &mut self,
        digest: &mut Digest,
        read: &mut Vec<(u64, Record)>,
    ) -> Result<(), SessionError> {
        let mut told_age = false;
        while !self.shared.stops() && !digest.is_full() && digest.records() < RECORDS_MAX {
            if read.is_empty() {
                // Those before an error are good; who comes next meets it again.
                let error = self.source.next_batch(READ_AT_ONCE, read).is_err();
                if error && read.is_empty() {
                    break;
                }
            }
            if read.is_empty() || self.suspicions.waiting() > SUSPICIONS_MAX {
                break;
            }
            if !told_age {
                self.tell_age(read);
                told_age = true;
            }
            let (_, expected) = digest.span();
            Self::without_gap(read, expected)?;
            let taken = digest.take(read);
            self.suspicions.hear(&read[..taken]);
            read.drain(..taken);
            if !read.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// The last facts of these users in a digest: it does not know them any more, so they are read again. `ahead`
    /// records have been read behind the digest.
    fn last_credits(
        &mut self,
        digest: &Digest,
        users: &HashSet<UserId>,
        ahead: u64,
    ) -> Result<LastCredits, SessionError> {
        let mut last = LastCredits::new();
        if users.is_empty() {
            return Ok(last);
        }
        let (mut at, end) = digest.span();
        self.source.seek(at).map_err(|source| SessionError::Journal(at, source))?;
        let mut records = Vec::new();
        while at < end {
            records.clear();
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(READ_AT_ONCE);
            let read = self.source.next_batch(most, &mut records);
            if records.is_empty() {
                let missing = || SourceError::from("records are gone that have been read");
                return Err(SessionError::Journal(at, read.err().unwrap_or_else(missing)));
            }
            at += records.len() as u64;
            for (number, record) in &records {
                if let Record::Fact(fact) = record
                    && users.contains(&fact.user)
                {
                    note_credit(&mut last, *number, fact);
                }
            }
        }
        let next = end + ahead;
        self.source.seek(next).map_err(|source| SessionError::Journal(next, source))?;
        Ok(last)
    }
}

/// So many batches behind is far.
const BATCHES_BEHIND: u64 = 4;

/// The time a digest may take before the next one is made smaller. Most of that time it locks no rows but those that
/// only the tracker writes.
const DIGEST_TIME: Duration = Duration::from_secs(16);

/// Records that are read at once.
const READ_AT_ONCE: usize = 4096;

/// Records in a digest: some seconds of reading.
const RECORDS_MAX: u64 = 1 << 22;

/// Users who are credited and not in the database, of some 300 bytes each. More of them are written in batches.
const STRANGERS_MAX: usize = 4096;

/// Rows for the table `suspicions` with which a digest ends.
const SUSPICIONS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_grow_while_they_are_quick_and_begin_anew_after_a_failure() {
        let mut stride = Stride::new(16_384);
        assert!(!stride.is_far(65_535) && stride.is_far(65_536));
        let mut sizes = vec![stride.peers];
        for seconds in [1, 5, 1, 9, 1, 20, 20] {
            stride.adapt(true, Duration::from_secs(seconds));
            sizes.push(stride.peers);
        }
        assert_eq!(sizes, [16_384, 65_536, 131_072, 229_376, 229_376, 229_376, 114_688, 57_344]);
        stride.adapt(false, Duration::from_secs(1));
        assert_eq!(stride.peers, 57_344);
        stride.fail();
        assert_eq!(stride.peers, 16_384);
    }

    #[test]
    fn what_was_refused_is_written_in_batches_until_it_has_caught_up() {
        let mut stride = Stride::new(10);
        stride.refuse();
        assert!(!stride.is_far(1000) && !stride.is_far(41) && !stride.is_far(39));
        assert!(stride.is_far(1000));
        stride.ended_early = true;
        assert!(!stride.is_far(1000) && stride.is_far(1000));
    }
}
