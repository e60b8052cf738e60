//! When a name has settled: a state machine of looks, touches and a monotonic time; no clock and no files of its own.
//!
//! The caller says which names were touched, looks at those that are `due`, and takes what is to be told. Time is any
//! `Duration` that only grows: times of files are compared with each other only for being equal, so a clock that jumps
//! and a file from the future change nothing.

mod name;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use self::name::{Missing, Name, Told};
use super::look::Look;
use super::names::is_ignored;
use super::rules::{Overwrite, Rules};
use crate::torrent::Identity;

/// What is said of a top-level name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It is being uploaded, or something is missing.
    Uploading(Waits),
    /// Nothing has changed lately; it has settled at `until` when nothing does till then.
    Settling {
        /// In the caller's time.
        until: Duration,
    },
    /// It is to be hashed, and looked at again after that: publish it only if the look is the same.
    Settled(Look),
    /// It has settled, but was written to in place over what was published, and nothing says that the upload is whole: it
    /// may come back only if its infohash is the published one (it was only touched). `Settled` follows when a new file
    /// is renamed over it or a done-marker is made, as the rules say.
    Overwritten(Look),
    /// It is no longer what was last said to be settled, or what is published: stop seeding it now.
    Changed(Change),
    /// Two looks found nothing.
    Gone,
    /// It cannot be published, for this reason. If it is published: stop seeding it, but withdraw nothing.
    Failed(String),
}

/// What an upload waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waits {
    /// It changes.
    Changing,
    /// It has no bytes yet.
    Empty,
    /// A temporary name of an uploading tool is below it.
    Unfinished(PathBuf),
    /// This process has a file of it open for writing.
    Open(u32),
    /// Its done-marker is not there, or is older than the last write.
    Marker,
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Files, sizes, inodes or times of content.
    Content,
    /// Only times of inodes (ctime): modes, owners or links were changed, or somebody has set the old time after a write.
    Inode,
}

/// What was noticed of a name, besides looking at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Something was written, made, closed, or changed below it.
    Written,
    /// The top-level name itself came by rename.
    Renamed,
    /// The top-level name itself was removed or renamed away.
    Removed,
}

/// The names of a folder and what is known of them.
#[derive(Debug)]
pub struct Settle {
    rules: Rules,
    names: HashMap<OsString, Name>,
    due: BTreeSet<(Duration, OsString)>,
    tell: VecDeque<(OsString, State)>,
}

impl Settle {
    /// No names yet. `rules` have been checked.
    pub fn new(rules: Rules) -> Self {
        Self { rules, names: HashMap::new(), due: BTreeSet::new(), tell: VecDeque::new() }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Something was noticed of `name` at `now`. A done-marker touches the name that it is for.
    pub fn touched(&mut self, name: &OsStr, touch: Touch, now: Duration) {
        if is_ignored(name) {
            return;
        }
        if let Some(marked) = self.rules.marked(name) {
            if let Some(due) = self.names.get(marked).map(|known| known.next(now)) {
                self.look_at(marked, Some(due));
            }
            return;
        }

        let between = self.rules.between_looks();
        let known = self.names.entry(name.to_owned()).or_default();
        known.touched = Some(now);
        known.replaced |= touch != Touch::Written;
        let due = if known.is_settled() || known.look.is_none() || touch == Touch::Removed {
            // What is seeded must stop at once; what is new must be shown at once.
            known.next(now)
        } else {
            known.since = now;
            known.next(now + between)
        };
        self.look_at(name, Some(due));
    }

    /// `name` is in the folder, or is known: it is looked at again.
    pub fn listed(&mut self, name: &OsStr, now: Duration) {
        if is_ignored(name) || self.rules.marked(name).is_some() {
            return;
        }
        let due = match self.names.get(name) {
            Some(known) => known.due.map_or(now, |due| due.min(now)),
            None => now,
        };
        self.names.entry(name.to_owned()).or_default();
        self.look_at(name, Some(due));
    }

    /// All known names are to be looked at again.
    pub fn look_at_all(&mut self, now: Duration) {
        let names: Vec<_> = self.names.keys().cloned().collect();
        for name in names {
            self.listed(&name, now);
        }
    }

    /// `name` is to be told of anew, as if it had come now.
    pub fn again(&mut self, name: &OsStr, now: Duration) {
        if let Some(known) = self.names.get_mut(name) {
            known.told = Told::Nothing;
            known.since = now;
            self.look_at(name, Some(now));
        }
    }

    /// `name` is published as it was at `look`.
    pub fn published(&mut self, name: &OsStr, look: Look, now: Duration) {
        let known = self.names.entry(name.to_owned()).or_default();
        known.published = Some(look);
        known.replaced = false;
        known.told = Told::Published;
        self.look_at(name, Some(now));
    }

    /// `name` is published no longer: what is there is not told of again until it changes, and then counts as new.
    pub fn withdrawn(&mut self, name: &OsStr) {
        if let Some(known) = self.names.get_mut(name) {
            known.published = None;
            if known.is_settled() {
                known.told =
                    Told::State(State::Settled(known.look.clone().unwrap_or(Look::Absent)));
            }
        }
    }

    /// The files of device `from` are on device `to`: their file system was mounted again.
    pub(super) fn moved(&mut self, from: u64, to: u64) {
        for known in self.names.values_mut() {
            known.look = known.look.take().map(|look| look.moved(from, to));
            known.published = known.published.take().map(|look| look.moved(from, to));
            if let Told::State(State::Settled(look) | State::Overwritten(look)) = &mut known.told {
                *look = look.clone().moved(from, to);
            }
        }
    }

    /// The names that are to be looked at now, at most `most`, the longest due first.
    pub fn due(&self, now: Duration, most: usize) -> Vec<OsString> {
        self.due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(most)
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// When the next name is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The files of `name` whose writers are worth asking for: it settles if the next look is as the last one.
    pub fn ripe(&self, name: &OsStr, now: Duration) -> Option<&Look> {
        let known = self.names.get(name)?;
        let look = known.look.as_ref()?;
        let ripe = !known.is_settled() && now >= known.since + known.settle(&self.rules, look);
        ripe.then_some(look)
    }

    /// A look at `name` found `look` at `now`; `marker` is its done-marker, `writer` a process that writes to it.
    ///
    /// `took` is how long looking took: the next look waits ten times as long.
    pub fn looked(
        &mut self,
        name: &OsStr,
        look: Look,
        marker: Option<Identity>,
        writer: Option<u32>,
        now: Duration,
        took: Duration,
    ) {
        let Some(known) = self.names.get_mut(name) else { return };
        known.pause = took * 10;
        let due = match look {
            Look::Absent => match known.missing(&self.rules, now) {
                Missing::Unknown => {
                    self.forget(name);
                    return;
                }
                Missing::Confirm(due) => Some(due),
                Missing::Gone => {
                    self.forget(name);
                    self.tell.push_back((name.to_owned(), State::Gone));
                    return;
                }
            },
            Look::Failed(reason) => {
                known.absent = None;
                known.look = None;
                known.since = now;
                known.tell(name, State::Failed(reason), &mut self.tell);
                None
            }
            look => known.present(name, look, marker, writer, now, &self.rules, &mut self.tell),
        };
        let due = due.map(|due| due.max(now + known.pause));
        self.look_at(name, due);
    }

    /// What is to be told, in order.
    pub fn tell(&mut self) -> impl Iterator<Item = (OsString, State)> {
        self.tell.drain(..)
    }

    /// Whether its done-marker matters to `name`.
    pub fn asks_marker(&self, name: &OsStr) -> bool {
        let is_published = || self.names.get(name).is_some_and(|known| known.published.is_some());
        self.rules.done_marker
            || (self.rules.overwrite != Overwrite::SettleLonger && is_published())
    }

    /// The names that are known.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// No name is known.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names that are published, and as what.
    pub fn published_names(&self) -> BTreeMap<&OsStr, &Look> {
        self.names
            .iter()
            .filter_map(|(name, known)| Some((name.as_os_str(), known.published.as_ref()?)))
            .collect()
    }

    fn look_at(&mut self, name: &OsStr, due: Option<Duration>) {
        let Some(known) = self.names.get_mut(name) else { return };
        if known.due == due {
            return;
        }
        if let Some(old) = known.due.take() {
            self.due.remove(&(old, name.to_owned()));
        }
        known.due = due;
        if let Some(due) = due {
            self.due.insert((due, name.to_owned()));
        }
    }

    fn forget(&mut self, name: &OsStr) {
        self.look_at(name, None);
        self.names.remove(name);
    }
}

#[cfg(test)]
mod tests;
