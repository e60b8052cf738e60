//! An announce is what a slow reading of the same pairs says, and survives being written and read
//! again.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use margay::wire::query::{Announce, Malformed, claimed_address, pairs, parse_announce};
use margay::wire::{Key, percent};
use shard::{Event, Families};

fuzz_target!(|sent: &[u8]| {
    let query = &meant(sent)[..];
    let hashes = pairs(query).filter(|(key, _)| *key == b"info_hash").count();
    match parse_announce(sent) {
        Ok(announce) => {
            assert_eq!(hashes, 1);
            assert_eq!(announce.info_hash.0[..], slow(first(query, b"info_hash").unwrap()));
            assert_eq!(announce.peer_id[..], slow(first(query, b"peer_id").unwrap()));
            assert_eq!(announce.port.map(u64::from), number(query, b"port", u16::MAX.into()));
            assert_eq!(announce.left, number(query, b"left", u64::MAX).unwrap_or(u64::MAX));
            assert_eq!(announce.uploaded, number(query, b"uploaded", u64::MAX).unwrap_or(0));
            assert_eq!(announce.downloaded, number(query, b"downloaded", u64::MAX).unwrap_or(0));
            assert_eq!(announce.ip, first(query, b"ip"));
            assert!(announce.key.len() <= Announce::KEY_BYTES_MAX);
            assert_eq!(announce.passkey, first(query, b"passkey").and_then(Key::new));
            for claim in [announce.ip, announce.ipv4, announce.ipv6].into_iter().flatten() {
                if let Some((IpAddr::V6(address), _)) = claimed_address(claim) {
                    assert!(address.to_ipv4_mapped().is_none());
                }
            }
            let families = Families { v4: true, v6: true };
            let engine = announce.to_engine([192, 0, 2, 1].into(), families, 5);
            assert_eq!(engine.client, announce.client());

            // With a question mark in a value it may be read otherwise.
            let again = written(&announce);
            if !again.contains(&b'?') {
                assert_eq!(parse_announce(&again), Ok(announce));
            }
        }
        Err(Malformed::Port) => {
            assert_ne!(first(query, b"port").unwrap(), b"");
            assert_eq!(number(query, b"port", u16::MAX.into()), None);
            assert_ne!(first(query, b"event"), Some(&b"stopped"[..]));
        }
        Err(Malformed::InfoHashMissing) => assert_eq!(hashes, 0),
        Err(Malformed::InfoHashTwice) => assert!(hashes > 1),
        Err(Malformed::InfoHashLength) => {
            assert_ne!(slow(first(query, b"info_hash").unwrap()).len(), 20);
        }
        Err(Malformed::PeerIdMissing) => assert_eq!(first(query, b"peer_id"), None),
        Err(Malformed::PeerIdLength) => {
            assert_ne!(slow(first(query, b"peer_id").unwrap()).len(), 20);
        }
    }
});

/// The query as it is read: where something is missing, the first question mark in it is `&`.
fn meant(query: &[u8]) -> Vec<u8> {
    let is_there = |name: &[u8]| first(query, name).is_some();
    let cut_off = first(query, b"passkey").is_some_and(|passkey| passkey.contains(&b'?'));
    let mut meant = query.to_vec();
    if (!is_there(b"info_hash") || !is_there(b"peer_id") || cut_off)
        && let Some(mark) = meant.iter_mut().find(|byte| **byte == b'?')
    {
        *mark = b'&';
    }
    meant
}

fn first<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    pairs(query).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn slow(raw: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; raw.len()];
    percent::decode(raw, &mut buffer).expect("decoding never makes it longer").to_vec()
}

/// The number that `name` has, which is `u64::MAX` where it does not fit; none above `max`.
fn number(query: &[u8], name: &[u8], max: u64) -> Option<u64> {
    let raw = first(query, name)?;
    // Only a number of at most 24 digits may have some of them escaped.
    let digits = slow(raw);
    let plain = raw.iter().all(u8::is_ascii_digit);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || (!plain && digits.len() > 24)
    {
        return None;
    }
    let digits = str::from_utf8(&digits).expect("digits").trim_start_matches('0');
    let value = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
    (value <= max).then_some(value)
}

fn written(announce: &Announce<'_>) -> Vec<u8> {
    let mut query = Vec::new();
    let mut pair = |key: &str, value: &[u8]| {
        query.extend_from_slice(key.as_bytes());
        query.push(b'=');
        query.extend_from_slice(value);
        query.push(b'&');
    };
    pair("key", announce.key);
    pair("left", announce.left.to_string().as_bytes());
    pair("uploaded", announce.uploaded.to_string().as_bytes());
    pair("downloaded", announce.downloaded.to_string().as_bytes());
    pair("no_peer_id", if announce.no_peer_id { b"1" } else { b"0" });
    if let Some(port) = announce.port {
        pair("port", port.to_string().as_bytes());
    }
    if let Some(asked) = announce.numwant.asked() {
        pair("numwant", asked.to_string().as_bytes());
    }
    if let Some(compact) = announce.compact {
        pair("compact", if compact { b"1" } else { b"0" });
    }
    match announce.event {
        Event::None => {}
        Event::Started => pair("event", b"started"),
        Event::Completed => pair("event", b"completed"),
        Event::Stopped => pair("event", b"stopped"),
        Event::Paused => pair("event", b"paused"),
    }
    for (key, value) in [("ip", announce.ip), ("ipv4", announce.ipv4), ("ipv6", announce.ipv6)] {
        if let Some(value) = value {
            pair(key, value);
        }
    }
    if let Some(passkey) = announce.passkey {
        pair("passkey", passkey.bytes());
    }
    query.extend_from_slice(b"peer_id=");
    percent::encode(&announce.peer_id, &mut query);
    query.extend_from_slice(b"&info_hash=");
    percent::encode(&announce.info_hash.0, &mut query);
    query
}
