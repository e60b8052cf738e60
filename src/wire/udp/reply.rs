//! Datagrams to clients, each appended to a buffer.

use std::fmt;

use shard::{Counts, Seconds};

use super::Transaction;
use super::request::SCRAPE_HASHES_MAX;
use crate::wire::Line;

/// The largest datagram sent: what fits the smallest MTU of IPv6, 1280 bytes, behind its 40 bytes of
/// header and UDP's 8. So no reply is fragmented on any path, tunnels included; and some clients
/// refuse a datagram of more than one Ethernet frame (1472 bytes over IPv4). It holds more IPv4 peers
/// than clients ask for: the most that any does is 200.
pub const DATAGRAM_BYTES_MAX: usize = 1280 - 40 - 8;

/// The most peers in one reply over IPv4.
pub const PEERS_V4_MAX: u16 = ((DATAGRAM_BYTES_MAX - ANNOUNCE_HEADER_BYTES) / 6) as u16;

/// The most peers in one reply over IPv6.
pub const PEERS_V6_MAX: u16 = ((DATAGRAM_BYTES_MAX - ANNOUNCE_HEADER_BYTES) / 18) as u16;

/// The longest text of an error. With it the reply has 98 bytes: no more than the smallest request
/// that is answered with one, an announce, so that errors are safe to send to whoever asked.
pub const ERROR_TEXT_BYTES_MAX: usize = 90;

/// Appends the reply to a connect: 16 bytes, as many as the request had at least.
#[inline]
pub fn write_connect(out: &mut Vec<u8>, transaction: Transaction, connection_id: u64) {
    header(out, 0, transaction);
    out.extend_from_slice(&connection_id.to_be_bytes());
}

/// Appends the reply to an announce: 20 bytes, then `peers` as the shard wrote them, 6 bytes each
/// over IPv4, 18 over IPv6. There must be no more than [`PEERS_V4_MAX`] or [`PEERS_V6_MAX`].
#[inline]
pub fn write_announce(
    out: &mut Vec<u8>,
    transaction: Transaction,
    interval: Seconds,
    counts: Counts,
    peers: &[u8],
) {
    debug_assert!(ANNOUNCE_HEADER_BYTES + peers.len() <= DATAGRAM_BYTES_MAX);
    out.reserve(ANNOUNCE_HEADER_BYTES + peers.len());
    let mut fixed = [0; ANNOUNCE_HEADER_BYTES];
    fixed[0..4].copy_from_slice(&1u32.to_be_bytes());
    fixed[4..8].copy_from_slice(&transaction.0);
    fixed[8..12].copy_from_slice(&interval.0.to_be_bytes());
    fixed[12..16].copy_from_slice(&counts.leechers.to_be_bytes());
    fixed[16..20].copy_from_slice(&counts.seeders.to_be_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(peers);
}

/// Appends the reply to a scrape: seeders, completed downloads and leechers of each torrent, in the
/// order of the request; zeros for one that is not here.
#[inline]
pub fn write_scrape(
    out: &mut Vec<u8>,
    transaction: Transaction,
    torrents: impl IntoIterator<Item = Counts>,
) {
    header(out, 2, transaction);
    for counts in torrents.into_iter().take(SCRAPE_HASHES_MAX) {
        let mut entry = [0; 12];
        entry[0..4].copy_from_slice(&counts.seeders.to_be_bytes());
        entry[4..8].copy_from_slice(&counts.snatches.to_be_bytes());
        entry[8..12].copy_from_slice(&counts.leechers.to_be_bytes());
        out.extend_from_slice(&entry);
    }
}

/// Appends an error; its text is cut at [`ERROR_TEXT_BYTES_MAX`].
pub fn write_error(out: &mut Vec<u8>, transaction: Transaction, text: &dyn fmt::Display) {
    header(out, 3, transaction);
    out.extend_from_slice(Line::<ERROR_TEXT_BYTES_MAX>::of(text).bytes());
}

#[inline]
fn header(out: &mut Vec<u8>, action: u32, transaction: Transaction) {
    let mut fixed = [0; 8];
    fixed[0..4].copy_from_slice(&action.to_be_bytes());
    fixed[4..8].copy_from_slice(&transaction.0);
    out.extend_from_slice(&fixed);
}

const ANNOUNCE_HEADER_BYTES: usize = 20;

const _: () = assert!(PEERS_V4_MAX == 202 && PEERS_V6_MAX == 67);
const _: () = assert!(8 + 12 * SCRAPE_HASHES_MAX <= DATAGRAM_BYTES_MAX);

#[cfg(test)]
mod tests;
