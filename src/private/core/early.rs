//! Clients that announce before they should: they are credited and counted like others, and told no peers.
//!
//! A client that announces over two addresses, or to several URLs of the same tracker, does so within
//! seconds, and each time it is told its interval anew. So what comes within a few seconds after an announce
//! that was answered in full is a part of that one, and is answered in full too; nobody else who hurries is.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use shard::private::Outcome;
use shard::{Event, Seconds};

use super::outgoing::Client;

/// Announces that were answered in full a short while ago.
#[derive(Debug)]
pub struct Early {
    /// Of the interval that a client was told; 0 for none.
    share: f64,
    keys: RandomState,
    /// In the last [`BURST`], and in the one before.
    recent: HashSet<u64>,
    before: HashSet<u64>,
    turned_at: Seconds,
}

/// How long announces of one client belong together: at least so long, at most twice.
const BURST: Seconds = Seconds(10);

/// Announces that are remembered in such a time. More are all answered in full.
const RECENT_MAX: usize = 1 << 18;

impl Early {
    /// Enforces this share of the interval that a client was told.
    pub fn new(share: f64) -> Self {
        let (recent, before) = Default::default();
        Self { share, keys: RandomState::new(), recent, before, turned_at: Seconds(0) }
    }

    /// Whether an announce that had this outcome is to be told no peers.
    ///
    /// What a client has to say at once is never too early: that it begins, completes or stops, that it
    /// became a seeder or a leecher, and its first announce after the tracker has lost it.
    pub fn is(&mut self, client: Client, event: Event, outcome: &Outcome, now: Seconds) -> bool {
        if self.share <= 0.0 {
            return false;
        }
        let wait = f64::from(outcome.told.0) * self.share;
        let says_something =
            !matches!(event, Event::None | Event::Paused) || outcome.was != outcome.is;
        // Its announce before may have been the last of several that belong together.
        let since_last = outcome.since_last.map(|since| since + BURST + BURST);
        let hurries = since_last.is_some_and(|since| f64::from(since.0) < wait);
        self.turn(now);
        let client = self.keys.hash_one(client);
        if hurries && !says_something {
            let belongs = self.recent.contains(&client) || self.before.contains(&client);
            return !belongs && self.recent.len() < RECENT_MAX;
        }
        if self.recent.len() < RECENT_MAX {
            self.recent.insert(client);
        }
        false
    }

    fn turn(&mut self, now: Seconds) {
        let since = now.since(self.turned_at);
        if since < BURST {
            return;
        }
        std::mem::swap(&mut self.recent, &mut self.before);
        self.recent.clear();
        if since >= BURST + BURST {
            self.before.clear();
        }
        self.turned_at = now;
    }
}

#[cfg(test)]
mod tests {
    use shard::private::{PeerId, UserId};
    use shard::{InfoHash, PeerState};

    use super::*;

    const TOLD: Seconds = Seconds(900);
    const CLIENT: Client = (UserId(1), InfoHash([1; 20]), PeerId([2; 20]), 3);

    fn after(since_last: Option<u32>) -> Outcome {
        let is = Some(PeerState::Leecher);
        let was = since_last.and(is);
        let told = since_last.map_or(Seconds(0), |_| TOLD);
        Outcome { was, is, since_last: since_last.map(Seconds), told, ..Outcome::default() }
    }

    /// Who is too early of one client that announces at these times, half of `TOLD` being enforced.
    #[track_caller]
    fn check(early: &mut Early, times: &[u32], expected: &[bool]) {
        let mut last = None;
        let found: Vec<bool> = times
            .iter()
            .map(|at| {
                let outcome = after(last.map(|last| at - last));
                last = Some(*at);
                early.is(CLIENT, Event::None, &outcome, Seconds(1000 + at))
            })
            .collect();
        assert_eq!(found, expected, "{times:?}");
    }

    #[test]
    fn a_client_waits_for_its_share_of_what_it_was_told() {
        check(&mut Early::new(0.5), &[0, 900, 1350], &[false; 3]);
        check(&mut Early::new(0.5), &[0, 429, 700], &[false, true, true]);
        check(&mut Early::new(0.0), &[0, 1, 2, 30], &[false; 4]);
    }

    #[test]
    fn announces_over_two_families_and_to_two_urls_belong_together() {
        let times = [0, 0, 1, 1, 900, 901, 901, 1800, 1800];
        check(&mut Early::new(1.0), &times, &[false; 9]);
    }

    #[test]
    fn whoever_hammers_is_early_from_a_few_seconds_on() {
        let mut early = Early::new(0.5);
        let times: Vec<u32> = (0..600).collect();
        let expected: Vec<bool> = times.iter().map(|at| *at >= 20).collect();
        let mut found = Vec::new();
        for at in &times {
            let outcome = after(at.checked_sub(1).map(|_| 1));
            found.push(early.is(CLIENT, Event::None, &outcome, Seconds(1000 + at)));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn what_must_be_said_at_once_is_never_early() {
        let mut early = Early::new(1.0);
        let mut is = |event, outcome: Outcome| early.is(CLIENT, event, &outcome, Seconds(1000));
        for event in [Event::Started, Event::Completed, Event::Stopped] {
            assert!(!is(event, after(Some(30))), "{event:?}");
        }
        let became = Outcome { is: Some(PeerState::Seeder), ..after(Some(30)) };
        assert!(!is(Event::None, became));
    }
}
