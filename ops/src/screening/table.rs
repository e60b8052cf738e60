//! What is said of each address, in a form that answers at once.
//!
//! IPv4: the upper 16 bits choose an entry. Where all of its addresses have the same answer, that stands in the entry.
//! Otherwise the entry says where its ranges stand: the lower 16 bits at which each begins, sorted, and behind them the
//! answers. So a look is one line of memory, or three that lie close together.
//!
//! IPv6: the upper 16 bits choose a part, and as many bits behind them as it has use for a slot, in which a few ranges
//! begin. Of each stand the next 48 bits and its answer, in eight bytes. So a look is the slot and a line or two of
//! memory, and has no branch that cannot be told ahead, so that looks wait for memory together. Only where rules tell
//! addresses of one /64 apart are the lower 64 bits looked at.
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
    /// By the bits behind them, as many as a part has use for: where the first range stands that begins there or behind.
    /// Behind the last of a part, the same of its end.
    slots: Box<[u32]>,
    /// Where ranges begin, 48 bits behind the upper 16, and in the lower 16 what is said from there on. Each part has one
    /// from its beginning on, and [`BEHIND`] at its end.
    ranges: Box<[u64]>,
    /// Addresses that have [`Code::DEEPER`] above.
    deeper: Box<[Range]>,
}

/// Addresses with the same upper 16 bits.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where its slots stand; with `bits` [`WHOLE`], the code that is said of all.
    at: u32,
    /// So many bits behind the upper 16 choose one.
    bits: u32,
}

/// The same is said of a whole part.
const WHOLE: u32 = u32::MAX;

/// Ranges in a slot, on average: so few that nearly always one look at [`LOOK`] of them is enough.
const SLOT_RANGES: usize = 2;

/// So many ranges are looked at together, without a branch: a line of memory.
const LOOK: usize = 8;

/// Behind the ranges of a part: no address reaches it, as no code is [`Code::NOTHING`].
const BEHIND: [u64; LOOK] = [u64::MAX; LOOK];

impl TableV6 {
    pub(super) fn new(whole: &[Range]) -> Self {
        let (keys, deeper) = upper_halves(whole);
        let (mut parts, mut slots, mut ranges) =
            (Vec::with_capacity(1 << 16), Vec::new(), Vec::new());
        let mut rest = keys.as_slice();
        let mut code = rest[0].1;
        for part in 0..1_u64 << 16 {
            let (first, last) = (part << 48, part << 48 | u64::MAX >> 16);
            let (own, others) = rest.split_at(rest.partition_point(|(key, _)| *key <= last));
            rest = others;
            let own = match own {
                [(key, next), behind @ ..] if *key == first => {
                    code = *next;
                    behind
                }
                own => own,
            };
            if own.is_empty() {
                parts.push(Part { at: code.0.into(), bits: WHOLE });
                continue;
            }
            let bits = (own.len() / SLOT_RANGES).checked_ilog2().unwrap_or(0).min(PART_BITS_MAX);
            parts.push(Part { at: slots.len() as u32, bits });
            ranges.push(entry(first, code));
            let from = ranges.len();
            ranges.extend(own.iter().map(|(key, code)| entry(*key, *code)));
            for slot in 0..=1_u64 << bits {
                let before =
                    own.partition_point(|(key, _)| (key & u64::MAX >> 16) >> (48 - bits) < slot);
                slots.push((from + before) as u32);
            }
            ranges.extend(BEHIND);
            code = own[own.len() - 1].1;
        }
        Self {
            parts: parts.into(),
            slots: slots.into(),
            ranges: ranges.into(),
            deeper: deeper.into(),
        }
    }

    #[inline]
    pub(super) fn find(&self, address: u128) -> Code {
        let upper = (address >> 64) as u64;
        let part = self.parts[(upper >> 48) as usize];
        if part.bits == WHOLE {
            return self.code(part.at as u16, address);
        }
        // None of them leaves none.
        let slot = part.at as usize + (upper << 16 >> 1 >> (63 - part.bits)) as usize;
        let (from, to) = (self.slots[slot] as usize, self.slots[slot + 1] as usize);
        let is_before = |range: &u64| *range <= (upper << 16 | u64::from(Code::NOTHING.0 - 1));
        let behind = if to - from <= LOOK {
            let some: &[u64; LOOK] = self.ranges[from..][..LOOK].try_into().expect("so many");
            from + some.iter().map(|range| usize::from(is_before(range))).sum::<usize>()
        } else {
            from + self.ranges[from..to].partition_point(is_before)
        };
        self.code(self.ranges[behind - 1] as u16, address)
    }

    #[inline]
    fn code(&self, code: u16, address: u128) -> Code {
        match Code(code) {
            Code::DEEPER => ranges::find(&self.deeper, address),
            code => code,
        }
    }

    /// What it was made of.
    pub(super) fn whole(&self) -> Vec<Range> {
        let mut whole = Ranges::default();
        for (part, upper) in self.parts.iter().zip(0_u64..) {
            if part.bits == WHOLE {
                self.push(&mut whole, upper << 48, Code(part.at as u16));
                continue;
            }
            let slots = &self.slots[part.at as usize..][..=1 << part.bits];
            let (from, to) = (slots[0] as usize, slots[slots.len() - 1] as usize);
            // The first one stands before those of the first slot.
            for range in &self.ranges[from - 1..to] {
                self.push(&mut whole, upper << 48 | range >> 16, Code(*range as u16));
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
        let upper = size_of_val(&*self.parts) + size_of_val(&*self.slots);
        upper + size_of_val(&*self.ranges) + size_of_val(&*self.deeper)
    }
}

/// The lower 48 bits of an upper half, and what is said from there on.
fn entry(upper: u64, code: Code) -> u64 {
    debug_assert_ne!(code, Code::NOTHING);
    upper << 16 | u64::from(code.0)
}

/// A part has at most so many slots, as a power of two.
const PART_BITS_MAX: u32 = 20;

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
