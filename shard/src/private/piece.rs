//! Private swarms on their way to or from a snapshot, in bounded pieces.

use std::sync::Arc;

use super::{Counters, Endpoints, NamedRecord, PeerId, Terms, UserId};
use crate::{InfoHash, PeerState, Seconds};

/// A torrent of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TorrentRecord {
    /// Its name.
    pub info_hash: InfoHash,
    /// Its rules.
    pub terms: Terms,
    /// See [`super::Swarm::balance`].
    pub balance: i64,
    /// Completed downloads.
    pub snatches: u32,
    /// How many of [`Piece::peers`] are this torrent's.
    pub peers: u32,
    /// How many of [`Piece::tokens`] are for this torrent.
    pub tokens: u32,
}

/// A client of a user on a torrent, with all that is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerRecord {
    /// The client's user.
    pub user: UserId,
    /// Which client.
    pub peer_id: PeerId,
    /// Which client; see [`super::Announce::key`].
    pub key: u32,
    /// Where it can be reached.
    pub endpoints: Endpoints,
    /// Seeder, partial seed or leecher.
    pub state: PeerState,
    /// May be handed out: a seeder, or a leecher with the right to be one.
    pub visible: bool,
    /// The user's addresses are not for the database.
    pub hidden: bool,
    /// Its baseline: what it last reported.
    pub reported: Counters,
    /// Bytes it had left.
    pub left: u64,
    /// When it was first heard of.
    pub since: Seconds,
    /// When it last announced.
    pub seen: Seconds,
    /// Announces so far.
    pub announces: u32,
}

/// A token of a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenRecord {
    /// The user who has it.
    pub user: UserId,
    /// When it ends by itself.
    pub expires_at: Option<Seconds>,
}

/// Why a torrent is no longer registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletionRecord {
    /// Its name.
    pub info_hash: InfoHash,
    /// The reason that its clients are told.
    pub reason: Arc<str>,
    /// When it was removed.
    pub at: Seconds,
}

/// A bounded part of a core's torrents. One too large for one piece goes on in the next under the same
/// infohash; importing merges the parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    /// The torrents, in the order of their peers and tokens below.
    pub torrents: Vec<TorrentRecord>,
    /// Peers of all the torrents, one torrent after the other.
    pub peers: Vec<PeerRecord>,
    /// Tokens of all the torrents, one torrent after the other.
    pub tokens: Vec<TokenRecord>,
    /// Torrents that were removed.
    pub deletions: Vec<DeletionRecord>,
    /// The two names of each of the torrents that has two, the first one first.
    pub hybrids: Vec<(InfoHash, InfoHash)>,
    /// Of all peers those that are not there by the first name alone. To be imported after the torrents and `hybrids`.
    pub named: Vec<NamedRecord>,
}

impl Piece {
    /// Empties the piece and keeps its buffers.
    pub fn clear(&mut self) {
        self.torrents.clear();
        self.peers.clear();
        self.tokens.clear();
        self.deletions.clear();
        self.hybrids.clear();
        self.named.clear();
    }

    /// About how large it is: records of any kind, but for names, of which there are no more than of torrents and
    /// peers.
    pub fn records(&self) -> usize {
        self.torrents.len() + self.peers.len() + self.tokens.len() + self.deletions.len()
    }
}
