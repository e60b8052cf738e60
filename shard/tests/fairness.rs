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
    count_unknown: false,
};
const NOW: Seconds = Seconds(1_700_000_000);

/// What those who do not stay leechers say, in turn: some, or one of these.
const CHANGES: [(u64, Event); 3] = [(0, Event::Completed), (1, Event::Paused), (1, Event::Stopped)];

/// How often each leecher was told to a seeder that asked `asks` times, where of `v4` and `v6` endpoints
/// those stay leechers that `stays` says, and the others say something of `changes`; and how many stay.
fn told_by(
    (v4, v6): (u32, u32),
    stays: impl Fn(u32) -> bool,
    changes: &[(u64, Event)],
    numwant: u16,
    asks: u32,
) -> (HashMap<Vec<u8>, u32>, u32) {
    let mut shard = Shard::new(3, LIMITS);
    let (mut random, mut reply) = (fastrand::Rng::with_seed(5), Reply::default());
    let mut announce = Announce {
        info_hash: InfoHash([1; 20]),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 6881,
        client: ClientTag::from_bits(0),
        left: 1,
        downloaded: 0,
        event: Event::None,
        numwant: 0,
        families: Families { v4: true, v6: true },
    };
    let mut staying = 0;
    for changing in [false, true] {
        for n in (0..v4 + v6).filter(|n| !changing || !stays(*n)) {
            let host = Ipv4Addr::from(0x2d00_0000 + n);
            announce.address =
                if n < v4 { host.into() } else { Ipv6Addr::from(n as u128 | 0x2a00 << 112).into() };
            announce.client = ClientTag::from_bits(n + 1);
            if changing {
                (announce.left, announce.event) = changes[n as usize % changes.len()];
            } else {
                staying += u32::from(stays(n));
            }
            shard.announce(&announce, NOW, &mut random, &mut reply).unwrap();
        }
    }
    let asking = Announce {
        address: Ipv4Addr::new(45, 99, 0, 1).into(),
        client: ClientTag::from_bits(0),
        left: 0,
        event: Event::None,
        numwant,
        ..announce
    };
    // Who is new may have nothing, and is told seeders.
    shard.announce(&asking, NOW, &mut random, &mut reply).unwrap();
    let mut told: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..asks {
        shard.announce(&asking, NOW, &mut random, &mut reply).unwrap();
        let peers = reply.peers_v4.chunks(6).chain(reply.peers_v6.chunks(18));
        peers.for_each(|peer| *told.entry(peer.to_vec()).or_default() += 1);
    }
    (told, staying)
}

/// How often each of those who stay was told.
fn told_of(
    sizes: (u32, u32),
    stays: impl Fn(u32) -> bool,
    changes: &[(u64, Event)],
    numwant: u16,
    asks: u32,
) -> Vec<u32> {
    let (told, staying) = told_by(sizes, stays, changes, numwant, asks);
    assert!(told.len() <= staying as usize);
    let mut told: Vec<u32> = told.into_values().collect();
    told.resize(staying as usize, 0);
    told
}

/// Each peer is told `expected` times on average; being told is a throw of a coin each time, so the
/// deviation is at most the root of that. Of thousands of peers none is five and a half away.
fn are_alike(told: &[u32], numwant: u16, asks: u32, what: &str) {
    let wanted = usize::from(numwant).min(told.len());
    let expected = f64::from(asks) * wanted as f64 / told.len() as f64;
    for times in told {
        let away = (f64::from(*times) - expected).abs() / expected.sqrt();
        assert!(away < 5.5, "told {times} times, not about {expected}: {what}");
    }
}

fn check(v4: u32, v6: u32, numwant: u16, asks: u32) {
    let told = told_of((v4, v6), |_| true, &[], numwant, asks);
    are_alike(&told, numwant, asks, &format!("{v4} IPv4 and {v6} IPv6"));
}

/// One in `one_in` stays a leecher.
fn check_left(v4: u32, v6: u32, one_in: u32, changes: &[(u64, Event)], numwant: u16) {
    const ASKS: u32 = 6_000;
    let told = told_of((v4, v6), |n| n % one_in == 0, changes, numwant, ASKS);
    let what = format!("one in {one_in} of {v4} IPv4 and {v6} IPv6 after {changes:?}");
    are_alike(&told, numwant, ASKS, &what);
}

#[test]
fn those_who_still_download_are_told_when_a_crowd_has_completed() {
    for changes in CHANGES.chunks(1) {
        check_left(60_000, 0, 3000, changes, 50);
        check_left(60_000, 0, 3000, changes, 5);
        check_left(0, 20_000, 700, changes, 50);
        check_left(9_000, 9_000, 900, changes, 10);
    }
}

#[test]
fn whoever_is_left_of_a_swarm_of_any_size_is_told_alike() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..40 {
        let size = |random: &mut fastrand::Rng| random.u32(..6000) >> random.u32(..8);
        // Of one family: of two, half are of the requester's own.
        let count = 1 + size(&mut random);
        let (v4, v6) = if random.bool() { (count, 0) } else { (0, count) };
        let one_in = 1 + random.u32(..(v4 + v6) / 2 + 1);
        let from = random.usize(..3);
        check_left(v4, v6, one_in, &CHANGES[from..random.usize(from..3) + 1], random.u16(1..60));
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
    check(30, 10, 5, 30_000);
    check(90, 20, 7, 30_000);
    check(700, 100, 3, 60_000);
    check(60, 20, 50, 30_000);
}

/// Who asks over IPv4 may have nothing else: half of what it is told is of IPv4, though nearly all others are not;
/// within a family all are told alike.
#[test]
fn half_of_what_is_told_is_of_the_own_family() {
    const ASKS: u32 = 20_000;
    for (v4, v6, numwant, of_v4) in
        [(60, 6000, 50, 25), (10, 6000, 50, 10), (40, 80, 50, 25), (400, 600, 6, 3), (3, 90, 50, 3)]
    {
        let (told, _) = told_by((v4, v6), |_| true, &[], numwant, ASKS);
        for (bytes, count, of_it) in [(6, v4, of_v4), (18, v6, numwant - of_v4)] {
            let mut times: Vec<u32> =
                told.iter().filter(|(at, _)| at.len() == bytes).map(|(_, times)| *times).collect();
            times.resize(count as usize, 0);
            assert_eq!(times.iter().sum::<u32>(), u32::from(of_it) * ASKS, "{v4} and {v6}");
            are_alike(&times, of_it, ASKS, &format!("{v4} IPv4 and {v6} IPv6, of {bytes} bytes"));
        }
    }
}
