//! Random pieces for tests and benches: the same seed gives the same swarms.

#[allow(dead_code)] // Not every test needs all of it.
#[path = "pieces/private.rs"]
pub(crate) mod private;

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use shard::{ClientTag, InfoHash, PeerRecord, PeerState, Piece, Seconds, SwarmRecord};

/// A piece of `swarms` swarms with at most `peers_max` peers of each family in each. Announces lie
/// within the `age_max` seconds before `now`, at multiples of four seconds.
pub(crate) fn random(
    rng: &mut Rng,
    swarms: usize,
    peers_max: usize,
    now: Seconds,
    age_max: u32,
) -> Piece {
    let mut piece = Piece::default();
    for _ in 0..swarms {
        let (peers_v4, peers_v6) = (rng.usize(..=peers_max), rng.usize(..=peers_max));
        piece.swarms.push(SwarmRecord {
            info_hash: info_hash(rng),
            snatches: if rng.bool() { 0 } else { rng.u32(..1000) },
            peers_v4: peers_v4 as u32,
            peers_v6: peers_v6 as u32,
        });
        for _ in 0..peers_v4 {
            piece.peers_v4.push(peer_v4(rng, now, age_max));
        }
        for _ in 0..peers_v6 {
            let address = Ipv6Addr::from_bits(rng.u128(..));
            piece.peers_v6.push(peer(rng, address, now, age_max));
        }
    }
    piece
}

/// A random IPv4 peer.
pub(crate) fn peer_v4(rng: &mut Rng, now: Seconds, age_max: u32) -> PeerRecord<Ipv4Addr> {
    let address = Ipv4Addr::from_bits(rng.u32(..));
    peer(rng, address, now, age_max)
}

fn info_hash(rng: &mut Rng) -> InfoHash {
    let mut bytes = [0; 20];
    rng.fill(&mut bytes);
    InfoHash(bytes)
}

fn peer<A>(rng: &mut Rng, address: A, now: Seconds, age_max: u32) -> PeerRecord<A> {
    let state = [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher][rng.usize(..3)];
    let last_seen = Seconds((now.0 - rng.u32(..=age_max)) / 4 * 4);
    PeerRecord {
        address,
        port: rng.u16(..),
        client: ClientTag::from_bits(rng.u32(..)),
        state,
        last_seen,
    }
}
