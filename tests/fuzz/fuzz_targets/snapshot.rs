//! Snapshot files of both modes: the bytes as they are, and once more with the checksums made right, so that the
//! frames, archives and totals behind them are reached.
#![no_main]

use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 64;
const HEAD_BYTES: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let _ = persist::snapshot::verify(bytes);
    let _ = persist::snapshot::verify(&sealed(bytes.to_vec())[..]);
});

/// The same file with good checksums, as far as its lengths make sense.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let Some((header, mut frames)) = bytes.split_at_mut_checked(HEADER_BYTES) else {
        return bytes;
    };
    let seed = crc32fast::hash(&header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&seed);
    while let Some((head, rest)) = frames.split_at_mut_checked(HEAD_BYTES) {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((payload, rest)) = rest.split_at_mut_checked(length) else { break };
        let mut hasher = crc32fast::Hasher::new();
        for part in [&seed[..], &head[..12], payload] {
            hasher.update(part);
        }
        head[12..].copy_from_slice(&hasher.finalize().to_le_bytes());
        frames = rest;
    }
    bytes
}
