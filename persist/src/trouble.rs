//! Says what does not work once, then once a minute with a count.
//!
//! A client, a full disk or a database that is away can make the same thing fail thousands of times a second.
//! Each place in the program that logs such a failure has a [`Trouble`] of its own, as a field or a `static`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A thing that may fail again and again. Shared by all who see it fail.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When it began; `None` while it works.
    since: Option<Instant>,
    /// The reason that was said last, as a hash; `None` when it works since.
    reason: Option<u64>,
    /// When the minute began in which so many lines were said.
    minute: Option<(Instant, u32)>,
    /// How often it has failed since it was said.
    unsaid: u64,
    /// Something was said since it began.
    said: bool,
}

/// How often the same reason is said.
const PERIOD: Duration = Duration::from_secs(60);

/// Lines in such a time where reasons take turns, or where it works now and then.
const LINES_MAX: u32 = 4;

impl Trouble {
    /// Nothing has failed yet.
    pub const fn new() -> Self {
        Self(Mutex::new(State { since: None, reason: None, minute: None, unsaid: 0, said: false }))
    }

    /// Takes note of a failure. `Some` when it is to be said now: how many there were since the last that was
    /// said, with this one.
    pub fn again(&self, reason: &str) -> Option<u64> {
        self.again_at(reason, Instant::now())
    }

    /// It works again. `Some` when it did not and that was said: for how long.
    pub fn over(&self) -> Option<Duration> {
        self.over_at(Instant::now())
    }

    fn again_at(&self, reason: &str, now: Instant) -> Option<u64> {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = DefaultHasher::new();
        reason.hash(&mut hasher);
        let reason = hasher.finish();
        state.since.get_or_insert(now);
        state.unsaid += 1;
        let (began, lines) =
            state.minute.filter(|(began, _)| now - *began < PERIOD).unwrap_or((now, 0));
        let news = lines == 0 || state.reason != Some(reason) && lines < LINES_MAX;
        if !news {
            return None;
        }
        state.minute = Some((began, lines + 1));
        state.reason = Some(reason);
        state.said = true;
        Some(std::mem::take(&mut state.unsaid))
    }

    fn over_at(&self, now: Instant) -> Option<Duration> {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = state.since.take()?;
        state.reason = None;
        std::mem::take(&mut state.said).then(|| now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_and_then_once_a_minute_with_a_count() {
        let (trouble, start) = (Trouble::new(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let said: Vec<(u64, u64)> = (0..180_000)
            .step_by(20)
            .filter_map(|millis| Some((millis, trouble.again_at("full", at(millis))?)))
            .collect();
        assert_eq!(said, [(0, 1), (60_000, 3000), (120_000, 3000)]);
        assert_eq!(trouble.over_at(at(180_000)), Some(Duration::from_secs(180)));
        assert_eq!(trouble.over_at(at(180_001)), None);
    }

    #[test]
    fn another_reason_is_news_and_reasons_that_take_turns_are_not() {
        let (trouble, start) = (Trouble::new(), Instant::now());
        assert_eq!(trouble.again_at("full", start), Some(1));
        assert_eq!(trouble.again_at("full", start), None);
        assert_eq!(trouble.again_at("broken", start), Some(2));
        let said = (0..1000).filter(|n| trouble.again_at(["a", "b"][n % 2], start).is_some());
        assert_eq!(said.count(), LINES_MAX as usize - 2);
    }

    #[test]
    fn what_works_now_and_then_does_not_fill_the_log() {
        let (trouble, start) = (Trouble::new(), Instant::now());
        let mut lines = 0;
        for millis in 0..59_000 {
            let now = start + Duration::from_millis(millis);
            lines += usize::from(trouble.again_at("full", now).is_some());
            lines += usize::from(trouble.over_at(now).is_some());
        }
        assert_eq!(lines, 2 * LINES_MAX as usize, "each time both, or neither");
    }
}
