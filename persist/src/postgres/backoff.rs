//! How long to wait before the database, or somebody else, is tried again.

use std::time::Duration;

use crate::trouble::Trouble;

/// Waits that double from the shortest to the longest one, each up to a quarter longer by chance, so that
/// several trackers do not come back at once.
#[derive(Debug)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    wait: Duration,
    trouble: Trouble,
}

impl Backoff {
    /// The longest wait for the database, without the part by chance. An attempt costs next to nothing, and
    /// all that is announced while the database is back and nobody looks has to be caught up with later.
    pub const MAX: Duration = Duration::from_secs(2);

    /// The shortest one.
    const MIN: Duration = Duration::from_millis(100);

    /// For the database: from a tenth of a second to [`Backoff::MAX`].
    pub fn new() -> Self {
        Self::between(Self::MIN, Self::MAX)
    }

    /// From one wait to another, without the part by chance.
    pub fn between(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, wait: shortest, trouble: Trouble::new() }
    }

    /// How long to wait now.
    #[allow(clippy::should_implement_trait)] // It is no iterator.
    pub fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        wait + wait.mul_f32(fastrand::f32() / 4.0)
    }

    /// Whether this reason is to be said: it is another one than before, or a minute has passed. Where reasons
    /// take turns, only some are.
    pub fn is_news(&mut self, reason: &str) -> bool {
        self.trouble.again(reason).is_some()
    }

    /// It worked; the next failure begins with the shortest wait again.
    pub fn reset(&mut self) {
        self.wait = self.shortest;
        self.trouble.over();
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
        assert!(waits[..5].is_sorted());
        assert!(
            waits[9..].iter().all(|wait| *wait >= Backoff::MAX && *wait <= Backoff::MAX * 5 / 4)
        );
        backoff.reset();
        assert!(backoff.next() < Backoff::MIN * 2);
    }

    #[test]
    fn a_reason_is_said_once() {
        let mut backoff = Backoff::new();
        assert!(backoff.is_news("away") && !backoff.is_news("away"));
        assert!(backoff.is_news("full") && backoff.is_news("away"));
        backoff.reset();
        assert!(backoff.is_news("away"));
    }
}
