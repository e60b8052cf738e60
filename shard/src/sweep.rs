//! Expiry: a walk over all the swarms in steps of a bounded size.

use std::net::IpAddr;

use crate::crowd::STATES;
use crate::family::Family;
use crate::peer::{Peer, V4, V6};
use crate::store::Shard;
use crate::swarm::Body;
use crate::{PeerState, Seconds};

/// The outcome of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expired {
    /// Peers dropped because they were silent for too long.
    pub peers: usize,
    /// Swarms dropped because they were empty for too long.
    pub swarms: usize,
    /// The sweep reached the end; the next one starts over.
    pub finished: bool,
}

/// How far the sweep has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sweep {
    slot: u32,
    crowd: Option<InCrowd>,
}

/// How far it has come inside a crowd: tables in order, buckets from the last to the first, because
/// dropping peers merges the last ones into earlier ones.
#[derive(Clone, Copy, Debug)]
struct InCrowd {
    /// IPv4 seeders, partial seeds, leechers, then the same for IPv6.
    table: usize,
    /// Buckets of the table yet to be looked at; clipped to those there are.
    buckets_left: usize,
}

const TABLES: usize = 2 * STATES.len();

/// Which peers a sweep drops.
pub(crate) struct Goes<'r, R> {
    /// Who is silent for longer.
    timeout: Seconds,
    now: Seconds,
    /// Whose address is refused.
    is_refused: &'r R,
}

impl<R: Fn(IpAddr) -> bool> Goes<'_, R> {
    #[inline]
    pub(crate) fn takes<E: Family>(&self, peer: &Peer<E>) -> bool {
        peer.seen.is_older(self.timeout, self.now)
            || (self.is_refused)(peer.endpoint.parts().0.into())
    }
}

impl InCrowd {
    fn table(table: usize) -> Self {
        Self { table, buckets_left: usize::MAX }
    }
}

impl Shard {
    pub(crate) fn sweep(
        &mut self,
        now: Seconds,
        budget: usize,
        is_refused: &impl Fn(IpAddr) -> bool,
    ) -> Expired {
        let mut expired = Expired::default();
        let mut looked = self.stores.bury(budget);
        loop {
            let Some(slot) = self.slab.from(self.sweep.slot) else {
                self.sweep = Sweep::default();
                expired.finished = true;
                return expired;
            };
            if slot != self.sweep.slot {
                self.sweep = Sweep { slot, crowd: None };
            }
            looked += match self.slab.entry(self.sweep.slot).body {
                Body::Free { .. } => self.next_slot(),
                Body::Empty { since } => self.sweep_empty(since, now, &mut expired),
                Body::Few { .. } | Body::Blocks(_) => {
                    self.sweep_lists(now, is_refused, &mut expired)
                }
                Body::Crowd(number) => self.sweep_bucket(number, now, is_refused, &mut expired),
            };
            if looked >= budget {
                return expired;
            }
        }
    }

    fn next_slot(&mut self) -> usize {
        self.sweep = Sweep { slot: self.sweep.slot + 1, crowd: None };
        1
    }

    fn sweep_empty(&mut self, since: Seconds, now: Seconds, expired: &mut Expired) -> usize {
        if now.since(since) > self.limits.swarm_retention {
            self.drop_swarm(self.sweep.slot);
            expired.swarms += 1;
        }
        self.next_slot()
    }

    fn sweep_lists(
        &mut self,
        now: Seconds,
        is_refused: &impl Fn(IpAddr) -> bool,
        expired: &mut Expired,
    ) -> usize {
        let slot = self.sweep.slot;
        let before = self.tally(slot);
        let goes = Goes { timeout: self.limits.peer_timeout, now, is_refused };
        let dropped = self.slab.entry_mut(slot).expire(&mut self.stores, &goes);
        if dropped > 0 {
            self.account(slot, before);
            expired.peers += dropped;
            expired.swarms += usize::from(self.keep_or_drop(slot, now));
        }
        self.next_slot() + before.peers_v4 + before.peers_v6
    }

    /// Sweeps one bucket of a crowd; after its last one the swarm may have become a small one.
    fn sweep_bucket(
        &mut self,
        number: u32,
        now: Seconds,
        is_refused: &impl Fn(IpAddr) -> bool,
        expired: &mut Expired,
    ) -> usize {
        let slot = self.sweep.slot;
        let mut at = self.sweep.crowd.unwrap_or(InCrowd::table(0));
        if at.table == TABLES {
            self.slab.entry_mut(slot).settle(&mut self.stores);
            expired.swarms += usize::from(self.keep_or_drop(slot, now));
            return self.next_slot();
        }
        let before = self.tally(slot);
        let state = STATES[at.table % STATES.len()];
        let goes = Goes { timeout: self.limits.peer_timeout, now, is_refused };
        let (looked, dropped) = if at.table < STATES.len() {
            self.expire_bucket::<V4>(number, state, &mut at.buckets_left, &goes)
        } else {
            self.expire_bucket::<V6>(number, state, &mut at.buckets_left, &goes)
        };
        if at.buckets_left == 0 {
            at = InCrowd::table(at.table + 1);
        }
        self.sweep.crowd = Some(at);
        if dropped > 0 {
            self.account(slot, before);
            expired.peers += dropped;
        }
        looked + 1
    }

    fn expire_bucket<E: Family>(
        &mut self,
        number: u32,
        state: PeerState,
        buckets_left: &mut usize,
        goes: &Goes<'_, impl Fn(IpAddr) -> bool>,
    ) -> (usize, usize) {
        let (crowd, pools) = self.stores.crowd_mut(number);
        *buckets_left = E::tables(crowd)[state as usize].buckets().min(*buckets_left);
        let Some(bucket) = buckets_left.checked_sub(1) else { return (0, 0) };
        *buckets_left = bucket;
        crowd.expire_bucket::<E>(pools, state, bucket, goes)
    }
}
