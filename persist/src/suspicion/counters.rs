//! Counters that repeat from torrent to torrent.

use std::collections::HashMap;

use shard::Seconds;
use shard::private::{Fact, TorrentId, UserId};

use super::{AT_ONCE, Forgetting};

/// The reports of each user's clients in the last hour, the newest of them.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    users: HashMap<UserId, Vec<Report>>,
    forgetting: Forgetting,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    torrent: TorrentId,
    at: Seconds,
    /// In all, and since the announce before.
    uploaded: u64,
    moved: u64,
}

/// Smaller figures are the same by chance: pieces are of 16 KiB and more.
const BYTES_MIN: u64 = 1 << 20;

/// Torrents remembered of a user.
const REPORTS_MAX: usize = 32;

impl Repeats {
    /// Takes in a fact; on how many torrents, this one included, the user's clients have reported the same
    /// upload, in all or since the announce before.
    pub(super) fn hear(&mut self, fact: &Fact) -> u32 {
        if self.forgetting.is_due() {
            self.users.retain(|_, reports| {
                reports.iter().any(|report| fact.at.since(report.at).0 < AT_ONCE)
            });
        }
        if fact.reported.uploaded < BYTES_MIN && fact.moved.uploaded < BYTES_MIN {
            return 0;
        }
        let reports = self.users.entry(fact.user).or_default();
        reports.retain(|report| {
            report.torrent != fact.torrent && fact.at.since(report.at).0 < AT_ONCE
        });
        let (uploaded, moved) = (fact.reported.uploaded, fact.moved.uploaded);
        let count = |same: &dyn Fn(&Report) -> bool| {
            1 + reports.iter().filter(|report| same(report)).count() as u32
        };
        let in_all = if uploaded < BYTES_MIN { 0 } else { count(&|r| r.uploaded == uploaded) };
        let since = if moved < BYTES_MIN { 0 } else { count(&|r| r.moved == moved) };
        if reports.len() == REPORTS_MAX {
            reports.remove(0);
        }
        reports.push(Report { torrent: fact.torrent, at: fact.at, uploaded, moved });
        in_all.max(since)
    }
}
