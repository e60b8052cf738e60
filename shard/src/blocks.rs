//! A swarm of a few to some hundred peers: one list for each family.

use std::net::IpAddr;

use crate::PeerState;
use crate::family::{Family, twins};
use crate::list::{LIST_MAX, List, find};
use crate::peer::{Mark, Peer};
use crate::stores::Pools;
use crate::swarm::Joined;
use crate::sweep::Goes;

/// Both families' lists.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) v4: List,
    pub(crate) v6: List,
    /// IPv6 endpoints left out of the counts, by state.
    pub(crate) twins: [u8; 3],
}

impl Blocks {
    pub(crate) const EMPTY: Blocks = Blocks { v4: List::EMPTY, v6: List::EMPTY, twins: [0; 3] };

    /// Clients by state.
    #[inline]
    pub(crate) fn counts(&self) -> [u32; 3] {
        let (v4, v6) = (self.v4.parts.counts(), self.v6.parts.counts());
        std::array::from_fn(|state| v4[state] + v6[state] - u32::from(self.twins[state]))
    }

    /// Adds or refreshes a peer; `None` when the list is full and the peer not in it.
    #[inline]
    pub(crate) fn join<E: Family>(
        &mut self,
        pools: &mut Pools,
        peer: Peer<E>,
        state: PeerState,
        room: bool,
    ) -> Option<Joined> {
        let list = *E::list(self);
        let joined = match find(list.peers(E::pool(pools)), &peer.endpoint) {
            Some(at) => {
                let was = list.parts.state(at);
                let known = list.peer_mut(E::pool_mut(pools), at);
                let mark = known.mark;
                if was == state && mark == peer.mark {
                    known.seen = peer.seen;
                    return Some(Joined::Same);
                }
                self.take::<E>(pools, at);
                Joined::Known(was, mark)
            }
            None if !room => return Some(Joined::Refused),
            None if list.len() == LIST_MAX => return None,
            None => Joined::New,
        };
        let more = self.twins_of::<E>(pools, peer.mark, state);
        for (all, more) in self.twins.iter_mut().zip(more) {
            *all += more as u8;
        }
        E::list_mut(self).insert(E::pool_mut(pools), peer, state);
        Some(joined)
    }

    /// Takes the peer at `at` of its family's list out.
    pub(crate) fn take<E: Family>(&mut self, pools: &mut Pools, at: usize) -> Peer<E> {
        let state = E::list(self).parts.state(at);
        let peer = E::list_mut(self).remove(E::pool_mut(pools), at);
        let fewer = self.twins_of::<E>(pools, peer.mark, state);
        for (all, fewer) in self.twins.iter_mut().zip(fewer) {
            *all -= fewer as u8;
        }
        peer
    }

    /// Drops from one family whoever goes; how many.
    pub(crate) fn expire<E: Family>(
        &mut self,
        pools: &mut Pools,
        goes: &Goes<'_, impl Fn(IpAddr) -> bool>,
    ) -> usize {
        let before = E::list(self).len();
        for at in (0..before).rev() {
            // From the end: what fills the gap has been looked at already.
            if goes.takes(&E::list(self).peers(E::pool(pools))[at]) {
                self.take::<E>(pools, at);
            }
        }
        before - E::list(self).len()
    }

    /// Which endpoints are twins because of this one, which is not in its list now.
    #[inline]
    fn twins_of<E: Family>(&self, pools: &Pools, mark: Mark, state: PeerState) -> [u32; 3] {
        let other = same_client::<E::Other>(E::Other::list(self), pools, mark);
        if other == [0; 3] {
            return other;
        }
        twins::<E>(state, same_client::<E>(E::list(self), pools, mark), other)
    }
}

/// How many endpoints of each state have the client tag of `mark`.
#[inline]
fn same_client<E: Family>(list: &List, pools: &Pools, mark: Mark) -> [u32; 3] {
    let mut counts = [0; 3];
    for (at, peer) in list.peers(E::pool(pools)).iter().enumerate() {
        if peer.mark.client() == mark.client() {
            counts[list.parts.state(at) as usize] += 1;
        }
    }
    counts
}
