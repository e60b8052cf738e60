//! A .torrent file is read without a panic; what is taken keeps below its folder, has the pieces that its files need,
//! and is the same part of the file for its infohash.

#![no_main]

use std::collections::BTreeSet;
use std::path::Component;

use libfuzzer_sys::fuzz_target;
use torrent::Metainfo;

// The reader alone: the package it is of is built with an engine, which takes minutes.
#[path = "../../../publish/src/bencode.rs"]
#[allow(dead_code, unreachable_pub, reason = "the rest of the package uses it")]
mod bencode;
#[path = "../../../publish/src/torrent"]
#[allow(dead_code, unreachable_pub, reason = "the rest of the package uses it")]
mod torrent {
    mod error;
    mod metainfo;
    mod parse;

    pub use error::TorrentError;
    pub use metainfo::{File, Metainfo};

    pub const PIECE_LENGTH_MAX: u32 = 1 << 28;
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(torrent) = Metainfo::parse(bytes.to_vec().into()) else { return };
    assert_eq!(torrent.bytes, bytes);
    assert!(bytes.windows(torrent.info.len()).any(|window| window == torrent.info));
    assert!(torrent.total() > 0);
    assert_eq!(
        u64::from(torrent.pieces_count()),
        torrent.total().div_ceil(torrent.piece_length.into())
    );
    assert_eq!(torrent.pieces.len() % 20, 0);
    let mut paths = BTreeSet::new();
    for file in &torrent.files {
        let mut parts = file.path.components();
        assert_eq!(parts.next(), Some(Component::Normal(torrent.name.as_ref())));
        assert_eq!(parts.clone().next().is_none(), torrent.is_single);
        assert!(parts.all(|part| matches!(part, Component::Normal(_))));
        assert!(paths.insert(&file.path));
    }
    for path in &paths {
        assert!(path.ancestors().skip(1).all(|folder| !paths.contains(&folder.to_path_buf())));
    }
    // What comes behind the file makes it another.
    assert!(Metainfo::parse([bytes, b"\n"].concat().into()).is_err());
});
