//! What becomes of each name in the watched folder: decided from what is seen, hashed and told, without doing anything.
//!
//! A name has at most one torrent in the feed and one that follows it. What is seen of a name never withdraws anything
//! but when its file is gone, or when other content of it has been hashed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use shard::InfoHash;

use crate::watch::{Look, State, Waits};
use crate::web::status::FileState;

/// What is seen of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// It is being written.
    Uploading,
    /// It is as it was, and not for long enough.
    Settling,
    /// It is not to be published as it is: empty, or without its mark.
    Waiting(String),
    /// It has settled as this.
    Settled(Look),
    /// It has settled, but was written to in place, and nothing says that all of it is there: only the torrent that it
    /// had may come back.
    Overwritten(Look),
    /// It is not there.
    Gone,
    /// It cannot be published as it is.
    Failed(String),
}

/// What the watcher says, as far as it matters here.
pub(super) fn seen(state: State) -> Seen {
    match state {
        State::Uploading(Waits::Empty) => {
            Seen::Waiting("it is empty; there is nothing to publish yet".to_owned())
        }
        State::Uploading(Waits::Marker) => {
            Seen::Waiting("its done-marker is missing, or older than the last write".to_owned())
        }
        State::Uploading(_) | State::Changed(_) => Seen::Uploading,
        State::Settling { .. } => Seen::Settling,
        State::Settled(look) => Seen::Settled(look),
        State::Overwritten(look) => Seen::Overwritten(look),
        State::Gone => Seen::Gone,
        State::Failed(why) => Seen::Failed(why),
    }
}

/// What hashing has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hashed {
    /// These files are this torrent.
    Torrent(InfoHash),
    /// They changed meanwhile.
    Changed,
    /// It cannot be; a change of the files may help.
    Failed(String),
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// Hash the files of a name.
    Hash(String, Look),
    /// Stop hashing a name.
    Cancel(String),
    /// Look at a name again.
    Look(String),
    /// Nobody is to get bytes of this torrent any more; feed and tracker keep it.
    Silence(InfoHash),
    /// This torrent is of these files now, which are the same bytes: seed it again.
    Refresh(InfoHash, Look),
    /// Publish what was hashed of a name.
    Publish(String, InfoHash, Look),
    /// Take a torrent out of feed, docroot, tracker and swarm.
    Withdraw(InfoHash),
    /// Tell the operator that a name is not served, and why.
    Warn(String, String),
    /// Keep in mind that the operator wants a name out while its files are these.
    KeepOut(String, Option<Look>),
}

/// A name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Name {
    seen: Option<Seen>,
    /// The torrent that is published or on its way, and the files that it is of.
    torrent: Option<(InfoHash, Look)>,
    /// The torrent's files are not what they were, and nobody gets bytes of it.
    silent: bool,
    /// What is being hashed.
    hashing: Option<Look>,
    /// The files for which the operator has withdrawn it.
    kept_out: Option<Look>,
    /// Why the files that are there could not be published.
    failed: Option<(Look, String)>,
    /// The files that were written to in place and are another torrent, and what is said of that: until it is said that
    /// all of it is there.
    held_back: Option<(Look, String)>,
}

/// All names.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<String, Name>,
    /// Those that are not UTF-8, as they are shown.
    unreadable: BTreeMap<OsString, String>,
}

impl Names {
    /// A torrent of a start: published or on its way in, of these files.
    pub(super) fn restore(&mut self, name: &str, info_hash: InfoHash, files: Look) {
        self.entry(name).torrent = Some((info_hash, files));
    }

    /// A name that the operator has withdrawn, of a start.
    pub(super) fn restore_kept_out(&mut self, name: &str, files: Look) {
        self.entry(name).kept_out = Some(files);
    }

    /// A name's torrent, and the files that it is of.
    pub(super) fn torrent(&self, name: &str) -> Option<&(InfoHash, Look)> {
        self.names.get(name)?.torrent.as_ref()
    }

    /// Something is seen of a name.
    pub(super) fn see(&mut self, name: &str, seen: Seen) -> Vec<Act> {
        let entry = self.entry(name);
        let mut acts = Vec::new();
        entry.seen = Some(seen.clone());
        match seen {
            Seen::Settled(files) | Seen::Overwritten(files) => entry.settle(name, files, &mut acts),
            Seen::Gone => {
                entry.cancel(name, &mut acts);
                entry.silence(&mut acts);
                if let Some((info_hash, _)) = entry.torrent.take() {
                    acts.push(Act::Withdraw(info_hash));
                }
                // Who puts it there again wants it there.
                if entry.kept_out.take().is_some() {
                    acts.push(Act::KeepOut(name.to_owned(), None));
                }
                self.names.remove(name);
            }
            Seen::Waiting(why) => {
                entry.cancel(name, &mut acts);
                entry.silence(&mut acts);
                if entry.torrent.is_some() {
                    acts.push(Act::Warn(name.to_owned(), why));
                }
            }
            Seen::Uploading | Seen::Settling | Seen::Failed(_) => {
                entry.cancel(name, &mut acts);
                entry.silence(&mut acts);
            }
        }
        acts
    }

    /// Something is seen of a name that is not UTF-8. Says whether it is new.
    pub(super) fn see_unreadable(&mut self, name: &OsStr, seen: &Seen) -> bool {
        match seen {
            Seen::Gone => {
                self.unreadable.remove(name);
                false
            }
            _ => {
                let shown = name.to_string_lossy().into_owned();
                self.unreadable.insert(name.to_owned(), shown).is_none()
            }
        }
    }

    /// Hashing of a name has come to an end.
    pub(super) fn hear(&mut self, name: &str, files: &Look, hashed: Hashed) -> Vec<Act> {
        let mut acts = Vec::new();
        let Some(entry) = self.names.get_mut(name) else { return acts };
        if entry.hashing.as_ref() != Some(files) {
            // Of files that are no longer there.
            return acts;
        }
        entry.hashing = None;
        match hashed {
            Hashed::Changed => acts.push(Act::Look(name.to_owned())),
            Hashed::Failed(why) => {
                entry.silence(&mut acts);
                entry.failed = Some((files.clone(), why));
            }
            Hashed::Torrent(info_hash) => match &entry.torrent {
                Some((same, _)) if *same == info_hash => {
                    entry.silent = false;
                    entry.torrent = Some((info_hash, files.clone()));
                    acts.push(Act::Refresh(info_hash, files.clone()));
                }
                _ if matches!(entry.seen, Some(Seen::Overwritten(_))) => {
                    let why = overwritten(entry.torrent.as_ref().map(|(_, was)| was), files);
                    entry.held_back = Some((files.clone(), why.clone()));
                    acts.push(Act::Warn(name.to_owned(), why));
                }
                _ => {
                    if let Some((other, _)) = entry.torrent.replace((info_hash, files.clone())) {
                        acts.push(Act::Withdraw(other));
                    }
                    entry.silent = false;
                    acts.push(Act::Publish(name.to_owned(), info_hash, files.clone()));
                }
            },
        }
        acts
    }

    /// Whoever served a torrent found its files changed.
    pub(super) fn changed(&mut self, info_hash: &InfoHash) -> Vec<Act> {
        let of = |entry: &Name| entry.torrent.as_ref().is_some_and(|(hash, _)| hash == info_hash);
        let Some((name, entry)) = self.names.iter_mut().find(|(_, entry)| of(entry)) else {
            return Vec::new();
        };
        let mut acts = Vec::new();
        entry.silence(&mut acts);
        acts.push(Act::Look(name.clone()));
        acts
    }

    /// The operator withdraws a name.
    pub(super) fn withdraw(&mut self, name: &str) -> Result<Vec<Act>, String> {
        let Some(entry) = self.names.get_mut(name) else {
            return Err(format!(
                "{name:?} is not in the folder; `margay publish list` shows what is"
            ));
        };
        let mut acts = Vec::new();
        entry.cancel(name, &mut acts);
        entry.silence(&mut acts);
        let torrent = entry.torrent.take();
        let seen = match &entry.seen {
            Some(Seen::Settled(files) | Seen::Overwritten(files)) => Some(files.clone()),
            _ => torrent.as_ref().map(|(_, files)| files.clone()),
        };
        entry.kept_out = Some(seen.unwrap_or(Look::Absent));
        acts.push(Act::KeepOut(name.to_owned(), entry.kept_out.clone()));
        acts.extend(torrent.map(|(info_hash, _)| Act::Withdraw(info_hash)));
        Ok(acts)
    }

    /// The operator wants a name that failed, or that he has withdrawn, to be tried again.
    pub(super) fn republish(&mut self, name: &str) -> Result<Vec<Act>, String> {
        let Some(entry) = self.names.get_mut(name) else {
            return Err(format!(
                "{name:?} is not in the folder; `margay publish list` shows what is"
            ));
        };
        let mut acts = Vec::new();
        entry.failed = None;
        entry.held_back = None;
        if entry.kept_out.take().is_some() {
            acts.push(Act::KeepOut(name.to_owned(), None));
        }
        match entry.seen.clone() {
            // The operator says that all of it is there.
            Some(Seen::Settled(files) | Seen::Overwritten(files)) => {
                entry.seen = Some(Seen::Settled(files.clone()));
                entry.settle(name, files, &mut acts);
            }
            _ => acts.push(Act::Look(name.to_owned())),
        }
        Ok(acts)
    }

    /// All names with where they are on their way, the reason, and their torrent.
    pub(super) fn states(
        &self,
    ) -> impl Iterator<Item = (&str, FileState, Option<&str>, Option<InfoHash>)> {
        let names = self.names.iter().map(|(name, entry)| {
            let (state, reason) = entry.state();
            let info_hash = entry.torrent.as_ref().map(|(info_hash, _)| *info_hash);
            (name.as_str(), state, reason, info_hash)
        });
        let unreadable = self.unreadable.values();
        names.chain(
            unreadable.map(|name| (name.as_str(), FileState::Failed, Some(UNREADABLE), None)),
        )
    }

    fn entry(&mut self, name: &str) -> &mut Name {
        self.names.entry(name.to_owned()).or_default()
    }
}

impl Name {
    fn settle(&mut self, name: &str, files: Look, acts: &mut Vec<Act>) {
        if self.hashing.as_ref() == Some(&files) {
            return;
        }
        self.cancel(name, acts);
        if self.kept_out.as_ref() == Some(&files) {
            return;
        }
        if self.kept_out.take().is_some() {
            acts.push(Act::KeepOut(name.to_owned(), None));
        }
        if self.failed.as_ref().is_some_and(|(failed, _)| *failed == files) {
            return;
        }
        self.failed = None;
        // What settles after all has its done-marker by now.
        let is_whole = matches!(self.seen, Some(Seen::Settled(_)));
        if !is_whole && self.held_back.as_ref().is_some_and(|(held, _)| *held == files) {
            return;
        }
        self.held_back = None;
        match &self.torrent {
            Some((info_hash, known)) if *known == files => {
                if self.silent {
                    self.silent = false;
                    acts.push(Act::Refresh(*info_hash, files));
                }
            }
            _ => {
                self.silence(acts);
                self.hashing = Some(files.clone());
                acts.push(Act::Hash(name.to_owned(), files));
            }
        }
    }

    fn silence(&mut self, acts: &mut Vec<Act>) {
        if let Some((info_hash, _)) = &self.torrent
            && !self.silent
        {
            self.silent = true;
            acts.push(Act::Silence(*info_hash));
        }
    }

    fn cancel(&mut self, name: &str, acts: &mut Vec<Act>) {
        if self.hashing.take().is_some() {
            acts.push(Act::Cancel(name.to_owned()));
        }
    }

    fn state(&self) -> (FileState, Option<&str>) {
        match &self.seen {
            Some(Seen::Uploading) => (FileState::Uploading, None),
            Some(Seen::Settling) => (FileState::Settling, None),
            Some(Seen::Waiting(why)) => (FileState::Waiting, Some(why)),
            Some(Seen::Failed(why)) => (FileState::Failed, Some(why)),
            _ if self.hashing.is_some() => (FileState::Hashing, None),
            _ if self.kept_out.is_some() => (FileState::Withdrawn, None),
            _ => match (self.failed.as_ref().or(self.held_back.as_ref()), &self.torrent) {
                (Some((_, why)), _) => (FileState::Failed, Some(why)),
                (None, Some(_)) if !self.silent => (FileState::Seeding, None),
                (None, Some(_)) => (FileState::Settling, None),
                (None, None) => (FileState::Settling, None),
            },
        }
    }
}

/// What is said of a name that is not UTF-8.
pub(super) const UNREADABLE: &str = "a name that is not UTF-8 cannot be published; rename it";

/// What is said of a name that was written to in place, and which of its files were.
fn overwritten(was: Option<&Look>, now: &Look) -> String {
    let mut written = was.into_iter().flat_map(|was| was.written_in_place(now));
    let which = match (written.next(), written.count()) {
        (Some(path), _) if path.as_os_str().is_empty() => "it was".to_owned(),
        (Some(path), 0) => format!("{} was", shown(path)),
        (Some(path), more) => format!("{} and {more} more of its files were", shown(path)),
        (None, _) => "it was".to_owned(),
    };
    format!(
        "{which} written to in place, and nothing says that all of it is there: rename a whole file over it, make its \
         done-marker, or say `margay publish republish NAME`"
    )
}

fn shown(path: &Path) -> impl std::fmt::Display {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Identity;
    use crate::watch::Entry;

    const A: InfoHash = InfoHash([1; 20]);
    const B: InfoHash = InfoHash([2; 20]);

    fn files(inode: u64) -> Look {
        Look::File(Identity { device: 1, inode, size: 5, modified: 7, changed: 7 })
    }

    fn published(inode: u64, torrent: InfoHash) -> Names {
        let mut names = Names::default();
        assert_eq!(names.see("a", Seen::Uploading), []);
        let hash = Act::Hash("a".to_owned(), files(inode));
        assert_eq!(names.see("a", Seen::Settled(files(inode))), [hash]);
        let publish = Act::Publish("a".to_owned(), torrent, files(inode));
        assert_eq!(names.hear("a", &files(inode), Hashed::Torrent(torrent)), [publish]);
        names
    }

    #[test]
    fn a_file_that_settled_is_hashed_and_published_once() {
        let mut names = published(1, A);
        assert_eq!(names.see("a", Seen::Settled(files(1))), []);
        assert_eq!(names.states().next(), Some(("a", FileState::Seeding, None, Some(A))));
    }

    #[test]
    fn the_same_bytes_in_another_file_are_not_published_again() {
        let mut names = published(1, A);
        assert_eq!(names.see("a", Seen::Uploading), [Act::Silence(A)]);
        assert_eq!(names.see("a", Seen::Settled(files(2))), [Act::Hash("a".to_owned(), files(2))]);
        assert_eq!(names.hear("a", &files(2), Hashed::Torrent(A)), [Act::Refresh(A, files(2))]);
    }

    #[test]
    fn other_bytes_withdraw_the_old_torrent_when_they_are_hashed_and_not_before() {
        let mut names = published(1, A);
        let settled = names.see("a", Seen::Settled(files(2)));
        assert_eq!(settled, [Act::Silence(A), Act::Hash("a".to_owned(), files(2))]);
        let publish = Act::Publish("a".to_owned(), B, files(2));
        assert_eq!(names.hear("a", &files(2), Hashed::Torrent(B)), [Act::Withdraw(A), publish]);
    }

    #[test]
    fn other_bytes_written_in_place_are_not_published_unless_somebody_says_so() {
        let mut names = published(1, A);
        names.see("a", Seen::Uploading);
        assert_eq!(names.see("a", Seen::Overwritten(files(1))), [Act::Refresh(A, files(1))]);
        assert_eq!(names.see("a", Seen::Uploading), [Act::Silence(A)]);
        let hash = Act::Hash("a".to_owned(), files(2));
        let hashes = std::slice::from_ref(&hash);
        assert_eq!(names.see("a", Seen::Overwritten(files(2))), hashes);
        let warning = Act::Warn("a".to_owned(), overwritten(None, &files(2)));
        assert_eq!(names.hear("a", &files(2), Hashed::Torrent(B)), [warning]);
        assert_eq!(names.states().next().unwrap().1, FileState::Failed);
        assert_eq!(names.republish("a").unwrap(), [hash]);
        let publish = Act::Publish("a".to_owned(), B, files(2));
        assert_eq!(names.hear("a", &files(2), Hashed::Torrent(B)), [Act::Withdraw(A), publish]);
    }

    #[test]
    fn what_was_written_to_in_place_is_named() {
        let directory = |changed: [i128; 3]| Look::Directory {
            device: 1,
            files: ["a", "b/c", "d"]
                .iter()
                .zip(changed)
                .map(|(path, modified)| Entry {
                    path: path.into(),
                    identity: Identity {
                        device: 1,
                        inode: 5,
                        size: 5,
                        modified,
                        changed: modified,
                    },
                })
                .collect(),
            unfinished: None,
        };
        let was = directory([7, 7, 7]);
        let said = |changed| overwritten(Some(&was), &directory(changed));
        assert!(said([7, 8, 7]).starts_with("b/c was written to in place"), "{}", said([7, 8, 7]));
        assert!(
            said([8, 8, 8]).starts_with("a and 2 more of its files were"),
            "{}",
            said([8, 8, 8])
        );
    }

    #[test]
    fn what_is_published_and_cannot_be_served_is_told_of() {
        let mut names = published(1, A);
        let why = "it is empty".to_owned();
        let told = [Act::Silence(A), Act::Warn("a".to_owned(), why.clone())];
        assert_eq!(names.see("a", Seen::Waiting(why.clone())), told);
        assert_eq!(Names::default().see("a", Seen::Waiting(why)), [], "it was never served");
    }

    #[test]
    fn a_done_marker_that_comes_late_is_honoured() {
        let mut names = published(1, A);
        names.see("a", Seen::Uploading);
        let hash = [Act::Hash("a".to_owned(), files(2))];
        assert_eq!(names.see("a", Seen::Overwritten(files(2))), hash);
        assert!(matches!(names.hear("a", &files(2), Hashed::Torrent(B))[..], [Act::Warn(..)]));
        assert_eq!(names.see("a", Seen::Overwritten(files(2))), [], "it stays held back");
        assert_eq!(names.see("a", Seen::Settled(files(2))), hash);
        let publish = Act::Publish("a".to_owned(), B, files(2));
        assert_eq!(names.hear("a", &files(2), Hashed::Torrent(B)), [Act::Withdraw(A), publish]);
    }

    #[test]
    fn what_was_hashed_of_files_that_are_no_longer_there_counts_nothing() {
        let mut names = Names::default();
        names.see("a", Seen::Settled(files(1)));
        assert_eq!(names.see("a", Seen::Uploading), [Act::Cancel("a".to_owned())]);
        assert_eq!(names.hear("a", &files(1), Hashed::Torrent(A)), []);
        names.see("a", Seen::Settled(files(2)));
        assert_eq!(names.hear("a", &files(2), Hashed::Changed), [Act::Look("a".to_owned())]);
        names.see("a", Seen::Settled(files(2)));
        assert_eq!(names.see("a", Seen::Gone), [Act::Cancel("a".to_owned())]);
        assert_eq!(names.hear("a", &files(2), Hashed::Torrent(A)), []);
        assert_eq!(names.states().count(), 0, "a name that is gone does not come back");
    }

    #[test]
    fn a_file_that_is_gone_is_withdrawn() {
        let mut names = published(1, A);
        assert_eq!(names.see("a", Seen::Gone), [Act::Silence(A), Act::Withdraw(A)]);
        assert_eq!(names.states().count(), 0);
    }

    #[test]
    fn touched_without_a_change_it_is_seeded_again() {
        let mut names = published(1, A);
        assert_eq!(names.changed(&A), [Act::Silence(A), Act::Look("a".to_owned())]);
        assert_eq!(names.see("a", Seen::Settled(files(1))), [Act::Refresh(A, files(1))]);
    }

    #[test]
    fn withdrawn_by_hand_it_stays_out_until_its_files_change_or_the_operator_wants_it() {
        let mut names = published(1, A);
        let keep = Act::KeepOut("a".to_owned(), Some(files(1)));
        assert_eq!(names.withdraw("a").unwrap(), [Act::Silence(A), keep, Act::Withdraw(A)]);
        assert_eq!(names.see("a", Seen::Settled(files(1))), []);
        assert_eq!(names.states().next().unwrap().1, FileState::Withdrawn);
        let again = [Act::KeepOut("a".to_owned(), None), Act::Hash("a".to_owned(), files(1))];
        assert_eq!(names.clone().republish("a").unwrap(), again);
        let again = [Act::KeepOut("a".to_owned(), None), Act::Hash("a".to_owned(), files(2))];
        assert_eq!(names.see("a", Seen::Settled(files(2))), again);
        assert!(names.withdraw("b").unwrap_err().contains("not in the folder"));
    }

    #[test]
    fn what_failed_is_tried_again_when_it_changes_or_the_operator_says_so() {
        let mut names = Names::default();
        names.see("a", Seen::Settled(files(1)));
        assert_eq!(names.hear("a", &files(1), Hashed::Failed("no".to_owned())), []);
        assert_eq!(names.see("a", Seen::Settled(files(1))), []);
        assert_eq!(names.states().next(), Some(("a", FileState::Failed, Some("no"), None)));
        assert_eq!(names.clone().republish("a").unwrap(), [Act::Hash("a".to_owned(), files(1))]);
        assert_eq!(names.see("a", Seen::Settled(files(2))), [Act::Hash("a".to_owned(), files(2))]);
    }

    #[test]
    fn after_a_start_nothing_is_hashed_that_is_what_it_was() {
        let mut names = Names::default();
        names.restore("a", A, files(1));
        assert_eq!(names.see("a", Seen::Settling), [Act::Silence(A)]);
        assert_eq!(names.see("a", Seen::Settled(files(1))), [Act::Refresh(A, files(1))]);
    }
}
