//! A process that writes snapshots is killed at random moments: afterwards there is always a whole
//! snapshot with the right content, and nothing unfinished stays.

#![allow(clippy::unwrap_used)] // All of this is test code.

#[path = "../src/pieces.rs"]
#[allow(unreachable_pub)]
mod pieces;
#[path = "../src/scratch.rs"]
#[allow(unreachable_pub)]
mod scratch;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use fastrand::Rng;
use persist::snapshot::KEPT;
use persist::{Covered, DataDir, Meta, Mode, Snapshot, SnapshotWriter};
use scratch::Scratch;
use shard::private::{self, Passkey, User};
use shard::{Piece, Seconds, SwarmRecord};

const KILLS: u32 = 200;
const DIR: &str = "MARGAY_TEST_CRASH_DIR";
const FIRST: &str = "MARGAY_TEST_CRASH_FIRST";
const WRITTEN_AT: Seconds = Seconds(1_800_000_000);

/// The content of a snapshot follows from its number, which it carries as its interval.
fn content(number: u32) -> Vec<Piece> {
    let mut rng = Rng::with_seed(number.into());
    (0..20).map(|_| pieces::random(&mut rng, 200, 10, WRITTEN_AT, 3000)).collect()
}

/// The same of a private tracker.
fn private_content(number: u64) -> (Vec<(Passkey, User)>, Vec<private::Piece>) {
    let mut rng = Rng::with_seed(number);
    let users = (0..2000).map(|_| pieces::private::user(&mut rng)).collect();
    let piece = |_| pieces::private::piece(&mut rng, 100, 10, WRITTEN_AT);
    (users, (0..10).map(piece).collect())
}

#[test]
#[ignore = "this is the process that the other test kills"]
fn writes_until_killed() {
    let dir = env::var_os(DIR).expect("started by the other test");
    let first: u32 = env::var(FIRST).unwrap().parse().unwrap();
    let dir = DataDir::open(dir).unwrap();
    for number in first.. {
        let meta = Meta {
            written_at: WRITTEN_AT,
            interval: Seconds(number),
            peer_timeout: Seconds(4000),
            mode: Mode::Open,
        };
        let mut writer = SnapshotWriter::create(&dir, meta).unwrap();
        for piece in content(number) {
            writer.append(&piece).unwrap();
        }
        writer.finish().unwrap();
    }
}

/// The same for a private tracker: its number is the position it covers.
#[test]
#[ignore = "this is the process that another test kills"]
fn writes_private_ones_until_killed() {
    let dir = env::var_os(DIR).expect("started by the other test");
    let first: u64 = env::var(FIRST).unwrap().parse().unwrap();
    let dir = DataDir::open(dir).unwrap();
    for number in first.. {
        let meta = Meta {
            written_at: WRITTEN_AT,
            interval: Seconds(1800),
            peer_timeout: Seconds(4000),
            mode: Mode::Private(Covered { journal: 1, position: number }),
        };
        let mut writer = SnapshotWriter::create(&dir, meta).unwrap();
        let (users, pieces) = private_content(number);
        for (passkey, user) in users {
            writer.append_user(&passkey, user, user.id.0 % 3 > 0).unwrap();
        }
        for piece in pieces {
            writer.append_private(&piece).unwrap();
        }
        writer.finish().unwrap();
    }
}

#[test]
fn two_hundred_kills_leave_a_whole_snapshot() {
    kill_again_and_again("writes_until_killed", check_content);
}

#[test]
fn two_hundred_kills_leave_a_whole_private_snapshot() {
    kill_again_and_again("writes_private_ones_until_killed", |snapshot| {
        let (users, pieces) = private_content(snapshot.covered().expect("private").position);
        let mut found = Vec::new();
        snapshot
            .accounts(|passkey, user, enabled| {
                assert_eq!(enabled, user.id.0 % 3 > 0);
                found.push((passkey, user));
            })
            .unwrap();
        assert!(found == users, "{} has other users", snapshot.path().display());
        let mut torrents = Vec::new();
        snapshot
            .for_each_swarm(|part| {
                if !part.continued {
                    torrents.push((part.info_hash, part.snatches));
                }
            })
            .unwrap();
        let expected = pieces.iter().flat_map(|piece| &piece.torrents);
        let expected: Vec<_> = expected.map(|it| (it.info_hash, it.snatches)).collect();
        assert!(torrents == expected, "{} has other torrents", snapshot.path().display());
        let peers: usize = pieces.iter().map(|piece| piece.peers.len()).sum();
        assert_eq!(snapshot.totals().peers(), peers as u64);
    });
}

fn kill_again_and_again(writer: &str, check: impl Fn(&Snapshot)) {
    let seed = env::var("MARGAY_TEST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut rng = Rng::with_seed(seed);
    let scratch = Scratch::new();
    let mut newest: Option<PathBuf> = None;
    let (mut unfinished, mut moved, mut kept_before) = (0, 0, 0);

    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", writer, "--quiet"])
            .env(DIR, scratch.path())
            .env(FIRST, (kill * 10_000).to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(rng.u64(1_000..60_000)));
        assert_eq!(child.try_wait().unwrap(), None, "the writer ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();

        unfinished += files(scratch.path(), "part").len();
        let dir = DataDir::open(scratch.path()).unwrap();
        assert_eq!(files(scratch.path(), "part"), [] as [PathBuf; 0]);
        let kept = files(scratch.path(), "margay").len();
        // A kill between the rename and the removal of the oldest leaves one more.
        assert!(kept <= kept_before.max(KEPT) + 1, "{kept} snapshots, {kept_before} before");
        kept_before = kept;

        let snapshot = Snapshot::open_newest(&dir).unwrap();
        assert_eq!(files(scratch.path(), "damaged"), [] as [PathBuf; 0], "seed {seed}, {kill}");
        let path = snapshot.as_ref().map(|snapshot| snapshot.path().to_owned());
        assert!(path >= newest, "seed {seed}, kill {kill}: {path:?} after {newest:?}");
        moved += u32::from(path > newest);
        newest = path;
        if let Some(snapshot) = snapshot {
            check(&snapshot);
        }
    }
    eprintln!("{KILLS} kills: {unfinished} files were unfinished, {moved} starts found a new one");
    assert!(unfinished > 0 && moved > 0, "the kills came at the wrong moments");
}

#[track_caller]
fn check_content(snapshot: &Snapshot) {
    let pieces = content(snapshot.meta().interval.0);
    let expected = pieces.iter().flat_map(|piece| &piece.swarms);
    let mut found: Vec<SwarmRecord> = Vec::new();
    snapshot
        .for_each_swarm(|part| {
            let (peers_v4, peers_v6) = (part.peers_v4 as u32, part.peers_v6 as u32);
            if let Some(whole) = found.last_mut().filter(|_| part.continued) {
                whole.peers_v4 += peers_v4;
                whole.peers_v6 += peers_v6;
            } else {
                let (info_hash, snatches) = (part.info_hash, part.snatches);
                found.push(SwarmRecord { info_hash, snatches, peers_v4, peers_v6 });
            }
        })
        .unwrap();
    assert!(expected.eq(&found), "{} has other swarms", snapshot.path().display());
    let peers: usize = pieces.iter().map(|piece| piece.peers_v4.len() + piece.peers_v6.len()).sum();
    assert_eq!(snapshot.totals().peers(), peers as u64);
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}
