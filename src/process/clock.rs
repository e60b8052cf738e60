//! The clocks that the engine is given: one that follows the wall clock, and one that only goes on.
//!
//! Both are read for every request and in whole seconds, so the kernel's time of its last tick will do
//! (`CLOCK_MONOTONIC_COARSE`, clock_gettime(2)), which is read without asking the processor's counter. What is
//! between it and the wall clock is looked at once a second ([`Clock::follow`]), by each core for itself: so a
//! core sees the clock jump at one moment, and can do then what follows from it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use shard::Seconds;

/// A copy of the clock, as one thread follows it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// To be added to the coarse clock: what was the wall clock at start, and only goes on,
    steady: i64,
    /// and how far the wall clock has jumped from that since.
    ahead: i64,
    /// How far it was before it jumped, and until when (in steady time) somebody may still go by that.
    before: Option<(i64, Seconds)>,
    /// Small jumps back that nothing was done about, in seconds.
    unsettled: i64,
}

/// The wall clock is not where it was expected: it was set, or the machine was suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Jump {
    /// Seconds forward; below 0 for back.
    pub by: i64,
    /// So far that the age of what happened before says nothing any more.
    pub is_far: bool,
}

/// A difference that is a jump: less comes from the two clocks' seconds not beginning together.
const JUMP_MIN: i64 = 3;

/// A jump that makes peers look much older than they are, or seen in times to come; also several that are so
/// far together.
pub const FAR: Seconds = shard::private::AHEAD_MAX;

/// How long an answer of before a jump may count: a connection id at most, see [`crate::core::connection_id`].
pub const BEFORE_KEPT: Seconds = Seconds(130 + 8 * 60 * 60);

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        Self { steady: unix_seconds() - coarse_seconds(), ahead: 0, before: None, unsettled: 0 }
    }

    /// The time now, in seconds since the Unix epoch: that of the wall clock when it was last followed, and what
    /// has passed since. Goes back when that was put back.
    #[inline]
    pub fn now(&self) -> Seconds {
        seconds(coarse_seconds() + self.steady + self.ahead)
    }

    /// A time that never goes back nor jumps: for what is only compared with itself. At start it is
    /// [`Clock::now`].
    #[inline]
    pub fn steady(&self) -> Seconds {
        seconds(coarse_seconds() + self.steady)
    }

    /// The same at a moment that [`Clock::now`] has given since it was last followed.
    #[inline]
    pub fn steady_at(&self, now: Seconds) -> Seconds {
        seconds(i64::from(now.0) - self.ahead)
    }

    /// The wall clock's time at a steady moment.
    pub fn wall_at(&self, steady: Seconds) -> Seconds {
        seconds(i64::from(steady.0) + self.ahead)
    }

    /// How far [`Clock::now`] is ahead of [`Clock::steady`].
    pub fn ahead(&self) -> i64 {
        self.ahead
    }

    /// Follows the wall clock; how it has jumped, if it has.
    pub fn follow(&mut self) -> Option<Jump> {
        self.follow_to(unix_seconds(), coarse_seconds())
    }

    fn follow_to(&mut self, unix: i64, coarse: i64) -> Option<Jump> {
        let by = unix - (coarse + self.steady + self.ahead);
        if by.abs() < JUMP_MIN {
            return None;
        }
        self.before = Some((self.ahead, seconds(coarse + self.steady) + BEFORE_KEPT));
        self.ahead += by;
        self.unsettled += by.min(0).abs();
        let is_far = by.abs() >= i64::from(FAR.0) || self.unsettled >= i64::from(FAR.0);
        if is_far {
            self.unsettled = 0;
        }
        Some(Jump { by, is_far })
    }

    /// The times that others may take `now` for: those who were answered before the clock jumped, and cores that have
    /// seen it jump already.
    pub fn others(&self, now: Seconds) -> impl Iterator<Item = Seconds> {
        self.others_where(now, unix_seconds())
    }

    fn others_where(&self, now: Seconds, unix: i64) -> impl Iterator<Item = Seconds> {
        let steady = self.steady_at(now);
        let before = self.before.filter(|(_, until)| steady < *until);
        let before = before.map(|(ahead, _)| seconds(i64::from(steady.0) + ahead));
        let coming = (unix - i64::from(now.0)).abs() >= JUMP_MIN;
        before.into_iter().chain(coming.then(|| seconds(unix)))
    }
}

#[inline]
fn coarse_seconds() -> i64 {
    clock_gettime(ClockId::MonotonicCoarse).tv_sec
}

/// The wall clock in milliseconds since the Unix epoch, which the database and other nodes go by as well.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// By the C library, which a test can have read another clock.
fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX).min(i64::from(u32::MAX))
}

#[inline]
fn seconds(unix: i64) -> Seconds {
    Seconds(unix.clamp(0, i64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::connection_id::ConnectionIds;

    const YEAR: i64 = 365 * 86_400;

    #[test]
    fn the_wall_clock_is_followed_and_the_steady_one_is_not_moved() {
        let mut clock = Clock::start();
        let (unix, coarse) = (unix_seconds(), coarse_seconds());
        // A second more or less is no jump: the clocks' seconds do not begin together.
        for slew in -1..=1 {
            assert_eq!(clock.follow_to(unix + slew, coarse), None);
        }
        for (by, is_far) in [(5, false), (9 * YEAR, true), (-9 * YEAR, true), (3600, true)] {
            let (steady, now) = (clock.steady(), clock.now());
            let expected = i64::from(now.0) + by;
            assert_eq!(clock.follow_to(expected, coarse_seconds()), Some(Jump { by, is_far }));
            assert!(clock.now().0.abs_diff(expected as u32) <= 1, "{by}");
            assert!(clock.steady().0 - steady.0 <= 1, "{by}");
            let now = clock.now();
            assert!(clock.steady_at(now).0.abs_diff(steady.0) <= 1, "{by}");
            assert_eq!(clock.wall_at(clock.steady_at(now)), now);
            assert_eq!(clock.follow_to(expected, coarse_seconds()), None, "said once");
        }
    }

    #[test]
    fn small_jumps_back_add_up() {
        let mut clock = Clock::start();
        let mut far = 0;
        for _ in 0..12 {
            let to = i64::from(clock.now().0) - 10;
            far += usize::from(clock.follow_to(to, coarse_seconds()).unwrap().is_far);
        }
        assert_eq!(far, 2);
    }

    #[test]
    fn connection_ids_of_before_a_jump_are_good_for_as_long_as_they_were() {
        let ids = ConnectionIds::new(&[7; 32], Seconds(0));
        let address = "192.0.2.1".parse().unwrap();
        for by in [9 * YEAR, -9 * YEAR, 3600, -3600] {
            let mut clock = Clock::start();
            let id = ids.issue(address, clock.now());
            let to = i64::from(clock.now().0) + by;
            clock.follow_to(to, coarse_seconds()).unwrap();
            let good = |now: Seconds| {
                let mut others = clock.others_where(now, now.0.into());
                others.any(|then| ids.check(id, address, then))
            };
            let now = clock.now();
            assert!(!ids.check(id, address, now) && good(now), "{by}");
            assert!(good(now + Seconds(120)) && !good(now + Seconds(200)), "{by}");
            // And those of a core that has seen the clock jump before this one.
            let early = ids.issue(address, now);
            let late = Clock::start();
            let coming = late.others_where(late.now(), now.0.into());
            assert!({ coming }.any(|then| ids.check(early, address, then)), "{by}");
        }
    }
}
