//! Writing and restoring a snapshot of 5 million IPv4 peers in 900,000 torrents.
//!
//! `cargo bench -p margay-persist` prints median and range of 5 runs, with the CPU time, beside
//! the least that can be done with so many bytes: `fs::write` with `fsync`, and `fs::read`. The
//! data directory is under `--dir` (default: the temporary directory); one on tmpfs (`/dev/shm`)
//! takes the disk out of the figures. `--cores N` restores with N threads (default 2).
//!
//! What would change a decision: more than 20 bytes a peer, or reading, checking and walking the
//! file (everything but the engine's own inserts) costing more than a quarter of the restore.

#[path = "../src/pieces.rs"]
#[allow(dead_code, unreachable_pub)]
mod pieces;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fastrand::Rng;
use persist::{DataDir, Grace, Meta, Mode, Snapshot, SnapshotWriter};
use shard::{InfoHash, Limits, Piece, Seconds, Shard};

const SWARMS: usize = 900_000;
const PEERS: usize = 5_000_000;
const PIECE_PEERS: usize = 4096;
const RUNS: usize = 5;
const META: Meta = Meta {
    written_at: Seconds(1_800_000_000),
    interval: Seconds(1800),
    peer_timeout: Seconds(4000),
    mode: Mode::Open,
};

fn main() {
    let (dir, cores) = arguments();
    let dir = dir.join(format!("margay-bench-{}", std::process::id()));
    let pieces = pieces();
    let data = DataDir::open(&dir).expect("a writable directory");

    let mut written = None;
    let write = measure(|| {
        let mut writer = SnapshotWriter::create(&data, META).expect("writable");
        for piece in &pieces {
            writer.append(piece).expect("room on the disk");
        }
        written = Some(writer.finish().expect("room on the disk"));
    });
    let written = written.expect("written RUNS times");
    assert_eq!(written.totals.peers(), PEERS as u64);
    assert_eq!(written.totals.swarms, SWARMS as u64);

    let bytes = fs::read(&written.path).expect("just written");
    let plain_path = dir.join("plain");
    let plain_write = measure(|| {
        fs::write(&plain_path, &bytes).expect("room on the disk");
        let file = fs::File::open(&plain_path).expect("just written");
        file.sync_all().expect("a disk that syncs");
        fs::remove_file(&plain_path).expect("just written");
    });
    drop(bytes);
    let plain_read = measure(|| {
        black_box(fs::read(&written.path).expect("just written"));
    });

    let open = measure(|| {
        black_box(Snapshot::open(&written.path).expect("whole"));
    });
    let snapshot = Snapshot::open_newest(&data).expect("readable").expect("there");
    let grace = Grace::new(META, META.written_at + Seconds(60));
    let walk = measure(|| {
        restore(&snapshot, &grace, cores, |_, _| false);
    });
    let mut restored = (0, 0);
    let full = measure(|| {
        restored = restore(&snapshot, &grace, cores, |info_hash, core| {
            info_hash.prefix() as usize % cores == core
        });
    });
    assert_eq!(restored, (SWARMS, PEERS));
    drop(data);
    fs::remove_dir_all(&dir).expect("made above");

    println!("{SWARMS} torrents, {PEERS} IPv4 peers, {cores} cores, {}", dir.display());
    println!(
        "file {:.1} MB, {:.2} bytes a peer (its torrent included), {} frames",
        written.bytes as f64 / 1e6,
        written.bytes as f64 / PEERS as f64,
        written.totals.frames
    );
    let line = |what: &str, times: Times, than: Option<Times>| {
        let Times { median, least, most, cpu } = times;
        let ratio = than.map_or(String::new(), |t| {
            format!("  {:.2} x", median.as_secs_f64() / t.median.as_secs_f64())
        });
        println!("{what:<44}{median:>8.1?} ({least:.1?} to {most:.1?}), CPU {cpu:.1?}{ratio}");
    };
    line("write: fs::write of the same bytes + fsync", plain_write, None);
    line("write: SnapshotWriter", write, Some(plain_write));
    line("read: fs::read", plain_read, None);
    line("read: Snapshot::open (verifies all)", open, Some(plain_read));
    line("read: restore, no swarm owned (check, walk)", walk, Some(plain_read));
    line("read: restore into shards", full, Some(plain_read));
}

/// Swarms and endpoints gained by all shards together.
fn restore(
    snapshot: &Snapshot,
    grace: &Grace,
    cores: usize,
    owns: impl Fn(&InfoHash, usize) -> bool + Sync,
) -> (usize, usize) {
    let limits = Limits {
        swarms_max: SWARMS,
        peers_max: PEERS,
        peer_timeout: META.peer_timeout,
        swarm_retention: META.peer_timeout,
        count_unknown: false,
    };
    thread::scope(|scope| {
        let owns = &owns;
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                scope.spawn(move || {
                    let mut shard = Shard::new(core as u64, limits);
                    let owned = |info_hash: &InfoHash| owns(info_hash, core);
                    let restored = snapshot.restore(grace, owned, &mut shard).expect("whole");
                    // As in the tracker: what was restored stays.
                    std::mem::forget(shard);
                    (restored.swarms, restored.peers_v4)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    })
}

/// Swarms as public trackers have them: most have one to three peers, a few have thousands.
fn pieces() -> Vec<Piece> {
    let mut rng = Rng::with_seed(1);
    let mut sizes: Vec<usize> = (0..SWARMS)
        .map(|_| (1.0 / rng.f64().max(1e-9)).powf(0.75).min(30_000.0) as usize)
        .collect();
    // Evened out to the number of peers asked for.
    let mut sum: usize = sizes.iter().sum();
    while sum != PEERS {
        let size = &mut sizes[rng.usize(..SWARMS)];
        if sum < PEERS {
            *size += 1;
            sum += 1;
        } else if *size > 1 {
            *size -= 1;
            sum -= 1;
        }
    }
    let mut pieces = Vec::new();
    let mut piece = Piece::default();
    for size in sizes {
        let mut swarm = pieces::random(&mut rng, 1, 0, META.written_at, 0);
        let mut left = size;
        loop {
            let part = left.min(PIECE_PEERS - piece.peers_v4.len());
            swarm.swarms[0].peers_v4 = part as u32;
            piece.swarms.push(swarm.swarms[0]);
            for _ in 0..part {
                piece.peers_v4.push(pieces::peer_v4(&mut rng, META.written_at, 3000));
            }
            if piece.peers_v4.len() == PIECE_PEERS {
                pieces.push(std::mem::take(&mut piece));
            }
            left -= part;
            if left == 0 {
                break;
            }
        }
    }
    pieces.push(piece);
    pieces
}

#[derive(Clone, Copy)]
struct Times {
    median: Duration,
    least: Duration,
    most: Duration,
    cpu: Duration,
}

fn measure(mut step: impl FnMut()) -> Times {
    let mut runs: Vec<(Duration, Duration)> = (0..RUNS)
        .map(|_| {
            let (start, cpu) = (Instant::now(), cpu_time());
            step();
            (start.elapsed(), cpu_time().saturating_sub(cpu))
        })
        .collect();
    runs.sort();
    let (median, cpu) = runs[RUNS / 2];
    Times { median, least: runs[0].0, most: runs[RUNS - 1].0, cpu }
}

/// User and system time of this process, proc(5): in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Duration::from_millis(ticks * 10)
}

/// `--dir` and `--cores`; what cargo adds is passed over.
fn arguments() -> (PathBuf, usize) {
    let arguments: Vec<String> = env::args().collect();
    let value = |name: &str| {
        arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    let dir = value("--dir").map_or_else(env::temp_dir, PathBuf::from);
    (dir, value("--cores").map_or(2, |cores| cores.parse().expect("a number of cores")))
}
