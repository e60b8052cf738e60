//! What is known of one name, and what a look at it means.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::{Change, Look, Overwrite, Rules, State, Waits};
use crate::torrent::Identity;

/// What is known of a name.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The last look that found something.
    pub(super) look: Option<Look>,
    /// Since when nothing has changed.
    pub(super) since: Duration,
    pub(super) touched: Option<Duration>,
    /// Since when looks find nothing.
    pub(super) absent: Option<Duration>,
    /// What is published.
    pub(super) published: Option<Look>,
    /// Another file came under the published name: it is not one that was written over.
    pub(super) replaced: bool,
    marker: Option<Identity>,
    /// A marker that was there before the last write.
    stale: Option<Identity>,
    pub(super) told: Told,
    pub(super) due: Option<Duration>,
    /// Looks are at least this long apart: big directories cost.
    pub(super) pause: Duration,
}

/// What the owner knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Told {
    #[default]
    Nothing,
    /// It is as it was published.
    Published,
    State(State),
}

/// What it means that nothing is there.
pub(super) enum Missing {
    /// Nobody was told that it was there.
    Unknown,
    /// To be looked at once more.
    Confirm(Duration),
    Gone,
}

impl Name {
    /// The owner works with what is there: a change matters at once.
    pub(super) fn is_settled(&self) -> bool {
        matches!(
            self.told,
            Told::Published | Told::State(State::Settled(_) | State::Overwritten(_))
        )
    }

    /// When to look next, if it were `at`.
    pub(super) fn next(&self, at: Duration) -> Duration {
        match self.due {
            // Touches that never end must not put the look off for ever.
            Some(due) => due.min(at),
            None => at + self.pause,
        }
    }

    pub(super) fn missing(&mut self, rules: &Rules, now: Duration) -> Missing {
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
    pub(super) fn present(
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
    pub(super) fn settle(&self, rules: &Rules, look: &Look) -> Duration {
        if rules.overwrite == Overwrite::SettleLonger && self.is_overwritten(look) {
            rules.overwrite_settle
        } else {
            rules.settle
        }
    }

    /// A file that is published was written to: the same inode under the same path is no longer what it was.
    fn is_overwritten(&self, look: &Look) -> bool {
        let published = self.published.as_ref();
        !self.replaced
            && published.is_some_and(|published| published.written_in_place(look).next().is_some())
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

    pub(super) fn tell(
        &mut self,
        name: &OsStr,
        state: State,
        out: &mut VecDeque<(OsString, State)>,
    ) {
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
