//! Torrents as values: what is in a folder, its pieces, and the `.torrent` file that says so.

mod author;
mod bencode;
mod content;
mod error;
mod hash;
mod identity;
mod metainfo;
mod parse;

pub use author::{Options, piece_length_for};
pub use content::{Content, Found};
pub use error::TorrentError;
pub use hash::Pieces;
pub use identity::Identity;
pub use metainfo::{File, Metainfo};
pub use parse::{FILES_MAX, PART_BYTES_MAX, PATH_BYTES_MAX, TORRENT_BYTES_MAX, TRACKERS_MAX};

/// The largest piece length in bytes that is taken: 256 MiB.
pub const PIECE_LENGTH_MAX: u32 = 1 << 28;
