//! Gives the records of a journal back, in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::Bytes;
use super::format::Damage;
use super::names::Name;
use super::scan::{Fault, Scan};
use super::{JournalError, Record, Status};

/// Streams records from a sequence number on. Blocks on the disk.
///
/// After an error it stays where it is, and reading can be tried again. Memory: a quarter of a
/// megabyte, or the largest frame.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// Only what is durable is given out; without, whatever is in the files.
    status: Option<Arc<Status>>,
    /// The record that comes next.
    position: u64,
    /// The segment it is expected in; `None` when that has to be looked for.
    scan: Option<Scan>,
    /// Up to which record the segment's bytes were durable when they were read. Behind it they may have
    /// been written anew.
    read_below: u64,
    /// Of the frame that was read last: its size, the bytes that are left of it, its place.
    payload_bytes: usize,
    left_bytes: usize,
    left_records: u32,
    offset: u64,
}

impl Reader {
    /// Reads what is in the segments of a folder, `DATA/journal`: of one that nobody writes, or as far
    /// as it happens to be written.
    pub fn open(dir: impl Into<PathBuf>, from: u64) -> Result<Self, JournalError> {
        Self::new(dir.into(), None, from)
    }

    /// Follows a journal that is being written: gives out all that is durable, and nothing else.
    pub fn follow(status: &Arc<Status>, from: u64) -> Result<Self, JournalError> {
        Self::new(status.dir().to_owned(), Some(status.clone()), from)
    }

    /// The next record and its sequence number; `None` at the end, for now.
    pub fn read(&mut self) -> Result<Option<(u64, Record)>, JournalError> {
        if self.left_records == 0 && !self.next_frame()? {
            return Ok(None);
        }
        let sequence = self.position;
        Ok(Some((sequence, self.decode()?)))
    }

    /// Appends up to `records_max` records to `out`, and returns the sequence number of the first.
    /// None were appended at the end, for now. Those before an error are there.
    pub fn read_into(
        &mut self,
        records_max: usize,
        out: &mut Vec<Record>,
    ) -> Result<u64, JournalError> {
        let first = self.position;
        for _ in 0..records_max {
            match self.read()? {
                Some((_, record)) => out.push(record),
                None => break,
            }
        }
        Ok(first)
    }

    /// The sequence number of the record that comes next.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn new(dir: PathBuf, status: Option<Arc<Status>>, from: u64) -> Result<Self, JournalError> {
        let mut reader = Self {
            dir,
            status,
            position: from,
            scan: None,
            read_below: 0,
            payload_bytes: 0,
            left_bytes: 0,
            left_records: 0,
            offset: 0,
        };
        match &reader.status {
            Some(status) if status.durable() < from => {
                return Err(JournalError::Ahead { from, end: status.durable() });
            }
            Some(status) if status.begin() > from => {
                return Err(JournalError::Gone { from, begin: status.begin() });
            }
            _ => reader.next_frame()?,
        };
        Ok(reader)
    }

    /// Goes to the frame with the next record; false when there is none for now.
    fn next_frame(&mut self) -> Result<bool, JournalError> {
        let below = self.status.as_ref().map_or(u64::MAX, |status| status.durable());
        if self.position >= below {
            return Ok(false);
        }
        if let Some(scan) = self.scan.as_mut().filter(|_| self.read_below <= self.position) {
            scan.forget();
        }
        if self.read_below <= self.position {
            self.read_below = below;
        }
        // A segment that is just opened is not opened once more.
        let mut fresh = false;
        loop {
            let Some(scan) = &mut self.scan else {
                let Some(name) = self.name()? else { return self.end(0) };
                self.scan = Some(Scan::open(name.path(&self.dir))?);
                fresh = true;
                continue;
            };
            match scan.next_frame() {
                Ok(Some(frame)) => {
                    let behind = frame.first + u64::from(frame.records);
                    if behind <= self.position {
                        continue;
                    }
                    let (wanted, first) = (self.position, frame.first);
                    self.offset = frame.offset;
                    self.payload_bytes = frame.payload.len();
                    self.left_bytes = self.payload_bytes;
                    self.left_records = frame.records;
                    return self.skip(first, wanted).map(|()| true);
                }
                Err(Fault::Io(source)) => {
                    let path = scan.path.clone();
                    scan.forget();
                    return Err(JournalError::Read { path, source });
                }
                Ok(None) if fresh => return self.after(None),
                Err(Fault::Damage(damage)) if fresh => return self.after(Some(damage)),
                Ok(None) | Err(Fault::Damage(_)) => {
                    scan.forget();
                    // The next segment, or this one again: what was durable may have been written into
                    // a new file of the same name.
                    let first = scan.header.first;
                    let name = self.name()?;
                    if self.status.is_some() || name.is_some_and(|name| name.0 != first) {
                        self.scan = None;
                    } else {
                        fresh = true;
                    }
                }
            }
        }
    }

    /// Passes over the records from `first`, where a frame begins, to the one that is wanted.
    fn skip(&mut self, first: u64, wanted: u64) -> Result<(), JournalError> {
        self.position = first;
        while self.position < wanted {
            if let Err(error) = self.decode() {
                (self.position, self.left_records, self.scan) = (wanted, 0, None);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The segment that should have the next record goes no further.
    fn after(&mut self, damage: Option<Damage>) -> Result<bool, JournalError> {
        let scan = self.scan.as_mut().expect("it was read");
        scan.forget();
        let ((offset, sequence), path) = (scan.place(), scan.path.clone());
        let next = list(&self.dir)?.into_iter().find(|name| name.0 > self.position);
        match (damage, next) {
            (None, Some(Name(to))) => {
                Err(JournalError::Missing { dir: self.dir.clone(), from: sequence, to })
            }
            (None | Some(Damage::Truncated { .. }), None) if self.status.is_none() => {
                self.end(sequence)
            }
            (damage, _) => {
                self.scan = None;
                let early = Damage::Truncated { offset, what: "frame" };
                Err(Fault::Damage(damage.unwrap_or(early)).of(&path, sequence))
            }
        }
    }

    /// Nothing is behind record `end`, as far as the files go.
    fn end(&self, end: u64) -> Result<bool, JournalError> {
        match self.position {
            from if from > end => Err(JournalError::Ahead { from, end }),
            _ => Ok(false),
        }
    }

    /// The segment that has the next record, or would have it; `None` without any segments.
    fn name(&self) -> Result<Option<Name>, JournalError> {
        let names = list(&self.dir)?;
        match (names.iter().rev().find(|name| name.0 <= self.position), names.first()) {
            (Some(&name), _) => Ok(Some(name)),
            (None, Some(begin)) => Err(JournalError::Gone { from: self.position, begin: begin.0 }),
            (None, None) => Ok(None),
        }
    }

    /// Takes a record from the frame.
    fn decode(&mut self) -> Result<Record, JournalError> {
        let scan = self.scan.as_ref().expect("a frame was read from it");
        let payload = scan.payload(self.payload_bytes);
        let mut bytes = Bytes(&payload[self.payload_bytes - self.left_bytes..]);
        let record = Record::decode(&mut bytes).and_then(|record| match self.left_records {
            1 if !bytes.0.is_empty() => Err("bytes are left over"),
            _ => Ok(record),
        });
        match record {
            Ok(record) => {
                self.left_bytes = bytes.0.len();
                self.left_records -= 1;
                self.position += 1;
                Ok(record)
            }
            Err(what) => {
                let damage = Damage::Content { offset: self.offset, what };
                Err(Fault::Damage(damage).of(&scan.path, self.position))
            }
        }
    }
}

fn list(dir: &Path) -> Result<Vec<Name>, JournalError> {
    Name::list(dir).map_err(|source| JournalError::Read { path: dir.to_owned(), source })
}
