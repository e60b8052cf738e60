//! Which list holds, and what of what is held may go.
//!
//! Feeds with the same key are one: those of a Master and of who stands by for it. Of these the list of the highest epoch
//! holds. Feeds with other keys have nothing to do with each other. What was seen of them is kept before anything is done
//! about it, so that an old list is not new after a start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use shard::InfoHash;

use super::poll::{PollError, Polled};
use super::{Held, HeldState};
use crate::durable::{self, Readers};
use crate::feed::{
    self, FeedAddress, FeedError, Follower, Item, List, PublicKey, RemovalRules, RemovalState,
    Removals, Signed, TrustedKeys,
};
use crate::shelf::{self, Shelf, ShelfError};
use crate::torrent::Metainfo;
use crate::web::status::Feed;

/// All feeds that are followed.
#[derive(Debug)]
pub(super) struct Following {
    path: PathBuf,
    feeds: Vec<Followed>,
    /// By the configured key.
    groups: HashMap<String, Group>,
    /// Keys that were configured before, with what a rotation led to and is configured now.
    successors: HashMap<String, String>,
    started: Instant,
}

/// A feed.
#[derive(Debug)]
struct Followed {
    address: FeedAddress,
    key: PublicKey,
    trusted: TrustedKeys,
    etag: Option<String>,
    /// The last good list, or why there is none.
    answer: Option<Result<Signed, FeedError>>,
    trouble: Option<String>,
    /// When it was well last, in seconds since 1970.
    well: u64,
}

/// Feeds with one key.
#[derive(Debug)]
struct Group {
    follower: Follower,
    removals: Removals,
    /// The feed whose list holds.
    followed: Option<usize>,
    list: Option<Arc<List>>,
    /// Which list that is.
    digest: Option<[u8; 32]>,
    /// Where in it each torrent is.
    places: HashMap<InfoHash, usize>,
}

/// What outlives the process.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    feeds: HashMap<String, TrustedKeys>,
    followers: HashMap<String, Follower>,
}

impl Following {
    /// Follows these feeds, each with its key; what was seen of them before is in the file at `path`.
    pub(super) fn open(
        path: PathBuf,
        feeds: Vec<(FeedAddress, PublicKey)>,
        rules: RemovalRules,
    ) -> Result<Self, ShelfError> {
        let mut kept: Kept = match path.exists() {
            true => shelf::read_json(&path)?,
            false => Kept::default(),
        };
        let mut groups = HashMap::new();
        let mut successors = HashMap::new();
        let feeds: Vec<Followed> = feeds
            .into_iter()
            .map(|(address, key)| {
                let group = key.to_string();
                let before = kept.feeds.remove(address.url.as_str());
                let old = before.as_ref().and_then(|before| before.led_to(&key));
                let old = old.map(|old| old.to_string());
                let seen = kept.followers.remove(&group);
                // What was seen of it before the operator wrote the new key down.
                let seen = seen.or_else(|| kept.followers.remove(old.as_ref()?));
                successors.extend(old.map(|old| (old, group.clone())));
                groups.entry(group).or_insert_with(|| Group {
                    follower: seen.unwrap_or_default(),
                    removals: Removals::new(rules),
                    followed: None,
                    list: None,
                    digest: None,
                    places: HashMap::new(),
                });
                let trusted = TrustedKeys::resume(key, before);
                Followed { address, key, trusted, etag: None, answer: None, trouble: None, well: 0 }
            })
            .collect();
        for (key, group) in &mut groups {
            let of_group: Vec<&str> = feeds
                .iter()
                .filter(|feed| feed.key.to_string() == *key)
                .map(|feed| feed.address.url.as_str())
                .collect();
            group.follower.keep(&of_group);
        }
        Ok(Self { path, feeds, groups, successors, started: Instant::now() })
    }

    /// How many feeds there are.
    pub(super) fn len(&self) -> usize {
        self.feeds.len()
    }

    /// The address of a feed's list, and the tag of the last one.
    pub(super) fn question(&self, at: usize) -> (url::Url, Option<String>) {
        let feed = &self.feeds[at];
        (feed.address.list_url(), feed.etag.clone())
    }

    /// An answer of a feed. Says whether its list holds, and is to be looked at ([`Following::look`]).
    ///
    /// # Errors
    /// When what was seen cannot be kept; nothing is done about the answer then.
    pub(super) fn hear(
        &mut self,
        at: usize,
        answer: Result<Polled, PollError>,
    ) -> Result<bool, ShelfError> {
        let feed = &mut self.feeds[at];
        match answer {
            Err(error) => {
                feed.etag = None;
                feed.complains(crate::chain(&error));
                return Ok(false);
            }
            Ok(Polled::Same) => {}
            Ok(Polled::New { bytes, etag }) => {
                let read = feed::read(&bytes, &feed.trusted);
                feed.etag = etag.filter(|_| read.is_ok());
                feed.answer = Some(read);
            }
        }
        let key = feed.key;
        let group = self.groups.get_mut(&key.to_string()).expect("each feed has a group");
        let of_group: Vec<usize> = (0..self.feeds.len())
            .filter(|other| self.feeds[*other].key == key && self.feeds[*other].answer.is_some())
            .collect();
        let answers: Vec<(&str, Result<&Signed, FeedError>)> = of_group
            .iter()
            .map(|other| {
                let feed = &self.feeds[*other];
                let answer = feed.answer.as_ref().expect("only those with an answer are taken");
                (feed.address.url.as_str(), answer.as_ref().map_err(Clone::clone))
            })
            .collect();
        let verdict = group.follower.choose(&answers);
        let followed = verdict.followed.map(|place| of_group[place]);
        let mut learned = false;
        for (place, other) in of_group.iter().enumerate() {
            let refused = verdict
                .refused
                .iter()
                .find(|(at, _)| *at == place)
                .map(|(_, error)| error.to_string());
            let feed = &mut self.feeds[*other];
            match refused {
                Some(why) if *other == at => feed.complains(why),
                Some(_) => {}
                None => {
                    if *other == at {
                        feed.is_well();
                    }
                    if let Some(Ok(signed)) = &feed.answer {
                        learned |= feed.trusted.learn(signed);
                    }
                }
            }
        }
        self.keep()?;
        if learned {
            tracing::info!("a feed's key is followed by another one, as its Master says");
        }
        let group = self.groups.get_mut(&key.to_string()).expect("each feed has a group");
        if group.followed.is_some()
            && group.followed != followed
            && let Some(now) = followed
        {
            tracing::info!(feed = %self.feeds[now].address.url, "this feed is followed now");
        }
        group.followed = followed.or(group.followed);
        if followed != Some(at) {
            return Ok(false);
        }
        let Some(Ok(signed)) = &self.feeds[at].answer else { return Ok(false) };
        if group.digest != Some(signed.digest) {
            group.list = Some(Arc::new(signed.list.clone()));
            group.digest = Some(signed.digest);
            let places = signed.list.items.iter().enumerate();
            group.places = places.map(|(place, item)| (item.info_hash, place)).collect();
        }
        Ok(true)
    }

    /// What is to be removed now, by the list of a feed that holds. `known` are the torrents of the shelf.
    pub(super) fn look(
        &mut self,
        at: usize,
        shelf: &Shelf<Held>,
        known: &HashMap<InfoHash, Arc<Metainfo>>,
    ) -> Vec<InfoHash> {
        let group_key = self.feeds[at].key.to_string();
        let Some(group) = self.groups.get_mut(&group_key) else { return Vec::new() };
        let Some(list) = &group.list else { return Vec::new() };
        let held: Vec<feed::Held<'_>> = shelf
            .iter()
            .filter(|(info_hash, held)| {
                held.feed == group_key
                    && held.state != HeldState::Removing
                    && known.contains_key(*info_hash)
            })
            .map(|(info_hash, held)| feed::Held {
                info_hash: *info_hash,
                name: &held.name,
                complete: matches!(held.state, HeldState::Complete(_)),
            })
            .collect();
        group.removals.look(Ok(list), &held, self.started.elapsed().as_secs())
    }

    /// The list that holds of the first feed's key.
    pub(super) fn list(&self) -> Option<Arc<List>> {
        let first = self.feeds.first()?;
        self.groups.get(&first.key.to_string())?.list.clone()
    }

    /// All that is published; what is in several feeds once for each.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.groups.values().filter_map(|group| group.list.as_ref()).flat_map(|list| &list.items)
    }

    /// A torrent that is published, with the feed's key.
    pub(super) fn item(&self, info_hash: &InfoHash) -> Option<(&Item, &str)> {
        self.groups.iter().find_map(|(key, group)| {
            let place = *group.places.get(info_hash)?;
            Some((group.list.as_ref()?.items.get(place)?, key.as_str()))
        })
    }

    /// Whether a feed with this key is followed.
    pub(super) fn follows(&self, key: &str) -> bool {
        self.groups.contains_key(key)
    }

    /// The key that a rotation led to from this one.
    pub(super) fn successor(&self, key: &str) -> Option<&str> {
        self.successors.get(key).map(String::as_str)
    }

    /// Whether lists that have not come since the start may name what is held for the feed with this key. Where it is
    /// not followed any more, each of them may.
    pub(super) fn awaits(&self, key: &str) -> bool {
        match self.groups.get(key) {
            Some(group) => group.list.is_none(),
            None => self.groups.values().any(|group| group.list.is_none()),
        }
    }

    /// Where the Masters of the feed are, of which an answer came: the key, the feed's host, the addresses.
    pub(super) fn masters(&self, at: usize) -> Option<(String, String, Vec<SocketAddr>)> {
        let feed = &self.feeds[at];
        let key = feed.key.to_string();
        let list =
            self.groups.get(&key).filter(|group| group.followed == Some(at))?.list.as_ref()?;
        Some((key, feed.address.url.host_str()?.to_owned(), list.masters.clone()))
    }

    /// The number of the newest list, for Masters.
    pub(super) fn generation(&self) -> u64 {
        self.groups
            .values()
            .filter_map(|group| Some(group.list.as_ref()?.generation))
            .max()
            .unwrap_or(0)
    }

    /// How the feeds are.
    pub(super) fn report(&self) -> Vec<Feed> {
        self.feeds
            .iter()
            .map(|feed| {
                let group = &self.groups[&feed.key.to_string()];
                let last = group.follower.last(feed.address.url.as_str());
                Feed {
                    address: feed.address.to_string(),
                    epoch: last.map_or(0, |last| last.epoch),
                    generation: last.map_or(0, |last| last.generation),
                    items: last.map_or(0, |last| last.items),
                    at: feed.well,
                    trouble: feed.trouble.clone(),
                }
            })
            .collect()
    }

    /// What is wrong, in words, of who holds so many torrents in all.
    pub(super) fn troubles(&self, held_in_all: usize) -> Vec<String> {
        let feeds = self.feeds.iter().filter_map(|feed| {
            feed.trouble.as_ref().map(|why| format!("feed {}: {why}", feed.address.url))
        });
        let held_back = self.groups.values().filter_map(|group| match group.removals.state() {
            state @ RemovalState::HeldBack { held, .. } if held != held_in_all => {
                Some(format!("{state}; {held_in_all} are held in all, with those of other feeds"))
            }
            state @ RemovalState::HeldBack { .. } => Some(state.to_string()),
            _ => None,
        });
        feeds.chain(held_back).collect()
    }

    fn keep(&self) -> Result<(), ShelfError> {
        let kept = Kept {
            feeds: self
                .feeds
                .iter()
                .map(|feed| (feed.address.url.to_string(), feed.trusted.clone()))
                .collect(),
            followers: self
                .groups
                .iter()
                .map(|(key, group)| (key.clone(), group.follower.clone()))
                .collect(),
        };
        let text = serde_json::to_vec(&kept).expect("what was seen is JSON");
        if std::fs::read(&self.path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        Ok(durable::write(&self.path, &text, Readers::All)?)
    }
}

impl Followed {
    /// Says what is wrong, once.
    fn complains(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!(feed = %self.address.url, why, "the feed is not followed now; nothing is removed");
        }
        self.trouble = Some(why);
    }

    fn is_well(&mut self) {
        self.well = crate::unix_seconds();
        if self.trouble.take().is_some() {
            tracing::info!(feed = %self.address.url, "the feed is well again");
        }
    }
}
