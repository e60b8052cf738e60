//! Records as what is to be written for them: changes in their order, facts added up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use shard::Seconds;
use shard::private::{Change, Fact, PeerId, Swarm, TorrentId, UserId};

use super::Record;

/// Some records that can be written as: first the changes, in their order, then all facts at once.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    /// What the site did.
    pub(super) changes: Vec<&'a Change>,
    /// What announces did.
    pub(super) facts: Vec<&'a Fact>,
    users: HashSet<UserId>,
    torrents: HashSet<TorrentId>,
}

/// Divides records into groups. A change moves before the facts that precede it, unless it is about a user
/// or a torrent of one of them: then it begins a new group.
pub(super) fn groups(records: &[(u64, Record)]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut group = Group::default();
    for (_, record) in records {
        match record {
            Record::Fact(fact) => {
                group.users.insert(fact.user);
                group.torrents.insert(fact.torrent);
                group.facts.push(fact);
            }
            Record::Change(change) => {
                if group.touches(change) {
                    groups.push(std::mem::take(&mut group));
                }
                group.changes.push(change);
            }
        }
    }
    groups.push(group);
    groups
}

impl Group<'_> {
    fn touches(&self, change: &Change) -> bool {
        match change {
            Change::User { id, .. } => self.users.contains(id),
            Change::Torrent { id, .. } | Change::TorrentRemoved { id, .. } => {
                self.torrents.contains(id)
            }
            Change::Token { user, torrent, .. } | Change::TokenRemoved { user, torrent, .. } => {
                self.users.contains(user) && self.torrents.contains(torrent)
            }
            Change::Group { .. }
            | Change::GroupRemoved { .. }
            | Change::ClientRule { .. }
            | Change::ClientRuleRemoved { .. } => false,
        }
    }
}

/// Bytes credited to one user. Sums of a batch do not overflow.
#[derive(Clone, Copy, Default)]
pub(super) struct Credit {
    pub(super) up: u128,
    pub(super) down: u128,
}

/// What each user is credited; users who are credited nothing are left out. In the order of their numbers,
/// so that whoever else writes them in that order cannot deadlock with it.
pub(super) fn credits(facts: &[&Fact]) -> Vec<(UserId, Credit)> {
    let mut credits: HashMap<UserId, Credit> = HashMap::new();
    for fact in facts.iter().filter(|fact| (fact.credited_up, fact.credited_down) != (0, 0)) {
        let credit = credits.entry(fact.user).or_default();
        credit.up += u128::from(fact.credited_up);
        credit.down += u128::from(fact.credited_down);
    }
    sorted(credits)
}

/// A torrent's figures.
#[derive(Clone, Copy)]
pub(super) struct Figures {
    pub(super) swarm: Swarm,
    /// The last time that it had a seeder.
    pub(super) active_at: Option<Seconds>,
}

/// The figures of each torrent after the last of its facts.
pub(super) fn figures(facts: &[&Fact]) -> Vec<(TorrentId, Figures)> {
    let mut figures: HashMap<TorrentId, Figures> = HashMap::new();
    for fact in facts {
        let active_at = (fact.swarm.seeders > 0).then_some(fact.at);
        match figures.entry(fact.torrent) {
            Entry::Occupied(mut entry) => {
                let before = entry.get().active_at;
                entry.insert(Figures { swarm: fact.swarm, active_at: active_at.or(before) });
            }
            Entry::Vacant(entry) => drop(entry.insert(Figures { swarm: fact.swarm, active_at })),
        }
    }
    sorted(figures)
}

/// How much a token was used.
#[derive(Clone, Copy, Default)]
pub(super) struct TokenUse {
    pub(super) down: u128,
    pub(super) spent_at: Option<Seconds>,
}

/// The use of each token.
pub(super) fn token_uses(facts: &[&Fact]) -> Vec<((UserId, TorrentId), TokenUse)> {
    let mut uses: HashMap<_, TokenUse> = HashMap::new();
    for fact in facts.iter().filter(|fact| fact.token_down > 0 || fact.token_spent) {
        let token_use = uses.entry((fact.user, fact.torrent)).or_default();
        token_use.down += u128::from(fact.token_down);
        if fact.token_spent {
            token_use.spent_at = token_use.spent_at.or(Some(fact.at));
        }
    }
    sorted(uses)
}

/// The last fact of each peer.
pub(super) fn peers<'a>(facts: &[&'a Fact]) -> Vec<((UserId, TorrentId, PeerId), &'a Fact)> {
    let mut peers = HashMap::with_capacity(facts.len());
    for fact in facts {
        peers.insert((fact.user, fact.torrent, fact.peer_id), *fact);
    }
    sorted(peers)
}

fn sorted<K: Ord + Copy, V>(map: HashMap<K, V>) -> Vec<(K, V)> {
    let mut entries: Vec<(K, V)> = map.into_iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}
