//! When the load generator itself stood still.
//!
//! Latencies count from the intended start of a request, so whatever keeps the load generator from
//! running (a host that takes its CPU away, a kernel thread, a page fault) is charged to the tracker.
//! Its loop is marked at short distances: a mark that comes late tells of such a time, and the
//! answers it touched can be told from the others.

/// Watches the marks of one loop. Times are nanoseconds of the run.
#[derive(Default)]
pub(crate) struct Stalls {
    last: Option<u64>,
    touched_until: u64,
    /// How often the loop stood still, and for how long at most.
    pub(crate) count: u64,
    pub(crate) longest: u64,
}

/// Marks lie closer than this while the loop runs: a batch of 64 datagrams takes a fifth of it.
const STALL: u64 = 1_000_000;

impl Stalls {
    /// The loop is at work at `now`, after it slept for `slept` on purpose.
    pub(crate) fn mark(&mut self, now: u64, slept: u64) {
        let stood = now.saturating_sub(self.last.unwrap_or(now) + slept);
        self.last = Some(now);
        if stood >= STALL {
            self.count += 1;
            self.longest = self.longest.max(stood);
            // What was due meanwhile goes out in one go and makes a queue, at most for as long.
            self.touched_until = now + stood;
        }
    }

    /// Whether a request meant to start at `since`, answered at the last mark, met such a time.
    pub(crate) fn touched(&self, since: u64) -> bool {
        since < self.touched_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_mark_touches_what_waited_and_what_it_held_up() {
        let mut stalls = Stalls::default();
        stalls.mark(5_000_000, 0);
        stalls.mark(5_900_000, 0);
        assert_eq!((stalls.count, stalls.touched(5_000_000)), (0, false));
        stalls.mark(8_900_000, 0);
        assert_eq!((stalls.count, stalls.longest), (1, 3_000_000));
        assert!(stalls.touched(5_950_000) && stalls.touched(11_899_999));
        assert!(!stalls.touched(11_900_000));
    }

    #[test]
    fn sleep_on_purpose_is_no_stall_but_sleeping_in_is() {
        let mut stalls = Stalls::default();
        stalls.mark(0, 0);
        stalls.mark(50_000_000, 50_000_000);
        assert_eq!(stalls.count, 0);
        stalls.mark(102_000_000, 50_000_000);
        assert_eq!((stalls.count, stalls.longest), (1, 2_000_000));
    }
}
