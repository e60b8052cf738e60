//! The takers of what a client says it uploaded: who was there.

use std::collections::HashMap;

use shard::Seconds;
use shard::private::{Fact, TorrentId};

/// When each torrent last had clients with something left to download. 24 bytes a torrent.
#[derive(Debug, Default)]
pub(super) struct Takers {
    torrents: HashMap<TorrentId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Since when the torrent is watched.
    since: Seconds,
    /// When there was a leecher at all, and when there were two.
    one: Option<Seconds>,
    two: Option<Seconds>,
    /// How many there are now.
    leechers: u32,
}

impl Takers {
    /// Takes in a fact; true when its client had nobody to upload to since its announce before. False
    /// where the torrent has not been watched for as long.
    pub(super) fn hear(&mut self, fact: &Fact) -> bool {
        let now = fact.at;
        let fresh = Seen { since: now, one: None, two: None, leechers: 0 };
        let seen = self.torrents.entry(fact.torrent).or_insert(fresh);
        // Who left, or completed, with this very announce was a leecher until now; so were those who are
        // gone without a word.
        let leaves = fact.snatched || (!fact.active && fact.left > 0);
        let most = seen.leechers.max(fact.swarm.leechers + u32::from(leaves));
        if most > 0 {
            seen.one = Some(now);
        }
        if most > 1 {
            seen.two = Some(now);
        }
        seen.leechers = fact.swarm.leechers;
        let is_leecher = fact.left > 0 || fact.snatched;
        let others = if is_leecher { seen.two } else { seen.one };
        let before = Seconds(now.0.saturating_sub(fact.elapsed));
        seen.since <= before && fact.elapsed > 0 && others.is_none_or(|others| others < before)
    }
}
