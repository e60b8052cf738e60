//! SHA-1 of two pieces at once.
//!
//! The processor's SHA-1 instructions wait for one another within a message, and a core has idle slots between them:
//! two messages that are independent fill those (`cargo bench -p margay-publish --bench hash`). aws-lc, which hashes
//! all else, takes one message at a time, and so do the other crates of today.
//!
//! Source of the algorithm: FIPS 180-4, section 6.1; of the instructions: Intel, "New Instructions Supporting the Secure
//! Hash Algorithm on Intel Architecture Processors".

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// SHA-1 is 20 bytes.
pub(super) type Digest = [u8; 20];

/// One message, by aws-lc.
pub(super) struct One(Context);

impl One {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        *self.0.finish().as_ref().first_chunk().expect("SHA-1 has 20 bytes")
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::Two;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use elsewhere::Two;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::Digest;

    /// A block of SHA-1.
    const BLOCK: usize = 64;

    /// Two messages of the same length.
    pub(in super::super) struct Two {
        states: [[u32; 5]; 2],
        /// What has been taken of each, in bytes.
        length: u64,
    }

    impl Two {
        /// `None` on a processor that has not got the instructions.
        pub(in super::super) fn new() -> Option<Self> {
            let can = is_x86_feature_detected!("sha")
                && is_x86_feature_detected!("ssse3")
                && is_x86_feature_detected!("sse4.1");
            const INITIAL: [u32; 5] =
                [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
            can.then_some(Self { states: [INITIAL; 2], length: 0 })
        }

        /// Takes as many bytes of each. Whole blocks, but the last time.
        ///
        /// # Panics
        ///
        /// When their lengths differ, or the bytes before were not whole blocks.
        pub(in super::super) fn update(&mut self, bytes: [&[u8]; 2]) {
            assert_eq!(bytes[0].len(), bytes[1].len(), "they are equally long");
            assert!(self.length.is_multiple_of(BLOCK as u64), "what came before is whole blocks");
            let (blocks, rests) = (bytes.map(|bytes| bytes.as_chunks().0), bytes.map(rest));
            self.length += bytes[0].len() as u64;
            self.compress(blocks);
            if !rests[0].is_empty() {
                self.pad(rests);
            }
        }

        /// The digests of both.
        pub(in super::super) fn finish(mut self) -> [Digest; 2] {
            if self.length.is_multiple_of(BLOCK as u64) {
                self.pad([&[], &[]]);
            }
            self.states.map(|state| {
                let mut digest = [0; 20];
                for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
                    *bytes = word.to_be_bytes();
                }
                digest
            })
        }

        /// The end of both messages, of less than a block each: a one, zeros, and their length in bits (5.1.1).
        fn pad(&mut self, rests: [&[u8]; 2]) {
            let bits = (self.length * 8).to_be_bytes();
            let mut ends = [[0; 2 * BLOCK]; 2];
            let length = if rests[0].len() + 1 + bits.len() <= BLOCK { BLOCK } else { 2 * BLOCK };
            for (end, rest) in ends.iter_mut().zip(rests) {
                end[..rest.len()].copy_from_slice(rest);
                end[rest.len()] = 0x80;
                end[length - bits.len()..length].copy_from_slice(&bits);
            }
            let [first, second] = &ends;
            self.compress([first[..length].as_chunks().0, second[..length].as_chunks().0]);
        }

        fn compress(&mut self, blocks: [&[[u8; BLOCK]]; 2]) {
            // SAFETY: `new` makes one only where the processor has all three features.
            unsafe { compress(&mut self.states, blocks) }
        }
    }

    fn rest(bytes: &[u8]) -> &[u8] {
        bytes.as_chunks::<BLOCK>().1
    }

    /// Each step is done for both before the next one: that is what it is about.
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn compress(states: &mut [[u32; 5]; 2], blocks: [&[[u8; BLOCK]]; 2]) {
        // `sha1rnds4` has a, b, c and d with a on top, and e is the top of a register of its own.
        let mut abcd =
            states.map(|[a, b, c, d, _]| _mm_set_epi32(a as i32, b as i32, c as i32, d as i32));
        let mut e = states.map(|[.., e]| _mm_set_epi32(e as i32, 0, 0, 0));
        for (first, second) in blocks[0].iter().zip(blocks[1]) {
            let before = (abcd, e);
            let mut words = [words(first), words(second)];
            // What `abcd` was a turn ago; the next turn's e is rotated out of it.
            let mut last = abcd;
            // Twenty turns of four rounds each. The immediate is the function and constant, which change every fifth.
            macro_rules! turn {
                ($turn:literal) => {
                    for i in 0..2 {
                        let [w0, w1, w2, w3] = words[i];
                        let input = match $turn {
                            0 => _mm_add_epi32(e[i], w0),
                            _ => _mm_sha1nexte_epu32(last[i], w0),
                        };
                        last[i] = abcd[i];
                        abcd[i] = _mm_sha1rnds4_epu32::<{ $turn / 5 }>(abcd[i], input);
                        // The words of four turns later.
                        let next = match $turn {
                            0..16 => {
                                let partial = _mm_xor_si128(_mm_sha1msg1_epu32(w0, w1), w2);
                                _mm_sha1msg2_epu32(partial, w3)
                            }
                            _ => w0,
                        };
                        words[i] = [w1, w2, w3, next];
                    }
                };
            }
            turn!(0);
            turn!(1);
            turn!(2);
            turn!(3);
            turn!(4);
            turn!(5);
            turn!(6);
            turn!(7);
            turn!(8);
            turn!(9);
            turn!(10);
            turn!(11);
            turn!(12);
            turn!(13);
            turn!(14);
            turn!(15);
            turn!(16);
            turn!(17);
            turn!(18);
            turn!(19);
            for i in 0..2 {
                e[i] = _mm_sha1nexte_epu32(last[i], before.1[i]);
                abcd[i] = _mm_add_epi32(abcd[i], before.0[i]);
            }
        }
        for i in 0..2 {
            states[i] = [
                _mm_extract_epi32::<3>(abcd[i]) as u32,
                _mm_extract_epi32::<2>(abcd[i]) as u32,
                _mm_extract_epi32::<1>(abcd[i]) as u32,
                _mm_extract_epi32::<0>(abcd[i]) as u32,
                _mm_extract_epi32::<3>(e[i]) as u32,
            ];
        }
    }

    /// The sixteen words of a block, the first on top.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn words(block: &[u8; BLOCK]) -> [__m128i; 4] {
        let reversed = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        let (quarters, _) = block.as_chunks::<16>();
        [0, 1, 2, 3].map(|at| {
            // SAFETY: a quarter is 16 bytes, and any address will do.
            let quarter = unsafe { _mm_loadu_si128(quarters[at].as_ptr().cast()) };
            _mm_shuffle_epi8(quarter, reversed)
        })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use super::Digest;

    /// There is none: this processor's instructions have not been measured.
    pub(in super::super) enum Two {}

    impl Two {
        pub(in super::super) fn new() -> Option<Self> {
            None
        }

        pub(in super::super) fn update(&mut self, _: [&[u8]; 2]) {
            match *self {}
        }

        pub(in super::super) fn finish(self) -> [Digest; 2] {
            match self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Digest {
        let mut one = One::new();
        one.update(bytes);
        one.finish()
    }

    #[test]
    fn two_at_once_are_what_they_are_alone() {
        if Two::new().is_none() {
            return;
        }
        let mut random = fastrand::Rng::with_seed(7);
        let lengths = (0..300).chain([1 << 14, (1 << 14) + 1, 100_000]);
        for length in lengths {
            let mut message =
                || -> Vec<u8> { std::iter::repeat_with(|| random.u8(..)).take(length).collect() };
            let (first, second) = (message(), message());
            let mut two = Two::new().expect("it was there before");
            let mut at = 0;
            while at < length {
                let to = (at + 64 * fastrand::usize(1..20)).min(length);
                two.update([&first[at..to], &second[at..to]]);
                at = to;
            }
            assert_eq!(two.finish(), [one(&first), one(&second)], "{length} bytes");
        }
    }

    #[test]
    fn a_known_message_has_its_known_digest() {
        // FIPS 180-2, appendix A.1.
        let digest = [
            0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e, 0x25, 0x71, 0x78, 0x50,
            0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d,
        ];
        assert_eq!(one(b"abc"), digest);
        if let Some(mut two) = Two::new() {
            two.update([b"abc", b"abc"]);
            assert_eq!(two.finish(), [digest; 2]);
        }
    }
}
