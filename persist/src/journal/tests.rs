use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use shard::Seconds;
use shard::private::Change;

use super::format::HEAD_BYTES;
use super::segment::faults::{self, Step};
use super::*;
use crate::scratch::Scratch;

const SMALL: Options = Options { segment_bytes: 4096, bytes_max: 1 << 30, begin_at: 0 };

/// A journal in a directory of its own, and what it should hold.
struct Story {
    scratch: Scratch,
    options: Options,
    journal: Option<Journal>,
    rng: Rng,
    /// All records, from number 0 on.
    records: Vec<Record>,
}

impl Story {
    fn new(seed: u64, options: Options) -> Self {
        let (scratch, rng) = (Scratch::new(), Rng::with_seed(seed));
        let mut story = Self { scratch, options, journal: None, rng, records: Vec::new() };
        story.open();
        story
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().unwrap()
    }

    fn dir(&self) -> PathBuf {
        self.scratch.path().join(FOLDER)
    }

    /// Opens it again, as after a kill: what was not synced is still in the file.
    fn open(&mut self) {
        self.journal = None;
        let data = DataDir::open(self.scratch.path()).unwrap();
        self.journal = Some(Journal::open(&data, self.options).unwrap());
    }

    fn try_append(&mut self, most: usize) -> Result<(), JournalError> {
        let records = self.rng.usize(1..=most);
        let records = random::several(&mut self.rng, records);
        let first = self.journal().append(&records)?;
        assert_eq!(first, self.records.len() as u64);
        self.records.extend(records);
        assert_eq!(self.journal().end(), self.records.len() as u64);
        Ok(())
    }

    fn append(&mut self, most: usize) {
        self.try_append(most).unwrap();
    }

    fn sync(&mut self) {
        let end = self.records.len() as u64;
        assert_eq!(self.journal().sync().unwrap(), end);
        assert_eq!((self.journal().durable(), self.journal().end()), (end, end));
    }

    /// What the files hold is what was appended.
    #[track_caller]
    fn check(&mut self) {
        let begin = self.journal().begin();
        let read = read_all(&self.dir(), begin);
        assert_eq!(read.len(), self.records.len() - begin as usize);
        assert!(read == self.records[begin as usize..], "other records than were appended");
        let bytes: u64 = files(&self.dir()).iter().map(|f| fs::metadata(f).unwrap().len()).sum();
        assert_eq!(self.journal().bytes(), bytes);
    }

    /// The last segment, and how much of it is durable.
    fn last(&mut self) -> (PathBuf, u64) {
        let active = self.journal().active.as_ref().unwrap();
        (active.path.clone(), active.synced)
    }
}

#[track_caller]
fn read_all(dir: &Path, from: u64) -> Vec<Record> {
    let mut reader = Reader::open(dir, from).unwrap();
    let mut records = Vec::new();
    while let Some((sequence, record)) = reader.read().unwrap() {
        assert_eq!(sequence, from + records.len() as u64);
        records.push(record);
    }
    records
}

fn files(dir: &Path) -> Vec<PathBuf> {
    Name::list(dir).unwrap().into_iter().map(|name| name.path(dir)).collect()
}

fn one(path: &Path) -> SegmentFile {
    SegmentFile { path: path.to_owned(), below: u64::MAX }
}

fn copy(from: &Path) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let dir = scratch.path().join(FOLDER);
    fs::create_dir(&dir).unwrap();
    for file in files(from) {
        fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
    }
    (scratch, dir)
}

fn open(scratch: &Scratch, options: Options) -> Result<Journal, JournalError> {
    Journal::open(&DataDir::open(scratch.path()).unwrap(), options)
}

#[test]
fn a_record_is_read_as_it_was_written_and_no_part_of_it_is_one() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..20_000 {
        let record = random::any(&mut rng);
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        let mut bytes = bytes::Bytes(&encoded);
        assert_eq!(Record::decode(&mut bytes).as_ref(), Ok(&record));
        assert!(bytes.0.is_empty());
        let part = rng.usize(..encoded.len());
        assert!(Record::decode(&mut bytes::Bytes(&encoded[..part])).is_err(), "{record:?}");
    }
}

#[test]
fn any_bytes_are_a_record_or_an_error() {
    let mut rng = Rng::with_seed(2);
    let mut decoded = 0;
    for _ in 0..100_000 {
        let mut encoded = Vec::new();
        random::any(&mut rng).encode(&mut encoded);
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..encoded.len());
            encoded[at] = rng.u8(..);
        }
        if let Ok(record) = Record::decode(&mut bytes::Bytes(&encoded)) {
            decoded += 1;
            let mut again = Vec::new();
            record.encode(&mut again);
            assert_eq!(Record::decode(&mut bytes::Bytes(&again)), Ok(record));
        }
    }
    assert!(decoded > 1000, "{decoded} of the changed records were records still");
}

#[test]
fn a_usual_fact_is_small() {
    let mut rng = Rng::with_seed(3);
    let mut encoded = Vec::new();
    for _ in 0..1000 {
        Record::from(random::usual_fact(&mut rng, Seconds(1_800_000_000))).encode(&mut encoded);
    }
    assert!(encoded.len() <= 120 * 1000, "{} bytes for 1000 facts", encoded.len());
}

#[test]
fn what_was_appended_is_read_whatever_came_between() {
    for seed in 0..30 {
        let mut story = Story::new(seed, SMALL);
        let mut follower = Reader::follow(story.journal().status(), 0).unwrap();
        let mut followed = Vec::new();
        for _ in 0..200 {
            match story.rng.u8(..10) {
                0..6 => story.append(60),
                6 | 7 => story.sync(),
                8 => {
                    story.sync();
                    follower.read_into(usize::MAX, &mut followed).unwrap();
                    assert_eq!(followed.len(), story.records.len());
                    story.open();
                    let from = followed.len() as u64;
                    follower = Reader::follow(story.journal().status(), from).unwrap();
                }
                _ => {
                    let most = story.rng.usize(..300);
                    follower.read_into(most, &mut followed).unwrap();
                    assert!(followed.len() as u64 <= story.journal().durable());
                }
            }
        }
        story.sync();
        follower.read_into(usize::MAX, &mut followed).unwrap();
        assert!(followed == story.records, "seed {seed}");
        assert_eq!(follower.read().unwrap(), None);
        story.check();
        assert!(files(&story.dir()).len() > 10);
        for _ in 0..20 {
            let from = story.rng.usize(..=story.records.len());
            assert!(read_all(&story.dir(), from as u64) == story.records[from..], "from {from}");
        }
    }
}

#[test]
fn a_follower_on_another_thread_gets_everything_once() {
    let mut story = Story::new(1, Options { segment_bytes: 40_000, ..SMALL });
    let status = story.journal().status().clone();
    let (done, all) = mpsc::channel::<usize>();
    let follower = thread::spawn(move || {
        let mut reader = Reader::follow(&status, 0).unwrap();
        let (mut records, mut total) = (Vec::new(), None);
        while total != Some(records.len()) {
            let before = records.len();
            assert_eq!(reader.read_into(100, &mut records).unwrap(), before as u64);
            if records.len() == before {
                status.wait(reader.position(), Duration::from_millis(5));
            }
            total = total.or(all.try_recv().ok());
        }
        records
    });
    for _ in 0..2000 {
        story.append(20);
        if story.rng.u8(..8) == 0 {
            story.sync();
        }
    }
    story.sync();
    done.send(story.records.len()).unwrap();
    assert!(follower.join().unwrap() == story.records);
}

#[test]
fn a_large_batch_goes_into_several_frames_and_a_too_large_one_nowhere() {
    let mut story = Story::new(1, SMALL);
    story.append(10);
    let records = random::several(&mut story.rng, 5000);
    story.journal().append(&records).unwrap();
    story.records.extend(records);
    story.check();

    let removed = |length| Change::TorrentRemoved {
        id: shard::private::TorrentId(1),
        info_hash: shard::InfoHash([1; 20]),
        reason: "x".repeat(length),
        at: Seconds(1),
    };
    let large = Record::from(removed(1_000_000));
    story.journal().append(std::slice::from_ref(&large)).unwrap();
    story.records.push(large.clone());
    let error = story.journal().append(&[large, removed(1 << 20).into()]).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error:?}");
    assert!(story.journal().status().accepting() && !error.is_full());
    story.append(10);
    story.check();
}

#[test]
fn a_tail_that_is_cut_off_anywhere_leaves_the_whole_frames_before() {
    let mut story = Story::new(7, Options { segment_bytes: 1 << 20, ..SMALL });
    story.append(5);
    story.sync();
    let (mut ends, (path, _)) = (Vec::new(), story.last());
    for _ in 0..8 {
        ends.push((fs::metadata(&path).unwrap().len(), story.records.len()));
        story.append(3);
    }
    let bytes = fs::read(&path).unwrap();
    let (scratch, dir) = copy(&story.dir());
    let path = files(&dir).pop().unwrap();
    for cut in ends[0].0..=bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let mut journal = open(&scratch, story.options).unwrap();
        let end = match ends.iter().rfind(|(offset, _)| *offset <= cut) {
            _ if cut == bytes.len() as u64 => story.records.len(),
            Some(&(_, end)) => end,
            None => unreachable!("it begins with the first"),
        };
        assert_eq!((journal.end(), journal.durable()), (end as u64, end as u64), "cut at {cut}");
        let more = random::several(&mut story.rng, 2);
        journal.append(&more).unwrap();
        let read = read_all(&dir, 0);
        assert!(read[..end] == story.records[..end] && read[end..] == more, "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut story = Story::new(8, Options { segment_bytes: 1 << 20, ..SMALL });
    let mut durable = 0;
    for _ in 0..4 {
        durable = story.last().1;
        story.append(3);
        story.sync();
    }
    let end = story.records.len() as u64;
    let bytes = fs::read(story.last().0).unwrap();
    let (scratch, dir) = copy(&story.dir());
    let path = files(&dir).pop().unwrap();
    let mut lost = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        let surveyed = survey(&one(&path), |sequence, record| {
            assert!(*record == story.records[sequence as usize], "bit {bit}");
        });
        match surveyed {
            Err(JournalError::Damaged { .. } | JournalError::Format { .. }) => {}
            Ok(Survey { torn: Some(_), .. }) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
        match open(&scratch, story.options) {
            // The last frame: nothing says that it was durable.
            Ok(journal) => {
                lost += 1;
                assert!(journal.end() < end && bit as u64 / 8 >= durable, "bit {bit}");
            }
            Err(error) => {
                assert!(fs::read(&path).unwrap() == flipped, "bit {bit}: {error}");
                assert!(bit as u64 / 8 < durable, "bit {bit}: {error}");
            }
        }
    }
    assert!(lost > 0);
}

#[test]
fn a_power_cut_costs_nothing_that_was_durable() {
    for seed in 0..300 {
        let mut story = Story::new(seed, Options { segment_bytes: 30_000, ..SMALL });
        for _ in 0..story.rng.usize(1..30) {
            story.append(40);
            if story.rng.u8(..3) == 0 {
                story.sync();
            }
        }
        let durable = story.journal().durable();
        let (path, synced) = story.last();
        let (scratch, dir) = copy(&story.dir());
        let path = dir.join(path.file_name().unwrap());
        // Of the bytes behind the last sync, any sectors may be there or not, and any length.
        let mut bytes = fs::read(&path).unwrap();
        let length = story.rng.usize(synced as usize..=bytes.len());
        bytes.truncate(length);
        for sector in bytes[synced as usize..].chunks_mut(512) {
            match story.rng.u8(..8) {
                0 => sector.fill(0),
                1 => story.rng.fill(sector),
                _ => {}
            }
        }
        fs::write(&path, &bytes).unwrap();
        let journal = open(&scratch, story.options).unwrap();
        assert!(journal.end() >= durable, "seed {seed}: {} of {durable}", journal.end());
        assert!(read_all(&dir, 0) == story.records[..journal.end() as usize], "seed {seed}");
    }
}

#[test]
fn damage_in_a_segment_before_the_last_is_found_by_a_reader() {
    let mut story = Story::new(3, SMALL);
    while files(&story.dir()).len() < 4 {
        story.append(10);
    }
    story.sync();
    let dir = story.dir();
    let names = Name::list(&dir).unwrap();
    let path = names[1].path(&dir);
    let middle = fs::metadata(&path).unwrap().len() / 2;
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 8], middle).unwrap();
    drop(file);

    // The journal goes on, as this is perhaps not needed any more; who reads it is told.
    story.open();
    let mut reader = Reader::open(&dir, 0).unwrap();
    let mut records = Vec::new();
    let error = reader.read_into(usize::MAX, &mut records).unwrap_err();
    assert!(records == story.records[..records.len()]);
    assert!((names[1].0..names[2].0).contains(&(records.len() as u64)));
    let JournalError::Damaged { path: found, sequence, damage } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((found, *sequence), (&path, records.len() as u64));
    assert!(damage.offset() <= middle && damage.offset() >= HEADER_BYTES as u64);
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("truncate"), "{text}");
    assert!(reader.read().is_err(), "it does not go over it");

    // A reader from behind it has everything.
    assert!(read_all(&dir, names[2].0) == story.records[names[2].0 as usize..]);
    let status = story.journal().status().clone();
    let mut follower = Reader::follow(&status, 0).unwrap();
    let followed = follower.read_into(usize::MAX, &mut Vec::new());
    assert!(matches!(followed, Err(JournalError::Damaged { .. })), "{followed:?}");

    // A missing segment is not passed over either.
    fs::remove_file(&path).unwrap();
    let mut reader = Reader::open(&dir, 0).unwrap();
    let error = reader.read_into(usize::MAX, &mut Vec::new()).unwrap_err();
    let (from, to) = (names[1].0, names[2].0);
    assert!(
        matches!(error, JournalError::Missing { from: f, to: t, .. } if (f, t) == (from, to)),
        "{error:?}"
    );
}

#[test]
fn foreign_and_unknown_segments_are_refused() {
    let mut story = Story::new(3, SMALL);
    story.append(3);
    story.sync();
    let mut other = Story::new(4, SMALL);
    while files(&other.dir()).len() < 2 {
        other.append(3);
    }
    assert_ne!(story.journal().id(), other.journal().id());
    let foreign = files(&other.dir()).pop().unwrap();
    let path = story.dir().join(foreign.file_name().unwrap());
    fs::copy(&foreign, &path).unwrap();
    story.journal = None;
    let error = open(&story.scratch, SMALL).unwrap_err();
    let Damage::Journal { .. } = damage(&error) else { panic!("{error:?}") };
    fs::remove_file(&path).unwrap();

    let first = files(&story.dir()).pop().unwrap();
    let renamed = Name(1).path(&story.dir());
    fs::rename(&first, &renamed).unwrap();
    let error = open(&story.scratch, SMALL).unwrap_err();
    assert_eq!(damage(&error), Damage::Name { found: 0, expected: 1 });
    fs::rename(&renamed, &first).unwrap();

    let mut bytes = fs::read(&first).unwrap();
    bytes[8] = 9;
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&first, bytes).unwrap();
    let error = open(&story.scratch, SMALL).unwrap_err();
    assert!(matches!(error, JournalError::Format { found: 9, .. }), "{error:?}");
    assert!(error.to_string().contains(env!("CARGO_PKG_VERSION")), "{error}");
}

fn damage(error: &JournalError) -> Damage {
    match error {
        JournalError::Damaged { damage, .. } => damage.clone(),
        error => panic!("{error:?}"),
    }
}

#[test]
fn positions_that_are_not_there_are_errors() {
    let mut story = Story::new(5, SMALL);
    while files(&story.dir()).len() < 5 {
        story.append(20);
    }
    let (dir, end) = (story.dir(), story.records.len() as u64);
    assert!(matches!(
        Reader::open(&dir, end + 1),
        Err(JournalError::Ahead { from, end: e }) if (from, e) == (end + 1, end)
    ));
    assert_eq!(Reader::open(&dir, end).unwrap().read().unwrap(), None);
    let status = story.journal().status().clone();
    let durable = status.durable();
    assert!(durable < end);
    assert!(matches!(Reader::follow(&status, durable + 1), Err(JournalError::Ahead { .. })));

    let kept = Name::list(&dir).unwrap()[2].0;
    let freed = story.journal().delete_before(kept + 1).unwrap();
    assert!(freed > 4096);
    assert_eq!((story.journal().begin(), status.begin()), (kept, kept));
    assert!(
        matches!(Reader::open(&dir, 0), Err(JournalError::Gone { from: 0, begin }) if begin == kept)
    );
    assert!(matches!(Reader::follow(&status, 0), Err(JournalError::Gone { from: 0, .. })));
    story.check();
    story.journal().delete_before(u64::MAX).unwrap();
    assert_eq!(files(&dir).len(), 1, "the last segment stays");
    story.check();
    story.open();
    story.append(20);
    story.check();
}

#[test]
fn a_journal_begins_where_it_is_told_to() {
    let mut story = Story::new(6, SMALL);
    story.append(10);
    let end = story.records.len() as u64;
    let id = story.journal().id();
    story.options.begin_at = end;
    story.open();
    assert_eq!(story.journal().end(), end);

    story.options.begin_at = end + 5;
    story.open();
    assert_eq!((story.journal().end(), story.journal().durable()), (end + 5, end + 5));
    assert_eq!((story.journal().begin(), story.journal().id()), (0, id));
    let records = random::several(&mut story.rng, 3);
    assert_eq!(story.journal().append(&records).unwrap(), end + 5);
    story.open();
    assert_eq!(story.journal().end(), end + 8);
    assert!(read_all(&story.dir(), end + 5) == records);
    let mut reader = Reader::open(story.dir(), 0).unwrap();
    let error = reader.read_into(usize::MAX, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, JournalError::Missing { .. }), "{error:?}");
    assert_eq!(reader.position(), end);

    let fresh = Story::new(6, Options { begin_at: 1000, ..SMALL });
    assert_eq!(fresh.journal.as_ref().unwrap().begin(), 1000);
    assert_eq!(files(&fresh.dir()), [Name(1000).path(&fresh.dir())]);
}

/// The same journal with a header of an older format, as an older program left it.
fn as_format(path: &Path, format: u32) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let (head, frames) = bytes.split_first_chunk_mut::<HEADER_BYTES>().unwrap();
    Header::parse(head).unwrap().seal(frames, HEADER_BYTES as u64, HEADER_BYTES as u64);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_journal_of_an_older_format_is_read_and_goes_on_in_a_new_segment() {
    let mut story = Story::new(31, Options::default());
    story.append(50);
    story.sync();
    story.journal = None;
    let first = files(&story.dir())[0].clone();
    as_format(&first, FORMAT_OLDEST);
    story.open();
    story.check();
    story.append(50);
    story.check();
    let formats: Vec<u32> = files(&story.dir())
        .iter()
        .map(|file| survey(&one(file), |_, _| {}).unwrap().format)
        .collect();
    assert_eq!(formats, [FORMAT_OLDEST, FORMAT]);
    story.journal = None;
    as_format(&first, FORMAT + 1);
    let data = DataDir::open(story.scratch.path()).unwrap();
    let error = Journal::open(&data, Options::default()).unwrap_err();
    assert!(matches!(error, JournalError::Format { .. }), "{error:?}");
}

#[test]
fn at_the_bound_nothing_is_written_until_there_is_room() {
    let mut story = Story::new(9, Options { bytes_max: 600_000, ..Options::default() });
    let error = loop {
        if let Err(error) = story.try_append(50) {
            break error;
        }
    };
    assert!(matches!(error, JournalError::Full { .. }) && error.is_full(), "{error:?}");
    let status = story.journal().status().clone();
    assert!(!status.accepting() && status.last_error().unwrap().contains("600000"));
    assert_eq!((status.refused_batches(), status.end()), (1, story.records.len() as u64));
    assert!(story.journal().bytes() <= 600_000);
    assert!(files(&story.dir()).len() >= 4, "whole segments can be deleted");
    story.sync();
    story.check();
    assert!(story.journal().probe().is_err());

    let half = story.records.len() as u64 * 2 / 3;
    story.journal().delete_before(half).unwrap();
    story.journal().probe().unwrap();
    assert!(status.accepting());
    story.check();
    story.append(50);
    story.open();
    story.check();
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let mut story = Story::new(10, SMALL);
    story.append(20);
    let before = fs::metadata(story.last().0).unwrap().len();
    faults::fail(&[Step::Write]);
    let error = story.try_append(3).unwrap_err();
    assert!(matches!(error, JournalError::Write { .. }) && !error.is_full(), "{error:?}");
    assert_eq!(fs::metadata(story.last().0).unwrap().len(), before);
    assert!(!story.journal().status().accepting());
    faults::fail(&[]);
    story.append(3);
    assert!(story.journal().status().accepting());
    story.check();
    story.open();
    story.check();
}

#[test]
fn a_half_written_batch_that_cannot_be_cut_off_is_given_up_with_its_segment() {
    let mut story = Story::new(11, Options { segment_bytes: 1 << 20, ..SMALL });
    story.append(20);
    story.sync();
    story.append(20);
    faults::fail(&[Step::Write, Step::Cut, Step::Create]);
    // Large enough for several frames, of which the first are written, and refused all the same.
    let refused = random::several(&mut story.rng, 3000);
    story.journal().append(&refused).unwrap_err();
    story.try_append(10).unwrap_err();
    let (crashed, dir) = copy(&story.dir());
    let journal = open(&crashed, story.options);
    assert!(matches!(journal, Err(JournalError::Write { .. })), "cutting fails: {journal:?}");
    let (durable, end) = (story.journal().durable(), story.records.len() as u64);
    assert!(durable < end);
    story.journal().sync().unwrap_err();
    story.journal().probe().unwrap_err();
    let status = story.journal().status().clone();
    let mut follower = Reader::follow(&status, 0).unwrap();
    let mut followed = Vec::new();
    follower.read_into(usize::MAX, &mut followed).unwrap();
    assert_eq!(followed.len() as u64, durable);

    faults::fail(&[]);
    let journal = open(&crashed, story.options).unwrap();
    assert_eq!(journal.end(), end);
    assert!(read_all(&dir, 0) == story.records);
    for _ in 0..10 {
        story.append(10);
    }
    story.sync();
    follower.read_into(usize::MAX, &mut followed).unwrap();
    assert!(followed == story.records);
    let mut surveyed = Vec::new();
    for file in segments(&story.dir()).unwrap() {
        survey(&file, |_, record| surveyed.push(record.clone())).unwrap();
    }
    assert!(surveyed == story.records);
    // The old segment has more than belongs to it, and a segment ends where the next begins.
    assert!(read_all(&story.dir(), 0) == story.records);
    story.open();
    assert!(read_all(&story.dir(), 0) == story.records);
}

#[test]
fn what_a_failed_sync_did_not_make_durable_is_written_again() {
    // With and without anything durable in the segment, whose name is used again then.
    for durable_before in [true, false] {
        let mut story = Story::new(12, Options { segment_bytes: 1 << 20, ..SMALL });
        let status = story.journal().status().clone();
        let mut follower = Reader::follow(&status, 0).unwrap();
        let mut followed = Vec::new();
        if durable_before {
            story.append(20);
            story.sync();
            follower.read_into(usize::MAX, &mut followed).unwrap();
        }
        story.append(20);
        let durable = story.journal().durable();
        faults::fail(&[Step::Sync, Step::Create]);
        story.journal().sync().unwrap_err();
        assert_eq!(story.journal().durable(), durable);
        assert!(!status.accepting());
        story.try_append(5).unwrap_err();
        // Syncs still fail, but a new segment is durable from the start.
        faults::fail(&[Step::Sync]);
        story.sync();
        assert_eq!(files(&story.dir()).len(), 1 + usize::from(durable_before));
        follower.read_into(usize::MAX, &mut followed).unwrap();
        assert!(followed == story.records);
        faults::fail(&[]);
        story.append(5);
        story.sync();
        assert!(status.accepting());
        follower.read_into(usize::MAX, &mut followed).unwrap();
        assert!(followed == story.records);
        story.check();
        story.open();
        story.check();
    }
}

#[test]
fn whatever_fails_nothing_that_was_taken_is_lost() {
    for seed in 0..100 {
        faults::fail(&[]);
        let mut story = Story::new(seed, SMALL);
        let status = story.journal().status().clone();
        let mut follower = Reader::follow(&status, 0).unwrap();
        let (mut followed, mut failed) = (Vec::new(), 0);
        for _ in 0..200 {
            match story.rng.u8(..10) {
                0..5 => failed += u32::from(story.try_append(30).is_err()),
                5 | 6 => failed += u32::from(story.journal().sync().is_err()),
                7 => failed += u32::from(story.journal().probe().is_err()),
                8 => {
                    follower.read_into(usize::MAX, &mut followed).unwrap();
                    assert_eq!(followed.len() as u64, status.durable());
                    assert!(followed == story.records[..followed.len()], "seed {seed}");
                }
                _ => {
                    let steps = [Step::Create, Step::Write, Step::Sync, Step::Cut];
                    let rng = &mut story.rng;
                    let failing: Vec<_> = steps.into_iter().filter(|_| rng.u8(..3) == 0).collect();
                    faults::fail(&failing);
                }
            }
        }
        assert!(failed > 0);
        faults::fail(&[]);
        if seed % 2 == 0 {
            story.sync();
        }
        // As after a kill: everything durable is there, and nothing that was not taken.
        let durable = story.journal().durable();
        story.open();
        let end = story.journal().end();
        assert!((durable..=story.records.len() as u64).contains(&end), "seed {seed}");
        assert!(read_all(&story.dir(), 0) == story.records[..end as usize], "seed {seed}");
    }
}

#[test]
fn the_parts_of_a_folder_are_found() {
    let mut story = Story::new(13, SMALL);
    while files(&story.dir()).len() < 3 {
        story.append(20);
    }
    story.sync();
    let all = files(&story.dir());
    let found = segments(story.scratch.path()).unwrap();
    assert!(found.iter().map(|file| &file.path).eq(&all));
    assert_eq!(segments(&story.dir()).unwrap(), found);
    assert_eq!(segments(&all[1]).unwrap(), [one(&all[1])]);
    assert!(segments(&story.dir().join("missing")).is_err());

    let (mut next, mut records) = (0, Vec::new());
    for (file, path) in found.iter().zip(&all) {
        let survey = survey(file, |_, record| records.push(record.clone())).unwrap();
        assert_eq!((survey.first, survey.id), (next, story.journal().id()));
        assert_eq!((survey.bytes, survey.torn), (fs::metadata(path).unwrap().len(), None));
        assert!(survey.frames > 0 && survey.begun_at > Seconds(1_700_000_000));
        next = survey.end;
    }
    assert!(records == story.records);

    let (last, _) = story.last();
    let file = OpenOptions::new().append(true).open(&last).unwrap();
    std::io::Write::write_all(&mut &file, &[1; HEAD_BYTES + 3]).unwrap();
    let survey = survey(&one(&last), |_, _| {}).unwrap();
    assert_eq!((survey.end, survey.torn.unwrap().bytes), (next, HEAD_BYTES as u64 + 3));
}

/// A running journal in a directory of its own.
fn running(options: Options, thread: ThreadOptions) -> (Scratch, JournalThread) {
    let scratch = Scratch::new();
    let journal = open(&scratch, options).unwrap();
    (scratch, JournalThread::start(journal, thread).unwrap())
}

fn answered(batch: Batch) -> (Batch, mpsc::Receiver<Answer>) {
    let (answer, answers) = mpsc::channel();
    (batch.on_answer(move |said| answer.send(said).unwrap()), answers)
}

#[test]
fn every_batch_of_every_sender_is_answered_once_and_is_where_the_answer_says() {
    for sync_interval in [Duration::ZERO, Duration::from_millis(20)] {
        let options = ThreadOptions { sync_interval, batches_max: 8 };
        let (scratch, running) = running(SMALL, options);
        let senders: Vec<_> = (0..3)
            .map(|seed| {
                let sender = running.sender().clone();
                thread::spawn(move || {
                    let mut rng = Rng::with_seed(seed);
                    let mut sent = Vec::new();
                    for _ in 0..200 {
                        let mut buffer = sender.buffer();
                        assert!(buffer.is_empty());
                        let records = rng.usize(..30);
                        buffer.extend(random::several(&mut rng, records));
                        let records = buffer.clone();
                        let (mut batch, answers) = answered(Batch::new(buffer));
                        if rng.u8(..50) == 0 {
                            batch = batch.urgent();
                        }
                        sender.send(batch).unwrap();
                        sent.push((records, answers));
                    }
                    sent
                })
            })
            .collect();
        let sent: Vec<_> = senders.into_iter().flat_map(|s| s.join().unwrap()).collect();
        let journal = running.stop();
        assert_eq!(journal.durable(), journal.end());
        let read = read_all(&scratch.path().join(FOLDER), 0);
        let mut total = 0;
        for (records, answers) in sent {
            let said: Vec<_> = answers.iter().collect();
            let [Answer::Durable { first, records: count }] = said[..] else { panic!("{said:?}") };
            assert_eq!(count, records.len());
            assert!(read[first as usize..][..count] == records);
            total += count;
        }
        assert_eq!(read.len(), total);
    }
}

#[test]
fn a_barrier_is_answered_when_all_before_it_is_durable() {
    let long = ThreadOptions { sync_interval: Duration::from_secs(3600), batches_max: 8 };
    let (_scratch, running) = running(SMALL, long);
    let records = random::several(&mut Rng::with_seed(1), 10);
    let (batch, first) = answered(Batch::new(records));
    running.sender().try_send(batch).unwrap();
    let (barrier, second) = answered(Batch::new(Vec::new()).urgent());
    running.sender().try_send(barrier).unwrap();
    assert_eq!(second.recv().unwrap(), Answer::Durable { first: 10, records: 0 });
    assert_eq!(first.recv().unwrap(), Answer::Durable { first: 0, records: 10 });
    assert_eq!(running.status().durable(), 10);
}

#[test]
fn a_full_journal_gives_batches_back_and_takes_them_when_there_is_room() {
    let options = Options { bytes_max: 600_000, ..Options::default() };
    let quick = ThreadOptions { sync_interval: Duration::from_millis(5), batches_max: 8 };
    let (scratch, running) = running(options, quick);
    let (sender, status) = (running.sender().clone(), running.status().clone());
    let mut rng = Rng::with_seed(1);
    let mut taken = Vec::new();
    let refused = loop {
        let records = random::several(&mut rng, 100);
        let (batch, answers) = answered(Batch::new(records.clone()));
        sender.send(batch).unwrap();
        match answers.recv().unwrap() {
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
    assert!(!status.accepting());
    status.release(taken.len() as u64);
    // The thread finds out by itself that there is room.
    while !status.accepting() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(status.begin() > 0);
    let (batch, answers) = answered(Batch::new(refused.clone()));
    sender.send(batch).unwrap();
    let first = taken.len() as u64;
    assert_eq!(answers.recv().unwrap(), Answer::Durable { first, records: 100 });
    taken.extend(refused);
    let journal = running.stop();
    let begin = journal.begin();
    assert!(read_all(&scratch.path().join(FOLDER), begin) == taken[begin as usize..]);
}

#[test]
fn after_the_stop_everything_is_refused_with_its_records() {
    let (_scratch, running) = running(SMALL, ThreadOptions::default());
    let sender = running.sender().clone();
    let records = random::several(&mut Rng::with_seed(1), 10);
    assert_eq!(running.stop().end(), 0);
    let (batch, answers) = answered(Batch::new(records.clone()));
    drop(sender.send(batch).unwrap_err());
    let why = Refusal::Stopped;
    assert_eq!(answers.recv().unwrap(), Answer::Refused { records: records.clone(), why });
    let batch = sender.try_send(Batch::new(records.clone())).unwrap_err();
    assert_eq!(batch.into_records(), records);
}

/// Segments of format 1 are read, and what comes after them is in one that earlier programs tell from
/// damage.
#[test]
fn a_journal_of_the_format_before_goes_on_in_a_new_segment() {
    let old: &[u8] = include_bytes!("../../../tests/fuzz/seeds/journal/few");
    assert_eq!(old[8..12], 1_u32.to_le_bytes());
    let scratch = Scratch::new();
    let data = DataDir::open(scratch.path()).unwrap();
    let dir = scratch.path().join(FOLDER);
    fs::create_dir(&dir).unwrap();
    fs::write(Name(0).path(&dir), old).unwrap();
    let before = read_all(&dir, 0);
    assert!(!before.is_empty());

    let mut journal = Journal::open(&data, SMALL).unwrap();
    assert_eq!(journal.end(), before.len() as u64);
    let id = shard::private::GroupId(7);
    let group = Change::Group { id, name: "Elite".to_owned(), downloads_max: Some(3) };
    let records = [group.into(), Change::GroupRemoved { id }.into()];
    journal.append(&records).unwrap();
    journal.append(&records).unwrap();
    journal.sync().unwrap();
    assert_eq!(fs::read(Name(0).path(&dir)).unwrap(), old, "it is left as it is");
    let after = read_all(&dir, before.len() as u64);
    assert_eq!(after, [records.clone(), records].concat());
    assert_eq!(files(&dir).len(), 2);
}
