//! The format in memory: round trips, and every kind of damage.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;

use fastrand::Rng;
use shard::{ClientTag, InfoHash, Limits, PeerState, Piece, Seconds, Shard, SwarmRecord};

use super::columns::ENTRIES_MAX;
use super::encoder::Encoder;
use super::format::{HEAD_BYTES, HEADER_BYTES, Header, Kind, Totals};
use super::frames::Frames;
use super::*;
use crate::pieces;
use crate::scratch::Scratch;

const META: Meta = Meta {
    written_at: Seconds(1_800_000_000),
    interval: Seconds(1800),
    peer_timeout: Seconds(4000),
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
    while let Some(view) = frames.next_view().unwrap() {
        for part in view.parts() {
            assert_eq!(part.continued, swarms.contains_key(&part.info_hash));
            swarms.entry(part.info_hash).or_default().0 = part.snatches;
            add(&mut swarms, part.info_hash, view.peers_v4(part.v4));
            add(&mut swarms, part.info_hash, view.peers_v6(part.v6));
        }
    }
    assert!(frames.next_view().unwrap().is_none(), "the end stays the end");
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

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let bytes = encode(&small(6));
    for length in 0..bytes.len() {
        let error = verify(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Damaged { damage: Damage::Truncated { .. }, .. }),
            "{length}: {error}"
        );
    }
    verify(&bytes[..]).unwrap();
}

#[test]
fn a_file_that_goes_on_is_damaged() {
    let bytes = encode(&small(7));
    for more in [&[0][..], &[0; 4096], &bytes] {
        let error = verify(&[&bytes, more].concat()[..]).unwrap_err();
        assert!(
            matches!(&error, SnapshotError::Damaged { damage: Damage::Trailing { offset }, .. }
                if *offset == bytes.len() as u64),
            "{error}"
        );
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut bytes = encode(&small(8));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = verify(&bytes[..]).unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{at}.{bit}: {error}");
            bytes[at] ^= 1 << bit;
        }
        for other in [0, 0xff, bytes[at].wrapping_add(1)] {
            let byte = std::mem::replace(&mut bytes[at], other);
            assert_eq!(verify(&bytes[..]).is_ok(), byte == other, "{at}: {byte} to {other}");
            bytes[at] = byte;
        }
    }
}

#[test]
fn frames_that_are_lost_swapped_or_of_another_file_are_found() {
    let mut rng = Rng::with_seed(9);
    let pieces: Vec<_> =
        (0..4).map(|_| pieces::random(&mut rng, ENTRIES_MAX, 0, META.written_at, 0)).collect();
    let bytes = encode(&pieces);
    let [a, b, c, d, end] = frames_of(&bytes)[..] else { panic!("five frames") };
    let header = &bytes[..HEADER_BYTES];
    verify(&[header, a, b, c, d, end].concat()[..]).unwrap();
    let other = encode(&pieces[1..]);
    for damaged in [
        vec![header, b, c, d, end],
        vec![header, a, b, c, end],
        vec![header, a, c, b, d, end],
        vec![header, a, b, b, c, d, end],
        vec![header, a, b, c, d, end, end],
        vec![header, end],
        vec![header, frames_of(&other)[0], b, c, d, end],
        vec![header, a, b, c, d, frames_of(&other)[3]],
    ] {
        let error = verify(&damaged.concat()[..]).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    }
    let mut later = Encoder::new(Vec::new(), Meta { written_at: Seconds(7), ..META }).unwrap();
    pieces.iter().for_each(|piece| later.append(piece).unwrap());
    let (later, ..) = later.finish().unwrap();
    let mixed = [header, a, b, frames_of(&later)[2], d, end].concat();
    let error = verify(&mixed[..]).unwrap_err();
    let SnapshotError::Damaged { damage: Damage::Checksum { .. }, .. } = error else {
        panic!("{error}");
    };
}

/// The frames of a good file, heads included.
fn frames_of(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = &bytes[HEADER_BYTES..];
    let mut frames = Vec::new();
    while let Some(length) = rest.get(8..12) {
        let length = HEAD_BYTES + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        frames.push(rest.split_off(..length).unwrap());
    }
    frames
}

#[test]
fn a_hundred_thousand_mutations_are_found() {
    let mut rng = Rng::with_seed(10);
    let files: Vec<_> = (0..20).map(|seed| encode(&small(seed))).collect();
    for _ in 0..100_000 {
        let original = &files[rng.usize(..files.len())];
        let mut bytes = original.clone();
        mutate(&mut rng, &mut bytes);
        match verify(&bytes[..]) {
            Ok(_) => assert!(bytes == *original),
            Err(SnapshotError::Damaged { .. }) => assert!(bytes != *original),
            Err(error) => panic!("{error}"),
        }
    }
}

/// As if somebody had made the file by hand: only the archive's validation is in the way, and what
/// it lets through has to be harmless.
#[test]
fn a_hundred_thousand_mutations_with_good_checksums_do_no_harm() {
    let mut rng = Rng::with_seed(11);
    let files: Vec<_> = (0..20).map(|seed| encode(&small(seed))).collect();
    let (mut harmless, mut content) = (0, 0);
    for _ in 0..100_000 {
        let original = &files[rng.usize(..files.len())];
        let [piece, end] = frames_of(original)[..] else { panic!("two frames") };
        let mut payload = piece[HEAD_BYTES..].to_vec();
        mutate(&mut rng, &mut payload);
        let (header, bytes) = Header::write(META);
        let head = header.head(Kind::Piece, 0, &payload);
        let bytes = [&bytes[..], &head, &payload, end].concat();
        match verify(&bytes[..]) {
            Ok(_) => harmless += 1,
            Err(SnapshotError::Damaged { damage: Damage::Content { .. }, .. }) => content += 1,
            // The sums are other ones than the last frame says.
            Err(SnapshotError::Damaged { damage: Damage::Totals { .. }, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(harmless > 1000 && content > 1000, "{harmless} harmless, {content} refused");
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        let end = (at + rng.usize(..40)).min(bytes.len());
        match rng.u8(..6) {
            _ if bytes.is_empty() => bytes.push(rng.u8(..)),
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at..end].fill(rng.u8(..)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.usize(..bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let number = [0, 1, u32::MAX, i32::MAX as u32, rng.u32(..)][rng.usize(..5)];
                for (place, byte) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                    *place = byte;
                }
            }
        }
    }
}

#[test]
fn a_newer_format_is_no_damage() {
    let mut bytes = encode(&small(12));
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    bytes[12..28].copy_from_slice(b"9.8.7\0\0\0\0\0\0\0\0\0\0\0");
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let error = verify(&bytes[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Format { found, .. } if found == FORMAT + 1));
    assert!(error.to_string().contains("9.8.7") && error.to_string().contains("--fresh"));
}

/// A stream that takes so many bytes and not one more.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_at_any_byte_is_an_error() {
    let pieces = small(13);
    let bytes = encode(&pieces).len();
    let write = |room| {
        let mut encoder = Encoder::new(Room(room), META)?;
        pieces.iter().try_for_each(|piece| encoder.append(piece))?;
        encoder.finish().map(drop)
    };
    for room in 0..bytes {
        assert_eq!(write(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
    }
    write(bytes).unwrap();
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
        },
    )
}

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

#[test]
fn a_damaged_file_is_put_aside_and_the_one_before_it_used() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let written: Vec<_> = (0..3).map(|seed| write_file(&dir, &small(seed))).collect();
    for (newest, before) in [(2, Some(1)), (1, Some(0)), (0, None)] {
        let path = &written[newest].path;
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
        let opened = Snapshot::open_newest(&dir).unwrap();
        assert_eq!(
            opened.as_ref().map(|snapshot| (snapshot.path(), snapshot.totals())),
            before.map(|at: usize| (&*written[at].path, written[at].totals)),
        );
        assert!(!path.exists());
        assert!(Path::new(&format!("{}.damaged", path.display())).exists());
    }
    // And the next one gets a name of its own.
    let next = write_file(&dir, &small(4));
    assert!(next.path > written[2].path);
}

#[test]
fn a_file_of_a_newer_format_stops_the_start() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    write_file(&dir, &small(0));
    let newest = write_file(&dir, &small(1));
    let mut bytes = std::fs::read(&newest.path).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&newest.path, bytes).unwrap();
    let error = Snapshot::open_newest(&dir).unwrap_err();
    assert!(matches!(error, SnapshotError::Format { .. }), "{error}");
    assert!(newest.path.exists());
}

#[test]
fn what_cannot_be_read_stops_the_start() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let good = write_file(&dir, &small(0));
    // A directory in place of a file: reading it fails, for root too.
    std::fs::create_dir(scratch.path().join("snapshot-9999999999-0000.margay")).unwrap();
    let error = Snapshot::open_newest(&dir).unwrap_err();
    assert!(matches!(error, SnapshotError::Read { .. }), "{error}");
    assert!(error.to_string().contains("--fresh"));
    assert!(good.path.exists());
}

#[test]
fn three_snapshots_stay_and_unfinished_ones_go() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let written: Vec<_> = (0..5).map(|seed| write_file(&dir, &small(seed)).path).collect();
    assert!(written.is_sorted());
    let there: Vec<_> = written.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [false, false, true, true, true]);

    let mut unfinished = SnapshotWriter::create(&dir, META).unwrap();
    unfinished.append(&small(9)[0]).unwrap();
    let parts = || {
        let entries = std::fs::read_dir(scratch.path()).unwrap();
        entries
            .filter(|e| e.as_ref().unwrap().path().extension().unwrap_or_default() == "part")
            .count()
    };
    assert_eq!(parts(), 1);
    drop(unfinished);
    assert_eq!(parts(), 0);
    assert_eq!(Snapshot::open_newest(&dir).unwrap().unwrap().path(), written[4]);
}

#[test]
fn a_writer_that_failed_does_not_finish() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let mut writer = SnapshotWriter::create(&dir, META).unwrap();
    let mut broken = small(0)[0].clone();
    broken.swarms[0].peers_v4 += 100;
    assert!(writer.append(&broken).is_err());
    assert!(writer.append(&small(0)[0]).is_err());
    assert!(matches!(writer.finish(), Err(SnapshotError::Write { .. })));
    assert!(Snapshot::open_newest(&dir).unwrap().is_none());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "only the lock is left");
}
