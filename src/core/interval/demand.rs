//! What clients cost, apart from what else a core has to do.
//!
//! An interval keeps nobody away but who follows it. So the load that counts is that of announces and of what belongs to
//! them; what is no request, comes with a wrong id or is turned away counts as junk, and is not held against clients. While
//! there is much of it, what a request of a client costs is what it cost before: junk that comes along makes nothing
//! dearer, and what it costs itself is not known.

use super::step;

/// The load that one core measured since the observation before.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Load {
    /// How long that is, in seconds; about 1.
    pub elapsed: f64,
    /// Share of a CPU the core used, 0 to 1.
    pub busy: f64,
    /// How full its fullest inbox was, 0 to 1.
    pub queue: f64,
    /// Announces answered.
    pub announces: u64,
    /// What else clients asked: scrapes, connects that an announce or a scrape follows, and what was refused to them.
    pub others: u64,
    /// What was no request, or turned away: malformed, with a wrong id, of who is screened, above a limit; and connects and
    /// connections that nothing follows.
    pub junk: u64,
    /// Peers in the core's swarms now.
    pub peers: u64,
}

/// What a core knows of its load.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    /// What clients asked of the core in the last seconds: 1 is what it can do.
    level: f64,
    /// Core seconds and requests of clients in the last half minute without much junk: their quotient is the cost of one.
    spent: f64,
    handled: f64,
    /// For so many seconds the two were learned without much junk.
    quiet: f64,
}

impl Demand {
    /// Takes in what was measured.
    pub(super) fn observe(&mut self, load: &Load) {
        let (clients, junk) = ((load.announces + load.others) as f64, load.junk as f64);
        let share = match clients + junk {
            0.0 => 1.0,
            _ => clients / (clients + JUNK_COST * junk),
        };
        let is_flooded = junk > JUNK_MUCH * clients;
        let busy = match self.cost().filter(|_| is_flooded && self.is_known()) {
            Some(cost) => load.busy.min(cost * clients / load.elapsed),
            None => load.busy * share,
        };
        // An inbox is as full as the core is busy, with whatever.
        let demand = busy.max(load.queue * share);
        self.level += (demand - self.level) * step(load.elapsed, DEMAND_SECONDS);
        if is_flooded && self.is_known() {
            return;
        }
        let kept = 1.0 - step(load.elapsed, COST_SECONDS);
        self.spent = self.spent * kept + demand * load.elapsed;
        self.handled = self.handled * kept + clients;
        if !is_flooded {
            self.quiet += load.elapsed;
        }
    }

    /// The load of the last seconds: 1 is what one core can do.
    pub(super) fn level(&self) -> f64 {
        self.level
    }

    /// What a request of a client costs, in seconds of the core.
    pub(super) fn cost(&self) -> Option<f64> {
        (self.handled >= 1.0).then(|| self.spent / self.handled)
    }

    /// Whether the cost was learned for long enough to be kept through a flood.
    fn is_known(&self) -> bool {
        self.quiet >= COST_SECONDS
    }
}

/// The demand is that of about so many seconds.
const DEMAND_SECONDS: f64 = 10.0;

/// The cost of an announce is that of about so many seconds.
const COST_SECONDS: f64 = 30.0;

/// What junk costs where nothing better is known, as a share of what a request of a client does: it is looked at and not
/// answered, or not looked up.
const JUNK_COST: f64 = 0.5;

/// More junk than this for each request of a client is a flood.
const JUNK_MUCH: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    /// A second in which clients ask `rate` times at `cost` each, beside so much junk.
    fn second(rate: f64, cost: f64, junk: f64, junk_cost: f64) -> Load {
        let wanted = rate * cost + junk * junk_cost;
        // What is too much is dropped, whatever it is.
        let served = (1.0 / wanted).min(1.0);
        Load {
            elapsed: 1.0,
            busy: wanted.min(1.0),
            queue: 0.0,
            announces: (rate * served) as u64,
            others: 0,
            junk: (junk * served) as u64,
            peers: 0,
        }
    }

    #[test]
    fn junk_changes_neither_the_load_nor_the_cost_that_were_known_before() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rate = 100.0 + random.f64() * 20_000.0;
            let cost = random.f64() * 0.9 / rate;
            let (mut demand, mut alone) = (Demand::default(), Demand::default());
            for _ in 0..random.u32(40..400) {
                demand.observe(&second(rate, cost, 0.0, 0.0));
                alone.observe(&second(rate, cost, 0.0, 0.0));
            }
            for _ in 0..200 {
                // From a little above what is much to far beyond what a core can do, cheap and dear.
                let junk = rate * (0.3 + random.f64() * 100.0);
                demand.observe(&second(rate, cost, junk, cost * random.f64() * 30.0));
                alone.observe(&second(rate, cost, 0.0, 0.0));
            }
            assert!(demand.level() <= alone.level() * 1.01, "seed {seed}");
            let (known, learned) = (alone.cost().unwrap(), demand.cost().unwrap());
            assert!((known - learned).abs() < known * 0.01, "seed {seed}: {known} {learned}");
        }
    }

    #[test]
    fn of_a_flood_that_was_there_from_the_start_the_most_part_is_not_held_against_clients() {
        for junk_cost in [0.25, 0.5] {
            let mut demand = Demand::default();
            (0..300)
                .for_each(|_| demand.observe(&second(1000.0, 3e-5, 100_000.0, 3e-5 * junk_cost)));
            assert!(demand.level() < 0.1, "{}", demand.level());
        }
    }

    #[test]
    fn clients_who_are_too_many_are_seen_through_any_junk() {
        let mut demand = Demand::default();
        (0..60).for_each(|_| demand.observe(&second(10_000.0, 3e-5, 0.0, 0.0)));
        (0..120).for_each(|_| demand.observe(&second(30_000.0, 3e-5, 9000.0, 1e-6)));
        assert!(demand.level() > 0.8, "{}", demand.level());
        assert!((demand.cost().unwrap() - 3e-5).abs() < 1e-6);
    }

    #[test]
    fn a_little_junk_is_always_there_and_no_flood() {
        let mut demand = Demand::default();
        (0..300).for_each(|_| demand.observe(&second(10_000.0, 6e-5, 1000.0, 3e-5)));
        assert!((demand.level() - 0.6).abs() < 0.03, "{}", demand.level());
    }

    #[test]
    fn nothing_at_all_is_no_trouble() {
        let mut demand = Demand::default();
        (0..100).for_each(|_| demand.observe(&Load { elapsed: 1.0, ..Load::default() }));
        assert_eq!((demand.level(), demand.cost()), (0.0, None));
    }
}
