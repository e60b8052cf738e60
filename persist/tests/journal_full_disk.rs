//! A journal whose disk is full: appending fails and leaves nothing behind, and goes on when there is
//! room again.

#![allow(clippy::unwrap_used)] // All of this is test code.

#[path = "../src/journal/random.rs"]
#[allow(dead_code, unreachable_pub)]
mod random;
#[path = "../src/scratch.rs"]
#[allow(unreachable_pub)]
mod scratch;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, thread};

use fastrand::Rng;
use persist::DataDir;
use persist::journal::{
    Answer, Batch, Columns, Journal, JournalError, JournalThread, Options, Reader, Record, Refusal,
    Said, ThreadOptions,
};
use scratch::Scratch;

const DIR: &str = "MARGAY_TEST_FULL_DIR";
const SURVIVED: &str = "everything that was taken was read again";

#[test]
#[ignore = "this is the process that another test gives a full disk"]
fn writes_until_the_disk_is_full() {
    let path = env::var_os(DIR).expect("started by another test");
    let path = Path::new(&path);
    let data = DataDir::open(path).unwrap();
    let ballast = path.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let mut journal = Journal::open(&data, options).unwrap();
    let (mut rng, mut taken) = (Rng::with_seed(1), Vec::new());

    // Full, three times over; then room by deleting segments, then by others.
    let error = fill(&mut journal, &mut rng, &mut taken);
    println!("{error}");
    for _ in 0..3 {
        assert!(journal.append(&random::several(&mut rng, 1000)).unwrap_err().is_full());
        assert!(!journal.status().accepting());
        check(path, &journal, &taken);
    }
    let synced = journal.sync();
    println!("syncing what was taken before: {synced:?}");
    assert!(journal.delete_before(taken.len() as u64 * 2 / 3).unwrap() > 0);
    journal.probe().unwrap();
    append(&mut journal, &mut rng, &mut taken, 100).unwrap();
    fill(&mut journal, &mut rng, &mut taken);
    fs::remove_file(&ballast).unwrap();
    append(&mut journal, &mut rng, &mut taken, 100).unwrap();
    assert_eq!(journal.sync().unwrap(), taken.len() as u64);
    check(path, &journal, &taken);

    // The same through the thread, which finds out by itself that there is room again.
    fs::write(&ballast, vec![1; 512 << 10]).unwrap();
    let quick = ThreadOptions { sync_interval: Duration::from_millis(5), batches_max: 8 };
    let running = JournalThread::start(journal, quick).unwrap();
    let refused = loop {
        let records = random::several(&mut rng, 300);
        match send(&running, records.clone()) {
            Answer::Durable { first, .. } => {
                assert_eq!(first, taken.len() as u64);
                taken.extend(records);
            }
            Answer::Refused { records: back, why } => {
                assert!(back == records && why == Refusal::Full);
                break records;
            }
        }
    };
    fs::remove_file(&ballast).unwrap();
    while !running.status().accepting() {
        thread::sleep(Duration::from_millis(1));
    }
    let first = taken.len() as u64;
    assert_eq!(send(&running, refused.clone()), Answer::Durable { first, records: 300 });
    taken.extend(refused);
    let journal = running.stop();
    check(path, &journal, &taken);
    drop(journal);
    let journal = Journal::open(&data, options).unwrap();
    check(path, &journal, &taken);
    println!("{SURVIVED}");
}

#[test]
#[ignore = "this is the process that another test lets write small files only"]
fn writes_until_the_file_may_not_grow() {
    let path = env::var_os(DIR).expect("started by another test");
    let path = Path::new(&path);
    let data = DataDir::open(path).unwrap();
    let mut journal = Journal::open(&data, Options::default()).unwrap();
    let (mut rng, mut taken) = (Rng::with_seed(1), Vec::new());
    println!("{}", fill(&mut journal, &mut rng, &mut taken));
    check(path, &journal, &taken);
    drop(journal);

    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let mut journal = Journal::open(&data, options).unwrap();
    for _ in 0..20 {
        append(&mut journal, &mut rng, &mut taken, 100).unwrap();
    }
    check(path, &journal, &taken);
    println!("{SURVIVED}");
}

fn fill(journal: &mut Journal, rng: &mut Rng, taken: &mut Vec<Record>) -> JournalError {
    loop {
        let most = rng.usize(1..600);
        if let Err(error) = append(journal, rng, taken, most) {
            assert!(error.is_full(), "{error:?}");
            return error;
        }
    }
}

fn append(
    journal: &mut Journal,
    rng: &mut Rng,
    taken: &mut Vec<Record>,
    records: usize,
) -> Result<(), JournalError> {
    let records = random::several(rng, records);
    assert_eq!(journal.append(&records)?, taken.len() as u64);
    taken.extend(records);
    Ok(())
}

fn send(running: &JournalThread, records: Vec<Record>) -> Answer {
    let (answer, answers) = mpsc::channel();
    let batch = Batch::new(records).on_answer(move |said| answer.send(said).unwrap());
    running.sender().send(batch).unwrap();
    answers.recv().unwrap()
}

/// The files hold what was taken, and not a byte more.
#[track_caller]
fn check(path: &Path, journal: &Journal, taken: &[Record]) {
    let dir = path.join("journal");
    let mut reader = Reader::open(&dir, journal.begin()).unwrap();
    let mut read = Vec::new();
    reader.read_into(usize::MAX, &mut read).unwrap();
    assert!(read == taken[journal.begin() as usize..]);
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(files.sum::<u64>(), journal.bytes());
}

#[test]
fn a_file_that_may_not_grow() {
    // 512 blocks of 512 bytes or 1 KiB, as the shell counts; the signal would end the process.
    let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\"";
    run(script, &["sh"], "writes_until_the_file_may_not_grow");
}

#[test]
fn a_full_file_system() {
    let mount = ["unshare", "--mount", "sh"];
    let possible = Command::new(mount[0])
        .args(&mount[1..])
        .args(["-c", "mount -t tmpfs -o size=4k none /tmp"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("SKIPPED: a_full_file_system needs the right to mount a tmpfs");
        return;
    }
    let script = "mount -t tmpfs -o size=3m none \"$MARGAY_TEST_FULL_DIR\" && exec \"$0\" \"$@\"";
    run(script, &mount, "writes_until_the_disk_is_full");
}

#[track_caller]
fn run(script: &str, shell: &[&str], test: &str) {
    let scratch = Scratch::new();
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(DIR, scratch.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let more = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(SURVIVED), "{text}{more}");
    println!("{text}");
}
