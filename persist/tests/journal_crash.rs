//! A process that writes a journal is killed at random moments: each start goes on behind a prefix of
//! what was written, which holds everything that had been said to be durable.

#![allow(clippy::unwrap_used)] // All of this is test code.

#[path = "../src/journal/random.rs"]
#[allow(dead_code, unreachable_pub)]
mod random;
#[path = "../src/scratch.rs"]
#[allow(unreachable_pub)]
mod scratch;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, io, thread};

use fastrand::Rng;
use persist::DataDir;
use persist::journal::{
    Answer, Batch, Columns, Journal, JournalThread, Options, Reader, Record, Said, ThreadOptions,
    segments, survey,
};
use scratch::Scratch;

const KILLS: u32 = 250;
const DIR: &str = "MARGAY_TEST_CRASH_DIR";
const SEED: &str = "MARGAY_TEST_CRASH_SEED";
const OPTIONS: Options = Options {
    segment_bytes: 1 << 20,
    bytes_max: 1 << 30,
    keep: Duration::ZERO,
    keep_bytes: 0,
    begin_at: 0,
};

/// A record follows from its sequence number.
fn record(sequence: u64) -> Record {
    random::any(&mut Rng::with_seed(sequence))
}

#[test]
#[ignore = "this is the process that the other test kills"]
fn writes_until_killed() {
    let dir = env::var_os(DIR).expect("started by the other test");
    let mut rng = Rng::with_seed(env::var(SEED).unwrap().parse().unwrap());
    let journal = Journal::open(&DataDir::open(dir).unwrap(), OPTIONS).unwrap();
    let mut next = journal.end();
    let sync_interval = [Duration::ZERO, Duration::from_millis(5)][rng.usize(..2)];
    let options = ThreadOptions { sync_interval, batches_max: 4 };
    let running = JournalThread::start(journal, options).unwrap();
    let sender = running.sender();
    println!("started");
    loop {
        let mut records = sender.buffer();
        let end = next + rng.u64(1..400);
        records.extend((next..end).map(record));
        let (first, count) = (next, records.len());
        let batch = Batch::new(records).on_answer(move |answer| {
            assert_eq!(answer, Answer::Durable { first, records: count });
            // One write, so that the line is there or not.
            io::stdout()
                .write_all(format!("durable {}\n", first + count as u64).as_bytes())
                .unwrap();
            io::stdout().flush().unwrap();
        });
        sender.send(batch).unwrap();
        next = end;
        if rng.u8(..20) == 0 {
            running.status().release(running.status().durable().saturating_sub(30_000));
        }
    }
}

#[test]
fn every_start_goes_on_behind_all_that_was_durable() {
    let seed = env::var("MARGAY_TEST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut rng = Rng::with_seed(seed);
    let scratch = Scratch::new();
    let (mut end, mut torn, mut beyond, mut deleted) = (0, 0, 0, 0);

    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "writes_until_killed", "--quiet", "--nocapture"])
            .env(DIR, scratch.path())
            .env(SEED, rng.u64(..).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Most kills hit while it writes, a few while it opens the journal.
        let mut stdout = child.stdout.take().unwrap();
        let (started, start) = mpsc::channel();
        let said = thread::spawn(move || {
            let (mut said, mut part) = (Vec::new(), [0; 4096]);
            loop {
                match stdout.read(&mut part).unwrap() {
                    0 => return String::from_utf8(said).unwrap(),
                    read => said.extend_from_slice(&part[..read]),
                }
                let _ = started.send(());
            }
        });
        if rng.u8(..10) > 0 {
            let _ = start.recv();
        }
        thread::sleep(Duration::from_micros(rng.u64(..50_000)));
        assert_eq!(child.try_wait().unwrap(), None, "the writer ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let said = said.join().unwrap();
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut durable = whole.lines().filter_map(|line| line.strip_prefix("durable "));
        let durable: u64 = durable.next_back().map_or(end, |number| number.parse().unwrap());

        torn += u32::from(has_torn_tail(scratch.path()));
        let data = DataDir::open(scratch.path()).unwrap();
        let journal = Journal::open(&data, OPTIONS).unwrap();
        assert!(journal.end() >= durable, "seed {seed}, kill {kill}: {durable} were durable");
        assert!(journal.end() >= end, "seed {seed}, kill {kill}: it ended at {end} before");
        beyond += u32::from(journal.end() > durable);
        end = journal.end();
        deleted = journal.begin();
        let mut reader = Reader::open(scratch.path().join("journal"), journal.begin()).unwrap();
        while let Some((sequence, found)) = reader.read().unwrap() {
            assert!(found == record(sequence), "seed {seed}, kill {kill}: record {sequence}");
        }
        assert_eq!(reader.position(), end);
    }
    eprintln!(
        "{KILLS} kills: {end} records, the first {deleted} deleted; {torn} tails were torn, \
         {beyond} journals had more than was durable"
    );
    assert!(beyond > 0 && deleted > 0, "the kills came at the wrong moments");
}

fn has_torn_tail(data: &Path) -> bool {
    let files = segments(&data.join("journal")).unwrap_or_default();
    files.last().is_some_and(|last| survey(last, |_, _| {}).unwrap().torn.is_some())
}
