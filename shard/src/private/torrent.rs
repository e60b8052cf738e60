//! A registered torrent: one cache line that says where its peers are.

use super::slots::Slots;
use super::{Freeleech, Terms, TorrentId};
use crate::InfoHash;
use crate::hash::Keys;
use crate::index::Index;
use crate::list::List;

/// A torrent's place among the torrents.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Torrent {
    pub(crate) info_hash: InfoHash,
    pub(crate) terms: Terms,
    /// Bytes uploaded less bytes downloaded and corrupt.
    pub(crate) balance: i64,
    /// Completed downloads.
    pub(crate) snatches: u32,
    /// There may be tokens for it.
    pub(crate) has_tokens: bool,
    pub(crate) standing: Standing,
    pub(crate) role: Role,
    pub(crate) body: Body,
}

const _: () = assert!(size_of::<Torrent>() == 64, "memory per torrent");

/// The standing of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Standing {
    /// Nobody's.
    #[default]
    Free,
    /// A registered torrent's.
    Registered,
    /// That of a torrent no longer registered, whose peers and tokens are dropped bit by bit.
    Dying,
}

/// Which of its names a torrent has its place by; see [`super::hybrid`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Role {
    /// It has one, or has been given no second one yet.
    #[default]
    Sole,
    /// The first: its figures are here.
    First,
    /// The second.
    Second,
}

/// The peers of the swarm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// At most [`crate::list::LIST_MAX`] peers.
    List(List),
    /// More: the number of a crowd.
    Crowd(u32),
}

impl Torrent {
    /// It is registered, and this is the place of its figures and clients.
    #[inline]
    pub(crate) fn is_registered(&self) -> bool {
        self.standing == Standing::Registered && self.role != Role::Second
    }
}

impl Default for Torrent {
    fn default() -> Self {
        Self {
            info_hash: InfoHash([0; 20]),
            terms: Terms { id: TorrentId(0), freeleech: Freeleech::None, upload_percent: 100 },
            balance: 0,
            snatches: 0,
            has_tokens: false,
            standing: Standing::Free,
            role: Role::Sole,
            body: Body::List(List::EMPTY),
        }
    }
}

/// The torrents of a core, by slot and by infohash.
#[derive(Debug)]
pub(crate) struct Torrents {
    slots: Slots<Torrent>,
    index: Index,
    registered: usize,
}

impl Torrents {
    pub(crate) fn new() -> Self {
        Self { slots: Slots::new(), index: Index::new(), registered: 0 }
    }

    /// How many are registered.
    pub(crate) fn registered(&self) -> usize {
        self.registered
    }

    /// One more than the highest slot ever used.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.slots.end()
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &Torrent {
        self.slots.get(slot)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Torrent {
        self.slots.get_mut(slot)
    }

    /// The slot of a registered torrent, by this of its names.
    #[inline]
    pub(crate) fn find(&self, keys: &Keys, info_hash: &InfoHash) -> Option<u32> {
        let is_it = |slot| self.slots.get(slot).info_hash == *info_hash;
        self.index.find(keys.info_hash(info_hash), is_it)
    }

    pub(crate) fn add(&mut self, keys: &Keys, info_hash: InfoHash, terms: Terms) -> u32 {
        self.registered += 1;
        self.put(keys, Torrent { info_hash, terms, ..Torrent::default() })
    }

    /// The place of a second name.
    pub(crate) fn add_second(&mut self, keys: &Keys, info_hash: InfoHash) -> u32 {
        self.put(keys, Torrent { info_hash, role: Role::Second, ..Torrent::default() })
    }

    fn put(&mut self, keys: &Keys, torrent: Torrent) -> u32 {
        let info_hash = torrent.info_hash;
        let slot = self.slots.insert(Torrent { standing: Standing::Registered, ..torrent });
        let slots = &self.slots;
        self.index.insert(keys.info_hash(&info_hash), slot, |slot| {
            keys.info_hash(&slots.get(slot).info_hash)
        });
        slot
    }

    /// From here on nobody finds it; its slot stays its own until it is freed.
    pub(crate) fn condemn(&mut self, keys: &Keys, slot: u32) {
        let torrent = self.slots.get_mut(slot);
        torrent.standing = Standing::Dying;
        self.index.remove(keys.info_hash(&torrent.info_hash), slot);
        self.registered -= usize::from(torrent.role != Role::Second);
    }

    /// Gives back the slot of one that has neither peers nor tokens.
    pub(crate) fn free(&mut self, slot: u32) {
        *self.slots.get_mut(slot) = Torrent::default();
        self.slots.remove(slot);
    }

    /// Asks for the memory where a search for this hash begins.
    #[inline]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The slot that is most likely the one; asks for its memory.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) -> Option<u32> {
        let slot = self.index.guess(hash)?;
        self.slots.prefetch(slot);
        Some(slot)
    }
}
