//! The clock that the engine is given.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use shard::Seconds;

/// The wall clock as it was at start, advanced by the monotonic clock: it never goes backwards, and a
/// corrected system time does not expire anybody.
///
/// It is read for every request and in whole seconds, so the kernel's time of its last tick will do
/// (`CLOCK_MONOTONIC_COARSE`, clock_gettime(2)), which is read without asking the processor's counter.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the coarse clock showed this, in seconds,
    start: i64,
    /// it was so many seconds after the Unix epoch.
    unix_at_start: u32,
}

impl Clock {
    /// Reads both clocks once.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: coarse_seconds(),
            unix_at_start: u32::try_from(unix.as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// The time now, in seconds since the Unix epoch.
    #[inline]
    pub fn now(&self) -> Seconds {
        Seconds(self.unix_at_start) + Seconds((coarse_seconds() - self.start) as u32)
    }
}

#[inline]
fn coarse_seconds() -> i64 {
    clock_gettime(ClockId::MonotonicCoarse).tv_sec
}
