//! Looks at a journal from outside: which segments there are, and whether each is whole.

use std::fs;
use std::path::{Path, PathBuf};

use shard::Seconds;

use super::bytes::Bytes;
use super::format::Damage;
use super::names::{FOLDER, Name};
use super::scan::{Fault, Frame, Scan, Torn};
use super::{JournalError, Record};

/// A segment to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentFile {
    /// The file.
    pub path: PathBuf,
    /// The sequence number that the next segment begins with, where this one ends, whatever is behind
    /// it. The largest number for the last.
    pub below: u64,
}

/// A segment, read to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: u32,
    /// The program version that wrote it.
    pub version: String,
    /// Which journal it belongs to.
    pub id: u64,
    /// The life of the journal that it was written in; see [`super::Life::id`].
    pub life: u64,
    /// When it was begun.
    pub begun_at: Seconds,
    /// The sequence number of its first record.
    pub first: u64,
    /// The sequence number behind its last record.
    pub end: u64,
    /// Frames.
    pub frames: u64,
    /// Bytes of the header and of whole batches.
    pub bytes: u64,
    /// The bytes behind them; of the last segment of a journal, the next start cuts them off.
    pub torn: Option<Torn>,
}

/// The segments that a path means, oldest first: itself, those in it, or those of the data directory
/// that it is.
pub fn segments(path: &Path) -> Result<Vec<SegmentFile>, JournalError> {
    let read = |source| JournalError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![SegmentFile { path: path.to_owned(), below: u64::MAX }]);
    }
    let inner = path.join(FOLDER);
    let dir = if inner.is_dir() { &*inner } else { path };
    let names = Name::list(dir).map_err(read)?;
    let ends = names.iter().skip(1).map(|next| next.0).chain([u64::MAX]);
    Ok(names
        .iter()
        .zip(ends)
        .map(|(name, below)| SegmentFile { path: name.path(dir), below })
        .collect())
}

/// Reads a segment to its end, hands each record over with its sequence number, and says what there
/// is. What a crash may have left at the end is no error; damage before is.
pub fn survey(
    file: &SegmentFile,
    mut each: impl FnMut(u64, &Record),
) -> Result<Survey, JournalError> {
    let SegmentFile { path, below } = file;
    let mut scan = Scan::open(path.clone())?;
    let mut frames = 0;
    let torn = loop {
        if scan.place().1 >= *below {
            break None;
        }
        match scan.next_frame() {
            Ok(Some(frame)) => {
                frames += 1;
                read_frame(frame, path, &mut each)?;
            }
            Ok(None) => break None,
            Err(fault) => break Some(scan.torn(fault)?),
        }
    };
    let (bytes, end) = scan.place();
    let header = scan.header;
    let begun_at = u32::try_from(header.begun_at / 1_000_000_000).unwrap_or(u32::MAX);
    Ok(Survey {
        path: path.clone(),
        format: header.format,
        version: header.version(),
        id: header.id,
        life: header.life,
        begun_at: Seconds(begun_at),
        first: header.first,
        end,
        frames,
        bytes,
        torn,
    })
}

fn read_frame(
    frame: Frame<'_>,
    path: &Path,
    each: &mut impl FnMut(u64, &Record),
) -> Result<(), JournalError> {
    let Frame { offset, first, records, payload } = frame;
    let damaged =
        |what, sequence| Fault::Damage(Damage::Content { offset, what }).of(path, sequence);
    let mut bytes = Bytes(payload);
    let behind = first + u64::from(records);
    for sequence in first..behind {
        let record = Record::decode(&mut bytes).map_err(|what| damaged(what, sequence))?;
        each(sequence, &record);
    }
    if bytes.0.is_empty() { Ok(()) } else { Err(damaged("bytes are left over", behind)) }
}
