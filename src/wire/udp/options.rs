//! The options behind an announce (BEP 41): path and query of the tracker's address.

use std::fmt;

/// How much URL data is put together; libtorrent sends at most 255 bytes.
pub const URL_DATA_BYTES_MAX: usize = 512;

/// The bytes after the fixed part of an announce. They are read as far as they make sense; what is
/// cut off or garbage ends them and harms nothing. `Debug` leaves them out: they may hold a passkey.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// The options in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The pieces of URL data, to be read as one; most clients send one piece.
    pub fn url_data_pieces(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.rest;
        std::iter::from_fn(move || {
            loop {
                rest = match *rest {
                    [NOP, ref tail @ ..] => tail,
                    [kind, length, ref tail @ ..] if kind > NOP => {
                        let (data, tail) = tail.split_at_checked(usize::from(length))?;
                        rest = tail;
                        if kind == URL_DATA && !data.is_empty() {
                            return Some(data);
                        }
                        tail
                    }
                    // End of options, or an option cut off.
                    _ => return None,
                }
            }
        })
    }

    /// The URL data in one piece: path and query of the tracker's address, such as
    /// `/0123abcd/announce`. Empty when there is none; cut off where `buffer` ends, which is used only
    /// when there are several pieces.
    #[inline]
    pub fn url_data<'b>(self, buffer: &'b mut [u8; URL_DATA_BYTES_MAX]) -> &'b [u8]
    where
        'a: 'b,
    {
        let mut pieces = self.url_data_pieces();
        let Some(first) = pieces.next() else { return &[] };
        let Some(second) = pieces.next() else { return first };
        let mut length = 0;
        for piece in [first, second].into_iter().chain(pieces) {
            let fitting = piece.len().min(buffer.len() - length);
            buffer[length..length + fitting].copy_from_slice(&piece[..fitting]);
            length += fitting;
        }
        &buffer[..length]
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Options(in {} bytes)", self.rest.len())
    }
}

/// Nothing; no length follows. 0 ends the options; every other kind is followed by a length.
const NOP: u8 = 1;
const URL_DATA: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &[u8], url_data: &str) {
        let mut buffer = [0; URL_DATA_BYTES_MAX];
        let found = Options::new(options).url_data(&mut buffer);
        assert_eq!(found.escape_ascii().to_string(), url_data, "{}", options.escape_ascii());
    }

    #[test]
    fn c12_url_data_in_one_piece() {
        check(b"", "");
        check(b"\x00", "");
        check(b"\x02\x09/announce", "/announce");
        check(b"\x02\x09/announce\x00", "/announce");
        check(b"\x01\x01\x02\x02/a\x01", "/a");
        check(b"\x02\x02\x00\xff", "\\x00\\xff");
    }

    #[test]
    fn c12_url_data_in_pieces_is_put_together() {
        check(b"\x02\x04/key\x02\x09/announce", "/key/announce");
        check(b"\x02\x01/\x01\x02\x00\x02\x02ab\x00\x02\x01c", "/ab");
        let mut long = Vec::new();
        for _ in 0..3 {
            long.extend_from_slice(&[2, 255]);
            long.extend_from_slice(&[b'x'; 255]);
        }
        check(&long, &"x".repeat(URL_DATA_BYTES_MAX));
        check(&long[..257], &"x".repeat(255));
    }

    #[test]
    fn c12_unknown_options_are_skipped_by_their_length() {
        check(b"\x03\x00\x02\x02/a", "/a");
        check(b"\x7f\x03\x02\x01x\x02\x02/a", "/a");
        check(b"\xff\x01\x00\x02\x02/a", "/a");
    }

    #[test]
    fn c12_truncated_and_garbage_options_end_quietly() {
        check(b"\x02", "");
        check(b"\x02\x05/ab", "");
        check(b"\x02\x02/a\x02\x09/b", "/a");
        check(b"\x02\x02/a\x09", "/a");
        check(b"\x02\x02/a\x09\xff\xff", "/a");
        check(b"\x00\x02\x02/a", "");
    }

    #[test]
    fn a32_options_are_never_printed() {
        assert_eq!(format!("{:?}", Options::new(b"\x02\x06secret")), "Options(in 8 bytes)");
    }
}
