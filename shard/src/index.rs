//! From an infohash to its swarm's slot.

use hashbrown::HashTable;

/// Slots by the keyed hash of their infohash: many small tables instead of one, so that growing one
/// takes microseconds.
pub(crate) struct Index {
    tables: Box<[HashTable<u32>]>,
}

/// A table grows when it holds some hundred slots per million swarms: 30 µs of rehashing.
const TABLES: usize = 4096;

impl Index {
    pub(crate) fn new() -> Self {
        Self { tables: (0..TABLES).map(|_| HashTable::new()).collect() }
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.tables[table(hash)].find(hash, is_it).copied()
    }

    /// Adds a slot that is not here yet; `hash_of` gives the hash of any slot that is.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        self.tables[table(hash)].insert_unique(hash, slot, |slot| hash_of(*slot));
    }

    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        if let Ok(entry) = self.tables[table(hash)].find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }
}

/// From bits that the tables themselves do not use: they take the lowest and the highest.
#[inline]
fn table(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slots: usize = self.tables.iter().map(HashTable::len).sum();
        f.debug_struct("Index").field("slots", &slots).finish_non_exhaustive()
    }
}
