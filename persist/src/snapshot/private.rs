//! A snapshot of a private tracker, taken in: accounts and client rules, torrents with their peers.

use std::fs::File;
use std::io::Read;

use shard::private::{
    ClientPrefix, GroupId, NamedRecord, Passkey, PeerRecord, Swarms, TokenRecord, TorrentRecord,
    User, UserId,
};
use shard::{InfoHash, Seconds, lasting_key};

use super::files::Files;
use super::format::{HEADER_BYTES, Header, is_read};
use super::frames::{Content, Frames};
use super::{Covered, Cursor, Mode, Restored, Snapshot, SnapshotError, fault_of};
use crate::data_dir::DataDir;

impl Snapshot {
    /// Which records of which journal the snapshot contains; `None` when an open tracker wrote it.
    pub fn covered(&self) -> Option<Covered> {
        match self.meta.mode {
            Mode::Private(covered) => Some(covered),
            Mode::Open => None,
        }
    }

    /// From where on the journal with this id is to be replayed after the snapshot. Another journal
    /// than the one the snapshot goes with is refused: what the snapshot lacks is not in it.
    pub fn replay_from(&self, journal: u64) -> Result<u64, SnapshotError> {
        self.expect_private(true)?;
        let covered = self.covered().unwrap_or_default();
        if covered.journal != journal {
            let (path, found) = (self.path.clone(), covered.journal);
            return Err(SnapshotError::Journal { path, found, journal });
        }
        Ok(covered.position)
    }

    /// Refuses a snapshot that another kind of tracker wrote: an open one when `private` is true, a
    /// private one when it is not.
    pub fn expect_private(&self, private: bool) -> Result<(), SnapshotError> {
        let path = self.path.clone();
        match (self.meta.mode, private) {
            (Mode::Private(_), true) | (Mode::Open, false) => Ok(()),
            (Mode::Private(_), false) => {
                Err(SnapshotError::Mode { path, found: "private", this: "open" })
            }
            (Mode::Open, true) => Err(SnapshotError::Mode { path, found: "open", this: "private" }),
        }
    }

    /// Shows every user, and whether he may announce, in no order. Reads no further than to the last of
    /// them. Before format 4 there are only those who may.
    pub fn accounts(
        &self,
        mut visit: impl FnMut(Passkey, User, bool),
    ) -> Result<(), SnapshotError> {
        self.expect_private(true)?;
        self.read(|content| match content {
            Content::Users(view) => {
                view.users().for_each(|(passkey, user, enabled)| visit(passkey, user, enabled));
                true
            }
            Content::Groups(_) | Content::Formers(_) => true,
            _ => false,
        })
    }

    /// Shows every group of users, with the downloads that each of them may have at once.
    pub fn groups(&self, mut visit: impl FnMut(GroupId, Option<u32>)) -> Result<(), SnapshotError> {
        self.expect_private(true)?;
        self.read(|content| match content {
            Content::Users(_) | Content::Formers(_) => true,
            Content::Groups(view) => {
                view.groups().for_each(|(id, downloads_max)| visit(id, downloads_max));
                true
            }
            _ => false,
        })
    }

    /// Shows every passkey that a user had before, and until when it is good. Before format 6 there are none.
    pub fn formers(
        &self,
        mut visit: impl FnMut(UserId, Passkey, Seconds),
    ) -> Result<(), SnapshotError> {
        self.expect_private(true)?;
        self.read(|content| match content {
            Content::Users(_) | Content::Groups(_) => true,
            Content::Formers(view) => {
                view.formers().for_each(|(user, passkey, until)| visit(user, passkey, until));
                true
            }
            _ => false,
        })
    }

    /// Shows every rule of clients: who is allowed (`true`) or refused.
    pub fn client_rules(
        &self,
        mut visit: impl FnMut(ClientPrefix, bool),
    ) -> Result<(), SnapshotError> {
        self.expect_private(true)?;
        self.read(|content| match content {
            Content::Users(_) | Content::Groups(_) | Content::Formers(_) => true,
            Content::Rules(view) => {
                view.rules().for_each(|(prefix, allow)| visit(prefix, allow));
                true
            }
            _ => false,
        })
    }

    /// Shows every registered torrent as it was, and after it each token for it that is in the same part of the
    /// file. A torrent whose tokens are in several parts is shown once.
    pub fn registered(
        &self,
        mut visit: impl FnMut(&TorrentRecord, Option<TokenRecord>),
    ) -> Result<(), SnapshotError> {
        self.expect_private(true)?;
        self.read(|content| {
            if let Content::Torrents(view) = content {
                for part in view.parts() {
                    if !part.continued {
                        visit(&part.record, None);
                    }
                    for token in view.tokens(part.tokens) {
                        visit(&part.record, Some(token));
                    }
                }
            }
            true
        })
    }

    /// Shows the two names of every torrent that has two, the first one first. One may be shown several times.
    pub fn hybrids(&self, mut visit: impl FnMut(InfoHash, InfoHash)) -> Result<(), SnapshotError> {
        self.expect_private(true)?;
        self.read(|content| {
            if let Content::Hybrids(view) = content {
                view.hybrids().for_each(|(first, second)| visit(first, second));
            }
            true
        })
    }

    /// Imports the torrents for which `owns` is true, with their tokens and all of their peers, and the
    /// reasons of those that were removed. Nobody is left out for being silent: a peer's baseline is
    /// worth credit. Replay the journal from [`Snapshot::covered`] on, and call
    /// [`Swarms::believe_from`] at the end.
    ///
    /// Reads and checks the file once more, with a buffer of at most half a megabyte, so that many
    /// threads can restore from one snapshot at the same time. What does not fit into the limits of
    /// `swarms` is counted as refused. After an error `swarms` has a part of them and must not be used.
    pub fn restore_private(
        &self,
        owns: impl Fn(&InfoHash) -> bool,
        swarms: &mut Swarms,
    ) -> Result<Restored, SnapshotError> {
        self.expect_private(true)?;
        let before = swarms.totals();
        let mut restored = Restored::default();
        self.read(|content| {
            match content {
                Content::Torrents(view) => {
                    for part in view.parts().filter(|part| owns(&part.record.info_hash)) {
                        let peers = view.peers(part.peers).map(|peer| {
                            restored.peers_v6 += usize::from(peer.endpoints.v6.is_some());
                            // Older snapshots have keys that do not last.
                            PeerRecord { key: lasting_key(&peer.peer_id.0, peer.key), ..peer }
                        });
                        let imported = swarms.import(&part.record, peers, view.tokens(part.tokens));
                        restored.refused += usize::from(imported.is_err());
                    }
                }
                Content::Deletions(view) => {
                    for deletion in view.deletions().filter(|removed| owns(&removed.info_hash)) {
                        swarms.set_deletion(deletion.info_hash, &deletion.reason, deletion.at);
                    }
                }
                Content::Hybrids(view) => {
                    for (first, second) in view.hybrids().filter(|(first, _)| owns(first)) {
                        restored.refused +=
                            usize::from(swarms.set_second(&first, Some(second)).is_err());
                    }
                    let named = view.named().filter(|named| owns(&named.info_hash));
                    for named in named {
                        let key = lasting_key(&named.peer_id.0, named.key);
                        swarms.import_names(&NamedRecord { key, ..named });
                    }
                }
                Content::Swarms(_)
                | Content::Users(_)
                | Content::Groups(_)
                | Content::Formers(_)
                | Content::Rules(_) => {}
            }
            true
        })?;
        let after = swarms.totals();
        restored.swarms = after.torrents.saturating_sub(before.torrents);
        let peers = after.peers.saturating_sub(before.peers);
        restored.peers_v6 = restored.peers_v6.min(peers);
        restored.peers_v4 = peers - restored.peers_v6;
        restored.tokens = after.tokens.saturating_sub(before.tokens);
        restored.deletions = after.deletions.saturating_sub(before.deletions);
        Ok(restored)
    }

    /// From where on the journal with this id has to be kept: the least position that one of the whole
    /// snapshots in a directory covers, so that each of them can be started from. `None` without such
    /// a snapshot: then all of the journal is needed. Reads headers alone; a file whose header is not
    /// good is passed over.
    pub fn oldest_covered(dir: &DataDir, journal: u64) -> Result<Option<u64>, SnapshotError> {
        let path = dir.path();
        let files = Files::list(path)
            .map_err(|source| SnapshotError::Read { path: path.to_owned(), source })?;
        let mut oldest: Option<u64> = None;
        for name in files.whole {
            let path = name.path(path);
            let mut bytes = [0; HEADER_BYTES];
            let read = File::open(&path).and_then(|mut file| file.read_exact(&mut bytes));
            if let Err(source) = read {
                if source.kind() == std::io::ErrorKind::UnexpectedEof {
                    continue;
                }
                return Err(SnapshotError::Read { path, source });
            }
            if let Ok(header) = Header::parse(&bytes)
                && is_read(header.format)
                && let Mode::Private(covered) = header.meta.mode
                && covered.journal == journal
            {
                let position = covered.position;
                oldest = Some(oldest.map_or(position, |oldest| oldest.min(position)));
            }
        }
        Ok(oldest)
    }

    /// Shows the content of the file, in order, until `visit` says that this is enough.
    pub(super) fn read(
        &self,
        mut visit: impl FnMut(Content<'_>) -> bool,
    ) -> Result<(), SnapshotError> {
        let mut read = || {
            let mut frames = Frames::new(Cursor::start(&self.file))?;
            while let Some(content) = frames.next_content()? {
                if !visit(content) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|fault| fault_of(&self.path, fault))
    }
}
