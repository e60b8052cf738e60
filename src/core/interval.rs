//! Which interval to answer: the one place where the tracker decides when a client comes back.
//!
//! Two things are decided, both on the core that owns the swarm, with nothing shared:
//! - how long the interval is *now* ([`Controller::observe`]): the base interval, stretched while the
//!   load is above its target;
//! - which moment *this* client gets ([`Controller::answer`]): the interval with a little jitter, or,
//!   when too many others were already told to come then, a moment that has fewer.
//!
//! `docs/interval.md` explains the law, with a simulated restart.

mod demand;
mod returns;

use shard::Seconds;

use crate::core::mesh::message::Wish;
use crate::core::mesh::succession::Promises;

use demand::Demand;
pub use demand::Load;
use returns::Returns;

/// The operator's wishes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Policy {
    /// The interval while the load is below its target.
    pub base: Seconds,
    /// The shortest interval ever answered; also sent as `min interval` (BEP 3).
    pub min: Seconds,
    /// The longest interval ever answered.
    pub max: Seconds,
    /// How far an answer may be from the interval, as a share of it: 0.1 is ten percent either way.
    pub jitter: f64,
    /// The load to stay at, as a share of one core.
    pub load_target: f64,
}

/// Decides the intervals of one core.
#[derive(Clone, Debug)]
pub struct Controller {
    policy: Policy,
    /// The interval now, before jitter, in seconds; between `policy.base` and `policy.max`.
    interval: f64,
    demand: Demand,
    returns: Returns,
    /// The base interval of the operator, whatever the site has wished.
    configured: Seconds,
}

impl Controller {
    /// Starts at the base interval with nobody expected.
    ///
    /// # Panics
    /// When the policy is impossible: it must be `min <= base <= max` with a base above 0, the jitter
    /// at least 0 and below 1, the target above 0. The configuration is checked before it comes here.
    pub fn new(policy: Policy, now: Seconds) -> Self {
        assert!(
            policy.base > Seconds(0) && policy.min <= policy.base && policy.base <= policy.max,
            "an interval needs min <= base <= max and a base above 0"
        );
        assert!((0.0..1.0).contains(&policy.jitter), "the jitter is a share below 1");
        assert!(policy.load_target > 0.0, "a load target of 0 can never be met");
        Self {
            policy,
            interval: f64::from(policy.base.0),
            demand: Demand::default(),
            returns: Returns::new(policy.max, now),
            configured: policy.base,
        }
    }

    /// The interval now, before jitter.
    pub fn current(&self) -> Seconds {
        Seconds(self.interval.round() as u32)
    }

    /// The `min interval` to send along with this interval, to a client that comes at that moment or to another one.
    #[inline]
    pub fn min(&self, interval: Seconds, comes_at_min: bool) -> Seconds {
        if comes_at_min { interval } else { self.policy.min.min(interval) }
    }

    /// The interval and the jitter that are in force while the load is below its target.
    pub fn in_force(&self) -> (Seconds, Seconds) {
        let Policy { base, jitter, .. } = self.policy;
        (base, Seconds((f64::from(base.0) * jitter).round() as u32))
    }

    /// Does what the site wants, as far as the policy allows: an interval from its `min` to its `max`, a
    /// jitter of up to half of the interval.
    pub fn grant(&mut self, wish: Wish) {
        let Policy { base, min, max, .. } = self.policy;
        match wish {
            Wish::Interval(wanted) => {
                let granted = wanted.clamp(min.max(Seconds(1)), max);
                self.policy.base = granted;
                let stretch = self.interval / f64::from(base.0);
                let (least, most) = (f64::from(granted.0), f64::from(max.0));
                self.interval = (least * stretch).clamp(least, most);
            }
            Wish::Jitter(wanted) => {
                self.policy.jitter = (f64::from(wanted.0) / f64::from(base.0)).min(SPREAD);
            }
        }
    }

    /// From when on the silence of a peer counts that is told `interval` now: a peer may be silent for
    /// the peer timeout, and for as much longer or shorter as it was told to wait longer or shorter than the base
    /// interval.
    #[inline]
    pub fn silent_from(&self, interval: Seconds, now: Seconds) -> Seconds {
        now + interval - self.configured
    }

    /// Says that `peers` were loaded from a snapshot that is `away` old: whom to expect before they
    /// come. Their announces were spread evenly over the base interval, so as many as the absence is
    /// of it are overdue, and come when they find the tracker again; the others come one by one in
    /// what is left of it.
    pub fn expect(&mut self, peers: u64, away: Seconds, now: Seconds) {
        self.returns.advance(now);
        let base = u64::from(self.policy.base.0);
        let due = base.saturating_sub(u64::from(away.0));
        self.returns.promise_evenly(peers * due / base, Seconds(due as u32), now);
    }

    /// The interval now in seconds, and how many were told to come back when.
    pub fn promises(&self) -> Promises {
        Promises { interval: self.interval, due: self.returns.all().collect() }
    }

    /// Goes on where another process was: keeps what that one has promised, a `part`th of `parts` of it.
    pub fn go_on(&mut self, promises: &Promises, (part, parts): (u32, u32), now: Seconds) {
        self.returns.advance(now);
        let (least, most) = (f64::from(self.policy.base.0), f64::from(self.policy.max.0));
        self.interval = self.interval.max(promises.interval).clamp(least, most);
        for (due, clients) in &promises.due {
            let (clients, part, parts) = (u64::from(*clients), u64::from(part), u64::from(parts));
            let here = clients * (part + 1) / parts - clients * part / parts;
            self.returns.promise_many(*due, here as u32, now);
        }
    }

    /// The interval for one answer, between `min` and `max`. Remembers when that client is due.
    ///
    /// The first choice is the interval with jitter. When the moment is already promised to more than
    /// its share, the least taken of [`CHOICES`] random moments from half the interval to one and a
    /// half is answered instead. Costs one random number and one look at 2 KiB, or `CHOICES` more.
    pub fn answer(&mut self, now: Seconds, random: &mut fastrand::Rng) -> Seconds {
        self.returns.advance(now);
        let mut chosen = self.draw(self.policy.jitter, random);
        let share = self.returns.share(self.interval);
        let mut taken = self.returns.promised(now + chosen);
        if taken > share {
            for _ in 0..CHOICES {
                let other = self.draw(SPREAD, random);
                let others = self.returns.promised(now + other);
                if others < taken {
                    (chosen, taken) = (other, others);
                }
            }
        }
        self.returns.promise(now + chosen, now);
        chosen
    }

    /// Takes in what was measured, about once a second, and moves the interval towards what is needed.
    pub fn observe(&mut self, load: &Load, now: Seconds) {
        self.returns.advance(now);
        if load.elapsed <= 0.0 {
            return;
        }
        self.demand.observe(load);
        let needed = self.needed(load.peers);
        let bounds = (f64::from(self.policy.base.0), f64::from(self.policy.max.0));
        let stretch_to = needed.clamp(bounds.0, bounds.1);
        let shrink_to = (needed / HYSTERESIS).clamp(bounds.0, bounds.1);
        if self.interval < stretch_to {
            self.interval += (stretch_to - self.interval) * step(load.elapsed, STRETCH_SECONDS);
        } else if self.interval > shrink_to {
            self.interval += (shrink_to - self.interval) * step(load.elapsed, SHRINK_SECONDS);
        }
        debug_assert!((bounds.0..=bounds.1).contains(&self.interval));
    }

    /// The interval in seconds at which the load would be on target; below the base when there is
    /// room. The larger of two answers:
    /// - by population: so many clients are due in all, one costs so much, spread them over as long as
    ///   the target takes. This looks ahead: it does not wait until the effect of a longer interval
    ///   can be measured, which is an interval later, and so cannot overshoot;
    /// - by demand: who comes now is more than the population explains (a herd after an outage, a
    ///   flood of scrapes), so send everybody away for longer in proportion.
    fn needed(&self, peers: u64) -> f64 {
        let population = self.returns.total().max(peers) as f64;
        let cost = self.demand.cost().unwrap_or(0.0);
        let by_population = population * cost / self.policy.load_target;
        let level = self.demand.level();
        let by_demand = f64::from(self.policy.base.0) * level / self.policy.load_target;
        by_population.max(by_demand)
    }

    /// A moment within `width` (a share of the interval) of the interval, all equally likely, within
    /// the bounds of the policy.
    fn draw(&self, width: f64, random: &mut fastrand::Rng) -> Seconds {
        let (min, max) = (f64::from(self.policy.min.0.max(1)), f64::from(self.policy.max.0));
        let from = (self.interval * (1.0 - width)).max(min);
        let to = (self.interval * (1.0 + width)).min(max);
        // Rounded; the method of that name is a call into the C library.
        Seconds((from + (to - from) * random.f64() + 0.5) as u32)
    }
}

/// How much of the way to its goal a value goes in `elapsed` seconds when it follows with a time
/// constant of `seconds`.
fn step(elapsed: f64, seconds: f64) -> f64 {
    1.0 - (-elapsed / seconds).exp()
}

/// Random moments looked at when the first one is taken. Two are enough for an even spread (the power
/// of two choices); the third fills gaps sooner.
pub const CHOICES: usize = 3;

/// How far those moments are from the interval at most, as a share of it.
const SPREAD: f64 = 0.5;

/// Stretching follows with this time constant: within a minute or two of the overload.
const STRETCH_SECONDS: f64 = 30.0;

/// Shrinking takes its time, and waits until the need is this share of what is answered.
const SHRINK_SECONDS: f64 = 600.0;
const HYSTERESIS: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        base: Seconds(1800),
        min: Seconds(300),
        max: Seconds(7200),
        jitter: 0.1,
        load_target: 0.75,
    };

    /// A tracker of 100,000 peers whose core does `rate` announces a second at this load.
    fn load(busy: f64, rate: u64) -> Load {
        Load { elapsed: 1.0, busy, queue: 0.0, announces: rate, others: 0, junk: 0, peers: 100_000 }
    }

    /// The interval after `seconds` of the same load.
    fn after(controller: &mut Controller, now: &mut Seconds, seconds: u32, load: Load) -> u32 {
        for _ in 0..seconds {
            *now = *now + Seconds(1);
            controller.observe(&load, *now);
        }
        controller.current().0
    }

    #[test]
    fn below_the_target_the_base_interval_stands() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        assert_eq!(controller.current(), POLICY.base);
        assert_eq!(after(&mut controller, &mut now, 600, load(0.70, 55)), 1800);
        assert_eq!(controller.min(POLICY.base, false), POLICY.min);
        assert_eq!(controller.min(Seconds(100), false), Seconds(100));
        assert_eq!(controller.min(POLICY.base, true), POLICY.base);
    }

    #[test]
    fn a_population_that_is_too_large_stretches_at_once_to_what_it_needs_and_no_further() {
        // 100,000 peers at 27 ms each are 2,700 core seconds: on target when spread over an hour.
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let overload = load(1.0, 37);
        let soon = after(&mut controller, &mut now, 120, overload);
        assert!((3400..=3620).contains(&soon), "{soon}");
        let later = after(&mut controller, &mut now, 3600, overload);
        assert!((3550..=3650).contains(&later), "{later}");
    }

    #[test]
    fn f7_a_flood_of_junk_changes_nothing_for_clients() {
        // 55 announces a second are what 100,000 peers make in 1,800 seconds; the rest of the core is spent on
        // what no interval keeps away.
        let mut now = Seconds(1000);
        for before in [0, 20, 600] {
            for junk in [200_000, 20_000, 2000] {
                let mut controller = Controller::new(POLICY, now);
                after(&mut controller, &mut now, before, load(0.4, 55));
                let flood = Load { junk, queue: 1.0, ..load(1.0, 55) };
                let soon = after(&mut controller, &mut now, 1200, flood);
                assert_eq!(soon, 1800, "{junk} after {before}");
            }
        }
    }

    #[test]
    fn a_population_that_is_too_large_is_seen_through_junk() {
        let mut now = Seconds(1000);
        for junk in [3, 30, 3000] {
            let mut controller = Controller::new(POLICY, now);
            after(&mut controller, &mut now, 60, load(1.0, 37));
            let overload = Load { junk, ..load(1.0, 37) };
            let soon = after(&mut controller, &mut now, 600, overload);
            assert!((3200..=3650).contains(&soon), "{soon} beside {junk}");
        }
    }

    #[test]
    fn stretching_ends_at_the_maximum() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        assert_eq!(after(&mut controller, &mut now, 1200, load(1.0, 1)), 7200);
    }

    #[test]
    fn a_full_queue_counts_as_load() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let full = Load { queue: 1.0, ..load(0.1, 5000) };
        assert_eq!(after(&mut controller, &mut now, 600, full), 2400);
    }

    #[test]
    fn it_shrinks_slowly_after_the_overload_and_all_the_way() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let high = after(&mut controller, &mut now, 600, load(1.0, 37));
        let minute_later = after(&mut controller, &mut now, 60, load(0.3, 55));
        assert!(minute_later > high - high / 5 && minute_later < high, "{high} {minute_later}");
        assert_eq!(after(&mut controller, &mut now, 7200, load(0.3, 55)), 1800);
    }

    #[test]
    fn a_load_that_wavers_around_the_target_does_not_move_it() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let stretched = after(&mut controller, &mut now, 900, load(0.75, 31));
        for _ in 0..100 {
            let low = after(&mut controller, &mut now, 5, load(0.72, 31));
            let high = after(&mut controller, &mut now, 5, load(0.75, 31));
            assert!(low.abs_diff(stretched) <= 20 && high.abs_diff(stretched) <= 20);
        }
    }

    #[test]
    fn a_second_without_announces_or_without_length_is_no_trouble() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        assert_eq!(after(&mut controller, &mut now, 10, Load::default()), 1800);
        assert_eq!(after(&mut controller, &mut now, 1000, load(0.0, 0)), 1800);
    }

    #[test]
    fn answers_stay_within_their_bounds_whatever_happens() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let min = random.u32(0..2000);
            let base = min.max(1) + random.u32(0..4000);
            let policy = Policy {
                base: Seconds(base),
                min: Seconds(min),
                max: Seconds(base + random.u32(0..90_000)),
                jitter: random.f64() * 0.99,
                load_target: 0.01 + random.f64(),
            };
            let mut now = Seconds(random.u32(0..2_000_000_000));
            let mut controller = Controller::new(policy, now);
            for _ in 0..500 {
                now = now + Seconds(random.u32(0..3));
                let answer = controller.answer(now, &mut random);
                assert!(answer >= policy.min && answer <= policy.max, "{answer:?} {policy:?}");
                assert!(answer > Seconds(0), "{policy:?}");
                assert_eq!(controller.silent_from(answer, now) + policy.base, now + answer);
                controller.observe(
                    &Load {
                        elapsed: random.f64() * 3.0,
                        busy: random.f64(),
                        queue: random.f64(),
                        announces: random.u64(0..100_000),
                        others: random.u64(0..100_000),
                        junk: random.u64(0..100_000),
                        peers: random.u64(0..10_000_000),
                    },
                    now,
                );
                let current = controller.current();
                assert!(current >= policy.base && current <= policy.max, "{current:?} {policy:?}");
            }
        }
    }

    #[test]
    fn an_even_stream_of_announces_gets_only_the_small_jitter() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let (mut near, mut far, mut sum) = (0u32, 0u32, 0u64);
        for second in 0..4 * 1800 {
            now = now + Seconds(1);
            for _ in 0..20 {
                let answer = controller.answer(now, &mut random).0;
                if second >= 2 * 1800 {
                    *(if (1620..=1980).contains(&answer) { &mut near } else { &mut far }) += 1;
                    sum += u64::from(answer);
                }
            }
        }
        assert!(far * 20 < near, "{far} of {} answers were far off", near + far);
        let mean = sum / u64::from(near + far);
        assert!(mean.abs_diff(1800) < 20, "{mean}");
    }

    #[test]
    fn a_small_tracker_never_spreads_wider_than_the_jitter() {
        let mut random = fastrand::Rng::with_seed(6);
        let now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        for _ in 0..15 {
            let answer = controller.answer(now, &mut random).0;
            assert!((1620..=1980).contains(&answer), "{answer}");
        }
    }

    #[test]
    fn a_peer_may_be_silent_for_as_much_longer_as_it_was_told_to_wait() {
        let now = Seconds(10_000);
        let mut controller = Controller::new(POLICY, now);
        let silent_from = |controller: &Controller, interval| {
            i64::from(controller.silent_from(Seconds(interval), now).0) - i64::from(now.0)
        };
        assert_eq!(silent_from(&controller, POLICY.base.0), 0);
        assert_eq!(silent_from(&controller, 7200), 5400);
        assert_eq!(silent_from(&controller, 900), -900);
        // What the site wishes is another interval like any other.
        controller.grant(Wish::Interval(Seconds(3600)));
        assert_eq!(silent_from(&controller, 3600), 1800);
    }

    #[test]
    fn the_site_s_interval_is_in_force_at_once_within_the_bounds() {
        let mut random = fastrand::Rng::with_seed(12);
        let mut now = Seconds(1000);
        for (wanted, granted) in
            [(1800, 1800), (2700, 2700), (600, 600), (100, 300), (0, 300), (9000, 7200)]
        {
            let mut controller = Controller::new(POLICY, now);
            controller.grant(Wish::Interval(Seconds(wanted)));
            assert_eq!(controller.in_force().0, Seconds(granted));
            assert_eq!(controller.current(), Seconds(granted));
            for _ in 0..10 {
                let answer = f64::from(controller.answer(now, &mut random).0);
                let jitter = 0.1 * f64::from(granted) + 1.0;
                let (least, most) = (f64::from(granted) - jitter, f64::from(granted) + jitter);
                assert!(answer >= least.max(300.0) && answer <= most.min(7200.0), "{answer}");
            }
            assert_eq!(after(&mut controller, &mut now, 100, load(0.1, 55)), granted);
        }
    }

    #[test]
    fn the_site_s_jitter_is_in_force_up_to_half_of_the_interval() {
        let mut controller = Controller::new(POLICY, Seconds(1000));
        for (wanted, granted) in [(240, 240), (0, 0), (900, 900), (5000, 900)] {
            controller.grant(Wish::Jitter(Seconds(wanted)));
            assert_eq!(controller.in_force(), (POLICY.base, Seconds(granted)));
        }
    }

    #[test]
    fn a_stretched_interval_stays_stretched_when_the_site_wants_another() {
        let mut now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let high = after(&mut controller, &mut now, 900, load(1.0, 37));
        controller.grant(Wish::Interval(Seconds(900)));
        assert!(controller.current().0.abs_diff(high / 2) <= 1, "{high}");
    }

    #[test]
    fn clients_that_all_come_at_once_are_told_to_come_at_different_times() {
        let mut random = fastrand::Rng::with_seed(7);
        let now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        let mut minutes = [0u32; 46];
        for _ in 0..60_000 {
            minutes[controller.answer(now, &mut random).0 as usize / 60] += 1;
        }
        let (from, to) = (15, 44);
        assert!(minutes[..from].iter().all(|count| *count == 0));
        let most = *minutes[from..=to].iter().max().unwrap();
        assert!(most < 2 * 60_000 / 30, "{most} in one minute: {minutes:?}");
        assert!(minutes[from..=to].iter().all(|count| *count > 60_000 / 30 / 2), "{minutes:?}");
    }

    #[test]
    fn moments_that_a_snapshot_has_filled_are_avoided() {
        let mut random = fastrand::Rng::with_seed(8);
        let now = Seconds(1000);
        let mut controller = Controller::new(POLICY, now);
        // Ten minutes away: two thirds of the peers are due within twenty minutes, the others are here.
        controller.expect(180_000, Seconds(600), now);
        let early = (0..60_000).filter(|_| controller.answer(now, &mut random).0 < 1200).count();
        // A fifth of all moments that may be answered lie there.
        assert!(early < 60_000 / 50, "{early} of 60,000 were sent where others are due");
    }
}
