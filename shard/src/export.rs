//! Writing a shard out in pieces of a bounded size: everything for a snapshot, or the counts alone.

use crate::crowd::{Crowd, STATES};
use crate::family::Family;
use crate::peer::{Peer, V4, V6};
use crate::slab::Slab;
use crate::stores::{Pools, Stores};
use crate::swarm::{Body, Entry};
use crate::{Counts, InfoHash, PeerRecord, PeerState, Piece, Seconds, SwarmRecord};

/// How far an export of swarms or of counts has come. Starts at `Cursor::default()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    slot: u32,
    /// The large swarm that the last piece ended in, and where.
    within: Option<(InfoHash, InCrowd)>,
}

/// Leechers go first: one that completes meanwhile is written twice rather than missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct InCrowd {
    /// IPv4 leechers, partial seeds, seeders, then the same for IPv6.
    table: usize,
    bucket: usize,
    /// How many buckets the table had then.
    buckets: usize,
}

const TABLES: usize = 2 * STATES.len();

pub(crate) fn export(
    slab: &Slab,
    stores: &Stores,
    now: Seconds,
    cursor: &mut Cursor,
    peers_max: usize,
    piece: &mut Piece,
) -> bool {
    // Free slots cost a look too: a shard that was once large is walked in steps as well.
    for _ in 0..peers_max.max(1) {
        let Some(slot) = slab.from(cursor.slot) else { return true };
        cursor.slot = slot;
        let entry = slab.entry(slot);
        let within = match (&entry.body, cursor.within) {
            (Body::Free { .. }, _) => None,
            (Body::Crowd(number), within) => {
                let from = within.filter(|(info_hash, _)| *info_hash == entry.info_hash);
                let from = from.map_or(InCrowd::default(), |(_, at)| at);
                let out = Out { stores, now, peers_max };
                out.crowd(entry, stores.crowd(*number), from, piece)
            }
            (Body::Empty { .. } | Body::Few { .. } | Body::Blocks(_), _) => {
                whole(entry, stores, now, piece);
                None
            }
        };
        cursor.within = within.map(|at| (entry.info_hash, at));
        cursor.slot += u32::from(within.is_none());
        if is_full(piece, peers_max) {
            break;
        }
    }
    slab.from(cursor.slot).is_none()
}

pub(crate) fn counts(
    slab: &Slab,
    stores: &Stores,
    cursor: &mut Cursor,
    swarms_max: usize,
    counts: &mut Vec<(InfoHash, Counts)>,
) -> bool {
    for _ in 0..swarms_max.max(1) {
        let Some(slot) = slab.from(cursor.slot) else { return true };
        let entry = slab.entry(slot);
        if !matches!(entry.body, Body::Free { .. }) {
            counts.push((entry.info_hash, entry.counts(stores)));
        }
        cursor.slot = slot + 1;
    }
    slab.from(cursor.slot).is_none()
}

fn is_full(piece: &Piece, peers_max: usize) -> bool {
    piece.peers_v4.len() + piece.peers_v6.len() + piece.swarms.len() >= peers_max
}

/// A swarm of at most some hundred peers.
fn whole(entry: &Entry, stores: &Stores, now: Seconds, piece: &mut Piece) {
    let (from_v4, from_v6) = (piece.peers_v4.len(), piece.peers_v6.len());
    match &entry.body {
        Body::Free { .. } | Body::Empty { .. } | Body::Crowd(_) => {}
        Body::Few { parts, peers } => {
            let peers = peers[..parts.len()].iter().enumerate();
            piece.peers_v4.extend(peers.map(|(at, peer)| peer.record(parts.state(at), now)));
        }
        Body::Blocks(blocks) => {
            let peers = blocks.v4.peers(&stores.pools.v4).iter().enumerate();
            let state = |at| blocks.v4.parts.state(at);
            piece.peers_v4.extend(peers.map(|(at, peer)| peer.record(state(at), now)));
            let peers = blocks.v6.peers(&stores.pools.v6).iter().enumerate();
            let state = |at| blocks.v6.parts.state(at);
            piece.peers_v6.extend(peers.map(|(at, peer)| peer.record(state(at), now)));
        }
    }
    close(entry, from_v4, from_v6, piece);
}

/// Ends a swarm whose peers were appended from these lengths on.
fn close(entry: &Entry, from_v4: usize, from_v6: usize, piece: &mut Piece) {
    piece.swarms.push(SwarmRecord {
        info_hash: entry.info_hash,
        snatches: entry.snatches,
        peers_v4: (piece.peers_v4.len() - from_v4) as u32,
        peers_v6: (piece.peers_v6.len() - from_v6) as u32,
    });
}

struct Out<'a> {
    stores: &'a Stores,
    now: Seconds,
    peers_max: usize,
}

impl Out<'_> {
    /// Buckets of a crowd until the piece is full; where to go on, `None` after its last one.
    fn crowd(
        &self,
        entry: &Entry,
        crowd: &Crowd,
        mut at: InCrowd,
        piece: &mut Piece,
    ) -> Option<InCrowd> {
        let (from_v4, from_v6) = (piece.peers_v4.len(), piece.peers_v6.len());
        while at.table < TABLES && !is_full(piece, self.peers_max) {
            let state = STATES[STATES.len() - 1 - at.table % STATES.len()];
            let pools = &self.stores.pools;
            let buckets = if at.table < STATES.len() {
                self.bucket::<V4>(crowd, pools, state, &mut at, &mut piece.peers_v4)
            } else {
                self.bucket::<V6>(crowd, pools, state, &mut at, &mut piece.peers_v6)
            };
            at = match at.bucket < buckets {
                true => InCrowd { bucket: at.bucket + 1, buckets, ..at },
                false => InCrowd { table: at.table + 1, ..InCrowd::default() },
            };
        }
        close(entry, from_v4, from_v6, piece);
        (at.table < TABLES).then_some(at)
    }

    /// Writes the bucket at `at`, where there is such a one; how many the table has.
    ///
    /// One that has fewer than before is written from its beginning again: its last buckets were merged into earlier ones,
    /// and so whoever was in them may stand where this has been already.
    fn bucket<E: Family>(
        &self,
        crowd: &Crowd,
        pools: &Pools,
        state: PeerState,
        at: &mut InCrowd,
        records: &mut Vec<PeerRecord<E::Address>>,
    ) -> usize {
        let table = &E::tables(crowd)[state as usize];
        if table.buckets() < at.buckets {
            at.bucket = 0;
        }
        let peers = table.bucket(E::pool(pools), at.bucket).iter();
        records.extend(peers.map(|peer: &Peer<E>| peer.record(state, self.now)));
        table.buckets()
    }
}
