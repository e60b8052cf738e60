//! The query of a client's announce or scrape (BEP 3, 7, 21, 23, 48).
//!
//! Clients differ in everything but the infohash, so this reads leniently: pairs in any order, keys
//! without `=`, empty values, unknown keys; of a key given twice the first one counts. Keys are
//! matched as they are sent. Only what cannot be answered is [`Malformed`].
//!
//! Some clients append their query with a `?` to an address that has one already:
//! `?passkey=KEY?info_hash=…`. Where something is missing and there is such a `?`, the first one is read as `&`.

use std::net::{IpAddr, SocketAddr};

use memchr::memchr;
use shard::{ClientTag, Event, Families, InfoHash, lasting_key};

use super::{Key, Numwant, percent};

/// Infohashes taken from one scrape; more are left out without a word.
pub const SCRAPE_HASHES_MAX: usize = 64;

/// An announce as a client puts it. Slices are parts of the query, not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announce<'q> {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The client's name for itself.
    pub peer_id: [u8; 20],
    /// Where the client listens; `None` when it does not say.
    pub port: Option<u16>,
    /// Bytes left; `u64::MAX` when unknown: absent, negative, not a number or too large for `u64`.
    pub left: u64,
    /// Bytes uploaded since `started`; 0 when unknown.
    pub uploaded: u64,
    /// Bytes downloaded since `started`; 0 when unknown.
    pub downloaded: u64,
    /// The event; one that nobody knows is none.
    pub event: Event,
    /// How many peers are asked for.
    pub numwant: Numwant,
    /// `compact=0` is false, any other value true (BEP 23).
    pub compact: Option<bool>,
    /// The list form may leave the peer ids out.
    pub no_peer_id: bool,
    /// Bytes that some clients say the same in all announces; see [`shard::lasting_key`]. Cut at
    /// [`Announce::KEY_BYTES_MAX`]; empty when absent.
    pub key: &'q [u8],
    /// The site's secret in the query (`passkey=`).
    pub passkey: Option<Key<'q>>,
    /// The address that the client claims; see [`claimed_address`].
    pub ip: Option<&'q [u8]>,
    /// The same for IPv4 (BEP 7).
    pub ipv4: Option<&'q [u8]>,
    /// The same for IPv6 (BEP 7).
    pub ipv6: Option<&'q [u8]>,
}

/// A scrape as a client puts it, without the infohashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scrape<'q> {
    /// No infohash at all: the client wants every torrent (BEP 48).
    pub everything: bool,
    /// The site's secret in the query (`passkey=`).
    pub passkey: Option<Key<'q>>,
}

/// Why a query cannot be answered; the text is for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// An announce without infohash.
    #[error("info_hash is missing")]
    InfoHashMissing,
    /// An infohash that does not decode to 20 bytes.
    #[error("info_hash is not 20 bytes long")]
    InfoHashLength,
    /// An announce with two infohashes.
    #[error("info_hash is given twice")]
    InfoHashTwice,
    /// An announce without peer id.
    #[error("peer_id is missing")]
    PeerIdMissing,
    /// A peer id that does not decode to 20 bytes.
    #[error("peer_id is not 20 bytes long")]
    PeerIdLength,
    /// A port that is no number, or too large for one.
    #[error("port is not a number from 0 to 65535")]
    Port,
}

/// Reads the query of an announce, without the `?`.
pub fn parse_announce(query: &[u8]) -> Result<Announce<'_>, Malformed> {
    RawAnnounce::read(query)?.announce()
}

/// Reads the query of a scrape, without the `?`, and fills `hashes` with its distinct infohashes in
/// bytewise order, made of the first [`SCRAPE_HASHES_MAX`] well-formed ones.
///
/// A malformed infohash among good ones is left out; the query is refused when all are malformed.
pub fn parse_scrape<'q>(
    query: &'q [u8],
    hashes: &mut Vec<InfoHash>,
) -> Result<Scrape<'q>, Malformed> {
    let scrape = read_scrape(pairs(query), hashes);
    let scrape = match halves(query).filter(|_| scrape.everything) {
        Some((first, second)) => read_scrape(pairs(first).chain(pairs(second)), hashes),
        None => scrape,
    };
    if hashes.is_empty() && !scrape.everything {
        return Err(Malformed::InfoHashLength);
    }
    hashes.sort_unstable();
    hashes.dedup();
    Ok(scrape)
}

fn read_scrape<'q>(
    pairs: impl Iterator<Item = (&'q [u8], &'q [u8])>,
    hashes: &mut Vec<InfoHash>,
) -> Scrape<'q> {
    hashes.clear();
    let mut scrape = Scrape { everything: true, passkey: None };
    for (key, value) in pairs {
        match key {
            b"info_hash" => {
                scrape.everything = false;
                if hashes.len() < SCRAPE_HASHES_MAX {
                    hashes.extend(percent::decode_exact(value).map(InfoHash));
                }
            }
            b"passkey" if scrape.passkey.is_none() => scrape.passkey = Key::new(value),
            _ => {}
        }
    }
    scrape
}

/// The parts of a query before its first `?` and behind it.
#[cold]
fn halves(query: &[u8]) -> Option<(&[u8], &[u8])> {
    memchr(b'?', query).map(|at| cut(query, Some(at)))
}

/// Whether a query has an infohash: who sends it is a client.
pub fn has_info_hash(query: &[u8]) -> bool {
    let mut keys = query.split(|byte| matches!(byte, b'&' | b'?'));
    keys.any(|pair| pair == b"info_hash" || pair.starts_with(b"info_hash="))
}

/// The pairs of a query, in order: what stands between two `&`, cut at its first `=`. A key without
/// `=` has an empty value; where nothing stands between two `&` there is no pair.
#[inline]
pub fn pairs(query: &[u8]) -> Pairs<'_> {
    Pairs { rest: query }
}

/// Iterates over the pairs of a query; see [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'q> {
    rest: &'q [u8],
}

impl<'q> Iterator for Pairs<'q> {
    type Item = (&'q [u8], &'q [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = cut(self.rest, memchr(b'&', self.rest));
            self.rest = rest;
            if !pair.is_empty() {
                return Some(cut(pair, pair.iter().position(|&byte| byte == b'=')));
            }
        }
        None
    }
}

/// An address that a client claims in `ip=`, `ipv4=` or `ipv6=`, with the port if one is there (BEP 7
/// allows `[address]:port`); `None` for a name or anything else. For trusted networks only.
pub fn claimed_address(raw: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let mut buffer = [0; 64];
    let text = str::from_utf8(percent::decode(raw, &mut buffer)?).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_canonical(), None));
    }
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Some((IpAddr::V6(address.parse().ok()?).to_canonical(), None));
    }
    let socket: SocketAddr = text.parse().ok()?;
    Some((socket.ip().to_canonical(), Some(socket.port())))
}

impl<'q> Announce<'q> {
    /// How much of `key` is looked at; clients send 8 to 24 bytes.
    pub const KEY_BYTES_MAX: usize = 64;

    /// Which client this is, whatever address and protocol it announces by.
    #[inline]
    pub fn client(&self) -> ClientTag {
        ClientTag::of(&self.peer_id, client_key(&self.peer_id, self.key))
    }

    /// The announce for the engine, as seen from `address`. `numwant` is already decided; see
    /// [`Numwant::peers`].
    #[inline]
    pub fn to_engine(&self, address: IpAddr, families: Families, numwant: u16) -> shard::Announce {
        shard::Announce {
            info_hash: self.info_hash,
            address: address.to_canonical(),
            port: self.port.unwrap_or(0),
            client: self.client(),
            left: self.left,
            downloaded: self.downloaded,
            event: self.event,
            numwant,
            families,
        }
    }
}

/// The values of an announce as they stand in the query, each the first of its key.
#[derive(Default)]
pub(super) struct RawAnnounce<'q> {
    pub(super) info_hash: Option<&'q [u8]>,
    pub(super) peer_id: Option<&'q [u8]>,
    pub(super) port: Option<&'q [u8]>,
    pub(super) left: Option<&'q [u8]>,
    pub(super) uploaded: Option<&'q [u8]>,
    pub(super) downloaded: Option<&'q [u8]>,
    pub(super) corrupt: Option<&'q [u8]>,
    pub(super) event: Option<&'q [u8]>,
    pub(super) numwant: Option<&'q [u8]>,
    pub(super) compact: Option<&'q [u8]>,
    pub(super) no_peer_id: Option<&'q [u8]>,
    pub(super) key: Option<&'q [u8]>,
    pub(super) passkey: Option<&'q [u8]>,
    pub(super) ip: Option<&'q [u8]>,
    pub(super) ipv4: Option<&'q [u8]>,
    pub(super) ipv6: Option<&'q [u8]>,
}

impl<'q> RawAnnounce<'q> {
    /// Finds the values in `query`; refused is only a second infohash.
    #[inline]
    pub(super) fn read(query: &'q [u8]) -> Result<Self, Malformed> {
        let raw = Self::of(pairs(query))?;
        let cut_off = |value: Option<&[u8]>| value.is_some_and(|value| value.contains(&b'?'));
        let is_whole = raw.info_hash.is_some() && raw.peer_id.is_some() && !cut_off(raw.passkey);
        match is_whole {
            true => Ok(raw),
            false => Self::read_halves(query, raw),
        }
    }

    #[cold]
    fn read_halves(query: &'q [u8], raw: Self) -> Result<Self, Malformed> {
        match halves(query) {
            Some((first, second)) => Self::of(pairs(first).chain(pairs(second))),
            None => Ok(raw),
        }
    }

    #[inline]
    fn of(pairs: impl Iterator<Item = (&'q [u8], &'q [u8])>) -> Result<Self, Malformed> {
        let mut raw = RawAnnounce::default();
        for (key, value) in pairs {
            let field = match key {
                b"info_hash" if raw.info_hash.is_some() => return Err(Malformed::InfoHashTwice),
                b"info_hash" => &mut raw.info_hash,
                b"peer_id" => &mut raw.peer_id,
                b"port" => &mut raw.port,
                b"left" => &mut raw.left,
                b"uploaded" => &mut raw.uploaded,
                b"downloaded" => &mut raw.downloaded,
                b"corrupt" => &mut raw.corrupt,
                b"event" => &mut raw.event,
                b"numwant" => &mut raw.numwant,
                b"compact" => &mut raw.compact,
                b"no_peer_id" => &mut raw.no_peer_id,
                b"key" => &mut raw.key,
                b"passkey" => &mut raw.passkey,
                b"ip" => &mut raw.ip,
                b"ipv4" => &mut raw.ipv4,
                b"ipv6" => &mut raw.ipv6,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        Ok(raw)
    }

    #[inline]
    fn announce(self) -> Result<Announce<'q>, Malformed> {
        let info_hash = self.info_hash.ok_or(Malformed::InfoHashMissing)?;
        let info_hash = percent::decode_exact(info_hash).ok_or(Malformed::InfoHashLength)?;
        let peer_id = self.peer_id.ok_or(Malformed::PeerIdMissing)?;
        let peer_id = percent::decode_exact(peer_id).ok_or(Malformed::PeerIdLength)?;
        let key = self.key.unwrap_or_default();
        Ok(Announce {
            info_hash: InfoHash(info_hash),
            peer_id,
            port: self.port()?,
            left: self.left.and_then(number).unwrap_or(u64::MAX),
            uploaded: self.uploaded.and_then(number).unwrap_or(0),
            downloaded: self.downloaded.and_then(number).unwrap_or(0),
            event: self.event.map(event).unwrap_or_default(),
            numwant: self.numwant(),
            compact: self.compact.map(|value| value != b"0"),
            no_peer_id: self.no_peer_id.is_some_and(|value| value != b"0"),
            key: &key[..key.len().min(Announce::KEY_BYTES_MAX)],
            passkey: self.passkey.and_then(Key::new),
            ip: self.ip,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
        })
    }
}

impl RawAnnounce<'_> {
    /// Where the client listens; nothing where it does not say. Who leaves is not asked for it.
    #[inline]
    pub(super) fn port(&self) -> Result<Option<u16>, Malformed> {
        let Some(raw) = self.port.filter(|raw| !raw.is_empty()) else { return Ok(None) };
        let port = number(raw).and_then(|port| u16::try_from(port).ok());
        if port.is_none() && self.event != Some(b"stopped") {
            return Err(Malformed::Port);
        }
        Ok(port)
    }

    /// How many peers are asked for; what is no number, or a negative one, is the default.
    #[inline]
    pub(super) fn numwant(&self) -> Numwant {
        self.numwant.and_then(number).map_or(Numwant::DEFAULT, |asked| {
            Numwant::new(i64::try_from(asked).unwrap_or(i64::MAX))
        })
    }
}

/// Splits at `at`, leaving that byte out; with `None` everything is in the first part.
#[inline]
fn cut(bytes: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    match at {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// A number of decimal digits, as large as `u64` goes; `None` for anything else.
#[inline]
pub(super) fn number(raw: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for &byte in raw {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return escaped_number(raw);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    match raw.len() {
        0 => None,
        1..DIGITS_MAX => Some(value),
        _ => Some(raw.iter().fold(0, |value: u64, &byte| {
            value.saturating_mul(10).saturating_add(u64::from(byte - b'0'))
        })),
    }
}

/// A number with escaped digits: allowed (RFC 3986), never seen.
#[cold]
fn escaped_number(raw: &[u8]) -> Option<u64> {
    memchr(b'%', raw)?;
    let mut buffer = [0; 24];
    let digits = percent::decode(raw, &mut buffer)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    number(digits)
}

#[inline]
pub(super) fn event(raw: &[u8]) -> Event {
    match raw {
        b"started" => Event::Started,
        b"completed" => Event::Completed,
        b"stopped" => Event::Stopped,
        b"paused" => Event::Paused,
        _ => Event::None,
    }
}

/// The number that a client says over UDP for what it says as `key=` over HTTP: one to eight hex digits (Transmission
/// leaves zeros at the beginning out). 0 where it says something else, or where its key does not last.
#[inline]
pub(super) fn client_key(peer_id: &[u8; 20], raw: &[u8]) -> u32 {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let number = match raw.len() {
        1..=8 => raw.iter().try_fold(0, |number, at| Some(number << 4 | digit(at)?)),
        _ => None,
    };
    number.map_or(0, |number| lasting_key(peer_id, number))
}

/// Whether a client comes back at `min interval`, whatever `interval` says: aria2 1.36.0, rTorrent 0.9.8 and librqbit
/// 9.1.0 do (measured, 2026-11-28). To others it is how early a user's "announce now" is said.
#[inline]
pub fn comes_at_min_interval(peer_id: &[u8; 20]) -> bool {
    matches!(peer_id, [b'A', b'2', b'-', ..] | [b'-', b'l', b't', ..] | [b'-', b'r', b'Q', ..])
}

/// A number of this many digits may be too large for `u64`; one of fewer is not.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests;
