//! From an infohash to its swarm's slot: one cache line to look at.

use crate::prefetch::prefetch;

/// Slots by the keyed hash of their infohash: many small tables instead of one, so that growing one
/// takes microseconds.
///
/// A table is a row of lines. A slot is in the line its hash names, or, where that was full, in one
/// of the next; each line knows how many slots went past it, so that a search ends at the first line
/// that nobody went past. A line answers by itself which of its slots may be the one: it keeps eight
/// bits of each hash.
pub(crate) struct Index {
    tables: Box<[Table]>,
}

/// One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    /// Eight bits of each slot's hash, 0 where there is no slot.
    prints: [u8; SLOTS],
    /// Slots that belong here or further up and are further down. Stays at its maximum once there.
    passed: u32,
    slots: [u32; SLOTS],
}

const SLOTS: usize = 12;
const _: () = assert!(size_of::<Line>() == 64, "a lookup is one cache miss");

#[derive(Default)]
struct Table {
    /// A power of two of them, or none.
    lines: Box<[Line]>,
    len: u32,
}

/// At a million swarms a table holds some 250 and growing it is 30 µs of rehashing.
const TABLES: usize = 4096;

/// Of twelve slots nine are used at most: then one slot in fifteen is not in its own line.
const LINE_MAX: usize = 9;

impl Index {
    pub(crate) fn new() -> Self {
        Self { tables: (0..TABLES).map(|_| Table::default()).collect() }
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let table = &self.tables[table_of(hash)];
        let (line, at) = table.find(hash, is_it)?;
        Some(table.lines[line].slots[at])
    }

    /// Asks for the memory of the line where a search begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(line) = self.line(hash) {
            prefetch(line);
        }
    }

    /// The slot that is most likely the one, by that line alone; mostly it is, if there is one.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        let line = self.line(hash)?;
        line.candidates(print_of(hash)).next().map(|at| line.slots[at])
    }

    #[inline]
    fn line(&self, hash: u64) -> Option<&Line> {
        let lines = &self.tables[table_of(hash)].lines;
        lines.get(hash as usize & lines.len().wrapping_sub(1))
    }

    /// Adds a slot that is not here yet; `hash_of` gives the hash of any slot that is.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let table = &mut self.tables[table_of(hash)];
        if table.len as usize >= table.lines.len() * LINE_MAX {
            table.grow(hash_of);
        }
        table.insert(hash, slot);
    }

    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        self.tables[table_of(hash)].remove(hash, slot);
    }
}

impl Table {
    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        let mask = self.lines.len().checked_sub(1)?;
        let mut number = hash as usize & mask;
        for _ in 0..=mask {
            let line = &self.lines[number];
            for at in line.candidates(print_of(hash)) {
                if is_it(line.slots[at]) {
                    return Some((number, at));
                }
            }
            if line.passed == 0 {
                return None;
            }
            number = (number + 1) & mask;
        }
        None
    }

    /// There is a free place: lines are never all full.
    fn insert(&mut self, hash: u64, slot: u32) {
        let mask = self.lines.len() - 1;
        let mut number = hash as usize & mask;
        loop {
            let line = &mut self.lines[number];
            if let Some(at) = line.prints.iter().position(|print| *print == 0) {
                (line.prints[at], line.slots[at]) = (print_of(hash), slot);
                self.len += 1;
                return;
            }
            line.passed = line.passed.saturating_add(1);
            number = (number + 1) & mask;
        }
    }

    fn remove(&mut self, hash: u64, slot: u32) {
        let Some((found, at)) = self.find(hash, |other| other == slot) else {
            debug_assert!(false, "a swarm is in the index while it is in the slab");
            return;
        };
        self.lines[found].prints[at] = 0;
        self.len -= 1;
        let mask = self.lines.len() - 1;
        let mut number = hash as usize & mask;
        while number != found {
            let passed = &mut self.lines[number].passed;
            *passed -= u32::from(*passed < u32::MAX);
            number = (number + 1) & mask;
        }
    }

    /// Doubles the lines. A table never shrinks: it is some KiB.
    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let lines = (self.lines.len() * 2).max(1);
        let old = std::mem::replace(&mut self.lines, vec![Line::default(); lines].into());
        self.len = 0;
        for line in old {
            let used = line.prints.iter().zip(line.slots).filter(|(print, _)| **print != 0);
            used.for_each(|(_, slot)| self.insert(hash_of(slot), slot));
        }
    }
}

impl Line {
    /// The highest bit of each byte whose slot has this print, and no other bit: the search for zero
    /// bytes in a word. Exact, or a slot no longer used might come up again.
    #[inline]
    fn candidates(&self, print: u8) -> Candidates {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        let zeros = |prints: u64| {
            let differences = prints ^ (ONES * u64::from(print));
            // No carry leaves a byte: what is not zero below its highest bit sets it.
            let below = (differences & (ONES * 0x7f)) + ONES * 0x7f;
            !(below | differences) & (ONES << 7)
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.prints;
        Candidates {
            low: zeros(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            // No print is 0.
            high: zeros(u64::from_le_bytes([i, j, k, l, 0, 0, 0, 0])),
        }
    }
}

/// Places in a line, the first one first.
struct Candidates {
    low: u64,
    high: u64,
}

impl Iterator for Candidates {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let (bits, first) = match (self.low, self.high) {
            (0, 0) => return None,
            (0, _) => (&mut self.high, 8),
            (..) => (&mut self.low, 0),
        };
        let at = bits.trailing_zeros() as usize / 8;
        *bits &= *bits - 1;
        Some(first + at)
    }
}

/// Bits that no table uses for its lines.
#[inline]
fn table_of(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}

/// Never 0, which means no slot.
#[inline]
fn print_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slots: u32 = self.tables.iter().map(|table| table.len).sum();
        f.debug_struct("Index").field("slots", &slots).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::hash::Keys;

    /// A hash of which all bits but a few are the same: everything wants the same few lines.
    fn crowded(slot: u32) -> u64 {
        u64::from(slot % 3) | u64::from(slot) << 56
    }

    fn check(slots: u32, hash_of: impl Fn(u32) -> u64 + Copy) {
        let (mut index, mut expected) = (Index::new(), BTreeSet::new());
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..slots * 10 {
            let slot = random.u32(..slots);
            if expected.remove(&slot) {
                index.remove(hash_of(slot), slot);
            } else {
                index.insert(hash_of(slot), slot, hash_of);
                expected.insert(slot);
            }
        }
        for slot in 0..slots {
            let found = index.find(hash_of(slot), |other| other == slot);
            assert_eq!(found.is_some(), expected.contains(&slot), "{slot}");
        }
    }

    #[test]
    fn every_slot_is_found_until_it_is_removed() {
        let keys = Keys::new(1);
        check(40_000, |slot| keys.word(u64::from(slot)));
    }

    #[test]
    fn slots_that_share_a_line_are_found_in_the_next_ones() {
        check(300, crowded);
    }

    #[test]
    fn nothing_is_searched_for_long_after_a_crowd_has_left() {
        let mut index = Index::new();
        (0..200).for_each(|slot| index.insert(crowded(slot), slot, crowded));
        (0..200).for_each(|slot| index.remove(crowded(slot), slot));
        let passed: u32 = index.tables[0].lines.iter().map(|line| line.passed).sum();
        assert_eq!((passed, index.tables[0].len), (0, 0));
    }
}
