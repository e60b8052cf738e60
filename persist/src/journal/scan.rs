//! Reads one segment frame by frame, and believes nothing unchecked.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::format::{
    Damage, FORMAT, FORMAT_OLDEST, HEAD_BYTES, HEADER_BYTES, Head, Header, PAYLOAD_BYTES_MAX,
};
use super::names::Name;

/// A segment being read. Memory: a quarter of a megabyte, or the largest frame.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    file: File,
    /// Where the next frame begins.
    offset: u64,
    /// The sequence number of its first record.
    sequence: u64,
    /// Both, of the frame behind the last whole batch.
    whole: (u64, u64),
    /// Bytes of the file.
    buffer: Vec<u8>,
    /// The part of them from `offset` on.
    rest: Range<usize>,
}

/// A frame whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Where it begins.
    pub(super) offset: u64,
    /// The sequence number of its first record.
    pub(super) first: u64,
    pub(super) records: u32,
    pub(super) payload: &'a [u8],
}

/// The bytes behind the last whole batch of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// Where it begins.
    pub offset: u64,
    /// How much it is.
    pub bytes: u64,
    /// Why it is no whole batch.
    pub damage: Damage,
}

/// Why a segment was not read on.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file failed; its bytes may be fine.
    Io(io::Error),
    /// What comes next is no whole frame. Reading stays where it is.
    Damage(Damage),
}

impl Scan {
    /// Opens a segment and checks its header, its format and, where the file has the name of a
    /// segment, that they agree.
    pub(super) fn open(path: PathBuf) -> Result<Self, JournalError> {
        let read = |source| JournalError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(read)?;
        let mut bytes = [0; HEADER_BYTES];
        let damage = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some(Damage::Truncated { offset: 0, what: "header" })
            }
            Err(error) => return Err(read(error)),
        };
        let name = Name::of(&path);
        let sequence = name.map_or(0, |Name(first)| first);
        let damaged = |damage| JournalError::Damaged { path: path.clone(), sequence, damage };
        let header = match damage {
            Some(damage) => return Err(damaged(damage)),
            None => Header::parse(&bytes).map_err(damaged)?,
        };
        if !(FORMAT_OLDEST..=FORMAT).contains(&header.format) {
            return Err(JournalError::Format {
                path,
                found: header.format,
                version: header.version(),
            });
        }
        if let Some(Name(expected)) = name.filter(|&Name(first)| first != header.first) {
            return Err(damaged(Damage::Name { found: header.first, expected }));
        }
        Ok(Self {
            path,
            header,
            file,
            offset: HEADER_BYTES as u64,
            sequence: header.first,
            whole: (HEADER_BYTES as u64, header.first),
            buffer: vec![0; CHUNK_BYTES],
            rest: 0..0,
        })
    }

    /// The next frame; `None` where the file ends after a batch.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        let offset = self.offset;
        let truncated = |what| Fault::Damage(Damage::Truncated { offset, what });
        match self.fill(HEAD_BYTES)? {
            0 if offset == self.whole.0 => return Ok(None),
            0 => return Err(truncated("batch")),
            _ => {}
        }
        let bytes = self.buffer[self.rest.clone()].first_chunk();
        let bytes: [u8; HEAD_BYTES] = *bytes.ok_or_else(|| truncated("head of the frame"))?;
        let head = Head::parse(&bytes, offset)?;
        let frame_bytes = HEAD_BYTES + head.payload_bytes;
        if self.fill(frame_bytes)? < frame_bytes {
            return Err(truncated("frame"));
        }
        let payload = self.rest.start + HEAD_BYTES..self.rest.start + frame_bytes;
        let payload = &self.buffer[payload];
        if !self.header.holds(&head, &bytes, offset, payload) {
            return Err(Damage::Checksum { offset }.into());
        }
        if head.first != self.sequence {
            let (found, expected) = (head.first, self.sequence);
            return Err(Damage::Sequence { offset, found, expected }.into());
        }
        self.rest.start += frame_bytes;
        self.offset += frame_bytes as u64;
        self.sequence += u64::from(head.records);
        if !head.more {
            self.whole = (self.offset, self.sequence);
        }
        Ok(Some(Frame { offset, first: head.first, records: head.records, payload }))
    }

    /// The place behind the last whole batch: the byte, and the sequence number of the next record.
    pub(super) fn place(&self) -> (u64, u64) {
        self.whole
    }

    /// Where the next frame begins, and the sequence number of its first record.
    pub(super) fn next_place(&self) -> (u64, u64) {
        (self.offset, self.sequence)
    }

    /// After [`Scan::next_frame`] failed: what is behind the last whole frame, when it may be what a
    /// crash left. An error when the file cannot be read, or has lost what was durable.
    pub(super) fn torn(&self, fault: Fault) -> Result<Torn, JournalError> {
        let (offset, sequence) = self.whole;
        let of = |fault: Fault| fault.of(&self.path, sequence);
        let damage = match fault {
            Fault::Damage(damage) => damage,
            fault @ Fault::Io(_) => return Err(of(fault)),
        };
        if let Some(later) = self.durable_after().map_err(|error| of(error.into()))? {
            return Err(of(Damage::Lost { offset, later }.into()));
        }
        let bytes = self.file_bytes().map_err(|error| of(error.into()))?.saturating_sub(offset);
        Ok(Torn { offset, bytes, damage })
    }

    /// The payload of the frame that came last.
    pub(super) fn payload(&self, bytes: usize) -> &[u8] {
        &self.buffer[self.rest.start - bytes..self.rest.start]
    }

    /// The file is to be read again from here on: what was read of it may have changed.
    pub(super) fn forget(&mut self) {
        self.rest = 0..0;
    }

    /// The size of the file now.
    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// After a frame that does not hold: is there a whole one behind it that was written when the
    /// bytes here were durable? Its offset.
    ///
    /// Looks at every byte, as the length of the damaged frame cannot be believed. A checksum is only
    /// computed where the numbers before it make sense, so this is quick.
    fn durable_after(&self) -> io::Result<Option<u64>> {
        let mut rest = Vec::new();
        let mut reader = FileFrom { file: &self.file, offset: self.offset };
        io::Read::read_to_end(&mut io::Read::take(&mut reader, SEARCH_BYTES_MAX), &mut rest)?;
        for (at, bytes) in rest.windows(HEAD_BYTES).enumerate().skip(1) {
            let bytes = bytes.first_chunk().expect("windows are as long as heads");
            let offset = self.offset + at as u64;
            let Ok(head) = Head::parse(bytes, offset) else { continue };
            let synced = u64::from(head.synced);
            // Each record between here and there takes a byte at least.
            let sequences = self.sequence..=self.sequence.saturating_add(at as u64);
            if !sequences.contains(&head.first) || synced <= self.whole.0 || synced > offset {
                continue;
            }
            let payload = &rest[at + HEAD_BYTES..];
            let Some(payload) = payload.get(..head.payload_bytes) else { continue };
            if self.header.holds(&head, bytes, offset, payload) {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// Reads ahead until there are `need` bytes at `offset`; how many there are.
    fn fill(&mut self, need: usize) -> io::Result<usize> {
        if self.rest.len() < need {
            self.buffer.copy_within(self.rest.clone(), 0);
            self.rest = 0..self.rest.len();
            self.buffer.resize(need.max(CHUNK_BYTES), 0);
            while self.rest.len() < need {
                let at = self.offset + self.rest.len() as u64;
                match self.file.read_at(&mut self.buffer[self.rest.end..], at) {
                    Ok(0) => break,
                    Ok(read) => self.rest.end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.rest.len())
    }
}

/// As much as is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How far is searched behind damage: more than a segment has, and little enough for the memory.
const SEARCH_BYTES_MAX: u64 = 256 << 20;

const _: () = assert!(CHUNK_BYTES < HEAD_BYTES + PAYLOAD_BYTES_MAX, "large frames grow the buffer");

/// A file from an offset on.
struct FileFrom<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for FileFrom<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Fault {
    /// The error that names the file and the record from which on it is of no use.
    pub(super) fn of(self, path: &Path, sequence: u64) -> JournalError {
        let path = path.to_owned();
        match self {
            Fault::Io(source) => JournalError::Read { path, source },
            Fault::Damage(damage) => JournalError::Damaged { path, sequence, damage },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Fault::Damage(damage)
    }
}
