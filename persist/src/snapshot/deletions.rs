//! The payload of a frame of torrents that were removed, in the private mode.

use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::private::DeletionRecord;
use shard::{InfoHash, Seconds};

use super::format::{PAYLOAD_BYTES_MAX, archive_taken};

/// Removed torrents in one frame at most.
const DELETIONS_MAX: usize = 4096;
/// A frame is full when its reasons have so many bytes.
const TEXT_BYTES: usize = 128 * 1024;
/// Of a reason, so many bytes are kept; sites write a few words.
const REASON_BYTES_MAX: usize = 64 * 1024;

const _: () =
    assert!(DELETIONS_MAX * 28 + TEXT_BYTES + REASON_BYTES_MAX + 256 <= PAYLOAD_BYTES_MAX);

/// Removed torrents; all columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct Columns {
    info_hashes: Vec<[u8; 20]>,
    at: Vec<u32>,
    /// The bytes of each reason in `text`.
    lengths: Vec<u32>,
    text: String,
}

/// A frame being filled.
#[derive(Default, Debug)]
pub(super) struct Filling {
    columns: Columns,
}

impl Filling {
    pub(super) fn len(&self) -> usize {
        self.columns.at.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= DELETIONS_MAX || self.columns.text.len() >= TEXT_BYTES
    }

    /// Adds a removed torrent. The caller has made sure that the frame is not full.
    pub(super) fn push(&mut self, deletion: &DeletionRecord) {
        assert!(!self.is_full(), "a frame has DELETIONS_MAX removed torrents");
        let reason = &deletion.reason[..deletion.reason.floor_char_boundary(REASON_BYTES_MAX)];
        self.columns.info_hashes.push(deletion.info_hash.0);
        self.columns.at.push(deletion.at.0);
        self.columns.lengths.push(reason.len() as u32);
        self.columns.text.push_str(reason);
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(&mut self, buffer: AlignedVec) -> Result<AlignedVec, rancor::BoxedError> {
        archive_taken(&mut self.columns, buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct DeletionsView<'a> {
    columns: &'a ArchivedColumns,
}

impl<'a> DeletionsView<'a> {
    /// Validates an archive; the text says what is wrong with it.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        let deletions = columns.at.len();
        if deletions > DELETIONS_MAX {
            return Err("too many removed torrents".to_owned());
        }
        if [columns.info_hashes.len(), columns.lengths.len()] != [deletions; 2] {
            return Err("columns of removed torrents differ in length".to_owned());
        }
        let mut text = columns.text.as_str();
        for length in columns.lengths.iter() {
            match text.split_at_checked(length.to_native() as usize) {
                Some((_, rest)) => text = rest,
                None => return Err("a reason that goes beyond the text".to_owned()),
            }
        }
        match text.is_empty() {
            true => Ok(Self { columns }),
            false => Err("text of no reason".to_owned()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.at.len()
    }

    /// The removed torrents, in the order of the file.
    pub(super) fn deletions(self) -> impl Iterator<Item = DeletionRecord> + use<'a> {
        let columns = self.columns;
        let mut text = columns.text.as_str();
        let named = columns.info_hashes.iter().zip(columns.at.iter());
        named.zip(columns.lengths.iter()).map(move |((info_hash, at), length)| {
            let (reason, rest) = text.split_at(length.to_native() as usize);
            text = rest;
            let (info_hash, at) = (InfoHash(*info_hash), Seconds(at.to_native()));
            DeletionRecord { info_hash, reason: Arc::from(reason), at }
        })
    }
}
