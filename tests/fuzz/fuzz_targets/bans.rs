//! A file of bans is read without a panic, and what is understood is written and read back the same; a request that bans
//! is understood or refused as a bad one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::api::operator;
use persist::bans::{parse, written};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bans) = parse(bytes) {
        assert_eq!(parse(written(&bans).as_bytes()), Ok(bans));
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(network) = operator::read_network(text) {
        assert_eq!(operator::read_network(&operator::shown(&network)), Ok(network));
    }
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        if let Err(failure) = operator::read_switch(&["udp4".to_owned()], &value) {
            assert_eq!(failure.status().0, 400);
        }
        match operator::read_bans(value) {
            Ok(banned) => assert!(!banned.networks.is_empty()),
            Err(failure) => assert_eq!(failure.status().0, 400),
        }
    }
});
