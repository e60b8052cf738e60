//! Time as the engine sees it: whole seconds, handed in by the caller.

use std::ops::{Add, Sub};

/// A moment in seconds since the Unix epoch, or a span in seconds.
///
/// The caller's clock may be put right while a process lives. An open tracker's engine is given one that only
/// goes on; a private one follows the wall clock, and is told when that jumps ([`crate::private::Swarms::believe_from`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Seconds(pub u32);

impl Seconds {
    /// The span since `earlier`; zero when `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Seconds) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0))
    }

    /// This moment, and not before `last`, unless that lies more than `ahead_max` ahead: then the clock was wrong.
    #[inline]
    pub(crate) fn not_before(self, last: Seconds, ahead_max: Seconds) -> Seconds {
        if last.since(self) > ahead_max { self } else { self.max(last) }
    }
}

impl Add for Seconds {
    type Output = Seconds;
    #[inline]
    fn add(self, span: Seconds) -> Seconds {
        Seconds(self.0.saturating_add(span.0))
    }
}

impl Sub for Seconds {
    type Output = Seconds;
    #[inline]
    fn sub(self, span: Seconds) -> Seconds {
        Seconds(self.0.saturating_sub(span.0))
    }
}
