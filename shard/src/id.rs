//! Names on the wire: which torrent, which client.

use std::fmt;

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

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which client is behind an endpoint: 30 bits made of its peer id and key.
///
/// A dual-stack client announces once from IPv4 and once from IPv6 with the same peer id and key
/// (BEP 7); the tag lets a swarm count it once. It is no identity: an open tracker knows a peer by
/// its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct ClientTag(u32);

impl ClientTag {
    /// How many bits of a tag are used; the two above are free for the engine's own marks.
    pub const BITS: u32 = 30;

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
