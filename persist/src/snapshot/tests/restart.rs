//! What comes back after a restart: on other cores, and after a while away.

use super::*;

#[test]
fn the_cores_of_the_next_start_need_not_be_as_many() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let mut rng = Rng::with_seed(14);
    let pieces: Vec<_> =
        (0..5).map(|_| pieces::random(&mut rng, 300, 9, META.written_at, 3000)).collect();
    let written = write_file(&dir, &pieces);
    let swarms = swarms_of(&pieces);
    let empty = swarms.values().filter(|(snatches, peers)| *snatches == 0 && peers.is_empty());
    let expected = (swarms.len() - empty.count(), totals_of(&swarms).1 as usize);

    for cores in [1, 2, 3, 8] {
        let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
        assert_eq!((snapshot.path(), snapshot.bytes()), (&*written.path, written.bytes));
        assert_eq!(snapshot.totals(), written.totals);
        let grace = Grace::new(snapshot.meta(), META.written_at);
        let (mut restored_swarms, mut restored_peers) = (0, 0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores)
                .map(|core| {
                    let (snapshot, grace, swarms) = (&snapshot, &grace, &swarms);
                    scope.spawn(move || {
                        let owns = |info_hash: &InfoHash| info_hash.prefix() % cores == core;
                        let mut shard = shard();
                        let restored = snapshot.restore(grace, owns, &mut shard).unwrap();
                        for (info_hash, (snatches, peers)) in swarms {
                            let counts = shard.scrape(info_hash).unwrap_or_default();
                            let held =
                                if owns(info_hash) { (*snatches, peers.len()) } else { (0, 0) };
                            let clients = (counts.seeders + counts.leechers) as usize;
                            // Two endpoints with the same random tag would be one client.
                            assert!((counts.snatches, clients) == held, "{counts:?}, not {held:?}");
                        }
                        restored
                    })
                })
                .collect();
            for thread in threads {
                let restored = thread.join().unwrap();
                assert_eq!((restored.timed_out, restored.refused), (0, 0));
                restored_swarms += restored.swarms;
                restored_peers += restored.peers_v4 + restored.peers_v6;
            }
        });
        assert_eq!((restored_swarms, restored_peers), expected, "{cores} cores");
    }
}

/// A client of its own, at an address and a time of its own.
fn announce_any(shard: &mut shard::Shard, info_hash: InfoHash, rng: &mut Rng) {
    let mut peer_id = [0; 20];
    rng.fill(&mut peer_id);
    let address: IpAddr = match rng.u8(..3) {
        0 => std::net::Ipv6Addr::from_bits(rng.u128(..)).into(),
        _ => std::net::Ipv4Addr::from_bits(rng.u32(..)).into(),
    };
    let announce = shard::Announce {
        info_hash,
        address,
        port: rng.u16(1..),
        client: ClientTag::new(&peer_id, b""),
        left: rng.u64(..3),
        downloaded: 0,
        event: [shard::Event::Started, shard::Event::Completed][rng.usize(..2)],
        numwant: 0,
        families: shard::Families::default(),
    };
    let now = META.written_at - Seconds(rng.u32(..500) * 4);
    shard.announce(&announce, now, &mut rng.fork(), &mut shard::Reply::default()).unwrap();
}

#[test]
fn a_shard_comes_back_as_three() {
    let info_hash = |torrent: u32| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&torrent.wrapping_mul(0x9e37_79b9).to_be_bytes());
        InfoHash(bytes)
    };
    let mut rng = Rng::with_seed(17);
    let mut whole = shard();
    let mut clients = 0;
    for torrent in 0..300_u32 {
        for _ in 0..if torrent == 7 { 1000 } else { rng.u32(1..20) } {
            announce_any(&mut whole, info_hash(torrent), &mut rng);
            clients += 1;
        }
    }
    let before = whole.totals();
    assert_eq!(before.peers_v4 + before.peers_v6, clients);

    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let mut writer = SnapshotWriter::create(&dir, META).unwrap();
    let (mut cursor, mut piece) = (shard::Cursor::default(), Piece::default());
    loop {
        piece.clear();
        let end = whole.export(&mut cursor, 100, &mut piece);
        writer.append(&piece).unwrap();
        if end {
            break;
        }
    }
    let written = writer.finish().unwrap().totals;
    assert_eq!((written.swarms, written.peers()), (300, clients as u64));
    assert_eq!(
        (written.peers_v4, written.peers_v6),
        (before.peers_v4 as u64, before.peers_v6 as u64)
    );

    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    let grace = snapshot.grace(META.written_at);
    let mut after = shard::Totals::default();
    for core in 0..3 {
        let mut part = shard();
        snapshot.restore(&grace, |info_hash| info_hash.prefix() % 3 == core, &mut part).unwrap();
        let totals = part.totals();
        after.swarms += totals.swarms;
        after.peers_v4 += totals.peers_v4;
        after.peers_v6 += totals.peers_v6;
        after.seeders += totals.seeders;
        after.leechers += totals.leechers;
        for torrent in 0..300_u32 {
            let info_hash = info_hash(torrent);
            if info_hash.prefix() % 3 == core {
                assert_eq!(part.scrape(&info_hash), whole.scrape(&info_hash));
            } else {
                assert_eq!(part.scrape(&info_hash), None);
            }
        }
    }
    assert_eq!(after, before);
}

#[test]
fn after_a_downtime_everybody_has_an_interval_to_announce_again() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let age_max = META.peer_timeout.0;
    let pieces = [pieces::random(&mut Rng::with_seed(16), 100, 9, META.written_at, age_max)];
    let peers = write_file(&dir, &pieces).totals.peers() as usize;

    // Twice as long as the peer timeout.
    let now = META.written_at + Seconds(8000);
    let mut shard = shard();
    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    let restored = snapshot.restore(&snapshot.grace(now), |_| true, &mut shard).unwrap();
    assert_eq!((restored.peers_v4 + restored.peers_v6, restored.timed_out), (peers, 0));

    let expire = |shard: &mut Shard, now| {
        let mut peers = 0;
        loop {
            let expired = shard.expire(now, 1000);
            peers += expired.peers;
            if expired.finished {
                return peers;
            }
        }
    };
    assert_eq!(expire(&mut shard, now + META.interval), 0);
    assert_eq!(expire(&mut shard, now + META.peer_timeout + Seconds(8)), peers);
}

#[test]
fn after_a_day_only_snatches_come_back() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let pieces = [pieces::random(&mut Rng::with_seed(15), 50, 9, META.written_at, 3000)];
    write_file(&dir, &pieces);
    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    let grace = snapshot.grace(META.written_at + DOWNTIME_MAX + Seconds(1));
    let mut shard = shard();
    let restored = snapshot.restore(&grace, |_| true, &mut shard).unwrap();
    let (_, peers, snatches) = totals_of(&swarms_of(&pieces));
    assert_eq!((restored.peers_v4, restored.peers_v6), (0, 0));
    assert_eq!(restored.timed_out as u64, peers);
    let kept: u64 = pieces[0]
        .swarms
        .iter()
        .filter_map(|swarm| shard.scrape(&swarm.info_hash))
        .map(|counts| u64::from(counts.snatches))
        .sum();
    assert_eq!(kept, snatches);
}
