//! A datagram is read or refused, and what is read says what the bytes say: written out again from
//! its fields it is the same datagram.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::udp::{self, Malformed, Request, SCRAPE_HASHES_MAX, URL_DATA_BYTES_MAX};
use shard::Event;

fuzz_target!(|datagram: &[u8]| {
    match udp::parse(datagram) {
        Ok(Request::Connect(transaction)) => {
            assert_eq!(datagram[..12], [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0]);
            assert_eq!(datagram[12..16], transaction.0);
            assert_eq!(udp::parse(&datagram[..16]), Ok(Request::Connect(transaction)));
        }
        Ok(Request::Announce(announce)) => {
            let mut again = announce.connection_id.to_be_bytes().to_vec();
            again.extend_from_slice(&1u32.to_be_bytes());
            again.extend_from_slice(&announce.transaction.0);
            again.extend_from_slice(&announce.info_hash.0);
            again.extend_from_slice(&announce.peer_id);
            for amount in [announce.downloaded, announce.left, announce.uploaded] {
                again.extend_from_slice(&amount.to_be_bytes());
            }
            again.extend_from_slice(&event(announce.event, &datagram[80..84]));
            again.extend_from_slice(&announce.ip.octets());
            again.extend_from_slice(&announce.key.to_be_bytes());
            again.extend_from_slice(&numwant(announce.numwant.asked(), &datagram[92..96]));
            again.extend_from_slice(&announce.port.to_be_bytes());
            assert_eq!(again, datagram[..98]);

            let mut buffer = [0; URL_DATA_BYTES_MAX];
            assert!(announce.options.url_data(&mut buffer).len() <= datagram.len() - 98);
            let shorter = udp::parse(&datagram[..97]);
            assert_eq!(shorter, Err(Malformed::Short { got: 97, need: 98 }));
        }
        Ok(Request::Scrape(scrape)) => {
            let hashes = (datagram.len() - 16) / 20;
            assert_eq!(scrape.hashes().len(), hashes.min(SCRAPE_HASHES_MAX));
            let read: Vec<u8> = scrape.hashes().flat_map(|hash| hash.0).collect();
            assert_eq!(read, datagram[16..16 + read.len()]);
            assert!(!read.is_empty());
        }
        Err(Malformed::Short { got, need }) => {
            assert!(got == datagram.len() && got < need && need <= 98);
        }
        Err(Malformed::Magic) => assert_eq!(datagram[8..12], [0; 4]),
        Err(Malformed::Action(action)) => {
            assert!(action > 2);
            assert_eq!(datagram[8..12], action.to_be_bytes());
        }
    }
});

/// The number of an event; for none the bytes as they were, which must be no known number.
fn event(event: Event, sent: &[u8]) -> [u8; 4] {
    let number: u32 = match event {
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
        Event::Paused => 4,
        Event::None => {
            let sent = sent.try_into().expect("4 bytes");
            assert!(!(1..=4).contains(&u32::from_be_bytes(sent)));
            return sent;
        }
    };
    number.to_be_bytes()
}

/// The number of peers asked for; for the default the bytes as they were, which must be negative.
fn numwant(asked: Option<u32>, sent: &[u8]) -> [u8; 4] {
    let sent: [u8; 4] = sent.try_into().expect("4 bytes");
    asked.map_or_else(
        || {
            assert!(i32::from_be_bytes(sent) < 0);
            sent
        },
        u32::to_be_bytes,
    )
}
