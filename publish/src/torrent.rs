//! Torrents as values: what is in a folder, its pieces, and the `.torrent` file that says so.

mod author;
mod content;
mod error;
mod hash;
mod identity;
mod metainfo;
mod names;
mod parse;
mod sha1;

pub use author::{Options, piece_length_for};
pub use content::{Content, FOLDERS_MAX, Found, SKIPPED_MAX, Skipped, WalkError};
pub use error::TorrentError;
pub use hash::{HashError, Pieces, Progress};
pub use identity::Identity;
pub use metainfo::{File, Metainfo};
pub use names::Aside;
pub(crate) use names::PARTIAL_ENDS;
pub use parse::{FILES_MAX, PART_BYTES_MAX, PATH_BYTES_MAX, TORRENT_BYTES_MAX, TRACKERS_MAX};

/// The largest piece length in bytes that is taken: 256 MiB.
pub const PIECE_LENGTH_MAX: u32 = 1 << 28;
