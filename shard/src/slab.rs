//! The swarms, one after the other: pages that never move, and numbers that stay good.

use std::collections::BTreeSet;

use crate::InfoHash;
use crate::swarm::{Body, Entry};

/// Swarms by slot. A sweep or an export walks them in order. A page of which no slot is used gives its
/// memory back.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    pages: Vec<Page>,
    /// Pages with free slots. The first are filled first, so that the last ones become empty.
    with_room: BTreeSet<u32>,
    /// Pages with memory.
    held: usize,
    /// Slots that are used.
    used: usize,
}

/// Some swarms; without memory while there is none.
#[derive(Debug, Default)]
struct Page {
    entries: Box<[Entry]>,
    /// The first free slot of those; each names the next.
    free: u32,
    used: u32,
}

/// 512 swarms of 64 bytes are a page of 32 KiB.
const PAGE_SHIFT: u32 = 9;
const PAGE: u32 = 1 << PAGE_SHIFT;

/// The end of the free list.
const NONE: u32 = u32::MAX;

/// Free slots that are kept for the next swarms whatever happens: without them a page at the border would be
/// made and given back in turns.
const SPARE: usize = 2 * PAGE as usize;

impl Slab {
    /// One more than the highest slot there is.
    #[cfg(test)]
    fn slots(&self) -> u32 {
        self.pages.len() as u32 * PAGE
    }

    /// Slots that have memory: what a walk over all of them looks at.
    pub(crate) fn walked(&self) -> usize {
        self.held * PAGE as usize
    }

    /// This slot, or the next one that has memory; it may be free. `None` behind the last one.
    #[inline]
    pub(crate) fn from(&self, slot: u32) -> Option<u32> {
        let mut page = slot >> PAGE_SHIFT;
        if !self.pages.get(page as usize)?.entries.is_empty() {
            return Some(slot);
        }
        loop {
            page += 1;
            if !self.pages.get(page as usize)?.entries.is_empty() {
                return Some(page << PAGE_SHIFT);
            }
        }
    }

    #[inline]
    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        &self.pages[(slot >> PAGE_SHIFT) as usize].entries[(slot & (PAGE - 1)) as usize]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.pages[(slot >> PAGE_SHIFT) as usize].entries[(slot & (PAGE - 1)) as usize]
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> u32 {
        let number = self.with_room.first().copied().unwrap_or_else(|| {
            let number = self.pages.len() as u32;
            assert!(number < NONE >> PAGE_SHIFT, "more swarms than a slot can name");
            self.pages.push(Page::default());
            self.with_room.insert(number);
            number
        });
        let page = &mut self.pages[number as usize];
        if page.entries.is_empty() {
            page.entries =
                (1..=PAGE).map(|next| free(if next < PAGE { next } else { NONE })).collect();
            page.free = 0;
            self.held += 1;
        }
        let at = page.free;
        let place = &mut page.entries[at as usize];
        let Body::Free { next } = place.body else {
            unreachable!("the free list holds free slots")
        };
        *place = entry;
        page.free = next;
        page.used += 1;
        if page.used == PAGE {
            self.with_room.remove(&number);
        }
        self.used += 1;
        number << PAGE_SHIFT | at
    }

    /// Frees a slot. Its swarm's peers are gone already.
    pub(crate) fn remove(&mut self, slot: u32) {
        let number = slot >> PAGE_SHIFT;
        let page = &mut self.pages[number as usize];
        page.entries[(slot & (PAGE - 1)) as usize] = free(page.free);
        page.free = slot & (PAGE - 1);
        if page.used == PAGE {
            self.with_room.insert(number);
        }
        page.used -= 1;
        self.used -= 1;
        if page.used == 0 && self.walked() - self.used > SPARE {
            self.pages[number as usize] = Page::default();
            self.held -= 1;
            while self.pages.last().is_some_and(|page| page.entries.is_empty()) {
                self.pages.pop();
                self.with_room.remove(&(self.pages.len() as u32));
            }
        }
    }
}

fn free(next: u32) -> Entry {
    Entry { info_hash: InfoHash([0; 20]), snatches: 0, body: Body::Free { next } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seconds;

    fn entry(n: u32) -> Entry {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Entry::new(InfoHash(bytes), Seconds(0))
    }

    #[test]
    fn a_slot_keeps_its_swarm_until_it_is_freed() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..2000).map(|n| slab.insert(entry(n))).collect();
        slots.iter().step_by(2).for_each(|slot| slab.remove(*slot));
        for (n, slot) in slots.iter().enumerate().skip(1).step_by(2) {
            assert_eq!(slab.entry(*slot).info_hash, entry(n as u32).info_hash);
        }
        (0..1000).for_each(|n| _ = slab.insert(entry(5000 + n)));
        assert_eq!(slab.slots(), 2048, "free slots are used first");
    }

    #[test]
    fn what_a_flood_took_is_given_back_and_not_walked() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..100_000).map(|n| slab.insert(entry(n))).collect();
        let stays = |n: usize| n == 7 || n == 60_000;
        for (n, slot) in slots.iter().enumerate() {
            if !stays(n) {
                slab.remove(*slot);
            }
        }
        assert!(slab.walked() <= 2 * PAGE as usize + SPARE, "{} slots", slab.walked());
        let mut walked = Vec::new();
        let mut slot = 0;
        while let Some(next) = slab.from(slot) {
            if !matches!(slab.entry(next).body, Body::Free { .. }) {
                walked.push(slab.entry(next).info_hash);
            }
            slot = next + 1;
        }
        assert_eq!(walked, [entry(7).info_hash, entry(60_000).info_hash]);
        slab.remove(slots[60_000]);
        let most = |pages: usize| pages * PAGE as usize + SPARE;
        assert!(slab.walked() <= most(1), "{} slots", slab.walked());
        (0..4 * PAGE).for_each(|n| _ = slab.insert(entry(n)));
        assert!(slab.walked() <= most(5), "the first free slots are used first");
    }
}
