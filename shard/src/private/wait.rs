//! How long a peer was told to wait, in four bits.

use super::Limits;
use crate::Seconds;

/// The interval that a peer was told, in fifteenths of the longest one, rounded up; 0 is the usual one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wait(u8);

impl Wait {
    /// The largest.
    pub(crate) const MAX: u8 = 15;

    #[inline]
    pub(crate) fn new(interval: Seconds, limits: &Limits) -> Self {
        if interval == limits.interval {
            return Self::default();
        }
        Self(interval.0.div_ceil(Self::unit(limits)).clamp(1, Self::MAX.into()) as u8)
    }

    #[inline]
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits & Self::MAX)
    }

    #[inline]
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The interval that a peer was told at least; up to a fifteenth of the longest one less than it was told.
    pub(crate) fn least(self, limits: &Limits) -> Seconds {
        match self {
            Self(0) => limits.interval,
            Self(parts) => Seconds((u32::from(parts) - 1) * Self::unit(limits)),
        }
    }

    /// How long a peer that was told so may be silent.
    #[inline]
    pub(crate) fn timeout(self, limits: &Limits) -> Seconds {
        let Self(parts @ 1..) = self else { return limits.peer_timeout };
        let interval = u32::from(parts) * Self::unit(limits);
        Seconds((limits.peer_timeout.0 + interval).saturating_sub(limits.interval.0))
    }

    #[inline]
    fn unit(limits: &Limits) -> u32 {
        limits.interval_max.0.div_ceil(Self::MAX.into()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::Facts;

    #[test]
    fn a_peer_may_be_silent_for_as_much_longer_or_shorter_as_it_was_told_to_wait() {
        let limits = Limits {
            torrents_max: 1,
            peers_max: 1,
            clients_max: 0,
            peer_timeout: Seconds(4500),
            interval: Seconds(1800),
            interval_max: Seconds(7200),
            count_unknown: false,
            deletions_max: 0,
            facts: Facts::Changed,
        };
        assert_eq!(Wait::new(Seconds(1800), &limits).timeout(&limits), Seconds(4500));
        for interval in (30..=7200).filter(|interval| *interval != 1800) {
            let wait = Wait::new(Seconds(interval), &limits);
            assert_eq!(Wait::from_bits(wait.bits()), wait);
            assert!((interval.saturating_sub(480)..interval).contains(&wait.least(&limits).0));
            let exactly = 4500 + interval - 1800;
            assert!((exactly..exactly + 480).contains(&wait.timeout(&limits).0), "{interval}");
        }
    }
}
