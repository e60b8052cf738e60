//! What a peer says is read without a panic; what is understood is written and read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Extensions, HANDSHAKE_BYTES, Handshake, METADATA_PART_BYTES, Message};

// The files themselves: the package that they are in builds a whole engine.
#[path = "../../../publish/src/bencode.rs"]
#[allow(dead_code)]
mod bencode;
#[path = "../../../publish/src/engine/wire.rs"]
#[allow(dead_code)]
mod wire;

const BYTES_MAX: u32 = 64 << 10;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    if let Some((said, behind)) = bytes.split_first_chunk::<HANDSHAKE_BYTES>()
        && let Some(handshake) = Handshake::read(said)
    {
        assert_eq!(Handshake::read(&handshake.write()), Some(handshake));
        assert!(wire::client_of(&handshake.peer_id).chars().all(|c| !c.is_control()));
        rest = behind;
    }
    while let Ok(Some((message, length))) = wire::message(rest, BYTES_MAX) {
        // Nothing but what was looked at decides.
        assert_eq!(wire::message(&rest[..length], BYTES_MAX), Ok(Some((message, length))));
        assert!(!matches!(wire::message(&rest[..length - 1], BYTES_MAX), Ok(Some(_))));
        if !matches!(message, Message::Other(_)) {
            let mut written = Vec::new();
            message.write(&mut written);
            assert_eq!(written, rest[..length]);
        }
        if let Message::Extended { payload, .. } = message {
            extended(payload);
        }
        rest = &rest[length..];
    }
});

fn extended(payload: &[u8]) {
    let extensions = Extensions::read(payload);
    assert_eq!(Extensions::read(&extensions.write(None)), extensions);
    if let Some(part) = wire::metadata_request(payload) {
        let info = [7; METADATA_PART_BYTES + 1];
        assert!(wire::metadata_reply(&info, part).len() <= METADATA_PART_BYTES + 100);
    }
}
