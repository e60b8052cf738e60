//! A datagram from a client.

use std::net::{IpAddr, Ipv4Addr};

use shard::{ClientTag, Event, Families, InfoHash, lasting_key};

use super::{Options, Transaction};
use crate::wire::Numwant;

/// Infohashes answered in one scrape (BEP 15: "about 74"); more are left out without a word.
pub const SCRAPE_HASHES_MAX: usize = 74;

/// A client's request. Connection ids are read, not checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// A connection id.
    Connect(Transaction),
    /// To announce.
    Announce(Announce<'a>),
    /// To scrape.
    Scrape(Scrape<'a>),
}

/// An announce (BEP 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announce<'a> {
    /// The connection id that the client got from its connect.
    pub connection_id: u64,
    /// To be sent back.
    pub transaction: Transaction,
    /// The torrent.
    pub info_hash: InfoHash,
    /// The client's name for itself.
    pub peer_id: [u8; 20],
    /// Bytes downloaded since `started`.
    pub downloaded: u64,
    /// Bytes left; −1, which some clients send for unknown, is `u64::MAX`.
    pub left: u64,
    /// Bytes uploaded since `started`.
    pub uploaded: u64,
    /// The event; one that nobody knows is none.
    pub event: Event,
    /// The IPv4 address that the client claims, 0.0.0.0 for none. For trusted networks only.
    pub ip: Ipv4Addr,
    /// A number that some clients say the same in all announces; see [`shard::lasting_key`].
    pub key: u32,
    /// How many peers are asked for.
    pub numwant: Numwant,
    /// Where the client listens.
    pub port: u16,
    /// The options after the fixed part (BEP 41).
    pub options: Options<'a>,
}

/// A scrape (BEP 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scrape<'a> {
    /// The connection id that the client got from its connect.
    pub connection_id: u64,
    /// To be sent back.
    pub transaction: Transaction,
    hashes: &'a [[u8; 20]],
}

/// Why a datagram is no request. None of these is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its action needs; a scrape needs at least one infohash.
    #[error("{got} bytes are too few, {need} are needed")]
    Short {
        /// Bytes that were there.
        got: usize,
        /// Bytes that the action needs at least.
        need: usize,
    },
    /// A connect without the protocol's number.
    #[error("a connect does not start with {CONNECT_MAGIC:#x}")]
    Magic,
    /// An action that clients do not send.
    #[error("action {0} is none of connect, announce, scrape")]
    Action(u32),
}

/// Reads a datagram.
///
/// `0..8` connection id (or the protocol's number), `8..12` action, `12..16` transaction; then for an
/// announce, 98 bytes or more: `16..36` infohash, `36..56` peer id, `56..80` downloaded, left,
/// uploaded, `80..84` event, `84..88` IPv4 address, `88..92` key, `92..96` num_want, `96..98` port,
/// `98..` options; for a scrape: infohashes. More bytes than needed never hurt.
#[inline]
pub fn parse(datagram: &[u8]) -> Result<Request<'_>, Malformed> {
    let short = |need| Malformed::Short { got: datagram.len(), need };
    let (header, rest) = datagram.split_first_chunk().ok_or(short(HEADER_BYTES))?;
    let connection_id = u64::from_be_bytes(field::<0, 8, HEADER_BYTES>(header));
    let action = u32::from_be_bytes(field::<8, 4, HEADER_BYTES>(header));
    let transaction = Transaction(field::<12, 4, HEADER_BYTES>(header));
    match action {
        0 if connection_id == CONNECT_MAGIC => Ok(Request::Connect(transaction)),
        0 => Err(Malformed::Magic),
        1 => {
            let (fixed, options) = datagram.split_first_chunk().ok_or(short(ANNOUNCE_BYTES))?;
            Ok(Request::Announce(announce(connection_id, transaction, fixed, options)))
        }
        2 => match rest.as_chunks::<20>().0 {
            [] => Err(short(HEADER_BYTES + 20)),
            hashes => {
                let hashes = &hashes[..hashes.len().min(SCRAPE_HASHES_MAX)];
                Ok(Request::Scrape(Scrape { connection_id, transaction, hashes }))
            }
        },
        _ => Err(Malformed::Action(action)),
    }
}

impl Announce<'_> {
    /// Which client this is, whatever address and protocol it announces by.
    #[inline]
    pub fn client(&self) -> ClientTag {
        ClientTag::of(&self.peer_id, lasting_key(&self.peer_id, self.key))
    }

    /// The announce for the engine, as seen from `address`, whose family is the one answered.
    /// `numwant` is already decided; see [`Numwant::peers`], [`super::PEERS_V4_MAX`] and
    /// [`super::PEERS_V6_MAX`].
    #[inline]
    pub fn to_engine(&self, address: IpAddr, numwant: u16) -> shard::Announce {
        let address = address.to_canonical();
        shard::Announce {
            info_hash: self.info_hash,
            address,
            port: self.port,
            client: self.client(),
            left: self.left,
            downloaded: self.downloaded,
            event: self.event,
            numwant,
            families: Families { v4: address.is_ipv4(), v6: address.is_ipv6() },
        }
    }
}

impl Scrape<'_> {
    /// The infohashes in the order of the request, 1 to [`SCRAPE_HASHES_MAX`]; a hash may be there
    /// twice.
    #[inline]
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = InfoHash> {
        self.hashes.iter().map(|hash| InfoHash(*hash))
    }
}

#[inline]
fn announce<'a>(
    connection_id: u64,
    transaction: Transaction,
    fixed: &[u8; ANNOUNCE_BYTES],
    options: &'a [u8],
) -> Announce<'a> {
    Announce {
        connection_id,
        transaction,
        info_hash: InfoHash(field::<16, 20, ANNOUNCE_BYTES>(fixed)),
        peer_id: field::<36, 20, ANNOUNCE_BYTES>(fixed),
        downloaded: u64::from_be_bytes(field::<56, 8, ANNOUNCE_BYTES>(fixed)),
        left: u64::from_be_bytes(field::<64, 8, ANNOUNCE_BYTES>(fixed)),
        uploaded: u64::from_be_bytes(field::<72, 8, ANNOUNCE_BYTES>(fixed)),
        event: event(u32::from_be_bytes(field::<80, 4, ANNOUNCE_BYTES>(fixed))),
        ip: Ipv4Addr::from(field::<84, 4, ANNOUNCE_BYTES>(fixed)),
        key: u32::from_be_bytes(field::<88, 4, ANNOUNCE_BYTES>(fixed)),
        numwant: Numwant::new(i32::from_be_bytes(field::<92, 4, ANNOUNCE_BYTES>(fixed)).into()),
        port: u16::from_be_bytes(field::<96, 2, ANNOUNCE_BYTES>(fixed)),
        options: Options::new(options),
    }
}

/// 4 is how libtorrent sends `paused` (BEP 21): the number it has for it, cast.
#[inline]
fn event(number: u32) -> Event {
    match number {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        4 => Event::Paused,
        _ => Event::None,
    }
}

/// `BYTES` bytes from `AT` on.
#[inline]
fn field<const AT: usize, const BYTES: usize, const OF: usize>(bytes: &[u8; OF]) -> [u8; BYTES] {
    const { assert!(AT + BYTES <= OF) };
    std::array::from_fn(|index| bytes[AT + index])
}

const CONNECT_MAGIC: u64 = 0x0417_2710_1980;
const HEADER_BYTES: usize = 16;
const ANNOUNCE_BYTES: usize = 98;

#[cfg(test)]
mod tests;
