//! The two codecs: bytes from clients into requests, answers into bytes. No I/O, no clock.
//!
//! A datagram goes through [`udp`]. A TCP stream goes through [`http`] for its head, through
//! [`query`] (and [`percent`]) for what the client says there, and its answer back through [`http`],
//! which writes [`bencode`]. A private tracker reads and writes [`private`] instead of [`query`] and
//! the replies of [`http`], and answers its site through [`ocelot`]. What proxies put in front of either is read
//! by [`proxy`]. Nothing here panics or allocates on what a client sends, with one
//! exception: buffers that the caller lends grow to the size of the answer.

#![forbid(unsafe_code)]

pub mod bencode;
pub mod http;
pub mod ocelot;
pub mod percent;
pub mod private;
pub mod proxy;
pub mod query;
pub mod torrent_file;
pub mod udp;

#[cfg(test)]
mod clients;

use std::fmt;

use shard::Event;

/// How many peers a client asked for: `numwant` (BEP 3) or `num_want` (BEP 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numwant(Option<u32>);

impl Numwant {
    /// Not said: absent over HTTP, −1 over UDP.
    pub const DEFAULT: Numwant = Numwant(None);

    /// `wanted` as the client sent it; any negative number means the default.
    #[inline]
    pub fn new(wanted: i64) -> Self {
        Self((wanted >= 0).then(|| u32::try_from(wanted).unwrap_or(u32::MAX)))
    }

    /// The number the client said; `None` for the default.
    #[inline]
    pub fn asked(self) -> Option<u32> {
        self.0
    }

    /// Peers to hand out with an announce of `event`: none when the client stops, else what it asked
    /// for or `default`, and never more than `cap`.
    #[inline]
    pub fn peers(self, event: Event, default: u16, cap: u16) -> u16 {
        match (event, self.0) {
            (Event::Stopped, _) => 0,
            (_, None) => default.min(cap),
            (_, Some(asked)) => u16::try_from(asked).unwrap_or(u16::MAX).min(cap),
        }
    }
}

/// A passkey as it stands in a URL: not decoded, 1 to [`Key::BYTES_MAX`] bytes. It is a secret, so
/// `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// The longest key taken; sites use 32 to 40 characters.
    pub const BYTES_MAX: usize = 64;

    /// `raw` as a key, unless it is empty, too long or contains a slash.
    pub fn new(raw: &'a [u8]) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&raw.len());
        (fits && memchr::memchr(b'/', raw).is_none()).then_some(Self(raw))
    }

    /// The key's bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(of {} bytes)", self.0.len())
    }
}

/// Text of at most `N` bytes on the stack; what does not fit is cut off at a character.
struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Line<N> {
    fn of(text: &dyn fmt::Display) -> Self {
        let mut line = Self { bytes: [0; N], length: 0 };
        // An error only says that the rest was cut off.
        let _ = fmt::Write::write_fmt(&mut line, format_args!("{text}"));
        line
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<const N: usize> fmt::Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = text.floor_char_boundary(N - self.length);
        let end = self.length + fitting;
        self.bytes[self.length..end].copy_from_slice(&text.as_bytes()[..fitting]);
        self.length = end;
        if fitting == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_numwant(asked: i64, event: Event, peers: u16) {
        assert_eq!(Numwant::new(asked).peers(event, 30, 50), peers, "numwant={asked} {event:?}");
    }

    #[test]
    fn a13_numwant_is_defaulted_none_or_capped() {
        for (asked, peers) in
            [(-1, 30), (i64::MIN, 30), (0, 0), (1, 1), (50, 50), (51, 50), (i64::MAX, 50)]
        {
            check_numwant(asked, Event::None, peers);
            check_numwant(asked, Event::Started, peers);
            check_numwant(asked, Event::Stopped, 0);
        }
        assert_eq!(Numwant::DEFAULT.peers(Event::None, 30, 50), 30);
        assert_eq!(Numwant::DEFAULT.peers(Event::None, 80, 50), 50);
        assert_eq!(Numwant::DEFAULT.peers(Event::Stopped, 30, 50), 0);
    }

    #[test]
    fn a32_a_key_is_never_printed() {
        let key = Key::new(b"0123456789abcdef").unwrap();
        assert_eq!(format!("{key:?}"), "Key(of 16 bytes)");
        assert!(Key::new(b"").is_none());
        assert!(Key::new(b"a/b").is_none());
        assert!(Key::new(&[b'k'; 64]).is_some());
        assert!(Key::new(&[b'k'; 65]).is_none());
    }

    #[test]
    fn a_line_is_cut_at_a_character() {
        assert_eq!(Line::<8>::of(&"short").bytes(), b"short");
        assert_eq!(Line::<8>::of(&"1234567é").bytes(), b"1234567");
        assert_eq!(Line::<4>::of(&123456789).bytes(), b"1234");
        assert_eq!(Line::<0>::of(&"x").bytes(), b"");
    }
}
