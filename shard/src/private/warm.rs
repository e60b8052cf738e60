//! Reaching for memory ahead of time: the cache misses of many announces at once instead of one after
//! the other.

use super::choose::{self, Ask, state};
use super::face::{Name, Reached};
use super::members::{Members, table_of};
use super::torrent::{Body, Torrent};
use super::{Announce, Swarms};
use crate::InfoHash;
use crate::prefetch::prefetch_all;

/// Announces whose memory is reached for at once: about as much as a core's first cache holds.
const BATCH: usize = 32;

/// Peers of a list that are reached for; the rest of a longer one follows by itself.
const FACES: usize = 64;

impl Swarms {
    /// Brings what these announces will look at into the cache. Changes nothing; for a front end that
    /// has received several at once, before it applies one after the other, each with a random
    /// generator that begins with its seed.
    pub fn warm(&self, announces: &[Announce], seeds: &[u64]) {
        for (announces, seeds) in announces.chunks(BATCH).zip(seeds.chunks(BATCH)) {
            let mut slots = [None; BATCH];
            self.warm_torrents(announces.iter().map(|announce| &announce.info_hash), &mut slots);
            for (slot, announce) in slots.iter().zip(announces) {
                if let Some(slot) = *slot {
                    prefetch_faces(self.torrents.get(slot), &self.members, announce);
                }
            }
            for ((slot, announce), seed) in slots.iter().zip(announces).zip(seeds) {
                if let Some(slot) = *slot {
                    self.prefetch_peers(self.torrents.get(slot), announce, *seed);
                }
            }
        }
    }

    /// The same for torrents whose counts will be asked for.
    pub fn warm_counts(&self, info_hashes: &[InfoHash]) {
        for batch in info_hashes.chunks(BATCH) {
            self.warm_torrents(batch.iter(), &mut [None; BATCH]);
        }
    }

    /// A line of the index for each, then each torrent.
    #[inline]
    fn warm_torrents<'a>(
        &self,
        info_hashes: impl Iterator<Item = &'a InfoHash>,
        slots: &mut [Option<u32>; BATCH],
    ) {
        let (mut hashes, mut len) = ([0; BATCH], 0);
        for (hash, info_hash) in hashes.iter_mut().zip(info_hashes) {
            *hash = self.members.keys.info_hash(info_hash);
            self.torrents.prefetch_index(*hash);
            len += 1;
        }
        for (slot, hash) in slots.iter_mut().zip(&hashes[..len]) {
            *slot = self.torrents.prefetch(*hash);
        }
    }

    /// The requester's own account, and in a crowd the peers it will be told first.
    #[inline]
    fn prefetch_peers(&self, torrent: &Torrent, announce: &Announce, seed: u64) {
        let (members, name) = (&self.members, Name::of(&self.members.keys, announce));
        let own = match &torrent.body {
            Body::List(list) => list.peers(&members.faces),
            Body::Crowd(number) => {
                let mut random = fastrand::Rng::with_seed(seed);
                choose::prefetch(
                    torrent,
                    members,
                    &Ask::of(announce, announce.endpoints.v6.is_some()),
                    &mut random,
                );
                let table = &members.crowd(*number).tables[own_table(announce)];
                let bucket = table.bucket_of(name.hash(&members.keys));
                bucket.map_or(&[][..], |bucket| table.bucket(&members.faces, bucket))
            }
        };
        if let Some(face) = own.iter().find(|face| name.may_be(face)) {
            members.accounts.prefetch(face.account);
        }
    }
}

/// The faces of a list; in a crowd the bucket where the requester most likely is.
#[inline]
fn prefetch_faces(torrent: &Torrent, members: &Members, announce: &Announce) {
    match &torrent.body {
        Body::List(list) => {
            let faces = list.peers(&members.faces);
            prefetch_all(&faces[..faces.len().min(FACES)]);
        }
        Body::Crowd(number) => {
            let table = &members.crowd(*number).tables[own_table(announce)];
            let hash = Name::of(&members.keys, announce).hash(&members.keys);
            if let Some(bucket) = table.bucket_of(hash) {
                prefetch_all(table.bucket(&members.faces, bucket));
            }
        }
    }
}

/// Where the requester most likely is.
#[inline]
fn own_table(announce: &Announce) -> usize {
    let reached = match announce.endpoints.v6 {
        None => Reached::V4,
        // Nearly all clients with IPv6 have IPv4 as well.
        Some(_) => Reached::Both,
    };
    table_of(state(announce), reached)
}
