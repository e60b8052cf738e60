//! Reaching for memory ahead of time: the cache misses of many announces at once instead of one
//! after the other.

use std::hint::black_box;
use std::net::IpAddr;

use crate::family::Family;
use crate::peer::{Endpoint, Peer, V4, V6};
use crate::swarm::Body;
use crate::{Announce, Shard};

/// Announces whose memory is reached for at once: about as much as a core's first cache holds.
const BATCH: usize = 32;

/// Peers of a list that are reached for; the rest of a longer one follows by itself.
const PEERS: usize = 64;

impl Shard {
    /// Brings what these announces will look at into the cache. Changes nothing; for a front end
    /// that has received several at once, before it applies one after the other.
    ///
    /// Goes in steps, so that no read waits for the one before it: a line of the index for each,
    /// then each swarm, then the peers of each.
    pub fn warm(&self, announces: &[Announce]) {
        for batch in announces.chunks(BATCH) {
            let (mut hashes, mut slots) = ([0; BATCH], [None; BATCH]);
            for (hash, announce) in hashes.iter_mut().zip(batch) {
                *hash = self.hash(&announce.info_hash);
                black_box(self.index.touch(*hash));
            }
            for ((slot, hash), announce) in slots.iter_mut().zip(hashes).zip(batch) {
                *slot = self.find(&announce.info_hash, hash);
            }
            for (slot, announce) in slots.iter().zip(batch) {
                let Some(slot) = slot else { continue };
                match announce.address {
                    IpAddr::V4(address) => self.touch(*slot, V4::new(address, announce.port)),
                    IpAddr::V6(address) => self.touch(*slot, V6::new(address, announce.port)),
                }
            }
        }
    }

    fn touch<E: Family>(&self, slot: u32, endpoint: E) {
        let pool = E::pool(&self.stores.pools);
        let peers = match &self.slab.entry(slot).body {
            Body::Free { .. } | Body::Empty { .. } | Body::Few { .. } => return,
            Body::Blocks(blocks) => E::list(blocks).peers(pool),
            Body::Crowd(number) => {
                let leechers = &E::tables(self.stores.crowd(*number))[2];
                let hash = endpoint.hash(&self.stores.pools.keys);
                leechers.bucket_of(hash).map_or(&[][..], |bucket| leechers.bucket(pool, bucket))
            }
        };
        // One peer of each cache line.
        for peer in peers.iter().take(PEERS).step_by(64 / size_of::<Peer<E>>()) {
            black_box(peer.seen);
        }
    }
}
