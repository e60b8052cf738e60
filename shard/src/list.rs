//! A short list of peers, sorted by what they are: seeders, then partial seeds, then leechers.

use std::ops::Range;

use crate::PeerState;
use crate::peer::{Endpoint, Peer};
use crate::pool::{Block, Pool};

/// How many of a list's peers are of each kind, in the list's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Parts {
    seeders: u8,
    partials: u8,
    leechers: u8,
}

impl Parts {
    #[inline]
    pub(crate) fn len(self) -> usize {
        usize::from(self.seeders) + usize::from(self.partials) + usize::from(self.leechers)
    }

    #[inline]
    pub(crate) fn counts(self) -> [u32; 3] {
        [self.seeders, self.partials, self.leechers].map(u32::from)
    }

    /// Where the peers of one kind are.
    #[inline]
    pub(crate) fn range(self, state: PeerState) -> Range<usize> {
        let [seeders, partials, _] = self.ends();
        match state {
            PeerState::Seeder => 0..seeders,
            PeerState::PartialSeed => seeders..partials,
            PeerState::Leecher => partials..self.len(),
        }
    }

    #[inline]
    pub(crate) fn state(self, at: usize) -> PeerState {
        let [seeders, partials, _] = self.ends();
        if at < seeders {
            PeerState::Seeder
        } else if at < partials {
            PeerState::PartialSeed
        } else {
            PeerState::Leecher
        }
    }

    /// Puts a peer at the end of its kind; the first of each later kind makes room at its end.
    /// `peers` has room for one more.
    #[inline]
    pub(crate) fn insert<T: Copy>(&mut self, peers: &mut [T], peer: T, state: PeerState) {
        let [seeders, partials, len] = self.ends();
        match state {
            PeerState::Seeder => {
                peers[len] = peers[partials];
                peers[partials] = peers[seeders];
                peers[seeders] = peer;
            }
            PeerState::PartialSeed => {
                peers[len] = peers[partials];
                peers[partials] = peer;
            }
            PeerState::Leecher => peers[len] = peer,
        }
        *self.count(state) += 1;
    }

    /// Takes the peer at `at` out; the last of its kind and of each later kind fill the gaps.
    #[inline]
    pub(crate) fn remove<T: Copy>(&mut self, peers: &mut [T], at: usize) -> T {
        let (state, removed) = (self.state(at), peers[at]);
        let [seeders, partials, len] = self.ends();
        let mut gap = at;
        let ends = [seeders, partials, len];
        for end in &ends[state as usize..] {
            peers[gap] = peers[end - 1];
            gap = end - 1;
        }
        *self.count(state) -= 1;
        removed
    }

    /// The end of each kind.
    #[inline]
    fn ends(self) -> [usize; 3] {
        let seeders = usize::from(self.seeders);
        let partials = seeders + usize::from(self.partials);
        [seeders, partials, partials + usize::from(self.leechers)]
    }

    #[inline]
    fn count(&mut self, state: PeerState) -> &mut u8 {
        match state {
            PeerState::Seeder => &mut self.seeders,
            PeerState::PartialSeed => &mut self.partials,
            PeerState::Leecher => &mut self.leechers,
        }
    }
}

/// The list of one family, in a block of the family's pool. At most [`LIST_MAX`] peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    block: Block,
    pub(crate) parts: Parts,
}

/// A list that would grow beyond becomes a crowd. Scanning this many peers costs no more than the
/// cache misses on the way to a bucket of a crowd.
pub(crate) const LIST_MAX: usize = 128;

impl List {
    pub(crate) const EMPTY: List =
        List { block: Block::NONE, parts: Parts { seeders: 0, partials: 0, leechers: 0 } };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    #[inline]
    pub(crate) fn peers<'a, T: Copy + Default>(&self, pool: &'a Pool<T>) -> &'a [T] {
        &pool.block(self.block)[..self.len()]
    }

    #[inline]
    pub(crate) fn peer_mut<'a, T: Copy + Default>(
        &self,
        pool: &'a mut Pool<T>,
        at: usize,
    ) -> &'a mut T {
        &mut pool.block_mut(self.block)[at]
    }

    /// Adds a peer that is not in the list yet.
    pub(crate) fn insert<T: Copy + Default>(
        &mut self,
        pool: &mut Pool<T>,
        peer: T,
        state: PeerState,
    ) {
        let len = self.len();
        debug_assert!(len < LIST_MAX);
        self.block = pool.grow(self.block, len, len + 1);
        self.parts.insert(pool.block_mut(self.block), peer, state);
    }

    pub(crate) fn remove<T: Copy + Default>(&mut self, pool: &mut Pool<T>, at: usize) -> T {
        let removed = self.parts.remove(pool.block_mut(self.block), at);
        self.block = pool.shrink(self.block, self.len());
        removed
    }

    /// Gives the memory back and leaves an empty list.
    pub(crate) fn clear<T: Copy + Default>(&mut self, pool: &mut Pool<T>) {
        pool.give_back(self.block);
        *self = Self::EMPTY;
    }
}

/// Where an endpoint is in a list.
#[inline]
pub(crate) fn find<E: Endpoint>(peers: &[Peer<E>], endpoint: &E) -> Option<usize> {
    peers.iter().position(|peer| peer.endpoint == *endpoint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::peer::{Seen, V4};
    use crate::{ClientTag, Seconds};

    const STATES: [PeerState; 3] = [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher];

    #[test]
    fn every_peer_stays_among_its_kind() {
        let (mut pool, mut list) = (Pool::new(), List::EMPTY);
        let mut expected = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let endpoint = V4::new([10, 0, 0, 1].into(), random.u16(..150));
            match find(list.peers(&pool), &endpoint) {
                Some(at) => {
                    assert_eq!(Some(list.parts.state(at)), expected.remove(&endpoint.parts()));
                    assert_eq!(list.remove(&mut pool, at).endpoint, endpoint);
                }
                None if list.len() < LIST_MAX => {
                    let state = STATES[random.usize(..3)];
                    let peer = Peer::new(endpoint, ClientTag::default(), Seen::at(Seconds(0)));
                    list.insert(&mut pool, peer, state);
                    expected.insert(endpoint.parts(), state);
                }
                None => {}
            }
            let found: BTreeMap<_, _> = list
                .peers(&pool)
                .iter()
                .enumerate()
                .map(|(at, peer)| (peer.endpoint.parts(), list.parts.state(at)))
                .collect();
            assert_eq!(found, expected);
        }
    }
}
