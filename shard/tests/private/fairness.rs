//! Every peer is told about as often as every other, at every size a swarm is kept in.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use shard::private::{
    Announce, Counters, Endpoints, Facts, Freeleech, Limits, PeerId, Swarms, Terms, TorrentId,
    User, UserId,
};
use shard::{Event, Families, InfoHash, Reply, Seconds};

const NOW: Seconds = Seconds(1_700_000_000);
const LIMITS: Limits = Limits {
    torrents_max: 10,
    peers_max: 100_000,
    clients_max: 0,
    peer_timeout: Seconds(3600),
    interval: Seconds(1800),
    interval_max: Seconds(7200),
    count_unknown: false,
    deletions_max: 10,
    facts: Facts::Changed,
};

/// Announces of many users on one torrent.
fn announce(n: u32, wide: bool) -> Announce {
    let mut peer_id = *b"-XX0001-000000000000";
    peer_id[8..12].copy_from_slice(&n.to_be_bytes());
    Announce {
        info_hash: InfoHash([1; 20]),
        user: User { id: UserId(n), can_leech: true, hidden: false, group: None },
        peer_id: PeerId(peer_id),
        key: n,
        endpoints: Endpoints::new(
            Some(Ipv4Addr::from(0x2d00_0000 + n)),
            wide.then(|| Ipv6Addr::from(u128::from(n) | 0x2a00 << 112)),
            6881,
        ),
        counters: Counters::default(),
        left: 1,
        event: Event::None,
        numwant: 0,
        families: Families { v4: true, v6: true },
        assumed: Families::default(),
        interval: Seconds(1800),
        downloads_full: false,
    }
}

/// A swarm of `narrow` peers over IPv4 and `wide` ones over both, of which one in `one_in` stays a leecher,
/// and how often each of these was told to a seeder that asked `asks` times.
fn told(
    (narrow, wide): (u32, u32),
    one_in: u32,
    families: Families,
    numwant: u16,
    asks: u32,
) -> Vec<u32> {
    let mut swarms = Swarms::new(3, LIMITS);
    let terms = Terms { id: TorrentId(1), freeleech: Freeleech::None, upload_percent: 100 };
    swarms.register(InfoHash([1; 20]), terms).unwrap();
    let (mut random, mut reply) = (fastrand::Rng::with_seed(5), Reply::default());
    for n in 0..narrow + wide {
        swarms.announce(&announce(n, n >= narrow), NOW, &mut random, &mut reply).unwrap();
    }
    // All but those who are looked at change what they are.
    let mut changes =
        [(0, Event::Completed), (1, Event::Paused), (1, Event::Stopped)].into_iter().cycle();
    for n in (0..narrow + wide).filter(|n| n % one_in != 0) {
        let (left, event) = changes.next().unwrap();
        let changed = Announce { left, event, ..announce(n, n >= narrow) };
        swarms.announce(&changed, NOW, &mut random, &mut reply).unwrap();
    }
    let asking = Announce { left: 0, numwant, families, ..announce(1 << 20, true) };
    let mut told: HashMap<u32, u32> = HashMap::new();
    for _ in 0..asks {
        swarms.announce(&asking, NOW, &mut random, &mut reply).unwrap();
        if families.v4 {
            let peers = reply.peers_v4.chunks(6);
            assert!(peers.len() <= usize::from(numwant));
            let host = |peer: &[u8]| u32::from_be_bytes(peer[..4].try_into().unwrap());
            peers.for_each(|peer| *told.entry(host(peer) - 0x2d00_0000).or_default() += 1);
        } else {
            let peers = reply.peers_v6.chunks(18);
            assert!(peers.len() <= usize::from(numwant));
            let host = |peer: &[u8]| u32::from_be_bytes(peer[12..16].try_into().unwrap());
            peers.for_each(|peer| *told.entry(host(peer)).or_default() += 1);
        }
    }
    let from = if families.v4 { 0 } else { narrow };
    let stay = (from..narrow + wide).filter(|n| n % one_in == 0);
    stay.map(|n| told.get(&n).copied().unwrap_or(0)).collect()
}

/// Being told is a throw of a coin each time, so the deviation is at most the root of how often that is
/// on average. Of thousands of peers none is five and a half away.
fn check(narrow: u32, wide: u32, families: Families, numwant: u16, asks: u32) {
    check_left(narrow, wide, 1, families, numwant, asks);
}

fn check_left(narrow: u32, wide: u32, one_in: u32, families: Families, numwant: u16, asks: u32) {
    let told = told((narrow, wide), one_in, families, numwant, asks);
    let wanted = usize::from(numwant).min(told.len());
    let expected = f64::from(asks) * wanted as f64 / told.len() as f64;
    for times in told {
        let away = (f64::from(times) - expected).abs() / expected.sqrt();
        assert!(away < 5.5, "told {times} times, not about {expected}: {narrow} and {wide}");
    }
}

const BOTH: Families = Families { v4: true, v6: true };
const V4: Families = Families { v4: true, v6: false };
const V6: Families = Families { v4: false, v6: true };

#[test]
fn the_peers_of_a_list_are_told_alike() {
    check(3, 0, BOTH, 1, 30_000);
    check(20, 0, BOTH, 5, 30_000);
    check(60, 60, BOTH, 50, 30_000);
    check(0, 70, V6, 7, 30_000);
}

#[test]
fn the_peers_of_a_crowd_are_told_alike() {
    check(400, 0, BOTH, 5, 60_000);
    check(3000, 0, V4, 50, 60_000);
    check(700, 100, BOTH, 3, 60_000);
    check(50, 500, V4, 50, 30_000);
}

#[test]
fn those_who_still_download_are_told_when_a_crowd_has_completed() {
    check_left(60_000, 0, 3000, BOTH, 50, 6_000);
    check_left(60_000, 0, 3000, BOTH, 5, 6_000);
    check_left(9_000, 9_000, 900, BOTH, 10, 6_000);
    check_left(0, 20_000, 700, V6, 50, 6_000);
}

#[test]
fn whoever_is_left_of_a_swarm_of_any_size_is_told_alike() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..40 {
        let size = |random: &mut fastrand::Rng| random.u32(..6000) >> random.u32(..8);
        let (narrow, wide) = (1 + size(&mut random), size(&mut random));
        let one_in = 1 + random.u32(..(narrow + wide) / 2 + 1);
        check_left(narrow, wide, one_in, BOTH, random.u16(1..60), 6_000);
    }
}

#[test]
fn the_few_with_ipv6_are_found_in_a_crowd_without() {
    check(5000, 30, V6, 10, 30_000);
}

/// Who has no IPv6 address is told of those with IPv4 first, however few they are, each about as often as every other;
/// and of the others when there is room.
#[test]
fn who_has_ipv4_alone_is_told_of_whom_it_can_reach() {
    for (v6_alone, narrow, both) in [(6000, 100, 60), (300, 90, 0), (300, 0, 90), (100, 7, 3)] {
        let mut swarms = Swarms::new(3, LIMITS);
        let terms = Terms { id: TorrentId(1), freeleech: Freeleech::None, upload_percent: 100 };
        swarms.register(InfoHash([1; 20]), terms).unwrap();
        let (mut random, mut reply) = (fastrand::Rng::with_seed(6), Reply::default());
        let with_v4 = narrow + both;
        for n in 0..with_v4 + v6_alone {
            let mut joins = announce(n, n >= narrow);
            joins.endpoints.v4 = joins.endpoints.v4.filter(|_| n < with_v4);
            swarms.announce(&joins, NOW, &mut random, &mut reply).unwrap();
        }
        for families in [BOTH, V4] {
            let asking = Announce { left: 0, numwant: 50, families, ..announce(1 << 20, false) };
            let mut told = vec![0; with_v4 as usize];
            let asks = 2000;
            for _ in 0..asks {
                swarms.announce(&asking, NOW, &mut random, &mut reply).unwrap();
                let peers = reply.peers_v4.chunks(6);
                assert_eq!(peers.len(), 50.min(with_v4 as usize), "{with_v4} of {v6_alone}");
                let host = |peer: &[u8]| u32::from_be_bytes(peer[..4].try_into().unwrap());
                peers.for_each(|peer| told[(host(peer) - 0x2d00_0000) as usize] += 1);
                // Where there is room, those are told of as well whom it most likely cannot reach.
                let of_both = reply.peers_v6.chunks(18).len();
                if families == BOTH && with_v4 < 50 {
                    assert_eq!(of_both, 50 - narrow as usize);
                }
            }
            let expected = f64::from(asks) * 50_f64.min(with_v4.into()) / f64::from(with_v4);
            for times in told {
                let away = (f64::from(times) - expected).abs() / expected.sqrt();
                assert!(away < 5.5, "told {times} times, not about {expected}");
            }
        }
    }
}
