//! What the interval does after an outage: simulates five million peers whose tracker was away for
//! ten minutes, and draws the announces that arrive afterwards.
//!
//! `cargo run --release --example interval > docs/interval.svg` redraws the plot of
//! `docs/interval.md` and prints the figures to standard error.

mod plot;
mod restart;

use margay::core::interval::Policy;
use plot::Panel;
use restart::{Answers, Restart};
use shard::Seconds;

/// The defaults of the tracker.
const POLICY: Policy = Policy {
    base: Seconds(1800),
    min: Seconds(900),
    max: Seconds(7200),
    jitter: 0.1,
    load_target: 0.75,
};

/// An outage of ten minutes, four intervals watched.
const RESTART: Restart = Restart {
    answers: Answers::Fixed,
    policy: POLICY,
    peers: 5_000_000,
    downtime: 600,
    capacity: ROOMY,
    intervals: 4,
    seed: 1,
};

/// Announces a second that a tracker with room to spare can answer: 1.8 times what it needs.
const ROOMY: u32 = 5000;

/// One that is just large enough: 1.08 times.
const TIGHT: u32 = 3000;

fn main() {
    let mut panels = Vec::new();
    for (answers, title) in [
        (Answers::Fixed, "Fixed interval"),
        (Answers::Jitter, "10% jitter"),
        (Answers::Controlled, "margay"),
    ] {
        for capacity in [ROOMY, TIGHT] {
            let restart = Restart { answers, capacity, ..RESTART };
            let seconds = restart.run();
            let peaks: Vec<String> = (1..=restart.intervals)
                .map(|number| format!("{:.2}", restart.peak(&seconds, number) / restart.mean()))
                .collect();
            let longest = seconds.iter().map(|second| second.interval).max().unwrap_or(0);
            let unanswered: u64 = seconds[restart.downtime as usize..]
                .iter()
                .map(|second| u64::from(second.offered - second.answered))
                .sum();
            eprintln!(
                "{title}, {capacity}/s: highest rate by interval {} times the mean of {:.0}/s; \
                 {unanswered} announces unanswered after the restart; longest interval {longest} s",
                peaks.join(", "),
                restart.mean(),
            );
            panels.push(Panel { title, restart, seconds });
        }
    }
    print!("{}", plot::draw(&panels));
}

#[cfg(test)]
mod tests {
    use restart::Second;

    use super::*;

    /// The highest rate in interval `number` as a multiple of the even rate.
    fn peak(restart: &Restart, seconds: &[Second], number: u32) -> f64 {
        restart.peak(seconds, number) / restart.mean()
    }

    #[test]
    fn a_fixed_interval_brings_the_herd_back() {
        let seconds = RESTART.run();
        for number in 2..=4 {
            assert!(peak(&RESTART, &seconds, number) > 1.7, "interval {number}");
        }
    }

    #[test]
    fn jitter_alone_brings_a_wider_herd_back() {
        let restart = Restart { answers: Answers::Jitter, ..RESTART };
        let seconds = restart.run();
        assert!(peak(&restart, &seconds, 2) > 1.5);
    }

    #[test]
    fn there_is_no_second_herd() {
        for (capacity, seed) in [(20_000, 2), (ROOMY, 1), (ROOMY, 2), (TIGHT, 1)] {
            let restart = Restart { answers: Answers::Controlled, capacity, seed, ..RESTART };
            let seconds = restart.run();
            assert!(
                peak(&restart, &seconds, 1) > 3.0,
                "the first herd is not the tracker's choice"
            );
            for number in 2..=4 {
                let peak = peak(&restart, &seconds, number);
                assert!(peak <= 1.2, "{peak} times the mean in interval {number}, {restart:?}");
            }
        }
    }

    #[test]
    fn an_outage_longer_than_the_interval_ends_without_a_second_herd() {
        let restart =
            Restart { answers: Answers::Controlled, downtime: 3600, capacity: 20_000, ..RESTART };
        let seconds = restart.run();
        for number in 2..=4 {
            let peak = peak(&restart, &seconds, number);
            assert!(peak <= 1.3, "{peak} times the mean in interval {number}");
        }
    }

    #[test]
    fn too_many_peers_stretch_the_interval_until_the_load_is_on_target_and_it_stays_there() {
        // Without an outage, with two thirds of the capacity that the base interval needs.
        let restart = Restart {
            answers: Answers::Controlled,
            peers: 300_000,
            downtime: 0,
            capacity: 111,
            intervals: 24,
            ..RESTART
        };
        let seconds = restart.run();
        let settled = &seconds[seconds.len() / 2..];
        let load = settled.iter().map(|second| f64::from(second.answered)).sum::<f64>()
            / settled.len() as f64
            / f64::from(restart.capacity);
        // The target is 0.75; the interval rests anywhere down to a tenth below it.
        assert!((0.65..=0.77).contains(&load), "load {load}");
        let longest = settled.iter().map(|second| second.interval).max().unwrap();
        let shortest = settled.iter().map(|second| second.interval).min().unwrap();
        assert!(longest - shortest < 60, "the interval wanders from {shortest} to {longest} s");
        let highest = restart::rates(settled).into_iter().fold(0.0, f64::max);
        assert!(highest < f64::from(restart.capacity), "{highest} announces a second");
    }

    #[test]
    fn the_plot_is_the_same_for_the_same_seed() {
        let restart = Restart { peers: 20_000, capacity: 40, ..RESTART };
        let draw = || plot::draw(&[Panel { title: "once", restart, seconds: restart.run() }]);
        assert_eq!(draw(), draw());
    }
}
