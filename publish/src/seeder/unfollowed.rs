//! What is held for a feed that is not followed any more, as after the Master's key was lost and replaced.
//!
//! What a list names that holds belongs to that list's feed from then on. The rest is kept and seeded, whatever any list
//! says, until the operator says that it may go: nothing is ever deleted because of a key that is another one.

use std::collections::BTreeMap;

use shard::InfoHash;
use tokio::task::block_in_place;

use super::looking::LOST;
use super::{Held, HeldState, Seeder};
use crate::web::page::bytes;

/// What is said of one.
pub(super) const UNFOLLOWED: &str = "it is held for a feed that is not followed any more";

impl Seeder {
    /// Gives what was held for other feeds to those that are followed: to the one that names it, or the one that a
    /// rotation of keys led to.
    pub(super) fn adopt(&mut self) {
        let unfollowed = self.shelf.iter().filter(|(_, held)| self.is_unfollowed(held));
        let adopted: Vec<(InfoHash, Held)> = unfollowed
            .filter_map(|(info_hash, held)| {
                let named = self.following.item(info_hash).map(|(_, feed)| feed);
                let feed = named.or_else(|| self.following.successor(&held.feed))?;
                Some((*info_hash, Held { feed: feed.to_owned(), ..held.clone() }))
            })
            .collect();
        if adopted.is_empty() {
            return;
        }
        tracing::info!(
            torrents = adopted.len(),
            "held for a feed that is not followed any more, and named by one that is: they belong to this one now"
        );
        if let Err(error) = block_in_place(|| self.shelf.put_all(adopted.clone())) {
            tracing::warn!(why = crate::chain(&error), "that cannot be written down");
            for (info_hash, held) in adopted {
                self.shelf.remember(info_hash, held);
            }
        }
    }

    /// What nobody tells of any more is not fetched on.
    pub(super) fn leave_unfollowed(&mut self) {
        let left: Vec<InfoHash> = self
            .fetching
            .keys()
            .filter(|info_hash| {
                let held = self.shelf.get(info_hash);
                held.is_some_and(|held| {
                    self.is_unfollowed(held) && !self.following.awaits(&held.feed)
                })
            })
            .copied()
            .collect();
        left.into_iter().for_each(|info_hash| self.stop_fetching(info_hash));
    }

    /// By feed, for `/health`.
    pub(super) fn unfollowed_in_words(&self) -> Vec<String> {
        let mut feeds = BTreeMap::<&str, (usize, u64)>::new();
        for (_, held) in self.shelf.iter().filter(|(_, held)| self.is_unfollowed(held)) {
            let (torrents, size) = feeds.entry(&held.feed).or_default();
            *torrents += 1;
            *size += held.size;
        }
        let in_words = |(key, (torrents, size)): (&str, (usize, u64))| {
            format!(
                "{torrents} torrents of {} are held for a feed that is not followed any more, of the key {key}: they are \
                 kept, and seeded where they are whole; `margay seed drop {key}` removes them, with --feed and its \
                 address the feed is followed again",
                bytes(size)
            )
        };
        feeds.into_iter().map(in_words).collect()
    }

    /// Removes what is held for a feed of this key, as the operator says.
    pub(super) fn drop_unfollowed(&mut self, key: &str) -> Result<String, String> {
        if self.following.follows(key) {
            return Err("the feed of this key is followed: its Master decides what goes".to_owned());
        }
        if self.following.awaits(key) {
            return Err("nothing is removed: not every feed that is followed was read since the start, and one may name \
                        some of it; say it again when /health has no trouble with feeds"
                .to_owned());
        }
        if self.looking.is_lost() {
            return Err(format!("{}: {LOST}", self.content.display()));
        }
        self.adopt();
        let of_it =
            self.shelf.iter().filter(|(_, held)| self.is_unfollowed(held) && held.feed == key);
        let dropped: Vec<InfoHash> = of_it.map(|(info_hash, _)| *info_hash).collect();
        if dropped.is_empty() {
            return Err("nothing is held for a feed of this key; /health names the key of what is"
                .to_owned());
        }
        let said = format!("{} torrents are being removed", dropped.len());
        tracing::info!(key, torrents = dropped.len(), "removed, as the operator says");
        dropped.into_iter().for_each(|info_hash| self.let_go(info_hash));
        self.choose_soon();
        Ok(said)
    }

    fn is_unfollowed(&self, held: &Held) -> bool {
        held.state != HeldState::Removing && !self.following.follows(&held.feed)
    }
}
