//! What could not be fetched or removed: why, when it is tried again, and how often the log says it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shard::InfoHash;

/// Torrents that have failed, and those that are tried again after that.
#[derive(Default, Debug)]
pub(super) struct Failures {
    failed: HashMap<InfoHash, Failed>,
    /// How long the next try waits, from the first failure to success: a Master that starts again is back in seconds.
    waits: HashMap<InfoHash, Duration>,
    /// When the log last said that something still fails.
    said: Option<Instant>,
}

/// A torrent that has failed, until it is tried again.
#[derive(Debug)]
pub(super) struct Failed {
    /// The name of its content.
    pub name: String,
    /// Why.
    pub why: String,
    again: Instant,
}

/// What the log is to say of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Say {
    /// It is the first of this torrent.
    First,
    /// So many torrents, this one among them, still fail.
    Still(usize),
    /// Nothing: it was said a moment ago.
    Nothing,
}

impl Failures {
    /// A torrent has failed now.
    pub(super) fn fail(
        &mut self,
        info_hash: InfoHash,
        name: &str,
        why: String,
        now: Instant,
    ) -> Say {
        let is_first = !self.waits.contains_key(&info_hash);
        let wait = self.waits.entry(info_hash).or_insert(RETRY_MIN);
        let failed = Failed { name: name.to_owned(), why, again: now + *wait };
        *wait = (*wait * 2).min(RETRY_MAX);
        self.failed.insert(info_hash, failed);
        let said = *self.said.get_or_insert(now);
        if is_first {
            return Say::First;
        }
        if now.saturating_duration_since(said) < SAY_AGAIN {
            return Say::Nothing;
        }
        self.said = Some(now);
        Say::Still(self.waits.len())
    }

    /// A torrent that has failed and is not being tried.
    pub(super) fn get(&self, info_hash: &InfoHash) -> Option<&Failed> {
        self.failed.get(info_hash)
    }

    /// All of these.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&InfoHash, &Failed)> {
        self.failed.iter()
    }

    /// Whether it may be tried now.
    pub(super) fn is_due(&self, info_hash: &InfoHash, now: Instant) -> bool {
        self.failed.get(info_hash).is_none_or(|failed| now >= failed.again)
    }

    /// When the next one is due, after `now`.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.failed.values().map(|failed| failed.again).filter(|again| *again > now).min()
    }

    /// It is to be tried at once, as the operator says.
    pub(super) fn now(&mut self, info_hash: &InfoHash, now: Instant) {
        if let Some(failed) = self.failed.get_mut(info_hash) {
            failed.again = now;
        }
    }

    /// It is being tried again.
    pub(super) fn tries(&mut self, info_hash: &InfoHash) {
        self.failed.remove(info_hash);
    }

    /// It is done, or not wanted any more.
    pub(super) fn ends(&mut self, info_hash: &InfoHash) {
        self.failed.remove(info_hash);
        self.waits.remove(info_hash);
    }

    /// Forgets what does not matter any more.
    pub(super) fn keep(&mut self, matters: impl Fn(&InfoHash) -> bool) {
        self.failed.retain(|info_hash, _| matters(info_hash));
        self.waits.retain(|info_hash, _| matters(info_hash));
    }
}

/// How long after its first failure a torrent is tried again; twice as long after each that follows.
const RETRY_MIN: Duration = Duration::from_secs(2);

/// The longest of these times.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The least time between two lines of the log about what still fails.
const SAY_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_and_all_of_them_once_a_minute() {
        let mut failures = Failures::default();
        let begin = Instant::now();
        let hash = |number| InfoHash([number; 20]);
        let mut said = Vec::new();
        for second in 0..200 {
            let now = begin + Duration::from_secs(second);
            for number in 1..=3 {
                if failures.is_due(&hash(number), now) {
                    failures.tries(&hash(number));
                    let say = failures.fail(hash(number), "a", "full".to_owned(), now);
                    said.extend((say != Say::Nothing).then_some((second, say)));
                }
            }
        }
        let first = [(0, Say::First); 3];
        // At 2, 6, 14, 30, 62, 122 and 182 seconds.
        let still = [62, 122, 182].map(|second| (second, Say::Still(3)));
        assert_eq!(said, [first, still].concat());
        assert_eq!(failures.iter().count(), 3);

        failures.ends(&hash(1));
        let now = begin + Duration::from_secs(200);
        assert_eq!(failures.fail(hash(1), "a", "full".to_owned(), now), Say::First);
        assert_eq!(failures.next_due(now), Some(now + RETRY_MIN));
        failures.keep(|info_hash| *info_hash == hash(2));
        assert_eq!(failures.iter().count(), 1);
    }
}
