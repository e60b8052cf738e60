//! A bucket for each network that has come lately, in a table that does not grow.
//!
//! A bucket is one moment: when it is full again. Each request moves that on by what it costs; a request that would move it
//! further ahead than there is room is one too many. So a bucket that is full is like one that is not there, and what has
//! been quiet gives its place away.
//!
//! The places of a network are one line of memory. Where all of them are taken by others, the one that is full soonest
//! gives way: whoever floods keeps his place, and who loses it has a full bucket again. So a flood from more networks than
//! there are places lets some through that are one too many, and never turns away who is not.

use std::hash::{BuildHasher, RandomState};

use shard::Seconds;

use super::rate::Limit;

/// The buckets of a core.
#[derive(Debug)]
pub(super) struct Buckets {
    limit: Limit,
    /// Made anew for each core, so that nobody outside can aim at the places of another.
    keys: [u64; 3],
    /// Empty until the first request.
    lines: Box<[Line]>,
}

/// The buckets that share a line of memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    /// When each is full again, in seconds with 32 bits behind the point.
    full_at: [u64; PLACES],
    /// Bits of the hash of each network.
    tags: [u32; PLACES],
}

/// Buckets in a line.
const PLACES: usize = 5;

/// Lines of a core: 1 MiB, for 81,920 networks.
const LINES: usize = 1 << 14;

impl Buckets {
    pub(super) fn new(limit: Limit) -> Self {
        let random = RandomState::new();
        let keys = [1, 2, 3].map(|key: u64| random.hash_one(key));
        Self { limit, keys, lines: Box::default() }
    }

    /// Counts one request of a network; false when that is one too many.
    #[inline]
    pub(super) fn take(&mut self, network: u128, now: Seconds) -> bool {
        if self.lines.is_empty() {
            self.lines = vec![Line::default(); LINES].into_boxed_slice();
        }
        let hash = self.hash(network);
        let tag = (hash >> 32) as u32;
        let now = u64::from(now.0) << 32;
        let Line { full_at, tags } = &mut self.lines[hash as usize % LINES];
        let place = match tags.iter().position(|other| *other == tag) {
            Some(place) => place,
            None => {
                let soonest = (0..PLACES).min_by_key(|place| full_at[*place]).unwrap_or(0);
                (tags[soonest], full_at[soonest]) = (tag, 0);
                soonest
            }
        };
        let after = full_at[place].max(now).saturating_add(self.limit.cost);
        let is_within = after - now <= self.limit.room;
        if is_within {
            full_at[place] = after;
        }
        is_within
    }

    /// Two multiplications under keys that nobody outside knows.
    #[inline]
    fn hash(&self, network: u128) -> u64 {
        let [first, second, third] = self.keys;
        let fold = |one: u64, other: u64| {
            let product = u128::from(one) * u128::from(other);
            product as u64 ^ (product >> 64) as u64
        };
        fold(fold(network as u64 ^ first, (network >> 64) as u64 ^ second) ^ third, third | 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::rate::Rate;
    use super::*;

    fn buckets(rate: &str) -> Buckets {
        Buckets::new(Rate::parse(rate).unwrap().of_a_core(1))
    }

    #[test]
    fn a_line_is_a_line_of_memory() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }

    #[test]
    fn what_may_come_at_once_comes_and_then_the_rate() {
        let mut buckets = buckets("2/s:10");
        let mut let_in = |now, tries| (0..tries).filter(|_| buckets.take(7, Seconds(now))).count();
        assert_eq!(let_in(100, 50), 10);
        assert_eq!((1..=20).map(|second| let_in(100 + second, 50)).sum::<usize>(), 40);
        // After a while it is full, and no fuller.
        assert_eq!(let_in(124, 50), 8);
        assert_eq!(let_in(9000, 50), 10);
        // A clock that has gone back lets nobody in twice, and forgives when it is right again.
        assert_eq!(let_in(8999, 50), 0);
        assert_eq!(let_in(9001, 50), 2);
    }

    #[test]
    fn the_far_ends_of_time_and_of_rates_are_no_trouble() {
        for rate in ["1/h:1", "1/h:10000000", "1000000/s:10000000"] {
            for cores in [1, 1024] {
                let mut buckets = Buckets::new(Rate::parse(rate).unwrap().of_a_core(cores));
                for now in [0, 1, u32::MAX - 1, u32::MAX, 0, u32::MAX] {
                    (0..20).for_each(|_| _ = buckets.take(u128::MAX, Seconds(now)));
                }
                assert!(buckets.take(5, Seconds(0)));
            }
        }
    }

    /// Whatever comes, no network gets more than its rate and what may come at once, beside the few that lose their
    /// place; and none is turned away that has not had as much.
    #[test]
    fn networks_get_what_a_naive_count_gives_them() {
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (per_second, burst) = (random.u64(1..20), random.u64(20..100));
            let mut buckets = buckets(&format!("{per_second}/s:{burst}"));
            let networks = random.u128(1..200);
            let mut model: HashMap<u128, (f64, u32)> = HashMap::new();
            let mut now = random.u32(0..u32::MAX / 2);
            for _ in 0..20_000 {
                now += u32::from(random.u32(0..200) == 0) * random.u32(1..30);
                let network = random.u128(0..networks) << 64;
                let (tokens, last) = model.entry(network).or_insert((burst as f64, now));
                *tokens = (*tokens + f64::from(now - *last) * per_second as f64).min(burst as f64);
                *last = now;
                let is_within = *tokens > 1.0 - 1e-3;
                *tokens -= f64::from(u8::from(is_within));
                assert_eq!(buckets.take(network, Seconds(now)), is_within, "seed {seed}, {tokens}");
            }
        }
    }

    #[test]
    fn a_flood_from_more_networks_than_places_turns_nobody_away_who_is_within_the_limit() {
        let mut buckets = buckets("1/s:5");
        let mut random = fastrand::Rng::with_seed(3);
        let flooder = 77;
        let (mut turned_away, mut tries) = (0, 0);
        for second in 0..20 {
            for host in 0..50_000u128 {
                // A network that has not come before.
                assert!(buckets.take(1 << 100 | u128::from(second) << 64 | host, Seconds(second)));
                if random.u8(..50) == 0 {
                    tries += 1;
                    turned_away += u32::from(!buckets.take(flooder, Seconds(second)));
                }
            }
        }
        // It keeps its place: 5 at once and one a second come through.
        assert!(tries - turned_away <= 30, "{turned_away} of {tries}");
    }
}
