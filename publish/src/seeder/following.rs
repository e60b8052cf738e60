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
        let feeds: Vec<Followed> = feeds
            .into_iter()
            .map(|(address, key)| {
                let group = key.to_string();
                groups.entry(group.clone()).or_insert_with(|| Group {
                    follower: kept.followers.remove(&group).unwrap_or_default(),
                    removals: Removals::new(rules),
                    followed: None,
                    list: None,
                    digest: None,
                    places: HashMap::new(),
                });
                let trusted = TrustedKeys::resume(key, kept.feeds.remove(address.url.as_str()));
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
        Ok(Self { path, feeds, groups, started: Instant::now() })
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

    /// An answer of a feed. Returns what is to be removed now.
    ///
    /// # Errors
    /// When what was seen cannot be kept; nothing is done about the answer then.
    pub(super) fn hear(
        &mut self,
        at: usize,
        answer: Result<Polled, PollError>,
        shelf: &Shelf<Held>,
        complete: &HashMap<InfoHash, Arc<Metainfo>>,
    ) -> Result<Vec<InfoHash>, ShelfError> {
        let feed = &mut self.feeds[at];
        match answer {
            Err(error) => {
                feed.etag = None;
                feed.complains(crate::chain(&error));
                return Ok(Vec::new());
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
            return Ok(Vec::new());
        }
        let Some(Ok(signed)) = &self.feeds[at].answer else { return Ok(Vec::new()) };
        if group.digest != Some(signed.digest) {
            group.list = Some(Arc::new(signed.list.clone()));
            group.digest = Some(signed.digest);
            let places = signed.list.items.iter().enumerate();
            group.places = places.map(|(place, item)| (item.info_hash, place)).collect();
        }
        let group_key = key.to_string();
        let held: Vec<feed::Held<'_>> = shelf
            .iter()
            .filter(|(info_hash, held)| {
                held.feed == group_key
                    && held.state != HeldState::Removing
                    && complete.contains_key(*info_hash)
            })
            .map(|(info_hash, held)| feed::Held {
                info_hash: *info_hash,
                name: &held.name,
                complete: matches!(held.state, HeldState::Complete(_)),
            })
            .collect();
        Ok(group.removals.look(Ok(&signed.list), &held, self.started.elapsed().as_secs()))
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

    /// Whether a list of the feed with this key has come since the start.
    pub(super) fn has_list(&self, key: &str) -> bool {
        self.groups.get(key).is_some_and(|group| group.list.is_some())
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
                let list = feed
                    .answer
                    .as_ref()
                    .and_then(|answer| answer.as_ref().ok())
                    .map(|signed| &signed.list);
                Feed {
                    address: feed.address.to_string(),
                    epoch: list.map_or(0, |list| list.epoch),
                    generation: list.map_or(0, |list| list.generation),
                    items: list.map_or(0, |list| list.items.len()),
                    at: feed.well,
                    trouble: feed.trouble.clone(),
                }
            })
            .collect()
    }

    /// What is wrong, in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        let feeds = self.feeds.iter().filter_map(|feed| {
            feed.trouble.as_ref().map(|why| format!("feed {}: {why}", feed.address.url))
        });
        let held_back = self.groups.values().filter_map(|group| match group.removals.state() {
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
