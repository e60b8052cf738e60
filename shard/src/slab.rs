//! The swarms, one after the other: pages that never move, and numbers that stay good.

use crate::InfoHash;
use crate::swarm::{Body, Entry};

/// Swarms by slot. A sweep or an export walks them in order.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    pages: Vec<Box<[Entry]>>,
    /// The first free slot, below `fresh`; each free one names the next.
    free: Option<u32>,
    /// Slots from here on were never used.
    fresh: u32,
}

/// 512 swarms of 64 bytes are a page of 32 KiB.
const PAGE_SHIFT: u32 = 9;

/// The end of the free list.
const NONE: u32 = u32::MAX;

impl Slab {
    /// One more than the highest slot ever used.
    #[inline]
    pub(crate) fn slots(&self) -> u32 {
        self.fresh
    }

    #[inline]
    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        &self.pages[(slot >> PAGE_SHIFT) as usize][(slot & ((1 << PAGE_SHIFT) - 1)) as usize]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.pages[(slot >> PAGE_SHIFT) as usize][(slot & ((1 << PAGE_SHIFT) - 1)) as usize]
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> u32 {
        let slot = match self.free {
            Some(slot) => {
                let Body::Free { next } = self.entry(slot).body else {
                    unreachable!("the free list holds free slots")
                };
                self.free = (next != NONE).then_some(next);
                slot
            }
            None => {
                assert!(self.fresh < NONE, "more swarms than a slot can name");
                if self.fresh >> PAGE_SHIFT == self.pages.len() as u32 {
                    self.pages.push((0..1 << PAGE_SHIFT).map(|_| free(NONE)).collect());
                }
                self.fresh += 1;
                self.fresh - 1
            }
        };
        *self.entry_mut(slot) = entry;
        slot
    }

    /// Frees a slot. Its swarm's peers are gone already.
    pub(crate) fn remove(&mut self, slot: u32) {
        *self.entry_mut(slot) = free(self.free.unwrap_or(NONE));
        self.free = Some(slot);
    }
}

fn free(next: u32) -> Entry {
    Entry { info_hash: InfoHash([0; 20]), snatches: 0, body: Body::Free { next } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seconds;

    #[test]
    fn a_slot_keeps_its_swarm_until_it_is_freed() {
        let mut slab = Slab::default();
        let name = |n: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            InfoHash(bytes)
        };
        let slots: Vec<u32> =
            (0..2000).map(|n| slab.insert(Entry::new(name(n), Seconds(0)))).collect();
        slots.iter().step_by(2).for_each(|slot| slab.remove(*slot));
        for (n, slot) in slots.iter().enumerate().skip(1).step_by(2) {
            assert_eq!(slab.entry(*slot).info_hash, name(n as u32));
        }
        (0..1000).for_each(|n| _ = slab.insert(Entry::new(name(5000 + n), Seconds(0))));
        assert_eq!(slab.slots(), 2000, "free slots are used first");
    }
}
