//! Time as the engine sees it: whole seconds, handed in by the caller.

use std::ops::{Add, Sub};

/// A moment in seconds since the Unix epoch, or a span in seconds.
///
/// The caller's clock never goes backwards while a process lives: it is the wall clock read once at
/// start, advanced by the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Seconds(pub u32);

impl Seconds {
    /// The span since `earlier`; zero when `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Seconds) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0))
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
