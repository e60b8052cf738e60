//! The signed list: all that a Master publishes, for Seeders.
//!
//! One file, so that text and signature never part:
//!
//! ```text
//! margay-list 1 KEY SIGNATURE
//! {"epoch":1,"generation":7,"made":1760000000,"items":2,"masters":["192.0.2.1:6881"],"withdraw":false,"next_key":null}
//! {"info_hash":"…","name":"a.iso",…}
//! {"info_hash":"…","name":"b.iso",…}
//! ```
//!
//! KEY and SIGNATURE are base64url. What is signed (ed25519) is the text `margay-list 1`, a line feed, and the SHA-512 of
//! all that follows the first line: no signature of anything else is one of a list, and nothing is copied to be
//! checked. Each line is JSON and ends with a line feed; members that are not known are left out of account.

use std::collections::HashSet;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA512, digest};
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::error::FeedError;
use super::item::{Item, excerpt};
use super::key::{KeyPair, PublicKey, base64};
use super::trust::TrustedKeys;

/// Bytes in a list. With 400 bytes an item, as is usual, [`ITEMS_MAX`] items have 40 MB.
pub const BYTES_MAX: usize = 64 << 20;
/// Items in a list.
pub const ITEMS_MAX: usize = 100_000;
/// Bytes in a line: a name, a title and a URL at their longest, each byte escaped, fit.
pub const LINE_BYTES_MAX: usize = 16 << 10;
/// Bytes in a name: `NAME_MAX` of Linux.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes in a title: a name and a count.
pub const TITLE_BYTES_MAX: usize = NAME_BYTES_MAX + 16;
/// Bytes in the URL of a `.torrent` file.
pub const URL_BYTES_MAX: usize = 2048;
/// Bytes in a `.torrent` file.
pub const TORRENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes in a torrent's content, 64 TiB: so that the sum of all items is no more than 2^63.
pub const SIZE_MAX: u64 = 1 << 46;
/// Addresses at which a Master says its content can be had.
pub const MASTERS_MAX: usize = 16;

const _: () = assert!(SIZE_MAX.checked_mul(ITEMS_MAX as u64).is_some());
const _: () = assert!(LINE_BYTES_MAX > 6 * (NAME_BYTES_MAX + TITLE_BYTES_MAX + URL_BYTES_MAX));

/// All that a Master publishes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// Which Master it is whose turn it is: raised when another takes over.
    pub epoch: u64,
    /// Raised with every change by the same Master.
    pub generation: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// What is published, in any order; infohashes and names are unique.
    pub items: Vec<Item>,
    /// Where the content can be fetched by BitTorrent, without asking a tracker.
    pub masters: Vec<SocketAddr>,
    /// The Master means it that much vanished, or everything.
    pub withdraw: bool,
    /// The key that is to follow, during a rotation.
    pub next_key: Option<PublicKey>,
}

/// A list whose signature was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// What it says.
    pub list: List,
    /// Whose it is.
    pub key: PublicKey,
    /// SHA-512 of what was signed, shortened: equal for equal lists.
    pub digest: [u8; 32],
}

/// The second line.
#[derive(Serialize, Deserialize)]
struct Head {
    epoch: u64,
    generation: u64,
    made: u64,
    items: u64,
    masters: Vec<SocketAddr>,
    withdraw: bool,
    next_key: Option<PublicKey>,
}

/// The list as a file that is signed with `key`.
///
/// Refuses what [`read`] would refuse, so that no Master ever publishes what no Seeder takes.
pub fn write(list: &List, key: &KeyPair) -> Result<Document, FeedError> {
    let bytes = sign(&body(list), key);
    read(&bytes, &TrustedKeys::new(key.public()))?;
    Ok(Document::new(bytes))
}

/// What is said, signed: the first line, and `body`.
#[doc(hidden)]
pub fn sign(body: &[u8], key: &KeyPair) -> Vec<u8> {
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&message(&body_digest(body))));
    let mut bytes = format!("{FORMAT} {} {signature}\n", key.public()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Reads a list that came from outside, if one of `keys` signed it.
///
/// The length and the key are looked at first, then the signature, and only then what is signed. Takes no more
/// memory than the items have: a list is at most [`ITEMS_MAX`] of them and their text.
pub fn read(bytes: &[u8], keys: &TrustedKeys) -> Result<Signed, FeedError> {
    if bytes.is_empty() {
        return Err(FeedError::Empty);
    }
    if bytes.len() > BYTES_MAX {
        return Err(FeedError::TooLarge);
    }
    let (key, signature, body) = split(bytes)?;
    if !keys.trusts(&key) {
        return Err(FeedError::ForeignKey { key, trusted: keys.text() });
    }
    let digest = body_digest(body);
    if !key.verifies(&message(&digest), &signature) {
        return Err(cut_off(body).unwrap_or(FeedError::Signature));
    }
    let list = parse(body)?;
    let mut short = [0; 32];
    short.copy_from_slice(&digest[..32]);
    Ok(Signed { list, key, digest: short })
}

/// Reads a list, whoever has signed it: to see whose it is, and not to follow it.
pub fn read_of_anyone(bytes: &[u8]) -> Result<Signed, FeedError> {
    let (key, ..) = split(bytes)?;
    read(bytes, &TrustedKeys::new(key))
}

/// Key, signature, and what is signed.
fn split(bytes: &[u8]) -> Result<(PublicKey, [u8; 64], &[u8]), FeedError> {
    let begins = || FeedError::NotAList {
        begins: String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned(),
    };
    let Some(after) = bytes.strip_prefix(b"margay-list ") else {
        // The first bytes of it, and no more.
        return Err(match b"margay-list ".starts_with(bytes) {
            true => FeedError::Truncated { arrived: "not even its first line".to_owned() },
            false => begins(),
        });
    };
    let window = &after[..after.len().min(FIRST_LINE_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return Err(match window.len() < FIRST_LINE_BYTES_MAX {
            true => FeedError::Truncated { arrived: "not even its first line".to_owned() },
            false => begins(),
        });
    };
    let damaged = |why: &str| FeedError::Head { why: why.to_owned() };
    let line = str::from_utf8(&after[..end]).map_err(|_| damaged("the first line is no text"))?;
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        return Err(FeedError::Version { found: excerpt(version) });
    }
    let (Some(key), Some(signature), None) = (words.next(), words.next(), words.next()) else {
        return Err(damaged("the first line has not a key and a signature"));
    };
    let key = PublicKey::parse(key)
        .ok_or_else(|| damaged("the key is not 43 characters of base64url"))?;
    let signature = base64(signature.trim_end_matches('='))
        .ok_or_else(|| damaged("the signature is not 86 characters of base64url"))?;
    Ok((key, signature, &after[end + 1..]))
}

/// Whether `body`, whose signature is wrong, is so because its end is missing. For the message alone.
fn cut_off(body: &[u8]) -> Option<FeedError> {
    let mut lines = body.split(|byte| *byte == b'\n');
    let Ok(head) = serde_json::from_slice::<Head>(lines.next()?) else {
        let arrived = "a part of its head".to_owned();
        return (!body.contains(&b'\n')).then_some(FeedError::Truncated { arrived });
    };
    // Behind the last line feed is what would be an empty line.
    let whole = (lines.count() as u64).saturating_sub(1);
    (whole < head.items || !body.ends_with(b"\n")).then(|| FeedError::Truncated {
        arrived: format!("{whole} of {} items are there", head.items),
    })
}

/// Reads what was signed.
fn parse(body: &[u8]) -> Result<List, FeedError> {
    let damaged = |why: &str| FeedError::Head { why: why.to_owned() };
    let body = body.strip_suffix(b"\n").ok_or_else(|| damaged("the last line does not end"))?;
    let mut lines = body.split(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    if line.len() > LINE_BYTES_MAX {
        return Err(damaged("the second line is too long"));
    }
    let head: Head =
        serde_json::from_slice(line).map_err(|error| damaged(&format!("second line: {error}")))?;
    if head.items > ITEMS_MAX as u64 {
        return Err(FeedError::TooMany { said: head.items });
    }
    if head.masters.len() > MASTERS_MAX {
        return Err(damaged(&format!(
            "it names {} masters, more than {MASTERS_MAX}",
            head.masters.len()
        )));
    }
    let mut items = Vec::with_capacity(head.items as usize);
    for (at, line) in lines.enumerate() {
        if at as u64 == head.items {
            return Err(FeedError::Count { said: head.items, found: at as u64 + 1 });
        }
        items.push(item(line).map_err(|why| FeedError::Item { line: at as u64 + 3, why })?);
    }
    if (items.len() as u64) < head.items {
        return Err(FeedError::Count { said: head.items, found: items.len() as u64 });
    }
    check_unique(&items)?;
    let Head { epoch, generation, made, masters, withdraw, next_key, .. } = head;
    Ok(List { epoch, generation, made, items, masters, withdraw, next_key })
}

fn item(line: &[u8]) -> Result<Item, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("it has more than {LINE_BYTES_MAX} bytes"));
    }
    let item: Item = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    item.fault().map_or(Ok(item), Err)
}

fn check_unique(items: &[Item]) -> Result<(), FeedError> {
    let mut hashes = HashSet::with_capacity(items.len());
    let mut names = HashSet::with_capacity(items.len());
    for (item, line) in items.iter().zip(3..) {
        let twice = |what| FeedError::Item {
            line,
            why: format!("{what} of {} is there twice", excerpt(&item.name)),
        };
        if !hashes.insert(item.info_hash) {
            return Err(twice("the infohash"));
        }
        if !names.insert(item.name.as_str()) {
            return Err(twice("the name"));
        }
    }
    Ok(())
}

/// What is signed: head and items, a line each.
fn body(list: &List) -> Vec<u8> {
    let head = Head {
        epoch: list.epoch,
        generation: list.generation,
        made: list.made,
        items: list.items.len() as u64,
        masters: list.masters.clone(),
        withdraw: list.withdraw,
        next_key: list.next_key,
    };
    let mut body = Vec::with_capacity(512 + 512 * list.items.len());
    serde_json::to_writer(&mut body, &head).expect("a head is plain values");
    body.push(b'\n');
    for item in &list.items {
        serde_json::to_writer(&mut body, item).expect("an item is plain values");
        body.push(b'\n');
    }
    body
}

fn body_digest(body: &[u8]) -> [u8; 64] {
    digest(&SHA512, body).as_ref().try_into().expect("SHA-512 is 64 bytes")
}

/// Domain-separated: nothing else that is signed begins so.
fn message(digest: &[u8; 64]) -> Vec<u8> {
    let mut message = format!("{FORMAT}\n").into_bytes();
    message.extend_from_slice(digest);
    message
}

const FORMAT: &str = "margay-list 1";
const VERSION: &str = "1";
/// Bytes of version, key and signature, with much to spare.
const FIRST_LINE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;
