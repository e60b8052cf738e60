//! The format in memory, and the files. Here is what the tests have in common.

mod damage;
mod files;
mod private;
mod restart;
mod round_trips;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use fastrand::Rng;
use shard::{ClientTag, InfoHash, Limits, PeerState, Piece, Seconds, Shard, SwarmRecord};

use super::columns::ENTRIES_MAX;
use super::encoder::Encoder;
use super::format::{HEADER_BYTES, Header, Kind, Totals};
use super::frames::Frames;
use super::*;
use crate::pieces;
use crate::scratch::Scratch;

const META: Meta = Meta {
    written_at: Seconds(1_800_000_000),
    interval: Seconds(1800),
    peer_timeout: Seconds(4000),
    mode: Mode::Open,
};

/// What a snapshot says about swarms, whatever its pieces: snatches, and peers by endpoint.
type Swarms = BTreeMap<InfoHash, (u32, BTreeMap<(IpAddr, u16), (ClientTag, PeerState, Seconds)>)>;

fn add<A: Into<IpAddr>>(
    swarms: &mut Swarms,
    of: InfoHash,
    peers: impl Iterator<Item = PeerRecord<A>>,
) {
    let swarm = swarms.entry(of).or_default();
    for peer in peers {
        let known = swarm
            .1
            .insert((peer.address.into(), peer.port), (peer.client, peer.state, peer.last_seen));
        assert_eq!(known, None, "a peer comes twice");
    }
}

fn swarms_of(pieces: &[Piece]) -> Swarms {
    let mut swarms = Swarms::new();
    for piece in pieces {
        let mut v4 = piece.peers_v4.iter().copied();
        let mut v6 = piece.peers_v6.iter().copied();
        for swarm in &piece.swarms {
            swarms.entry(swarm.info_hash).or_default().0 = swarm.snatches;
            add(&mut swarms, swarm.info_hash, v4.by_ref().take(swarm.peers_v4 as usize));
            add(&mut swarms, swarm.info_hash, v6.by_ref().take(swarm.peers_v6 as usize));
        }
    }
    swarms
}

fn totals_of(swarms: &Swarms) -> (u64, u64, u64) {
    (
        swarms.len() as u64,
        swarms.values().map(|(_, peers)| peers.len() as u64).sum(),
        swarms.values().map(|(snatches, _)| u64::from(*snatches)).sum(),
    )
}

fn encode(pieces: &[Piece]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), META).unwrap();
    for piece in pieces {
        encoder.append(piece).unwrap();
    }
    let (bytes, totals, counted) = encoder.finish().unwrap();
    assert_eq!(bytes.len() as u64, counted);
    let (swarms, peers, snatches) = totals_of(&swarms_of(pieces));
    assert_eq!((totals.swarms, totals.peers(), totals.snatches), (swarms, peers, snatches));
    bytes
}

fn decode(bytes: &[u8]) -> (Swarms, Totals) {
    let mut frames = Frames::new(bytes).unwrap();
    let mut swarms = Swarms::new();
    while let Some(content) = frames.next_content().unwrap() {
        let Content::Swarms(view) = content else { panic!("of the open mode") };
        for part in view.parts() {
            assert_eq!(part.continued, swarms.contains_key(&part.info_hash));
            swarms.entry(part.info_hash).or_default().0 = part.snatches;
            add(&mut swarms, part.info_hash, view.peers_v4(part.v4));
            add(&mut swarms, part.info_hash, view.peers_v6(part.v6));
        }
    }
    assert!(frames.next_content().unwrap().is_none(), "the end stays the end");
    let (header, totals, read) = frames.summary();
    assert_eq!((header.meta, read), (META, bytes.len() as u64));
    (swarms, totals)
}

#[track_caller]
fn check_round_trip(pieces: &[Piece]) -> Totals {
    let swarms = swarms_of(pieces);
    let (read, totals) = decode(&encode(pieces));
    assert!(read == swarms, "other swarms were read than written");
    assert_eq!((totals.swarms, totals.peers(), totals.snatches), totals_of(&swarms));
    totals
}

fn small(seed: u64) -> Vec<Piece> {
    let mut rng = Rng::with_seed(seed);
    (0..2).map(|_| pieces::random(&mut rng, 3, 2, META.written_at, 3000)).collect()
}

fn write_file(dir: &DataDir, pieces: &[Piece]) -> Written {
    let mut writer = SnapshotWriter::create(dir, META).unwrap();
    pieces.iter().for_each(|piece| writer.append(piece).unwrap());
    writer.finish().unwrap()
}

fn shard() -> Shard {
    Shard::new(
        1,
        Limits {
            swarms_max: 1_000_000,
            peers_max: 1_000_000,
            peer_timeout: Seconds(4000),
            swarm_retention: Seconds(4000),
            count_unknown: false,
        },
    )
}
