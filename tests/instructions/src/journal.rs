//! Facts and departures as records of the journal: their bytes alone, and appended in batches and synced,
//! with all that this process does for it. What the disk does is not counted.

use fastrand::Rng;
use persist::DataDir;
use persist::journal::{Journal, Options, Record};
use shard::Seconds;
use tempfile::TempDir;

use crate::{Walk, counted, ledger};

/// Batches of a walk, and records of a batch: what some milliseconds bring at 12,000 a second.
const BATCHES: usize = 200;
const RECORDS: usize = 64;

/// Batches from one sync to the next.
const SYNC_BATCHES: usize = 50;

struct Append {
    journal: Journal,
    random: Rng,
    _data: DataDir,
    _folder: TempDir,
}

pub(crate) fn append() -> Box<dyn Walk> {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let journal = Journal::open(&data, Options::default()).unwrap();
    Box::new(Append { journal, random: Rng::with_seed(1), _data: data, _folder: folder })
}

impl Walk for Append {
    fn walk(&mut self) -> usize {
        let Self { journal, random, .. } = self;
        let records = records(random);
        let end = journal.end();
        counted(&mut || {
            for (number, batch) in records.chunks(RECORDS).enumerate() {
                journal.append(batch).unwrap();
                if number % SYNC_BATCHES == 0 {
                    journal.sync().unwrap();
                }
            }
        });
        assert_eq!(journal.end(), end + records.len() as u64);
        records.len()
    }
}

struct Encode {
    random: Rng,
    out: Vec<u8>,
}

pub(crate) fn encode() -> Box<dyn Walk> {
    Box::new(Encode { random: Rng::with_seed(1), out: Vec::new() })
}

impl Walk for Encode {
    fn walk(&mut self) -> usize {
        let Self { random, out } = self;
        let records = records(random);
        counted(&mut || {
            for batch in records.chunks(RECORDS) {
                out.clear();
                batch.iter().for_each(|record| record.encode(out));
            }
        });
        assert!(out.len() > RECORDS * 50);
        records.len()
    }
}

/// Those of a walk.
fn records(random: &mut Rng) -> Vec<Record> {
    (0..BATCHES * RECORDS).map(|_| ledger::record(random, Seconds(1_800_000_000))).collect()
}
