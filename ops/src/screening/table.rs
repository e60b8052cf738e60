//! What is said of each address, in a form that answers at once.
//!
//! IPv4: the upper 16 bits choose an entry. Where all of its addresses have the same answer, that stands in the entry.
//! Otherwise the entry says where its ranges stand: the lower 16 bits at which each begins, sorted, and behind them the
//! answers. So a look is one line of memory, or three that lie close together.
//!
//! IPv6: ranges of upper halves stand seven in a line of memory, a leaf. Which leaf, say the last upper halves of all of
//! them: the upper 16 bits choose a part, and as many bits behind them as it has use for a slot, in which a few leaves end.
//! All of that is small enough for the cache of a core, so a look is one line of memory; and it has no branch that depends
//! on that line, so that looks wait for memory together. Only where rules tell addresses of one /64 apart are the lower
//! 64 bits looked at.
//!
//! With 600,000 prefixes: `benches/screening.rs`.

use super::judgement::Code;
use super::ranges::{self, Range, Ranges};

/// What is said of each IPv4 address.
#[derive(Clone, Debug)]
pub(super) struct TableV4 {
    /// By the upper 16 bits.
    entries: Box<[Entry]>,
    /// For each entry that needs them: where ranges begin, and behind that as many answers.
    ranges: Box<[u16]>,
}

/// Addresses with the same upper 16 bits.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its ranges stand.
    at: u32,
    /// How many ranges follow the first; without any, `code` is said of all.
    more: u16,
    code: u16,
}

impl TableV4 {
    pub(super) fn new(whole: &[Range]) -> Self {
        let mut entries = Vec::with_capacity(1 << 16);
        let mut all = Vec::new();
        let mut from = 0;
        for upper in 0..1_u128 << 16 {
            let (first, next) = (upper << 16, (upper + 1) << 16);
            let mut starts = vec![0];
            let mut codes = vec![ranges::find(&whole[from.max(1) - 1..], first).0];
            while let Some((start, code)) = whole.get(from).filter(|(start, _)| *start < next) {
                if *start > first {
                    starts.push((start & 0xffff) as u16);
                    codes.push(code.0);
                }
                from += 1;
            }
            let (more, code) = ((starts.len() - 1) as u16, codes[0]);
            entries.push(Entry { at: all.len() as u32, more, code });
            if more > 0 {
                all.append(&mut starts);
                all.append(&mut codes);
            }
        }
        Self { entries: entries.into(), ranges: all.into() }
    }

    #[inline]
    pub(super) fn find(&self, address: u32) -> Code {
        let entry = self.entries[(address >> 16) as usize];
        if entry.more == 0 {
            return Code(entry.code);
        }
        let len = usize::from(entry.more) + 1;
        let (starts, codes) = self.ranges[entry.at as usize..][..2 * len].split_at(len);
        // The first range begins at 0.
        let at = starts.partition_point(|start| *start <= address as u16) - 1;
        Code(codes[at])
    }

    /// What it was made of.
    pub(super) fn whole(&self) -> Vec<Range> {
        let mut whole = Ranges::default();
        for (entry, upper) in self.entries.iter().zip(0_u128..) {
            let first = upper << 16;
            if entry.more == 0 {
                whole.push(first, Code(entry.code));
                continue;
            }
            let len = usize::from(entry.more) + 1;
            let (starts, codes) = self.ranges[entry.at as usize..][..2 * len].split_at(len);
            for (start, code) in starts.iter().zip(codes) {
                whole.push(first | u128::from(*start), Code(*code));
            }
        }
        whole.0
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + size_of_val(&*self.ranges)
    }
}

/// What is said of each IPv6 address.
#[derive(Clone, Debug)]
pub(super) struct TableV6 {
    /// By the upper 16 bits.
    parts: Box<[Part]>,
    /// By the bits behind them, as many as a part has use for: the first leaf that ends there or behind. After all of
    /// them the last leaf.
    slots: Box<[u32]>,
    /// The last upper half of each leaf, and behind them [`LOOK`] times [`LAST`].
    ends: Box<[u64]>,
    leaves: Box<[Leaf]>,
    /// Addresses that have [`Code::DEEPER`] above.
    deeper: Box<[Range]>,
}

/// Addresses with the same upper 16 bits.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where its slots stand.
    at: u32,
    /// So many bits behind the upper 16 choose one.
    bits: u32,
}

/// Seven ranges that are next to each other: the last upper half of the first six in the [`ORDER`] in which they are asked
/// for, and behind them eight codes. Who asks for the seventh gets a word of codes; so the last two codes are the same.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Leaf([u64; 8]);

/// The places of the six in the order in which a binary search asks for them: the middle, the middle of either half, the
/// others.
const ORDER: [usize; 6] = [3, 1, 5, 0, 2, 4];

/// The last of all. Where there is nothing more it stands as well, and nothing is behind it.
const LAST: u64 = u64::MAX;

/// Leaves that end in a slot, on average: so few that nearly always one look at [`LOOK`] of them is enough.
const SLOT_LEAVES: usize = 2;

/// So many are looked at together, without a branch.
const LOOK: usize = 8;

/// A part has at most so many slots, as a power of two.
const PART_BITS_MAX: u32 = 20;

impl Leaf {
    const RANGES: usize = 7;

    /// Ranges, by where each ends.
    fn new(ranges: &[(u64, Code)]) -> Self {
        let last = ranges[ranges.len() - 1].1;
        let range = |at: usize| ranges.get(at).copied().unwrap_or((LAST, last));
        let mut leaf = Self([0; 8]);
        for (word, at) in leaf.0.iter_mut().zip(ORDER) {
            *word = range(at).0;
        }
        for at in 0..8 {
            leaf.0[6 + at / 4] |= u64::from(range(at).1.0) << (at % 4 * 16);
        }
        leaf
    }

    #[inline]
    fn find(&self, upper: u64) -> Code {
        let mut at = 1;
        for _ in 0..3 {
            at = 2 * at + usize::from(self.0[at - 1] < upper);
        }
        self.code(at - 8)
    }

    #[inline]
    fn code(&self, at: usize) -> Code {
        Code((self.0[6 + at / 4] >> (at % 4 * 16)) as u16)
    }

    /// The last upper half of each of the first six.
    fn lasts(&self) -> [u64; 6] {
        let mut lasts = [0; 6];
        ORDER.into_iter().zip(self.0).for_each(|(at, last)| lasts[at] = last);
        lasts
    }
}

impl TableV6 {
    pub(super) fn new(whole: &[Range]) -> Self {
        let (keys, deeper) = upper_halves(whole);
        let lasts = keys.iter().skip(1).map(|(key, _)| key - 1).chain([LAST]);
        let ranges: Vec<(u64, Code)> =
            lasts.zip(&keys).map(|(last, (_, code))| (last, *code)).collect();
        let leaves = ranges.chunks(Leaf::RANGES);
        let mut ends: Vec<u64> = leaves.clone().map(|some| some[some.len() - 1].0).collect();
        let (mut parts, mut slots) = (Vec::with_capacity(1 << 16), Vec::new());
        let mut from = 0;
        for part in 0..1_u64 << 16 {
            let (first, last) = (part << 48, part << 48 | LAST >> 16);
            let own = ends[from..].partition_point(|end| *end <= last);
            let own = &ends[from..][..own];
            let bits = (own.len() / SLOT_LEAVES).checked_ilog2().unwrap_or(0).min(PART_BITS_MAX);
            parts.push(Part { at: slots.len() as u32, bits });
            for slot in 0..1_u64 << bits {
                let begin = first + (slot << (48 - bits));
                slots.push((from + own.partition_point(|end| *end < begin)) as u32);
            }
            from += own.len();
        }
        slots.push(ends.len() as u32 - 1);
        ends.extend([LAST; LOOK]);
        Self {
            parts: parts.into(),
            slots: slots.into(),
            ends: ends.into(),
            leaves: leaves.map(Leaf::new).collect(),
            deeper: deeper.into(),
        }
    }

    #[inline]
    pub(super) fn find(&self, address: u128) -> Code {
        let upper = (address >> 64) as u64;
        let part = self.parts[(upper >> 48) as usize];
        // None of them leaves none.
        let slot = part.at as usize + (upper << 16 >> 1 >> (63 - part.bits)) as usize;
        let (from, to) = (self.slots[slot] as usize, self.slots[slot + 1] as usize);
        let leaf = from
            + if to - from < LOOK {
                let some: &[u64; LOOK] = self.ends[from..][..LOOK].try_into().expect("so many");
                some.iter().map(|end| usize::from(*end < upper)).sum()
            } else {
                self.ends[from..to].partition_point(|end| *end < upper)
            };
        match self.leaves[leaf].find(upper) {
            Code::DEEPER => self.find_deeper(address),
            code => code,
        }
    }

    #[cold]
    fn find_deeper(&self, address: u128) -> Code {
        ranges::find(&self.deeper, address)
    }

    /// What it was made of.
    pub(super) fn whole(&self) -> Vec<Range> {
        let mut whole = Ranges::default();
        let mut next = Some(0);
        for (leaf, end) in self.leaves.iter().zip(&self.ends) {
            for (at, last) in leaf.lasts().into_iter().chain([*end]).enumerate() {
                // Behind the last of all there is nothing.
                if let Some(start) = next {
                    self.push(&mut whole, start, leaf.code(at));
                    next = last.checked_add(1);
                }
            }
        }
        whole.0
    }

    /// Adds what is said from an upper half on, or of the addresses in it.
    fn push(&self, whole: &mut Ranges, upper: u64, code: Code) {
        if code != Code::DEEPER {
            return whole.push(u128::from(upper) << 64, code);
        }
        let from = self.deeper.partition_point(|(start, _)| *start < u128::from(upper) << 64);
        let within = self.deeper[from..].iter();
        for (start, code) in within.take_while(|(start, _)| (start >> 64) as u64 == upper) {
            whole.push(*start, *code);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let index = size_of_val(&*self.parts) + size_of_val(&*self.slots);
        let upper = index + size_of_val(&*self.ends) + size_of_val(&*self.leaves);
        upper + size_of_val(&*self.deeper)
    }
}

/// What is said of upper halves, and of whole addresses where that is [`Code::DEEPER`].
fn upper_halves(whole: &[Range]) -> (Vec<(u64, Code)>, Vec<Range>) {
    let upper = |start: u128| (start >> 64) as u64;
    let is_deep = |start: u128| start as u64 != 0;
    let deep = whole.iter().filter(|(start, _)| is_deep(*start)).map(|(start, _)| upper(*start));
    let mut deep: Vec<u64> = deep.collect();
    deep.dedup();
    let shallow = whole.iter().filter(|(start, _)| !is_deep(*start));
    let mut keys: Vec<(u64, Code)> = shallow.map(|(start, code)| (upper(*start), *code)).collect();
    for upper in &deep {
        keys.push((*upper, Code::DEEPER));
        if let Some(next) = upper.checked_add(1) {
            keys.push((next, ranges::find(whole, u128::from(next) << 64)));
        }
    }
    // Of several with one key the one that leads deeper counts, and any other is the same as the rest.
    keys.sort_by_key(|(key, code)| (*key, *code != Code::DEEPER));
    keys.dedup_by_key(|(key, _)| *key);
    let mut deeper = Vec::new();
    for upper in deep {
        let first = u128::from(upper) << 64;
        deeper.push((first, ranges::find(whole, first)));
        let from = whole.partition_point(|(start, _)| *start <= first);
        deeper.extend(whole[from..].iter().take_while(|(start, _)| start >> 64 == first >> 64));
    }
    (keys, deeper)
}

#[cfg(test)]
mod tests {
    use super::super::ranges::{Prefix, flatten, overlay};
    use super::*;

    /// What the longest prefix says, and of two that are the same the first.
    fn naive(prefixes: &[Prefix], address: u128) -> Code {
        let is_in = |prefix: &&Prefix| {
            (address ^ prefix.start).checked_shr(128 - u32::from(prefix.len)).unwrap_or(0) == 0
        };
        let longest = prefixes.iter().rev().filter(is_in).max_by_key(|prefix| prefix.len);
        longest.map_or(Code::SERVED, |prefix| prefix.code)
    }

    fn table(prefixes: &[Prefix]) -> TableV6 {
        TableV6::new(&overlay(&flatten(prefixes.to_vec(), 128), &[(0, Code::SERVED)]))
    }

    /// Both ends of each prefix, and what is next to them.
    fn edges(prefixes: &[Prefix]) -> impl Iterator<Item = u128> {
        prefixes.iter().flat_map(|Prefix { start, len, .. }| {
            let end = start | u128::MAX.checked_shr(u32::from(*len)).unwrap_or(0);
            let around = |at: u128| [at.wrapping_sub(1), at, at.wrapping_add(1)];
            around(*start).into_iter().chain(around(end))
        })
    }

    #[test]
    fn every_edge_is_found_as_by_a_look_through_all() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..180 {
            // In a few leaves and in many, close together in different ways.
            let many = [0, 1, 3, 8, 60, 400][round % 6];
            let lens = [0..=128, 32..=48, 60..=70, 96..=128, 0..=8, 16..=64][round / 6 % 6].clone();
            let spread = random.u32(0..90);
            let mut prefixes: Vec<Prefix> = (0..many)
                .map(|_| {
                    let len = random.u8(lens.clone());
                    let near = random.u128(..) & random.u128(..) >> spread;
                    let kept = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                    let code = Code(random.u16(0..5) << 10);
                    Prefix { start: (near << random.u32(0..40)) & kept, len, code }
                })
                .collect();
            if round % 5 == 0 {
                let code = Code(7 << 10);
                prefixes.push(Prefix { start: 0, len: 0, code });
                prefixes.push(Prefix { start: 0, len: 128, code });
                prefixes.push(Prefix { start: u128::MAX, len: 128, code: Code::SERVED });
            }
            let table = table(&prefixes);
            let asked = edges(&prefixes).chain([0, u128::MAX, 1 << 64, (1 << 64) - 1]);
            for address in asked.chain((0..100).map(|_| random.u128(..))) {
                let expected = naive(&prefixes, address);
                assert_eq!(table.find(address), expected, "{address:x} in round {round}");
            }
        }
    }

    #[test]
    fn a_table_of_any_size_says_what_its_ranges_say_and_gives_them_back() {
        for many in [1, 2, 7, 8, 14, 15, 56, 57, 449, 3_585, 30_000] {
            for step in [1_u128 << 64, 1 << 100, (u128::MAX / many) >> 64 << 64] {
                let ranges: Vec<Range> = (0..many)
                    .filter_map(|at| Some((step.checked_mul(at)?, Code((at % 3) as u16))))
                    .collect();
                let table = TableV6::new(&ranges);
                assert_eq!(table.whole(), ranges, "{many}");
                for (start, code) in &ranges {
                    assert_eq!(table.find(*start), *code, "{many}: {start:x}");
                    let before = start.wrapping_sub(1);
                    assert_eq!(table.find(before), ranges::find(&ranges, before), "{many}");
                }
            }
        }
    }
}
