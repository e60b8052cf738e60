//! What is worth a line in the log, and not more than one a day.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When something was said last.
#[derive(Debug, Default)]
pub struct Daily(Mutex<Option<Instant>>);

impl Daily {
    /// Not said yet.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether it is to be said now; it is said then.
    pub fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let said = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_none_or(|said| now.saturating_duration_since(said) >= DAY);
        if due {
            *said = Some(now);
        }
        due
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_day() {
        let daily = Daily::new();
        let start = Instant::now();
        let hours = |hours| daily.is_due_at(start + Duration::from_secs(3600 * hours));
        let said: Vec<u64> = (0..50).filter(|&hour| hours(hour)).collect();
        assert_eq!(said, [0, 24, 48]);
    }
}
