//! The lives of a journal: one for each start of the program that writes it.
//!
//! A number alone does not say which record is meant: a data folder that is restored from a backup goes on
//! at a number that was given before, and gives it to something else. So each start begins a *life* with a
//! name made up at random, which stands in the header of each of its segments. Who remembers the life of the
//! record he has seen last can tell whether this journal goes on from there, or is an older copy.

use super::{Journal, Sealed};

/// A life of a journal. It ends where the next one begins, or else goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// Made up at random; 0 for all that was written by programs that did not have lives.
    pub id: u64,
    /// The sequence number of its first record, of those that are kept.
    pub first: u64,
    /// When it began, or the oldest of its segments that is kept: milliseconds since 1970.
    pub begun_at: u64,
}

impl Life {
    /// The life, of these (oldest first), in which this record was written.
    pub fn of(lives: &[Self], sequence: u64) -> Option<u64> {
        let behind = lives.partition_point(|life| life.first <= sequence);
        behind.checked_sub(1).map(|at| lives[at].id)
    }
}

impl Journal {
    /// The lives of which there are records, oldest first; the last one is that of this value, and has perhaps
    /// none yet.
    pub fn lives(&self) -> Vec<Life> {
        let of = |&Sealed { first, life, begun_at, .. }: &Sealed| Life {
            id: life,
            first,
            begun_at: begun_at / NANOS_A_MILLI,
        };
        let active = self.active.as_ref().map(|active| Sealed::new(&active.header, active.bytes));
        let mut lives: Vec<Life> = self.sealed.iter().chain(&active).map(of).collect();
        lives.dedup_by_key(|life| life.id);
        // An empty segment of the life before is replaced with the first record.
        lives.pop_if(|last| last.first >= self.end && last.id != self.life.id);
        if lives.last().is_none_or(|last| last.id != self.life.id) {
            lives.push(super::Life { first: self.durable, ..self.life });
        }
        lives
    }

    pub(super) fn publish_lives(&self) {
        self.status.set_lives(self.lives());
        self.publish_kept();
    }
}

const NANOS_A_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::super::random;
    use super::*;
    use crate::DataDir;
    use crate::journal::Options;
    use crate::scratch::Scratch;

    fn open(scratch: &Scratch) -> Journal {
        Journal::open(&DataDir::open(scratch.path()).unwrap(), Options::default()).unwrap()
    }

    #[test]
    fn each_start_that_writes_begins_a_life_where_the_one_before_ended() {
        let scratch = Scratch::new();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut expected: Vec<Life> = Vec::new();
        for start in 0..12 {
            let mut journal = open(&scratch);
            let known = journal.lives();
            let own = known[known.len() - 1];
            assert!(own.id != 0 && own.first == journal.end(), "{known:?}");
            assert_eq!(known[..known.len() - 1], expected);
            assert_eq!(journal.status().lives(), known);
            assert_eq!(journal.status().life_of(journal.end()), None);
            // Every third start has nothing to write, and leaves no trace.
            if start % 3 != 0 {
                let first = journal.append(&random::several(&mut rng, 10)).unwrap();
                journal.sync().unwrap();
                let lives = journal.lives();
                assert_eq!((lives[lives.len() - 1].id, lives.len()), (own.id, known.len()));
                assert_eq!(journal.status().life_of(first), Some(own.id));
                expected = lives;
            }
        }
        assert_eq!(expected.len(), 8);
        let mut journal = open(&scratch);
        assert_eq!(journal.status().life_of(25), Some(expected[2].id));
        // What is deleted is forgotten.
        journal.delete_before(40).unwrap();
        assert_eq!(journal.lives()[..4], expected[4..]);
        assert_eq!(journal.status().life_of(25), None);
    }

    #[test]
    fn a_life_goes_on_over_segments_and_after_a_failed_sync() {
        let scratch = Scratch::new();
        let options = Options { segment_bytes: 4096, ..Options::default() };
        let data = DataDir::open(scratch.path()).unwrap();
        let mut journal = Journal::open(&data, options).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..30 {
            journal.append(&random::several(&mut rng, 30)).unwrap();
        }
        journal.give_up();
        journal.sync().unwrap();
        journal.append(&random::several(&mut rng, 30)).unwrap();
        let lives = journal.lives();
        assert!(journal.sealed.len() > 3 && lives.len() == 1, "{lives:?}");
        assert_eq!(lives[0].first, 0);
        // Where it is told to go on further behind, that is no new life: the numbers between are of none.
        journal.begin_at(5000).unwrap();
        assert_eq!(journal.lives().len(), 1);
    }
}
