//! Trackers that do not answer, or refuse: told once when it begins and once when it is over, for a tracker and not for
//! each of its torrents.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::driver::Shared;

/// How a tracker is to all torrents that name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tracker {
    /// Its URL, without passkeys.
    pub(crate) url: String,
    /// Torrents that name it.
    pub(crate) torrents: usize,
    /// Those that it did not answer the last time, or refused.
    pub(crate) failing: usize,
    /// What it said of one of them, or why it was not reached.
    pub(crate) text: Option<String>,
}

/// Trackers that are not well.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    known: HashMap<String, Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    last: Tracker,
}

/// What is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Change {
    Began(Tracker),
    Over(String, Duration),
}

impl Outages {
    /// Trackers are like this now.
    fn see(&mut self, trackers: Vec<Tracker>, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        for tracker in trackers {
            let known = before.remove(&tracker.url);
            if tracker.failing > 0 {
                if known.is_none() {
                    changes.push(Change::Began(tracker.clone()));
                }
                let since = known.map_or(now, |known| known.since);
                self.known.insert(tracker.url.clone(), Outage { since, last: tracker });
            } else if let Some(known) = known {
                changes.push(Change::Over(tracker.url, now - known.since));
            }
        }
        // Of one that no torrent names any more there is nothing to tell.
        changes
    }

    /// Those that last, a line each, the longest first.
    pub(crate) fn troubles(&self, now: Instant) -> Vec<String> {
        let mut long: Vec<&Outage> =
            self.known.values().filter(|outage| now - outage.since >= TROUBLE_AFTER).collect();
        long.sort_by(|a, b| (a.since, &a.last.url).cmp(&(b.since, &b.last.url)));
        let lines = long.iter().take(TROUBLES_MAX).map(|outage| {
            let Tracker { url, torrents, failing, text } = &outage.last;
            let minutes = (now - outage.since).as_secs() / 60;
            let why = text.as_deref().unwrap_or("no answer");
            format!(
                "the tracker {url} has not taken the announces of {failing} of {torrents} torrents for {minutes} \
                 minutes: {why}; see that it runs and that its URL is right"
            )
        });
        let more = long.len().saturating_sub(TROUBLES_MAX);
        let more = (more > 0).then(|| format!("{more} more trackers take no announces"));
        lines.chain(more).collect()
    }
}

/// Tells of outages until the announcer is gone.
pub(super) async fn tell(shared: Weak<Shared>) {
    let mut looks = interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.end.is_cancelled()) else {
            return;
        };
        let trackers = shared.schedule().trackers();
        for change in shared.outages().see(trackers, Instant::now()) {
            match change {
                Change::Began(Tracker { url, torrents, failing, text }) => {
                    let why = text.unwrap_or_else(|| "no answer".to_owned());
                    tracing::warn!(
                        tracker = url,
                        torrents,
                        failing,
                        why,
                        "the tracker takes no announces; it is asked again, later and later"
                    );
                }
                Change::Over(tracker, lasted) => {
                    tracing::info!(
                        tracker,
                        seconds = lasted.as_secs(),
                        "the tracker takes announces again"
                    );
                }
            }
        }
    }
}

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(5);

/// What is over before that is for the log alone.
const TROUBLE_AFTER: Duration = Duration::from_secs(180);

/// Trackers that have a line of their own.
const TROUBLES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(url: &str, failing: usize) -> Tracker {
        Tracker { url: url.to_owned(), torrents: 3, failing, text: Some("refused".to_owned()) }
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_is_over() {
        let (mut outages, from) = (Outages::default(), Instant::now());
        let at = |seconds| from + Duration::from_secs(seconds);
        assert_eq!(outages.see(vec![tracker("a", 0), tracker("b", 0)], from), []);
        let began = [Change::Began(tracker("a", 3))];
        assert_eq!(outages.see(vec![tracker("a", 3), tracker("b", 0)], at(5)), began);
        assert_eq!(outages.see(vec![tracker("a", 2), tracker("b", 0)], at(10)), []);
        assert_eq!(outages.troubles(at(10)), [""; 0]);
        let troubles = outages.troubles(at(5 + 180));
        assert!(troubles[0].contains("a has not taken the announces of 2 of 3"), "{troubles:?}");
        let over = [Change::Over("a".to_owned(), Duration::from_secs(295))];
        assert_eq!(outages.see(vec![tracker("a", 0), tracker("b", 0)], at(300)), over);
        assert_eq!(outages.troubles(at(1_000)), [""; 0]);
    }

    #[test]
    fn of_a_tracker_that_nobody_names_any_more_nothing_is_told() {
        let (mut outages, now) = (Outages::default(), Instant::now());
        outages.see(vec![tracker("a", 3)], now);
        assert_eq!(outages.see(Vec::new(), now), []);
        assert_eq!(outages.troubles(now + TROUBLE_AFTER), [""; 0]);
    }

    #[test]
    fn many_outages_are_some_lines() {
        let (mut outages, now) = (Outages::default(), Instant::now());
        outages.see((0..100).map(|number| tracker(&number.to_string(), 1)).collect(), now);
        let troubles = outages.troubles(now + TROUBLE_AFTER);
        assert_eq!(
            (troubles.len(), troubles[5].as_str()),
            (6, "95 more trackers take no announces")
        );
    }
}
