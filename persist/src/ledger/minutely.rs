//! Trouble is said once, and then at most once a minute, with a count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Kinds of trouble, and when each was said. Forgets nothing, so kinds have to be few.
#[derive(Debug, Default)]
pub(super) struct Minutely {
    said: HashMap<String, (Instant, u64)>,
}

impl Minutely {
    /// Something of this kind happened so many times. How many times since it was said, when it is to be said
    /// now.
    pub(super) fn count(&mut self, kind: &str, times: u64) -> Option<u64> {
        let (now, full) = (Instant::now(), self.said.len() >= KINDS_MAX);
        match self.said.get_mut(kind) {
            Some((at, unsaid)) if now.duration_since(*at) < PERIOD => {
                *unsaid += times;
                None
            }
            Some((at, unsaid)) => {
                *at = now;
                Some(std::mem::take(unsaid) + times)
            }
            None if full => None,
            None => {
                self.said.insert(kind.to_owned(), (now, 0));
                Some(times)
            }
        }
    }
}

const PERIOD: Duration = Duration::from_secs(60);

/// Further kinds are not said.
const KINDS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_said_once_a_minute_with_what_came_between() {
        let mut said = Minutely::default();
        assert_eq!((said.count("a", 3), said.count("a", 4)), (Some(3), None));
        assert_eq!(said.count("b", 1), Some(1));
        assert_eq!(said.count("a", 5), None);
        said.said.get_mut("a").unwrap().0 -= PERIOD;
        assert_eq!((said.count("a", 1), said.count("a", 1)), (Some(10), None));
    }
}
