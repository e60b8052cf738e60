//! The clock that the engine is given.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shard::Seconds;

/// The wall clock as it was at start, advanced by the monotonic clock: it never goes backwards, and a
/// corrected system time does not expire anybody.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    unix_at_start: u32,
}

impl Clock {
    /// Reads both clocks once.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: Instant::now(),
            unix_at_start: u32::try_from(unix.as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// The time now, in seconds since the Unix epoch.
    #[inline]
    pub fn now(&self) -> Seconds {
        Seconds(self.unix_at_start) + Seconds(self.start.elapsed().as_secs() as u32)
    }
}
