//! Reading a `.torrent` file that somebody else may have written.

use std::path::PathBuf;

use bytes::Bytes;
use ring::digest;
use shard::InfoHash;

use super::{File, Metainfo, PIECE_LENGTH_MAX, TorrentError};
use crate::bencode::Reader;

/// The longest `.torrent` file in bytes.
pub const TORRENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Files of a torrent at most.
pub const FILES_MAX: usize = 1_000_000;

/// Announce URLs of a torrent at most, over all its tiers.
pub const TRACKERS_MAX: usize = 1024;

/// Bytes of a name at most (NAME_MAX of Linux).
pub const PART_BYTES_MAX: usize = 255;

/// Bytes of a path at most: PATH_MAX of Linux (4,096), less what stands before it.
pub const PATH_BYTES_MAX: usize = 3 * 1024;

impl Metainfo {
    /// Reads a torrent of version 1.
    ///
    /// Its bytes may be anybody's: each is looked at a fixed number of times, nothing is believed of a length, and
    /// the paths that come out stay below the folder they are put in. A value of an unknown key is only skipped. A
    /// key is taken once in a dictionary, in any order; numbers and lengths in their canonical form alone.
    pub fn parse(bytes: Bytes) -> Result<Self, TorrentError> {
        if bytes.len() > TORRENT_BYTES_MAX {
            return Err(TorrentError::Large { bytes: bytes.len(), max: TORRENT_BYTES_MAX });
        }
        let mut outer = Outer::default();
        let mut reader = Reader::strict(&bytes);
        reader.dictionary("a .torrent file", |key, reader| outer.entry(key, reader))?;
        reader.end()?;
        let (at, info) = outer.info.ok_or(TorrentError::Missing { key: "`info`" })?;
        let slice = bytes.slice(at.clone());
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &slice);
        let info_hash = InfoHash(*hash.as_ref().first_chunk().expect("SHA-1 has 20 bytes"));
        let checked = info.check()?;
        let pieces = bytes.slice_ref(checked.pieces);
        let (name, piece_length, files) =
            (checked.name.to_owned(), checked.piece_length, checked.files);
        let (is_single, private) = (checked.is_single, checked.private);
        let tiers = if outer.tiers.is_empty() {
            outer.announce.map(|url| vec![vec![url]]).unwrap_or_default()
        } else {
            outer.tiers
        };
        Ok(Self {
            info: slice,
            info_hash,
            name,
            piece_length,
            pieces,
            files,
            is_single,
            private,
            tiers,
            bytes,
        })
    }
}

/// What is read of the outer dictionary.
#[derive(Default)]
struct Outer<'b> {
    announce: Option<String>,
    tiers: Vec<Vec<String>>,
    info: Option<(std::ops::Range<usize>, Info<'b>)>,
}

impl<'b> Outer<'b> {
    fn entry(&mut self, key: &'b [u8], reader: &mut Reader<'b>) -> Result<(), TorrentError> {
        match key {
            b"announce" => {
                let url = reader.text("`announce`")?;
                self.announce = Some(url.to_owned()).filter(|url| !url.is_empty());
            }
            b"announce-list" => self.tiers = tiers(reader)?,
            b"info" => {
                let (from, mut info) = (reader.at(), Info::default());
                reader.dictionary("`info`", |key, reader| info.entry(key, reader))?;
                self.info = Some((from..reader.at(), info));
            }
            _ => reader.skip()?,
        }
        Ok(())
    }
}

fn tiers(reader: &mut Reader<'_>) -> Result<Vec<Vec<String>>, TorrentError> {
    let (mut tiers, mut count) = (Vec::new(), 0);
    reader.list::<TorrentError>("`announce-list`", |reader| {
        let mut tier = Vec::new();
        reader.list("a tier of `announce-list`", |reader| {
            let url = reader.text("a URL of `announce-list`")?;
            count += 1;
            if count > TRACKERS_MAX {
                return Err(TorrentError::Trackers { max: TRACKERS_MAX });
            }
            tier.extend(Some(url.to_owned()).filter(|url| !url.is_empty()));
            Ok(())
        })?;
        if !tier.is_empty() {
            tiers.push(tier);
        }
        Ok(())
    })?;
    Ok(tiers)
}

/// What is read of the info dictionary, in the order that it comes.
#[derive(Default)]
struct Info<'b> {
    name: Option<&'b str>,
    name_utf8: Option<&'b str>,
    piece_length: Option<u64>,
    pieces: Option<&'b [u8]>,
    length: Option<u64>,
    files: Option<Vec<Listed>>,
    private: bool,
    is_v2: bool,
    /// A file that is none. Hybrids have padding, so that is looked at after their version.
    unusual: Option<TorrentError>,
}

/// A file as it is listed: its path below the folder, parts divided by `/`.
struct Listed {
    path: String,
    length: u64,
}

impl<'b> Info<'b> {
    fn entry(&mut self, key: &'b [u8], reader: &mut Reader<'b>) -> Result<(), TorrentError> {
        match key {
            b"name" => self.name = Some(reader.text("`name`")?),
            b"name.utf-8" => self.name_utf8 = Some(reader.text("`name.utf-8`")?),
            b"piece length" => self.piece_length = Some(reader.number("`piece length`")?),
            b"pieces" => self.pieces = Some(reader.string("`pieces`")?),
            b"length" => self.length = Some(reader.number("`length`")?),
            b"files" => {
                let mut files = Files::default();
                files.read(reader)?;
                (self.files, self.unusual) =
                    (Some(files.listed), self.unusual.take().or(files.unusual));
            }
            b"private" => self.private = reader.number("`private`")? != 0,
            b"meta version" => self.is_v2 |= reader.number("`meta version`")? != 1,
            b"file tree" => {
                self.is_v2 = true;
                reader.skip()?;
            }
            b"attr" => self.unusual = attributes(reader)?.or(self.unusual.take()),
            b"symlink path" => {
                self.unusual = Some(TorrentError::Symlink);
                reader.skip()?;
            }
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn check(self) -> Result<Checked<'b>, TorrentError> {
        if self.is_v2 {
            let kind =
                if self.pieces.is_some() { "a hybrid of versions 1 and 2" } else { "of version 2" };
            return Err(TorrentError::Version { kind });
        }
        if let Some(unusual) = self.unusual {
            return Err(unusual);
        }
        let name = self.name.ok_or(TorrentError::Missing { key: "`name`" })?;
        if self.name_utf8.is_some_and(|other| other != name) {
            return Err(path_error(name, "is another in `name.utf-8`"));
        }
        check_part("", name)?;
        let piece_length =
            self.piece_length.ok_or(TorrentError::Missing { key: "`piece length`" })?;
        let piece_length = match u32::try_from(piece_length) {
            Ok(fits @ 1..=PIECE_LENGTH_MAX) => fits,
            _ => return Err(TorrentError::PieceLength { piece_length, max: PIECE_LENGTH_MAX }),
        };
        let is_single = self.length.is_some();
        let listed = match (self.length, self.files) {
            (Some(length), None) => vec![Listed { path: String::new(), length }],
            (None, Some(files)) => files,
            (Some(_), Some(_)) => return Err(TorrentError::SingleAndMany),
            (None, None) => return Err(TorrentError::Missing { key: "`length` and no `files`" }),
        };
        let mut total = 0_u64;
        for file in &listed {
            total = total
                .checked_add(file.length)
                .filter(|sum| i64::try_from(*sum).is_ok())
                .ok_or(TorrentError::Total)?;
        }
        if total == 0 {
            return Err(TorrentError::Empty);
        }
        let pieces = self.pieces.ok_or(TorrentError::Missing { key: "`pieces`" })?;
        let wanted = total.div_ceil(u64::from(piece_length));
        if wanted.checked_mul(20) != Some(pieces.len() as u64) {
            return Err(TorrentError::PieceCount { found: pieces.len(), wanted });
        }
        check_tree(&listed)?;
        let whole =
            |file: Listed| File { path: PathBuf::from(name).join(file.path), length: file.length };
        let files = if is_single {
            vec![File { path: PathBuf::from(name), length: total }]
        } else {
            listed.into_iter().map(whole).collect()
        };
        if let Some(file) = files.iter().find(|file| file.path.as_os_str().len() > PATH_BYTES_MAX) {
            return Err(path_error(&file.path.to_string_lossy(), "is longer than 3,072 bytes"));
        }
        Ok(Checked { name, piece_length, pieces, files, is_single, private: self.private })
    }
}

/// An info dictionary of which everything is right.
struct Checked<'b> {
    name: &'b str,
    piece_length: u32,
    pieces: &'b [u8],
    files: Vec<File>,
    is_single: bool,
    private: bool,
}

/// The files of a folder as they are read.
#[derive(Default)]
struct Files {
    listed: Vec<Listed>,
    unusual: Option<TorrentError>,
}

impl Files {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), TorrentError> {
        reader.list("`files`", |reader| {
            if self.listed.len() == FILES_MAX {
                return Err(TorrentError::Files { max: FILES_MAX });
            }
            let file = self.file(reader)?;
            self.listed.push(file);
            Ok(())
        })
    }

    fn file(&mut self, reader: &mut Reader<'_>) -> Result<Listed, TorrentError> {
        let (mut length, mut path, mut path_utf8) = (None, None, None);
        reader.dictionary::<TorrentError>("a file of `files`", |key, reader| {
            match key {
                b"length" => length = Some(reader.number("`length` of a file")?),
                b"path" => path = Some(parts(reader)?),
                b"path.utf-8" => path_utf8 = Some(parts(reader)?),
                b"attr" => self.unusual = attributes(reader)?.or(self.unusual.take()),
                b"symlink path" => {
                    self.unusual = Some(TorrentError::Symlink);
                    reader.skip()?;
                }
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        let path: String = path.ok_or(TorrentError::Missing { key: "`path` of a file" })?;
        // Clients take one or the other: they have to say the same.
        if path_utf8.is_some_and(|other| other != path) {
            return Err(path_error(&path, "is another in `path.utf-8`"));
        }
        Ok(Listed {
            path,
            length: length.ok_or(TorrentError::Missing { key: "`length` of a file" })?,
        })
    }
}

/// The parts of a path, each fit to be a name, with `/` between them.
fn parts(reader: &mut Reader<'_>) -> Result<String, TorrentError> {
    let mut path = String::new();
    reader.list("`path`", |reader| {
        let part = reader.text("a part of `path`")?;
        if !path.is_empty() {
            path.push('/');
        }
        check_part(&path, part)?;
        path.push_str(part);
        if path.len() > PATH_BYTES_MAX {
            return Err(path_error(&path, "is longer than 3,072 bytes"));
        }
        Ok(())
    })?;
    if path.is_empty() { Err(path_error(&path, "has no part")) } else { Ok(path) }
}

/// What is wrong with a file that is not there as a plain one (BEP 47).
fn attributes(reader: &mut Reader<'_>) -> Result<Option<TorrentError>, TorrentError> {
    let attributes = reader.string("`attr`")?;
    Ok(if attributes.contains(&b'p') {
        Some(TorrentError::Padding)
    } else if attributes.contains(&b'l') {
        Some(TorrentError::Symlink)
    } else {
        None
    })
}

/// Refuses a part of a path that is not one name; `before` is what comes before it.
fn check_part(before: &str, part: &str) -> Result<(), TorrentError> {
    let why = match part {
        "" => "has an empty part",
        "." | ".." => "has a part `.` or `..`",
        part if part.contains('/') => "has a `/` within a part",
        part if part.contains('\0') => "has a NUL",
        part if part.len() > PART_BYTES_MAX => "has a part longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(path_error(&format!("{before}{part}"), why))
}

/// Refuses a path that is there twice, and a file that is the folder of another.
fn check_tree(files: &[Listed]) -> Result<(), TorrentError> {
    // With the lowest byte between parts, what is in a folder comes next behind its name. No part has that byte.
    let mut paths: Vec<Vec<u8>> =
        files.iter().map(|file| file.path.replace('/', "\0").into_bytes()).collect();
    if !paths.is_sorted() {
        paths.sort_unstable();
    }
    for pair in paths.windows(2) {
        if let Some(rest) = pair[1].strip_prefix(pair[0].as_slice())
            && rest.first().is_none_or(|byte| *byte == 0)
        {
            let path = String::from_utf8_lossy(&pair[0]).replace('\0', "/");
            return Err(path_error(
                &path,
                if rest.is_empty() { "is there twice" } else { "is a file and a folder" },
            ));
        }
    }
    Ok(())
}

/// The error of a path, of which it keeps what can be shown.
fn path_error(path: &str, why: &'static str) -> TorrentError {
    let end = path.char_indices().map(|(at, _)| at).nth(200).unwrap_or(path.len());
    TorrentError::Path { path: path[..end].to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A torrent of these info entries, which are bencoded but for their order.
    fn torrent(info: &[(&str, &str)]) -> String {
        let entries: String =
            info.iter().map(|(key, value)| format!("{}:{key}{value}", key.len())).collect();
        format!("d4:infod{entries}ee")
    }

    const PIECE: &str = "20:aaaaaaaaaaaaaaaaaaaa";
    const FILE: [(&str, &str); 4] =
        [("length", "i4e"), ("name", "1:x"), ("piece length", "i4e"), ("pieces", PIECE)];

    /// The torrent of one file with an entry in the place of that of its key, or more.
    fn with(key: &'static str, value: &'static str) -> String {
        let mut info: Vec<_> = FILE.into_iter().filter(|(other, _)| *other != key).collect();
        info.push((key, value));
        torrent(&info)
    }

    /// The torrent of a folder with these files: their paths with `/` between their parts.
    fn folder(paths: &[&str]) -> String {
        let part = |part: &str| format!("{}:{part}", part.len());
        let file = |path: &&str| {
            format!("d6:lengthi4e4:pathl{}ee", path.split('/').map(part).collect::<String>())
        };
        let files = format!("l{}e", paths.iter().map(file).collect::<String>());
        let pieces = format!("{}:{}", 20 * paths.len(), "a".repeat(20 * paths.len()));
        torrent(&[("files", &files), ("name", "1:x"), ("piece length", "i4e"), ("pieces", &pieces)])
    }

    fn check(torrent: impl AsRef<[u8]>, expected: &str) {
        let said = match Metainfo::parse(Bytes::copy_from_slice(torrent.as_ref())) {
            Ok(torrent) => {
                let files = torrent
                    .files
                    .iter()
                    .map(|file| format!("{}={}", file.path.display(), file.length));
                files.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert!(said.starts_with(expected), "{said}, not {expected}");
    }

    #[test]
    fn a_torrent_is_read_as_it_was_written() {
        check(torrent(&FILE), "x=4");
        check(folder(&["a", "b/c", "b/d/e"]), "x/a=4 x/b/c=4 x/b/d/e=4");
        let bytes = "d8:announce3:one13:announce-listll3:two0:el5:three4:fouree4:infod6:lengthi4e4:name1:x\
            12:piece lengthi4e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei1e6:source1:see";
        let torrent = Metainfo::parse(Bytes::from(bytes)).unwrap();
        assert_eq!(torrent.tiers, [vec!["two"], vec!["three", "four"]]);
        assert!(torrent.private && torrent.is_single);
        assert_eq!(
            (torrent.total(), torrent.pieces_count(), &torrent.pieces[..]),
            (4, 1, &[b'a'; 20][..])
        );
        let info = &bytes[bytes.find("4:info").unwrap() + 6..bytes.len() - 1];
        assert_eq!((&torrent.info[..], &torrent.bytes[..]), (info.as_bytes(), bytes.as_bytes()));
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, info.as_bytes());
        assert_eq!(torrent.info_hash.0, hash.as_ref());
        let one = Metainfo::parse(Bytes::from(
            bytes.replace("13:announce-listll3:two0:el5:three4:fouree", ""),
        ))
        .unwrap();
        assert_eq!(one.tiers, [["one"]]);
    }

    #[test]
    fn a_path_that_leaves_its_folder_is_refused() {
        for (path, why) in [
            ("..", "the path \"..\" has a part `.` or `..`"),
            ("a/../b", "the path \"a/..\" has a part"),
            ("a/.", "the path \"a/.\" has a part"),
            ("/a", "the path \"\" has an empty part"),
            ("a//b", "the path \"a/\" has an empty part"),
            ("a\0b", "the path \"a\\0b\" has a NUL"),
        ] {
            check(folder(&["good", path]), why);
        }
        for (name, why) in [
            ("2:..", "the path \"..\" has"),
            ("0:", "the path \"\" has"),
            ("3:a/b", "the path \"a/b\" has a `/`"),
        ] {
            check(with("name", name), why);
        }
        check(with("name", "2:\u{e9}"), "\u{e9}=4");
        let odd: Vec<u8> =
            torrent(&FILE).bytes().map(|byte| if byte == b'x' { 0xff } else { byte }).collect();
        check(odd, "`name` is not UTF-8");
        check(folder(&[&"a".repeat(256)]), "the path");
        check(folder(&[&"a".repeat(255)]), "x/aaa");
        check(folder(&[&["a"; 1536].join("/")]), "the path");
        check(
            folder(&["a", "b"]).replace("l1:ae", "l3:a/be"),
            "the path \"a/b\" has a `/` within a part",
        );
        check(folder(&["a"]).replace("l1:ae", "le"), "the path \"\" has no part");
    }

    #[test]
    fn no_file_is_there_twice_or_in_another() {
        check(folder(&["a", "b", "a"]), "the path \"a\" is there twice");
        check(folder(&["a/b", "z", "a"]), "the path \"a\" is a file and a folder");
        check(folder(&["a", "a b", "a!", "a/b/c"]), "the path \"a\" is a file and a folder");
        check(folder(&["a/b", "a.b", "a!b", "ab/c", "ab!"]), "x/a/b");
    }

    #[test]
    fn what_is_not_of_version_1_is_said_to_be() {
        check(with("meta version", "i2e"), "it is a hybrid of versions 1 and 2");
        check(with("file tree", "d1:xd0:d6:lengthi4eeee"), "it is a hybrid");
        check(
            "d4:infod9:file treed1:xd0:d6:lengthi4eeee12:meta versioni2e4:name1:x12:piece lengthi16384eee",
            "it is of version 2",
        );
        check(with("attr", "1:p"), "it has padding files");
        check(folder(&["a"]).replace("4:path", "4:attr1:l4:path"), "it has symbolic links");
        check(folder(&["a"]).replace("4:path", "4:attr1:x4:path"), "x/a=4");
    }

    #[test]
    fn numbers_have_to_fit() {
        check(with("length", "i0e"), "its files hold not one byte");
        check(with("length", "i5e"), "its pieces are 20 bytes, where its files need 2");
        check(with("length", "i-1e"), "`length` is not a number from 0");
        check(with("length", "i04e"), "it is not bencoded");
        check(with("length", "i9223372036854775808e"), "`length` is not a number");
        check(
            with("length", "i9223372036854775807e"),
            "its pieces are 20 bytes, where its files need 23058",
        );
        check(with("length", "1:4"), "`length` is not a number");
        check(with("piece length", "i0e"), "its piece length is 0");
        check(with("piece length", "i268435456e"), "x=4");
        check(with("piece length", "i268435457e"), "its piece length is 268435457");
        check(with("pieces", "21:aaaaaaaaaaaaaaaaaaaaa"), "its pieces are 21");
        check(with("files", "le"), "it has both");
        check(with("private", "1:1"), "`private` is not");
        check(
            folder(&["a", "b"]).replace("i4e4:path", "i9000000000000000000e4:path"),
            "its files hold more than 2^63",
        );
    }

    #[test]
    fn what_is_missing_twice_or_too_much_is_said() {
        for (key, _) in FILE {
            let rest: Vec<_> = FILE.into_iter().filter(|(other, _)| *other != key).collect();
            check(torrent(&rest), &format!("it has no `{key}`"));
        }
        check("de", "it has no `info`");
        check("d4:infole", "`info` is not a dictionary");
        check(torrent(&[&FILE[..], &FILE[..1]].concat()), "the key \"length\" is twice");
        check(torrent(&FILE) + "\n", "something comes behind its end, at byte 7");
        check(with("name.utf-8", "1:y"), "the path \"x\" is another in `name.utf-8`");
        check(with("name.utf-8", "1:x"), "x=4");
        check(
            folder(&["a"]).replace("4:path", "10:path.utf-8l1:be4:path"),
            "the path \"a\" is another in `path.utf-8`",
        );
        let urls = "1:u".repeat(TRACKERS_MAX + 1);
        check(
            torrent(&FILE).replace("d4:info", &format!("d13:announce-listll{urls}ee4:info")),
            "it has more than 1024",
        );
        check(vec![b'd'; TORRENT_BYTES_MAX + 1], "it has 67108865 bytes");
    }

    /// The worst for the time it takes: all the files there may be, in no order, with long common beginnings.
    #[test]
    fn the_largest_torrents_are_read_in_bounded_time() {
        let names: Vec<String> =
            (0..FILES_MAX + 1).rev().map(|file| format!("{file:07}")).collect();
        let mut paths: Vec<&str> = names.iter().map(String::as_str).collect();
        check(folder(&paths), "it has more than 1000000 files");
        paths.pop();
        check(folder(&paths), "x/1000000=4");
        let long = ["a".repeat(250).as_str(); 12].join("/");
        let names: Vec<String> = (0..20_000).rev().map(|file| format!("{long}/{file}")).collect();
        check(folder(&names.iter().map(String::as_str).collect::<Vec<_>>()), "x/aaa");
    }

    /// Damage gives an error, or a torrent whose paths stay below and whose pieces are as many as they should be.
    #[test]
    fn damaged_torrents_are_refused_or_still_right() {
        let good = folder(&["a", "b/c", "b/d/e"]).into_bytes();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len().max(1));
                match random.u8(..4) {
                    0 if bytes.len() > 1 => drop(bytes.remove(at)),
                    1 => {
                        bytes.insert(at, *random.choice(b"dlei0123456789:/.-".as_slice()).unwrap())
                    }
                    0 | 2 => bytes[at] = random.u8(..),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let Ok(torrent) = Metainfo::parse(Bytes::from(bytes)) else { continue };
            assert_eq!(
                u64::from(torrent.pieces_count()),
                torrent.total().div_ceil(torrent.piece_length.into())
            );
            for file in &torrent.files {
                assert!(
                    file.path
                        .components()
                        .all(|part| matches!(part, std::path::Component::Normal(_)))
                );
            }
        }
    }
}
