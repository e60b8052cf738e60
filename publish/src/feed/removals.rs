//! What may go: a torrent that vanished from the list, when it is sure that it was meant to.

use std::collections::{HashMap, HashSet};
use std::fmt;

use shard::InfoHash;

use super::error::FeedError;
use super::list::List;

/// When what vanished may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Good lists in which it was missing, one after the other; at least 1.
    pub polls: u32,
    /// Seconds between the first of them and the last.
    pub seconds: u64,
    /// What may vanish without the Master's flag, in percent of what is held.
    pub percent: u64,
    /// So many may vanish without it, whatever part that is.
    pub few: usize,
}

impl Default for Rules {
    /// Two polls, five minutes, 30 %, three torrents.
    fn default() -> Self {
        Self { polls: 2, seconds: 300, percent: 30, few: 3 }
    }
}

/// A torrent that a Seeder holds, whole or in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held<'a> {
    /// Which one.
    pub info_hash: InfoHash,
    /// The name of its content, as the list had it.
    pub name: &'a str,
    /// All of it is here.
    pub complete: bool,
}

/// What is missing, and since when: decides what a Seeder removes.
///
/// A torrent goes when it was missing in [`Rules::polls`] good lists in a row, over [`Rules::seconds`]. A list that was
/// refused removes nothing and changes nothing here, and one that is older than the last is looked at as refused.
///
/// **Mass withdrawal.** Where more than [`Rules::few`] torrents and more than [`Rules::percent`] of all vanished, or the
/// list is empty, and the Master did not say that it is meant (`List::withdraw`), nothing at all is removed: it is held
/// back until enough of it returns, or until a list with the flag comes. The flag holds for what is missing in the list
/// that has it, also when the next list is without.
///
/// **Replacement.** Where the list has the missing torrent's name with another infohash, the file was published anew.
/// The old torrent goes by the same rule, but not before the new one is complete here: of each file there is always one
/// whole content, though for a time room for two is needed. It has not vanished, and does not count as mass withdrawal.
///
/// What is here is not kept: after a restart the times begin anew, which removes later, never sooner.
#[derive(Clone, Debug, Default)]
pub struct Removals {
    rules: Rules,
    /// Epoch and generation of the last good list.
    last: (u64, u64),
    missing: HashMap<InfoHash, Missing>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: u64,
    polls: u32,
    /// A list with the flag was without it.
    meant: bool,
}

/// What is to be seen of the removals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// All that is held is in the list.
    #[default]
    Nothing,
    /// Some is missing, and goes when its time has come.
    Waiting {
        /// Torrents that are missing.
        missing: usize,
        /// Those of them that were published anew, and stay until the new one is complete.
        replaced: usize,
    },
    /// So much vanished that nothing is removed until the Master says that it is meant.
    HeldBack {
        /// Torrents that vanished.
        vanished: usize,
        /// Torrents that are held.
        held: usize,
    },
}

impl Removals {
    /// Nothing is missing yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// One poll: what came of it, and what is held of this feed. Returns what is to be removed now, in the order of
    /// `held`; what is named and still held at the next poll is named again.
    ///
    /// `now` is in seconds of a clock that never goes back. A list that was not modified is looked at again: it is as
    /// good as a new one. Costs one pass over the list and what is held.
    pub fn look(
        &mut self,
        list: Result<&List, &FeedError>,
        held: &[Held<'_>],
        now: u64,
    ) -> Vec<InfoHash> {
        let Ok(list) = list else { return Vec::new() };
        if (list.epoch, list.generation) < self.last {
            return Vec::new();
        }
        self.last = (list.epoch, list.generation);

        let listed: HashSet<InfoHash> = list.items.iter().map(|item| item.info_hash).collect();
        let gone: Vec<&Held<'_>> =
            held.iter().filter(|held| !listed.contains(&held.info_hash)).collect();
        self.count(&gone, list.withdraw, now);
        if gone.is_empty() {
            self.state = State::Nothing;
            return Vec::new();
        }

        // Only of names that are in question.
        let mut renewed: HashMap<&str, Option<InfoHash>> =
            gone.iter().map(|held| (held.name, None)).collect();
        for item in &list.items {
            if let Some(by) = renewed.get_mut(item.name.as_str()) {
                *by = Some(item.info_hash);
            }
        }
        let replaced_by = |held: &Held<'_>| renewed.get(held.name).copied().flatten();
        let vanished = gone
            .iter()
            .filter(|held| replaced_by(held).is_none() && !self.missing[&held.info_hash].meant)
            .count();
        let replaced = gone.iter().filter(|held| replaced_by(held).is_some()).count();
        if vanished > 0 && (list.items.is_empty() || self.is_mass(vanished, held.len())) {
            self.state = State::HeldBack { vanished, held: held.len() };
            return Vec::new();
        }

        let complete: HashSet<InfoHash> =
            held.iter().filter(|held| held.complete).map(|held| held.info_hash).collect();
        let due = |held: &&&Held<'_>| {
            let Missing { since, polls, .. } = self.missing[&held.info_hash];
            polls >= self.rules.polls
                && now.saturating_sub(since) >= self.rules.seconds
                && replaced_by(held).is_none_or(|by| complete.contains(&by))
        };
        let removed: Vec<InfoHash> = gone.iter().filter(due).map(|held| held.info_hash).collect();
        self.state = State::Waiting { missing: gone.len(), replaced };
        removed
    }

    /// What the last good list led to.
    pub fn state(&self) -> State {
        self.state
    }

    /// Counts a good list without these. What is in it again, or no longer held, is forgotten.
    fn count(&mut self, gone: &[&Held<'_>], meant: bool, now: u64) {
        let before = std::mem::take(&mut self.missing);
        for held in gone {
            let missing = before.get(&held.info_hash).copied();
            let mut missing = missing.unwrap_or(Missing { since: now, polls: 0, meant: false });
            missing.polls = missing.polls.saturating_add(1);
            missing.meant |= meant;
            self.missing.insert(held.info_hash, missing);
        }
    }

    fn is_mass(&self, vanished: usize, held: usize) -> bool {
        vanished > self.rules.few && vanished as u64 * 100 > held as u64 * self.rules.percent
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Nothing => f.write_str("all that is held is in the list"),
            State::Waiting { missing, replaced: 0 } => {
                write!(f, "{missing} items vanished and go when their time has come")
            }
            State::Waiting { missing, replaced } => write!(
                f,
                "{missing} items vanished and go when their time has come, {replaced} of them when what replaces them is \
                 complete"
            ),
            State::HeldBack { vanished, held } => write!(
                f,
                "held back: {vanished} of {held} items vanished, and nothing is removed; if that is meant, say so at the \
                 Master (margay publish confirm), else look at its folder"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
