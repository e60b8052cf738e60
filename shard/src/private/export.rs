//! Writing private swarms out in pieces of a bounded size.

use super::face::Face;
use super::members::{TABLES, state_of};
use super::torrent::{Body, Role, Torrent};
use super::{PeerRecord, Piece, Swarms, TorrentRecord, UserId};
use crate::{InfoHash, PeerState};

/// How far an export has come. Starts at `Cursor::default()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    slot: u32,
    /// The torrent that the last piece ended in, and where.
    within: Option<(InfoHash, Within)>,
    /// The last deletion reason written; they come after all the torrents.
    deletion: Option<InfoHash>,
}

/// Where in a torrent: its tokens come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Within {
    /// After the token of this user.
    Tokens(Option<UserId>),
    /// At this bucket of a crowd, or at its list.
    Peers { table: usize, bucket: usize },
}

impl Swarms {
    /// Appends about `peers_max` records to `piece`, from `cursor` on; true when the end is reached. A
    /// piece may stay empty before the end.
    ///
    /// Announces and changes may come between two pieces. Who is there from the first piece to the last
    /// is in one of them, perhaps in two, of which the later is right; who comes, goes or changes
    /// meanwhile may be missing, and is in a fact made meanwhile. So the journal is to be replayed from
    /// where it was before the first piece.
    pub fn export(&mut self, cursor: &mut Cursor, peers_max: usize, piece: &mut Piece) -> bool {
        self.members.held = None;
        // Free slots cost a look too: what was once large is walked in steps as well.
        for _ in 0..peers_max.max(1) {
            if cursor.slot >= self.torrents.end() {
                return self.export_deletions(cursor, peers_max, piece);
            }
            self.export_torrent(cursor, peers_max, piece);
            if piece.records() >= peers_max {
                break;
            }
        }
        false
    }

    fn export_torrent(&mut self, cursor: &mut Cursor, peers_max: usize, piece: &mut Piece) {
        let torrent = self.torrents.get(cursor.slot);
        let within = cursor.within.take().filter(|(info_hash, _)| *info_hash == torrent.info_hash);
        let mut within = within.map_or(Within::Tokens(None), |(_, within)| within);
        if torrent.is_registered() {
            let before = (piece.peers.len(), piece.tokens.len());
            let at = piece.torrents.len();
            piece.torrents.push(record(torrent));
            if let Within::Tokens(after) = within {
                within = self.export_tokens(cursor.slot, after, peers_max, piece);
            }
            let mut more = matches!(within, Within::Tokens(_));
            if let Within::Peers { table, bucket } = within {
                let next = self.export_peers(torrent, table, bucket, peers_max, piece);
                more = next.is_some();
                within = next.unwrap_or(within);
            }
            piece.torrents[at].peers = (piece.peers.len() - before.0) as u32;
            piece.torrents[at].tokens = (piece.tokens.len() - before.1) as u32;
            if torrent.role == Role::First {
                let Piece { peers, hybrids, named, .. } = piece;
                let second = self.second_name(cursor.slot);
                hybrids.extend(second.map(|second| (torrent.info_hash, second)));
                named.extend(self.named(cursor.slot, peers[before.0..].iter()));
            }
            if more {
                cursor.within = Some((torrent.info_hash, within));
                if let (Body::Crowd(number), Within::Peers { .. }) = (&torrent.body, within) {
                    self.members.held = Some(*number);
                }
                return;
            }
        }
        cursor.slot += 1;
    }

    fn export_tokens(
        &self,
        slot: u32,
        mut after: Option<UserId>,
        peers_max: usize,
        piece: &mut Piece,
    ) -> Within {
        if self.torrents.get(slot).has_tokens {
            for token in self.tokens.of(slot, after) {
                after = Some(token.user);
                piece.tokens.push(token);
                if piece.records() >= peers_max {
                    return Within::Tokens(after);
                }
            }
        }
        Within::Peers { table: 0, bucket: 0 }
    }

    /// A list, or buckets of a crowd until the piece is full; where to go on, `None` at the end.
    fn export_peers(
        &self,
        torrent: &Torrent,
        mut table: usize,
        mut bucket: usize,
        peers_max: usize,
        piece: &mut Piece,
    ) -> Option<Within> {
        let members = &self.members;
        let Body::Crowd(number) = &torrent.body else {
            members.each(torrent, |face, state| {
                piece.peers.extend(self.peer_record(face, state));
                true
            });
            return None;
        };
        let tables = &members.crowd(*number).tables;
        while table < TABLES {
            let faces = tables[table].bucket(&members.faces, bucket);
            let state = state_of(table);
            faces.iter().for_each(|face| members.accounts.prefetch(face.account));
            piece.peers.extend(faces.iter().filter_map(|face| self.peer_record(face, state)));
            (table, bucket) = match bucket + 1 < tables[table].buckets() {
                true => (table, bucket + 1),
                false => (table + 1, 0),
            };
            if piece.records() >= peers_max {
                break;
            }
        }
        (table < TABLES).then_some(Within::Peers { table, bucket })
    }

    /// A peer as it is to be after a restart; nothing of one whose user is gone.
    pub(super) fn peer_record(&self, face: &Face, state: PeerState) -> Option<PeerRecord> {
        let mut face = *face;
        let stays = self.rights.write(&mut face, state);
        stays.then(|| self.members.record(&face, state))
    }

    fn export_deletions(&self, cursor: &mut Cursor, peers_max: usize, piece: &mut Piece) -> bool {
        for deletion in self.deletions.after(cursor.deletion) {
            if piece.records() >= peers_max.max(1) {
                return false;
            }
            cursor.deletion = Some(deletion.info_hash);
            piece.deletions.push(deletion);
        }
        true
    }
}

fn record(torrent: &Torrent) -> TorrentRecord {
    TorrentRecord {
        info_hash: torrent.info_hash,
        terms: torrent.terms,
        balance: torrent.balance,
        snatches: torrent.snatches,
        peers: 0,
        tokens: 0,
    }
}
