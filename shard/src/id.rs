//! Names on the wire: which torrent, which client.

use std::fmt;
use std::str::FromStr;

/// A torrent's 20-byte infohash: SHA-1 of the info dictionary (BEP 3), or the first 20 bytes of its
/// SHA-256 (BEP 52). Both are plain keys here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct InfoHash(pub [u8; 20]);

impl InfoHash {
    /// The first four bytes, big endian: what decides which core owns the swarm.
    #[inline]
    pub fn prefix(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads 40 hex digits of either case.
impl FromStr for InfoHash {
    type Err = NotInfoHash;

    fn from_str(text: &str) -> Result<Self, NotInfoHash> {
        let digits: &[u8; 40] = text.as_bytes().try_into().map_err(|_| NotInfoHash)?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = (high.ok_or(NotInfoHash)? << 4 | low.ok_or(NotInfoHash)?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// A text is no infohash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotInfoHash;

impl fmt::Display for NotInfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an infohash has 40 hex digits")
    }
}

impl std::error::Error for NotInfoHash {}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The `key` of an announce as a part of who its client is: 0, which is none, of all clients but those that are known
/// to say the same key over both protocols and both families for as long as they say the same peer id.
///
/// Measured, 2026-11-28: libtorrent 2.0.11 and 2.1.1, qBittorrent 4.5.2 and Deluge, which are made of it,
/// Transmission 3.00 and rTorrent 0.9.8 keep theirs. aria2 1.36.0 says another one in each announce over UDP,
/// WebTorrent 3.0.21 none over HTTP and 0 over UDP. Nobody else is told apart better by a key than by the peer id
/// alone, which is new with each start.
#[inline]
pub fn lasting_key(peer_id: &[u8; 20], key: u32) -> u32 {
    match peer_id {
        [b'-', b'L', b'T', ..]
        | [b'-', b'l', b't', ..]
        | [b'-', b'q', b'B', ..]
        | [b'-', b'D', b'E', ..]
        | [b'-', b'T', b'R', ..] => key,
        _ => 0,
    }
}

/// Which client is behind an endpoint: 29 bits made of its peer id and key.
///
/// A dual-stack client announces once from IPv4 and once from IPv6 with the same peer id and key
/// (BEP 7); the tag lets a swarm count it once. It is no identity: an open tracker knows a peer by
/// its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct ClientTag(u32);

impl ClientTag {
    /// How many bits of a tag are used; the three above are free for the engine's own marks.
    pub const BITS: u32 = 29;

    /// The tag of `peer_id` with a `key` that lasts, see [`lasting_key`]; 0 is none.
    #[inline]
    pub fn of(peer_id: &[u8; 20], key: u32) -> Self {
        if key == 0 { Self::new(peer_id, &[]) } else { Self::new(peer_id, &key.to_be_bytes()) }
    }

    /// The tag of `peer_id` with the opaque `key` of the announce (empty when there was none).
    #[inline]
    pub fn new(peer_id: &[u8; 20], key: &[u8]) -> Self {
        const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut state = PRIME ^ (key.len() as u64);
        let mut mix = |word: u64| {
            let product = u128::from(state ^ word) * u128::from(PRIME | 1);
            state = (product as u64) ^ ((product >> 64) as u64);
        };
        for chunk in peer_id.chunks(8).chain(key.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(u64::from_le_bytes(word));
        }
        mix(PRIME);
        Self::from_bits((state >> 32) as u32)
    }

    /// The tag with these bits; those above [`ClientTag::BITS`] are dropped.
    #[inline]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// The tag's bits, below `1 << ClientTag::BITS`.
    #[inline]
    pub fn bits(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infohash_is_read_as_it_is_written() {
        let hash = InfoHash(std::array::from_fn(|at| (at * 13) as u8));
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        for wrong in ["", "00", &"g".repeat(40), &"0".repeat(41), &"é".repeat(20), &"+f".repeat(20)]
        {
            assert_eq!(wrong.parse::<InfoHash>(), Err(NotInfoHash), "{wrong}");
        }
    }
}
