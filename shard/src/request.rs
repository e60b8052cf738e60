//! Requests of a front end to a shard, and the shard's answers.

use std::net::IpAddr;

use crate::{ClientTag, InfoHash};

/// The event that a client says with an announce (BEP 3 `event`; BEP 21 `paused`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Event {
    /// A regular announce, or an event this tracker does not know.
    #[default]
    None,
    /// The first announce of a session.
    Started,
    /// The download has just finished.
    Completed,
    /// The client leaves the swarm.
    Stopped,
    /// A partial seed: some pieces missing, none wanted (BEP 21).
    Paused,
}

/// Which address families the requester can use in a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Families {
    /// Hand out IPv4 peers.
    pub v4: bool,
    /// Hand out IPv6 peers.
    pub v6: bool,
}

/// An announce, already parsed and bounded by the front end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer's address; never an IPv4-mapped IPv6 address.
    pub address: IpAddr,
    /// The peer's port; 0 is recorded and counted, never handed out.
    pub port: u16,
    /// Which client this endpoint belongs to.
    pub client: ClientTag,
    /// Bytes left to download; 0 is a seeder, anything else (or unknown, as `u64::MAX`) a leecher. No size is read
    /// from it: with a magnet link clients say 0, 1, 16384 or 2^63 − 1.
    pub left: u64,
    /// Bytes downloaded since `started`; 0 when unknown.
    pub downloaded: u64,
    /// The event.
    pub event: Event,
    /// Peers asked for, all families together; already capped by the front end.
    pub numwant: u16,
    /// Families to hand out.
    pub families: Families,
}

/// How many are in a swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Clients with everything (`complete`).
    pub seeders: u32,
    /// Clients without everything (`incomplete`); partial seeds included.
    pub leechers: u32,
    /// The part of `leechers` that wants nothing more (BEP 21); `downloaders` = leechers − these.
    pub partial_seeds: u32,
    /// Completed downloads (`downloaded`).
    pub snatches: u32,
}

/// The answer to an announce, filled by the shard; the buffers are reused by the caller.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reply {
    /// The swarm after this announce, the requester included.
    pub counts: Counts,
    /// Compact IPv4 peers: 6 bytes each, address then port, network order (BEP 23).
    pub peers_v4: Vec<u8>,
    /// Compact IPv6 peers: 18 bytes each (BEP 7).
    pub peers_v6: Vec<u8>,
}

impl Reply {
    /// Empties the reply and keeps its buffers.
    pub fn clear(&mut self) {
        self.counts = Counts::default();
        self.peers_v4.clear();
        self.peers_v6.clear();
    }
}

/// Why a shard does not take an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The shard holds `Limits::swarms_max` swarms, and this would be one more.
    #[error("Tracker is full: no more torrents are accepted")]
    SwarmsMax,
    /// The shard holds `Limits::peers_max` peers, and this would be one more.
    #[error("Tracker is full: no more peers are accepted")]
    PeersMax,
}
