//! Writing and reading a journal of usual facts: bytes and CPU time for each.
//!
//! `cargo bench -p margay-persist --bench journal` appends 720,000 facts, a minute at 12,000 a second,
//! in batches of 1, 16 and 128 with a sync for every 12,000, reads them back, and then sends them
//! through a [`JournalThread`] from two threads. Medians of 5 runs. The data directory is under `--dir`
//! (default: the temporary directory); one on tmpfs (`/dev/shm`) takes the disk out of the figures.
//!
//! Beside it: `fs::write` with `fsync` of the same bytes, and facts as they lie in memory.
//!
//! What would change a decision: more than 128 bytes or 1 µs of CPU time a fact (12,000 a second would
//! be more than 1.5 MB/s and 1.2% of a core).

#[path = "../src/journal/random.rs"]
#[allow(dead_code, unreachable_pub)]
mod random;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fastrand::Rng;
use persist::DataDir;
use persist::journal::{
    Answer, Batch, Columns, Journal, JournalThread, Options, Reader, Record, Said, ThreadOptions,
};
use shard::Seconds;
use shard::private::Fact;

const FACTS: usize = 720_000;
const SYNC_FACTS: usize = 12_000;
const RUNS: usize = 5;
const NOW: Seconds = Seconds(1_800_000_000);

fn main() {
    let dir = directory().join(format!("margay-bench-journal-{}", std::process::id()));
    let mut rng = Rng::with_seed(1);
    let facts: Vec<Record> = (0..FACTS).map(|_| random::usual_fact(&mut rng, NOW).into()).collect();
    println!("{FACTS} facts, a sync for every {SYNC_FACTS}, {}", dir.display());
    println!("in memory: {} bytes a fact", size_of::<Fact>());

    for batch in [1, 16, 128] {
        let mut bytes = 0;
        let times = measure(&dir, |data| {
            let mut journal = Journal::open(data, Options::default()).expect("readable");
            for second in facts.chunks(SYNC_FACTS) {
                for batch in second.chunks(batch) {
                    journal.append(batch).expect("room on the disk");
                }
                journal.sync().expect("a disk that syncs");
            }
            bytes = journal.bytes();
        });
        line(&format!("append, {batch} a batch"), times);
        println!("{:<34}{:>8.1} bytes a fact", "", bytes as f64 / FACTS as f64);
    }

    let plain = vec![7; FACTS * 100];
    let times = measure(&dir, |data| {
        let path = data.path().join("plain");
        let file = fs::File::create(&path).expect("writable");
        for second in plain.chunks(SYNC_FACTS * 100) {
            std::io::Write::write_all(&mut &file, second).expect("room on the disk");
            file.sync_data().expect("a disk that syncs");
        }
    });
    line("write and fsync of 100 bytes each", times);

    let data = DataDir::open(&dir).expect("writable");
    let mut journal = Journal::open(&data, Options::default()).expect("readable");
    for batch in facts.chunks(128) {
        journal.append(batch).expect("room on the disk");
    }
    journal.sync().expect("a disk that syncs");
    drop((journal, data));
    let times = measure_kept(&dir, |data| {
        drop(Journal::open(data, Options::default()).expect("readable"));
    });
    line("open (checks the last segment)", times);
    let times = measure_kept(&dir, |data| {
        let mut reader = Reader::open(data.path().join("journal"), 0).expect("readable");
        let (mut batch, mut read) = (Vec::new(), 0);
        loop {
            batch.clear();
            reader.read_into(1000, &mut batch).expect("whole");
            if batch.is_empty() {
                break;
            }
            assert_eq!(batch, facts[read..read + batch.len()]);
            read += batch.len();
        }
        assert_eq!(read, FACTS);
    });
    line("read and compare", times);
    fs::remove_dir_all(&dir).expect("made above");

    let times = measure(&dir, |data| through_a_thread(data, &facts));
    line("two threads to a JournalThread", times);
    fs::remove_dir_all(&dir).expect("made above");
}

/// Sends everything as two cores do, in recycled buffers, and waits until it is durable.
fn through_a_thread(data: &DataDir, facts: &[Record]) {
    let journal = Journal::open(data, Options::default()).expect("readable");
    let running = JournalThread::start(journal, ThreadOptions::default()).expect("a thread");
    thread::scope(|scope| {
        for half in facts.chunks(FACTS / 2) {
            let sender = running.sender().clone();
            scope.spawn(move || {
                for batch in half.chunks(128) {
                    let mut records = sender.buffer();
                    records.extend_from_slice(batch);
                    sender.send(Batch::new(records)).expect("it runs");
                }
            });
        }
    });
    let (answer, answered) = mpsc::channel();
    let last =
        Batch::new(Vec::new()).urgent().on_answer(move |said| answer.send(said).unwrap_or(()));
    running.sender().send(last).expect("it runs");
    let end = Answer::Durable { first: FACTS as u64, records: 0 };
    assert_eq!(answered.recv().expect("every batch is answered"), end);
    running.stop();
}

#[derive(Clone, Copy)]
struct Times {
    median: Duration,
    cpu: Duration,
}

fn line(what: &str, Times { median, cpu }: Times) {
    let each = |time: Duration| time.as_nanos() as f64 / FACTS as f64;
    println!("{what:<34}{:>8.0} ns a fact, {:>6.0} ns of CPU time", each(median), each(cpu));
}

/// Each run begins with an empty directory.
fn measure(dir: &Path, mut step: impl FnMut(&DataDir)) -> Times {
    measure_runs(|| {
        let _ = fs::remove_dir_all(dir);
        let data = DataDir::open(dir).expect("writable");
        let (start, cpu) = (Instant::now(), cpu_time());
        step(&data);
        (start.elapsed(), cpu_time().saturating_sub(cpu))
    })
}

fn measure_kept(dir: &Path, mut step: impl FnMut(&DataDir)) -> Times {
    let data = DataDir::open(dir).expect("writable");
    measure_runs(|| {
        let (start, cpu) = (Instant::now(), cpu_time());
        step(&data);
        (start.elapsed(), cpu_time().saturating_sub(cpu))
    })
}

fn measure_runs(run: impl FnMut() -> (Duration, Duration)) -> Times {
    let mut runs: Vec<_> = std::iter::repeat_with(run).take(RUNS).collect();
    runs.sort();
    let (median, cpu) = runs[RUNS / 2];
    Times { median, cpu }
}

/// User and system time of this process, proc(5): in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Duration::from_millis(ticks * 10)
}

/// `--dir`; what cargo adds is passed over.
fn directory() -> PathBuf {
    let arguments: Vec<String> = env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--dir");
    at.and_then(|at| arguments.get(at + 1)).map_or_else(env::temp_dir, PathBuf::from)
}
