//! Every peer is told about as often as every other, at every size a swarm is kept in.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shard::{Announce, ClientTag, Event, Families, InfoHash, Limits, Reply, Seconds, Shard};

const LIMITS: Limits = Limits {
    swarms_max: 10,
    peers_max: 100_000,
    peer_timeout: Seconds(3600),
    swarm_retention: Seconds(3600),
};
const NOW: Seconds = Seconds(1_700_000_000);

/// Who announces in what order must not matter: the requester is a seeder, and asks `asks` times.
fn told(v4: u32, v6: u32, numwant: u16, asks: u32) -> Vec<u32> {
    let mut shard = Shard::new(3, LIMITS);
    let (mut random, mut reply) = (fastrand::Rng::with_seed(5), Reply::default());
    let mut announce = Announce {
        info_hash: InfoHash([1; 20]),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 6881,
        client: ClientTag::from_bits(0),
        left: 1,
        event: Event::None,
        numwant: 0,
        families: Families { v4: true, v6: true },
    };
    for n in 0..v4 + v6 {
        let host = Ipv4Addr::from(0x2d00_0000 + n);
        announce.address =
            if n < v4 { host.into() } else { Ipv6Addr::from(n as u128 | 0x2a00 << 112).into() };
        announce.client = ClientTag::from_bits(n + 1);
        shard.announce(&announce, NOW, &mut random, &mut reply).unwrap();
    }
    let asking = Announce {
        address: Ipv4Addr::new(45, 99, 0, 1).into(),
        client: ClientTag::from_bits(0),
        left: 0,
        numwant,
        ..announce
    };
    let mut told: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..asks {
        shard.announce(&asking, NOW, &mut random, &mut reply).unwrap();
        let peers = reply.peers_v4.chunks(6).chain(reply.peers_v6.chunks(18));
        peers.for_each(|peer| *told.entry(peer.to_vec()).or_default() += 1);
    }
    assert!(told.len() <= (v4 + v6) as usize);
    let mut told: Vec<u32> = told.into_values().collect();
    told.resize((v4 + v6) as usize, 0);
    told
}

/// Each peer is told `expected` times on average; being told is a throw of a coin each time, so the
/// deviation is at most the root of that. Of thousands of peers none is five and a half away.
fn check(v4: u32, v6: u32, numwant: u16, asks: u32) {
    let told = told(v4, v6, numwant, asks);
    let expected = f64::from(asks) * f64::from(numwant) / f64::from(v4 + v6);
    for times in told {
        let away = (f64::from(times) - expected).abs() / expected.sqrt();
        assert!(away < 5.5, "told {times} times, not about {expected}: {v4} IPv4 and {v6} IPv6");
    }
}

#[test]
fn few_peers_are_told_alike() {
    check(3, 0, 1, 30_000);
    check(3, 0, 2, 30_000);
}

#[test]
fn the_peers_of_a_list_are_told_alike() {
    check(20, 0, 5, 30_000);
    check(120, 0, 50, 30_000);
    check(0, 70, 7, 30_000);
}

#[test]
fn the_peers_of_a_crowd_are_told_alike() {
    check(400, 0, 5, 60_000);
    check(3000, 0, 50, 60_000);
    check(0, 1000, 10, 60_000);
}

#[test]
fn both_families_are_told_alike() {
    check(10, 30, 5, 30_000);
    check(90, 20, 7, 30_000);
    check(700, 100, 3, 60_000);
    check(50, 500, 50, 30_000);
}
