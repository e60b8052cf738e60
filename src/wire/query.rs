//! What a client says in the query of an announce or scrape (BEP 3, 7, 21, 23, 48).
//!
//! Clients differ in everything but the infohash, so this reads leniently: pairs in any order, keys
//! without `=`, empty values, unknown keys; of a key given twice the first one counts. Keys are
//! matched as they are sent. Only what cannot be answered is [`Malformed`].

use std::net::{IpAddr, SocketAddr};

use memchr::memchr;
use shard::{ClientTag, Event, Families, InfoHash};

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
    /// Where the client listens; `None` when it does not say or says no port number.
    pub port: Option<u16>,
    /// Bytes left; `u64::MAX` when unknown: absent, negative, not a number or too large for `u64`.
    pub left: u64,
    /// Bytes uploaded since `started`; 0 when unknown.
    pub uploaded: u64,
    /// Bytes downloaded since `started`; 0 when unknown.
    pub downloaded: u64,
    /// What happened; an event nobody knows is none.
    pub event: Event,
    /// How many peers are asked for.
    pub numwant: Numwant,
    /// `compact=0` is false, any other value true (BEP 23).
    pub compact: Option<bool>,
    /// The list form may leave the peer ids out.
    pub no_peer_id: bool,
    /// Opaque bytes that stay the same while the client's addresses change, cut at
    /// [`Announce::KEY_BYTES_MAX`]; empty when absent.
    pub key: &'q [u8],
    /// The site's secret in the query (`passkey=`).
    pub passkey: Option<Key<'q>>,
    /// What the client claims as its address; see [`claimed_address`].
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
}

/// Reads the query of an announce, without the `?`.
pub fn parse_announce(query: &[u8]) -> Result<Announce<'_>, Malformed> {
    let mut raw = RawAnnounce::default();
    for (key, value) in pairs(query) {
        let field = match key {
            b"info_hash" if raw.info_hash.is_some() => return Err(Malformed::InfoHashTwice),
            b"info_hash" => &mut raw.info_hash,
            b"peer_id" => &mut raw.peer_id,
            b"port" => &mut raw.port,
            b"left" => &mut raw.left,
            b"uploaded" => &mut raw.uploaded,
            b"downloaded" => &mut raw.downloaded,
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
    raw.announce()
}

/// Reads the query of a scrape, without the `?`, and fills `hashes` with its distinct infohashes in
/// bytewise order, made of the first [`SCRAPE_HASHES_MAX`] well-formed ones.
///
/// A malformed infohash among good ones is left out; the query is refused when all are malformed.
pub fn parse_scrape<'q>(
    query: &'q [u8],
    hashes: &mut Vec<InfoHash>,
) -> Result<Scrape<'q>, Malformed> {
    hashes.clear();
    let mut scrape = Scrape { everything: true, passkey: None };
    for (key, value) in pairs(query) {
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
    if hashes.is_empty() && !scrape.everything {
        return Err(Malformed::InfoHashLength);
    }
    hashes.sort_unstable();
    hashes.dedup();
    Ok(scrape)
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

    /// Which client this is, whatever address it announces from.
    ///
    /// A key of eight hex digits stands for the four bytes that the same client sends over UDP
    /// (BEP 15), so that one which uses both protocols is still one client.
    #[inline]
    pub fn client(&self) -> ClientTag {
        if let Ok(digits) = <&[u8; 8]>::try_from(self.key)
            && let Some(number) = hex_number(digits)
        {
            return ClientTag::new(&self.peer_id, &number.to_be_bytes());
        }
        ClientTag::new(&self.peer_id, self.key)
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
            event: self.event,
            numwant,
            families,
        }
    }
}

/// The values of an announce as they stand in the query, each the first of its key.
#[derive(Default)]
struct RawAnnounce<'q> {
    info_hash: Option<&'q [u8]>,
    peer_id: Option<&'q [u8]>,
    port: Option<&'q [u8]>,
    left: Option<&'q [u8]>,
    uploaded: Option<&'q [u8]>,
    downloaded: Option<&'q [u8]>,
    event: Option<&'q [u8]>,
    numwant: Option<&'q [u8]>,
    compact: Option<&'q [u8]>,
    no_peer_id: Option<&'q [u8]>,
    key: Option<&'q [u8]>,
    passkey: Option<&'q [u8]>,
    ip: Option<&'q [u8]>,
    ipv4: Option<&'q [u8]>,
    ipv6: Option<&'q [u8]>,
}

impl<'q> RawAnnounce<'q> {
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
            port: self.port.and_then(number).and_then(|port| u16::try_from(port).ok()),
            left: self.left.and_then(number).unwrap_or(u64::MAX),
            uploaded: self.uploaded.and_then(number).unwrap_or(0),
            downloaded: self.downloaded.and_then(number).unwrap_or(0),
            event: self.event.map(event).unwrap_or_default(),
            numwant: self.numwant.and_then(number).map_or(Numwant::DEFAULT, |asked| {
                Numwant::new(i64::try_from(asked).unwrap_or(i64::MAX))
            }),
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
fn number(raw: &[u8]) -> Option<u64> {
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
fn event(raw: &[u8]) -> Event {
    match raw {
        b"started" => Event::Started,
        b"completed" => Event::Completed,
        b"stopped" => Event::Stopped,
        b"paused" => Event::Paused,
        _ => Event::None,
    }
}

/// A number of this many digits may be too large for `u64`; one of fewer is not.
const DIGITS_MAX: usize = 20;

fn hex_number(digits: &[u8; 8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
    const PEER_ID: &str = "-MG0001-abcdefghijkl";

    /// The announce that `more` makes of a minimal one.
    fn with(more: &str) -> String {
        format!("info_hash={HASH}&peer_id={PEER_ID}&{more}")
    }

    #[track_caller]
    fn check(query: &str, look: impl FnOnce(Announce<'_>)) {
        match parse_announce(query.as_bytes()) {
            Ok(announce) => look(announce),
            Err(why) => panic!("{why}: {query}"),
        }
    }

    #[track_caller]
    fn check_refused(query: &str, why: Malformed) {
        assert_eq!(parse_announce(query.as_bytes()), Err(why), "{query}");
    }

    #[track_caller]
    fn check_left(value: &str, left: u64) {
        check(&with(&format!("left={value}")), |announce| assert_eq!(announce.left, left));
    }

    #[track_caller]
    fn check_event(value: &str, event: Event) {
        check(&with(&format!("event={value}")), |announce| assert_eq!(announce.event, event));
    }

    #[track_caller]
    fn check_numwant(more: &str, asked: Option<u32>) {
        check(&with(more), |announce| assert_eq!(announce.numwant.asked(), asked, "{more}"));
    }

    #[test]
    fn a8_an_infohash_is_twenty_bytes() {
        let short = &HASH[..HASH.len() - 3];
        check_refused(&format!("info_hash={short}&peer_id={PEER_ID}"), Malformed::InfoHashLength);
        check_refused(&format!("info_hash={HASH}x&peer_id={PEER_ID}"), Malformed::InfoHashLength);
        check_refused(&format!("info_hash=&peer_id={PEER_ID}"), Malformed::InfoHashLength);
        check_refused(&format!("info_hash&peer_id={PEER_ID}"), Malformed::InfoHashLength);
        check_refused(&format!("peer_id={PEER_ID}"), Malformed::InfoHashMissing);
        check_refused("", Malformed::InfoHashMissing);
    }

    #[test]
    fn a_peer_id_is_twenty_bytes() {
        check_refused(&format!("info_hash={HASH}"), Malformed::PeerIdMissing);
        check_refused(&format!("info_hash={HASH}&peer_id=short"), Malformed::PeerIdLength);
        check_refused(&format!("info_hash={HASH}&peer_id={PEER_ID}x"), Malformed::PeerIdLength);
        check_refused(&format!("info_hash={HASH}&peer_id="), Malformed::PeerIdLength);
    }

    #[test]
    fn a9_plus_is_a_literal_plus() {
        check(&format!("info_hash=++++++++++++++++++++&peer_id={PEER_ID}"), |announce| {
            assert_eq!(announce.info_hash, InfoHash([b'+'; 20]));
        });
    }

    #[test]
    fn a10_pairs_in_any_order_empty_or_unknown() {
        let pieces: Vec<_> = pairs(b"a=1&&foo&b=&=c&d==e=&").collect();
        let text = |bytes| str::from_utf8(bytes).unwrap();
        let pieces: Vec<_> = pieces.into_iter().map(|(k, v)| (text(k), text(v))).collect();
        assert_eq!(pieces, [("a", "1"), ("foo", ""), ("b", ""), ("", "c"), ("d", "=e=")]);

        check(
            &format!("&foo&port=6881&=&event=&peer_id={PEER_ID}&corrupt=0&left=5&info_hash={HASH}"),
            |announce| {
                assert_eq!(announce.port, Some(6881));
                assert_eq!(announce.left, 5);
                assert_eq!(announce.event, Event::None);
            },
        );
        check(&with("passkey=a=b=c&left=7"), |announce| {
            assert_eq!(announce.passkey.unwrap().bytes(), b"a=b=c");
            assert_eq!(announce.left, 7);
        });
    }

    #[test]
    fn a11_the_first_of_a_key_counts_and_a_second_infohash_is_refused() {
        check(&with("ip=192.0.2.1&ip=192.0.2.2&left=1&left=0"), |announce| {
            assert_eq!(announce.ip, Some(&b"192.0.2.1"[..]));
            assert_eq!(announce.left, 1);
        });
        check_refused(&with(&format!("info_hash={HASH}")), Malformed::InfoHashTwice);
        check_refused(&with("info_hash="), Malformed::InfoHashTwice);
    }

    #[test]
    fn a12_left_is_known_huge_or_unknown() {
        check_left("0", 0);
        check_left("00", 0);
        check_left("16384", 16384);
        check_left("9223372036854775807", i64::MAX as u64);
        check_left("18446744073709551615", u64::MAX);
        check_left("18446744073709551616", u64::MAX);
        check_left("99999999999999999999999999999999", u64::MAX);
        for unknown in ["", "-1", "-0", "NaN", "null", "1.5", "0x10", "+5", " 5", "%", "%zz"] {
            check_left(unknown, u64::MAX);
        }
        check_left("%30", 0);
        check_left("1%32%33", 123);
        check_left("%31%", u64::MAX);
        check(&with(""), |announce| assert_eq!(announce.left, u64::MAX));
        check(&with("left"), |announce| assert_eq!(announce.left, u64::MAX));
    }

    #[test]
    fn a13_numwant() {
        check_numwant("", None);
        check_numwant("numwant", None);
        check_numwant("numwant=", None);
        check_numwant("numwant=-1", None);
        check_numwant("numwant=lots", None);
        check_numwant("numwant=0", Some(0));
        check_numwant("numwant=200", Some(200));
        check_numwant("numwant=4294967296", Some(u32::MAX));
        check_numwant("numwant=99999999999999999999999", Some(u32::MAX));
    }

    #[test]
    fn a14_events_known_empty_and_unknown() {
        check_event("started", Event::Started);
        check_event("completed", Event::Completed);
        check_event("stopped", Event::Stopped);
        check_event("paused", Event::Paused);
        for none in ["", "empty", "update", "Started", "started ", "%00", "event"] {
            check_event(none, Event::None);
        }
        check(&with(""), |announce| assert_eq!(announce.event, Event::None));
    }

    #[test]
    fn a16_a17_a_port_may_be_absent_or_zero() {
        let port =
            |more: &str, port| check(&with(more), |announce| assert_eq!(announce.port, port));
        port("event=stopped", None);
        port("port=", None);
        port("port=0&event=stopped", Some(0));
        port("port=1", Some(1));
        port("port=65535", Some(65535));
        port("port=65536", None);
        port("port=450559", None);
        port("port=-1", None);
        port("port=6881x", None);
    }

    #[test]
    fn a7_a23_compact_peer_ids_and_key() {
        check(&with(""), |announce| {
            assert_eq!(announce.compact, None);
            assert!(!announce.no_peer_id);
            assert_eq!(announce.key, b"");
        });
        check(&with("compact=1&no_peer_id=1&key=1A2B3C4D"), |announce| {
            assert_eq!(announce.compact, Some(true));
            assert!(announce.no_peer_id);
            assert_eq!(announce.key, b"1A2B3C4D");
        });
        check(&with("compact=0&no_peer_id=0&key=-1234567890"), |announce| {
            assert_eq!(announce.compact, Some(false));
            assert!(!announce.no_peer_id);
            assert_eq!(announce.key, b"-1234567890");
        });
        check(&with(&format!("key={}", "k".repeat(1000))), |announce| {
            assert_eq!(announce.key.len(), Announce::KEY_BYTES_MAX);
        });
    }

    #[test]
    fn a23_one_client_over_both_protocols() {
        let tag =
            |key: &str| parse_announce(with(&format!("key={key}")).as_bytes()).unwrap().client();
        let udp = ClientTag::new(PEER_ID.as_bytes().try_into().unwrap(), &[0x1a, 0x2b, 0x3c, 0x4d]);
        assert_eq!(tag("1A2B3C4D"), udp);
        assert_eq!(tag("1a2b3c4d"), udp);
        assert_ne!(tag("1A2B3C4E"), udp);
        assert_ne!(tag("1A2B3C4"), udp);
        assert_ne!(tag("%1A%2B%3C%4D"), tag(""));
        assert_eq!(tag("1A2B3C4G"), tag("1A2B3C4G"));
    }

    #[test]
    fn a20_claimed_addresses() {
        let check = |raw: &str, expected: Option<(&str, Option<u16>)>| {
            let expected = expected.map(|(address, port)| (address.parse().unwrap(), port));
            assert_eq!(claimed_address(raw.as_bytes()), expected, "{raw}");
        };
        check("192.0.2.1", Some(("192.0.2.1", None)));
        check("192.0.2.1:6881", Some(("192.0.2.1", Some(6881))));
        check("2001:db8::1", Some(("2001:db8::1", None)));
        check("2001%3Adb8%3A%3A1", Some(("2001:db8::1", None)));
        check("%5B2001%3Adb8%3A%3A1%5D%3A6881", Some(("2001:db8::1", Some(6881))));
        check("[2001:db8::1]", Some(("2001:db8::1", None)));
        check("::ffff:192.0.2.1", Some(("192.0.2.1", None)));
        check("tracker.example", None);
        check("", None);
        check("%ff%fe", None);
        check(&"1".repeat(65), None);
    }

    #[test]
    fn a35_nul_and_bytes_that_are_not_utf8() {
        let query = b"info_hash=\0\xff\xc3\x28567890123456789\0&peer_id=%00%ff%fe%0045678901234567%ff\0&key=\xff\0";
        let announce = parse_announce(query).unwrap();
        assert_eq!(announce.info_hash.0[..3], [0, 0xff, 0xc3]);
        assert_eq!(announce.peer_id[..4], [0, 0xff, 0xfe, 0]);
        assert_eq!(announce.key, b"\xff\0");
    }

    #[test]
    fn a6_the_engine_sees_a_mapped_address_as_ipv4() {
        check(&with("port=6881&left=3&event=started"), |announce| {
            let families = Families { v4: true, v6: false };
            let engine = announce.to_engine("::ffff:192.0.2.7".parse().unwrap(), families, 9);
            assert_eq!(engine.address, "192.0.2.7".parse::<IpAddr>().unwrap());
            assert_eq!((engine.port, engine.left, engine.numwant), (6881, 3, 9));
            assert_eq!((engine.event, engine.families), (Event::Started, families));
            assert_eq!(engine.client, announce.client());
        });
    }

    #[track_caller]
    fn check_scrape(query: &str, hashes: &[u8], everything: bool) {
        let mut found = Vec::new();
        let scrape = parse_scrape(query.as_bytes(), &mut found).unwrap();
        assert_eq!(found.iter().map(|hash| hash.0[0]).collect::<Vec<_>>(), hashes, "{query}");
        assert_eq!(scrape.everything, everything);
    }

    fn hash(byte: u8) -> String {
        format!("info_hash={}", format!("%{byte:02x}").repeat(20))
    }

    #[test]
    fn b2_repeated_infohashes_are_sorted_distinct_and_capped() {
        check_scrape(&hash(7), &[7], false);
        let (a, b) = (hash(0xc8), hash(9));
        check_scrape(&format!("{a}&{b}&{a}"), &[9, 0xc8], false);
        check_scrape(&format!("x=1&{a}&info_hash=short&info_hash=&{b}"), &[9, 0xc8], false);
        let many: Vec<_> = (0..100).map(hash).collect();
        check_scrape(&many.join("&"), &Vec::from_iter(0..64), false);
        let mut found = vec![InfoHash([1; 20])];
        assert_eq!(parse_scrape(b"info_hash=short", &mut found), Err(Malformed::InfoHashLength));
        assert!(found.is_empty());
    }

    #[test]
    fn b4_without_an_infohash_everything_is_asked_for() {
        check_scrape("", &[], true);
        check_scrape("passkey=secret&x", &[], true);
    }

    #[test]
    fn b8_a_scrape_carries_the_passkey() {
        let mut found = Vec::new();
        let query = format!("passkey=secret&{}&passkey=other", hash(1));
        let scrape = parse_scrape(query.as_bytes(), &mut found).unwrap();
        assert_eq!(scrape.passkey.map(Key::bytes), Some(&b"secret"[..]));
        assert!(!format!("{scrape:?}").contains("secret"));
    }
}
