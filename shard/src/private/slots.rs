//! Records by number: pages that never move, and numbers that stay good.

use std::fmt;

use crate::prefetch::{prefetch, prefetch_all};

/// Records of one kind. A number is good from its `insert` to its `remove`; memory once taken is kept
/// for later records.
pub(crate) struct Slots<T> {
    pages: Vec<Box<[T]>>,
    free: Free,
    /// Numbers from here on were never given out.
    fresh: u32,
}

/// Numbers given back, in chunks: one long list would have to be copied each time it grows, and millions
/// may be given back at once.
#[derive(Default)]
struct Free {
    chunks: Vec<Vec<u32>>,
    last: Vec<u32>,
}

const CHUNK: usize = 1024;

impl Free {
    fn len(&self) -> usize {
        self.chunks.len() * CHUNK + self.last.len()
    }

    fn push(&mut self, number: u32) {
        if self.last.len() == CHUNK {
            let next = Vec::with_capacity(CHUNK);
            self.chunks.push(std::mem::replace(&mut self.last, next));
        }
        self.last.push(number);
    }

    fn pop(&mut self) -> Option<u32> {
        if self.last.is_empty() {
            self.last = self.chunks.pop()?;
        }
        self.last.pop()
    }
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("records", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Slots<T> {
    /// Records in a page, as a power of two: about 32 KiB, which takes microseconds to make.
    const PAGE_SHIFT: u32 = (32 * 1024 / size_of::<T>()).ilog2();

    pub(crate) fn new() -> Self {
        Self { pages: Vec::new(), free: Free::default(), fresh: 0 }
    }

    /// One more than the highest number ever used.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.fresh
    }

    /// Records there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.fresh as usize - self.free.len()
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.pages[(number >> Self::PAGE_SHIFT) as usize][Self::at(number)]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.pages[(number >> Self::PAGE_SHIFT) as usize][Self::at(number)]
    }

    /// Asks for the memory of a record.
    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        if let Some(page) = self.pages.get((number >> Self::PAGE_SHIFT) as usize) {
            // It may lie across two cache lines.
            if 64 % size_of::<T>() == 0 {
                prefetch(&page[Self::at(number)]);
            } else {
                prefetch_all(&page[Self::at(number)..][..1]);
            }
        }
    }

    /// Gives a number back; its record stays as it is until the number is used again.
    pub(crate) fn remove(&mut self, number: u32) {
        self.free.push(number);
    }

    #[inline]
    fn at(number: u32) -> usize {
        (number & ((1 << Self::PAGE_SHIFT) - 1)) as usize
    }
}

impl<T: Default> Slots<T> {
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            assert!(self.fresh < u32::MAX, "more records than a number can name");
            if self.fresh >> Self::PAGE_SHIFT == self.pages.len() as u32 {
                self.pages.push((0..1 << Self::PAGE_SHIFT).map(|_| T::default()).collect());
            }
            self.fresh += 1;
            self.fresh - 1
        });
        *self.get_mut(number) = record;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_its_record_until_it_is_given_back() {
        let mut slots = Slots::new();
        let numbers: Vec<u32> = (0..50_000_u64).map(|record| slots.insert(record)).collect();
        numbers.iter().step_by(2).for_each(|number| slots.remove(*number));
        assert_eq!(slots.len(), 25_000);
        for record in 0..25_000 {
            slots.insert(100_000 + record);
        }
        for (record, number) in numbers.iter().enumerate().skip(1).step_by(2) {
            assert_eq!(*slots.get(*number), record as u64);
        }
        assert_eq!((slots.end(), slots.len()), (50_000, 50_000), "numbers are used again");
    }
}
