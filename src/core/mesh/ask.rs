//! Requests of the API to a core: to change something, or to look.

use ops::lists::Standing;
use shard::private::{Bookmark, HeldToken, PeerRecord, Presence, Terms, TorrentId, UserId};
use shard::{Counts, InfoHash};
use tokio::sync::oneshot;

use crate::api::{Done, Failure, OpenState, Operation, TorrentState};

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
    /// Of an open tracker: say this of torrents that the receiver owns. How they are then, and whether each was served
    /// but for the deny-list before.
    Stand(Vec<(InfoHash, Standing)>, oneshot::Sender<Vec<(Stood, bool)>>),
    /// Of an open tracker: how torrents are that the receiver owns.
    Stands(Vec<InfoHash>, oneshot::Sender<Vec<Stood>>),
    /// Where a user's clients are, from a place on, at most so many and some.
    Find(UserId, u32, usize, oneshot::Sender<Found>),
}

/// How a torrent of an open tracker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stood {
    /// Whether it is served.
    pub state: OpenState,
    /// Who is on it; `None` where nobody was.
    pub counts: Option<Counts>,
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
