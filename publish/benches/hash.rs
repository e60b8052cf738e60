//! Hashing of content beside the speed of SHA-1 on this machine, and beside mktorrent and torf:
//!
//! ```sh
//! cargo bench -p margay-publish --bench hash
//! HASH_BENCH_MIB=4096 TORF_PYTHON=/path/of/a/venv/bin/python cargo bench -p margay-publish --bench hash
//! ```
//!
//! Workload: one file of 1 GiB of random bytes, and 10,000 files of 0 to 200,000 bytes, both in the page cache; pieces of
//! 1 MiB. Unit: MB/s, of the time that passed and of the processors' time (user and system, of all threads), the best of
//! three passes, as other programs disturb some. The first is to be at least 85% of openssl's with one thread; hashing is to
//! pass sooner than in the other programs with as many threads. A tool that is missing is said to be.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;
use std::time::Instant;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use publish::torrent::{Content, Metainfo, Options, Progress};

const PIECE_LENGTH: u32 = 1 << 20;
const PASSES: usize = 3;

fn main() {
    let mib: u64 =
        std::env::var("HASH_BENCH_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(1024);
    let cores = available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, many) = (folder.path().join("one.bin"), folder.path().join("many"));
    write(&one, mib, &many);

    let openssl = openssl();
    match openssl {
        Some(speed) => {
            println!("{:44} {:>15} {speed:>9.0}", "openssl speed -evp sha1, one core", "")
        }
        None => println!("openssl is missing: apt-get install openssl"),
    }
    let bytes = vec![7; 1 << 20];
    let memory = best(256 << 20, || {
        for _ in 0..256 {
            black_box(digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes));
        }
    });
    line("SHA-1 of memory, one core", memory, openssl);

    for path in [&one, &many] {
        let content = Content::walk(path).expect("it was written above");
        let total = content.total();
        let what = if content.is_single { "one file" } else { "10,000 files" };
        println!("\n{what}, {} MB", total / 1_000_000);
        let hash = |threads| {
            let stop = AtomicBool::new(false);
            content
                .hash(PIECE_LENGTH, threads, &Progress::default(), &stop)
                .expect("nobody changes it")
        };
        let pieces = hash(cores);
        let torrent =
            Metainfo::author(&content, &pieces, &Options::default()).expect("it is right");
        let naive = best(total, || {
            let paths = content.files.iter().map(|file| path.join(&file.path));
            let read = |path| fs::read(path).expect("it was written above");
            let all: Vec<u8> =
                if content.is_single { read(path.clone()) } else { paths.flat_map(read).collect() };
            let hash = |piece| digest(&SHA1_FOR_LEGACY_USE_ONLY, piece).as_ref().to_vec();
            assert_eq!(
                all.chunks(PIECE_LENGTH as usize).flat_map(hash).collect::<Vec<_>>(),
                pieces.hashes
            );
        });
        line("naive: read whole, then hash", naive, openssl);
        if content.is_single {
            let read = best(total, || read(path));
            line("reading alone, one core", read, openssl);
            // A thread copies and hashes in turn: so fast it could be at most with one piece at a time.
            let both = |read: f64, hash: f64| 1.0 / (1.0 / read + 1.0 / hash);
            let bound = Speed {
                wall: both(read.wall, memory.wall),
                processors: both(read.processors, memory.processors),
            };
            line("reading, then SHA-1 of memory: one by one", bound, openssl);
        }
        for threads in threads(cores) {
            let speed = best(total, || assert_eq!(hash(threads), pieces));
            line(&format!("margay, {threads} threads"), speed, openssl);
        }
        for threads in threads(cores) {
            let out = folder.path().join("of-mktorrent");
            let threads = threads.to_string();
            tool("mktorrent", &format!("mktorrent, {threads} threads"), total, openssl, || {
                let _ = fs::remove_file(&out);
                let mut command = Command::new("mktorrent");
                command
                    .args(["-l", "20", "-t", &threads, "-a", "http://127.0.0.1/", "-o"])
                    .arg(&out)
                    .arg(path);
                command
            });
        }
        for threads in threads(cores) {
            let python = std::env::var("TORF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
            let script = "import sys, torf\n\
                torrent = torf.Torrent(path=sys.argv[1], piece_size=1 << 20, created_by=None, creation_date=None)\n\
                torrent.generate(threads=int(sys.argv[2]))\n\
                assert torrent.infohash == sys.argv[3], torrent.infohash";
            tool("torf", &format!("torf, {threads} threads"), total, openssl, || {
                let mut command = Command::new(&python);
                command
                    .args(["-c", script])
                    .arg(path)
                    .args([threads.to_string(), torrent.info_hash.to_string()]);
                command
            });
        }
    }
}

/// Bytes in a second of the time that passed, and of the processors' time.
#[derive(Clone, Copy, Default)]
struct Speed {
    wall: f64,
    processors: f64,
}

/// The best of some passes over so many bytes, in MB/s.
fn best(bytes: u64, mut pass: impl FnMut()) -> Speed {
    let megabytes = bytes as f64 / 1e6;
    let mut best = Speed::default();
    for _ in 0..PASSES {
        let (begun, used) = (Instant::now(), used());
        pass();
        best.wall = best.wall.max(megabytes / begun.elapsed().as_secs_f64());
        best.processors = best.processors.max(megabytes / (self::used() - used).max(0.01));
    }
    best
}

/// Seconds of processors that this process and its children that ended have had (proc(5), in ticks of 10 ms).
fn used() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let ticks = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}

/// The speed of a program, or that it is missing.
fn tool(name: &str, what: &str, bytes: u64, openssl: Option<f64>, command: impl Fn() -> Command) {
    let run = || {
        command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !run() {
        println!("{what:44} is missing, or failed: install {name}");
        return;
    }
    line(what, best(bytes, || assert!(run())), openssl);
}

fn line(what: &str, speed: Speed, openssl: Option<f64>) {
    let part = openssl
        .map(|openssl| format!("{:>5.0}%", speed.processors / openssl * 100.0))
        .unwrap_or_default();
    println!(
        "{what:44} {:>9.0} wall {:>9.0} of the processors' {part}",
        speed.wall, speed.processors
    );
}

/// Reads a file in the portions that hashing does.
fn read(path: &Path) {
    let mut file = fs::File::open(path).expect("it was written above");
    let mut bytes = vec![0; 128 * 1024];
    while std::io::Read::read(&mut file, &mut bytes).expect("it can be read") > 0 {
        black_box(&mut bytes);
    }
}

/// What openssl says of itself: MB/s of the time of one core.
fn openssl() -> Option<f64> {
    let arguments = ["speed", "-mr", "-evp", "sha1", "-seconds", "2", "-bytes", "1048576"];
    let speeds = (0..3).filter_map(|_| {
        let output = Command::new("openssl").args(arguments).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .rev()
            .find(|line| line.starts_with("+F"))?
            .rsplit(':')
            .next()?
            .trim()
            .parse::<f64>()
            .ok()
    });
    speeds.reduce(f64::max).map(|speed| speed / 1e6)
}

fn threads(cores: usize) -> Vec<usize> {
    if cores > 1 { vec![1, cores] } else { vec![1] }
}

fn write(one: &Path, mib: u64, many: &Path) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; 1 << 20];
    random.fill(&mut bytes);
    let mut file = fs::File::create(one).expect("a file in a temporary folder");
    for number in 0..mib {
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        std::io::Write::write_all(&mut file, &bytes).expect("room on the disk");
    }
    for number in 0..10_000 {
        let path = many.join(format!("{:02}/{number:05}", number % 100));
        fs::create_dir_all(path.parent().expect("it has one")).expect("room on the disk");
        fs::write(path, &bytes[..random.usize(0..200_000)]).expect("room on the disk");
    }
}
