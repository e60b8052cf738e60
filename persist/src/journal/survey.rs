//! Looks at a journal from outside: which segments there are, and whether each is whole.

use std::fs;
use std::path::{Path, PathBuf};

use shard::Seconds;

use super::bytes::Bytes;
use super::format::Damage;
use super::names::{FOLDER, Name};
use super::scan::{Fault, Scan, Torn};
use super::{JournalError, Record};

/// One segment, read to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    /// The file.
    pub path: PathBuf,
    /// The program version that wrote it.
    pub version: String,
    /// Which journal it belongs to.
    pub id: u64,
    /// When it was begun.
    pub begun_at: Seconds,
    /// The sequence number of its first record.
    pub first: u64,
    /// The sequence number behind its last record.
    pub end: u64,
    /// Frames.
    pub frames: u64,
    /// Bytes of the header and of whole frames.
    pub bytes: u64,
    /// What is behind them; of the last segment of a journal, the next start cuts it off.
    pub torn: Option<Torn>,
}

/// The segments that a path means, oldest first: itself, those in it, or those of the data directory
/// that it is.
pub fn segments(path: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let read = |source| JournalError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let inner = path.join(FOLDER);
    let dir = if inner.is_dir() { &*inner } else { path };
    let names = Name::list(dir).map_err(read)?;
    Ok(names.into_iter().map(|name| name.path(dir)).collect())
}

/// Reads a segment to its end, hands each record over with its sequence number, and says what there
/// is. What a crash may have left at the end is no error; damage before is.
pub fn survey(file: &Path, mut each: impl FnMut(u64, &Record)) -> Result<Survey, JournalError> {
    let mut scan = Scan::open(file.to_owned())?;
    let mut frames = 0;
    let torn = loop {
        match scan.next_frame() {
            Ok(Some(frame)) => {
                frames += 1;
                let (mut sequence, offset) = (frame.first, frame.offset);
                let mut bytes = Bytes(frame.payload);
                let mut all = || {
                    for _ in 0..frame.records {
                        each(sequence, &Record::decode(&mut bytes)?);
                        sequence += 1;
                    }
                    if bytes.0.is_empty() { Ok(()) } else { Err("bytes are left over") }
                };
                if let Err(what) = all() {
                    let damage = Damage::Content { offset, what };
                    return Err(Fault::Damage(damage).of(file, sequence));
                }
            }
            Ok(None) => break None,
            Err(fault) => break Some(scan.torn(fault)?),
        }
    };
    let (bytes, end) = scan.place();
    let header = scan.header;
    let begun_at = u32::try_from(header.begun_at / 1_000_000_000).unwrap_or(u32::MAX);
    Ok(Survey {
        path: file.to_owned(),
        version: header.version(),
        id: header.id,
        begun_at: Seconds(begun_at),
        first: header.first,
        end,
        frames,
        bytes,
        torn,
    })
}
