//! Whole replies. Each is appended to a buffer that may already hold replies to earlier requests of
//! the same connection.

use std::fmt;
use std::net::IpAddr;

use shard::{Counts, InfoHash, Reply, Seconds};

use super::ScrapeBody;
use crate::wire::bencode::{decimal, dictionary, list};
use crate::wire::{Line, query};

/// The connection's fate after a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// The reply says `Connection: close`; the connection is to be closed after it.
    Close,
    /// The same after a request with a body, which is not read: the client may still be sending it, and
    /// would be reset by an end that comes too early.
    CloseLate,
    /// The connection stays, as HTTP/1.1 has it without a word.
    Keep,
    /// The connection stays, and the reply says so, for HTTP/1.0.
    KeepNamed,
}

/// How a reply fits its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framing {
    /// The connection's fate.
    pub persistence: Persistence,
    /// The request was a HEAD: the reply is written without its body.
    pub head_only: bool,
}

impl Framing {
    /// A reply to what was no request: it closes.
    pub const CLOSE: Framing = Framing { persistence: Persistence::Close, head_only: false };

    /// Whether the connection stays after the reply.
    pub fn keeps(self) -> bool {
        matches!(self.persistence, Persistence::Keep | Persistence::KeepNamed)
    }

    /// The same, but closing.
    pub fn closing(self) -> Framing {
        match self.persistence {
            Persistence::Close | Persistence::CloseLate => self,
            Persistence::Keep | Persistence::KeepNamed => {
                Framing { persistence: Persistence::Close, ..self }
            }
        }
    }
}

/// How the bytes of a body are to be understood (RFC 9110, section 8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// As they are.
    Identity,
    /// Packed, for a client that accepts it.
    Gzip,
}

/// An announce that succeeded.
#[derive(Clone, Copy)]
pub struct Announced<'a> {
    /// The shard's reply.
    pub reply: &'a Reply,
    /// When to announce again.
    pub interval: Seconds,
    /// How early the client may announce again.
    pub interval_min: Seconds,
    /// The requester's address, to tell it (BEP 24); `None` to keep quiet.
    pub external_ip: Option<IpAddr>,
    /// Peers as byte strings (BEP 23, BEP 7); false for the list of BEP 3, which only a client that
    /// says `compact=0` gets.
    pub compact: bool,
    /// The text for the client's user, though the announce is answered; cut at 200 bytes.
    pub warning: Option<&'a dyn fmt::Display>,
}

/// A request that failed.
#[derive(Clone, Copy)]
pub struct Failure<'a> {
    /// The text that the client's user reads; cut at 200 bytes.
    pub reason: &'a dyn fmt::Display,
    /// When to try again, and how early: what clients go by, as none reads `retry`.
    pub intervals: Option<(Seconds, Seconds)>,
    /// The same as BEP 31 has it.
    pub retry: Option<Retry>,
}

/// Whether trying again makes sense (BEP 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// After so many minutes.
    Minutes(u32),
    /// It does not.
    Never,
}

/// Appends the reply to an announce (BEP 3). `peers` is always there, `peers6` (BEP 7) when there
/// are such peers. `downloaders` is not: BEP 21 has it in scrapes only.
pub fn write_announce(out: &mut Vec<u8>, framing: Framing, announced: &Announced<'_>) {
    let Announced { reply, interval, interval_min, external_ip, compact, warning } = *announced;
    debug_assert!(reply.peers_v4.len() % 6 == 0 && reply.peers_v6.len() % 18 == 0);
    let expected = 110 + reply.peers_v4.len() + reply.peers_v6.len();
    respond(out, framing, Status::Ok, expected, |out| {
        dictionary(out, |entries| {
            entries.integer(b"complete", reply.counts.seeders.into());
            entries.integer(b"downloaded", reply.counts.snatches.into());
            match external_ip.map(|address| address.to_canonical()) {
                Some(IpAddr::V4(address)) => entries.string(b"external ip", &address.octets()),
                Some(IpAddr::V6(address)) => entries.string(b"external ip", &address.octets()),
                None => {}
            }
            entries.integer(b"incomplete", reply.counts.leechers.into());
            entries.integer(b"interval", interval.0.into());
            entries.integer(b"min interval", interval_min.0.into());
            if !compact {
                let peers = (&reply.peers_v4[..], &reply.peers_v6[..]);
                list(entries.key(b"peers"), |items| list_peers(items, peers));
            } else {
                entries.string(b"peers", &reply.peers_v4);
                if !reply.peers_v6.is_empty() {
                    entries.string(b"peers6", &reply.peers_v6);
                }
            }
            if let Some(warning) = warning {
                entries.string(b"warning message", Line::<200>::of(warning).bytes());
            }
        });
    });
}

/// Appends the reply to a scrape (BEP 48): the torrents in bytewise order, each once, those without
/// counts left out. `files` is sorted in place when it is not yet.
///
/// An open tracker gives counts for every hash, zeros when nobody is there: UDP answers zeros as well
/// (BEP 15), and libtorrent takes a hash that is missing for an error. Leaving one out says "not
/// registered here", which a private tracker wants to say.
pub fn write_scrape(
    out: &mut Vec<u8>,
    framing: Framing,
    files: &mut [(InfoHash, Option<Counts>)],
    request_interval_min: Seconds,
) {
    files.sort_unstable_by_key(|(info_hash, _)| *info_hash);
    let expected = 60 + 95 * files.len();
    respond(out, framing, Status::Ok, expected, |out| {
        let mut body = ScrapeBody::begin(out);
        for (info_hash, counts) in files.iter() {
            if let Some(counts) = counts {
                body.torrent(out, info_hash, counts);
            }
        }
        body.end(out, request_interval_min);
    });
}

/// Appends everything but the body of a reply whose body has `length` bytes and comes from elsewhere.
pub fn write_body_head(out: &mut Vec<u8>, framing: Framing, coding: Coding, length: u64) {
    out.extend_from_slice(start_of_head(framing, Status::Ok));
    decimal(out, length);
    out.extend_from_slice(match coding {
        Coding::Identity => b"\r\nVary: Accept-Encoding\r\n\r\n",
        Coding::Gzip => b"\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\n\r\n",
    });
}

/// Appends a failure: a bencoded dictionary with status 200, as clients do not look into a reply with
/// any other status.
pub fn write_failure(out: &mut Vec<u8>, framing: Framing, failure: &Failure<'_>) {
    let reason = Line::<200>::of(failure.reason);
    respond(out, framing, Status::Ok, 60 + reason.bytes().len(), |out| {
        dictionary(out, |entries| {
            entries.string(b"failure reason", reason.bytes());
            if let Some((interval, interval_min)) = failure.intervals {
                entries.integer(b"interval", interval.0.into());
                entries.integer(b"min interval", interval_min.0.into());
            }
            match failure.retry {
                Some(Retry::Minutes(minutes)) => entries.integer(b"retry in", minutes.into()),
                Some(Retry::Never) => entries.string(b"retry in", b"never"),
                None => {}
            }
        });
    });
}

/// Appends the page at `/`: what this is.
pub fn write_root(out: &mut Vec<u8>, framing: Framing) {
    respond(out, framing, Status::Ok, ROOT.len(), |out| out.extend_from_slice(ROOT.as_bytes()));
}

/// Appends the reply to a path that does not exist: a page with status 404 for a browser or robot,
/// and for a BitTorrent client (its query has an infohash) a failure that it can read.
pub fn write_not_found(out: &mut Vec<u8>, framing: Framing, query: &[u8]) {
    if query::has_info_hash(query) {
        let reason = &"There is no tracker at this path";
        let retry = Some(Retry::Never);
        return write_failure(out, framing, &Failure { reason, intervals: None, retry });
    }
    respond(out, framing, Status::NotFound, NOT_FOUND.len(), |out| {
        out.extend_from_slice(NOT_FOUND.as_bytes());
    });
}

/// Status and kind of a reply.
#[derive(Clone, Copy)]
pub(in crate::wire) enum Status {
    /// 200 with text: whatever a client or site reads.
    Ok,
    /// 200 with a page for people.
    Page,
    /// 200 with JSON.
    Json,
    /// 404.
    NotFound,
    /// 503, which ends the connection.
    Unavailable,
}

/// Appends a reply whose body `body` appends. The length goes into a place as wide as `expected` has
/// digits; only when the body turns out longer or shorter than that does it move.
#[inline]
pub(in crate::wire) fn respond(
    out: &mut Vec<u8>,
    framing: Framing,
    status: Status,
    expected: usize,
    body: impl FnOnce(&mut Vec<u8>),
) {
    out.reserve(128 + expected);
    out.extend_from_slice(start_of_head(framing, status));
    let length_at = out.len();
    decimal(out, expected as u64);
    let width = out.len() - length_at;
    out.extend_from_slice(b"\r\n\r\n");
    let body_at = out.len();
    body(out);
    let length = out.len() - body_at;
    // The digits go to the end for a moment, behind everything.
    let end = out.len();
    decimal(out, length as u64);
    if out.len() - end == width {
        out.copy_within(end.., length_at);
        out.truncate(end);
    } else {
        let mut digits = [0; 20];
        let digits = &mut digits[..out.len() - end];
        digits.copy_from_slice(&out[end..]);
        out.truncate(end);
        out.splice(length_at..length_at + width, digits.iter().copied());
    }
    if framing.head_only {
        out.truncate(out.len() - length);
    }
}

/// The head of a reply up to the digits of its length.
#[inline]
fn start_of_head(framing: Framing, status: Status) -> &'static [u8] {
    match (status, framing.persistence) {
        (Status::Ok, Persistence::Close | Persistence::CloseLate) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "
        }
        (Status::Ok, Persistence::Keep) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "
        }
        (Status::Ok, Persistence::KeepNamed) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\nContent-Length: "
        }
        (kind @ (Status::Page | Status::Json), persistence) => kind_of_head(kind, persistence),
        (Status::NotFound, Persistence::Close | Persistence::CloseLate) => {
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "
        }
        (Status::NotFound, Persistence::Keep) => {
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: "
        }
        (Status::Unavailable, _) => {
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "
        }
        (Status::NotFound, Persistence::KeepNamed) => {
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\nContent-Length: "
        }
    }
}

/// The head of a reply that is no text.
#[cold]
fn kind_of_head(kind: Status, persistence: Persistence) -> &'static [u8] {
    match (kind, persistence) {
        (Status::Json, Persistence::Close | Persistence::CloseLate) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
        }
        (Status::Json, Persistence::Keep) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
        }
        (Status::Json, Persistence::KeepNamed) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: keep-alive\r\nContent-Length: "
        }
        (_, Persistence::Close | Persistence::CloseLate) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: "
        }
        (_, Persistence::Keep) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "
        }
        (_, Persistence::KeepNamed) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: keep-alive\r\nContent-Length: "
        }
    }
}

/// The list form of BEP 3: dictionaries of `ip` and `port`. There is no `peer id` in them, as if the
/// client had said `no_peer_id=1`: peer ids are not kept.
#[cold]
pub(in crate::wire) fn list_peers(items: &mut Vec<u8>, (v4, v6): (&[u8], &[u8])) {
    let (v4, _) = v4.as_chunks::<6>();
    for [a, b, c, d, port @ ..] in v4 {
        list_peer(items, [*a, *b, *c, *d].into(), u16::from_be_bytes(*port));
    }
    let (v6, _) = v6.as_chunks::<18>();
    for peer in v6 {
        let (address, port) = peer.split_first_chunk::<16>().expect("18 bytes are more than 16");
        list_peer(items, (*address).into(), u16::from_be_bytes([port[0], port[1]]));
    }
}

fn list_peer(items: &mut Vec<u8>, address: IpAddr, port: u16) {
    dictionary(items, |peer| {
        peer.string(b"ip", Line::<40>::of(&address).bytes());
        peer.integer(b"port", port.into());
    });
}

const ROOT: &str = "This is a BitTorrent tracker (margay).\n\
    To use it, add this address followed by /announce to the trackers of a torrent.\n";
const NOT_FOUND: &str = "There is nothing here. The tracker answers at /announce and /scrape.\n";

#[cfg(test)]
mod tests;
