//! How many bytes may go out in a second, by turns.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

/// A token bucket that connections wait at in a row.
///
/// Who has taken goes behind those that wait, and all take about the same (see [`Bucket::quantum`]): so all that send get
/// the same rate.
pub(crate) struct Bucket {
    /// Bytes a second; 0 is no limit.
    rate: AtomicU64,
    changed: Notify,
    /// Taken but not sent.
    returned: AtomicI64,
    // The mutex gives turns in the order of asking.
    level: Mutex<Level>,
}

struct Level {
    /// Bytes that may be sent at once; below 0 they have been sent early.
    bytes: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self {
            rate: AtomicU64::new(rate.unwrap_or(0)),
            changed: Notify::new(),
            returned: AtomicI64::new(0),
            level: Mutex::new(Level { bytes: 0.0, at: Instant::now() }),
        }
    }

    /// Sets it, for what waits already too. 0 is taken as 1.
    pub(crate) fn set(&self, rate: Option<u64>) {
        self.rate.store(rate.map_or(0, |rate| rate.max(1)), Ordering::Relaxed);
        self.changed.notify_waiters();
        // And who has looked at the rate but not begun to wait.
        self.changed.notify_one();
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|&rate| rate > 0)
    }

    /// The bytes to take at once: a fiftieth of a second, or one block.
    pub(crate) fn quantum(&self) -> u64 {
        self.rate().map_or(u64::MAX, |rate| rate / 50)
    }

    /// Waits until `bytes` may be sent.
    pub(crate) async fn take(&self, bytes: u64) {
        if self.rate().is_none() {
            return;
        }
        let mut level = self.level.lock().await;
        loop {
            let Some(rate) = self.rate() else { return };
            level.fill(Instant::now(), rate, self.returned.swap(0, Ordering::Relaxed));
            let Some(wait) = level.take(bytes, rate) else { return };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Gives back what was taken and is not sent.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.returned.fetch_add(bytes as i64, Ordering::Relaxed);
    }
}

impl Level {
    fn fill(&mut self, now: Instant, rate: u64, returned: i64) {
        let filled = now.duration_since(self.at).as_secs_f64() * rate as f64;
        // A pause saves up a tenth of a second.
        self.bytes = (self.bytes + filled + returned as f64).min(rate as f64 / 10.0);
        self.at = now;
    }

    /// Takes them, or says how long to wait before. More than there are can be taken: the next waits for it.
    fn take(&mut self, bytes: u64, rate: u64) -> Option<Duration> {
        if self.bytes < 0.0 {
            return Some(Duration::from_secs_f64((-self.bytes / rate as f64).clamp(0.001, 3600.0)));
        }
        self.bytes -= bytes as f64;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn no_more_is_taken_than_the_rate() {
        let mut now = Instant::now();
        let end = now + Duration::from_secs(10);
        let mut level = Level { bytes: 0.0, at: now };
        let mut taken = 0;
        while now < end {
            level.fill(now, 1_000_000, 0);
            match level.take(20_000, 1_000_000) {
                None => taken += 20_000,
                Some(wait) => now += wait,
            }
        }
        assert!((9_900_000..=10_200_000).contains(&taken), "{taken}");
        // A long pause is not caught up with.
        level.fill(now + Duration::from_secs(1000), 1_000_000, 0);
        assert!(level.bytes <= 100_000.0);
    }

    #[tokio::test]
    async fn a_new_rate_holds_for_what_waits() {
        let bucket = Arc::new(Bucket::new(Some(1)));
        bucket.take(1_000_000).await;
        let waiting = tokio::spawn({
            let bucket = bucket.clone();
            async move { bucket.take(1).await }
        });
        tokio::task::yield_now().await;
        bucket.set(None);
        waiting.await.unwrap();
    }
}
