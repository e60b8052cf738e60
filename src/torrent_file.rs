//! What a tracker wants to know of a .torrent file (BEP 3, BEP 52): its infohashes.

use ring::digest;
use shard::InfoHash;

/// The names of a torrent. A hybrid has both, and a swarm by each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TorrentFile {
    /// SHA-1 of the info dictionary, where it has pieces (BEP 3).
    pub v1: Option<InfoHash>,
    /// The first 20 bytes of its SHA-256, where it is of version 2 (BEP 52).
    pub v2: Option<InfoHash>,
    /// Its clients are to ask trackers only (BEP 27).
    pub private: bool,
}

/// Why something is no .torrent file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoTorrent {
    /// It is not bencoded (BEP 3).
    #[error("it is not a bencoded dictionary")]
    Malformed,
    /// There is no info dictionary.
    #[error("it has no info dictionary")]
    NoInfo,
    /// There is one, of no known version.
    #[error("its info dictionary has neither pieces nor `meta version` 2")]
    Version,
}

/// Lists and dictionaries in each other at most.
const DEPTH_MAX: usize = 64;

impl TorrentFile {
    /// Reads a .torrent file. What comes behind its dictionary does not matter.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoTorrent> {
        let mut info = None;
        entries(bytes, |key, value| {
            if key == b"info" {
                info = Some(value);
            }
        })
        .ok_or(NoTorrent::Malformed)?;
        let info = info.ok_or(NoTorrent::NoInfo)?;
        let (mut has_pieces, mut version, mut private) = (false, None, false);
        entries(info, |key, value| match key {
            b"pieces" => has_pieces = value.first().is_some_and(u8::is_ascii_digit),
            b"meta version" => version = Some(value),
            b"private" => private = value == b"i1e",
            _ => {}
        })
        .ok_or(NoTorrent::NoInfo)?;
        let first_20 = |algorithm| {
            let hash = digest::digest(algorithm, info);
            InfoHash(*hash.as_ref().first_chunk().expect("either hash has 20 bytes or more"))
        };
        let v1 = has_pieces.then(|| first_20(&digest::SHA1_FOR_LEGACY_USE_ONLY));
        let v2 = (version == Some(b"i2e")).then(|| first_20(&digest::SHA256));
        match (v1, v2) {
            (None, None) => Err(NoTorrent::Version),
            _ => Ok(Self { v1, v2, private }),
        }
    }

    /// The name of the swarm that most clients are in.
    pub fn info_hash(&self) -> InfoHash {
        self.v1.or(self.v2).expect("a torrent has one of the two")
    }
}

/// Shows the keys and values of the dictionary that `bytes` begin with; `None` when it is none.
fn entries<'b>(bytes: &'b [u8], mut show: impl FnMut(&'b [u8], &'b [u8])) -> Option<()> {
    let mut rest = bytes.strip_prefix(b"d")?;
    loop {
        if rest.first()? == &b'e' {
            return Some(());
        }
        let (key, behind) = string(rest)?;
        let length = value(behind)?;
        show(key, &behind[..length]);
        rest = &behind[length..];
    }
}

/// A byte string, and what comes behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length: usize = str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let behind = bytes[digits..].strip_prefix(b":")?;
    behind.split_at_checked(length)
}

/// How long the value is that `bytes` begin with.
fn value(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut rest) = (0, bytes);
    loop {
        match rest.first()? {
            b'i' => {
                let digits = rest[1..].strip_prefix(b"-").unwrap_or(&rest[1..]);
                let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest = digits[count..].strip_prefix(b"e").filter(|_| count > 0)?;
            }
            b'l' | b'd' if depth == DEPTH_MAX => return None,
            b'l' | b'd' => {
                depth += 1;
                rest = &rest[1..];
            }
            b'e' if depth > 0 => {
                depth -= 1;
                rest = &rest[1..];
            }
            _ => rest = string(rest)?.1,
        }
        if depth == 0 {
            return Some(bytes.len() - rest.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::text::hex;

    const V1: &str = "d8:announce3:url4:infod6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:\
        aaaaaaaaaaaaaaaaaaaa7:privatei1eee";

    #[test]
    fn a_torrent_has_the_name_that_its_version_gives() {
        // printf of the info dictionary through sha1sum.
        let torrent = TorrentFile::parse(V1.as_bytes()).unwrap();
        assert_eq!(hex(&torrent.info_hash()), "f20a07274d49a7e7a68bd5aed8e1eb220a300d08");
        assert!(torrent.private && torrent.v2.is_none());

        let v2 = "d4:infod9:file treede12:meta versioni2e4:name1:aee";
        let torrent = TorrentFile::parse(v2.as_bytes()).unwrap();
        assert_eq!((torrent.v1, torrent.private), (None, false));
        assert_eq!(hex(&torrent.info_hash()), "379a40bf2b8b1f6db574e00723db21cf1f3b3da7");

        let hybrid = V1.replace("4:name1:a", "12:meta versioni2e4:name1:a");
        let torrent = TorrentFile::parse(hybrid.as_bytes()).unwrap();
        assert!(torrent.v2.is_some() && torrent.v1 == Some(torrent.info_hash()));
    }

    #[test]
    fn what_is_no_torrent_is_explained() {
        for (bytes, why) in [
            ("", NoTorrent::Malformed),
            ("<html>", NoTorrent::Malformed),
            ("d4:info", NoTorrent::Malformed),
            ("d4:infoi1e", NoTorrent::Malformed),
            ("d99999999999999999999:a", NoTorrent::Malformed),
            ("d18446744073709551615:a", NoTorrent::Malformed),
            ("d1:ai1ee", NoTorrent::NoInfo),
            ("d4:infoi1ee", NoTorrent::NoInfo),
            ("d4:infodee", NoTorrent::Version),
        ] {
            assert_eq!(TorrentFile::parse(bytes.as_bytes()), Err(why), "{bytes}");
        }
        let deep = format!("d4:info{}{}e", "l".repeat(1000), "e".repeat(1000));
        assert_eq!(TorrentFile::parse(deep.as_bytes()), Err(NoTorrent::Malformed));
        for end in 0..V1.len() - 1 {
            assert!(TorrentFile::parse(&V1.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
