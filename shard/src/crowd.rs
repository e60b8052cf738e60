//! A large swarm: a table for each kind of peer of each family.

use std::net::IpAddr;

use crate::PeerState;
use crate::blocks::Blocks;
use crate::family::{Family, twins};
use crate::hash::Keys;
use crate::list::LIST_MAX;
use crate::peer::{Endpoint, Mark, Peer, V4, V6};
use crate::stores::Pools;
use crate::swarm::Joined;
use crate::sweep::Goes;
use crate::table::{Place, Record, Table};
use crate::tags::TagIndex;

/// The peers of one family: seeders, partial seeds, leechers.
pub(crate) type Tables<E> = [Table<Peer<E>>; 3];

/// A swarm that outgrew its lists.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) v4: Tables<V4>,
    pub(crate) v6: Tables<V6>,
    /// IPv6 endpoints left out of the counts, by state.
    twins: [u32; 3],
    /// There whenever both families are; see [`Crowd::index_tags`].
    tags: Option<Box<Tags>>,
}

/// The client tags of both families.
#[derive(Debug)]
pub(crate) struct Tags {
    pub(crate) v4: TagIndex,
    pub(crate) v6: TagIndex,
}

pub(crate) const STATES: [PeerState; 3] =
    [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher];

/// A crowd larger than this has its tags indexed even while all its peers are of one family:
/// building the index when the other family arrives would be a pause. At this size it is 0.1 ms.
const TAGS_MIN: usize = 1024;

/// Bucket merges after a peer has left: enough to keep up with any rate of leaving.
const MERGES: usize = 2;

impl<E: Endpoint> Record for Peer<E> {
    #[inline]
    fn hash(&self, keys: &Keys) -> u64 {
        self.endpoint.hash(keys)
    }
}

impl Crowd {
    fn new() -> Self {
        let twins = [0; 3];
        Self {
            v4: [(); 3].map(|()| Table::new()),
            v6: [(); 3].map(|()| Table::new()),
            twins,
            tags: None,
        }
    }

    /// The crowd of everybody in these lists, which are emptied.
    pub(crate) fn gather(blocks: &mut Blocks, pools: &mut Pools) -> Self {
        let mut crowd = Self::new();
        crowd.gather_family::<V4>(blocks, pools);
        crowd.gather_family::<V6>(blocks, pools);
        crowd
    }

    fn gather_family<E: Family>(&mut self, blocks: &mut Blocks, pools: &mut Pools) {
        let list = *E::list(blocks);
        for at in 0..list.len() {
            let peer = list.peers(E::pool(pools))[at];
            let joined = self.join(pools, peer, list.parts.state(at), true);
            assert_eq!(joined, Joined::New, "a list has each endpoint once, a bucket room for all");
        }
        E::list_mut(blocks).clear(E::pool_mut(pools));
    }

    /// Back to lists; for a crowd that [`Crowd::is_small`]. The crowd is left empty.
    pub(crate) fn scatter(&mut self, pools: &mut Pools) -> Blocks {
        let mut blocks = Blocks::EMPTY;
        blocks.twins =
            self.twins.map(|twins| u8::try_from(twins).expect("fewer than a list holds"));
        self.scatter_family::<V4>(&mut blocks, pools);
        self.scatter_family::<V6>(&mut blocks, pools);
        while self.bury_bucket(pools) {}
        blocks
    }

    fn scatter_family<E: Family>(&mut self, blocks: &mut Blocks, pools: &mut Pools) {
        for (state, table) in STATES.into_iter().zip(E::tables(self)) {
            for bucket in 0..table.buckets() {
                for at in 0..table.bucket(E::pool(pools), bucket).len() {
                    let peer = table.bucket(E::pool(pools), bucket)[at];
                    E::list_mut(blocks).insert(E::pool_mut(pools), peer, state);
                }
            }
        }
    }

    /// Whether lists would do. Half of what they hold, so that a swarm at the border stays put.
    pub(crate) fn is_small(&self) -> bool {
        self.len::<V4>() <= LIST_MAX / 2 && self.len::<V6>() <= LIST_MAX / 2
    }

    #[inline]
    pub(crate) fn len<E: Family>(&self) -> usize {
        E::tables(self).iter().map(Table::len).sum()
    }

    /// Clients by state.
    #[inline]
    pub(crate) fn counts(&self) -> [u32; 3] {
        std::array::from_fn(|state| {
            (self.v4[state].len() + self.v6[state].len()) as u32 - self.twins[state]
        })
    }

    pub(crate) fn join<E: Family>(
        &mut self,
        pools: &mut Pools,
        peer: Peer<E>,
        state: PeerState,
        room: bool,
    ) -> Joined {
        let found = self.find(pools, &peer.endpoint, state);
        let joined = match found {
            Some((was, place)) => {
                let known = E::tables(self)[was as usize].record_mut(E::pool_mut(pools), place);
                let mark = known.mark;
                if was == state && mark == peer.mark {
                    known.seen = peer.seen;
                    return Joined::Same;
                }
                self.take::<E>(pools, was, place);
                Joined::Known(was, mark)
            }
            None if !room => return Joined::Refused,
            None => Joined::New,
        };
        self.index_tags::<E>(pools);
        let keys = pools.keys;
        if !E::tables_mut(self)[state as usize].insert(E::pool_mut(pools), &keys, peer) {
            return Joined::Refused;
        }
        self.enter::<E>(pools, peer.mark, state);
        if let Joined::Known(was, _) = joined
            && was != state
        {
            E::tables_mut(self)[was as usize].settle(E::pool_mut(pools), MERGES);
        }
        joined
    }

    /// Whether an endpoint is here.
    pub(crate) fn has<E: Family>(&self, pools: &Pools, endpoint: &E) -> bool {
        self.find(pools, endpoint, PeerState::Leecher).is_some()
    }

    /// Takes an endpoint out: the state and the mark that it had; `None` when it is not here.
    pub(crate) fn leave<E: Family>(
        &mut self,
        pools: &mut Pools,
        endpoint: &E,
    ) -> Option<(PeerState, Mark)> {
        let (was, place) = self.find(pools, endpoint, PeerState::Leecher)?;
        let peer = self.take::<E>(pools, was, place);
        E::tables_mut(self)[was as usize].settle(E::pool_mut(pools), MERGES);
        self.drop_tags(pools);
        Some((was, peer.mark))
    }

    /// Drops from one bucket whoever goes; how many were looked at, and
    /// how many dropped. Merges buckets at the table's end only, so a sweep goes from the last
    /// bucket to the first.
    pub(crate) fn expire_bucket<E: Family>(
        &mut self,
        pools: &mut Pools,
        state: PeerState,
        bucket: usize,
        goes: &Goes<'_, impl Fn(IpAddr) -> bool>,
    ) -> (usize, usize) {
        let len = E::tables(self)[state as usize].bucket(E::pool(pools), bucket).len();
        let mut dropped = 0;
        for at in (0..len).rev() {
            let peer = E::tables(self)[state as usize].bucket(E::pool(pools), bucket)[at];
            if goes.takes(&peer) {
                self.take::<E>(pools, state, Place { bucket, at });
                dropped += 1;
            }
        }
        // Also where nobody has left: whatever made the table sparse, a sweep ends it.
        E::tables_mut(self)[state as usize].settle(E::pool_mut(pools), 2 * MERGES);
        if dropped > 0 {
            self.drop_tags(pools);
        }
        (len, dropped)
    }

    /// Whether a peer of the other family in this state has this client tag.
    pub(crate) fn is_elsewhere<E: Family>(
        &self,
        pools: &Pools,
        mark: Mark,
        state: PeerState,
    ) -> bool {
        // Without an index there is no other family, or nobody yet of this one.
        match &self.tags {
            Some(tags) => {
                let counts = E::Other::tags(tags).counts(&pools.tags, &pools.keys, mark.client());
                counts[state as usize] > 0
            }
            None => self.looks_for::<E::Other>(pools, mark, state),
        }
    }

    /// The same by looking through a family that has no index, and so at most [`TAGS_MIN`] peers.
    fn looks_for<E: Family>(&self, pools: &Pools, mark: Mark, state: PeerState) -> bool {
        let table = &E::tables(self)[state as usize];
        (0..table.buckets()).any(|bucket| {
            let peers = table.bucket(E::pool(pools), bucket);
            peers.iter().any(|peer| peer.mark.client() == mark.client())
        })
    }

    /// Gives back one bucket's worth of memory; false when nothing is left. For a crowd that is
    /// no longer anybody's swarm.
    pub(crate) fn bury_bucket(&mut self, pools: &mut Pools) -> bool {
        self.twins = [0; 3];
        if let Some(tags) = &mut self.tags
            && (tags.v4.bury_bucket(&mut pools.tags) || tags.v6.bury_bucket(&mut pools.tags))
        {
            return true;
        }
        self.v4.iter_mut().any(|table| table.bury_bucket(&mut pools.v4))
            || self.v6.iter_mut().any(|table| table.bury_bucket(&mut pools.v6))
    }

    /// Looks where it most likely is, then in the two other tables.
    #[inline]
    fn find<E: Family>(
        &self,
        pools: &Pools,
        endpoint: &E,
        likely: PeerState,
    ) -> Option<(PeerState, Place)> {
        let (hash, pool) = (endpoint.hash(&pools.keys), E::pool(pools));
        let find = |state: PeerState| {
            let table = &E::tables(self)[state as usize];
            let place = table.find(pool, hash, |peer| peer.endpoint == *endpoint)?;
            Some((state, place))
        };
        find(likely).or_else(|| STATES.into_iter().filter(|state| *state != likely).find_map(find))
    }

    /// Takes one peer out, and its client's tag.
    fn take<E: Family>(&mut self, pools: &mut Pools, state: PeerState, place: Place) -> Peer<E> {
        let peer = E::tables_mut(self)[state as usize].remove(E::pool_mut(pools), place);
        self.exit::<E>(pools, peer.mark, state);
        peer
    }

    fn enter<E: Family>(&mut self, pools: &mut Pools, mark: Mark, state: PeerState) {
        let (keys, client) = (pools.keys, mark.client());
        if let Some(tags) = &mut self.tags {
            let own = E::tags(tags).counts(&pools.tags, &keys, client);
            let other = E::Other::tags(tags).counts(&pools.tags, &keys, client);
            for (all, more) in self.twins.iter_mut().zip(twins::<E>(state, own, other)) {
                *all += more;
            }
            E::tags_mut(tags).add(&mut pools.tags, &keys, client, state);
        }
    }

    fn exit<E: Family>(&mut self, pools: &mut Pools, mark: Mark, state: PeerState) {
        let (keys, client) = (pools.keys, mark.client());
        if let Some(tags) = &mut self.tags {
            E::tags_mut(tags).remove(&mut pools.tags, &keys, client, state);
            let own = E::tags(tags).counts(&pools.tags, &keys, client);
            let other = E::Other::tags(tags).counts(&pools.tags, &keys, client);
            for (all, fewer) in self.twins.iter_mut().zip(twins::<E>(state, own, other)) {
                *all -= fewer;
            }
        }
    }

    /// Makes the index before a peer of family `E` comes, if then there are both families or very
    /// many peers.
    #[inline]
    fn index_tags<E: Family>(&mut self, pools: &mut Pools) {
        if self.tags.is_some() {
            return;
        }
        if self.len::<E::Other>() > 0 || self.len::<E>() > TAGS_MIN {
            self.tags = Some(Box::new(Tags { v4: TagIndex::new(), v6: TagIndex::new() }));
            // No twins yet: at most one family has peers.
            self.index_family::<V4>(pools);
            self.index_family::<V6>(pools);
        }
    }

    fn index_family<E: Family>(&mut self, pools: &mut Pools) {
        let mut clients = Vec::with_capacity(self.len::<E>());
        for (state, table) in STATES.into_iter().zip(E::tables(self)) {
            for bucket in 0..table.buckets() {
                let peers = table.bucket(E::pool(pools), bucket);
                clients.extend(peers.iter().map(|peer| (peer.mark, state)));
            }
        }
        let keys = pools.keys;
        if let Some(tags) = &mut self.tags {
            for (mark, state) in clients {
                E::tags_mut(tags).add(&mut pools.tags, &keys, mark.client(), state);
            }
        }
    }

    /// Gives the index up once one family is gone and the other could be indexed again at once.
    fn drop_tags(&mut self, pools: &mut Pools) {
        let (v4, v6) = (self.len::<V4>(), self.len::<V6>());
        if v4.min(v6) == 0
            && v4.max(v6) < TAGS_MIN / 2
            && let Some(mut tags) = self.tags.take()
        {
            while tags.v4.bury_bucket(&mut pools.tags) || tags.v6.bury_bucket(&mut pools.tags) {}
        }
    }
}
