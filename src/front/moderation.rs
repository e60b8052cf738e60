//! How long to let datagrams and connections pile up before the next look.
//!
//! Waking a core costs about 20 µs, several times what an answer costs. Between idle and saturation
//! a core therefore does what a network card does with its interrupts: when datagrams keep coming in
//! small batches, it sleeps a little and then takes many at once.

use std::time::{Duration, Instant};

use crate::net::batch::BATCH_MAX;

/// Datagrams, or connections, that a look should find.
const BATCH_AIM: f64 = 12.0;

/// The longest sleep. Three milliseconds are nothing to a BitTorrent client.
const PAUSE_MAX: Duration = Duration::from_millis(3);

/// Datagrams in a longest sleep below which waiting for each is cheaper: a look costs about 5 µs, a
/// wake-up by glommio 50.
const THIN: f64 = 0.3;

/// The rate is that of about so long.
const RATE_SECONDS: f64 = 0.02;

/// Follows the rate of one socket and says how long to sleep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moderation {
    /// Datagrams a second, a moving average.
    rate: f64,
}

impl Moderation {
    /// Takes note of a batch of `received` datagrams that gathered in `elapsed`, and says how long
    /// to sleep before the next look; `None` to look at once after a full batch, and to wait for the
    /// next datagram otherwise.
    pub fn pause(&mut self, received: usize, elapsed: Duration) -> Option<Duration> {
        let seconds = elapsed.as_secs_f64().max(1e-6);
        let weight = 1.0 - (-seconds / RATE_SECONDS).exp();
        self.rate += weight * (received as f64 / seconds - self.rate);
        if received >= BATCH_MAX || self.rate * PAUSE_MAX.as_secs_f64() < THIN {
            return None;
        }
        Some(PAUSE_MAX.min(Duration::from_secs_f64(BATCH_AIM / self.rate)))
    }
}

/// Lets the other tasks of this core run and then sleeps until `pause` after `looked`, the whole thread
/// with all of its tasks: where several sockets are busy, one sleep serves them all.
pub async fn rest(pause: Duration, looked: Instant) {
    glommio::executor().yield_now().await;
    let left = pause.saturating_sub(looked.elapsed());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a steady `rate` and returns the batch size it settles at and the last pause.
    fn settle(rate: f64) -> (f64, Option<Duration>) {
        let mut moderation = Moderation::default();
        let (mut pause, mut arrived, mut batch) = (None, 0.0, 0.0);
        for _ in 0..500 {
            // A wake-up takes some 20 µs during which datagrams arrive as well.
            let elapsed = match pause {
                Some(pause) => pause + Duration::from_micros(20),
                None => Duration::from_secs_f64((1.0 / rate).max(20e-6)),
            };
            arrived += rate * elapsed.as_secs_f64();
            batch = f64::min(arrived.floor(), BATCH_MAX as f64);
            arrived -= batch;
            pause = moderation.pause(batch as usize, elapsed);
        }
        (batch, pause)
    }

    #[test]
    fn thin_traffic_is_answered_at_once() {
        assert_eq!(settle(1.0).1, None);
        assert_eq!(settle(50.0).1, None);
    }

    #[test]
    fn between_idle_and_saturation_a_look_finds_a_batch() {
        for rate in [12_000.0, 40_000.0, 100_000.0, 200_000.0] {
            let (batch, pause) = settle(rate);
            assert!((8.0..=20.0).contains(&batch), "{batch} datagrams a look at {rate}/s");
            assert!(pause.unwrap() <= PAUSE_MAX);
        }
    }

    #[test]
    fn a_full_batch_is_followed_by_the_next_at_once() {
        let mut moderation = Moderation::default();
        assert_eq!(moderation.pause(BATCH_MAX, Duration::from_micros(100)), None);
    }

    #[test]
    fn silence_ends_the_looking_soon() {
        let mut moderation = Moderation::default();
        for _ in 0..100 {
            moderation.pause(12, Duration::from_millis(1));
        }
        let looks = (0..).take_while(|_| moderation.pause(0, Duration::from_millis(1)).is_some());
        let looks = looks.count();
        assert!((10..200).contains(&looks), "{looks} looks in vain");
    }

    #[test]
    fn after_a_burst_a_lonely_datagram_is_not_delayed() {
        let mut moderation = Moderation::default();
        for _ in 0..100 {
            moderation.pause(12, Duration::from_millis(1));
        }
        assert_eq!(moderation.pause(1, Duration::from_secs(1)), None);
    }
}
