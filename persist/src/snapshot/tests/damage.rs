//! Every kind of damage is found, and none does harm.

use std::io::Write;

use super::super::format::HEAD_BYTES;
pub(super) use super::super::format::HEAD_BYTES as HEAD;
use super::*;

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let bytes = encode(&small(6));
    for length in 0..bytes.len() {
        let error = verify(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Damaged { damage: Damage::Truncated { .. }, .. }),
            "{length}: {error}"
        );
    }
    verify(&bytes[..]).unwrap();
}

#[test]
fn a_file_that_goes_on_is_damaged() {
    let bytes = encode(&small(7));
    for more in [&[0][..], &[0; 4096], &bytes] {
        let error = verify(&[&bytes, more].concat()[..]).unwrap_err();
        assert!(
            matches!(&error, SnapshotError::Damaged { damage: Damage::Trailing { offset }, .. }
                if *offset == bytes.len() as u64),
            "{error}"
        );
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut bytes = encode(&small(8));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = verify(&bytes[..]).unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{at}.{bit}: {error}");
            bytes[at] ^= 1 << bit;
        }
        for other in [0, 0xff, bytes[at].wrapping_add(1)] {
            let byte = std::mem::replace(&mut bytes[at], other);
            assert_eq!(verify(&bytes[..]).is_ok(), byte == other, "{at}: {byte} to {other}");
            bytes[at] = byte;
        }
    }
}

#[test]
fn frames_that_are_lost_swapped_or_of_another_file_are_found() {
    let mut rng = Rng::with_seed(9);
    let pieces: Vec<_> =
        (0..4).map(|_| pieces::random(&mut rng, ENTRIES_MAX, 0, META.written_at, 0)).collect();
    let bytes = encode(&pieces);
    let [a, b, c, d, end] = frames_of(&bytes)[..] else { panic!("five frames") };
    let header = &bytes[..HEADER_BYTES];
    verify(&[header, a, b, c, d, end].concat()[..]).unwrap();
    let other = encode(&pieces[1..]);
    for damaged in [
        vec![header, b, c, d, end],
        vec![header, a, b, c, end],
        vec![header, a, c, b, d, end],
        vec![header, a, b, b, c, d, end],
        vec![header, a, b, c, d, end, end],
        vec![header, end],
        vec![header, frames_of(&other)[0], b, c, d, end],
        vec![header, a, b, c, d, frames_of(&other)[3]],
    ] {
        let error = verify(&damaged.concat()[..]).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    }
    let mut later = Encoder::new(Vec::new(), Meta { written_at: Seconds(7), ..META }).unwrap();
    pieces.iter().for_each(|piece| later.append(piece).unwrap());
    let (later, ..) = later.finish().unwrap();
    let mixed = [header, a, b, frames_of(&later)[2], d, end].concat();
    let error = verify(&mixed[..]).unwrap_err();
    let SnapshotError::Damaged { damage: Damage::Checksum { .. }, .. } = error else {
        panic!("{error}");
    };
}

/// The frames of a good file, heads included.
pub(super) fn frames_of(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = &bytes[HEADER_BYTES..];
    let mut frames = Vec::new();
    while let Some(length) = rest.get(8..12) {
        let length = HEAD_BYTES + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        frames.push(rest.split_off(..length).unwrap());
    }
    frames
}

#[test]
fn a_hundred_thousand_mutations_are_found() {
    let mut rng = Rng::with_seed(10);
    let files: Vec<_> = (0..20).map(|seed| encode(&small(seed))).collect();
    for _ in 0..100_000 {
        let original = &files[rng.usize(..files.len())];
        let mut bytes = original.clone();
        mutate(&mut rng, &mut bytes);
        match verify(&bytes[..]) {
            Ok(_) => assert!(bytes == *original),
            Err(SnapshotError::Damaged { .. }) => assert!(bytes != *original),
            Err(error) => panic!("{error}"),
        }
    }
}

/// As if somebody had made the file by hand: only the archive's validation is in the way, and what
/// it lets through has to be harmless.
#[test]
fn a_hundred_thousand_mutations_with_good_checksums_do_no_harm() {
    let mut rng = Rng::with_seed(11);
    let files: Vec<_> = (0..20).map(|seed| encode(&small(seed))).collect();
    let (mut harmless, mut content) = (0, 0);
    for _ in 0..100_000 {
        let original = &files[rng.usize(..files.len())];
        let [piece, end] = frames_of(original)[..] else { panic!("two frames") };
        let mut payload = piece[HEAD_BYTES..].to_vec();
        mutate(&mut rng, &mut payload);
        let (header, bytes) = Header::write(META);
        let head = header.head(Kind::Swarms, 0, &payload);
        let bytes = [&bytes[..], &head, &payload, end].concat();
        match verify(&bytes[..]) {
            Ok(_) => harmless += 1,
            Err(SnapshotError::Damaged { damage: Damage::Content { .. }, .. }) => content += 1,
            // The sums are other ones than the last frame says.
            Err(SnapshotError::Damaged { damage: Damage::Totals { .. }, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(harmless > 1000 && content > 1000, "{harmless} harmless, {content} refused");
}

pub(super) fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        let end = (at + rng.usize(..40)).min(bytes.len());
        match rng.u8(..6) {
            _ if bytes.is_empty() => bytes.push(rng.u8(..)),
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at..end].fill(rng.u8(..)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.usize(..bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let number = [0, 1, u32::MAX, i32::MAX as u32, rng.u32(..)][rng.usize(..5)];
                for (place, byte) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                    *place = byte;
                }
            }
        }
    }
}

#[test]
fn a_newer_format_is_no_damage() {
    let mut bytes = encode(&small(12));
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    bytes[12..28].copy_from_slice(b"9.8.7\0\0\0\0\0\0\0\0\0\0\0");
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let error = verify(&bytes[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Format { found, .. } if found == FORMAT + 1));
    assert!(error.to_string().contains("9.8.7") && error.to_string().contains("--fresh"));
}

/// A stream that takes so many bytes and not one more.
pub(super) struct Room(pub(super) usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_at_any_byte_is_an_error() {
    let pieces = small(13);
    let bytes = encode(&pieces).len();
    let write = |room| {
        let mut encoder = Encoder::new(Room(room), META)?;
        pieces.iter().try_for_each(|piece| encoder.append(piece))?;
        encoder.finish().map(drop)
    };
    for room in 0..bytes {
        assert_eq!(write(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
    }
    write(bytes).unwrap();
}
