//! When something was heard, and where: what puts the reports of several nodes into one order.

use crate::Seconds;

/// A moment in milliseconds since the Unix epoch, and the node that noted it. Those of one node only grow;
/// equal moments of two nodes are in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch.
    pub millis: u64,
    /// Which node; 0 where there is one.
    pub node: u16,
}

impl Stamp {
    /// The beginning of a second, on a node by itself.
    pub fn at(second: Seconds) -> Self {
        Self { millis: u64::from(second.0) * 1000, node: 0 }
    }

    /// Milliseconds since `earlier`; 0 when that is later.
    #[inline]
    pub fn since(self, earlier: Stamp) -> u64 {
        self.millis.saturating_sub(earlier.millis)
    }

    /// The second it is in; the last that there is where it is later.
    pub fn second(self) -> Seconds {
        Seconds(u32::try_from(self.millis / 1000).unwrap_or(u32::MAX))
    }

    /// The stamp at `millis` on the same node, or this one where the clock was put back. There may be several
    /// in a millisecond: those of one node are in the order of its journal.
    #[must_use]
    pub fn onward(self, millis: u64) -> Self {
        Self { millis: millis.max(self.millis), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_a_node_never_go_back() {
        let mut last = Stamp::at(Seconds(7));
        for millis in [7_000, 6_000, 7_500, 7_500, 0] {
            let next = last.onward(millis);
            assert!(next >= last);
            last = next;
        }
        assert_eq!((last.millis, last.second()), (7_500, Seconds(7)));
        assert_eq!(Stamp { millis: u64::MAX, node: 3 }.second(), Seconds(u32::MAX));
    }
}
