//! When a name has settled: a state machine of looks, touches and a monotonic time; no clock and no files of its own.
//!
//! The caller says which names were touched, looks at those that are `due`, and takes what is to be told. Time is any
//! `Duration` that only grows: times of files are compared with each other only for being equal, so a clock that jumps
//! and a file from the future change nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use super::look::Look;
use super::names::is_ignored;
use crate::torrent::Identity;

/// What it takes until a name counts as uploaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Nothing below a name has changed for this long.
    pub settle: Duration,
    /// What is asked of a name that is already published and is written to in place.
    pub overwrite: Overwrite,
    /// With `Overwrite::SettleLonger`: nothing has changed for this long.
    pub overwrite_settle: Duration,
    /// A name is published only when its done-marker is there.
    pub done_marker: bool,
    /// What the name of a done-marker ends in: `film.mkv.done` says that `film.mkv` is whole. Names that end so are never
    /// published.
    pub marker_suffix: OsString,
}

/// When a published name whose file was written to in place (the same inode) is published anew.
///
/// scp, `cp`, sftp and `rsync --inplace` write so over a file, and one that is killed half-way leaves a file of full size
/// with a new head and an old tail, which looks like a whole one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overwrite {
    /// When a new file was renamed over it, or a done-marker was made after the last write.
    Rename,
    /// When a done-marker was made after the last write; also of what was renamed over it.
    Marker,
    /// After the longer settle time. An upload that broke off and is not resumed within it is published broken.
    SettleLonger,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(10),
            overwrite: Overwrite::Rename,
            overwrite_settle: Duration::from_secs(600),
            done_marker: false,
            marker_suffix: ".done".into(),
        }
    }
}

/// Rules that cannot be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RulesError {
    /// Without a suffix every name would be a marker.
    #[error("the suffix of done-markers is empty or has a slash; set it to something like .done")]
    Suffix,
    /// No time to settle.
    #[error(
        "the settle time is below 100 ms: a partial upload would be published; the default is 10 s"
    )]
    Settle,
    /// The longer time is the shorter one.
    #[error(
        "the settle time of overwritten names is shorter than that of new ones; make it longer"
    )]
    OverwriteSettle,
}

impl Rules {
    /// Says what of the rules makes no sense.
    pub fn check(&self) -> Result<(), RulesError> {
        if self.marker_suffix.is_empty() || self.marker_suffix.as_bytes().contains(&b'/') {
            return Err(RulesError::Suffix);
        }
        if self.settle < Duration::from_millis(100) {
            return Err(RulesError::Settle);
        }
        if self.overwrite_settle < self.settle {
            return Err(RulesError::OverwriteSettle);
        }
        Ok(())
    }

    /// The name that the done-marker `name` is for; `None` if it is no marker.
    pub fn marked<'a>(&self, name: &'a OsStr) -> Option<&'a OsStr> {
        let marked = name.as_bytes().strip_suffix(self.marker_suffix.as_bytes())?;
        (!marked.is_empty()).then(|| OsStr::from_bytes(marked))
    }

    /// The name of the done-marker of `name`.
    pub fn marker(&self, name: &OsStr) -> OsString {
        OsString::from_vec([name.as_bytes(), self.marker_suffix.as_bytes()].concat())
    }

    /// How long after a change a name is looked at again, before it can have settled.
    fn between_looks(&self) -> Duration {
        (self.settle / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }
}

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

#[derive(Debug, Default)]
struct Name {
    /// The last look that found something.
    look: Option<Look>,
    /// Since when nothing has changed.
    since: Duration,
    touched: Option<Duration>,
    /// Since when looks find nothing.
    absent: Option<Duration>,
    /// What is published.
    published: Option<Look>,
    /// Another file came under the published name: it is not one that was written over.
    replaced: bool,
    marker: Option<Identity>,
    /// A marker that was there before the last write.
    stale: Option<Identity>,
    told: Told,
    due: Option<Duration>,
    /// Looks are at least this long apart: big directories cost.
    pause: Duration,
}

/// What the owner knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Told {
    #[default]
    Nothing,
    /// It is as it was published.
    Published,
    State(State),
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

enum Missing {
    /// Nobody was told that it was there.
    Unknown,
    /// To be looked at once more.
    Confirm(Duration),
    Gone,
}

impl Name {
    /// The owner works with what is there: a change matters at once.
    fn is_settled(&self) -> bool {
        matches!(
            self.told,
            Told::Published | Told::State(State::Settled(_) | State::Overwritten(_))
        )
    }

    /// When to look next, if it were `at`.
    fn next(&self, at: Duration) -> Duration {
        match self.due {
            // Touches that never end must not put the look off for ever.
            Some(due) => due.min(at),
            None => at + self.pause,
        }
    }

    fn missing(&mut self, rules: &Rules, now: Duration) -> Missing {
        if self.told == Told::Nothing && self.published.is_none() {
            return Missing::Unknown;
        }
        // What comes after it is another file.
        self.replaced = true;
        let since = *self.absent.get_or_insert(now);
        let confirm = since + rules.between_looks();
        if now < confirm { Missing::Confirm(confirm) } else { Missing::Gone }
    }

    /// Something is there. Returns when to look again.
    #[expect(clippy::too_many_arguments, reason = "what is known at one look")]
    fn present(
        &mut self,
        name: &OsStr,
        look: Look,
        marker: Option<Identity>,
        writer: Option<u32>,
        now: Duration,
        rules: &Rules,
        out: &mut VecDeque<(OsString, State)>,
    ) -> Option<Duration> {
        self.absent = None;
        if let Some(reason) = self.unmounted(&look) {
            self.look = None;
            self.tell(name, State::Failed(reason), out);
            return None;
        }
        self.take(&look, marker, now);

        if self.published.as_ref().is_some_and(|published| published.same_files(&look)) {
            // Back to what it was, as after a failure: the owner compares the infohash and goes on.
            if self.told != Told::Published {
                self.tell(name, State::Settled(look), out);
                self.told = Told::Published;
            }
            return None;
        }
        match &self.told {
            Told::State(State::Settled(settled)) if settled.same_files(&look) => return None,
            Told::State(State::Settled(old) | State::Overwritten(old))
                if !old.same_files(&look) =>
            {
                let change = change(old, &look);
                self.tell(name, State::Changed(change), out);
            }
            Told::Published | Told::Nothing | Told::State(State::Failed(_)) => {
                if let Some(published) = &self.published {
                    let change = change(published, &look);
                    self.tell(name, State::Changed(change), out);
                }
            }
            _ => {}
        }
        let (state, due) = self.judge(look, writer, now, rules);
        self.tell(name, state, out);
        due
    }

    /// Keeps the look, and notices whether something changed since the last one.
    fn take(&mut self, look: &Look, marker: Option<Identity>, now: Duration) {
        let first = self.look.is_none();
        if self.look.as_ref() != Some(look) {
            self.since = now;
            let newest = look.identities().map(|identity| identity.changed).max();
            let unchanged = !first && self.marker == marker;
            // Which of the two came last is not known when both are new: the file system's own times say it.
            if unchanged || marker.is_some_and(|marker| Some(marker.changed) < newest) {
                self.stale = marker;
            }
            self.look = Some(look.clone());
        }
        self.marker = marker;
    }

    /// What is there is neither what is published nor what was told to have settled.
    fn judge(
        &self,
        look: Look,
        writer: Option<u32>,
        now: Duration,
        rules: &Rules,
    ) -> (State, Option<Duration>) {
        if let Look::Directory { unfinished: Some(below), .. } = &look {
            // Its end touches the name; a rescan finds it otherwise.
            return (State::Uploading(Waits::Unfinished(below.clone())), None);
        }
        if look.is_empty() {
            return (State::Uploading(Waits::Empty), None);
        }
        let between = rules.between_looks();
        let until = self.since + self.settle(rules, &look);
        if now < until {
            let touched = self.touched.is_some_and(|touched| now < touched + between);
            let state =
                if touched { State::Uploading(Waits::Changing) } else { State::Settling { until } };
            return (state, Some(until.min(now + between)));
        }
        if let Some(process) = writer {
            return (State::Uploading(Waits::Open(process)), Some(now + between));
        }
        let marked = self.marker.is_some() && self.marker != self.stale;
        let asks_marker = match rules.overwrite {
            Overwrite::Rename => self.is_overwritten(&look),
            Overwrite::Marker => self.published.is_some(),
            Overwrite::SettleLonger => false,
        };
        if asks_marker && !marked {
            return (State::Overwritten(look), None);
        }
        if rules.done_marker && !marked {
            return (State::Uploading(Waits::Marker), None);
        }
        (State::Settled(look), None)
    }

    /// How long nothing must change.
    fn settle(&self, rules: &Rules, look: &Look) -> Duration {
        if rules.overwrite == Overwrite::SettleLonger && self.is_overwritten(look) {
            rules.overwrite_settle
        } else {
            rules.settle
        }
    }

    /// A file that is published was written to: the same inode under the same path is no longer what it was.
    fn is_overwritten(&self, look: &Look) -> bool {
        let written =
            |a: &Identity, b: &Identity| (a.device, a.inode) == (b.device, b.inode) && a != b;
        if self.replaced {
            return false;
        }
        match (self.published.as_ref(), look) {
            (Some(Look::File(a)), Look::File(b)) => written(a, b),
            (Some(Look::Directory { files: a, .. }), Look::Directory { files: b, .. }) => {
                b.iter().any(|file| {
                    a.binary_search_by(|old| old.path.cmp(&file.path))
                        .is_ok_and(|at| written(&a[at].identity, &file.identity))
                })
            }
            _ => false,
        }
    }

    /// A published directory that is on another device and empty is one whose file system is not mounted.
    fn unmounted(&self, look: &Look) -> Option<String> {
        let (Some(Look::Directory { device: old, .. }), Look::Directory { device, files, .. }) =
            (&self.published, look)
        else {
            return None;
        };
        (files.is_empty() && device != old).then(|| {
            "it is empty and on another device than what was published: mount its file system, or remove it".to_owned()
        })
    }

    fn tell(&mut self, name: &OsStr, state: State, out: &mut VecDeque<(OsString, State)>) {
        if self.told != Told::State(state.clone()) {
            self.told = Told::State(state.clone());
            out.push_back((name.to_owned(), state));
        }
    }
}

fn change(old: &Look, new: &Look) -> Change {
    let still =
        |a: &Identity, b: &Identity| Identity { changed: 0, ..*a } == Identity { changed: 0, ..*b };
    let only_inodes = match (old, new) {
        (Look::File(a), Look::File(b)) => still(a, b),
        (Look::Directory { files: a, .. }, Look::Directory { files: b, .. }) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b.iter())
                    .all(|(a, b)| a.path == b.path && still(&a.identity, &b.identity))
        }
        _ => false,
    };
    if only_inodes { Change::Inode } else { Change::Content }
}

#[cfg(test)]
mod tests;
