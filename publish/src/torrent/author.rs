//! Writing a `.torrent` file.

use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;

use super::{Content, Metainfo, PIECE_LENGTH_MAX, Pieces, TorrentError};
use crate::bencode::{write_number, write_string};

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
            write_string(&mut out, b"announce");
            write_string(&mut out, first.as_bytes());
        }
        if urls > 1 {
            write_string(&mut out, b"announce-list");
            out.push(b'l');
            for tier in options.tiers.iter().filter(|tier| !tier.is_empty()) {
                strings(&mut out, tier);
            }
            out.push(b'e');
        }
        if let Some(comment) = &options.comment {
            write_string(&mut out, b"comment");
            write_string(&mut out, comment.as_bytes());
        }
        write_string(&mut out, b"created by");
        write_string(&mut out, concat!("margay ", env!("CARGO_PKG_VERSION")).as_bytes());
        if let Some(created) = options.created {
            write_string(&mut out, b"creation date");
            write_number(&mut out, created);
        }
        write_string(&mut out, b"info");
        info(&mut out, content, pieces, options);
        if !options.web_seeds.is_empty() {
            write_string(&mut out, b"url-list");
            strings(&mut out, &options.web_seeds);
        }
        out.push(b'e');
        Self::parse(Bytes::from(out))
    }
}

fn info(out: &mut Vec<u8>, content: &Content, pieces: &Pieces, options: &Options) {
    out.push(b'd');
    if content.is_single {
        write_string(out, b"length");
        write_number(out, content.total());
    } else {
        write_string(out, b"files");
        out.push(b'l');
        for file in &content.files {
            out.push(b'd');
            write_string(out, b"length");
            write_number(out, file.identity.size);
            write_string(out, b"path");
            out.push(b'l');
            for part in &file.path {
                write_string(out, part.as_bytes());
            }
            out.extend_from_slice(b"ee");
        }
        out.push(b'e');
    }
    write_string(out, b"name");
    write_string(out, content.name.as_bytes());
    write_string(out, b"piece length");
    write_number(out, pieces.piece_length.into());
    write_string(out, b"pieces");
    write_string(out, &pieces.hashes);
    if options.private {
        write_string(out, b"private");
        write_number(out, 1);
    }
    if let Some(source) = &options.source {
        write_string(out, b"source");
        write_string(out, source.as_bytes());
    }
    out.push(b'e');
}

fn strings(out: &mut Vec<u8>, strings: &[String]) {
    out.push(b'l');
    for item in strings {
        write_string(out, item.as_bytes());
    }
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use shard::InfoHash;

    use super::*;
    use crate::torrent::{Found, Identity};

    fn content(is_single: bool, files: &[(&str, u64)]) -> Content {
        let found = |(path, size): &(&str, u64)| Found {
            path: PathBuf::from(path),
            identity: Identity { device: 1, inode: 1, size: *size, modified: 0, changed: 0 },
        };
        let files = files.iter().map(found).collect();
        Content {
            root: "/watched/x".into(),
            name: "x".to_owned(),
            is_single,
            files,
            skipped: Vec::new(),
        }
    }

    fn pieces(count: usize) -> Pieces {
        Pieces { piece_length: 4, hashes: vec![b'a'; 20 * count].into() }
    }

    fn check(content: &Content, options: &Options, expected: &str) -> InfoHash {
        let count = content.total().div_ceil(4) as usize;
        let torrent = Metainfo::author(content, &pieces(count), options).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let text = String::from_utf8_lossy(&torrent.bytes)
            .replace(&format!("{}:margay {version}", 7 + version.len()), "M");
        assert_eq!(text, expected);
        assert_eq!(Metainfo::parse(torrent.bytes.clone()), Ok(torrent.clone()));
        torrent.info_hash
    }

    #[test]
    fn what_is_written_is_canonical() {
        let info = "4:infod6:lengthi8e4:name1:x12:piece lengthi4e6:pieces40:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaee";
        let plain = check(
            &content(true, &[("", 8)]),
            &Options::default(),
            &format!("d10:created byM{info}"),
        );
        let more = Options {
            tiers: vec![vec!["a".into()], vec![], vec!["b".into(), "c".into()]],
            comment: Some("hello".into()),
            created: Some(7),
            web_seeds: vec!["http://h/x".into()],
            ..Options::default()
        };
        let expected = format!(
            "d8:announce1:a13:announce-listll1:ael1:b1:cee7:comment5:hello10:created byM13:creation datei7e{}8:url-listl10:http://h/xee",
            &info[..info.len() - 1]
        );
        assert_eq!(check(&content(true, &[("", 8)]), &more, &expected), plain);
        let private = Options { private: true, source: Some("s".into()), ..Options::default() };
        let expected =
            format!("d10:created byM{}7:privatei1e6:source1:see", &info[..info.len() - 2]);
        assert_ne!(check(&content(true, &[("", 8)]), &private, &expected), plain);
        let files = "d10:created byM4:infod5:filesld6:lengthi0e4:pathl1:aeed6:lengthi3e4:pathl1:b1:ceee4:name1:x\
            12:piece lengthi4e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
        check(&content(false, &[("a", 0), ("b/c", 3)]), &Options::default(), files);
    }

    #[test]
    fn what_nobody_could_read_is_not_written() {
        let empty = Metainfo::author(&content(true, &[("", 0)]), &pieces(0), &Options::default());
        assert_eq!(empty, Err(TorrentError::Empty));
        let other = Metainfo::author(&content(true, &[("", 9)]), &pieces(2), &Options::default());
        assert_eq!(other, Err(TorrentError::PieceCount { found: 40, wanted: 3 }));
    }

    #[test]
    fn pieces_are_from_1000_to_2000_where_their_length_can_be_chosen() {
        for (total, expected) in [
            (1, 256 << 10),
            (2000 * (256 << 10), 256 << 10),
            (2000 * (256 << 10) + 1, 512 << 10),
            (1 << 30, 1 << 20),
            (2000 * (8 << 20) + 1, 16 << 20),
            (u64::MAX, 16 << 20),
        ] {
            assert_eq!(piece_length_for(total), expected, "{total}");
        }
        let mut total: u64 = 1000 * (256 << 10);
        while total <= 2000 * (16 << 20) {
            let count = total.div_ceil(piece_length_for(total).into());
            assert!((1000..=2000).contains(&count), "{total}: {count}");
            total += total / 7;
        }
    }
}
