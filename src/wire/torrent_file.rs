//! The part of a .torrent file that a tracker wants to know (BEP 3, BEP 52): its infohashes and its name.

use ring::digest;
use shard::InfoHash;

/// The names of a torrent. A hybrid has both infohashes, and a swarm by each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentFile {
    /// What people call it, in one line; what is no UTF-8 is replaced.
    pub name: Option<String>,
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
    #[error("it is not bencoded at byte {at}")]
    Malformed {
        /// The first byte that cannot be what it is.
        at: usize,
    },
    /// It ends within something.
    #[error("it ends early, at byte {at}; is the file complete?")]
    Short {
        /// How long it is.
        at: usize,
    },
    /// Lists and dictionaries are too deep in each other.
    #[error("it is deeper than {DEPTH_MAX} lists and dictionaries in each other, at byte {at}")]
    TooDeep {
        /// Where one too many begins.
        at: usize,
    },
    /// There is no info dictionary.
    #[error("it has no info dictionary")]
    NoInfo,
    /// There is one, of no known version.
    #[error("its info dictionary has neither pieces nor `meta version` 2")]
    Version,
}

/// Lists and dictionaries in each other at most. A file tree (BEP 52) is as deep as its paths.
const DEPTH_MAX: usize = 128;

impl TorrentFile {
    /// Reads a .torrent file. What comes behind its dictionary does not matter.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoTorrent> {
        let (mut info, mut file) = (None, Reader { bytes, at: 0 });
        file.entries(|key, reader| {
            let from = reader.at;
            let value = reader.value(key == b"info")?;
            if key == b"info" {
                info = Some((from, value));
            }
            Ok(())
        })?;
        let (at, info) =
            info.filter(|(_, info)| info.starts_with(b"d")).ok_or(NoTorrent::NoInfo)?;
        let (mut has_pieces, mut version, mut private) = (false, None, false);
        let (mut name, mut utf_8) = (None, None);
        Reader { bytes, at }.entries(|key, reader| {
            let value = reader.value(true)?;
            match key {
                b"pieces" => has_pieces = value.first().is_some_and(u8::is_ascii_digit),
                b"meta version" => version = Some(value),
                b"private" => private = value == b"i1e",
                b"name" => name = text(value),
                // Of programs that write `name` in another encoding.
                b"name.utf-8" => utf_8 = text(value),
                _ => {}
            }
            Ok(())
        })?;
        let first_20 = |algorithm| {
            let hash = digest::digest(algorithm, info);
            InfoHash(*hash.as_ref().first_chunk().expect("either hash has 20 bytes or more"))
        };
        let v1 = has_pieces.then(|| first_20(&digest::SHA1_FOR_LEGACY_USE_ONLY));
        let v2 = (version == Some(b"i2e")).then(|| first_20(&digest::SHA256));
        match (v1, v2) {
            (None, None) => Err(NoTorrent::Version),
            _ => Ok(Self { name: utf_8.or(name), v1, v2, private }),
        }
    }

    /// The name of the swarm that most clients are in.
    pub fn info_hash(&self) -> InfoHash {
        self.v1.or(self.v2).expect("a torrent has one of the two")
    }
}

/// What a string says, in one line; `None` for another value and where nothing is left.
fn text(value: &[u8]) -> Option<String> {
    let start =
        value.iter().position(|byte| *byte == b':').filter(|_| value[0].is_ascii_digit())?;
    let text = String::from_utf8_lossy(&value[start + 1..]);
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

/// Reads bencoding from a place on.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn peek(&self) -> Result<u8, NoTorrent> {
        self.bytes.get(self.at).copied().ok_or(NoTorrent::Short { at: self.bytes.len() })
    }

    fn malformed(&self) -> NoTorrent {
        match self.peek() {
            Ok(_) => NoTorrent::Malformed { at: self.at },
            Err(short) => short,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoTorrent> {
        if self.peek()? != byte {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// Shows the keys of a dictionary; `read` takes the value behind each.
    fn entries(
        &mut self,
        mut read: impl FnMut(&'b [u8], &mut Self) -> Result<(), NoTorrent>,
    ) -> Result<(), NoTorrent> {
        self.expect(b'd')?;
        while self.peek()? != b'e' {
            let key = self.string()?;
            read(key, self)?;
        }
        self.at += 1;
        Ok(())
    }

    /// Moves behind bytes that are all of this kind; which they were.
    fn run(&mut self, is_one: impl Fn(&u8) -> bool) -> &'b [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !is_one(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn string(&mut self) -> Result<&'b [u8], NoTorrent> {
        let from = self.at;
        let digits = self.run(u8::is_ascii_digit);
        if digits.is_empty() {
            return Err(self.malformed());
        }
        self.expect(b':')?;
        let length = str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
        let length = length.ok_or(NoTorrent::Malformed { at: from })?;
        let rest = &self.bytes[self.at..];
        let string = rest.get(..length).ok_or(NoTorrent::Short { at: self.bytes.len() })?;
        self.at += length;
        Ok(string)
    }

    /// A number. Programs write all kinds of them (`i1.5e`, `i-0e`, `i007e`, `i+1e`) beside what the torrent is
    /// named after.
    fn number(&mut self, strict: bool) -> Result<(), NoTorrent> {
        self.expect(b'i')?;
        if strict {
            self.at += usize::from(self.peek()? == b'-');
            if self.run(u8::is_ascii_digit).is_empty() {
                return Err(self.malformed());
            }
        } else {
            self.run(|byte| byte.is_ascii_digit() || b"+-. ".contains(byte));
        }
        self.expect(b'e')
    }

    /// Moves behind a value; the value.
    fn value(&mut self, strict: bool) -> Result<&'b [u8], NoTorrent> {
        let (from, mut depth) = (self.at, 0);
        loop {
            match self.peek()? {
                b'i' => self.number(strict)?,
                b'l' | b'd' if depth == DEPTH_MAX => {
                    return Err(NoTorrent::TooDeep { at: self.at });
                }
                b'l' | b'd' => (depth, self.at) = (depth + 1, self.at + 1),
                b'e' if depth > 0 => (depth, self.at) = (depth - 1, self.at + 1),
                _ => _ = self.string()?,
            }
            if depth == 0 {
                return Ok(&self.bytes[from..self.at]);
            }
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
        assert_eq!(torrent.name.as_deref(), Some("a"));
        for (said, name) in [
            ("4:name3:a\nb", Some("ab")),
            ("4:name1:\n", None),
            ("4:namei1e", None),
            ("4:name1:a10:name.utf-82:é", Some("é")),
            ("4:name3:1:a", Some("1:a")),
        ] {
            let torrent = TorrentFile::parse(V1.replace("4:name1:a", said).as_bytes()).unwrap();
            assert_eq!(torrent.name.as_deref(), name, "{said}");
        }

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
        use NoTorrent::{Malformed, Short, TooDeep};
        for (bytes, why) in [
            ("", Short { at: 0 }),
            ("<html>", Malformed { at: 0 }),
            ("d4:info", Short { at: 7 }),
            ("d4:infoi1e", Short { at: 10 }),
            ("d99999999999999999999:a", Malformed { at: 1 }),
            ("d18446744073709551615:a", Short { at: 23 }),
            ("d1:axe", Malformed { at: 4 }),
            ("d1:ai1xee", Malformed { at: 6 }),
            ("d4:infod1:ai1.5eee", Malformed { at: 13 }),
            ("d4:infod1:aiee", Malformed { at: 12 }),
            ("d1:ai1ee", NoTorrent::NoInfo),
            ("d4:infoi1ee", NoTorrent::NoInfo),
            ("d4:infodee", NoTorrent::Version),
        ] {
            assert_eq!(TorrentFile::parse(bytes.as_bytes()), Err(why), "{bytes}");
        }
        for end in 0..V1.len() - 1 {
            let early = TorrentFile::parse(&V1.as_bytes()[..end]);
            assert_eq!(early, Err(Short { at: end }));
        }
        let deep = |levels: usize| {
            let levels = format!("{}{}", "l".repeat(levels), "e".repeat(levels));
            TorrentFile::parse(V1.replace("d8:announce3:url", &format!("d1:a{levels}")).as_bytes())
        };
        assert!(deep(100).is_ok() && deep(DEPTH_MAX).is_ok());
        assert_eq!(deep(DEPTH_MAX + 1), Err(TooDeep { at: 4 + DEPTH_MAX }));
    }

    #[test]
    fn numbers_of_any_form_do_no_harm_beside_the_info_dictionary() {
        let plain = TorrentFile::parse(V1.as_bytes()).unwrap();
        for number in
            ["1.5", "-0", "007", "+1", "-1.25", "", "99999999999999999999999", " 1", "1-2"]
        {
            let odd =
                V1.replace("d8:announce", &format!("d1:ai{number}e1:bli{number}ee8:announce"));
            assert_eq!(TorrentFile::parse(odd.as_bytes()).as_ref(), Ok(&plain), "{number}");
        }
    }

    #[test]
    fn a_file_of_a_hundred_megabytes_is_read() {
        let (pieces, behind) = (100_000_000, "7:privatei1eee");
        let mut file = format!("d4:infod4:name1:a6:pieces{pieces}:").into_bytes();
        file.resize(file.len() + pieces, b'x');
        file.extend_from_slice(behind.as_bytes());
        assert!(TorrentFile::parse(&file).unwrap().private);
    }
}
