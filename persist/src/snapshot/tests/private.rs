//! The private mode: what is written is read, every damage is found, and modes are not mixed up.

use shard::private::{
    self, ClientPrefix, DeletionRecord, Facts, GroupId, Limits, NamedRecord, Passkey, Swarms,
    TokenRecord, TorrentRecord, User, UserId,
};

use super::super::torrents::ENTRIES_MAX;
use super::*;
use crate::pieces::private as random;

const COVERED: Covered = Covered { journal: 0x1234_5678_9abc_def0, position: 987_654_321 };
const PRIVATE: Meta = Meta { mode: Mode::Private(COVERED), ..META };

/// Everything that a snapshot of a private tracker holds.
#[derive(Clone, PartialEq, Debug, Default)]
struct All {
    users: Vec<(Passkey, User, bool)>,
    groups: Vec<(GroupId, Option<u32>)>,
    formers: Vec<(UserId, Passkey, Seconds)>,
    rules: Vec<(ClientPrefix, bool)>,
    torrents: BTreeMap<InfoHash, Torrent>,
    deletions: Vec<DeletionRecord>,
    hybrids: Vec<(InfoHash, InfoHash)>,
    named: Vec<NamedRecord>,
}

#[derive(Clone, PartialEq, Debug)]
struct Torrent {
    record: TorrentRecord,
    peers: Vec<private::PeerRecord>,
    tokens: Vec<TokenRecord>,
}

type Input = (Vec<(Passkey, User, bool)>, Vec<(ClientPrefix, bool)>, Vec<private::Piece>);

fn add(
    all: &mut All,
    record: TorrentRecord,
    peers: impl Iterator<Item = private::PeerRecord>,
    tokens: impl Iterator<Item = TokenRecord>,
) {
    let record = TorrentRecord { peers: 0, tokens: 0, ..record };
    let new = Torrent { record, peers: Vec::new(), tokens: Vec::new() };
    let torrent = all.torrents.entry(record.info_hash).or_insert(new);
    torrent.record = record;
    torrent.peers.extend(peers);
    torrent.tokens.extend(tokens);
}

fn all_of((users, rules, pieces): &Input) -> All {
    let (users, groups, rules) = (users.clone(), groups_of(users), rules.clone());
    let mut all = All { formers: formers_of(&users), users, groups, rules, ..All::default() };
    for piece in pieces {
        let (mut peers, mut tokens) = (piece.peers.iter().copied(), piece.tokens.iter().copied());
        for torrent in &piece.torrents {
            let of_torrent = peers.by_ref().take(torrent.peers as usize);
            let for_torrent = tokens.by_ref().take(torrent.tokens as usize);
            add(&mut all, *torrent, of_torrent, for_torrent);
        }
        all.deletions.extend(piece.deletions.iter().cloned());
        all.hybrids.extend(&piece.hybrids);
        all.named.extend(&piece.named);
    }
    all
}

/// The groups of these users; one in two has a bound.
fn groups_of(users: &[(Passkey, User, bool)]) -> Vec<(GroupId, Option<u32>)> {
    let groups = users.iter().filter_map(|(_, user, _)| user.group);
    groups.map(|id| (id, (id.0 % 2 == 0).then_some(u32::from(id.0)))).collect()
}

/// Every other user has a former passkey: his own backwards.
fn formers_of(users: &[(Passkey, User, bool)]) -> Vec<(UserId, Passkey, Seconds)> {
    let some = users.iter().step_by(2);
    some.map(|(passkey, user, _)| {
        let backwards: Vec<u8> = passkey.reveal().bytes().rev().collect();
        (user.id, Passkey::new(&backwards).unwrap(), Seconds(user.id.0.wrapping_mul(3)))
    })
    .collect()
}

fn input(seed: u64, users: usize, rules: usize, pieces: usize, torrents: usize) -> Input {
    let mut rng = Rng::with_seed(seed);
    (
        (0..users)
            .map(|_| {
                let (passkey, user) = random::user(&mut rng);
                (passkey, user, rng.u8(..4) > 0)
            })
            .collect(),
        (0..rules).map(|_| random::rule(&mut rng)).collect(),
        (0..pieces).map(|_| random::piece(&mut rng, torrents, 9, META.written_at)).collect(),
    )
}

fn encode(input: &Input) -> Vec<u8> {
    let (users, rules, pieces) = input;
    let mut encoder = Encoder::new(Vec::new(), PRIVATE).unwrap();
    for (passkey, user, enabled) in users {
        encoder.append_user(passkey, *user, *enabled).unwrap();
    }
    for (id, downloads_max) in groups_of(users) {
        encoder.append_group(id, downloads_max).unwrap();
    }
    for (user, passkey, good_until) in formers_of(users) {
        encoder.append_former(user, &passkey, good_until).unwrap();
    }
    for (prefix, allow) in rules {
        encoder.append_rule(prefix, *allow).unwrap();
    }
    for piece in pieces {
        encoder.append_private(piece).unwrap();
    }
    let (bytes, totals, counted) = encoder.finish().unwrap();
    assert_eq!(bytes.len() as u64, counted);
    let (read, found) = verify(&bytes[..]).unwrap();
    assert_eq!((read, found), (PRIVATE, totals));
    bytes
}

fn decode(bytes: &[u8]) -> (All, Totals) {
    let mut frames = Frames::new(bytes).unwrap();
    let mut all = All::default();
    while let Some(content) = frames.next_content().unwrap() {
        match content {
            Content::Users(view) => all.users.extend(view.users()),
            Content::Groups(view) => all.groups.extend(view.groups()),
            Content::Formers(view) => all.formers.extend(view.formers()),
            Content::Rules(view) => all.rules.extend(view.rules()),
            Content::Deletions(view) => all.deletions.extend(view.deletions()),
            Content::Hybrids(view) => {
                all.hybrids.extend(view.hybrids());
                // They are of what came before.
                let is_known = |named: &NamedRecord| all.torrents.contains_key(&named.info_hash);
                assert!(view.named().all(|named| is_known(&named)));
                all.named.extend(view.named());
            }
            Content::Torrents(view) => {
                for part in view.parts() {
                    let known = all.torrents.contains_key(&part.record.info_hash);
                    assert_eq!(part.continued, known);
                    add(&mut all, part.record, view.peers(part.peers), view.tokens(part.tokens));
                }
            }
            Content::Swarms(_) => panic!("of the open mode"),
        }
    }
    let (header, totals, read) = frames.summary();
    assert_eq!((header.meta, read), (PRIVATE, bytes.len() as u64));
    (all, totals)
}

#[track_caller]
fn check(input: &Input) -> Totals {
    let all = all_of(input);
    let (read, totals) = decode(&encode(input));
    assert!(read == all, "other things were read than written");
    let count = |of: fn(&Torrent) -> usize| all.torrents.values().map(of).sum::<usize>() as u64;
    assert_eq!(totals.users, all.users.len() as u64);
    assert_eq!(totals.client_rules, all.rules.len() as u64);
    assert_eq!(totals.deletions, all.deletions.len() as u64);
    assert_eq!(totals.swarms, all.torrents.len() as u64);
    assert_eq!(totals.peers(), count(|torrent| torrent.peers.len()));
    assert_eq!(totals.tokens, count(|torrent| torrent.tokens.len()));
    totals
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let (users, rules) = (rng.usize(..300), rng.usize(..30));
        check(&input(seed, users, rules, rng.usize(..5), rng.usize(..100)));
    }
    assert_eq!(check(&Input::default()), Totals::default());
}

#[test]
fn any_number_of_users_and_torrents_has_its_frames() {
    let totals = check(&input(1, 20_000, 9000, 3, 4000));
    assert!(totals.frames > 3 + 2 + 3 + 5, "{totals:?}");
}

#[test]
fn a_torrent_larger_than_a_frame_is_spread_and_counted_once() {
    let mut rng = Rng::with_seed(2);
    let mut piece = random::piece(&mut rng, 1, 0, META.written_at);
    for _ in 0..3 * ENTRIES_MAX {
        piece.peers.push(random::peer(&mut rng, META.written_at));
        piece.tokens.push(random::token(&mut rng));
    }
    piece.torrents[0].peers = piece.peers.len() as u32;
    piece.torrents[0].tokens = piece.tokens.len() as u32;
    let totals = check(&(Vec::new(), Vec::new(), vec![piece]));
    assert!(totals.swarms == 1 && totals.records > 6, "{totals:?}");
}

#[test]
fn long_reasons_have_their_frames() {
    let mut piece = private::Piece::default();
    for number in 0..20 {
        let reason = "Grund: zu groß ".repeat(3000).into();
        let info_hash = InfoHash([number; 20]);
        piece.deletions.push(DeletionRecord { info_hash, reason, at: META.written_at });
    }
    check(&(Vec::new(), Vec::new(), vec![piece.clone()]));

    piece.deletions[0].reason = "ß".repeat(100_000).into();
    let (all, _) = decode(&encode(&(Vec::new(), Vec::new(), vec![piece])));
    assert_eq!(&*all.deletions[0].reason, "ß".repeat(32 * 1024), "cut off at 64 KiB");
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let mut bytes = encode(&input(3, 2, 2, 1, 2));
    for length in 0..bytes.len() {
        let error = verify(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Damaged { damage: Damage::Truncated { .. }, .. }),
            "{length}: {error}"
        );
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = verify(&bytes[..]).unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{at}.{bit}: {error}");
            bytes[at] ^= 1 << bit;
        }
    }
}

/// As if somebody had made the file by hand: only the archive's validation is in the way, and what it
/// lets through has to be harmless.
#[test]
fn mutations_with_good_checksums_do_no_harm() {
    let mut rng = Rng::with_seed(4);
    let files: Vec<_> = (0..20).map(|seed| encode(&input(seed, 5, 5, 2, 3))).collect();
    let (mut harmless, mut content) = (0, 0);
    for _ in 0..100_000 {
        let frames = damage::frames_of(&files[rng.usize(..files.len())]);
        let damaged = rng.usize(..frames.len() - 1);
        let (header, bytes) = Header::write(PRIVATE);
        let mut file = bytes.to_vec();
        for (number, frame) in frames.into_iter().enumerate() {
            let code = u32::from_le_bytes(frame[..4].try_into().unwrap());
            let mut payload = frame[damage::HEAD..].to_vec();
            if number == damaged {
                damage::mutate(&mut rng, &mut payload);
            }
            let kind = Kind::of(code).unwrap();
            file.extend(header.head(kind, number as u32, &payload));
            file.extend(payload);
        }
        match verify(&file[..]) {
            Ok(_) => harmless += 1,
            Err(SnapshotError::Damaged { damage: Damage::Content { what, .. }, .. }) => {
                assert!(what.len() < 10_000);
                content += 1;
            }
            // The last frame was grown beyond its length, or the sums are other ones than it says.
            Err(SnapshotError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(harmless > 1000 && content > 1000, "{harmless} harmless, {content} refused");
}

#[test]
fn a_disk_that_fills_up_at_any_byte_is_an_error() {
    let (users, rules, pieces) = input(5, 3, 3, 2, 3);
    let bytes = encode(&(users.clone(), rules.clone(), pieces.clone())).len();
    let write = |room| {
        let mut encoder = Encoder::new(damage::Room(room), PRIVATE)?;
        users.iter().try_for_each(|(passkey, user, enabled)| {
            encoder.append_user(passkey, *user, *enabled)
        })?;
        groups_of(&users).into_iter().try_for_each(|(id, most)| encoder.append_group(id, most))?;
        formers_of(&users)
            .into_iter()
            .try_for_each(|(user, passkey, until)| encoder.append_former(user, &passkey, until))?;
        rules.iter().try_for_each(|(prefix, allow)| encoder.append_rule(prefix, *allow))?;
        pieces.iter().try_for_each(|piece| encoder.append_private(piece))?;
        encoder.finish().map(drop)
    };
    for room in 0..bytes {
        assert_eq!(write(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
    }
    write(bytes).unwrap();
}

#[test]
fn what_belongs_elsewhere_is_not_written() {
    let (users, rules, pieces) = input(6, 1, 1, 1, 1);
    let refused = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    };
    let mut open = Encoder::new(Vec::new(), META).unwrap();
    refused(open.append_private(&pieces[0]));
    refused(open.append_user(&users[0].0, users[0].1, true));
    refused(open.append_group(GroupId(1), None));
    refused(open.append_former(UserId(1), &users[0].0, Seconds(1)));
    refused(open.append_rule(&rules[0].0, rules[0].1));
    let mut closed = Encoder::new(Vec::new(), PRIVATE).unwrap();
    refused(closed.append(&Piece::default()));
    closed.append_rule(&rules[0].0, rules[0].1).unwrap();
    refused(closed.append_user(&users[0].0, users[0].1, true));
    refused(closed.append_group(GroupId(1), None));
    refused(closed.append_former(UserId(1), &users[0].0, Seconds(1)));
    closed.append_private(&pieces[0]).unwrap();
    refused(closed.append_rule(&rules[0].0, rules[0].1));
    let mut contradicting = pieces[0].clone();
    contradicting.tokens.push(random::token(&mut Rng::with_seed(7)));
    refused(closed.append_private(&contradicting));
}

#[test]
fn frames_that_belong_elsewhere_are_found() {
    let private = encode(&input(8, 1, 1, 1, 1));
    let open = super::encode(&small(8));
    let frames = damage::frames_of(&private);
    let assemble = |meta, frames: &[&[u8]]| {
        let (header, bytes) = Header::write(meta);
        let mut file = bytes.to_vec();
        for (number, frame) in frames.iter().enumerate() {
            let kind = Kind::of(u32::from_le_bytes(frame[..4].try_into().unwrap())).unwrap();
            file.extend(header.head(kind, number as u32, &frame[damage::HEAD..]));
            file.extend(&frame[damage::HEAD..]);
        }
        verify(&file[..])
    };
    assemble(PRIVATE, &frames).unwrap();
    let error = assemble(META, &frames).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { damage: Damage::Kind { .. }, .. }), "{error}");
    let error = assemble(PRIVATE, &damage::frames_of(&open)).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { damage: Damage::Kind { .. }, .. }), "{error}");
    let mut late = frames.clone();
    let rules = late.iter().position(|frame| frame[..4] == Kind::Rules.code().to_le_bytes());
    late.swap(0, rules.unwrap());
    let error = assemble(PRIVATE, &late).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Damaged { damage: Damage::Order { .. }, .. }),
        "{error}"
    );
    let mut unknown = private.clone();
    unknown[32] = 7;
    let checksum = crc32fast::hash(&unknown[..60]);
    unknown[60..64].copy_from_slice(&checksum.to_le_bytes());
    let error = verify(&unknown[..]).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Damaged { damage: Damage::Mode { found: 7 }, .. }),
        "{error}"
    );
}

fn write(dir: &DataDir, meta: Meta, (users, rules, pieces): &Input) -> Written {
    let mut writer = SnapshotWriter::create(dir, meta).unwrap();
    for (passkey, user, enabled) in users {
        writer.append_user(passkey, *user, *enabled).unwrap();
    }
    groups_of(users).into_iter().for_each(|(id, most)| writer.append_group(id, most).unwrap());
    for (user, passkey, good_until) in formers_of(users) {
        writer.append_former(user, &passkey, good_until).unwrap();
    }
    rules.iter().for_each(|(prefix, allow)| writer.append_rule(prefix, *allow).unwrap());
    pieces.iter().for_each(|piece| writer.append_private(piece).unwrap());
    writer.finish().unwrap()
}

fn swarms() -> Swarms {
    let limits = Limits {
        torrents_max: 1_000_000,
        peers_max: 1_000_000,
        clients_max: 0,
        peer_timeout: Seconds(4000),
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 100_000,
        facts: Facts::Changed,
    };
    Swarms::new(1, limits)
}

#[test]
fn the_cores_of_the_next_start_need_not_be_as_many() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let input = input(9, 500, 20, 4, 200);
    let written = write(&dir, PRIVATE, &input);
    let all = all_of(&input);
    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    assert_eq!((snapshot.totals(), snapshot.covered()), (written.totals, Some(COVERED)));

    let (mut users, mut rules) = (Vec::new(), Vec::new());
    snapshot.accounts(|passkey, user, enabled| users.push((passkey, user, enabled))).unwrap();
    snapshot.client_rules(|prefix, allow| rules.push((prefix, allow))).unwrap();
    assert!(users == all.users && rules == all.rules);

    for cores in [1, 3] {
        let mut sums = (0, 0, 0, 0);
        for core in 0..cores {
            let owns = |info_hash: &InfoHash| info_hash.prefix() % cores == core;
            let mut swarms = swarms();
            let restored = snapshot.restore_private(owns, &mut swarms).unwrap();
            assert_eq!((restored.refused, restored.timed_out), (0, 0));
            sums.0 += restored.swarms as u64;
            sums.1 += (restored.peers_v4 + restored.peers_v6) as u64;
            sums.2 += restored.tokens as u64;
            sums.3 += restored.deletions as u64;
            for (info_hash, torrent) in &all.torrents {
                let found = swarms.swarm(info_hash, usize::MAX);
                let Some((record, peers)) = found else {
                    assert!(!owns(info_hash));
                    continue;
                };
                assert!(owns(info_hash));
                let TorrentRecord { terms, balance, snatches, .. } = torrent.record;
                assert_eq!(
                    (record.terms, record.balance, record.snatches),
                    (terms, balance, snatches)
                );
                let key = |peer: &private::PeerRecord| (peer.user, peer.peer_id, peer.key);
                let sorted = |mut peers: Vec<_>| {
                    peers.sort_by_key(key);
                    peers
                };
                assert_eq!(sorted(peers), sorted(torrent.peers.clone()));
                for token in &torrent.tokens {
                    let held = swarms.has_token(token.user, info_hash, Seconds(0));
                    assert_eq!(held, token.expires_at != Some(Seconds(0)));
                }
            }
            for deletion in all.deletions.iter().filter(|deletion| owns(&deletion.info_hash)) {
                let reason = swarms.deletion(&deletion.info_hash, deletion.at);
                assert_eq!(reason.as_ref(), Some(&deletion.reason));
            }
        }
        let totals = written.totals;
        assert_eq!(sums, (totals.swarms, totals.peers(), totals.tokens, totals.deletions));
    }
}

#[test]
fn an_open_tracker_and_a_private_one_refuse_each_others_snapshots() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    write(&dir, PRIVATE, &input(10, 1, 1, 1, 1));
    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    let grace = snapshot.grace(META.written_at);
    let error = snapshot.restore(&grace, |_| true, &mut shard()).unwrap_err();
    assert!(error.to_string().contains("is of a tracker that is private, and this one is open"));
    assert!(matches!(error, SnapshotError::Mode { .. }));
    assert_eq!(snapshot.replay_from(COVERED.journal).unwrap(), COVERED.position);
    let error = snapshot.replay_from(7).unwrap_err();
    assert!(error.to_string().contains("journal 123456789abcdef0"), "{error}");

    write_file(&dir, &small(10));
    write_file(&dir, &small(11));
    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    assert_eq!(snapshot.covered(), None);
    let error = snapshot.restore_private(|_| true, &mut swarms()).unwrap_err();
    assert!(error.to_string().contains("is of a tracker that is open, and this one is private"));
    for error in [
        snapshot.accounts(|_, _, _| panic!("there are none")).unwrap_err(),
        snapshot.client_rules(|_, _| panic!("there are none")).unwrap_err(),
        snapshot.replay_from(COVERED.journal).unwrap_err(),
    ] {
        assert!(matches!(error, SnapshotError::Mode { .. }), "{error}");
    }
}

#[test]
fn the_journal_is_needed_from_where_the_oldest_snapshot_ends() {
    let scratch = Scratch::new();
    let dir = DataDir::open(scratch.path()).unwrap();
    let oldest = |journal| Snapshot::oldest_covered(&dir, journal).unwrap();
    assert_eq!(oldest(1), None);
    let covering = |journal, position| {
        let mode = Mode::Private(Covered { journal, position });
        write(&dir, Meta { mode, ..META }, &input(11, 1, 0, 1, 1));
    };
    covering(1, 100);
    covering(1, 200);
    assert_eq!((oldest(1), oldest(2)), (Some(100), None));
    covering(2, 50);
    // Three are kept.
    covering(1, 300);
    assert_eq!((oldest(1), oldest(2)), (Some(200), Some(50)));
    std::fs::write(scratch.path().join("snapshot-0000000001-0000.margay"), b"short").unwrap();
    assert_eq!(oldest(1), Some(200));
}

#[test]
fn what_a_peer_costs() {
    // Nearly all figures are small, and one client in eight has IPv6 beside IPv4.
    let mut rng = Rng::with_seed(12);
    let mut piece = random::piece(&mut rng, 1, 0, META.written_at);
    for number in 0..50_000_u64 {
        let mut peer = random::peer(&mut rng, META.written_at);
        peer.reported = private::Counters { uploaded: number << 20, downloaded: 1, corrupt: 0 };
        (peer.left, peer.announces, peer.since) = (0, 40, peer.seen - Seconds(70_000));
        let v6 = peer.endpoints.address_v6().filter(|_| number % 8 == 0);
        peer.endpoints = private::Endpoints::new(Some(std::net::Ipv4Addr::LOCALHOST), v6, 6881);
        piece.peers.push(peer);
    }
    piece.torrents[0].peers = 50_000;
    let bytes = encode(&(Vec::new(), Vec::new(), vec![piece])).len();
    assert!(bytes < 50_000 * 64, "{bytes}");
}

/// A file of format 2, which knows no groups.
#[test]
fn a_snapshot_of_the_format_before_is_read() {
    let bytes = include_bytes!("../../../../tests/fuzz/seeds/snapshot/private");
    assert_eq!(bytes[8..12], FORMAT_OLDEST.to_le_bytes());
    let (all, totals) = decode(bytes);
    assert_eq!((all.users.len(), all.rules.len(), all.groups.len()), (2, 2, 0));
    assert!(all.formers.is_empty());
    assert!(all.users.iter().all(|(_, user, enabled)| user.group.is_none() && *enabled));
    assert!(totals.peers() > 0, "{totals:?}");

    let scratch = Scratch::new();
    let path = scratch.path().join("old");
    std::fs::write(&path, bytes).unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    let mut users = Vec::new();
    snapshot.accounts(|passkey, user, enabled| users.push((passkey, user, enabled))).unwrap();
    assert_eq!(users, all.users);
}

/// `MARGAY_SEED_DIR=../tests/fuzz/seeds/snapshot cargo test -p margay-persist --lib -- --ignored seeds`
#[test]
#[ignore = "writes the files that fuzzing begins with"]
fn fuzz_seeds_are_written() {
    let dir = std::env::var_os("MARGAY_SEED_DIR").expect("where to");
    let dir = Path::new(&dir);
    std::fs::write(dir.join("open"), super::encode(&small(1))).unwrap();
    std::fs::write(dir.join("private"), encode(&input(1, 2, 2, 1, 2))).unwrap();
}
