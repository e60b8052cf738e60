//! Requests of the API to a core: to change something, or to look.

use shard::InfoHash;
use shard::private::{Bookmark, HeldToken, PeerRecord, Presence, Terms, TorrentId, UserId};
use tokio::sync::oneshot;

use crate::api::{Done, Failure, Operation, TorrentState};

/// The result of each of some operations, in their order.
pub type Results = Vec<Result<Done, Failure>>;

/// Something that is asked, and who gets the answer.
#[derive(Debug)]
pub enum Ask {
    /// To do these, in this order. Without any, to answer when the other cores have heard what was done before.
    Do(Vec<Operation>, oneshot::Sender<Results>),
    /// About a torrent; `None` when it is not registered.
    Torrent(InfoHash, oneshot::Sender<Option<TorrentState>>),
    /// Which torrents are registered, from a place on, at most so many.
    Torrents(u32, usize, oneshot::Sender<Listed>),
    /// Which torrent has this number; `None` when none of this core has.
    Number(TorrentId, oneshot::Sender<Option<TorrentState>>),
    /// Which tokens there are, after one that is a torrent's place and a user, of one user or of all, at most so many.
    Tokens(Option<(u32, UserId)>, Option<UserId>, usize, oneshot::Sender<Held>),
    /// The peers of a torrent, at most so many; `None` when it is not registered.
    Peers(InfoHash, Bookmark, usize, oneshot::Sender<Option<Page>>),
    /// Where a user's clients are, from a place on, at most so many and some.
    Find(UserId, u32, usize, oneshot::Sender<Found>),
}

/// Some of a torrent's peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The torrent's rules.
    pub terms: Terms,
    /// The peers.
    pub peers: Vec<PeerRecord>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Bookmark>,
}

/// Some of a core's torrents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listed {
    /// How they are.
    pub torrents: Vec<TorrentState>,
    /// Where to go on; `None` at the end.
    pub next: Option<u32>,
}

/// Some of a core's tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// They.
    pub tokens: Vec<HeldToken>,
    /// After which to go on; `None` at the end.
    pub next: Option<(u32, UserId)>,
}

/// Some of a user's clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Where they are.
    pub presences: Vec<Presence>,
    /// Where to go on; `None` at the end.
    pub next: Option<u32>,
}
