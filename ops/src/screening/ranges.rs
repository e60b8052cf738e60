//! Addresses as ranges: a sorted list of where each begins and what is said from there on.

use super::judgement::Code;

/// Where a range begins, and what is said up to the next one. The first begins at 0.
pub(super) type Range = (u128, Code);

/// A prefix of an address: where it begins, how long it is, and what is said of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix {
    pub(super) start: u128,
    pub(super) len: u8,
    pub(super) code: Code,
}

/// The ranges of prefixes of addresses of `width` bits, in which the longest prefix counts, and of two that are the same
/// the first. Where there is none stands [`Code::NOTHING`].
pub(super) fn flatten(mut prefixes: Vec<Prefix>, width: u8) -> Vec<Range> {
    prefixes.sort_by_key(|prefix| (prefix.start, prefix.len));
    prefixes.dedup_by_key(|prefix| (prefix.start, prefix.len));
    let last = u128::MAX >> (128 - width);
    let mut ranges = Ranges::default();
    ranges.push(0, Code::NOTHING);
    // Those that the next prefix may lie in, from the widest on, with their last addresses.
    let mut around: Vec<(u128, Code)> = Vec::new();
    let leave = |around: &mut Vec<(u128, Code)>, ranges: &mut Ranges, end: u128| {
        around.pop();
        if end < last {
            ranges.push(end + 1, around.last().map_or(Code::NOTHING, |(_, code)| *code));
        }
    };
    for Prefix { start, len, code } in prefixes {
        while let Some((end, _)) = around.last().copied()
            && end < start
        {
            leave(&mut around, &mut ranges, end);
        }
        ranges.push(start, code);
        around.push((start | last.checked_shr(len.into()).unwrap_or(0), code));
    }
    while let Some((end, _)) = around.last().copied() {
        leave(&mut around, &mut ranges, end);
    }
    ranges.0
}

/// `upper` laid over `lower`, which shows where `upper` says nothing.
pub(super) fn overlay(upper: &[Range], lower: &[Range]) -> Vec<Range> {
    let mut ranges = Ranges::default();
    let (mut above, mut below) = (upper.iter().peekable(), lower.iter().peekable());
    let (mut shown, mut hidden) = (Code::NOTHING, Code::NOTHING);
    while let Some(start) = [above.peek(), below.peek()].into_iter().flatten().map(|at| at.0).min()
    {
        let begins = |(at, _): &&Range| *at == start;
        above.next_if(begins).inspect(|(_, code)| shown = *code);
        below.next_if(begins).inspect(|(_, code)| hidden = *code);
        ranges.push(start, if shown == Code::NOTHING { hidden } else { shown });
    }
    ranges.0
}

/// What is said of an address.
pub(super) fn find(ranges: &[Range], address: u128) -> Code {
    match ranges.partition_point(|(start, _)| *start <= address) {
        0 => Code::NOTHING,
        after => ranges[after - 1].1,
    }
}

/// Ranges that are being put together, from the first on.
#[derive(Default)]
pub(super) struct Ranges(pub(super) Vec<Range>);

impl Ranges {
    /// From `start` on this is said; it does not lie before what was pushed last.
    pub(super) fn push(&mut self, start: u128, code: Code) {
        while self.0.last().is_some_and(|(before, _)| *before == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, before)| *before != code) {
            self.0.push((start, code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(start: u128, len: u8, code: u16) -> Prefix {
        Prefix { start, len, code: Code(code) }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let prefixes =
            vec![prefix(0, 0, 1), prefix(0x80, 1, 2), prefix(0x80, 2, 3), prefix(0xff, 8, 4)];
        let expected = [(0, 1), (0x80, 3), (0xc0, 2), (0xff, 4)];
        assert_eq!(flatten(prefixes, 8), expected.map(|(start, code)| (start, Code(code))));
        assert_eq!(flatten(Vec::new(), 128), [(0, Code::NOTHING)]);
        let same = vec![prefix(0, 128, 1), prefix(0, 128, 2)];
        assert_eq!(flatten(same, 128), [(0, Code(1)), (1, Code::NOTHING)]);
    }

    #[test]
    fn what_lies_below_shows_through() {
        let upper = [(0, Code::NOTHING), (4, Code(1)), (6, Code::NOTHING)];
        let lower = [(0, Code(7)), (5, Code(8))];
        let laid = overlay(&upper, &lower);
        assert_eq!(laid, [(0, Code(7)), (4, Code(1)), (6, Code(8))]);
        assert_eq!(
            [find(&laid, 3), find(&laid, 5), find(&laid, u128::MAX)],
            [Code(7), Code(1), Code(8)]
        );
    }
}
