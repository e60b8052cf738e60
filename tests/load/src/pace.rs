//! When requests are due in an open loop: at a fixed rate, whatever the tracker does.

use fastrand::Rng;

/// Intended start times, in nanoseconds of the run.
pub(crate) struct Pace {
    gap: f64,
    next: f64,
    arrivals: Arrivals,
}

/// How the requests of an open loop follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// At even distances.
    Even,
    /// Independent of each other, as those of many clients are (a Poisson process).
    Poisson,
}

impl Pace {
    pub(crate) fn new(rate: f64, arrivals: Arrivals, start: u64) -> Self {
        assert!(rate > 0.0, "the command line allows positive rates only");
        Self { gap: 1e9 / rate, next: start as f64, arrivals }
    }

    /// The start of the next request.
    pub(crate) fn next(&self) -> u64 {
        self.next as u64
    }

    /// Leaves out what should have begun before `from`: it is not made up for.
    pub(crate) fn skip_to(&mut self, from: u64) {
        self.next = self.next.max(from as f64);
    }

    /// Takes the next start if its time has come.
    pub(crate) fn due(&mut self, now: u64, rng: &mut Rng) -> Option<u64> {
        let start = self.next();
        (start <= now).then(|| {
            self.next += match self.arrivals {
                Arrivals::Even => self.gap,
                // 1 - f64() is in (0, 1], whose logarithm is finite.
                Arrivals::Poisson => -(1.0 - rng.f64()).ln() * self.gap,
            };
            start
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(arrivals: Arrivals) -> usize {
        let mut pace = Pace::new(10_000.0, arrivals, 0);
        let mut rng = Rng::with_seed(1);
        std::iter::from_fn(|| pace.due(999_999_999, &mut rng)).count()
    }

    #[test]
    fn what_is_skipped_is_not_made_up_for() {
        let mut pace = Pace::new(1000.0, Arrivals::Even, 0);
        let mut rng = Rng::with_seed(1);
        pace.skip_to(500_000_000);
        assert_eq!(std::iter::from_fn(|| pace.due(509_999_999, &mut rng)).count(), 10);
        pace.skip_to(0);
        assert_eq!(pace.due(509_999_999, &mut rng), None);
    }

    #[test]
    fn a_rate_is_kept() {
        assert_eq!(count(Arrivals::Even), 10_000);
        assert!((9_700..10_300).contains(&count(Arrivals::Poisson)));
    }

    #[test]
    fn a_late_request_keeps_its_intended_start() {
        let mut pace = Pace::new(1_000.0, Arrivals::Even, 500);
        let mut rng = Rng::with_seed(1);
        assert_eq!(pace.due(499, &mut rng), None);
        assert_eq!(pace.due(9_000_000, &mut rng), Some(500));
        assert_eq!(pace.due(9_000_000, &mut rng), Some(1_000_500));
    }
}
