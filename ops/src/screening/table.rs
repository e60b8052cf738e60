//! What is said of each address, in a form that answers at once.
//!
//! IPv4: the upper 16 bits choose an entry. Where all of its addresses have the same answer, that stands in the entry.
//! Otherwise the entry says where its ranges stand: the lower 16 bits at which each begins, sorted, and behind them the
//! answers. So a look is one line of memory, or three that lie close together.
//!
//! IPv6: the upper 16 bits choose a part, and as many bits behind them as it has use for a slot, in which there are a few
//! ranges of upper 64 bits. Only where rules tell addresses of one /64 apart are the lower 64 bits looked at.
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
    /// By the bits behind them, as many as a part has use for.
    slots: Box<[Slot]>,
    /// For each slot that needs them: where ranges of upper 64 bits begin, and behind that the answers, four in one.
    ranges: Box<[u64]>,
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

/// Addresses whose upper bits are the same as far as they were looked at.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Where its ranges stand; without any but the first, the code that is said of all.
    at: u32,
    /// How many ranges follow the first.
    more: u32,
}

/// Ranges in a slot, on average: those of two slots fit into a line of memory or two.
const SLOT_RANGES: usize = 4;

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
            let bits = (own.len() / SLOT_RANGES).checked_ilog2().unwrap_or(0).min(PART_BITS_MAX);
            parts.push(Part { at: slots.len() as u32, bits });
            let mut own = own;
            for slot in 0..1_u64 << bits {
                let first = first | slot << (48 - bits);
                let last = first | (u64::MAX >> 16) >> bits;
                let (within, behind) = own.split_at(own.partition_point(|(key, _)| *key <= last));
                let mut starts = vec![(first, code)];
                for (key, next) in within {
                    code = *next;
                    match *key == first {
                        true => starts[0].1 = code,
                        false => starts.push((*key, code)),
                    }
                }
                slots.push(match starts.len() - 1 {
                    0 => Slot { at: starts[0].1.0.into(), more: 0 },
                    more => Slot { at: ranges.len() as u32, more: more as u32 },
                });
                if starts.len() > 1 {
                    ranges.extend(starts.iter().map(|(key, _)| *key));
                    ranges.extend(starts.chunks(4).map(|four| {
                        let codes = four.iter().rev();
                        codes.fold(0, |all, (_, code)| all << 16 | u64::from(code.0))
                    }));
                }
                own = behind;
            }
            rest = others;
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
        // None of them leaves none.
        let at = upper << 16 >> 1 >> (63 - part.bits);
        let slot = self.slots[part.at as usize + at as usize];
        let code = match slot.more as usize {
            0 => Code(slot.at as u16),
            more => {
                let (starts, codes) = self.ranges[slot.at as usize..].split_at(more + 1);
                // The first range begins where the slot does.
                let at = starts.partition_point(|start| *start <= upper) - 1;
                Code((codes[at / 4] >> (at % 4 * 16)) as u16)
            }
        };
        match code {
            Code::DEEPER => ranges::find(&self.deeper, address),
            code => code,
        }
    }

    /// What it was made of.
    pub(super) fn whole(&self) -> Vec<Range> {
        let mut whole = Ranges::default();
        for (part, upper) in self.parts.iter().zip(0_u64..) {
            for slot in 0..1_u64 << part.bits {
                let first = upper << 48 | slot << (48 - part.bits);
                let Slot { at, more } = self.slots[part.at as usize + slot as usize];
                if more == 0 {
                    self.push(&mut whole, first, Code(at as u16));
                    continue;
                }
                let len = more as usize + 1;
                let (starts, codes) = self.ranges[at as usize..].split_at(len);
                for (start, place) in starts.iter().zip(0..) {
                    let code = Code((codes[place / 4] >> (place % 4 * 16)) as u16);
                    self.push(&mut whole, *start, code);
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
        let upper = size_of_val(&*self.parts) + size_of_val(&*self.slots);
        upper + size_of_val(&*self.ranges) + size_of_val(&*self.deeper)
    }
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
