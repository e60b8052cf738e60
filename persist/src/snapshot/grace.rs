//! Which peers of a snapshot are still believed, and when they are said to have announced last.
//!
//! While the tracker was down nobody could announce, so silence during that time proves nothing. A
//! peer is therefore as old as it was when the snapshot was written, and gets one interval on top:
//! its next announce may have fallen into the downtime, and clients that failed wait before they
//! try again.

use shard::Seconds;

use super::format::Meta;

/// After a longer downtime all peers are dropped, and only the snatch counts are kept: clients have
/// gone, and addresses belong to others by then.
pub const DOWNTIME_MAX: Seconds = Seconds(24 * 60 * 60);

/// The rule for one restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grace {
    meta: Meta,
    now: Seconds,
    /// The tracker has not been away.
    is_handed_over: bool,
}

impl Grace {
    /// The rule for a snapshot that was written with `meta` and is restored at `now`.
    pub fn new(meta: Meta, now: Seconds) -> Self {
        Self { meta, now, is_handed_over: false }
    }

    /// The rule where a process takes over from another one that serves until then: peers are as old as they are.
    pub fn handed_over(meta: Meta, now: Seconds) -> Self {
        Self { meta, now, is_handed_over: true }
    }

    /// Whether the tracker has not been away.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over
    }

    /// When the restore happens.
    pub fn now(&self) -> Seconds {
        self.now
    }

    /// How long the tracker was away; zero when the clock has been set back since.
    pub fn downtime(&self) -> Seconds {
        if self.is_handed_over {
            return Seconds(0);
        }
        self.now.since(self.meta.written_at)
    }

    /// True when the downtime was longer than [`DOWNTIME_MAX`], so that no peer is restored.
    pub fn is_over(&self) -> bool {
        self.downtime() > DOWNTIME_MAX
    }

    /// What a peer's `last_seen` becomes; `None` when the peer is dropped.
    ///
    /// That is `min(now, last_seen + downtime + interval)`, written with ages so that it also holds
    /// when the clock has been set back. Dropped are peers that had timed out when the snapshot was
    /// written, and all peers after [`DOWNTIME_MAX`].
    #[inline]
    pub fn last_seen(&self, last_seen: Seconds) -> Option<Seconds> {
        if self.is_handed_over {
            return (self.now.since(last_seen) <= self.meta.peer_timeout).then_some(last_seen);
        }
        let age = self.meta.written_at.since(last_seen);
        if age > self.meta.peer_timeout || self.is_over() {
            return None;
        }
        Some(self.now - age.since(self.meta.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Mode;
    use super::*;

    #[test]
    fn what_is_handed_over_is_as_old_as_it_is() {
        let grace = Grace::handed_over(META, Seconds(101_000));
        for (last_seen, believed) in
            [(101_500, true), (100_000, true), (97_000, true), (96_999, false)]
        {
            let expected = believed.then_some(Seconds(last_seen));
            assert_eq!(grace.last_seen(Seconds(last_seen)), expected, "{last_seen}");
        }
        assert_eq!(grace.downtime(), Seconds(0));
        assert!(!Grace::handed_over(META, Seconds(1_000_000)).is_over());
    }

    const META: Meta = Meta {
        written_at: Seconds(100_000),
        interval: Seconds(1800),
        peer_timeout: Seconds(4000),
        mode: Mode::Open,
    };

    #[track_caller]
    fn check(now: u32, last_seen: u32, becomes: Option<u32>) {
        let grace = Grace::new(META, Seconds(now));
        assert_eq!(grace.last_seen(Seconds(last_seen)), becomes.map(Seconds));
    }

    #[test]
    fn a_downtime_and_one_interval_are_forgiven() {
        // Ten minutes away; 3,000 s old when written, so 1,200 s beyond the interval.
        check(100_600, 97_000, Some(100_600 - 1200));
        check(100_600, 97_000, Some(97_000 + 600 + 1800));
        // Down for far longer than the peer timeout: still there.
        check(180_000, 97_000, Some(180_000 - 1200));
    }

    #[test]
    fn nobody_is_seen_in_the_future() {
        check(100_600, 99_999, Some(100_600));
        check(100_600, 100_000, Some(100_600));
        // Announced while the snapshot was being written.
        check(100_600, 100_003, Some(100_600));
        check(100_000, 98_200, Some(100_000));
    }

    #[test]
    fn who_had_timed_out_before_is_dropped() {
        check(100_600, 96_000, Some(100_600 - 2200));
        check(100_600, 95_999, None);
        check(100_000, 0, None);
    }

    #[test]
    fn after_a_day_all_peers_are_dropped() {
        check(100_000 + 86_400, 100_000, Some(186_400));
        check(100_000 + 86_401, 100_000, None);
        assert!(Grace::new(META, Seconds(100_000 + 86_401)).is_over());
    }

    #[test]
    fn a_clock_set_back_neither_refreshes_nor_drops() {
        let grace = Grace::new(META, Seconds(90_000));
        assert_eq!(grace.downtime(), Seconds(0));
        check(90_000, 97_000, Some(90_000 - 1200));
        check(90_000, 100_000, Some(90_000));
        check(90_000, 95_000, None);
        // So far back that the age does not fit: the earliest moment there is.
        check(5, 97_000, Some(0));
    }

    #[test]
    fn every_survivor_has_one_interval_left() {
        for age in 0..=META.peer_timeout.0 {
            let now = Seconds(130_000);
            let seen = Grace::new(META, now).last_seen(META.written_at - Seconds(age));
            let left = META.peer_timeout - now.since(seen.expect("not timed out"));
            assert!(left >= META.interval, "age {age}: {left:?} left");
        }
    }
}
