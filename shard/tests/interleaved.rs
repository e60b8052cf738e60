//! Sweeps, exports and announces in between one another: nothing is lost, counted twice or broken.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::iter::empty;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shard::model::Model;
use shard::{
    Announce, ClientTag, Counts, Cursor, Event, Families, InfoHash, Limits, PeerRecord, Piece,
    Refusal, Reply, Seconds, Shard,
};

const LIMITS: Limits = Limits {
    swarms_max: 1000,
    peers_max: 100_000,
    peer_timeout: Seconds(1000),
    swarm_retention: Seconds(1000),
    count_unknown: false,
};
const START: Seconds = Seconds(1_700_000_000);

fn announce(random: &mut fastrand::Rng, clients: u32, torrents: u8) -> Announce {
    let client = random.u32(..clients);
    let address: IpAddr = match random.bool() {
        true => Ipv4Addr::from(0x2d00_0000 | client).into(),
        false => Ipv6Addr::from(0x2a00 << 112 | u128::from(client)).into(),
    };
    let event = [Event::None, Event::Completed, Event::Paused, Event::Stopped][random.usize(..4)];
    Announce {
        info_hash: InfoHash([client as u8 % torrents; 20]),
        address,
        port: 6881,
        client: ClientTag::from_bits(client),
        left: u64::from(random.u8(..3)),
        downloaded: random.u64(..3),
        event,
        numwant: 50,
        families: Families { v4: true, v6: true },
    }
}

/// The rest of the sweep on its way, and a whole one.
fn sweep(shard: &mut Shard, now: Seconds) {
    for _ in 0..2 {
        while !shard.expire(now, 7).finished {}
    }
}

/// A whole export, with something done between any two pieces.
fn export(shard: &mut Shard, peers_max: usize, mut between: impl FnMut(&mut Shard)) -> Vec<Piece> {
    let (mut cursor, mut pieces, mut finished) = (Cursor::default(), Vec::new(), false);
    while !finished {
        let mut piece = Piece::default();
        finished = shard.export(&mut cursor, peers_max, &mut piece);
        pieces.push(piece);
        between(shard);
    }
    pieces
}

fn import(pieces: &[Piece], now: Seconds) -> Shard {
    let mut shard = Shard::new(99, LIMITS);
    for piece in pieces {
        let (mut v4, mut v6) = (piece.peers_v4.iter().copied(), piece.peers_v6.iter().copied());
        for swarm in &piece.swarms {
            let v4 = v4.by_ref().take(swarm.peers_v4 as usize);
            let v6 = v6.by_ref().take(swarm.peers_v6 as usize);
            shard.import(swarm.info_hash, swarm.snatches, v4, v6, now).unwrap();
        }
    }
    shard
}

/// A shard that is what its own export says: the same totals and counts, made afresh.
fn check_consistent(shard: &mut Shard, now: Seconds) {
    let pieces = export(shard, 777, |_| ());
    let copy = import(&pieces, now);
    assert_eq!(copy.totals(), shard.totals());
    for swarm in pieces.iter().flat_map(|piece| &piece.swarms) {
        assert_eq!(copy.scrape(&swarm.info_hash), shard.scrape(&swarm.info_hash));
    }
}

#[test]
fn a_sweep_in_small_steps_between_announces_drops_the_silent_and_nobody_else() {
    for (clients, torrents) in [(60, 20), (900, 2), (5000, 1)] {
        let (mut random, mut reply) = (fastrand::Rng::with_seed(8), Reply::default());
        let (mut shard, mut now) = (Shard::new(1, LIMITS), START);
        let mut last_seen: BTreeMap<(InfoHash, SocketAddr), Seconds> = BTreeMap::new();
        for step in 0..60_000 {
            let announce = announce(&mut random, clients, torrents);
            let key = (announce.info_hash, SocketAddr::new(announce.address, announce.port));
            let known = last_seen.get(&key).is_some_and(|seen| now.since(*seen).0 <= 1000);
            let done = shard.announce(&announce, now, &mut random, &mut reply).unwrap();
            assert!(!(done.joined && known), "{key:?} was dropped before its time");
            match announce.event {
                Event::Stopped => last_seen.remove(&key),
                _ => last_seen.insert(key, now),
            };
            shard.expire(now, random.usize(..20));
            now = now + Seconds(u32::from(step % 16 == 0));
            if step % 6_000 == 0 {
                check_consistent(&mut shard, now);
            }
        }
        for _ in 0..2 {
            now = now + Seconds(3000);
            sweep(&mut shard, now);
        }
        assert_eq!(shard.totals(), Default::default());
    }
}

#[test]
fn an_export_between_announces_misses_nobody_who_keeps_still() {
    for (clients, torrents) in [(200, 20), (5000, 2)] {
        let (mut random, mut reply) = (fastrand::Rng::with_seed(9), Reply::default());
        let mut shard = Shard::new(1, LIMITS);
        // Peers that only stay, leechers all of them, each with its own tag.
        for n in 0..1000_u32 {
            let mut still = announce(&mut random, clients, torrents);
            still.address = Ipv4Addr::from(0x2e00_0000 | n).into();
            (still.client, still.event, still.left) =
                (ClientTag::from_bits(1 << 20 | n), Event::None, 1);
            still.info_hash = InfoHash([n as u8 % torrents; 20]);
            shard.announce(&still, START, &mut random, &mut reply).unwrap();
        }
        let pieces = export(&mut shard, 50, |shard| {
            for _ in 0..100 {
                let moving = announce(&mut random, clients, torrents);
                shard.announce(&moving, START, &mut random, &mut reply).unwrap();
            }
        });
        let still = |peer: &&PeerRecord<Ipv4Addr>| peer.address.octets()[0] == 0x2e;
        let mut exported: Vec<Ipv4Addr> = pieces
            .iter()
            .flat_map(|p| p.peers_v4.iter().filter(still).map(|p| p.address))
            .collect();
        exported.sort();
        exported.dedup();
        assert_eq!(exported.len(), 1000);
        check_consistent(&mut shard, START);
        import(&pieces, START);
    }
}

/// The counts of all swarms, with something done between any two pieces.
fn counts(
    shard: &mut Shard,
    swarms_max: usize,
    mut between: impl FnMut(&mut Shard),
) -> Vec<(InfoHash, Counts)> {
    let (mut cursor, mut all, mut finished) = (Cursor::default(), Vec::new(), false);
    while !finished {
        let mut piece = Vec::new();
        finished = shard.counts(&mut cursor, swarms_max, &mut piece);
        assert!(piece.len() <= swarms_max.max(1), "a piece of {}", piece.len());
        all.append(&mut piece);
        between(shard);
    }
    all
}

#[test]
fn the_counts_of_all_swarms_are_those_of_their_scrapes() {
    // Swarms inline, in blocks and in crowds; some of them gone again, some kept for their snatches.
    for (clients, torrents, announces) in
        [(0, 1, 0), (60, 20, 500), (5000, 200, 9000), (5000, 1, 9000)]
    {
        let (mut random, mut reply) = (fastrand::Rng::with_seed(10), Reply::default());
        let (mut shard, mut model) = (Shard::new(1, LIMITS), Model::new(LIMITS));
        for _ in 0..announces {
            let announce = announce(&mut random, clients, torrents);
            shard.announce(&announce, START, &mut random, &mut reply).unwrap();
            model.announce(&announce, START, &mut reply).unwrap();
        }
        for swarms_max in [0, 1, 7, 64, 100_000] {
            let mut found = counts(&mut shard, swarms_max, |_| ());
            found.sort_by_key(|(info_hash, _)| *info_hash);
            let expected: Vec<(InfoHash, Counts)> = model
                .swarms
                .iter()
                .map(|(info_hash, swarm)| (*info_hash, swarm.counts()))
                .collect();
            assert_eq!(found, expected, "{torrents} torrents in pieces of {swarms_max}");
            for (info_hash, counts) in found {
                assert_eq!(shard.scrape(&info_hash), Some(counts));
            }
        }
    }
}

#[test]
fn counting_between_announces_misses_no_swarm_that_stays() {
    let (mut random, mut reply) = (fastrand::Rng::with_seed(11), Reply::default());
    let mut shard = Shard::new(1, LIMITS);
    let mut still: Vec<InfoHash> = (0..200_u8).map(|n| InfoHash([n; 20])).collect();
    for (n, info_hash) in still.iter().enumerate() {
        let mut seeder = announce(&mut random, 5000, 200);
        seeder.address = Ipv4Addr::from(0x2e00_0000 | n as u32).into();
        (seeder.info_hash, seeder.event, seeder.left) = (*info_hash, Event::None, 0);
        shard.announce(&seeder, START, &mut random, &mut reply).unwrap();
    }
    let found = counts(&mut shard, 3, |shard| {
        for _ in 0..20 {
            // Torrents that come and go, and announces of those that stay.
            let mut moving = announce(&mut random, 5000, 200);
            if random.bool() {
                moving.info_hash.0[19] = moving.info_hash.0[19].wrapping_add(1);
            }
            shard.announce(&moving, START, &mut random, &mut reply).unwrap();
        }
    });
    let mut counted: Vec<InfoHash> = found.iter().map(|(info_hash, _)| *info_hash).collect();
    counted.retain(|info_hash| still.contains(info_hash));
    counted.sort();
    still.sort();
    assert_eq!(counted, still, "each once");
    for (info_hash, counts) in found.iter().filter(|(info_hash, _)| still.contains(info_hash)) {
        assert!(counts.seeders >= 1, "{info_hash:?}");
    }
}

#[test]
fn importing_a_piece_twice_is_importing_it_once() {
    let (mut random, mut reply) = (fastrand::Rng::with_seed(3), Reply::default());
    let mut shard = Shard::new(1, LIMITS);
    for _ in 0..4000 {
        let announce = announce(&mut random, 2000, 7);
        shard.announce(&announce, START, &mut random, &mut reply).unwrap();
    }
    let mut pieces = export(&mut shard, 300, |_| ());
    pieces.extend_from_within(..);
    random.shuffle(&mut pieces);
    assert_eq!(import(&pieces, START).totals(), shard.totals());
}

#[test]
fn an_import_beyond_the_limits_is_refused_and_keeps_what_fits() {
    let limits = Limits { swarms_max: 1, peers_max: 2, ..LIMITS };
    let mut shard = Shard::new(1, limits);
    let peer = |n: u8| PeerRecord {
        address: Ipv4Addr::new(45, 0, 0, n),
        port: 6881,
        client: ClientTag::from_bits(n.into()),
        state: shard::PeerState::Seeder,
        last_seen: START,
    };
    let (one, other) = (InfoHash([1; 20]), InfoHash([2; 20]));
    assert_eq!(shard.import(one, 0, empty(), empty(), START), Ok(()));
    assert_eq!(shard.totals().swarms, 0, "nothing is made of nothing");
    assert_eq!(
        shard.import(one, 5, [peer(1), peer(1), peer(2), peer(3)].into_iter(), empty(), START),
        Err(Refusal::PeersMax)
    );
    assert_eq!(shard.import(other, 1, empty(), empty(), START), Err(Refusal::SwarmsMax));
    let counts = shard.scrape(&one).unwrap();
    assert_eq!((counts.seeders, counts.snatches, shard.totals().swarms), (2, 5, 1));
}

#[test]
fn a_removed_crowd_gives_its_memory_to_the_next() {
    let (mut random, mut reply) = (fastrand::Rng::with_seed(3), Reply::default());
    let mut shard = Shard::new(1, LIMITS);
    for _ in 0..3 {
        for n in 0..5000 {
            let mut announce = announce(&mut random, 5000, 1);
            (announce.event, announce.port) = (Event::None, 1000 + n);
            shard.announce(&announce, START, &mut random, &mut reply).unwrap();
        }
        check_consistent(&mut shard, START);
        let peers = shard.totals().peers_v4 + shard.totals().peers_v6;
        assert_eq!(shard.remove(&InfoHash([0; 20])), Some(peers));
        assert_eq!(shard.totals(), Default::default());
        sweep(&mut shard, START);
    }
}

#[test]
fn who_is_refused_is_gone_after_two_rounds_whatever_happens_meanwhile() {
    let (mut random, mut reply) = (fastrand::Rng::with_seed(12), Reply::default());
    for (clients, torrents) in [(40, 20), (4000, 3), (20_000, 2)] {
        let mut shard = Shard::new(7, LIMITS);
        let is_refused = |address: IpAddr| match address {
            IpAddr::V4(address) => u32::from(address) % 3 == 0,
            IpAddr::V6(address) => u128::from(address).is_multiple_of(3),
        };
        let mut enter = |shard: &mut Shard, random: &mut fastrand::Rng, all: bool| {
            let announce = announce(random, clients, torrents);
            if all || !is_refused(announce.address) {
                shard.announce(&announce, START, random, &mut reply).unwrap();
            }
        };
        (0..4 * clients).for_each(|_| enter(&mut shard, &mut random, true));
        // Half-way through a round.
        shard.expire(START, clients as usize / 2);
        shard.sweep_anew();
        for _ in 0..2 {
            while !shard.expire_refusing(START, 7, &is_refused).finished {
                (0..5).for_each(|_| enter(&mut shard, &mut random, false));
            }
        }
        let pieces = export(&mut shard, 777, |_| ());
        let v4 = pieces.iter().flat_map(|piece| &piece.peers_v4).map(|peer| peer.address.into());
        let v6 = pieces.iter().flat_map(|piece| &piece.peers_v6).map(|peer| peer.address.into());
        let left: Vec<IpAddr> = v4.chain(v6).collect();
        assert!(left.len() > clients as usize / 3, "{} of {clients} are there", left.len());
        assert!(!left.into_iter().any(is_refused), "{clients} clients");
        check_consistent(&mut shard, START);
    }
}
