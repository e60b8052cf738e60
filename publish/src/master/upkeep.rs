//! The docroot while the Master runs: what has vanished from it is noticed, and written again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use shard::InfoHash;

use super::Master;
use super::manifest::Step;

/// When the docroot is looked at.
pub(super) struct Upkeep {
    next: Instant,
    is_under_way: bool,
}

impl Upkeep {
    /// For the first time once all has been put there.
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + PERIOD, is_under_way: false }
    }
}

/// What is missing in the docroot, or is not what was written there.
#[derive(Debug)]
pub(super) struct Vanished {
    /// Torrents whose files are gone.
    pub torrents: Vec<InfoHash>,
    /// The list or the feed is not what was written, which was of this generation.
    pub feed: Option<u64>,
}

impl Master {
    /// Has the docroot looked at when it is time, beside the runtime.
    pub(super) fn look_after_docroot(&mut self) {
        let Some(last) = self.feed.last.clone() else { return };
        if self.upkeep.is_under_way || Instant::now() < self.upkeep.next || !(self.holds)() {
            return;
        }
        self.upkeep.is_under_way = true;
        let torrents: HashSet<InfoHash> = last
            .items
            .iter()
            .map(|item| item.info_hash)
            .filter(|info_hash| self.is_settled(info_hash))
            .collect();
        self.steps.look(torrents, self.served.documents(), last.generation);
    }

    /// What has vanished is written again.
    pub(super) fn vanished(&mut self, vanished: Vanished) {
        self.upkeep = Upkeep::new();
        let Vanished { mut torrents, feed } = vanished;
        torrents.retain(|info_hash| self.is_settled(info_hash));
        // One that is being written, or was written since, is another.
        let last = self.feed.last.as_ref().map(|list| list.generation);
        let feed = feed.is_some() && feed == last && !self.feed.is_being_written;
        if torrents.is_empty() && !feed {
            return;
        }
        tracing::warn!(
            docroot = %self.writer.docroot.folder().display(),
            torrents = torrents.len(),
            feed,
            "what was written there is gone, or is another's; it is written again. Does another program write there?"
        );
        self.feed.is_dirty |= feed;
        for info_hash in torrents {
            let Some(torrent) = self.torrents.get(&info_hash) else { continue };
            let Some(item) = self.manifest.item(&info_hash) else { continue };
            self.steps.offer(info_hash, item.name.clone(), torrent.metainfo.bytes.clone());
        }
    }

    /// Whether a torrent's file is in the docroot, and nothing is being done about it.
    fn is_settled(&self, info_hash: &InfoHash) -> bool {
        let is_published =
            self.manifest.item(info_hash).is_some_and(|item| item.step == Step::Published);
        is_published
            && !self.delayed.contains_key(info_hash)
            && self.torrents.get(info_hash).is_some_and(|torrent| torrent.offered)
    }
}

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(30);
