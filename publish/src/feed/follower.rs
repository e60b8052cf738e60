//! Freshness: which list is followed, of those that are signed by whom they should be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::FeedError;
use super::key::PublicKey;
use super::list::Signed;

/// What a Seeder has seen of the feeds that it follows as one: those of a Master and of who stands by for it.
///
/// The caller keeps it (serde), before it acts on what is chosen. Who follows Masters that have nothing to do with each
/// other has a `Follower` for each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Follower {
    /// By the feed's address, as the caller writes it.
    seen: BTreeMap<String, Seen>,
}

/// The newest list of a feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Seen {
    key: PublicKey,
    epoch: u64,
    generation: u64,
    digest: [u8; 32],
    #[serde(default)]
    items: usize,
}

/// What is known of a feed's list that was good last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Good {
    /// Its epoch.
    pub epoch: u64,
    /// Its generation.
    pub generation: u64,
    /// Torrents in it.
    pub items: usize,
}

/// What came of a poll of all feeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Which answer is followed: its place among those that were given. None where none is good.
    pub followed: Option<usize>,
    /// Which answers are refused, and why. An answer that is in neither is good, and another one is followed.
    pub refused: Vec<(usize, FeedError)>,
}

impl Follower {
    /// Chooses between what the feeds answered: the first good list of the highest epoch.
    ///
    /// `answers` are in the order of the configuration, each with the feed's address. For an answer 304 (not modified)
    /// the caller gives the list that it has. What was seen before decides what is good:
    /// of one Master, an older epoch, or an older generation of the same, is refused, and so is another list of the same
    /// generation; an epoch below that of another feed is refused. A feed with a new key, which the caller trusts, begins
    /// anew.
    pub fn choose(&mut self, answers: &[(&str, Result<&Signed, FeedError>)]) -> Verdict {
        let before = self.seen.clone();
        let mut refused = Vec::new();
        let mut good = Vec::new();
        for (at, (feed, answer)) in answers.iter().enumerate() {
            match answer.clone().and_then(|signed| self.see(feed, signed).map(|()| signed)) {
                Ok(signed) => good.push((at, signed.list.epoch)),
                Err(error) => refused.push((at, error)),
            }
        }
        let seen_epoch = self.seen.values().map(|seen| seen.epoch).max().unwrap_or_default();
        let (current, behind): (Vec<_>, Vec<_>) =
            good.into_iter().partition(|(_, epoch)| *epoch == seen_epoch);
        // What is refused is not remembered either.
        for (at, _) in &behind {
            let feed = answers[*at].0;
            match before.get(feed) {
                Some(seen) => _ = self.seen.insert(feed.to_owned(), *seen),
                None => _ = self.seen.remove(feed),
            }
        }
        refused.extend(
            behind.into_iter().map(|(at, epoch)| (at, FeedError::Superseded { epoch, seen_epoch })),
        );
        refused.sort_by_key(|(at, _)| *at);
        Verdict { followed: current.first().map(|(at, _)| *at), refused }
    }

    /// The last good list of a feed, also of a process before this one; what was refused does not count.
    pub fn last(&self, feed: &str) -> Option<Good> {
        let Seen { epoch, generation, items, .. } = *self.seen.get(feed)?;
        Some(Good { epoch, generation, items })
    }

    /// Forgets the feeds that are no longer configured: their epochs count no more.
    pub fn keep(&mut self, feeds: &[&str]) {
        self.seen.retain(|feed, _| feeds.contains(&feed.as_str()));
    }

    /// Remembers a list of `feed`, unless it is older than what was seen of its Master.
    fn see(&mut self, feed: &str, signed: &Signed) -> Result<(), FeedError> {
        let (epoch, generation) = (signed.list.epoch, signed.list.generation);
        // A Master may be reached by several feeds; one of them may be an old copy.
        let of_this_master = self.seen.values().filter(|seen| seen.key == signed.key);
        if let Some(newest) = of_this_master.max_by_key(|seen| (seen.epoch, seen.generation)) {
            if (epoch, generation) < (newest.epoch, newest.generation) {
                let (seen_epoch, seen_generation) = (newest.epoch, newest.generation);
                return Err(FeedError::Replayed { epoch, generation, seen_epoch, seen_generation });
            }
            if (epoch, generation) == (newest.epoch, newest.generation)
                && signed.digest != newest.digest
            {
                return Err(FeedError::Changed { epoch, generation });
            }
        }
        let items = signed.list.items.len();
        let seen = Seen { key: signed.key, epoch, generation, digest: signed.digest, items };
        self.seen.insert(feed.to_owned(), seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyPair, List, TrustedKeys, read, write};
    use super::*;

    /// "b 3/17" is what Master b signs as generation 17 of epoch 3; behind a comma is when it was made.
    fn signed(text: &str) -> Result<Signed, FeedError> {
        let (master, numbers) = text.split_once(' ').ok_or(FeedError::Empty)?;
        let (numbers, made) = numbers.split_once(',').unwrap_or((numbers, "0"));
        let (epoch, generation) = numbers.split_once('/').unwrap();
        let list = List {
            epoch: epoch.parse().unwrap(),
            generation: generation.parse().unwrap(),
            made: made.parse().unwrap(),
            ..List::default()
        };
        let key = KeyPair::from_seed(&[master.as_bytes()[0]; 32]);
        read(&write(&list, &key).unwrap().bytes, &TrustedKeys::new(key.public()))
    }

    /// Polls feeds 0, 1, … that answer as is written; says which is followed, and what is refused.
    fn poll(follower: &mut Follower, answers: &[&str]) -> String {
        let names = ["0", "1", "2"];
        let signed: Vec<_> = answers.iter().map(|text| signed(text)).collect();
        let given: Vec<_> = names
            .iter()
            .copied()
            .zip(signed.iter().map(|answer| answer.as_ref().map_err(Clone::clone)))
            .collect();
        let verdict = follower.choose(&given);
        let mut said = verdict.followed.map_or("none".to_owned(), |at| at.to_string());
        for (at, error) in verdict.refused {
            let debug = format!("{error:?}");
            said += &format!(" {at}:{}", debug.split([' ', '{']).next().unwrap());
        }
        // What is kept is gone on with.
        *follower = serde_json::from_str(&serde_json::to_string(follower).unwrap()).unwrap();
        said
    }

    #[test]
    fn an_older_list_of_a_master_is_refused() {
        let mut follower = Follower::default();
        assert_eq!(poll(&mut follower, &["a 1/5"]), "0");
        assert_eq!(poll(&mut follower, &["a 1/5"]), "0");
        assert_eq!(poll(&mut follower, &["a 1/4"]), "none 0:Replayed");
        assert_eq!(poll(&mut follower, &["a 1/5,9"]), "none 0:Changed");
        assert_eq!(poll(&mut follower, &["broken"]), "none 0:Empty");
        assert_eq!(poll(&mut follower, &["a 1/6"]), "0");
        assert_eq!(poll(&mut follower, &["a 2/1"]), "0", "an epoch wins over any generation");
        assert_eq!(poll(&mut follower, &["a 1/99"]), "none 0:Replayed");
        assert_eq!(poll(&mut follower, &["a 2/2"]), "0");
    }

    #[test]
    fn of_several_feeds_the_first_of_the_highest_epoch_is_followed() {
        let mut follower = Follower::default();
        assert_eq!(poll(&mut follower, &["a 1/5", "b 1/2"]), "0");
        assert_eq!(poll(&mut follower, &["broken", "b 1/2"]), "1 0:Empty");
        assert_eq!(poll(&mut follower, &["a 1/5", "b 2/1"]), "1 0:Superseded");
        assert_eq!(
            poll(&mut follower, &["a 1/6", "broken"]),
            "none 0:Superseded 1:Empty",
            "the old one came back"
        );
        assert_eq!(poll(&mut follower, &["a 3/7", "b 2/2"]), "0 1:Superseded");
    }

    #[test]
    fn what_is_refused_is_not_the_last_good_list() {
        let mut follower = Follower::default();
        let numbers = |follower: &Follower, feed| {
            follower.last(feed).map(|good| (good.epoch, good.generation))
        };
        poll(&mut follower, &["a 1/22", "b 1/3"]);
        for refused in ["a 1/1", "a 1/22,9", "broken"] {
            poll(&mut follower, &[refused]);
            assert_eq!(numbers(&follower, "0"), Some((1, 22)), "{refused}");
        }
        poll(&mut follower, &["broken", "b 2/4"]);
        poll(&mut follower, &["a 1/23", "b 2/4"]);
        assert_eq!(numbers(&follower, "0"), Some((1, 22)), "another Master has taken over");
        poll(&mut follower, &["broken", "broken", "c 1/9"]);
        assert_eq!((numbers(&follower, "1"), numbers(&follower, "2")), (Some((2, 4)), None));
    }

    #[test]
    fn a_copy_of_a_feed_that_lags_is_not_followed() {
        let mut follower = Follower::default();
        assert_eq!(poll(&mut follower, &["a 1/5", "a 1/4"]), "0 1:Replayed");
        assert_eq!(poll(&mut follower, &["broken", "a 1/4"]), "none 0:Empty 1:Replayed");
        assert_eq!(poll(&mut follower, &["broken", "a 1/6"]), "1 0:Empty");
        assert_eq!(poll(&mut follower, &["a 1/5", "a 1/6"]), "1 0:Replayed");
    }

    #[test]
    fn a_feed_with_a_new_key_begins_anew() {
        let mut follower = Follower::default();
        assert_eq!(poll(&mut follower, &["a 7/500"]), "0");
        assert_eq!(poll(&mut follower, &["n 1/1"]), "0");
        assert_eq!(poll(&mut follower, &["n 1/1", "b 4/4"]), "1 0:Superseded");
        follower.keep(&["0"]);
        assert_eq!(poll(&mut follower, &["n 1/2"]), "0");
    }
}
