//! Datagrams of the UDP tracker protocol (BEP 15, 41), big endian: requests written, replies read.

use crate::users::Passkey;

/// Most hashes a scrape may carry (BEP 15, "Scrape").
pub(crate) const SCRAPE_MAX: usize = 74;

/// `event` of an announce, with the numbers of BEP 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    None = 0,
    Completed = 1,
    Started = 2,
    Stopped = 3,
}

/// What an announce says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announce {
    pub(crate) info_hash: [u8; 20],
    pub(crate) peer_id: [u8; 20],
    pub(crate) left: u64,
    pub(crate) event: Event,
    pub(crate) numwant: i32,
    pub(crate) port: u16,
    pub(crate) counters: Counters,
    /// At a private tracker.
    pub(crate) passkey: Option<Passkey>,
}

/// What a peer says it has moved, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
}

/// What a tracker sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// `id` is to be sent with the requests that follow.
    Connect { transaction: u32, id: u64 },
    /// `peers` is 6 (IPv4) or 18 (IPv6) bytes a peer; which, only the socket knows.
    Announce { transaction: u32, leechers: u32, seeders: u32, peers: &'a [u8] },
    /// 12 bytes a torrent: seeders, completed, leechers.
    Scrape { transaction: u32, counts: &'a [u8] },
    /// The tracker refused, with a text.
    Error { transaction: u32 },
}

/// The option of BEP 41 for path and query of the URL, and how long `/PASSKEY/announce` is.
const URL_DATA: u8 = 2;
const URL_DATA_BYTES: usize = 42;

/// Magic number of a connect request.
const PROTOCOL_ID: u64 = 0x0417_2710_1980;

/// Writes a connect request: magic, action 0, transaction.
pub(crate) fn write_connect(buffer: &mut [u8], transaction: u32) -> usize {
    buffer[..8].copy_from_slice(&PROTOCOL_ID.to_be_bytes());
    buffer[8..12].copy_from_slice(&0_u32.to_be_bytes());
    buffer[12..16].copy_from_slice(&transaction.to_be_bytes());
    16
}

/// Writes an announce: `16..36` infohash, `36..56` peer id, `56..80` downloaded, left, uploaded,
/// `80..84` event, `84..88` address (none), `88..92` key, `92..96` numwant, `96..98` port; behind it, at a
/// private tracker, the path of the announce URL as an option (BEP 41).
pub(crate) fn write_announce(
    buffer: &mut [u8],
    connection: u64,
    transaction: u32,
    announce: &Announce,
) -> usize {
    buffer[..8].copy_from_slice(&connection.to_be_bytes());
    buffer[8..12].copy_from_slice(&1_u32.to_be_bytes());
    buffer[12..16].copy_from_slice(&transaction.to_be_bytes());
    buffer[16..36].copy_from_slice(&announce.info_hash);
    buffer[36..56].copy_from_slice(&announce.peer_id);
    buffer[56..64].copy_from_slice(&announce.counters.downloaded.to_be_bytes());
    buffer[64..72].copy_from_slice(&announce.left.to_be_bytes());
    buffer[72..80].copy_from_slice(&announce.counters.uploaded.to_be_bytes());
    buffer[80..84].copy_from_slice(&(announce.event as u32).to_be_bytes());
    buffer[84..88].fill(0);
    buffer[88..92].copy_from_slice(&announce.peer_id[16..]);
    buffer[92..96].copy_from_slice(&announce.numwant.to_be_bytes());
    buffer[96..98].copy_from_slice(&announce.port.to_be_bytes());
    let Some(passkey) = announce.passkey else { return 98 };
    buffer[98..100].copy_from_slice(&[URL_DATA, URL_DATA_BYTES as u8]);
    buffer[100] = b'/';
    buffer[101..133].copy_from_slice(&passkey);
    buffer[133..142].copy_from_slice(b"/announce");
    100 + URL_DATA_BYTES
}

/// Writes a scrape of `hashes`, of which the first [`SCRAPE_MAX`] count.
pub(crate) fn write_scrape(
    buffer: &mut [u8],
    connection: u64,
    transaction: u32,
    hashes: impl Iterator<Item = [u8; 20]>,
) -> usize {
    buffer[..8].copy_from_slice(&connection.to_be_bytes());
    buffer[8..12].copy_from_slice(&2_u32.to_be_bytes());
    buffer[12..16].copy_from_slice(&transaction.to_be_bytes());
    let mut len = 16;
    for hash in hashes.take(SCRAPE_MAX) {
        buffer[len..len + 20].copy_from_slice(&hash);
        len += 20;
    }
    len
}

/// Reads a reply; `None` when it is too short or of no known action.
pub(crate) fn read_reply(datagram: &[u8]) -> Option<Reply<'_>> {
    let action = u32_at(datagram, 0)?;
    let transaction = u32_at(datagram, 4)?;
    match action {
        0 => {
            let id = datagram.get(8..16)?.try_into().expect("8 bytes");
            Some(Reply::Connect { transaction, id: u64::from_be_bytes(id) })
        }
        1 => Some(Reply::Announce {
            transaction,
            leechers: u32_at(datagram, 12)?,
            seeders: u32_at(datagram, 16)?,
            peers: datagram.get(20..)?,
        }),
        2 => Some(Reply::Scrape { transaction, counts: &datagram[8..] }),
        3 => Some(Reply::Error { transaction }),
        _ => None,
    }
}

/// A big-endian number at `offset`, if there are four bytes.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_16_bytes_with_the_magic() {
        let mut buffer = [0xff; 32];
        assert_eq!(write_connect(&mut buffer, 0x0102_0304), 16);
        assert_eq!(buffer[..16], [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_announce_has_each_field_where_bep_15_puts_it() {
        let announce = Announce {
            info_hash: [0x11; 20],
            peer_id: [0x22; 20],
            left: 0x0333,
            event: Event::Stopped,
            numwant: -1,
            port: 0x1ae1,
            counters: Counters { uploaded: 0x0555, downloaded: 0x0444 },
            passkey: None,
        };
        let mut buffer = [0xff; 160];
        assert_eq!(write_announce(&mut buffer, 0x0a0b, 7, &announce), 98);
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0, 0, 0, 1, 0, 0, 0, 7];
        expected.extend([0x11; 20]);
        expected.extend([0x22; 20]);
        expected.extend([0, 0, 0, 0, 0, 0, 0x04, 0x44]);
        expected.extend([0, 0, 0, 0, 0, 0, 0x03, 0x33]);
        expected.extend([0, 0, 0, 0, 0, 0, 0x05, 0x55]);
        expected.extend([0, 0, 0, 3, 0, 0, 0, 0]);
        expected.extend([0x22, 0x22, 0x22, 0x22, 0xff, 0xff, 0xff, 0xff, 0x1a, 0xe1]);
        assert_eq!(buffer[..98], expected[..]);

        let private = Announce { passkey: Some([b'k'; 32]), ..announce };
        assert_eq!(write_announce(&mut buffer, 0x0a0b, 7, &private), 142);
        assert_eq!(buffer[..98], expected[..]);
        let option = format!("\x02\x2a/{}/announce", "k".repeat(32));
        assert_eq!(buffer[98..142], *option.as_bytes());
    }

    #[test]
    fn a_scrape_stops_at_74_hashes() {
        let mut buffer = [0; 2048];
        assert_eq!(write_scrape(&mut buffer, 1, 2, std::iter::repeat_n([9; 20], 3)), 16 + 60);
        assert_eq!(buffer[8..16], [0, 0, 0, 2, 0, 0, 0, 2]);
        assert_eq!(write_scrape(&mut buffer, 1, 2, std::iter::repeat([9; 20])), 16 + 20 * 74);
    }

    #[test]
    fn replies_are_told_apart_by_their_action() {
        let reply = |action: u8, rest: &[u8]| [&[0, 0, 0, action, 0, 0, 0, 5], rest].concat();
        assert_eq!(
            read_reply(&reply(0, &[0, 0, 0, 0, 0, 0, 1, 2])),
            Some(Reply::Connect { transaction: 5, id: 0x0102 })
        );
        assert_eq!(
            read_reply(&reply(1, &[0; 18])),
            Some(Reply::Announce { transaction: 5, leechers: 0, seeders: 0, peers: &[0; 6] })
        );
        assert_eq!(
            read_reply(&reply(2, &[1; 12])),
            Some(Reply::Scrape { transaction: 5, counts: &[1; 12] })
        );
        assert_eq!(read_reply(&reply(3, b"no")), Some(Reply::Error { transaction: 5 }));
        for broken in [&reply(0, &[1; 7])[..], &reply(1, &[1; 11]), &reply(4, &[]), &[0; 7], &[]] {
            assert_eq!(read_reply(broken), None);
        }
    }
}
