//! What was said through the tracker and may not be in the database yet.
//!
//! It is in memory at once, then in the journal, then in the database. In between, a row that is read there
//! does not have it: who takes such a row in keeps what was said here, column by column, where SQL has not
//! said something else later.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persist::journal::Columns;
use persist::postgres::SaidAt;
use shard::private::Stamp;

/// Things of one kind, by their names. There are as many entries as the journal has changes that the
/// database lacks, at most, and the bound of the journal is theirs.
#[derive(Debug)]
pub struct Unwritten<K> {
    words: HashMap<K, Words>,
    /// How often something was said.
    said: u64,
    /// How often when the journal answered last.
    answered: u64,
    /// Who may not be in the journal yet, with the number of what was said.
    unplaced: VecDeque<(u64, K)>,
    /// Who is in the journal before a position.
    placed: VecDeque<(u64, u64, K)>,
}

impl<K> Default for Unwritten<K> {
    fn default() -> Self {
        Self {
            words: HashMap::new(),
            said: 0,
            answered: 0,
            unplaced: VecDeque::new(),
            placed: VecDeque::new(),
        }
    }
}

/// Which records the database has, for those who hear of no rows that say so.
#[derive(Clone)]
pub struct Written {
    ask: Arc<dyn Fn() -> u64 + Send + Sync>,
    asked: Option<(Instant, u64)>,
}

/// No row is under way from the database to a core for as long as this.
const WHILE: Duration = Duration::from_secs(60);

impl Written {
    /// `ask` says before which record it has all.
    pub fn new(ask: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), asked: None }
    }

    /// Now and then, the position of [`WHILE`] ago: it is in all rows that are still to come.
    pub fn of_a_while_ago(&mut self) -> Option<u64> {
        if self.asked.is_some_and(|(at, _)| at.elapsed() < WHILE) {
            return None;
        }
        let now = (Instant::now(), (self.ask)());
        self.asked.replace(now).map(|(_, position)| position)
    }
}

/// What was said of one thing.
#[derive(Debug)]
struct Words {
    /// The number of the last of it.
    last: u64,
    columns: Columns,
    /// When each column was said, in milliseconds.
    at: [u64; COLUMNS],
}

/// Columns of one row that are said each for itself.
const COLUMNS: usize = 5;

impl<K: Clone + Eq + Hash> Unwritten<K> {
    /// These columns of a row were said; none when it is to go.
    pub fn note(&mut self, key: K, columns: Columns, at: Stamp) {
        self.said += 1;
        let new = Words { last: 0, columns: Columns::NONE, at: [0; COLUMNS] };
        let words = self.words.entry(key.clone()).or_insert(new);
        words.last = self.said;
        words.columns = match columns {
            Columns::NONE => columns,
            _ => words.columns.and(columns),
        };
        for (column, moment) in words.at.iter_mut().enumerate() {
            if columns.has(column_at(column)) {
                *moment = at.millis;
            }
        }
        self.unplaced.push_back((self.said, key));
    }

    /// The journal has taken a batch, the last record of which is before `behind`: what was said when the
    /// batch before was answered is in it, and all that was said where nothing waits any more.
    pub fn journaled(&mut self, behind: u64, all: bool) {
        let until = if all { self.said } else { self.answered };
        while let Some((said, key)) = self.unplaced.pop_front_if(|(said, _)| *said <= until) {
            self.placed.push_back((behind, said, key));
        }
        self.answered = self.said;
    }

    /// Records before `position` are in the database.
    pub fn written(&mut self, position: u64) {
        while let Some((_, said, key)) =
            self.placed.pop_front_if(|(behind, ..)| *behind <= position)
        {
            if self.words.get(&key).is_some_and(|words| words.last == said) {
                self.words.remove(&key);
            }
        }
    }

    /// Which columns of a row that was read keep what was said here: those that SQL did not say later. What
    /// it did say later counts from now on.
    pub fn kept(&mut self, key: &K, said_at: &SaidAt) -> Columns {
        let Some(words) = self.words.get_mut(key) else { return Columns::NONE };
        for (column, at) in words.at.iter().enumerate() {
            let sql = said_at.get(column).copied().flatten();
            if sql.is_some_and(|sql| i128::from(sql) > i128::from(*at) * 1000) {
                words.columns = Columns(words.columns.0 & !column_at(column).0);
            }
        }
        words.columns
    }

    /// Whether something was said of it.
    pub fn has(&self, key: &K) -> bool {
        self.words.contains_key(key)
    }

    /// Whether its row is made where it is not there.
    pub fn is_made(&self, key: &K) -> bool {
        self.words.get(key).is_some_and(|words| words.columns.has(Columns::MAKES))
    }
}

fn column_at(place: usize) -> Columns {
    Columns(1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Stamp {
        Stamp { millis, node: 0 }
    }

    #[test]
    fn the_later_one_wins_column_by_column() {
        let mut unwritten = Unwritten::default();
        unwritten.note(7, Columns::PASSKEY.and(Columns::ENABLED), at(50));
        unwritten.note(7, Columns::ENABLED, at(70));
        let mut said_at = SaidAt::default();
        assert_eq!(unwritten.kept(&8, &said_at), Columns::NONE);
        assert_eq!(unwritten.kept(&7, &said_at), Columns::PASSKEY.and(Columns::ENABLED));
        (said_at[0], said_at[3]) = (Some(50_001), Some(70_000));
        assert_eq!(unwritten.kept(&7, &said_at), Columns::ENABLED);
        // What lost once stays lost, whatever is read next.
        assert_eq!(unwritten.kept(&7, &SaidAt::default()), Columns::ENABLED);
    }

    #[test]
    fn it_is_forgotten_when_the_database_has_it_and_no_sooner() {
        let mut unwritten = Unwritten::default();
        unwritten.note(1, Columns::ALL, at(1));
        // A batch that was on its way before it was said.
        unwritten.journaled(10, false);
        unwritten.written(10);
        assert!(unwritten.has(&1) && unwritten.is_made(&1));
        unwritten.journaled(20, false);
        unwritten.written(19);
        assert!(unwritten.has(&1));
        unwritten.note(1, Columns::HIDDEN, at(2));
        unwritten.written(20);
        assert!(unwritten.has(&1), "it was said again");
        unwritten.journaled(21, true);
        unwritten.written(21);
        assert!(!unwritten.has(&1));
        assert!(unwritten.unplaced.is_empty() && unwritten.placed.is_empty());
    }
}
