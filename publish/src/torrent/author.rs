//! Writing a `.torrent` file.

use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;

use super::bencode::{number, string};
use super::{Content, Metainfo, PIECE_LENGTH_MAX, Pieces, TorrentError};

/// What a torrent says beside its content.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Options {
    /// Announce URLs, tier by tier (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// Peers are to be asked of its trackers only (BEP 27). A part of what the infohash is of.
    pub private: bool,
    /// The site it is for, so that it has an infohash of its own there. A part of what the infohash is of.
    pub source: Option<String>,
    /// What a user is told.
    pub comment: Option<String>,
    /// Where its content is over HTTP (BEP 19), percent-encoded: of a file its own URL; of a folder that of what is
    /// above it, with a `/` at its end, as clients append the name and the path.
    pub web_seeds: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<u64>,
}

/// The piece length for so many bytes: the least power of two that makes at most 2,000 pieces of them, from 256 KiB to
/// 16 MiB.
///
/// Small pieces make a long `.torrent` file, large ones make a peer wait before it can give anything on.
pub fn piece_length_for(total: u64) -> u32 {
    const LEAST: u32 = 256 * 1024;
    const MOST: u32 = 16 * 1024 * 1024;
    const PIECES: u64 = 2000;
    let mut piece_length = LEAST;
    while piece_length < MOST && total.div_ceil(u64::from(piece_length)) > PIECES {
        piece_length *= 2;
    }
    piece_length
}

const _: () = assert!(16 * 1024 * 1024 <= PIECE_LENGTH_MAX);

impl Metainfo {
    /// Writes a torrent of `content`, canonically bencoded.
    ///
    /// Its infohash comes of the content, its name and order of files, the piece length, `private` and `source` alone.
    /// What is written has been read back, so whoever reads it as this crate does takes it too.
    pub fn author(
        content: &Content,
        pieces: &Pieces,
        options: &Options,
    ) -> Result<Self, TorrentError> {
        let mut out = Vec::with_capacity(1024 + pieces.hashes.len() + 64 * content.files.len());
        let urls: usize = options.tiers.iter().map(Vec::len).sum();
        out.push(b'd');
        if let Some(first) = options.tiers.iter().flatten().next() {
            string(&mut out, b"announce");
            string(&mut out, first.as_bytes());
        }
        if urls > 1 {
            string(&mut out, b"announce-list");
            out.push(b'l');
            for tier in options.tiers.iter().filter(|tier| !tier.is_empty()) {
                strings(&mut out, tier);
            }
            out.push(b'e');
        }
        if let Some(comment) = &options.comment {
            string(&mut out, b"comment");
            string(&mut out, comment.as_bytes());
        }
        string(&mut out, b"created by");
        string(&mut out, concat!("margay ", env!("CARGO_PKG_VERSION")).as_bytes());
        if let Some(created) = options.created {
            string(&mut out, b"creation date");
            number(&mut out, created);
        }
        string(&mut out, b"info");
        info(&mut out, content, pieces, options);
        if !options.web_seeds.is_empty() {
            string(&mut out, b"url-list");
            strings(&mut out, &options.web_seeds);
        }
        out.push(b'e');
        Self::parse(Bytes::from(out))
    }
}

fn info(out: &mut Vec<u8>, content: &Content, pieces: &Pieces, options: &Options) {
    out.push(b'd');
    if content.is_single {
        string(out, b"length");
        number(out, content.total());
    } else {
        string(out, b"files");
        out.push(b'l');
        for file in &content.files {
            out.push(b'd');
            string(out, b"length");
            number(out, file.identity.size);
            string(out, b"path");
            out.push(b'l');
            for part in &file.path {
                string(out, part.as_bytes());
            }
            out.extend_from_slice(b"ee");
        }
        out.push(b'e');
    }
    string(out, b"name");
    string(out, content.name.as_bytes());
    string(out, b"piece length");
    number(out, pieces.piece_length.into());
    string(out, b"pieces");
    string(out, &pieces.hashes);
    if options.private {
        string(out, b"private");
        number(out, 1);
    }
    if let Some(source) = &options.source {
        string(out, b"source");
        string(out, source.as_bytes());
    }
    out.push(b'e');
}

fn strings(out: &mut Vec<u8>, strings: &[String]) {
    out.push(b'l');
    for item in strings {
        string(out, item.as_bytes());
    }
    out.push(b'e');
}
