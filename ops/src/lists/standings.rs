//! What the API has said of torrents, as far as one core owns them.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use shard::{InfoHash, Seconds};

use super::{InfoHashes, hash, random_key};

/// What the API has said of one torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is to be served.
    Served,
    /// It is not.
    Withdrawn(Withdrawal),
}

/// A torrent was withdrawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withdrawal {
    /// What its clients are told; may be empty.
    pub reason: Arc<str>,
    /// Forgotten from this moment on.
    pub until: Seconds,
}

/// What becomes of who asks for a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<'s> {
    /// It is served.
    Served,
    /// The deny-list names it.
    Denied,
    /// The API has withdrawn it.
    Withdrawn(&'s Withdrawal),
    /// Only named torrents are served, and nobody names it.
    Unlisted,
}

/// All that the API has said.
#[derive(Clone, Debug)]
pub struct Standings {
    served: InfoHashes,
    withdrawn: HashTable<(InfoHash, Withdrawal)>,
    key: [u64; 2],
}

impl Default for Standings {
    fn default() -> Self {
        Self { served: InfoHashes::default(), withdrawn: HashTable::new(), key: random_key() }
    }
}

impl Standings {
    /// Says something of a torrent, in place of what was said before.
    pub fn put(&mut self, info_hash: InfoHash, standing: Standing) {
        let key = self.key;
        let hasher = |(other, _): &(InfoHash, Withdrawal)| hash(&key, other);
        let found =
            self.withdrawn.entry(hash(&key, &info_hash), |(other, _)| *other == info_hash, hasher);
        match (standing, found) {
            (Standing::Served, Entry::Occupied(entry)) => {
                entry.remove();
                self.served.insert(info_hash);
            }
            (Standing::Served, Entry::Vacant(_)) => self.served.insert(info_hash),
            (Standing::Withdrawn(withdrawal), Entry::Occupied(mut entry)) => {
                entry.get_mut().1 = withdrawal;
            }
            (Standing::Withdrawn(withdrawal), Entry::Vacant(entry)) => {
                entry.insert((info_hash, withdrawal));
                self.served.remove(&info_hash);
            }
        }
    }

    /// Whether it is to be served.
    #[inline]
    pub(super) fn serves(&self, info_hash: &InfoHash) -> bool {
        !self.served.table.is_empty() && self.served.contains(info_hash)
    }

    /// Why it is not to be served, if that was said and is not forgotten.
    #[inline]
    pub(super) fn withdrawn(
        &self,
        info_hash: &InfoHash,
        now: impl FnOnce() -> Seconds,
    ) -> Option<&Withdrawal> {
        if self.withdrawn.is_empty() {
            return None;
        }
        let found =
            self.withdrawn.find(hash(&self.key, info_hash), |(other, _)| other == info_hash);
        found.map(|(_, withdrawal)| withdrawal).filter(|withdrawal| now() < withdrawal.until)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::TorrentLists;
    use super::*;

    const NOW: Seconds = Seconds(1_000);

    fn withdrawn(reason: &str, until: u32) -> Standing {
        Standing::Withdrawn(Withdrawal { reason: reason.into(), until: Seconds(until) })
    }

    #[test]
    fn the_deny_list_goes_first_then_what_is_withdrawn_then_what_is_named() {
        let [allowed, denied, put, other] = [1, 2, 3, 4].map(|byte| InfoHash([byte; 20]));
        let folder = tempfile::tempdir().unwrap();
        let [allow, deny] = ["allow", "deny"].map(|name| folder.path().join(name));
        std::fs::write(&allow, format!("{allowed}\n{denied}\n")).unwrap();
        std::fs::write(&deny, format!("{denied}\n")).unwrap();
        let files = TorrentLists::load(Some(&allow), Some(&deny)).unwrap();
        let (open, listed) = (TorrentLists::default(), TorrentLists::default().listed());
        let mut said = Standings::default();
        let all = [allowed, denied, put, other];
        let verdicts = |lists: &TorrentLists, said: &Standings| {
            all.map(|torrent| match lists.verdict(said, &torrent, || NOW) {
                Verdict::Served => 's',
                Verdict::Denied => 'd',
                Verdict::Withdrawn(_) => 'w',
                Verdict::Unlisted => 'u',
            })
        };
        assert_eq!(verdicts(&open, &said), ['s'; 4]);
        assert_eq!(verdicts(&listed, &said), ['u'; 4]);
        assert_eq!(verdicts(&files, &said), ['s', 'd', 'u', 'u']);
        all[..3].iter().for_each(|torrent| said.put(*torrent, Standing::Served));
        assert_eq!(verdicts(&open, &said), ['s'; 4]);
        assert_eq!(verdicts(&listed, &said), ['s', 's', 's', 'u']);
        assert_eq!(verdicts(&files, &said), ['s', 'd', 's', 'u']);
        all.iter().for_each(|torrent| said.put(*torrent, withdrawn("Dupe", 1_001)));
        assert_eq!(verdicts(&open, &said), ['w'; 4]);
        assert_eq!(verdicts(&files, &said), ['w', 'd', 'w', 'w']);
        said.put(allowed, withdrawn("", 1_000));
        said.put(put, Standing::Served);
        assert_eq!(verdicts(&files, &said), ['s', 'd', 's', 'w'], "one is forgotten");
    }

    #[test]
    fn it_answers_like_a_naive_one() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut said, mut naive) = (Standings::default(), HashMap::new());
        let listed = TorrentLists::default().listed();
        for _ in 0..5_000 {
            let torrent = InfoHash([random.u8(..64); 20]);
            let standing = match random.bool() {
                true => Standing::Served,
                false => withdrawn("", random.u32(990..1_010)),
            };
            said.put(torrent, standing.clone());
            naive.insert(torrent, standing);
            let asked = InfoHash([random.u8(..70); 20]);
            let expected = match naive.get(&asked) {
                Some(Standing::Served) => Verdict::Served,
                Some(Standing::Withdrawn(withdrawal)) if NOW < withdrawal.until => {
                    Verdict::Withdrawn(withdrawal)
                }
                _ => Verdict::Unlisted,
            };
            assert_eq!(listed.verdict(&said, &asked, || NOW), expected);
        }
    }
}
