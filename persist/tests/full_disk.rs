//! A snapshot that does not fit on the disk: an error, nothing unfinished stays, and the snapshot
//! before is as it was.

#![allow(clippy::unwrap_used)] // All of this is test code.

#[path = "../src/pieces.rs"]
#[allow(unreachable_pub)]
mod pieces;
#[path = "../src/scratch.rs"]
#[allow(unreachable_pub)]
mod scratch;

use std::error::Error;
use std::process::Command;
use std::{env, fs};

use fastrand::Rng;
use persist::{Covered, DataDir, Meta, Mode, Snapshot, SnapshotError, SnapshotWriter};
use scratch::Scratch;
use shard::Seconds;

const DIR: &str = "MARGAY_TEST_FULL_DIR";
const SURVIVED: &str = "the small one was read again";
const META: Meta = Meta {
    written_at: Seconds(1_800_000_000),
    interval: Seconds(1800),
    peer_timeout: Seconds(4000),
    mode: Mode::Open,
};

/// Writes a snapshot of some kilobytes, which fits, and then some of about 4 MB, which do not.
#[test]
#[ignore = "this is the process that the other tests give a full disk"]
fn writes_more_than_fits() {
    let path = env::var_os(DIR).expect("started by another test");
    let dir = DataDir::open(&path).unwrap();
    let mut rng = Rng::with_seed(1);
    let mut writer = SnapshotWriter::create(&dir, META).unwrap();
    writer.append(&pieces::random(&mut rng, 20, 9, META.written_at, 0)).unwrap();
    let small = writer.finish().unwrap();

    for write_large in [write_large, write_large_private, write_large] {
        let error = write_large(&dir, &mut rng).unwrap_err();
        assert!(matches!(error, SnapshotError::Write { .. }), "{error:?}");
        println!("{error}: {}", error.source().unwrap());
        let mut left: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["lock".as_ref(), small.path.file_name().unwrap()]);
    }
    let snapshot = Snapshot::open_newest(&dir).unwrap().unwrap();
    assert_eq!((snapshot.path(), snapshot.totals()), (&*small.path, small.totals));
    println!("{SURVIVED}");
}

fn write_large(dir: &DataDir, rng: &mut Rng) -> Result<(), SnapshotError> {
    let mut writer = SnapshotWriter::create(dir, META)?;
    for _ in 0..20 {
        writer.append(&pieces::random(rng, 1000, 10, META.written_at, 0))?;
    }
    writer.finish().map(drop)
}

fn write_large_private(dir: &DataDir, rng: &mut Rng) -> Result<(), SnapshotError> {
    let mode = Mode::Private(Covered { journal: 1, position: 1 });
    let mut writer = SnapshotWriter::create(dir, Meta { mode, ..META })?;
    for _ in 0..20_000 {
        let (passkey, user) = pieces::private::user(rng);
        writer.append_user(&passkey, user, true)?;
    }
    for _ in 0..20 {
        writer.append_private(&pieces::private::piece(rng, 1000, 10, META.written_at))?;
    }
    writer.finish().map(drop)
}

#[test]
fn a_file_that_may_not_grow() {
    // 256 blocks of 512 bytes or 1 KiB, as the shell counts; the signal would end the process.
    check("trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\"", &["sh"]);
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
    check(
        "mount -t tmpfs -o size=256k none \"$MARGAY_TEST_FULL_DIR\" && exec \"$0\" \"$@\"",
        &mount,
    );
}

#[track_caller]
fn check(script: &str, shell: &[&str]) {
    let scratch = Scratch::new();
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "writes_more_than_fits", "--nocapture"])
        .env(DIR, scratch.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let more = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(SURVIVED), "{text}{more}");
    println!("{text}");
}
