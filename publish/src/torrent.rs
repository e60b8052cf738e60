//! Torrents as values: what is in a folder, its pieces, and the `.torrent` file that says so.

mod identity;
mod metainfo;

pub use identity::Identity;
pub use metainfo::{File, Metainfo};
