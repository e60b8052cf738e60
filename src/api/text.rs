//! Names of things as the API writes and reads them.

use shard::InfoHash;
use shard::private::ClientPrefix;

use crate::wire::percent;

/// An infohash as 40 hex digits.
pub fn hex(info_hash: &InfoHash) -> String {
    info_hash.to_string()
}

/// The infohash of 40 hex digits of either case.
pub fn info_hash(text: &str) -> Option<InfoHash> {
    text.parse().ok()
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

/// A moment in UTC, to the second; `seconds` since 1970 (days to date after Hinnant, "chrono-compatible
/// low-level date algorithms").
pub fn moment(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The day of a moment in UTC, as in `2026-11-29`.
pub fn date(seconds: u64) -> String {
    let mut date = moment(seconds);
    date.truncate("2026-11-29".len());
    date
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
