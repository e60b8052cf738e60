//! Without the key nobody makes an id: one that was not issued is refused, one that was is good for
//! its address and its time only.
//!
//! The key is made of the whole input, the guess included: a fuzzer that watches comparisons would
//! learn the right id of a key that stays, which is no news.

#![no_main]

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use margay::core::connection_id::{CLOCK_SKEW, ConnectionIds, GRACE_MAX, LIFETIME};
use shard::Seconds;

fuzz_target!(|input: &[u8]| {
    let Some((fixed, rest)) = input.split_first_chunk::<20>() else { return };
    let [id, now, later, grace] = {
        let word = |at: usize| u32::from_be_bytes(fixed[at..at + 4].try_into().expect("4 bytes"));
        [
            u64::from(word(0)) << 32 | u64::from(word(4)),
            word(8).into(),
            word(12).into(),
            word(16).into(),
        ]
    };
    let (now, later, grace) = (Seconds(now as u32), Seconds(later as u32), Seconds(grace as u32));
    let Some(address) = address(rest) else { return };

    let ids = ConnectionIds::new(&key(input), grace);
    assert!(!ids.check(id, address, now), "guessed");

    let issued = ids.issue(address, now);
    assert!(ids.check(issued, address, now));
    let age = i64::from(later.0) - i64::from(now.0);
    // Where the clock's 32 bits end, before is after.
    if age.abs() < 1 << 31 {
        let youngest = -i64::from(CLOCK_SKEW.0);
        let oldest = i64::from((LIFETIME + grace.min(GRACE_MAX)).0);
        assert_eq!(ids.check(issued, address, later), (youngest..=oldest).contains(&age));
    }
    let other = match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::from((address.to_bits() ^ 1).to_be_bytes()),
        IpAddr::V6(address) => IpAddr::from((address.to_bits() ^ 1 << 64).to_be_bytes()),
    };
    assert!(!ids.check(issued, other, now));
});

fn key(input: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    for (part, bytes) in key.chunks_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        hasher.write_usize(part);
        hasher.write(input);
        bytes.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    key
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Some(octets) = bytes.first_chunk::<16>() {
        return Some(IpAddr::from(*octets));
    }
    bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets))
}
