//! What the interval does after an outage: simulates five million peers whose tracker was away for
//! ten minutes, and draws the announces that arrive afterwards.
//!
//! `cargo run --release --example interval > docs/interval.svg` redraws the plot of
//! `docs/interval.md` and prints the figures to standard error. `--mix libtorrent=62,aria2=8` says who the
//! clients are, `--udp 75` how many of a hundred of those who can announce over UDP.

#[path = "../clients.rs"]
#[allow(dead_code, reason = "some of it is for the population alone")]
mod clients;
mod plot;
mod restart;

use std::process::ExitCode;

use clients::{KINDS, Mix, UDP};
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
fn restart(mix: Mix) -> Restart {
    Restart {
        answers: Answers::Fixed,
        policy: POLICY,
        mix,
        peers: 5_000_000,
        downtime: 600,
        capacity: ROOMY,
        intervals: 4,
        seed: 1,
    }
}

/// How many times what it needs a tracker with room to spare can answer.
const ROOMY: f64 = 1.8;

/// One that is just large enough.
const TIGHT: f64 = 1.08;

fn main() -> ExitCode {
    match mix(std::env::args().skip(1)) {
        Ok(mix) => {
            print!("{}", plot::draw(&panels(mix)));
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprintln!("{mistake}\n\ninterval [--mix CLIENT=PARTS,...] [--udp PERCENT]");
            ExitCode::FAILURE
        }
    }
}

/// The clients, as the command line says.
fn mix(mut words: impl Iterator<Item = String>) -> Result<Mix, String> {
    let (mut kinds, mut udp) = (String::from(KINDS), UDP);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(format!("`{flag}` needs a value"))?;
        match flag.as_str() {
            "--mix" => kinds = value,
            "--udp" => {
                let percent: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
                udp = percent / 100.0;
            }
            _ => return Err(format!("there is no `{flag}`")),
        }
    }
    Mix::parse(&kinds, udp)
}

/// Plays all runs and says their figures.
fn panels(mix: Mix) -> Vec<Panel> {
    let mut panels = Vec::new();
    for (answers, title) in [
        (Answers::Fixed, "Fixed interval"),
        (Answers::Jitter, "10% jitter"),
        (Answers::Halved, "margay, min interval a half"),
        (Answers::Controlled, "margay"),
    ] {
        for capacity in [ROOMY, TIGHT] {
            let restart = Restart { answers, capacity, ..restart(mix.clone()) };
            let seconds = restart.run();
            let by_interval = |peak: &dyn Fn(u32) -> f64| {
                let peaks = (1..=restart.intervals).map(|number| format!("{:.2}", peak(number)));
                peaks.collect::<Vec<_>>().join(", ")
            };
            let peaks = by_interval(&|number| restart.peak(&seconds, number) / restart.mean());
            let following = by_interval(&|number| {
                restart.peak_following(&seconds, number) / restart.mean_following()
            });
            let longest = seconds.iter().map(|second| second.interval).max().unwrap_or(0);
            let settled = &seconds[seconds.len() - POLICY.base.0 as usize..];
            let unanswered: u64 = seconds[restart.downtime as usize..]
                .iter()
                .map(|second| u64::from(second.offered - second.answered))
                .sum();
            eprintln!(
                "{title}, {}/s: highest rate by interval {peaks} times the mean of {:.0}/s; \
                 of those who follow the interval {following} times theirs; {unanswered} announces unanswered after the restart; longest interval {longest} s; \
                 in the last interval {:.2} of the capacity",
                restart.capacity(),
                restart.mean(),
                settled.iter().map(|second| f64::from(second.answered)).sum::<f64>()
                    / settled.len() as f64
                    / f64::from(restart.capacity()),
            );
            panels.push(Panel { title, restart, seconds });
        }
    }
    panels
}

#[cfg(test)]
mod tests {
    use restart::Second;

    use super::*;

    /// A run with a tenth of the peers, which takes a tenth of the time.
    fn smaller() -> Restart {
        Restart { peers: 500_000, ..restart(Mix::default()) }
    }

    /// The highest rate in interval `number` as a multiple of the even rate.
    fn peak(restart: &Restart, seconds: &[Second], number: u32) -> f64 {
        restart.peak(seconds, number) / restart.mean()
    }

    #[test]
    fn a_fixed_interval_brings_the_herd_back() {
        let restart = smaller();
        let seconds = restart.run();
        for number in 2..=4 {
            assert!(peak(&restart, &seconds, number) > 1.7, "interval {number}");
        }
    }

    #[test]
    fn jitter_alone_brings_a_wider_herd_back() {
        let restart = Restart { answers: Answers::Jitter, ..smaller() };
        let seconds = restart.run();
        assert!(peak(&restart, &seconds, 2) > 1.5);
    }

    #[test]
    fn there_is_no_second_herd_of_those_who_follow() {
        // A herd of rTorrent over UDP stays one, six of a hundred clients, and is the denser the sooner
        // it is answered.
        for (capacity, seed, most) in
            [(7.2, 2, 2.7), (ROOMY, 1, 1.6), (ROOMY, 2, 1.6), (TIGHT, 1, 1.2)]
        {
            let restart = Restart { answers: Answers::Controlled, capacity, seed, ..smaller() };
            let seconds = restart.run();
            assert!(
                peak(&restart, &seconds, 1) > 5.0,
                "the first herd is not the tracker's choice"
            );
            for number in 2..=4 {
                let following = restart.peak_following(&seconds, number) / restart.mean_following();
                assert!(following <= 1.3, "{following} in interval {number}, {restart:?}");
                let peak = peak(&restart, &seconds, number);
                assert!(peak <= most, "{peak} times the mean in interval {number}, {restart:?}");
            }
        }
    }

    #[test]
    fn without_the_deaf_there_is_none_at_all() {
        let mix = Mix::parse(KINDS, 0.0).expect("it is a mix");
        for capacity in [7.2, ROOMY, TIGHT] {
            let mix = mix.clone();
            let restart = Restart { answers: Answers::Controlled, mix, capacity, ..smaller() };
            let seconds = restart.run();
            for number in 2..=4 {
                let peak = peak(&restart, &seconds, number);
                assert!(peak <= 1.2, "{peak} times the mean in interval {number}, {restart:?}");
            }
        }
    }

    #[test]
    fn half_of_the_interval_as_min_interval_brings_a_herd_of_its_own() {
        let mix = Mix::parse(KINDS, 0.0).expect("it is a mix");
        let restart = Restart { answers: Answers::Halved, mix, ..smaller() };
        let seconds = restart.run();
        assert!((2..=4).all(|number| peak(&restart, &seconds, number) > 1.25));
    }

    #[test]
    fn an_outage_longer_than_the_interval_ends_without_a_second_herd() {
        let restart =
            Restart { answers: Answers::Controlled, downtime: 3600, capacity: 7.2, ..smaller() };
        let seconds = restart.run();
        for number in 2..=4 {
            let following = restart.peak_following(&seconds, number) / restart.mean_following();
            assert!(following <= 1.3, "{following} times the mean in interval {number}");
        }
    }

    #[test]
    fn too_many_peers_stretch_the_interval_until_the_load_is_on_target_and_it_stays_there() {
        // Without an outage, with two thirds of the capacity that the base interval needs.
        let restart = Restart {
            answers: Answers::Controlled,
            peers: 300_000,
            downtime: 0,
            capacity: 0.666,
            intervals: 24,
            ..smaller()
        };
        let seconds = restart.run();
        let settled = &seconds[seconds.len() / 2..];
        let load = settled.iter().map(|second| f64::from(second.answered)).sum::<f64>()
            / settled.len() as f64
            / f64::from(restart.capacity());
        // The target is 0.75; the interval rests anywhere down to a tenth below it.
        assert!((0.65..=0.77).contains(&load), "load {load}");
        let longest = settled.iter().map(|second| second.interval).max().unwrap();
        let shortest = settled.iter().map(|second| second.interval).min().unwrap();
        assert!(longest - shortest < 60, "the interval wanders from {shortest} to {longest} s");
        let highest = restart::highest(restart::rates(settled, |second| second.offered));
        assert!(highest < f64::from(restart.capacity()), "{highest} announces a second");
    }

    #[test]
    fn the_plot_is_the_same_for_the_same_seed() {
        let restart = Restart { peers: 20_000, ..smaller() };
        let draw = || {
            let seconds = restart.run();
            plot::draw(&[Panel { title: "once", restart: restart.clone(), seconds }])
        };
        assert_eq!(draw(), draw());
    }
}
