//! The effect of an announce on the accounting.

use super::{Counters, Endpoints, Names, PeerId, Stamp, TorrentId, UserId};
use crate::{InfoHash, Seconds};

/// An announce that changed something that must not be lost.
///
/// Everything but the credits is absolute: what the client reported, what is true of the torrent
/// afterwards. So the peers and torrents of a tracker can be rebuilt from facts, and a fact that is
/// seen twice changes nothing the second time. The credits are what is new, and are applied once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fact {
    /// When.
    pub at: Seconds,
    /// The same in the order of all reports. The engine sets it to the second; whoever hands the fact on
    /// says it exactly.
    pub stamp: Stamp,
    /// It came over IPv6, by the IPv6 address of `endpoints`; otherwise by the IPv4 one.
    pub over_v6: bool,
    /// The newest report that was known of this client under another session, from another node; for
    /// several nodes, and `None` where there is one.
    pub after: Option<Stamp>,
    /// The client's user.
    pub user: UserId,
    /// Which torrent, by number.
    pub torrent: TorrentId,
    /// Which torrent, by name.
    pub info_hash: InfoHash,
    /// Which client.
    pub peer_id: PeerId,
    /// Which client; see [`super::Announce::key`].
    pub key: u32,
    /// Where it can be reached, all that is known; of a hidden user too, whose swarms need it.
    pub endpoints: Endpoints,
    /// The user's addresses are not for the database.
    pub hidden: bool,
    /// May be handed out: a seeder, or a leecher with the right to be one.
    pub visible: bool,
    /// The counters the client reported: from here on its baseline.
    pub reported: Counters,
    /// The counters it said, where those are others: an announce that was late or a copy's, or `stopped` with
    /// counters that fit nothing.
    pub said: Option<Counters>,
    /// Bytes it had left.
    pub left: u64,
    /// A partial seed (BEP 21).
    pub partial: bool,
    /// False when it said `stopped`: the peer is gone.
    pub active: bool,
    /// By which names of its torrent the peer is there.
    pub names: Names,
    /// When the peer was first heard of.
    pub since: Seconds,
    /// Seconds since the announce before; 0 for the first one.
    pub elapsed: u32,
    /// Announces of this peer so far, this one included.
    pub announces: u32,
    /// Bytes it moved since the announce before, before any rule; 0 where counters went down.
    pub moved: Counters,
    /// The factor of uploads, in percent; see [`super::Terms::upload_percent`].
    pub upload_percent: u16,
    /// The factor of downloads, in percent: 100, or 0 where they were free for everybody.
    pub download_percent: u16,
    /// A token took the download over.
    pub token: bool,
    /// Bytes to add to the user's upload.
    pub credited_up: u64,
    /// Bytes to add to the user's download.
    pub credited_down: u64,
    /// Bytes that a token took over, to be added to what the token was used for.
    pub token_down: u64,
    /// The download is complete, and the token with it.
    pub token_spent: bool,
    /// This announce completed a download, counted once per client.
    pub snatched: bool,
    /// The torrent after it.
    pub swarm: Swarm,
}

/// A torrent's figures after a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swarm {
    /// Clients with everything.
    pub seeders: u32,
    /// Clients without everything.
    pub leechers: u32,
    /// Completed downloads since the torrent was registered.
    pub snatches: u32,
    /// Bytes uploaded less bytes downloaded and corrupt, as reported, since the torrent was registered.
    pub balance: i64,
}
