//! Writing and restoring a snapshot of a private tracker: 500,000 users, 900,000 torrents, 5 million
//! peers of which one in eight has IPv6 beside IPv4.
//!
//! `cargo bench -p margay-persist --bench private` prints the size, what writing takes (with the
//! longest single step of an export, in which the core does nothing else), and what a cold start takes:
//! verifying, users into a map, and on a thread for every core its swarms and a journal of a million
//! announces that came after. `--dir` is where the
//! data directory is made (default: the temporary directory), `--cores N` is how many cores restore
//! (default 2), `--peers N` scales all of it.
//!
//! What would change a decision: more than 80 bytes a peer, its torrent and user included; more than
//! 1 ms for a step of the export; a cold start above 8 seconds on two cores.

#[path = "../src/pieces/private.rs"]
#[allow(dead_code, unreachable_pub)]
mod pieces;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fastrand::Rng;
use persist::journal::{Journal, Options, Record};
use persist::restart::{replay_tail, settle};
use persist::{Covered, DataDir, Meta, Mode, Snapshot, SnapshotWriter};
use shard::private::{
    Announce, Counters, Cursor, Endpoints, Facts, Limits, PeerRecord, Piece, Swarms, TorrentRecord,
    User, UserId,
};
use shard::{Event, Families, InfoHash, Reply, Seconds};

const PEERS: usize = 5_000_000;
const PIECE_PEERS: usize = 2048;
const RUNS: usize = 3;
const META: Meta = Meta {
    written_at: Seconds(1_800_000_000),
    interval: Seconds(1800),
    peer_timeout: Seconds(4000),
    mode: Mode::Private(Covered { journal: 1, position: 1 }),
};

fn main() {
    let (dir, cores, peers) = arguments();
    let (users, torrents) = (peers as u32 / 10, peers * 9 / 50);
    let dir = dir.join(format!("margay-bench-{}", std::process::id()));
    let data = DataDir::open(&dir).expect("a writable directory");
    let mut rng = Rng::with_seed(1);
    let accounts: Vec<_> = (0..users)
        .map(|id| {
            let (passkey, user) = pieces::user(&mut rng);
            (passkey, User { id: UserId(id), ..user })
        })
        .collect();
    let mut tracker = build(&mut rng, torrents, peers, users);
    println!("{users} users, {torrents} torrents, {peers} peers, {cores} cores, {}", dir.display());

    // The least of the runs for each step: what else ran on the machine is not the export's doing.
    let mut steps: Vec<Duration> = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let mut writer = SnapshotWriter::create(&data, META).expect("writable");
        for (passkey, user) in &accounts {
            writer.append_user(passkey, *user, true).expect("room on the disk");
        }
        let (mut cursor, mut finished) = (Cursor::default(), false);
        let mut step = 0;
        while !finished {
            let mut piece = Piece::default();
            let step_began = Instant::now();
            finished = tracker.export(&mut cursor, PIECE_PEERS, &mut piece);
            let took = step_began.elapsed();
            match steps.get_mut(step) {
                Some(least) => *least = took.min(*least),
                None => steps.push(took),
            }
            step += 1;
            writer.append_private(&piece).expect("room on the disk");
        }
        let written = writer.finish().expect("room on the disk");
        assert_eq!(written.totals.peers(), peers as u64);
        println!(
            "written in {:.2?}: {:.1} MB, {:.1} bytes a peer with its torrent and user, {} frames",
            began.elapsed(),
            written.bytes as f64 / 1e6,
            written.bytes as f64 / peers as f64,
            written.totals.frames,
        );
    }
    println!(
        "exported in {:.2?}, in {} steps, the longest {:.0?}",
        steps.iter().sum::<Duration>(),
        steps.len(),
        steps.iter().max().expect("at least one"),
    );
    let tail = go_on(&mut rng, &data, &mut tracker, peers / 5);
    println!("journal: {} records after the snapshot", tail.1);
    drop(tracker);

    for _ in 0..RUNS {
        let (began, cpu) = (Instant::now(), cpu_time());
        let snapshot = Snapshot::open_newest(&data).expect("readable").expect("there");
        let verified = began.elapsed();
        let mut known = HashMap::new();
        snapshot.accounts(|_, user, _| _ = known.insert(user.id, user)).expect("whole");
        let loaded = began.elapsed();
        let (restored, replayed) = thread::scope(|scope| {
            let (snapshot, known, dir) = (&snapshot, &known, &dir);
            let threads: Vec<_> = (0..cores)
                .map(|core| {
                    scope.spawn(move || {
                        let owns = |name: &InfoHash| name.prefix() as usize % cores == core;
                        let mut swarms = Swarms::new(core as u64, limits());
                        snapshot.restore_private(owns, &mut swarms).expect("whole");
                        let restored = Instant::now();
                        let (journal, now) = (dir.join("journal"), META.written_at);
                        replay_tail(journal, tail, owns, &mut swarms, |_| {}, now).expect("whole");
                        let replayed = restored.elapsed();
                        let find = |id| known.get(&id).copied();
                        let settled = settle(&mut swarms, find, |_, _| {});
                        // As in the tracker: what was restored stays.
                        std::mem::forget(swarms);
                        (settled.peers, replayed)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .fold((0, Duration::ZERO), |all, one| (all.0 + one.0, all.1.max(one.1)))
        });
        assert_eq!(restored, peers as u64);
        println!(
            "cold start {:.2?}, CPU {:.2?} over all threads: verified in {verified:.2?}, users in {:.2?}, swarms in {:.2?}, of it the \
             journal {replayed:.2?}",
            began.elapsed(),
            cpu_time().saturating_sub(cpu),
            loaded - verified,
            began.elapsed() - loaded,
        );
    }
    drop(data);
    fs::remove_dir_all(&dir).expect("made above");
}

/// Some of the peers announce once more, and the journal has it: from where to where.
fn go_on(rng: &mut Rng, data: &DataDir, tracker: &mut Swarms, announces: usize) -> (u64, u64) {
    let options = Options { begin_at: 1, ..Options::default() };
    let mut journal = Journal::open(data, options).expect("writable");
    let mut piece = Piece::default();
    let (mut cursor, mut reply, mut left) = (Cursor::default(), Reply::default(), announces);
    let mut records = Vec::new();
    while left > 0 {
        piece.clear();
        if tracker.export(&mut cursor, PIECE_PEERS, &mut piece) {
            cursor = Cursor::default();
        }
        let mut peers = piece.peers.iter();
        for torrent in &piece.torrents {
            for peer in peers.by_ref().take(torrent.peers as usize).step_by(3) {
                let mut counters = peer.reported;
                counters.uploaded += rng.u64(1..1 << 20);
                let announce = Announce {
                    info_hash: torrent.info_hash,
                    user: User { id: peer.user, can_leech: true, hidden: false, group: None },
                    peer_id: peer.peer_id,
                    key: peer.key,
                    endpoints: peer.endpoints,
                    counters,
                    left: peer.left,
                    event: Event::None,
                    numwant: 0,
                    families: Families { v4: true, v6: true },
                    assumed: Families::default(),
                    interval: Seconds(1800),
                    downloads_full: false,
                };
                let told = tracker.announce(&announce, META.written_at, rng, &mut reply);
                let fact = told.expect("it is registered").fact.expect("it has moved something");
                records.push(Record::Fact(fact));
            }
        }
        left = left.saturating_sub(records.len());
        journal.append(&records).expect("room on the disk");
        records.clear();
    }
    (1, journal.sync().expect("a disk that syncs"))
}

fn limits() -> Limits {
    Limits {
        torrents_max: 1 << 24,
        peers_max: 1 << 26,
        clients_max: 0,
        peer_timeout: META.peer_timeout,
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 100_000,
        facts: Facts::Changed,
    }
}

/// Swarms as trackers have them: most have one to three peers, a few have thousands. Figures are those
/// of clients that have been there for a while.
fn build(rng: &mut Rng, torrents: usize, peers: usize, users: u32) -> Swarms {
    let mut sizes: Vec<usize> = (0..torrents)
        .map(|_| (1.0 / rng.f64().max(1e-9)).powf(0.75).min(30_000.0) as usize)
        .collect();
    // Evened out to the number of peers asked for.
    let mut sum: usize = sizes.iter().sum();
    while sum != peers {
        let size = &mut sizes[rng.usize(..torrents)];
        if sum < peers {
            *size += 1;
            sum += 1;
        } else if *size > 1 {
            *size -= 1;
            sum -= 1;
        }
    }
    let mut swarms = Swarms::new(1, limits());
    for size in sizes {
        let record = pieces::piece(rng, 1, 0, META.written_at).torrents[0];
        let members: Vec<_> = (0..size).map(|_| peer(rng, users)).collect();
        let record = TorrentRecord { peers: size as u32, tokens: 0, ..record };
        swarms.import(&record, members.into_iter(), std::iter::empty()).expect("they fit");
    }
    swarms
}

fn peer(rng: &mut Rng, users: u32) -> PeerRecord {
    let peer = pieces::peer(rng, META.written_at);
    let v4 = peer.endpoints.address_v4().unwrap_or_else(|| rng.u32(..).into());
    // Nearly all clients have one port.
    let endpoints = Endpoints::new(Some(v4), peer.endpoints.address_v6(), rng.u16(..));
    PeerRecord {
        user: UserId(rng.u32(..users)),
        endpoints,
        reported: Counters {
            uploaded: rng.u64(..1 << 38),
            downloaded: rng.u64(..1 << 34),
            corrupt: if rng.u8(..64) == 0 { 1 } else { 0 },
        },
        left: peer.left >> 30,
        since: peer.seen - Seconds(rng.u32(..1_000_000)),
        announces: rng.u32(1..600),
        ..peer
    }
}

/// User and system time of this process, proc(5): in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Duration::from_millis(ticks * 10)
}

/// `--dir`, `--cores` and `--peers`; what cargo adds is passed over.
fn arguments() -> (PathBuf, usize, usize) {
    let arguments: Vec<String> = env::args().collect();
    let value = |name: &str| {
        arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    let number =
        |name: &str, default| value(name).map_or(default, |text| text.parse().expect("a number"));
    let dir = value("--dir").map_or_else(env::temp_dir, PathBuf::from);
    (dir, number("--cores", 2), number("--peers", PEERS))
}
