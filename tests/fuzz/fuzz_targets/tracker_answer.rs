//! Whatever a tracker answers to the publisher's announces is read without a panic: within bounds, with peers that can be
//! reached, and texts of one line.
//!
//! The codecs are compiled from their files: the publisher as a whole brings an engine, which would be built with a
//! sanitizer for nothing.

#![no_main]
// What of the codecs is not for answers.
#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

#[path = "../../../publish/src/bencode.rs"]
mod bencode;
#[path = "../../../publish/src/announce"]
mod announce {
    pub mod answer;
    pub mod datagram;
    mod said;

    pub use said::{Announce, Event};
}

use announce::answer::{Answer, Refusal, read_http};
use announce::datagram::{self, Received};

fuzz_target!(|bytes: &[u8]| {
    match read_http(bytes) {
        Some(Ok(answer)) => check(&answer),
        Some(Err(Refusal { reason, wait })) => {
            check_text(&reason);
            assert!(wait.is_none_or(|wait| wait <= DAY));
        }
        None => {}
    }
    let (v4, v6) = (
        SocketAddr::from(([192, 0, 2, 1], 80)),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80)),
    );
    for from in [v4, v6] {
        match datagram::read(bytes, from) {
            Some(Received::Announced(answer)) => check(&answer),
            Some(Received::Error(reason)) => check_text(&reason),
            Some(Received::Connected(_)) => assert!(bytes.len() >= 16),
            None => {}
        }
    }
    assert_eq!(datagram::transaction(bytes).is_some(), bytes.len() >= 8);
});

fn check(answer: &Answer) {
    for wait in [answer.interval, answer.min_interval].into_iter().flatten() {
        // Over UDP it is bounded where it is obeyed.
        assert!(!wait.is_zero() && wait <= DAY.max(Duration::from_secs(i32::MAX as u64)));
    }
    assert!(answer.peers.len() <= 4_000);
    for peer in &answer.peers {
        assert!(peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast());
    }
    answer.warning.iter().for_each(|text| check_text(text));
}

fn check_text(text: &str) {
    assert!(text.len() <= 900 && !text.contains(char::is_control));
}

const DAY: Duration = Duration::from_secs(86_400);
