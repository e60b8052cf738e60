//! The lines of the file: a checksum of eight hex digits, a space, and JSON, which operators can read.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value, json};
use shard::{InfoHash, Seconds};

use super::{Entry, Withdrawn};

/// The version of the file that this program writes.
pub(super) const VERSION: u64 = 1;

/// Bytes of a line at most. A name of 255 bytes and a reason of 200, each of them escaped, have room.
const LINE_BYTES_MAX: u64 = 4096;

/// What a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// The first one: what the file is.
    Header {
        /// Its version.
        version: u64,
    },
    /// A torrent is like this from here on.
    Entry(InfoHash, Entry),
}

/// It is no line of this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoLine;

/// What was found in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// Whole lines, but for the header.
    pub(super) lines: usize,
    /// The first line is as it should be.
    pub(super) headed: bool,
    /// The file ends within a line.
    pub(super) torn: bool,
    /// Other lines that are not whole.
    pub(super) damaged: usize,
    /// The first of them, from 1.
    pub(super) damaged_at: Option<usize>,
    /// The file is of this version, which is not known here; nothing else of it was read.
    pub(super) newer: Option<u64>,
}

/// Appends a line, its end included.
pub fn write(out: &mut Vec<u8>, line: &Line) {
    let value = match line {
        Line::Header { version } => json!({"margay": "torrents", "version": version}),
        Line::Entry(info_hash, Entry { name, withdrawn }) => {
            let hex = info_hash.to_string();
            let mut fields = Map::new();
            match withdrawn {
                None => _ = fields.insert("put".to_owned(), hex.into()),
                Some(withdrawn) => {
                    fields.insert("withdrawn".to_owned(), hex.into());
                    fields.insert("reason".to_owned(), (*withdrawn.reason).into());
                    fields.insert("until".to_owned(), withdrawn.until.0.into());
                }
            }
            if let Some(name) = name {
                fields.insert("name".to_owned(), (**name).into());
            }
            Value::Object(fields)
        }
    };
    let text = value.to_string();
    out.extend_from_slice(format!("{:08x} ", crc32fast::hash(text.as_bytes())).as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Reads a line without its end.
pub fn parse(line: &[u8]) -> Result<Line, NoLine> {
    let (checksum, text) = line.split_first_chunk::<8>().ok_or(NoLine)?;
    let text = text.strip_prefix(b" ").ok_or(NoLine)?;
    if *checksum != *format!("{:08x}", crc32fast::hash(text)).as_bytes() {
        return Err(NoLine);
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(text) else { return Err(NoLine) };
    let word = |name: &str| fields.get(name).and_then(Value::as_str);
    if word("margay") == Some("torrents") {
        let version = fields.get("version").and_then(Value::as_u64).ok_or(NoLine)?;
        return Ok(Line::Header { version });
    }
    let name = match fields.get("name") {
        None => None,
        Some(name) => Some(name.as_str().ok_or(NoLine)?.into()),
    };
    if let Some(info_hash) = word("put") {
        return Ok(Line::Entry(hash(info_hash)?, Entry { name, withdrawn: None }));
    }
    let info_hash = hash(word("withdrawn").ok_or(NoLine)?)?;
    let reason = word("reason").ok_or(NoLine)?.into();
    let until = fields.get("until").and_then(Value::as_u64).ok_or(NoLine)?;
    let until = Seconds(until.try_into().map_err(|_| NoLine)?);
    let withdrawn = Some(Box::new(Withdrawn { reason, until }));
    Ok(Line::Entry(info_hash, Entry { name, withdrawn }))
}

/// Reads a whole file, whatever is in it, and hands each torrent on that it says something of.
pub(super) fn read(
    mut input: impl BufRead,
    mut each: impl FnMut(InfoHash, Entry),
) -> io::Result<Found> {
    let mut found = Found::default();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            break;
        }
        let line = match text.strip_suffix(b"\n") {
            Some(line) => parse(line),
            // The end of the file, or a line that is too long: the rest of it is no line either.
            None if (text.len() as u64) < LINE_BYTES_MAX => {
                found.torn = true;
                break;
            }
            None => Err(NoLine),
        };
        match line {
            Ok(Line::Header { version }) if version > VERSION => {
                found.newer = Some(version);
                break;
            }
            Ok(Line::Header { .. }) => found.headed |= number == 1,
            Ok(Line::Entry(info_hash, entry)) => {
                found.lines += 1;
                each(info_hash, entry);
            }
            Err(NoLine) => {
                found.damaged += 1;
                found.damaged_at.get_or_insert(number);
            }
        }
    }
    Ok(found)
}

fn hash(text: &str) -> Result<InfoHash, NoLine> {
    let digits: &[u8; 40] = text.as_bytes().try_into().map_err(|_| NoLine)?;
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high.ok_or(NoLine)? << 4 | low.ok_or(NoLine)?) as u8;
    }
    Ok(InfoHash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let withdrawn =
            Some(Box::new(Withdrawn { reason: "\"Dupe\" é".into(), until: Seconds(u32::MAX) }));
        vec![
            Line::Header { version: 1 },
            Line::Entry(InfoHash([0xab; 20]), Entry::default()),
            Line::Entry(InfoHash([1; 20]), Entry { name: Some("a\\b".into()), withdrawn: None }),
            Line::Entry(InfoHash([2; 20]), Entry { name: None, withdrawn: withdrawn.clone() }),
            Line::Entry(InfoHash([3; 20]), Entry { name: Some("".into()), withdrawn }),
        ]
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for line in lines() {
            let mut text = Vec::new();
            write(&mut text, &line);
            let text = text.strip_suffix(b"\n").unwrap();
            assert!(!text.contains(&b'\n'));
            assert_eq!(parse(text), Ok(line));
            for at in 0..text.len() {
                let mut damaged = text.to_vec();
                damaged[at] ^= 1;
                assert_eq!(parse(&damaged), Err(NoLine), "{}", damaged.escape_ascii());
                assert_eq!(parse(&text[..at]), Err(NoLine));
            }
        }
    }

    #[test]
    fn the_longest_line_has_room() {
        // Of what is accepted, this takes the most: two bytes for each of the quotes.
        let withdrawn = Withdrawn { reason: "\"".repeat(200).into(), until: Seconds(u32::MAX) };
        let entry =
            Entry { name: Some("\"".repeat(255).into()), withdrawn: Some(Box::new(withdrawn)) };
        let mut text = Vec::new();
        write(&mut text, &Line::Entry(InfoHash([0xff; 20]), entry));
        assert!((text.len() as u64) < LINE_BYTES_MAX / 2, "{}", text.len());
    }

    #[test]
    fn damage_costs_the_lines_that_have_it() {
        let mut text = Vec::new();
        lines().iter().for_each(|line| write(&mut text, line));
        let read = |text: &[u8]| {
            let mut hashes = Vec::new();
            let found = read(text, |info_hash, _| hashes.push(info_hash.0[0])).unwrap();
            (found, hashes)
        };
        let whole = Found { lines: 4, headed: true, ..Found::default() };
        assert_eq!(read(&text), (whole, vec![0xab, 1, 2, 3]));
        let torn = Found { lines: 3, torn: true, ..whole };
        assert_eq!(read(&text[..text.len() - 1]), (torn, vec![0xab, 1, 2]));
        let mut damaged = text.clone();
        let second = text.iter().position(|byte| *byte == b'\n').unwrap() + 20;
        damaged[second] ^= 4;
        let one = Found { lines: 3, damaged: 1, damaged_at: Some(2), ..whole };
        assert_eq!(read(&damaged), (one, vec![1, 2, 3]));
        assert_eq!(read(b""), (Found::default(), vec![]));
        let found = read(&[&vec![b'x'; 10_000][..], b"\n", &text].concat()).0;
        assert_eq!((found.headed, found.lines, found.damaged_at), (false, 4, Some(1)));
        let mut newer = Vec::new();
        write(&mut newer, &Line::Header { version: 2 });
        assert_eq!(read(&[newer, text].concat()).0.newer, Some(2));
    }
}
