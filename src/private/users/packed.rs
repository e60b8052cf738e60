//! A passkey in 24 bytes instead of 32: there may be half a million of them, each in two places.

use std::array;
use std::hash::{Hash, Hasher};

use shard::private::Passkey;

/// Eight letters and digits, of which there are 62, are a number of 48 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed([[u8; 6]; 4]);

impl Hash for Packed {
    /// All 24 bytes at once: one after the other, each with its length, they would take three times as long.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_flattened());
    }
}

impl Packed {
    /// 32 multiplications and additions. Where announces come by, they are written out: as a function that several
    /// call it takes 100 instructions more.
    #[inline(always)]
    pub(super) fn new(passkey: &Passkey) -> Self {
        let (eights, _) = passkey.reveal().as_bytes().as_chunks::<8>();
        Self(array::from_fn(|at| {
            let number = eights[at].iter().fold(0_u64, |number, &character| {
                number * KINDS + u64::from(NUMBERS[usize::from(character)])
            });
            let [bytes @ .., _, _] = number.to_le_bytes();
            bytes
        }))
    }

    /// The passkey that was packed.
    pub(super) fn passkey(self) -> Passkey {
        let mut characters = [0; Passkey::BYTES];
        for (bytes, eight) in self.0.iter().zip(characters.chunks_exact_mut(8)) {
            let mut word = [0; 8];
            word[..6].copy_from_slice(bytes);
            let mut number = u64::from_le_bytes(word);
            for character in eight.iter_mut().rev() {
                *character = CHARACTERS[(number % KINDS) as usize];
                number /= KINDS;
            }
        }
        Passkey::new(&characters).expect("letters and digits")
    }
}

const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KINDS: u64 = CHARACTERS.len() as u64;

/// The number of each character; 0 for those that no passkey has.
const NUMBERS: [u8; 256] = {
    let mut numbers = [0; 256];
    let mut at = 0;
    while at < CHARACTERS.len() {
        numbers[CHARACTERS[at] as usize] = at as u8;
        at += 1;
    }
    numbers
};

const _: () = assert!(KINDS.pow(8) < 1 << 48, "eight characters fit in six bytes");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_passkey_comes_back_as_it_was() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut seen = HashSet::new();
        let mut check = |text: &[u8; 32]| {
            let passkey = Passkey::new(text).unwrap();
            assert!(Packed::new(&passkey).passkey() == passkey, "{}", text.escape_ascii());
            assert!(
                seen.insert(Packed::new(&passkey)),
                "{} is packed as another",
                text.escape_ascii()
            );
        };
        for &character in CHARACTERS {
            check(&[character; 32]);
        }
        for _ in 0..10_000 {
            check(&array::from_fn(|_| CHARACTERS[random.usize(..62)]));
        }
    }

    #[test]
    fn a_passkey_of_the_other_case_is_another() {
        let packed = |text: &str| Packed::new(&Passkey::new(text.repeat(32).as_bytes()).unwrap());
        assert!(packed("a") != packed("A"));
    }
}
