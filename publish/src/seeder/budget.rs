//! What a Seeder holds when its disk is too small for all.

use std::collections::HashSet;

use shard::InfoHash;

use crate::options::Order;

/// A torrent that could be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    /// Which.
    pub info_hash: InfoHash,
    /// Bytes of its content.
    pub size: u64,
    /// When it was published, in seconds since 1970.
    pub published: u64,
    /// How many seed it, as trackers say; nobody knows at first.
    pub seeders: Option<u32>,
}

/// The torrents to hold within `bytes_max`, those to fetch first in front. One that does not fit is left out, and smaller
/// ones behind it may still fit.
pub(super) fn choose(
    candidates: &[Candidate],
    held: &HashSet<InfoHash>,
    bytes_max: Option<u64>,
    order: Order,
) -> Vec<InfoHash> {
    let mut in_order: Vec<&Candidate> = candidates.iter().collect();
    in_order.sort_by_key(|candidate| {
        let is_new = order == Order::Rarest && !held.contains(&candidate.info_hash);
        let rank = match order {
            Order::Newest => u64::MAX - candidate.published,
            Order::Oldest => candidate.published,
            Order::Rarest => candidate.seeders.unwrap_or(0).into(),
        };
        (is_new, rank, candidate.info_hash)
    });
    let mut room = bytes_max.unwrap_or(u64::MAX);
    let mut chosen = Vec::new();
    for candidate in in_order {
        if candidate.size <= room {
            room -= candidate.size;
            chosen.push(candidate.info_hash);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u8, size: u64, published: u64, seeders: u32) -> Candidate {
        Candidate { info_hash: InfoHash([number; 20]), size, published, seeders: Some(seeders) }
    }

    fn check(order: Order, bytes_max: Option<u64>, held: &[u8], chosen: &[u8]) {
        let candidates =
            [candidate(1, 50, 100, 3), candidate(2, 30, 200, 9), candidate(3, 40, 300, 1)];
        let held = held.iter().map(|number| InfoHash([*number; 20])).collect();
        let found: Vec<u8> =
            choose(&candidates, &held, bytes_max, order).iter().map(|hash| hash.0[0]).collect();
        assert_eq!(found, chosen, "{order:?} {bytes_max:?}");
    }

    #[test]
    fn without_a_limit_all_are_held_the_first_in_front() {
        check(Order::Newest, None, &[], &[3, 2, 1]);
        check(Order::Oldest, None, &[], &[1, 2, 3]);
        check(Order::Rarest, None, &[], &[3, 1, 2]);
    }

    #[test]
    fn what_does_not_fit_gives_way() {
        check(Order::Newest, Some(75), &[1], &[3, 2]);
        check(Order::Oldest, Some(85), &[3], &[1, 2]);
        // Too large itself, and the next fits.
        check(Order::Oldest, Some(45), &[], &[2]);
        check(Order::Newest, Some(0), &[], &[]);
    }

    #[test]
    fn a_rare_one_does_not_push_out_what_is_held() {
        check(Order::Rarest, Some(60), &[2], &[2]);
        check(Order::Rarest, Some(80), &[2], &[2, 3]);
    }
}
