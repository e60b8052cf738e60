//! Keyed hashing: infohashes, endpoints and client tags are chosen by strangers, and nobody without
//! the key can aim at one bucket with them.

use crate::InfoHash;

/// The secret of one shard's tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys([u64; 3]);

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            // SplitMix64: spreads one seed over independent words.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        }))
    }

    #[inline]
    pub(crate) fn info_hash(&self, info_hash: &InfoHash) -> u64 {
        let bytes = &info_hash.0;
        self.words(word64(bytes, 0), word64(bytes, 8), u64::from(word32(bytes, 16)))
    }

    /// IPv4 address and port as on the wire.
    #[inline]
    pub(crate) fn compact_v4(&self, bytes: &[u8; 6]) -> u64 {
        let port = u64::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        self.word(u64::from(word32(bytes, 0)) | (port << 32))
    }

    /// IPv6 address and port as on the wire.
    #[inline]
    pub(crate) fn compact_v6(&self, bytes: &[u8; 18]) -> u64 {
        let port = u64::from(u16::from_le_bytes([bytes[16], bytes[17]]));
        self.words(word64(bytes, 0), word64(bytes, 8), port)
    }

    #[inline]
    pub(crate) fn word(&self, word: u64) -> u64 {
        let [a, b, c] = self.0;
        fold(fold(word ^ a, b | 1) ^ c, a | 1)
    }

    #[inline]
    fn words(&self, first: u64, second: u64, third: u64) -> u64 {
        let [a, b, c] = self.0;
        fold(fold(first ^ a, second ^ b) ^ third, c | 1)
    }
}

/// Both halves of the 128-bit product, folded together.
#[inline]
fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn word64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the arrays hashed here are longer"))
}

#[inline]
fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the arrays hashed here are longer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of 4,096 keys over 64 buckets; a fair throw of 64 a bucket has a deviation of 8.
    fn spread(hash: impl Fn(u64) -> u64, bucket: impl Fn(u64) -> u64) -> (u32, u32) {
        let mut buckets = [0_u32; 64];
        (0..4096).for_each(|key| buckets[(bucket(hash(key)) & 63) as usize] += 1);
        (*buckets.iter().min().expect("64 of them"), *buckets.iter().max().expect("64 of them"))
    }

    #[test]
    fn consecutive_keys_spread_over_all_the_bits_in_use() {
        let keys = Keys::new(7);
        let info_hash = |key: u64| {
            let mut bytes = [0; 20];
            bytes[12..].copy_from_slice(&key.to_be_bytes());
            keys.info_hash(&InfoHash(bytes))
        };
        let v4 = |key: u64| {
            let [.., a, b, c, d, e, f] = key.to_be_bytes();
            keys.compact_v4(&[a, b, c, d, e, f])
        };
        let v6 = |key: u64| {
            let mut bytes = [0; 18];
            bytes[10..].copy_from_slice(&key.to_be_bytes());
            keys.compact_v6(&bytes)
        };
        for shift in [0, 20, 32, 57] {
            for (least, most) in [
                spread(info_hash, |hash| hash >> shift),
                spread(v4, |hash| hash >> shift),
                spread(v6, |hash| hash >> shift),
                spread(|key| keys.word(key), |hash| hash >> shift),
            ] {
                assert!(least >= 30 && most <= 104, "{least}..{most} at bit {shift}");
            }
        }
    }

    #[test]
    fn another_seed_gives_another_order() {
        let (one, other) = (Keys::new(1), Keys::new(2));
        let same = (0..1024_u64).filter(|&k| one.word(k) & 63 == other.word(k) & 63).count();
        assert!(same < 64, "{same} of 1024 keys fell into the same of 64 buckets");
    }
}
