//! Reading a `.torrent` file that somebody else may have written.

use std::path::PathBuf;

use aws_lc_rs::digest;
use bytes::Bytes;
use shard::InfoHash;

use super::bencode::Reader;
use super::{File, Metainfo, PIECE_LENGTH_MAX, TorrentError};

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
        let mut reader = Reader::new(&bytes);
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
    reader.list("`announce-list`", |reader| {
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
            b"files" => self.files = Some(files(reader)?),
            b"private" => self.private = reader.number("`private`")? != 0,
            b"meta version" => self.is_v2 |= reader.number("`meta version`")? != 1,
            b"file tree" => {
                self.is_v2 = true;
                reader.skip()?;
            }
            b"attr" => attributes(reader)?,
            b"symlink path" => return Err(TorrentError::Symlink),
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

fn files(reader: &mut Reader<'_>) -> Result<Vec<Listed>, TorrentError> {
    let mut files = Vec::new();
    reader.list("`files`", |reader| {
        if files.len() == FILES_MAX {
            return Err(TorrentError::Files { max: FILES_MAX });
        }
        let (mut length, mut path, mut path_utf8) = (None, None, None);
        reader.dictionary("a file of `files`", |key, reader| {
            match key {
                b"length" => length = Some(reader.number("`length` of a file")?),
                b"path" => path = Some(parts(reader)?),
                b"path.utf-8" => path_utf8 = Some(parts(reader)?),
                b"attr" => attributes(reader)?,
                b"symlink path" => return Err(TorrentError::Symlink),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        let path: String = path.ok_or(TorrentError::Missing { key: "`path` of a file" })?;
        // Clients take one or the other: they have to say the same.
        if path_utf8.is_some_and(|other| other != path) {
            return Err(path_error(&path, "is another in `path.utf-8`"));
        }
        files.push(Listed {
            path,
            length: length.ok_or(TorrentError::Missing { key: "`length` of a file" })?,
        });
        Ok(())
    })?;
    Ok(files)
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

/// Refuses files that are not there as plain files (BEP 47).
fn attributes(reader: &mut Reader<'_>) -> Result<(), TorrentError> {
    let attributes = reader.string("`attr`")?;
    if attributes.contains(&b'p') {
        return Err(TorrentError::Padding);
    }
    if attributes.contains(&b'l') { Err(TorrentError::Symlink) } else { Ok(()) }
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
