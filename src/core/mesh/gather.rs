//! Scrapes of torrents with several owners: who still has to answer, and where the whole goes.

use std::collections::HashMap;

use shard::{Counts, Seconds};

/// Scrapes that one core may have under way; more are answered with what this core knows.
pub const GATHERINGS_MAX: usize = 4096;

/// How long the other cores may take. They answer in microseconds unless they are overloaded.
pub const GATHER_SECONDS: Seconds = Seconds(2);

/// The part of a scrape that went to one core.
pub type GatherId = u32;

#[derive(Debug)]
struct Gathering<R> {
    counts: Vec<Option<Counts>>,
    parts_missing: usize,
    deadline: Seconds,
    reply_to: R,
}

/// The scrapes of one core that wait for other cores; `R` says where the answer goes.
#[derive(Debug)]
pub struct Gather<R> {
    under_way: HashMap<GatherId, Gathering<R>>,
    next: GatherId,
}

impl<R> Gather<R> {
    /// Nothing under way.
    pub fn new() -> Self {
        Self { under_way: HashMap::new(), next: 0 }
    }

    /// Begins a scrape whose own part is already in `counts` and that waits for `parts_missing`
    /// other cores; hands `reply_to` and the counts back when too many are under way.
    pub fn begin(
        &mut self,
        reply_to: R,
        counts: Vec<Option<Counts>>,
        parts_missing: usize,
        now: Seconds,
    ) -> Result<GatherId, (R, Vec<Option<Counts>>)> {
        if self.under_way.len() >= GATHERINGS_MAX {
            return Err((reply_to, counts));
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let deadline = now + GATHER_SECONDS;
        self.under_way.insert(id, Gathering { counts, parts_missing, deadline, reply_to });
        Ok(id)
    }

    /// Takes one core's part: the counts of the torrents at `positions`. The whole, once nothing is
    /// missing; `None` before that and for a scrape that is over.
    pub fn take(
        &mut self,
        id: GatherId,
        positions: &[u16],
        counts: &[Option<Counts>],
    ) -> Option<(R, Vec<Option<Counts>>)> {
        let gathering = self.under_way.get_mut(&id)?;
        for (position, counts) in positions.iter().zip(counts) {
            gathering.counts[usize::from(*position)] = *counts;
        }
        gathering.parts_missing -= 1;
        if gathering.parts_missing > 0 {
            return None;
        }
        self.under_way.remove(&id).map(|whole| (whole.reply_to, whole.counts))
    }

    /// Gives up the scrapes whose deadline has passed and hands back where they go, with what is known.
    pub fn give_up(&mut self, now: Seconds) -> Vec<(R, Vec<Option<Counts>>)> {
        self.under_way
            .extract_if(|_, gathering| gathering.deadline < now)
            .map(|(_, gathering)| (gathering.reply_to, gathering.counts))
            .collect()
    }
}

impl<R> Default for Gather<R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(seeders: u32) -> Option<Counts> {
        Some(Counts { seeders, ..Counts::default() })
    }

    #[test]
    fn the_whole_comes_with_the_last_part() {
        let mut gather = Gather::new();
        let own = vec![counts(1), None, None, None];
        let id = gather.begin("ann", own, 2, Seconds(10)).unwrap();
        assert_eq!(gather.take(id, &[3, 1], &[counts(4), counts(2)]), None);
        let whole = vec![counts(1), counts(2), None, counts(4)];
        assert_eq!(gather.take(id, &[2], &[None]), Some(("ann", whole)));
        assert_eq!(gather.take(id, &[2], &[None]), None, "a late repeat changes nothing");
    }

    #[test]
    fn a_silent_core_does_not_hold_a_scrape_for_ever() {
        let mut gather = Gather::new();
        let id = gather.begin("ann", vec![None], 1, Seconds(10)).unwrap();
        assert!(gather.give_up(Seconds(10) + GATHER_SECONDS).is_empty());
        assert_eq!(gather.give_up(Seconds(11) + GATHER_SECONDS), [("ann", vec![None])]);
        assert_eq!(gather.take(id, &[0], &[counts(1)]), None);
    }

    #[test]
    fn there_is_a_bound() {
        let mut gather = Gather::new();
        for _ in 0..GATHERINGS_MAX {
            gather.begin("ann", vec![None], 1, Seconds(0)).unwrap();
        }
        let refused = gather.begin("bob", vec![counts(1)], 1, Seconds(0));
        assert_eq!(refused, Err(("bob", vec![counts(1)])));
    }
}
