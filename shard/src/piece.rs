//! Swarms on their way to or from a snapshot, in bounded pieces.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{ClientTag, InfoHash, Seconds};

/// A peer's state in its swarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum PeerState {
    /// Has everything.
    Seeder,
    /// Lacks pieces and wants none of them (BEP 21).
    PartialSeed,
    /// Downloads.
    Leecher,
}

/// A peer as a snapshot keeps it; `A` is its address type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerRecord<A> {
    /// Address; with `port` the peer's identity.
    pub address: A,
    /// Port.
    pub port: u16,
    /// Which client the endpoint belongs to.
    pub client: ClientTag,
    /// Seeder, partial seed or leecher.
    pub state: PeerState,
    /// When it last announced; exact to 4 seconds.
    pub last_seen: Seconds,
}

/// A swarm of a piece: its peers are the next `peers_v4` and `peers_v6` of the piece's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwarmRecord {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Completed downloads.
    pub snatches: u32,
    /// How many of [`Piece::peers_v4`] are this swarm's.
    pub peers_v4: u32,
    /// How many of [`Piece::peers_v6`] are this swarm's.
    pub peers_v6: u32,
}

/// A bounded part of a shard. A swarm too large for one piece goes on in the next one under the
/// same infohash; importing merges the parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    /// The swarms, in the order of their peers below.
    pub swarms: Vec<SwarmRecord>,
    /// IPv4 peers of all the swarms, one swarm after the other.
    pub peers_v4: Vec<PeerRecord<Ipv4Addr>>,
    /// IPv6 peers of all the swarms, one swarm after the other.
    pub peers_v6: Vec<PeerRecord<Ipv6Addr>>,
}

impl Piece {
    /// Empties the piece and keeps its buffers.
    pub fn clear(&mut self) {
        self.swarms.clear();
        self.peers_v4.clear();
        self.peers_v6.clear();
    }
}
