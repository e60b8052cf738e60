//! Memory for many short lists: blocks of a few sizes, cut from pages that never move.

use std::fmt;

/// The lengths a block can have. Steps of an eighth to a quarter waste about a tenth on average.
const LENGTHS: [u16; 28] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160,
    192, 224, 256,
];

/// The longest block there is.
pub(crate) const BLOCK_MAX: usize = 256;

/// About what a page holds: small enough that making one takes microseconds.
const PAGE_BYTES: usize = 32 * 1024;

/// Names a block: which length, and which block of that length. Or no block at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block(u32);

impl Block {
    /// The block of an empty list.
    pub(crate) const NONE: Block = Block(u32::MAX);

    const CLASS_BITS: u32 = 5;

    #[inline]
    fn new(class: usize, index: u32) -> Self {
        assert!(index < Self::NONE.0 >> Self::CLASS_BITS, "more blocks than a handle can name");
        Self(index << Self::CLASS_BITS | class as u32)
    }

    #[inline]
    fn class(self) -> usize {
        (self.0 & ((1 << Self::CLASS_BITS) - 1)) as usize
    }

    #[inline]
    fn index(self) -> u32 {
        self.0 >> Self::CLASS_BITS
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            block => write!(f, "{}x{}", block.index(), LENGTHS[block.class()]),
        }
    }
}

/// Blocks of `T`. Memory once taken is kept for later blocks of the same length.
pub(crate) struct Pool<T> {
    classes: [Class<T>; LENGTHS.len()],
}

struct Class<T> {
    pages: Vec<Box<[T]>>,
    /// Blocks given back.
    free: Vec<u32>,
    /// Blocks from here on were never given out.
    fresh: u32,
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages: usize = self.classes.iter().map(|class| class.pages.len()).sum();
        f.debug_struct("Pool").field("pages", &pages).finish_non_exhaustive()
    }
}

impl<T: Copy + Default> Pool<T> {
    /// Blocks in a page of each class, as a power of two.
    const PAGE_SHIFT: [u32; LENGTHS.len()] = {
        let mut shifts = [0; LENGTHS.len()];
        let mut class = 0;
        while class < LENGTHS.len() {
            shifts[class] = (PAGE_BYTES / (LENGTHS[class] as usize * size_of::<T>())).ilog2();
            class += 1;
        }
        shifts
    };

    pub(crate) fn new() -> Self {
        let class = |_| Class { pages: Vec::new(), free: Vec::new(), fresh: 0 };
        Self { classes: std::array::from_fn(class) }
    }

    /// The whole block; what lies beyond the list's length means nothing.
    #[inline]
    pub(crate) fn block(&self, block: Block) -> &[T] {
        if block == Block::NONE {
            return &[];
        }
        let (page, start, end) = Self::place(block);
        &self.classes[block.class()].pages[page][start..end]
    }

    /// The whole block, to write to.
    #[inline]
    pub(crate) fn block_mut(&mut self, block: Block) -> &mut [T] {
        if block == Block::NONE {
            return &mut [];
        }
        let (page, start, end) = Self::place(block);
        &mut self.classes[block.class()].pages[page][start..end]
    }

    /// A block for `needed` elements beginning with the first `len` of `block`: the same one where
    /// it has room, else a longer one, and `block` is given back. `needed` is at most [`BLOCK_MAX`].
    #[inline]
    pub(crate) fn grow(&mut self, block: Block, len: usize, needed: usize) -> Block {
        if block != Block::NONE && needed <= usize::from(LENGTHS[block.class()]) {
            return block;
        }
        self.relocate(block, len, needed)
    }

    /// A block for `len` elements: a shorter one where that saves two sizes or all of it, so that a
    /// list around a border does not move back and forth.
    #[inline]
    pub(crate) fn shrink(&mut self, block: Block, len: usize) -> Block {
        if block == Block::NONE || (len > 0 && class_for(len) + 2 > block.class()) {
            return block;
        }
        if len == 0 {
            self.give_back(block);
            return Block::NONE;
        }
        self.relocate(block, len, len + 1)
    }

    pub(crate) fn give_back(&mut self, block: Block) {
        if block != Block::NONE {
            self.classes[block.class()].free.push(block.index());
        }
    }

    fn relocate(&mut self, from: Block, len: usize, needed: usize) -> Block {
        let to = self.take(class_for(needed));
        if from != Block::NONE {
            let ((page, start, _), (to_page, to_start, _)) = (Self::place(from), Self::place(to));
            let [source, target] = self
                .classes
                .get_disjoint_mut([from.class(), to.class()])
                .expect("a list moves only to a block of another length");
            target.pages[to_page][to_start..to_start + len]
                .copy_from_slice(&source.pages[page][start..start + len]);
            self.give_back(from);
        }
        to
    }

    fn take(&mut self, class: usize) -> Block {
        let shift = Self::PAGE_SHIFT[class];
        let chosen = &mut self.classes[class];
        let index = chosen.free.pop().unwrap_or_else(|| {
            let index = chosen.fresh;
            if index as usize >> shift == chosen.pages.len() {
                let elements = usize::from(LENGTHS[class]) << shift;
                chosen.pages.push(vec![T::default(); elements].into_boxed_slice());
            }
            chosen.fresh += 1;
            index
        });
        Block::new(class, index)
    }

    #[inline]
    fn place(block: Block) -> (usize, usize, usize) {
        let shift = Self::PAGE_SHIFT[block.class()];
        let length = usize::from(LENGTHS[block.class()]);
        let index = block.index() as usize;
        let start = (index & ((1 << shift) - 1)) * length;
        (index >> shift, start, start + length)
    }

    /// Blocks given out and not given back; for tests that look for leaks.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> usize {
        self.classes.iter().map(|class| class.fresh as usize - class.free.len()).sum()
    }
}

/// The shortest class for `len` elements.
#[inline]
fn class_for(len: usize) -> usize {
    const CLASSES: [u8; BLOCK_MAX + 1] = {
        let (mut classes, mut len, mut class) = ([0; BLOCK_MAX + 1], 0, 0);
        while len <= BLOCK_MAX {
            if len > LENGTHS[class] as usize {
                class += 1;
            }
            classes[len] = class as u8;
            len += 1;
        }
        classes
    };
    usize::from(CLASSES[len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_elements_at_every_length() {
        let mut pool = Pool::<u32>::new();
        let mut block = Block::NONE;
        for len in 0..BLOCK_MAX {
            block = pool.grow(block, len, len + 1);
            pool.block_mut(block)[len] = len as u32;
        }
        for len in (0..BLOCK_MAX).rev() {
            let kept: Vec<u32> = pool.block(block)[..=len].to_vec();
            assert_eq!(kept, (0..=len as u32).collect::<Vec<_>>());
            block = pool.shrink(block, len);
        }
        assert_eq!((block, pool.blocks()), (Block::NONE, 0));
    }

    #[test]
    fn blocks_do_not_overlap() {
        let mut pool = Pool::<u32>::new();
        let blocks: Vec<Block> = (0..5000).map(|n| pool.grow(Block::NONE, 0, n % 40 + 1)).collect();
        for (name, block) in blocks.iter().enumerate() {
            pool.block_mut(*block).fill(name as u32);
        }
        for (name, block) in blocks.iter().enumerate() {
            assert!(pool.block(*block).iter().all(|word| *word == name as u32), "{block:?}");
        }
    }

    #[test]
    fn memory_given_back_is_used_again() {
        let mut pool = Pool::<u32>::new();
        for _ in 0..3 {
            let blocks: Vec<Block> = (0..1000).map(|_| pool.grow(Block::NONE, 0, 20)).collect();
            blocks.into_iter().for_each(|block| pool.give_back(block));
        }
        assert_eq!(pool.classes[class_for(20)].fresh, 1000);
    }
}
