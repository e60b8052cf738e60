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
    /// Up to which record the segment can be believed. From there on its bytes were not durable when
    /// the folder was looked at, so they may have been written anew since; or they belong to the next
    /// segment, whatever is here. A segment that has come since begins no earlier.
    below: u64,
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

    /// The same, where records that are lost for good ([`cut_by`]) are passed over: with how many these are.
    pub fn open_behind(dir: impl Into<PathBuf>, from: u64) -> Result<(Self, u64), JournalError> {
        let (dir, mut at) = (dir.into(), from);
        loop {
            match Self::open(dir.clone(), at) {
                Ok(reader) => return Ok((reader, at - from)),
                Err(error) => match cut_by(&dir, &error) {
                    Some((_, to)) if to > at => at = to,
                    _ => return Err(error),
                },
            }
        }
    }

    /// As [`Reader::read_into`], and goes on behind records that are lost for good. Returns how many these are;
    /// those that were appended to `out` come before them.
    pub fn read_on(
        &mut self,
        records_max: usize,
        out: &mut Vec<Record>,
    ) -> Result<u64, JournalError> {
        let error = match self.read_into(records_max, out) {
            Ok(_) => return Ok(0),
            Err(error) => error,
        };
        let at = self.position;
        let Some((_, to)) = cut_by(&self.dir, &error).filter(|(_, to)| *to > at) else {
            return Err(error);
        };
        let (mut behind, lost) = Self::open_behind(self.dir.clone(), to)?;
        behind.status = self.status.clone();
        *self = behind;
        Ok(to + lost - at)
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
            below: 0,
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
        let durable = self.status.as_ref().map_or(u64::MAX, |status| status.durable());
        if self.position >= durable {
            return Ok(false);
        }
        if self.position >= self.below || self.scan.is_none() {
            self.find(durable)?;
        }
        let Some(scan) = &mut self.scan else { return self.end(0) };
        loop {
            let damage = match scan.next_frame() {
                Ok(Some(frame)) if frame.first + u64::from(frame.records) <= self.position => {
                    continue;
                }
                Ok(Some(frame)) => {
                    self.offset = frame.offset;
                    self.payload_bytes = frame.payload.len();
                    self.left_bytes = self.payload_bytes;
                    self.left_records = frame.records;
                    let first = frame.first;
                    return self.skip(first).map(|()| true);
                }
                Ok(None) => None,
                Err(Fault::Damage(damage)) => Some(damage),
                Err(Fault::Io(source)) => {
                    let path = scan.path.clone();
                    self.scan = None;
                    return Err(JournalError::Read { path, source });
                }
            };
            return self.nothing_more(damage);
        }
    }

    /// Looks for the segment that has the next record, or would have it; there may be none at all.
    fn find(&mut self, durable: u64) -> Result<(), JournalError> {
        let names = list(&self.dir)?;
        let behind = names.partition_point(|name| name.0 <= self.position);
        let Some(name) = behind.checked_sub(1).map(|at| names[at]) else {
            self.scan = None;
            let gone = |begin: &Name| JournalError::Gone { from: self.position, begin: begin.0 };
            return names.first().map_or(Ok(()), |begin| Err(gone(begin)));
        };
        self.below = names.get(behind).map_or(durable, |next| next.0.min(durable));
        match &mut self.scan {
            // One that has durable records, or is read for itself, is never replaced.
            Some(scan) if scan.header.first == name.0 => scan.forget(),
            scan => *scan = Some(Scan::open(name.path(&self.dir))?),
        }
        Ok(())
    }

    /// Passes over the records between `first`, where a frame begins, and the one that is wanted.
    fn skip(&mut self, first: u64) -> Result<(), JournalError> {
        let wanted = std::mem::replace(&mut self.position, first);
        while self.position < wanted {
            if let Err(error) = self.decode() {
                (self.position, self.left_records, self.scan) = (wanted, 0, None);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The segment that should have the next record goes no further.
    fn nothing_more(&mut self, damage: Option<Damage>) -> Result<bool, JournalError> {
        // Whatever comes next, the folder is looked at first.
        self.below = 0;
        let scan = self.scan.as_mut().expect("it was read");
        scan.forget();
        let ((offset, sequence), path) = (scan.next_place(), scan.path.clone());
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

/// Which records of the journal in `dir` are lost, when this is the error that reading came to: from the first,
/// and up to the one with which it goes on behind them. `None` for an error that may pass, and where nothing
/// comes behind.
pub fn cut_by(dir: &Path, error: &JournalError) -> Option<(u64, u64)> {
    match error {
        JournalError::Missing { from, to, .. } => Some((*from, *to)),
        JournalError::Damaged { path, sequence, .. } => {
            let damaged = Name::of(path)?;
            let next = Name::list(dir).ok()?.into_iter().find(|name| *name > damaged)?;
            Some((*sequence, next.0.max(*sequence)))
        }
        _ => None,
    }
}

fn list(dir: &Path) -> Result<Vec<Name>, JournalError> {
    Name::list(dir).map_err(|source| JournalError::Read { path: dir.to_owned(), source })
}
