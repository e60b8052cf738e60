//! Records as what is to be written for them: changes in their order, facts added up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use shard::Seconds;
use shard::private::{Change, Fact, Gone, PeerId, Swarm, TorrentId, UserId};

use super::Record;
use crate::journal::Said;

/// What peers did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act<'a> {
    /// The number of the record.
    pub(super) number: u64,
    pub(super) deed: Deed<'a>,
}

/// What a peer did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed<'a> {
    /// One announced.
    Fact(&'a Fact),
    /// One left without saying so.
    Gone(&'a Gone),
}

impl Act<'_> {
    pub(super) fn user(&self) -> UserId {
        match self.deed {
            Deed::Fact(fact) => fact.user,
            Deed::Gone(gone) => gone.user,
        }
    }

    pub(super) fn torrent(&self) -> TorrentId {
        match self.deed {
            Deed::Fact(fact) => fact.torrent,
            Deed::Gone(gone) => gone.torrent,
        }
    }

    pub(super) fn peer(&self) -> PeerKey {
        match self.deed {
            Deed::Fact(fact) => peer_of(fact),
            Deed::Gone(gone) => (gone.user, gone.torrent, gone.peer_id, gone.key),
        }
    }
}

/// Some records that can be written as: first the changes, in their order, then all that peers did at once.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    /// What the site said, each with its number.
    pub(super) changes: Vec<(u64, &'a Said)>,
    /// What peers did, in order.
    pub(super) acts: Vec<Act<'a>>,
    users: HashSet<UserId>,
    torrents: HashSet<TorrentId>,
}

/// Divides records into groups. A change moves before the acts that precede it, unless it is about a user
/// or a torrent of one of them: then it begins a new group.
pub(super) fn groups(records: &[(u64, Record)]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut group = Group::default();
    for (number, record) in records {
        let number = *number;
        match record {
            Record::Fact(fact) => {
                group.users.insert(fact.user);
                group.torrents.insert(fact.torrent);
                group.acts.push(Act { number, deed: Deed::Fact(fact) });
            }
            Record::Gone(gone) => {
                group.users.insert(gone.user);
                group.torrents.insert(gone.torrent);
                group.acts.push(Act { number, deed: Deed::Gone(gone) });
            }
            Record::Tick(_) => {}
            Record::Said(said) => {
                if group.touches(&said.change) {
                    groups.push(std::mem::take(&mut group));
                }
                group.changes.push((number, said));
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

/// The announces among them.
pub(super) fn facts<'a>(acts: &[Act<'a>]) -> impl Iterator<Item = &'a Fact> {
    acts.iter().filter_map(|act| match act.deed {
        Deed::Fact(fact) => Some(fact),
        Deed::Gone(_) => None,
    })
}

/// Bytes credited to one user. Sums of a batch do not overflow.
#[derive(Clone, Copy, Default)]
pub(super) struct Credit {
    pub(super) up: u128,
    pub(super) down: u128,
}

/// What each user is credited; users who are credited nothing are left out. In the order of their numbers,
/// so that whoever else writes them in that order cannot deadlock with it.
pub(super) fn credits(acts: &[Act<'_>]) -> Vec<(UserId, Credit)> {
    let mut credits: HashMap<UserId, Credit> = HashMap::new();
    for fact in facts(acts).filter(|fact| (fact.credited_up, fact.credited_down) != (0, 0)) {
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
    /// What these acts added to the balance.
    pub(super) moved: i128,
    /// Completed downloads among them.
    pub(super) snatched: u32,
}

/// The figures of each torrent after the last act of its peers.
pub(super) fn figures(acts: &[Act<'_>]) -> Vec<(TorrentId, Figures)> {
    let mut figures: HashMap<TorrentId, Figures> = HashMap::new();
    for act in acts {
        let (torrent, now) = match act.deed {
            Deed::Fact(fact) => {
                let active_at = (fact.swarm.seeders > 0).then_some(fact.at);
                let moved = i128::from(fact.moved.uploaded)
                    - i128::from(fact.moved.downloaded)
                    - i128::from(fact.moved.corrupt);
                let snatched = u32::from(fact.snatched);
                (fact.torrent, Figures { swarm: fact.swarm, active_at, moved, snatched })
            }
            Deed::Gone(Gone { torrent, swarm: Some(swarm), .. }) => {
                (*torrent, Figures { swarm: *swarm, active_at: None, moved: 0, snatched: 0 })
            }
            Deed::Gone(_) => continue,
        };
        match figures.entry(torrent) {
            Entry::Occupied(mut entry) => {
                let Figures { active_at, moved, snatched, .. } = *entry.get();
                entry.insert(Figures {
                    swarm: now.swarm,
                    active_at: now.active_at.or(active_at),
                    moved: now.moved + moved,
                    snatched: now.snatched + snatched,
                });
            }
            Entry::Vacant(entry) => drop(entry.insert(now)),
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
pub(super) fn token_uses(acts: &[Act<'_>]) -> Vec<((UserId, TorrentId), TokenUse)> {
    let mut uses: HashMap<_, TokenUse> = HashMap::new();
    for fact in facts(acts).filter(|fact| fact.token_down > 0 || fact.token_spent) {
        let token_use = uses.entry((fact.user, fact.torrent)).or_default();
        token_use.down += u128::from(fact.token_down);
        if fact.token_spent {
            token_use.spent_at = token_use.spent_at.or(Some(fact.at));
        }
    }
    sorted(uses)
}

/// The completed downloads.
pub(super) fn snatches<'a>(acts: &[Act<'a>]) -> impl Iterator<Item = &'a Fact> {
    facts(acts).filter(|fact| fact.snatched)
}

/// Which peer: user, torrent, peer id and key.
pub(super) type PeerKey = (UserId, TorrentId, PeerId, u32);

/// Whose announce it is.
pub(super) fn peer_of(fact: &Fact) -> PeerKey {
    (fact.user, fact.torrent, fact.peer_id, fact.key)
}

/// What becomes of a peer.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct PeerEnd<'a> {
    /// Its last announce, where there is one among the acts.
    pub(super) fact: Option<&'a Fact>,
    /// It left without saying so after that.
    pub(super) gone: bool,
}

/// What becomes of each peer.
pub(super) fn peers<'a>(acts: &[Act<'a>]) -> Vec<(PeerKey, PeerEnd<'a>)> {
    let mut peers: HashMap<PeerKey, PeerEnd<'a>> = HashMap::with_capacity(acts.len());
    for act in acts {
        match act.deed {
            Deed::Fact(fact) => {
                peers.insert(act.peer(), PeerEnd { fact: Some(fact), gone: false });
            }
            Deed::Gone(_) => peers.entry(act.peer()).or_default().gone = true,
        }
    }
    sorted(peers)
}

/// All that is added up for a batch before it is written; how many rows that makes. For counting the
/// instructions of it.
pub fn fold(records: &[(u64, Record)]) -> usize {
    let rows = |Group { changes, acts, .. }: Group<'_>| {
        changes.len()
            + credits(&acts).len()
            + figures(&acts).len()
            + token_uses(&acts).len()
            + snatches(&acts).count()
            + peers(&acts).len()
    };
    groups(records).into_iter().map(rows).sum()
}

fn sorted<K: Ord + Copy, V>(map: HashMap<K, V>) -> Vec<(K, V)> {
    let mut entries: Vec<(K, V)> = map.into_iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}
