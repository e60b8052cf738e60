//! The simulation: a tracker with millions of peers is down for a while and comes back.
//!
//! Peers are counted, not kept: what matters of one is the second it comes and how often it failed
//! before. One seed is one whole run.

use margay::core::interval::{Controller, Load, Policy};
use shard::Seconds;

/// How the tracker answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    /// The base interval for everybody.
    Fixed,
    /// The base interval with random jitter of ten percent either way.
    Jitter,
    /// What [`Controller`] says: jitter, moments that are still free, stretching.
    Controlled,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    pub answers: Answers,
    pub policy: Policy,
    pub peers: u32,
    /// How long the tracker is away, in seconds.
    pub downtime: u32,
    /// Announces it can answer a second; what is above that is dropped.
    pub capacity: u32,
    /// How many base intervals to simulate after the restart.
    pub intervals: u32,
    pub seed: u64,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    /// Announces that arrived.
    pub offered: u32,
    /// Announces that were answered.
    pub answered: u32,
    /// The interval before jitter.
    pub interval: u32,
}

impl Restart {
    /// Plays the run: the seconds of the downtime, then those after the restart.
    pub(crate) fn run(&self) -> Vec<Second> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let base = self.policy.base.0;
        let mut arrivals = Arrivals::new((self.downtime + self.intervals * base) as usize);
        let mut controller = Controller::new(self.policy, EPOCH + Seconds(self.downtime));
        // Before the tracker stopped everybody had been told the base interval at some moment.
        for _ in 0..self.peers {
            arrivals.add(random.u32(0..base), 0);
        }
        let away = Seconds(self.downtime);
        controller.expect(u64::from(self.peers), away, EPOCH + away);
        let mut seconds = Vec::with_capacity(arrivals.seconds.len());
        for at in 0..arrivals.seconds.len() as u32 {
            let now = EPOCH + Seconds(at);
            let room = if at < self.downtime { 0 } else { self.capacity };
            let here = std::mem::take(&mut arrivals.seconds[at as usize]);
            let offered: u32 = here.iter().sum();
            let answered = offered.min(room);
            // Who is answered is chance: as many of each kind as their share.
            let (mut seen, mut served) = (0u64, 0u64);
            for (failures, count) in here.into_iter().enumerate() {
                seen += u64::from(count);
                let share = seen * u64::from(answered) / u64::from(offered.max(1)) - served;
                served += share;
                for _ in 0..share {
                    let interval = match self.answers {
                        Answers::Fixed => self.policy.base,
                        Answers::Jitter => Seconds(random.u32(base - base / 10..=base + base / 10)),
                        Answers::Controlled => controller.answer(now, &mut random),
                    };
                    arrivals.add(at + interval.0 + random.u32(0..=LATE_SECONDS), 0);
                }
                for _ in share..u64::from(count) {
                    let failures = (failures + 1).min(FAILURES_MAX);
                    arrivals.add(at + retry(failures as u32, &mut random), failures);
                }
            }
            if at >= self.downtime {
                let load = Load {
                    others: 0,
                    elapsed: 1.0,
                    busy: f64::from(answered) / f64::from(self.capacity),
                    queue: if offered > answered { 1.0 } else { 0.0 },
                    announces: u64::from(answered),
                    peers: u64::from(self.peers),
                };
                controller.observe(&load, now);
            }
            let interval = match self.answers {
                Answers::Controlled => controller.current().0,
                Answers::Fixed | Answers::Jitter => base,
            };
            seconds.push(Second { offered, answered, interval });
        }
        seconds
    }

    /// Announces a second when everybody comes once an interval.
    pub(crate) fn mean(&self) -> f64 {
        f64::from(self.peers) / f64::from(self.policy.base.0)
    }

    /// The highest rate of announces within interval `number` (1 is the first after the restart), as
    /// the mean of [`BIN_SECONDS`].
    pub(crate) fn peak(&self, seconds: &[Second], number: u32) -> f64 {
        let from = (self.downtime + (number - 1) * self.policy.base.0) as usize;
        let until = from + self.policy.base.0 as usize;
        rates(&seconds[from..until]).into_iter().fold(0.0, f64::max)
    }
}

/// Announces a second, as means of [`BIN_SECONDS`].
pub(crate) fn rates(seconds: &[Second]) -> Vec<f64> {
    seconds
        .chunks(BIN_SECONDS)
        .map(|bin| {
            bin.iter().map(|second| f64::from(second.offered)).sum::<f64>() / bin.len() as f64
        })
        .collect()
}

/// After so many failures in a row a client tries again. Two kinds of clients: seven of ten wait
/// longer with the square of the failures (10 s plus 25 s times the square, an hour at most), the
/// others climb a ladder from 20 seconds to an hour, with up to a minute at random.
fn retry(failures: u32, random: &mut fastrand::Rng) -> u32 {
    if random.u32(0..10) < 7 {
        let wait = (10 + 25 * failures * failures).min(3600);
        wait + random.u32(0..=wait / 10)
    } else {
        let ladder = [20, 300, 900, 1800, 3600];
        ladder[(failures as usize - 1).min(ladder.len() - 1)] + random.u32(0..=60)
    }
}

/// By second, then by failures before: how many peers come.
struct Arrivals {
    seconds: Vec<[u32; FAILURES_MAX + 1]>,
}

impl Arrivals {
    fn new(seconds: usize) -> Self {
        Self { seconds: vec![[0; FAILURES_MAX + 1]; seconds] }
    }

    /// A peer that comes after the end of the run is not seen any more.
    fn add(&mut self, at: u32, failures: usize) {
        if let Some(second) = self.seconds.get_mut(at as usize) {
            second[failures] += 1;
        }
    }
}

/// Over so long a rate is taken.
pub(crate) const BIN_SECONDS: usize = 30;

/// A client comes up to so many seconds later than it was told.
const LATE_SECONDS: u32 = 5;

/// More failures than these wait the same.
const FAILURES_MAX: usize = 12;

/// The moment the tracker went away.
const EPOCH: Seconds = Seconds(1_700_000_000);
