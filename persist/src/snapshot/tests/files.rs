//! The files of a data directory: which one is used, and which ones stay.

use super::*;

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
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
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
