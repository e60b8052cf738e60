//! Which client tags a large swarm holds, so that a client with two families is found at once.

use std::collections::BTreeMap;

use crate::hash::Keys;
use crate::pool::Pool;
use crate::table::{Record, Table};
use crate::{ClientTag, PeerState};

/// A client tag and the state of one of its endpoints, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct TagWord(u32);

impl TagWord {
    const STATE_BITS: u32 = 32 - ClientTag::BITS;

    fn new(client: ClientTag, state: PeerState) -> Self {
        Self(client.bits() << Self::STATE_BITS | state as u32)
    }

    fn client(self) -> ClientTag {
        ClientTag::from_bits(self.0 >> Self::STATE_BITS)
    }

    fn state(self) -> usize {
        (self.0 & ((1 << Self::STATE_BITS) - 1)) as usize
    }
}

impl Record for TagWord {
    fn hash(&self, keys: &Keys) -> u64 {
        keys.word(u64::from(self.client().bits()))
    }
}

/// The tags of one family's endpoints, with repeats.
#[derive(Debug)]
pub(crate) struct TagIndex {
    words: Table<TagWord>,
    /// How many more endpoints have the same word. Rare: by chance, or by one client on many ports.
    repeats: BTreeMap<TagWord, u32>,
}

impl TagIndex {
    pub(crate) fn new() -> Self {
        Self { words: Table::new(), repeats: BTreeMap::new() }
    }

    /// How many endpoints of each state have this tag.
    pub(crate) fn counts(&self, pool: &Pool<TagWord>, keys: &Keys, client: ClientTag) -> [u32; 3] {
        let mut counts = [0; 3];
        let hash = TagWord::new(client, PeerState::Seeder).hash(keys);
        if let Some(bucket) = self.words.bucket_of(hash) {
            for word in self.words.bucket(pool, bucket) {
                counts[word.state().min(2)] += u32::from(word.client() == client);
            }
        }
        if !self.repeats.is_empty() {
            let (first, last) = (PeerState::Seeder, PeerState::Leecher);
            let words = TagWord::new(client, first)..=TagWord::new(client, last);
            for (word, repeats) in self.repeats.range(words) {
                counts[word.state().min(2)] += repeats;
            }
        }
        counts
    }

    pub(crate) fn add(
        &mut self,
        pool: &mut Pool<TagWord>,
        keys: &Keys,
        client: ClientTag,
        state: PeerState,
    ) {
        let word = TagWord::new(client, state);
        let known = self.words.find(pool, word.hash(keys), |other| *other == word).is_some();
        if known || !self.words.insert(pool, keys, word) {
            *self.repeats.entry(word).or_default() += 1;
        }
    }

    pub(crate) fn remove(
        &mut self,
        pool: &mut Pool<TagWord>,
        keys: &Keys,
        client: ClientTag,
        state: PeerState,
    ) {
        let word = TagWord::new(client, state);
        if let Some(repeats) = self.repeats.get_mut(&word) {
            *repeats -= 1;
            if *repeats == 0 {
                self.repeats.remove(&word);
            }
        } else if let Some(place) = self.words.find(pool, word.hash(keys), |other| *other == word) {
            self.words.remove(pool, place);
            self.words.settle(pool, 1);
        } else {
            debug_assert!(false, "every endpoint of an indexed crowd has its tag in the index");
        }
    }

    /// Gives back one bucket's worth; false when nothing is left.
    pub(crate) fn bury_bucket(&mut self, pool: &mut Pool<TagWord>) -> bool {
        self.words.bury_bucket(pool) || self.repeats.pop_first().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [PeerState; 3] = [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher];

    #[test]
    fn tags_are_counted_with_their_repeats() {
        let (mut pool, keys, mut index) = (Pool::new(), Keys::new(1), TagIndex::new());
        let mut expected: BTreeMap<u32, [u32; 3]> = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..30_000 {
            // One tag in ten is one of four that many endpoints share.
            let bits = if random.u8(..10) == 0 { random.u32(..4) } else { random.u32(..3000) };
            let (client, state) = (ClientTag::from_bits(bits), random.usize(..3));
            let count = &mut expected.entry(bits).or_default()[state];
            if random.bool() && *count > 0 {
                index.remove(&mut pool, &keys, client, STATES[state]);
                *count -= 1;
            } else {
                index.add(&mut pool, &keys, client, STATES[state]);
                *count += 1;
            }
        }
        for (bits, counts) in expected {
            assert_eq!(index.counts(&pool, &keys, ClientTag::from_bits(bits)), counts);
        }
        while index.bury_bucket(&mut pool) {}
        assert_eq!(pool.blocks(), 0);
    }
}
