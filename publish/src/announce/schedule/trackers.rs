//! How trackers are to all torrents that name them.

use std::collections::HashMap;

use super::super::outages;
use super::Schedule;

impl Schedule {
    /// The trackers of all torrents, in no order.
    pub(crate) fn trackers(&self) -> Vec<outages::Tracker> {
        let mut trackers: HashMap<*const _, outages::Tracker> = HashMap::new();
        let here = self.by_hash.values().filter_map(|slot| self.torrents[*slot as usize].as_ref());
        for standing in here.flat_map(|entry| &entry.lines).flat_map(|line| line.standings()) {
            let host = &self.hosts[standing.tracker.host as usize];
            let tracker =
                trackers.entry(std::sync::Arc::as_ptr(&standing.tracker)).or_insert_with(|| {
                    let url = standing.tracker.address.to_string();
                    outages::Tracker { url, torrents: 0, failing: 0, text: None }
                });
            tracker.torrents += 1;
            if host.failures > 0 || (standing.failures > 0 && !standing.good) {
                tracker.failing += 1;
                if tracker.text.is_none() {
                    let text = host.text.as_ref().or(standing.text.as_ref());
                    tracker.text =
                        text.map(|text| standing.tracker.address.redact(text.to_string()));
                }
            }
        }
        // URLs that differ in a passkey alone are shown as one.
        let mut shown: HashMap<String, outages::Tracker> = HashMap::new();
        for tracker in trackers.into_values() {
            match shown.get_mut(&tracker.url) {
                Some(same) => {
                    same.torrents += tracker.torrents;
                    same.failing += tracker.failing;
                    same.text = same.text.take().or(tracker.text);
                }
                None => _ = shown.insert(tracker.url.clone(), tracker),
            }
        }
        shown.into_values().collect()
    }
}
