//! What is in a folder or file that is to become a torrent.

use std::path::PathBuf;

use super::Identity;

/// What a file or a folder holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Where it is: the file, or the folder.
    pub root: PathBuf,
    /// Its name in the torrent.
    pub name: String,
    /// It is one file, and not a folder.
    pub is_single: bool,
    /// Its files in the order of their bytes in the torrent: that of their paths, compared part by part as bytes.
    pub files: Vec<Found>,
}

/// A file of a content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its path below the folder; empty where the content is this file.
    pub path: PathBuf,
    /// Which file it was.
    pub identity: Identity,
}

impl Content {
    /// Its size in bytes.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.identity.size).sum()
    }
}
