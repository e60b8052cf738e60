//! A swarm: 64 bytes that hold three IPv4 peers, or say where the others are.

use std::net::IpAddr;

use crate::blocks::Blocks;
use crate::crowd::Crowd;
use crate::family::Family;
use crate::list::{Parts, find};
use crate::peer::{Mark, Peer, V4, V6};
use crate::stores::Stores;
use crate::sweep::Goes;
use crate::{Counts, InfoHash, PeerState, Seconds};

/// A swarm's place in the slab: one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Entry {
    pub(crate) info_hash: InfoHash,
    /// Completed downloads.
    pub(crate) snatches: u32,
    pub(crate) body: Body,
}

const _: () = assert!(size_of::<Entry>() == 64, "memory per torrent, see shard/benches/memory.rs");

/// The peers of a swarm.
#[derive(Debug)]
pub(crate) enum Body {
    /// No swarm at all; the next free place.
    Free { next: u32 },
    /// No peers, kept for its snatch count.
    Empty { since: Seconds },
    /// Up to [`FEW`] IPv4 peers, right here.
    Few { parts: Parts, peers: [Peer<V4>; FEW] },
    /// A list for each family.
    Blocks(Blocks),
    /// Too many for lists: the number of a crowd.
    Crowd(u32),
}

const FEW: usize = 3;

/// The outcome for a peer that announced itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Joined {
    /// It was, as it is now; nothing changed but when it was last seen.
    Same,
    /// It was not in the swarm before.
    New,
    /// It was, in this state and by this mark, and has changed.
    Known(PeerState, Mark),
    /// It was not, and there is no room for one more.
    Refused,
}

impl Entry {
    /// A swarm of nobody yet.
    pub(crate) fn new(info_hash: InfoHash, since: Seconds) -> Self {
        Self { info_hash, snatches: 0, body: Body::Empty { since } }
    }

    #[inline]
    pub(crate) fn counts(&self, stores: &Stores) -> Counts {
        let [seeders, partial_seeds, downloaders] = match &self.body {
            Body::Free { .. } | Body::Empty { .. } => [0; 3],
            Body::Few { parts, .. } => parts.counts(),
            Body::Blocks(blocks) => blocks.counts(),
            Body::Crowd(number) => stores.crowd(*number).counts(),
        };
        let leechers = partial_seeds + downloaders;
        Counts { seeders, leechers, partial_seeds, snatches: self.snatches }
    }

    /// How many endpoints it has over IPv4 and over IPv6.
    #[inline]
    pub(crate) fn endpoints(&self, stores: &Stores) -> (usize, usize) {
        match &self.body {
            Body::Free { .. } | Body::Empty { .. } => (0, 0),
            Body::Few { parts, .. } => (parts.len(), 0),
            Body::Blocks(blocks) => (blocks.v4.len(), blocks.v6.len()),
            Body::Crowd(number) => {
                let crowd = stores.crowd(*number);
                (crowd.len::<V4>(), crowd.len::<V6>())
            }
        }
    }

    /// Adds or refreshes a peer; a new one is refused without `room`.
    #[inline]
    pub(crate) fn join<E: Family>(
        &mut self,
        stores: &mut Stores,
        peer: Peer<E>,
        state: PeerState,
        room: bool,
    ) -> Joined {
        if let Some((parts, peers)) = E::few_mut(&mut self.body)
            && let Some(at) = find(&peers[..parts.len()], &peer.endpoint)
        {
            let was = parts.state(at);
            let mark = peers[at].mark;
            if was == state {
                peers[at] = peer;
                return if mark == peer.mark { Joined::Same } else { Joined::Known(was, mark) };
            }
            parts.remove(peers, at);
            parts.insert(peers, peer, state);
            return Joined::Known(was, mark);
        }
        if matches!(self.body, Body::Empty { .. } | Body::Few { .. }) {
            if !room {
                return Joined::Refused;
            }
            if matches!(self.body, Body::Empty { .. }) {
                self.body = Body::nobody();
            }
            if let Some((parts, peers)) = E::few_mut(&mut self.body)
                && parts.len() < FEW
            {
                parts.insert(peers, peer, state);
                return Joined::New;
            }
            self.few_to_blocks(stores);
        }
        if let Body::Blocks(blocks) = &mut self.body {
            if let Some(joined) = blocks.join(&mut stores.pools, peer, state, room) {
                return joined;
            }
            let crowd = Crowd::gather(blocks, &mut stores.pools);
            self.body = Body::Crowd(stores.add_crowd(crowd));
        }
        let Body::Crowd(number) = self.body else { unreachable!("every other body was handled") };
        let (crowd, pools) = stores.crowd_mut(number);
        crowd.join(pools, peer, state, room)
    }

    /// Whether an endpoint is in the swarm.
    pub(crate) fn has<E: Family>(&self, stores: &Stores, endpoint: &E) -> bool {
        match &self.body {
            Body::Free { .. } | Body::Empty { .. } => false,
            Body::Few { .. } => E::few(&self.body)
                .is_some_and(|(parts, peers)| find(&peers[..parts.len()], endpoint).is_some()),
            Body::Blocks(blocks) => {
                find(E::list(blocks).peers(E::pool(&stores.pools)), endpoint).is_some()
            }
            Body::Crowd(number) => stores.crowd(*number).has(&stores.pools, endpoint),
        }
    }

    /// Takes an endpoint out: the state and the mark that it had; `None` when it is not in the swarm.
    pub(crate) fn leave<E: Family>(
        &mut self,
        stores: &mut Stores,
        endpoint: &E,
    ) -> Option<(PeerState, Mark)> {
        let left = match &mut self.body {
            Body::Free { .. } | Body::Empty { .. } => None,
            Body::Few { .. } => E::few_mut(&mut self.body).and_then(|(parts, peers)| {
                let at = find(&peers[..parts.len()], endpoint)?;
                let was = (parts.state(at), peers[at].mark);
                parts.remove(peers, at);
                Some(was)
            }),
            Body::Blocks(blocks) => {
                let list = *E::list(blocks);
                find(list.peers(E::pool(&stores.pools)), endpoint).map(|at| {
                    let peer = blocks.take::<E>(&mut stores.pools, at);
                    (list.parts.state(at), peer.mark)
                })
            }
            Body::Crowd(number) => {
                let (crowd, pools) = stores.crowd_mut(*number);
                crowd.leave(pools, endpoint)
            }
        };
        if left.is_some() {
            self.settle(stores);
        }
        left
    }

    /// Drops from a swarm that is no crowd whoever goes; how many.
    pub(crate) fn expire(
        &mut self,
        stores: &mut Stores,
        goes: &Goes<'_, impl Fn(IpAddr) -> bool>,
    ) -> usize {
        let dropped = match &mut self.body {
            Body::Free { .. } | Body::Empty { .. } | Body::Crowd(_) => 0,
            Body::Few { parts, peers } => {
                let before = parts.len();
                for at in (0..before).rev() {
                    // From the end: what fills the gap has been looked at already.
                    if goes.takes(&peers[at]) {
                        parts.remove(peers, at);
                    }
                }
                before - parts.len()
            }
            Body::Blocks(blocks) => {
                blocks.expire::<V4>(&mut stores.pools, goes)
                    + blocks.expire::<V6>(&mut stores.pools, goes)
            }
        };
        if dropped > 0 {
            self.settle(stores);
        }
        dropped
    }

    /// Whether a peer of the other family in this state has this client tag.
    pub(crate) fn is_elsewhere<E: Family>(
        &self,
        stores: &Stores,
        mark: Mark,
        state: PeerState,
    ) -> bool {
        let client = mark.client();
        match &self.body {
            Body::Free { .. } | Body::Empty { .. } => false,
            Body::Few { parts, .. } => E::Other::few(&self.body).is_some_and(|(_, peers)| {
                peers[parts.range(state)].iter().any(|peer| peer.mark.client() == client)
            }),
            Body::Blocks(blocks) => {
                let list = E::Other::list(blocks);
                let peers = &list.peers(E::Other::pool(&stores.pools))[list.parts.range(state)];
                peers.iter().any(|peer| peer.mark.client() == client)
            }
            Body::Crowd(number) => {
                stores.crowd(*number).is_elsewhere::<E>(&stores.pools, mark, state)
            }
        }
    }

    /// Drops everybody at once; a crowd's memory is given back later by [`Stores::bury`].
    pub(crate) fn clear(&mut self, stores: &mut Stores) {
        match &mut self.body {
            Body::Blocks(blocks) => {
                blocks.v4.clear(&mut stores.pools.v4);
                blocks.v6.clear(&mut stores.pools.v6);
            }
            Body::Crowd(number) => {
                let crowd = stores.take_crowd(*number);
                stores.retire(crowd);
            }
            Body::Free { .. } | Body::Empty { .. } | Body::Few { .. } => {}
        }
        self.body = Body::nobody();
    }

    /// Returns to the smallest body that holds who is left, with some slack at each border.
    pub(crate) fn settle(&mut self, stores: &mut Stores) {
        if let Body::Crowd(number) = self.body
            && stores.crowd(number).is_small()
        {
            let mut crowd = stores.take_crowd(number);
            self.body = Body::Blocks(crowd.scatter(&mut stores.pools));
        }
        if let Body::Blocks(blocks) = &mut self.body
            && blocks.v6.len() == 0
            && blocks.v4.len() < FEW
        {
            let (mut parts, mut peers) = (Parts::default(), [Peer::default(); FEW]);
            for (at, peer) in blocks.v4.peers(&stores.pools.v4).iter().enumerate() {
                parts.insert(&mut peers, *peer, blocks.v4.parts.state(at));
            }
            blocks.v4.clear(&mut stores.pools.v4);
            self.body = Body::Few { parts, peers };
        }
    }

    fn few_to_blocks(&mut self, stores: &mut Stores) {
        if let Body::Few { parts, peers } = &self.body {
            let mut blocks = Blocks::EMPTY;
            for (at, peer) in peers[..parts.len()].iter().enumerate() {
                blocks.v4.insert(&mut stores.pools.v4, *peer, parts.state(at));
            }
            self.body = Body::Blocks(blocks);
        }
    }
}

impl Body {
    /// Few, of whom there are none.
    fn nobody() -> Self {
        Self::Few { parts: Parts::default(), peers: Default::default() }
    }
}
