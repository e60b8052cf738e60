//! A hash table that never pauses: linear hashing, where growing splits one bucket at a time.

use std::marker::PhantomData;

use crate::hash::Keys;
use crate::pool::{BLOCK_MAX, Block, Pool};

/// A record in a table. Equal records have equal hashes; a hash is keyed.
pub(crate) trait Record: Copy + Default {
    fn hash(&self, keys: &Keys) -> u64;
}

/// Records by hash, in buckets of about [`BUCKET_MEAN`] that are scanned one by one.
#[derive(Debug)]
pub(crate) struct Table<T> {
    buckets: Vec<Bucket>,
    len: u32,
    /// No bucket is longer; what choosing at random measures against.
    longest: u16,
    record: PhantomData<T>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    block: Block,
    len: u16,
}

/// Where a record is. Good until the table changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) bucket: usize,
    pub(crate) at: usize,
}

/// Records a bucket holds on average. Between two rounds of splits a bucket not split yet holds
/// twice that, with a deviation of its root: a full block, eight times the mean, is out of reach
/// while hashes are keyed.
const BUCKET_MEAN: usize = 32;

impl<T: Record> Table<T> {
    pub(crate) fn new() -> Self {
        Self { buckets: Vec::new(), len: 0, longest: 0, record: PhantomData }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The records of one bucket; none beyond the last bucket.
    #[inline]
    pub(crate) fn bucket<'a>(&self, pool: &'a Pool<T>, bucket: usize) -> &'a [T] {
        match self.buckets.get(bucket) {
            Some(bucket) => &pool.block(bucket.block)[..usize::from(bucket.len)],
            None => &[],
        }
    }

    #[inline]
    pub(crate) fn find(
        &self,
        pool: &Pool<T>,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
    ) -> Option<Place> {
        let bucket = self.bucket_of(hash)?;
        let at = self.bucket(pool, bucket).iter().position(is_it)?;
        Some(Place { bucket, at })
    }

    #[inline]
    pub(crate) fn record_mut<'a>(&self, pool: &'a mut Pool<T>, place: Place) -> &'a mut T {
        &mut pool.block_mut(self.buckets[place.bucket].block)[place.at]
    }

    /// Adds a record that is not here yet; false when its bucket is full, which keyed hashes leave
    /// to those who know the key.
    pub(crate) fn insert(&mut self, pool: &mut Pool<T>, keys: &Keys, record: T) -> bool {
        if self.len() >= self.buckets.len() * BUCKET_MEAN {
            self.split(pool, keys);
        }
        let bucket = self.bucket_of(record.hash(keys)).expect("a split made the first bucket");
        if usize::from(self.buckets[bucket].len) == BLOCK_MAX {
            return false;
        }
        self.push(pool, bucket, record);
        self.len += 1;
        true
    }

    /// Takes a record out and leaves the buckets as many as they are; see [`Table::settle`].
    pub(crate) fn remove(&mut self, pool: &mut Pool<T>, place: Place) -> T {
        self.len -= 1;
        self.swap_remove(pool, place)
    }

    /// Merges buckets, at most `merges`, while the table is much too large for what it holds.
    pub(crate) fn settle(&mut self, pool: &mut Pool<T>, merges: usize) {
        for _ in 0..merges {
            // Half full, so that splits and merges do not take turns.
            if self.len() * 2 > self.buckets.len().saturating_sub(1) * BUCKET_MEAN
                || !self.merge(pool)
            {
                return;
            }
        }
    }

    /// Gives one bucket's memory back with what it holds; false when there is none left. For a table
    /// on its way out: nothing is found in it any more.
    pub(crate) fn bury_bucket(&mut self, pool: &mut Pool<T>) -> bool {
        let Some(bucket) = self.buckets.pop() else { return false };
        pool.give_back(bucket.block);
        self.len = self.len.saturating_sub(u32::from(bucket.len));
        true
    }

    /// A place every record is at with the same chance; `None` in an empty table.
    ///
    /// Draws a bucket and a place in it as if all buckets were as long as the longest, until one
    /// is hit: two to four draws on average. In a table of few buckets, whose longest may have been long in
    /// better times, it counts to a record.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> Option<Place> {
        const DRAWS_MAX: usize = 64;
        const COUNTED_MAX: usize = 16;
        if self.len == 0 {
            return None;
        }
        let buckets = self.buckets.len();
        if buckets <= COUNTED_MAX {
            return self.place(random.usize(..self.len()));
        }
        for _ in 0..DRAWS_MAX {
            let bucket = random.usize(..buckets);
            let at = random.usize(..usize::from(self.longest));
            if at < usize::from(self.buckets[bucket].len) {
                return Some(Place { bucket, at });
            }
        }
        // Reached by a table that has just lost almost everything; it settles within a sweep.
        Some(Place { bucket: random.usize(..buckets), at: 0 })
    }

    /// Where the record of this number is, in the order of the buckets.
    fn place(&self, mut at: usize) -> Option<Place> {
        for (number, bucket) in self.buckets.iter().enumerate() {
            let len = usize::from(bucket.len);
            if at < len {
                return Some(Place { bucket: number, at });
            }
            at -= len;
        }
        None
    }

    #[inline]
    pub(crate) fn bucket_of(&self, hash: u64) -> Option<usize> {
        let buckets = self.buckets.len();
        if buckets == 0 {
            return None;
        }
        let mask = buckets.next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        Some(if bucket < buckets { bucket } else { bucket & (mask >> 1) })
    }

    /// Adds a bucket and moves to it what belongs there, all of it from one other bucket.
    fn split(&mut self, pool: &mut Pool<T>, keys: &Keys) {
        let new = self.buckets.len();
        self.buckets.push(Bucket { block: Block::NONE, len: 0 });
        if new == 0 {
            return;
        }
        let from = parent(new);
        for at in (0..usize::from(self.buckets[from].len)).rev() {
            let record = pool.block(self.buckets[from].block)[at];
            if self.bucket_of(record.hash(keys)) == Some(new) {
                self.swap_remove(pool, Place { bucket: from, at });
                self.push(pool, new, record);
            }
        }
    }

    /// Moves what the last bucket holds to where it came from; false when it does not fit there.
    fn merge(&mut self, pool: &mut Pool<T>) -> bool {
        let Some(last) = self.buckets.len().checked_sub(1) else { return false };
        let leaving = self.buckets[last];
        if last == 0 && leaving.len > 0
            || last > 0 && leaving.len + self.buckets[parent(last)].len > BLOCK_MAX as u16
        {
            return false;
        }
        for at in 0..usize::from(leaving.len) {
            let record = pool.block(leaving.block)[at];
            self.push(pool, parent(last), record);
        }
        pool.give_back(leaving.block);
        self.buckets.pop();
        if self.buckets.capacity() > 4 * self.buckets.len() {
            self.buckets.shrink_to(2 * self.buckets.len());
        }
        true
    }

    fn push(&mut self, pool: &mut Pool<T>, bucket: usize, record: T) {
        let bucket = &mut self.buckets[bucket];
        let len = usize::from(bucket.len);
        bucket.block = pool.grow(bucket.block, len, len + 1);
        pool.block_mut(bucket.block)[len] = record;
        bucket.len += 1;
        self.longest = self.longest.max(bucket.len);
    }

    fn swap_remove(&mut self, pool: &mut Pool<T>, place: Place) -> T {
        let bucket = &mut self.buckets[place.bucket];
        bucket.len -= 1;
        let last = usize::from(bucket.len);
        let records = pool.block_mut(bucket.block);
        let removed = records[place.at];
        records[place.at] = records[last];
        bucket.block = pool.shrink(bucket.block, last);
        removed
    }
}

/// The bucket a later one was split from: the same number without its highest bit.
#[inline]
fn parent(bucket: usize) -> usize {
    bucket ^ (1 << bucket.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Record for u32 {
        fn hash(&self, keys: &Keys) -> u64 {
            keys.word(u64::from(*self))
        }
    }

    fn find(table: &Table<u32>, pool: &Pool<u32>, keys: &Keys, record: u32) -> Option<Place> {
        table.find(pool, record.hash(keys), |other| *other == record)
    }

    #[test]
    fn what_was_put_in_is_found_and_what_was_taken_out_is_not() {
        let (mut pool, keys) = (Pool::new(), Keys::new(3));
        let mut table = Table::new();
        assert!((0..20_000).all(|record: u32| table.insert(&mut pool, &keys, record)));
        assert!((0..20_000).all(|record| find(&table, &pool, &keys, record).is_some()));
        for record in (0..20_000).filter(|record| record % 16 != 0) {
            let place = find(&table, &pool, &keys, record).unwrap();
            assert_eq!(table.remove(&mut pool, place), record);
            table.settle(&mut pool, 1);
        }
        for record in 0..20_000 {
            let found = find(&table, &pool, &keys, record).is_some();
            assert_eq!(found, record % 16 == 0, "{record}");
        }
        assert!(table.buckets() < 3 * 1250 / BUCKET_MEAN, "{} buckets", table.buckets());
        while table.bury_bucket(&mut pool) {}
        assert_eq!((table.len(), pool.blocks()), (0, 0));
    }

    #[test]
    fn buckets_stay_far_from_full() {
        let (mut pool, keys) = (Pool::new(), Keys::new(5));
        let mut table = Table::new();
        assert!((0..300_000).all(|record: u32| table.insert(&mut pool, &keys, record)));
        assert!(usize::from(table.longest) < BLOCK_MAX / 2, "longest: {}", table.longest);
    }

    #[test]
    fn a_drawn_place_is_any_place_alike() {
        let (mut pool, keys) = (Pool::new(), Keys::new(9));
        let (mut table, mut random) = (Table::new(), fastrand::Rng::with_seed(1));
        assert!((0..1000).all(|record: u32| table.insert(&mut pool, &keys, record)));
        let mut drawn = vec![0_u32; 1000];
        for _ in 0..400_000 {
            let place = table.draw(&mut random).unwrap();
            drawn[table.bucket(&pool, place.bucket)[place.at] as usize] += 1;
        }
        // 400 on average with a deviation of 20: chi-square over 999 degrees, five deviations wide.
        let square: f64 = drawn.iter().map(|&n| (f64::from(n) - 400.0).powi(2) / 400.0).sum();
        assert!((777.0..1222.0).contains(&square), "chi-square {square}");
    }
}
