//! How long to wait before the database is tried again.

use std::time::Duration;

/// Waits that double from a tenth of a second to [`Backoff::MAX`], each up to a quarter longer by chance,
/// so that several trackers do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// The longest wait, without the part by chance.
    pub(crate) const MAX: Duration = Duration::from_secs(10);

    const MIN: Duration = Duration::from_millis(100);

    /// Begins with the shortest wait.
    pub(crate) fn new() -> Self {
        Self(Self::MIN)
    }

    /// How long to wait now.
    #[allow(clippy::should_implement_trait)] // It is no iterator.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::MAX);
        wait + wait.mul_f32(fastrand::f32() / 4.0)
    }

    /// It worked; the next failure begins with the shortest wait again.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] >= Backoff::MIN && waits[0] < Backoff::MIN * 2);
        assert!(waits[..7].is_sorted());
        assert!(
            waits[9..].iter().all(|wait| *wait >= Backoff::MAX && *wait <= Backoff::MAX * 5 / 4)
        );
        backoff.reset();
        assert!(backoff.next() < Backoff::MIN * 2);
    }
}
