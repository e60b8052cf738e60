//! A `.torrent` file as values (BEP 3).

use std::path::PathBuf;

use bytes::Bytes;
use shard::InfoHash;

/// A torrent of version 1: what is in it and how it is cut into pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metainfo {
    /// The whole `.torrent` file.
    pub bytes: Bytes,
    /// The info dictionary in it, as it was written.
    pub info: Bytes,
    /// SHA-1 of `info`.
    pub info_hash: InfoHash,
    /// Its `name`: that of the file, or of the folder of the files.
    pub name: String,
    /// Bytes in a piece but the last; at least 1.
    pub piece_length: u32,
    /// SHA-1 of each piece, 20 bytes each.
    pub pieces: Bytes,
    /// Its files in the order of their bytes, empty ones included; at least one.
    pub files: Vec<File>,
    /// It has one file and no folder around it: `length` instead of `files`.
    pub is_single: bool,
    /// Peers are to be asked of its trackers only (BEP 27).
    pub private: bool,
    /// Announce URLs, tier by tier (BEP 12).
    pub tiers: Vec<Vec<String>>,
}

/// A file of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its path below the folder that holds the torrent's content: `name`, or `name/…`. It is relative, without `..`,
    /// without an empty part, and stays below that folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub length: u64,
}

impl Metainfo {
    /// The size of the content in bytes.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// The number of pieces.
    pub fn pieces_count(&self) -> u32 {
        (self.pieces.len() / 20) as u32
    }
}
