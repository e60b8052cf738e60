//! The simulation: a tracker with millions of peers is down for a while and comes back.
//!
//! Peers are counted, not kept: what matters of one is what client it is, the second it comes and how
//! often it failed before. One seed is one whole run.

use margay::core::interval::{Controller, Load, Policy};
use shard::Seconds;

use crate::clients::{Class, Mix, Protocol, Told, Trouble};

/// How the tracker answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    /// The base interval for everybody.
    Fixed,
    /// The base interval with random jitter of ten percent either way.
    Jitter,
    /// What [`Controller`] says, with the policy's `min` as `min interval`: as margay did before.
    Halved,
    /// What [`Controller`] says: jitter, moments that are still free, stretching.
    Controlled,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    pub answers: Answers,
    pub policy: Policy,
    pub mix: Mix,
    pub peers: u32,
    /// How long the tracker is away, in seconds.
    pub downtime: u32,
    /// How many times the even rate it can answer; what is above that is dropped.
    pub capacity: f64,
    /// How many base intervals to simulate after the restart.
    pub intervals: u32,
    pub seed: u64,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    /// Announces that arrived.
    pub offered: u32,
    /// Those of clients that go by a time of their own, whatever the interval.
    pub deaf: u32,
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
        let seconds = (self.downtime + self.intervals * base) as usize;
        let classes = &self.mix.classes;
        let mut arrivals = Arrivals::new(seconds, classes.len());
        let mut controller = Controller::new(self.policy, EPOCH + Seconds(self.downtime));
        // Before the tracker stopped everybody had been told the base interval at some moment.
        for (number, peers) in self.mix.of(self.peers).into_iter().enumerate() {
            let every = self.waits(classes[number], self.policy.base);
            for _ in 0..peers {
                arrivals.add(random.u32(0..every), number, 0);
            }
        }
        let away = Seconds(self.downtime);
        controller.expect(u64::from(self.peers), away, EPOCH + away);
        let capacity = self.capacity();
        let mut played = Vec::with_capacity(seconds);
        for at in 0..seconds as u32 {
            let now = EPOCH + Seconds(at);
            let room = if at < self.downtime { 0 } else { capacity };
            let here = arrivals.take(at);
            let offered: u32 = here.iter().flatten().sum();
            let of_deaf = |number: &usize| !self.follows(classes[*number]);
            let deaf: u32 = (0..here.len()).filter(of_deaf).flat_map(|number| here[number]).sum();
            let answered = offered.min(room);
            // Who is answered is chance: as many of each kind as their share.
            let (mut seen, mut served) = (0u64, 0u64);
            for (number, by_failures) in here.iter().enumerate() {
                let class = classes[number];
                for (failures, count) in by_failures.iter().enumerate() {
                    seen += u64::from(*count);
                    let share = seen * u64::from(answered) / u64::from(offered.max(1)) - served;
                    served += share;
                    for _ in 0..share {
                        let interval = self.answer(&mut controller, now, &mut random);
                        let wait = self.waits(class, interval) + random.u32(0..=LATE_SECONDS);
                        arrivals.add(at + wait, number, 0);
                    }
                    for _ in share..u64::from(*count) {
                        // Some do every second try in another way.
                        let failures =
                            if failures == FAILURES_MAX { failures - 1 } else { failures + 1 };
                        let wait = class.kind.retries(
                            class.protocol,
                            Trouble::Away,
                            failures as u32,
                            &mut random,
                        );
                        arrivals.add(at + wait.0, number, failures);
                    }
                }
            }
            if at >= self.downtime {
                let load = Load {
                    others: 0,
                    junk: 0,
                    elapsed: 1.0,
                    busy: f64::from(answered) / f64::from(capacity),
                    queue: if offered > answered { 1.0 } else { 0.0 },
                    announces: u64::from(answered),
                    peers: u64::from(self.peers),
                };
                controller.observe(&load, now);
            }
            let interval = match self.answers {
                Answers::Halved | Answers::Controlled => controller.current().0,
                Answers::Fixed | Answers::Jitter => base,
            };
            played.push(Second { offered, deaf, answered, interval });
        }
        played
    }

    fn answer(
        &self,
        controller: &mut Controller,
        now: Seconds,
        random: &mut fastrand::Rng,
    ) -> Seconds {
        let base = self.policy.base.0;
        match self.answers {
            Answers::Fixed => self.policy.base,
            Answers::Jitter => Seconds(random.u32(base - base / 10..=base + base / 10)),
            Answers::Halved | Answers::Controlled => controller.answer(now, random),
        }
    }

    /// After how many seconds a client comes again that was answered `interval`.
    fn waits(&self, class: Class, interval: Seconds) -> u32 {
        let min = match self.answers {
            Answers::Halved => self.policy.min,
            Answers::Fixed | Answers::Jitter | Answers::Controlled => interval,
        };
        let min_interval = (class.protocol == Protocol::Http).then_some(min);
        class.kind.waits(Told { interval, min_interval }).0
    }

    /// Whether a client comes when it was told to.
    fn follows(&self, class: Class) -> bool {
        self.waits(class, self.policy.base) == self.policy.base.0
    }

    /// Announces a second when every client comes as the base interval makes it come.
    pub(crate) fn mean(&self) -> f64 {
        let even = Restart { answers: Answers::Fixed, ..self.clone() };
        let rate = |class: &Class| class.share / f64::from(even.waits(*class, self.policy.base));
        f64::from(self.peers) * self.mix.classes.iter().map(rate).sum::<f64>()
    }

    /// The same of those who follow the interval alone.
    pub(crate) fn mean_following(&self) -> f64 {
        let following = self.mix.classes.iter().filter(|class| self.follows(**class));
        let share: f64 = following.map(|class| class.share).sum();
        f64::from(self.peers) * share / f64::from(self.policy.base.0)
    }

    /// Announces a second that it can answer.
    pub(crate) fn capacity(&self) -> u32 {
        (self.mean() * self.capacity).round() as u32
    }

    /// The highest rate of announces within interval `number` (1 is the first after the restart), as
    /// the mean of [`BIN_SECONDS`].
    pub(crate) fn peak(&self, seconds: &[Second], number: u32) -> f64 {
        highest(rates(self.within(seconds, number), |second| second.offered))
    }

    /// The same of those who follow the interval alone.
    pub(crate) fn peak_following(&self, seconds: &[Second], number: u32) -> f64 {
        highest(rates(self.within(seconds, number), |second| second.offered - second.deaf))
    }

    fn within<'a>(&self, seconds: &'a [Second], number: u32) -> &'a [Second] {
        let from = (self.downtime + (number - 1) * self.policy.base.0) as usize;
        &seconds[from..from + self.policy.base.0 as usize]
    }
}

/// Announces a second, as means of [`BIN_SECONDS`].
pub(crate) fn rates(seconds: &[Second], of: impl Fn(&Second) -> u32) -> Vec<f64> {
    seconds
        .chunks(BIN_SECONDS)
        .map(|bin| bin.iter().map(|second| f64::from(of(second))).sum::<f64>() / bin.len() as f64)
        .collect()
}

pub(crate) fn highest(rates: Vec<f64>) -> f64 {
    rates.into_iter().fold(0.0, f64::max)
}

/// How many peers of a class come, by failures before.
type ByFailures = [u32; FAILURES_MAX + 1];

/// By second, then by class: how many peers come.
struct Arrivals {
    seconds: Vec<Vec<ByFailures>>,
    classes: usize,
}

impl Arrivals {
    fn new(seconds: usize, classes: usize) -> Self {
        Self { seconds: vec![Vec::new(); seconds], classes }
    }

    /// A peer that comes after the end of the run is not seen any more.
    fn add(&mut self, at: u32, class: usize, failures: usize) {
        if let Some(second) = self.seconds.get_mut(at as usize) {
            if second.is_empty() {
                second.resize(self.classes, [0; FAILURES_MAX + 1]);
            }
            second[class][failures] += 1;
        }
    }

    fn take(&mut self, at: u32) -> Vec<ByFailures> {
        std::mem::take(&mut self.seconds[at as usize])
    }
}

/// Over so long a rate is taken.
pub(crate) const BIN_SECONDS: usize = 30;

/// A client comes up to so many seconds later than it was told.
const LATE_SECONDS: u32 = 5;

/// More failures than these wait the same.
const FAILURES_MAX: usize = 17;

/// The moment the tracker went away.
const EPOCH: Seconds = Seconds(1_700_000_000);
