//! Why something is no torrent that is taken here.

use crate::bencode;

/// Why a `.torrent` file is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TorrentError {
    /// It is longer than is read.
    #[error("it has {bytes} bytes, more than {max}")]
    Large {
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        max: usize,
    },
    /// It is not bencoded, or not as it has to be.
    #[error(transparent)]
    Bencode(#[from] bencode::Error),
    /// Something is missing.
    #[error("it has no {key}")]
    Missing {
        /// Its key.
        key: &'static str,
    },
    /// It is of version 2 (BEP 52), alone or beside version 1.
    #[error(
        "it is {kind} (BEP 52); only torrents of version 1 are taken, make one without version 2"
    )]
    Version {
        /// What it is.
        kind: &'static str,
    },
    /// It has both `length` and `files`.
    #[error("it has both `length` and `files`")]
    SingleAndMany,
    /// Its piece length is out of bounds.
    #[error("its piece length is {piece_length}, not from 1 to {max}")]
    PieceLength {
        /// What it says.
        piece_length: u64,
        /// The largest that is taken.
        max: u32,
    },
    /// It has another number of pieces than its files need.
    #[error("its pieces are {found} bytes, where its files need {wanted} of 20 bytes each")]
    PieceCount {
        /// Bytes of `pieces`.
        found: usize,
        /// Pieces that its files are.
        wanted: u64,
    },
    /// Its files are empty, or it has none.
    #[error("its files hold not one byte")]
    Empty,
    /// Its files together are larger than anything.
    #[error("its files hold more than 2^63 - 1 bytes")]
    Total,
    /// It has too many files.
    #[error("it has more than {max} files")]
    Files {
        /// Files that are taken.
        max: usize,
    },
    /// It has too many announce URLs.
    #[error("it has more than {max} announce URLs")]
    Trackers {
        /// Announce URLs that are taken.
        max: usize,
    },
    /// A name or path is none that may be written to.
    #[error("the path {path:?} {why}")]
    Path {
        /// The path, or its beginning.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file is filled with zeros so that another begins with a piece (BEP 47).
    #[error("it has padding files (BEP 47); make it without them")]
    Padding,
    /// A file is a symbolic link (BEP 47).
    #[error("it has symbolic links (BEP 47); make it of plain files")]
    Symlink,
}
