//! Names of things as the API writes and reads them.

use shard::InfoHash;
use shard::private::ClientPrefix;

use crate::wire::percent;

/// An infohash as 40 hex digits.
pub fn hex(info_hash: &InfoHash) -> String {
    info_hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The infohash of 40 hex digits of either case.
pub fn info_hash(text: &str) -> Option<InfoHash> {
    let digits: &[u8; 40] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(InfoHash(bytes))
}

/// Bytes of a peer id as text: printable ASCII as it is, `%` and everything else as `%XX`.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The prefix of such a text; `None` when it is empty or has more than 20 bytes.
pub fn prefix(text: &str) -> Option<ClientPrefix> {
    let mut buffer = [0; 20];
    percent::decode(text.as_bytes(), &mut buffer).and_then(ClientPrefix::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let hash = InfoHash(std::array::from_fn(|at| (at * 13) as u8));
        assert_eq!(info_hash(&hex(&hash)), Some(hash));
        assert_eq!(info_hash(&hex(&hash).to_uppercase()), Some(hash));
        for wrong in ["", "00", &"g".repeat(40), &"0".repeat(41), &"é".repeat(20)] {
            assert_eq!(info_hash(wrong), None, "{wrong}");
        }
        for bytes in [&b"-qB4"[..], b"%", b"a b", &[0, 255, b'/'], &[b'x'; 20]] {
            assert_eq!(prefix(&escaped(bytes)).unwrap().bytes(), bytes);
        }
        assert_eq!(escaped(b"-qB%\0"), "-qB%25%00");
        assert_eq!((prefix(""), prefix(&"x".repeat(21))), (None, None));
    }
}
