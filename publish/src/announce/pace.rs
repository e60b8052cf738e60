//! How long is waited: after a success as the tracker says, after a failure longer and longer.

use std::time::Duration;

use super::answer::{Answer, WAIT_MAX};

/// The time to the next announce after a success: what the tracker says, within 30 seconds and a day; half an hour when
/// it says nothing.
pub(crate) fn after(answer: &Answer) -> Duration {
    match answer.interval.max(answer.min_interval) {
        Some(told) => told.clamp(TOLD_MIN, WAIT_MAX),
        None => UNTOLD,
    }
}

/// The least time to an announce that is asked for before the interval is over.
pub(crate) fn least_after(answer: &Answer) -> Duration {
    match answer.min_interval {
        Some(told) => told.clamp(TOLD_MIN, WAIT_MAX),
        // Who is told a shorter interval may come that often anyway.
        None => ASKED_MIN.min(after(answer)),
    }
}

/// The time to the next try after the `failures`th failure in a row: 30 seconds, doubled up to 30 minutes, and up to a
/// quarter more so that nobody comes in herds; or what the tracker says when that is longer.
pub(crate) fn after_failure(
    failures: u32,
    told: Option<Duration>,
    random: &mut fastrand::Rng,
) -> Duration {
    let doubled = FAILURE_MIN * 2u32.saturating_pow(failures.saturating_sub(1).min(16));
    let wait = doubled.min(FAILURE_MAX).mul_f64(1.0 + random.f64() / 4.0);
    told.map_or(wait, |told| told.max(wait)).min(WAIT_MAX)
}

const TOLD_MIN: Duration = Duration::from_secs(30);
const UNTOLD: Duration = Duration::from_secs(1_800);
const ASKED_MIN: Duration = Duration::from_secs(60);
const FAILURE_MIN: Duration = Duration::from_secs(30);
const FAILURE_MAX: Duration = Duration::from_secs(1_800);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(interval: u64, min_interval: u64) -> Answer {
        let some = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Answer { interval: some(interval), min_interval: some(min_interval), ..Answer::default() }
    }

    #[test]
    fn intervals_are_obeyed_within_bounds() {
        let after = |interval, min| super::after(&told(interval, min)).as_secs();
        assert_eq!(after(1_800, 0), 1_800);
        assert_eq!(after(45, 90), 90);
        assert_eq!(after(45, 30), 45);
        assert_eq!(after(1, 1), 30);
        assert_eq!(after(0, 0), 1_800);
        assert_eq!(after(10_000_000, 0), 86_400);
    }

    #[test]
    fn a_hurry_waits_for_the_min_interval() {
        let least = |interval, min| least_after(&told(interval, min)).as_secs();
        assert_eq!(least(1_800, 900), 900);
        assert_eq!(least(1_800, 10), 30);
        assert_eq!(least(1_800, 0), 60);
        assert_eq!(least(45, 0), 45);
    }

    #[test]
    fn failures_back_off() {
        let mut random = fastrand::Rng::with_seed(1);
        for (failures, least) in [(1, 30), (2, 60), (3, 120), (6, 960), (7, 1_800), (1_000, 1_800)]
        {
            let wait = after_failure(failures, None, &mut random).as_secs_f64();
            assert!((least as f64..=least as f64 * 1.25).contains(&wait), "{failures}: {wait}");
        }
        assert_eq!(
            after_failure(1, Some(Duration::from_secs(300)), &mut random),
            Duration::from_secs(300)
        );
        assert_eq!(after_failure(1, Some(WAIT_MAX * 2), &mut random), WAIT_MAX);
    }
}
