//! Percent-encoding (RFC 3986, section 2.1) as BitTorrent clients use it in a query (BEP 3).
//!
//! Three rules, the same everywhere: `%` and two hex digits of either case are a byte; a `%` without
//! them stands for itself; every other byte, `+`, NUL and what is not UTF-8 included, stands for
//! itself.

/// Decodes `raw` when it stands for exactly `N` bytes: an infohash or a peer id.
#[inline]
pub fn decode_exact<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    let mut decoded = [0; N];
    let mut rest = raw;
    for byte in &mut decoded {
        (*byte, rest) = next(rest)?;
    }
    rest.is_empty().then_some(decoded)
}

/// Decodes `raw` into `out` and returns the decoded part; `None` when `out` is too small.
pub fn decode<'o>(raw: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut length = 0;
    let mut rest = raw;
    while let Some((byte, tail)) = next(rest) {
        *out.get_mut(length)? = byte;
        length += 1;
        rest = tail;
    }
    Some(&out[..length])
}

/// The decoded bytes of `raw`, one after the other.
#[inline]
pub fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (byte, tail) = next(rest)?;
        rest = tail;
        Some(byte)
    })
}

/// Appends `bytes` with everything but RFC 3986's unreserved characters as `%XX`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble & 15)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte)]);
        }
    }
}

/// The first decoded byte and what comes after it; `None` at the end.
#[inline]
fn next(raw: &[u8]) -> Option<(u8, &[u8])> {
    let (&byte, tail) = raw.split_first()?;
    if byte == b'%'
        && let [high, low, tail @ ..] = tail
    {
        let (high, low) = (HEX[usize::from(*high)], HEX[usize::from(*low)]);
        if high | low < 16 {
            return Some((high << 4 | low, tail));
        }
    }
    Some((byte, tail))
}

/// The value of a hex digit; 255 for any other byte.
const HEX: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, decoded: &[u8]) {
        let mut buffer = [0; 256];
        assert_eq!(decode(raw.as_bytes(), &mut buffer), Some(decoded), "{raw}");
    }

    #[test]
    fn a8_any_mix_of_raw_and_escaped_bytes() {
        check("abc", b"abc");
        check("%61%62%63", b"abc");
        check("a%62c", b"abc");
        check("%ab%CD%eF%Fe", b"\xab\xcd\xef\xfe");
        check("-_!.~*()", b"-_!.~*()");
        check("%2d%5F%21", b"-_!");
        check("", b"");
    }

    #[test]
    fn a8_exactly_twenty_bytes() {
        let hash: [u8; 20] =
            *b"\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23\x45\x67\x89\xab\xcd\xef\x12\x34\x56\x78\x9a";
        // The example of the BitTorrent wiki, with what may stay bare left bare.
        let mixed = b"%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
        assert_eq!(decode_exact(mixed), Some(hash));
        assert_eq!(decode_exact(&hash), Some(hash), "raw");
        assert_eq!(decode_exact::<20>(&mixed[..mixed.len() - 3]), None, "19 bytes");
        let mut long = mixed.to_vec();
        long.push(b'x');
        assert_eq!(decode_exact::<20>(&long), None, "21 bytes");
        assert_eq!(decode_exact::<20>(b""), None);
        assert_eq!(decode_exact::<0>(b""), Some([]));
    }

    #[test]
    fn a9_plus_is_a_literal_plus() {
        check("a+b%2Bc%20d", b"a+b+c d");
    }

    #[test]
    fn a_bad_escape_stands_for_itself() {
        check("%", b"%");
        check("%4", b"%4");
        check("100%", b"100%");
        check("%zz", b"%zz");
        check("%4g", b"%4g");
        check("%%41", b"%A");
        check("%25", b"%");
        check("%-1", b"%-1");
    }

    #[test]
    fn a35_nul_and_bytes_that_are_not_utf8() {
        check("%00%ff%fe%00", b"\0\xff\xfe\0");
        let mut buffer = [0; 8];
        assert_eq!(decode(b"\0\xff\xc3", &mut buffer), Some(&b"\0\xff\xc3"[..]));
    }

    #[test]
    fn too_long_for_the_buffer() {
        let mut buffer = [0; 2];
        assert_eq!(decode(b"%41%42", &mut buffer), Some(&b"AB"[..]));
        assert_eq!(decode(b"abc", &mut buffer), None);
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut encoded, mut buffer) = (Vec::new(), [0; 64]);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..random.usize(..64)).map(|_| random.u8(..)).collect();
            encoded.clear();
            encode(&bytes, &mut encoded);
            assert_eq!(decode(&encoded, &mut buffer), Some(&bytes[..]));
            assert!(decoded(&encoded).eq(bytes));
            let hash: [u8; 20] = std::array::from_fn(|_| random.u8(..));
            encoded.clear();
            encode(&hash, &mut encoded);
            assert_eq!(decode_exact(&encoded), Some(hash));
        }
    }
}
