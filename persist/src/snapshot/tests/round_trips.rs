//! What is written is read, whatever the pieces were.

use super::*;

#[test]
fn what_is_written_is_read() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let pieces: Vec<_> = (0..rng.usize(..6))
            .map(|_| {
                let (swarms, peers_max) = (rng.usize(..200), rng.usize(..20));
                pieces::random(&mut rng, swarms, peers_max, META.written_at, 80_000)
            })
            .collect();
        check_round_trip(&pieces);
    }
}

#[test]
fn nothing_is_a_snapshot_too() {
    assert_eq!(check_round_trip(&[]), Totals::default());
    assert_eq!(check_round_trip(&[Piece::default()]), Totals::default());
}

#[test]
fn a_swarm_larger_than_a_frame_is_spread_and_counted_once() {
    let mut rng = Rng::with_seed(1);
    for (before, peers_max) in [(0, 60_000), (1, 100_000), (ENTRIES_MAX, 40_000)] {
        let mut piece = pieces::random(&mut rng, before, 0, META.written_at, 0);
        let large = pieces::random(&mut rng, 1, peers_max, META.written_at, 3000);
        piece.swarms.extend(large.swarms);
        piece.peers_v4.extend(large.peers_v4);
        piece.peers_v6.extend(large.peers_v6);
        let totals = check_round_trip(&[piece]);
        assert!(totals.records > totals.swarms, "{totals:?}");
    }
}

#[test]
fn swarms_go_on_in_later_pieces_while_shards_alternate() {
    // Two shards; each has one large swarm, exported in many pieces by turns.
    let mut rng = Rng::with_seed(2);
    let mut shards = [0, 1].map(|_| {
        let mut whole = pieces::random(&mut rng, 1, 0, META.written_at, 0);
        let peers = pieces::random(&mut rng, 400, 10, META.written_at, 3000);
        (whole.peers_v4, whole.peers_v6) = (peers.peers_v4, peers.peers_v6);
        whole
    });
    let mut pieces = Vec::new();
    while shards.iter().any(|shard| !shard.peers_v4.is_empty()) {
        for shard in &mut shards {
            let v4 = shard.peers_v4.len().min(100);
            let v6 = shard.peers_v6.len().min(90);
            pieces.push(Piece {
                swarms: vec![SwarmRecord {
                    peers_v4: v4 as u32,
                    peers_v6: v6 as u32,
                    ..shard.swarms[0]
                }],
                peers_v4: shard.peers_v4.drain(..v4).collect(),
                peers_v6: shard.peers_v6.drain(..v6).collect(),
            });
        }
    }
    let totals = check_round_trip(&pieces);
    assert_eq!((totals.swarms, totals.records), (2, pieces.len() as u64));
}

#[test]
fn times_keep_four_seconds_and_three_days() {
    let mut piece = pieces::random(&mut Rng::with_seed(3), 1, 0, META.written_at, 0);
    for ago in [0, 3, 5, 86_400, 262_139, 300_000, 1_800_000_000] {
        piece.swarms[0].peers_v4 += 1;
        piece.peers_v4.push(PeerRecord {
            address: std::net::Ipv4Addr::LOCALHOST,
            port: ago as u16,
            client: ClientTag::default(),
            state: PeerState::Seeder,
            last_seen: META.written_at - Seconds(ago),
        });
    }
    let (swarms, _) = decode(&encode(&[piece]));
    let (_, peers) = swarms.values().next().unwrap();
    let mut read: Vec<_> =
        peers.values().map(|&(.., last_seen)| META.written_at - last_seen).collect();
    read.sort();
    assert_eq!(read, [0, 4, 8, 86_400, 262_140, 262_140, 262_140].map(Seconds));
}

#[test]
fn five_million_peers_would_fit_the_budget() {
    // The mean of 5 million IPv4 peers in 900,000 torrents, at a 400th of the size.
    let mut rng = Rng::with_seed(4);
    let mut piece = pieces::random(&mut rng, 2250, 0, META.written_at, 0);
    let peers = pieces::random(&mut rng, 1, 60_000, META.written_at, 3000);
    piece.peers_v4 = peers.peers_v4[..12_500].to_vec();
    for (at, swarm) in piece.swarms.iter_mut().enumerate() {
        swarm.peers_v4 = 5 + u32::from(at < 1250);
    }
    assert!(encode(&[piece]).len() * 400 < 100_000_000);
}

#[test]
fn a_piece_that_contradicts_itself_is_an_error() {
    for broken in [
        |piece: &mut Piece| piece.peers_v4.truncate(1),
        |piece: &mut Piece| piece.peers_v6.extend_from_within(..1),
        |piece: &mut Piece| piece.swarms[1].peers_v4 += 1,
    ] {
        let mut piece = pieces::random(&mut Rng::with_seed(5), 9, 9, META.written_at, 0);
        broken(&mut piece);
        let mut encoder = Encoder::new(Vec::new(), META).unwrap();
        assert_eq!(encoder.append(&piece).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
