//! Announces over UDP as bytes (BEP 15, BEP 41).

use std::net::SocketAddr;
use std::time::Duration;

use super::answer::{Answer, compact_v4, compact_v6, text};
use super::{Announce, Event};

/// A connect of 16 bytes.
pub fn connect(transaction: u32) -> [u8; 16] {
    let mut datagram = [0; 16];
    datagram[..8].copy_from_slice(&PROTOCOL.to_be_bytes());
    datagram[8..12].copy_from_slice(&CONNECT.to_be_bytes());
    datagram[12..].copy_from_slice(&transaction.to_be_bytes());
    datagram
}

/// An announce of 98 bytes, and `path` behind it in as many options of BEP 41 as it takes.
pub fn announce(connection: u64, transaction: u32, announce: &Announce, path: &str) -> Vec<u8> {
    let mut datagram =
        Vec::with_capacity(ANNOUNCE_BYTES + path.len() + 2 * path.len().div_ceil(OPTION_BYTES_MAX));
    datagram.extend(connection.to_be_bytes());
    datagram.extend(ANNOUNCE.to_be_bytes());
    datagram.extend(transaction.to_be_bytes());
    datagram.extend(announce.info_hash.0);
    datagram.extend(announce.peer_id);
    // Signed where they are read, and so never beyond what is positive there.
    for counter in [announce.downloaded, announce.left, announce.uploaded] {
        datagram.extend(counter.min(i64::MAX as u64).to_be_bytes());
    }
    let event: u32 = match announce.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    };
    datagram.extend(event.to_be_bytes());
    datagram.extend([0; 4]); // The address is that of the packet.
    datagram.extend(announce.key.to_be_bytes());
    datagram.extend(announce.numwant.min(i32::MAX as u32).to_be_bytes());
    datagram.extend(announce.port.to_be_bytes());
    debug_assert_eq!(datagram.len(), ANNOUNCE_BYTES);
    for part in path.as_bytes().chunks(OPTION_BYTES_MAX) {
        datagram.extend([URL_DATA, part.len() as u8]);
        datagram.extend(part);
    }
    datagram
}

/// What came from a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// The connection id.
    Connected(u64),
    /// The announce is booked.
    Announced(Answer),
    /// It is not, and why.
    Error(String),
}

/// The transaction id of a datagram that may be an answer.
pub fn transaction(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*datagram.get(4..)?.first_chunk()?))
}

/// Reads an answer; peers are of the family of `from`. None when it is none.
pub fn read(datagram: &[u8], from: SocketAddr) -> Option<Received> {
    let (action, rest) = datagram.split_first_chunk::<4>()?;
    let (_transaction, rest) = rest.split_first_chunk::<4>()?;
    match u32::from_be_bytes(*action) {
        CONNECT => Some(Received::Connected(u64::from_be_bytes(*rest.first_chunk()?))),
        ANNOUNCE => {
            let (fixed, compact) = rest.split_first_chunk::<12>()?;
            let word = |at: usize| {
                u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
            };
            let interval = i32::try_from(word(0)).unwrap_or(0).max(0) as u64;
            let mut peers = Vec::new();
            if from.ip().to_canonical().is_ipv4() {
                compact_v4(compact, &mut peers);
            } else {
                compact_v6(compact, &mut peers);
            }
            Some(Received::Announced(Answer {
                interval: (interval > 0).then(|| Duration::from_secs(interval)),
                leechers: Some(word(4)),
                seeders: Some(word(8)),
                peers,
                ..Answer::default()
            }))
        }
        ERROR => Some(Received::Error(text(rest))),
        _ => None,
    }
}

const PROTOCOL: u64 = 0x417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const ERROR: u32 = 3;
const ANNOUNCE_BYTES: usize = 98;
/// Option of BEP 41, of at most 255 bytes; its pieces are put together.
const URL_DATA: u8 = 2;
const OPTION_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use shard::InfoHash;

    fn announced(path: &str) -> Vec<u8> {
        let announce = Announce {
            info_hash: InfoHash([7; 20]),
            peer_id: *b"-MG0200-abcdefghijkl",
            port: 6881,
            key: 0x0102_0304,
            event: Event::Started,
            left: u64::MAX,
            uploaded: 3,
            downloaded: 2,
            numwant: 50,
            tracker_id: None,
        };
        super::announce(0xaabb, 9, &announce, path)
    }

    #[test]
    fn an_announce_has_its_fields_where_they_belong() {
        let datagram = announced("");
        assert_eq!(datagram.len(), 98);
        assert_eq!(datagram[..16], [0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(datagram[16..36], [7; 20]);
        assert_eq!(&datagram[36..56], b"-MG0200-abcdefghijkl");
        assert_eq!(datagram[56..64], 2u64.to_be_bytes());
        assert_eq!(datagram[64..72], i64::MAX.to_be_bytes());
        assert_eq!(datagram[72..80], 3u64.to_be_bytes());
        assert_eq!(datagram[80..], [0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 50, 0x1a, 0xe1]);
    }

    #[test]
    fn a_path_takes_as_many_options_as_it_needs() {
        assert_eq!(announced("/announce")[98..], *b"\x02\x09/announce");
        let path = format!("/{}", "k".repeat(599));
        let mut rest = &announced(&path)[98..];
        let mut read: Vec<u8> = Vec::new();
        while let [kind, length, more @ ..] = rest {
            assert_eq!(*kind, 2);
            let (part, more) = more.split_at(usize::from(*length));
            read.extend(part);
            rest = more;
        }
        assert_eq!(read, path.as_bytes());
    }

    #[test]
    fn answers_are_read_by_family() {
        let v4: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(
            read(&[0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5], v4),
            Some(Received::Connected(5))
        );
        let mut datagram = vec![0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 7, 8, 0, 0, 0, 2, 0, 0, 0, 3];
        datagram.extend([127, 0, 0, 1, 0x1a, 0xe1, 9, 9]);
        let Some(Received::Announced(answer)) = read(&datagram, v4) else { panic!() };
        assert_eq!(answer.interval, Some(Duration::from_secs(1800)));
        assert_eq!((answer.leechers, answer.seeders), (Some(2), Some(3)));
        assert_eq!(answer.peers, ["127.0.0.1:6881".parse::<SocketAddr>().unwrap()]);
        datagram.truncate(20);
        datagram.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x1a, 0xe1]);
        let Some(Received::Announced(answer)) = read(&datagram, v6) else { panic!() };
        assert_eq!(answer.peers, ["[2001:db8::2]:6881".parse::<SocketAddr>().unwrap()]);
        assert_eq!(
            read(b"\0\0\0\x03\x01\x02\x03\x04no\x07", v4),
            Some(Received::Error("no".into()))
        );
        assert_eq!(transaction(&datagram), Some(0x0102_0304));
    }

    #[test]
    fn what_is_cut_is_nothing() {
        let from: SocketAddr = "192.0.2.1:80".parse().unwrap();
        for datagram in [
            &[][..],
            &[0; 7],
            &[0; 15],
            &[0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 7, 8],
            &[0, 0, 0, 9, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(read(datagram, from), None, "{datagram:?}");
        }
        assert_eq!(transaction(&[0; 7]), None);
    }
}
