//! How long segments stay that nobody needs any more.
//!
//! The database has their records, and a snapshot covers them. But a database that is restored from last
//! night's backup lacks them again: from what is kept it catches up by itself. So they stay for as long as
//! [`Options::keep`](super::Options::keep) allows, and go sooner when new records need their room.

use super::segment::nanos_now;
use super::{Journal, JournalError};

impl Journal {
    /// Deletes what nobody needs and is older, or more, than is to be kept. Returns how many bytes that freed.
    pub fn delete_released(&mut self) -> Result<u64, JournalError> {
        let keep = u64::try_from(self.options.keep.as_nanos()).unwrap_or(u64::MAX);
        let old = nanos_now().saturating_sub(keep);
        let (mut before, mut bytes) = (0, self.released_bytes());
        for at in 0..self.released() {
            if self.ended_at(at) > old && bytes <= self.options.keep_bytes {
                break;
            }
            bytes -= self.sealed[at].bytes;
            before = self.first_after(at);
        }
        let freed = self.delete_before(before)?;
        self.publish_kept();
        Ok(freed)
    }

    /// Tries, and again as long as what nobody needs gives way.
    pub(super) fn making_room<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        loop {
            let done = attempt(self);
            if !self.gives_way(&done) {
                return done;
            }
        }
    }

    /// Makes room when that is what is wrong, and there is something that nobody needs: then it is worth to
    /// try again.
    fn gives_way<T>(&mut self, done: &Result<T, JournalError>) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let wanting = match done {
            Err(JournalError::Full { .. }) => true,
            Err(JournalError::Write { source, .. }) => {
                matches!(source.kind(), StorageFull | QuotaExceeded)
            }
            _ => false,
        };
        if !wanting || self.released() == 0 {
            return false;
        }
        let before = self.first_after(0);
        self.delete_before(before).is_ok_and(|freed| freed > 0)
    }

    /// How many of the oldest segments nobody needs.
    fn released(&self) -> usize {
        let needed_from = self.status.released();
        (0..self.sealed.len()).take_while(|&at| self.first_after(at) <= needed_from).count()
    }

    /// The moment before which the records of the sealed segment at this place were written, in Unix nanoseconds: the
    /// next one had been begun by then.
    fn ended_at(&self, at: usize) -> u64 {
        let active = self.active.as_ref().map(|active| active.header.begun_at);
        self.sealed.get(at + 1).map(|next| next.begun_at).or(active).unwrap_or(u64::MAX)
    }

    fn released_bytes(&self) -> u64 {
        self.sealed.iter().take(self.released()).map(|sealed| sealed.bytes).sum()
    }

    pub(super) fn publish_kept(&self) {
        self.status.set_kept_bytes(self.released_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::random;
    use super::*;
    use crate::DataDir;
    use crate::journal::Options;
    use crate::scratch::Scratch;

    fn filled(options: Options) -> (Scratch, Journal, u64) {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        let mut journal = Journal::open(&data, options).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..60 {
            journal.append(&random::several(&mut rng, 20)).unwrap();
        }
        journal.sync().unwrap();
        let end = journal.end();
        (scratch, journal, end)
    }

    const SMALL: Options = Options {
        segment_bytes: 4096,
        bytes_max: 1 << 30,
        keep: Duration::from_secs(3600),
        keep_bytes: u64::MAX,
        begin_at: 0,
    };

    #[test]
    fn what_nobody_needs_is_kept_for_as_long_and_as_much_as_is_asked_for() {
        let (_scratch, mut journal, end) = filled(SMALL);
        journal.status().release(end / 2);
        assert_eq!((journal.delete_released().unwrap(), journal.begin()), (0, 0));
        let kept = journal.status().kept_bytes();
        assert!(kept > 0 && kept < journal.bytes());

        journal.options.keep_bytes = kept / 2;
        journal.delete_released().unwrap();
        assert!(journal.status().kept_bytes() <= kept / 2 && journal.begin() > 0);
        // What is needed stays, whatever may be kept.
        journal.options.keep = Duration::ZERO;
        journal.delete_released().unwrap();
        assert_eq!(journal.status().kept_bytes(), 0);
        assert!(journal.begin() <= end / 2 && journal.begin() > end / 4);

        journal.status().release(end);
        journal.status().hold(journal.begin());
        assert_eq!(journal.delete_released().unwrap(), 0, "a restored database needs it again");
    }

    #[test]
    fn what_is_kept_gives_way_before_anything_is_refused() {
        let options = Options { bytes_max: 200_000, ..SMALL };
        let scratch = Scratch::new();
        let mut journal = Journal::open(&DataDir::open(scratch.path()).unwrap(), options).unwrap();
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..300 {
            journal.append(&random::several(&mut rng, 50)).unwrap();
            journal.sync().unwrap();
            journal.status().release(journal.end());
        }
        assert!(journal.begin() > 0 && journal.bytes() <= 200_000);
        assert!(journal.bytes() > 100_000, "as much is kept as there is room for");
        assert_eq!(journal.status().refused_batches(), 0);
        // What is needed does not.
        journal.status().hold(journal.begin());
        let refused = loop {
            if let Err(error) = journal.append(&random::several(&mut rng, 50)) {
                break error;
            }
        };
        assert!(matches!(refused, JournalError::Full { .. }));
    }
}
