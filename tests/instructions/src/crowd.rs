//! Who announces: 500,000 peers in 100,000 torrents, most of which have one to three while some have
//! thousands, as trackers see it.

use std::net::Ipv4Addr;

use fastrand::Rng;
use shard::InfoHash;

/// Peers, counted over all torrents.
pub(crate) const PEERS: u32 = 500_000;

/// Torrents that have a peer.
pub(crate) const TORRENTS: u32 = 100_000;

/// Users who have the peers, where the tracker is private.
pub(crate) const USERS: u32 = 100_000;

/// Peers by number: the torrent of each.
pub(crate) struct Crowd {
    /// Where each torrent's peers end.
    ends: Vec<u32>,
}

impl Crowd {
    /// Sizes fall off as a power of the rank, and no torrent is without a peer.
    pub(crate) fn new() -> Self {
        let weight = |rank: u32| f64::from(rank + 20).powf(-0.86);
        let sum: f64 = (0..TORRENTS).map(weight).sum();
        let scale = f64::from(PEERS - TORRENTS) / sum;
        let mut end = 0.0;
        let ends = (0..TORRENTS).map(|rank| {
            end += 1.0 + weight(rank) * scale;
            end as u32
        });
        Self { ends: ends.collect() }
    }

    /// All peers in an order that hops between torrents.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = Peer> + '_ {
        let peers = u64::from(self.peers());
        // A prime that the number of peers is no multiple of visits everybody once.
        (0..peers).map(move |n| self.peer((n * 1_000_003 % peers) as u32))
    }

    /// Some of them.
    pub(crate) fn some(&self, random: &mut Rng, count: usize) -> Vec<Peer> {
        (0..count).map(|_| self.peer(random.u32(..self.peers()))).collect()
    }

    /// How many they are: [`PEERS`], or one less by rounding.
    pub(crate) fn peers(&self) -> u32 {
        *self.ends.last().unwrap()
    }

    fn peer(&self, number: u32) -> Peer {
        let torrent = self.ends.partition_point(|end| *end <= number) as u32;
        Peer { number, torrent }
    }
}

/// One peer.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) number: u32,
    pub(crate) torrent: u32,
}

impl Peer {
    pub(crate) fn info_hash(self) -> InfoHash {
        info_hash(self.torrent)
    }

    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(0x2d00_0000 | self.number)
    }

    pub(crate) fn port(self) -> u16 {
        6881 + (self.number % 7) as u16
    }

    /// Letters and digits behind the prefix, so that no byte of it is escaped.
    pub(crate) fn peer_id(self) -> [u8; 20] {
        let mut peer_id = *b"-qB5020-000000000000";
        peer_id[12..].copy_from_slice(format!("{:08x}", self.key()).as_bytes());
        peer_id
    }

    pub(crate) fn key(self) -> u32 {
        mix(u64::from(self.number)) as u32
    }

    pub(crate) fn left(self) -> u64 {
        u64::from(!self.number.is_multiple_of(3)) << 30
    }

    pub(crate) fn user(self) -> u32 {
        (mix(u64::from(self.number) + 99) % u64::from(USERS)) as u32
    }
}

/// The infohash of a torrent.
pub(crate) fn info_hash(torrent: u32) -> InfoHash {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&mix(u64::from(torrent) + 1).to_be_bytes());
    bytes[8..16].copy_from_slice(&mix(u64::from(torrent) + 7).to_be_bytes());
    InfoHash(bytes)
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_add(0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
