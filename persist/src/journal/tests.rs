mod damage;
mod failures;
mod records;
mod rest;
mod writer;

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

const SMALL: Options = Options {
    segment_bytes: 4096,
    bytes_max: 1 << 30,
    keep: Duration::ZERO,
    keep_bytes: 0,
    begin_at: 0,
};

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

    /// Checks that the files hold what was appended.
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
