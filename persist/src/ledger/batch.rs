//! Records as what is to be written for them: changes in their order, facts added up.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use shard::Seconds;
use shard::private::{Change, Fact, Gone, PeerId, Swarm, TorrentId, UserId};

use super::Record;
use crate::journal::{Columns, Said};

/// A record of what a peer did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act<'a> {
    /// The number of the record.
    pub(super) number: u64,
    pub(super) deed: Deed<'a>,
}

/// A peer's deed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed<'a> {
    /// It announced.
    Fact(&'a Fact),
    /// It left without saying so.
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
    /// The site's changes, each with its number.
    pub(super) changes: Vec<(u64, &'a Said)>,
    /// The acts of peers, in order.
    pub(super) acts: Vec<Act<'a>>,
}

/// Divides records into groups. A change moves before the acts that precede it, unless it [`touches`] one of
/// them: then it begins a new group.
pub(super) fn groups(records: &[(u64, Record)]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut group = Group { changes: Vec::new(), acts: Vec::with_capacity(records.len()) };
    let (mut users, mut torrents, mut tokens) = Default::default();
    // Most batches have no change, and nobody asks whom their acts are about.
    let said = |(_, record): &(u64, Record)| matches!(record, Record::Said(_));
    let mut changes = records.iter().filter(|record| said(record)).count();
    for (number, record) in records {
        let number = *number;
        let deed = match record {
            Record::Fact(fact) => Deed::Fact(fact),
            Record::Gone(gone) => Deed::Gone(gone),
            Record::Tick(_) => continue,
            Record::Said(said) => {
                changes -= 1;
                if touches(said, &users, &torrents, &tokens) {
                    groups.push(std::mem::take(&mut group));
                    users.clear();
                    torrents.clear();
                    tokens.clear();
                }
                group.changes.push((number, said));
                continue;
            }
        };
        let act = Act { number, deed };
        if changes > 0 {
            users.insert(act.user());
            torrents.insert(act.torrent());
            if let Deed::Fact(fact) = deed {
                add_token_use(&mut tokens, fact);
            }
        }
        group.acts.push(act);
    }
    groups.push(group);
    groups
}

/// Whether it matters that a change comes after what these users did on these torrents, with these tokens. Most
/// of what is said of a user or a torrent is about columns that nothing else is written to.
pub(super) fn touches(
    said: &Said,
    users: &HashSet<UserId>,
    torrents: &HashSet<TorrentId>,
    tokens: &HashMap<(UserId, TorrentId), TokenUse>,
) -> bool {
    let makes = said.columns.has(Columns::MAKES);
    match &said.change {
        // Who becomes hidden has his addresses taken out of his rows.
        Change::User { id, hidden, .. } => {
            (makes || *hidden && said.columns.has(Columns::HIDDEN)) && users.contains(id)
        }
        Change::Torrent { id, .. } => makes && torrents.contains(id),
        Change::TorrentRemoved { id, .. } => torrents.contains(id),
        Change::Token { user, torrent, .. } | Change::TokenRemoved { user, torrent, .. } => {
            tokens.contains_key(&(*user, *torrent))
        }
        Change::Former { .. }
        | Change::FormerRemoved { .. }
        | Change::Group { .. }
        | Change::GroupRemoved { .. }
        | Change::ClientRule { .. }
        | Change::ClientRuleRemoved { .. } => false,
    }
}

/// The announces among them.
pub(super) fn facts<'a>(acts: &[Act<'a>]) -> impl Iterator<Item = &'a Fact> {
    acts.iter().filter_map(|act| match act.deed {
        Deed::Fact(fact) => Some(fact),
        Deed::Gone(_) => None,
    })
}

/// Bytes credited to one user; a sum beyond the largest number stays there, as in the table.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Credit {
    pub(super) up: u64,
    pub(super) down: u64,
}

/// The credit of each user; users who are credited nothing are left out. In the order of their numbers, so that
/// whoever else writes them in that order cannot deadlock with it.
pub(super) fn credits(acts: &[Act<'_>]) -> Vec<(UserId, Credit)> {
    let mut credits = HashMap::new();
    for fact in facts(acts) {
        add_credit(&mut credits, fact);
    }
    sorted(credits)
}

/// Adds what a fact credits.
pub(super) fn add_credit(credits: &mut HashMap<UserId, Credit>, fact: &Fact) {
    if (fact.credited_up, fact.credited_down) != (0, 0) {
        let credit = credits.entry(fact.user).or_default();
        credit.up = credit.up.saturating_add(fact.credited_up);
        credit.down = credit.down.saturating_add(fact.credited_down);
    }
}

/// The last fact that credits a user, and how many do.
pub(super) type LastCredits = BTreeMap<UserId, (u64, u64, Fact)>;

/// Notes that a fact credits its user: how many do, the number of the last, and that one.
pub(super) fn note_credit(last: &mut LastCredits, number: u64, fact: &Fact) {
    if (fact.credited_up, fact.credited_down) != (0, 0) {
        let count = last.get(&fact.user).map_or(0, |(count, ..)| *count);
        last.insert(fact.user, (count + 1, number, *fact));
    }
}

/// A torrent's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) swarm: Swarm,
    /// The last time that it had a seeder.
    pub(super) active_at: Option<Seconds>,
    /// The change of the balance by these acts, in bytes.
    pub(super) moved: i128,
    /// Completed downloads among them.
    pub(super) snatched: u32,
}

/// The figures of each torrent after the last act of its peers.
pub(super) fn figures(acts: &[Act<'_>]) -> Vec<(TorrentId, Figures)> {
    let mut figures = HashMap::new();
    for act in acts {
        add_figures(&mut figures, act);
    }
    sorted(figures)
}

/// Adds what an act does to the figures of its torrent.
pub(super) fn add_figures(figures: &mut HashMap<TorrentId, Figures>, act: &Act<'_>) {
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
        Deed::Gone(_) => return,
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

/// How much a token was used.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct TokenUse {
    pub(super) down: u64,
    pub(super) spent_at: Option<Seconds>,
}

/// The use of each token.
pub(super) fn token_uses(acts: &[Act<'_>]) -> Vec<((UserId, TorrentId), TokenUse)> {
    let mut uses = HashMap::new();
    for fact in facts(acts) {
        add_token_use(&mut uses, fact);
    }
    sorted(uses)
}

/// Adds how a fact used its token.
pub(super) fn add_token_use(uses: &mut HashMap<(UserId, TorrentId), TokenUse>, fact: &Fact) {
    if fact.token_down > 0 || fact.token_spent {
        let token_use = uses.entry((fact.user, fact.torrent)).or_default();
        token_use.down = token_use.down.saturating_add(fact.token_down);
        if fact.token_spent {
            token_use.spent_at = token_use.spent_at.or(Some(fact.at));
        }
    }
}

/// The completed downloads.
pub(super) fn snatches<'a>(acts: &[Act<'a>]) -> impl Iterator<Item = &'a Fact> {
    facts(acts).filter(|fact| fact.snatched)
}

/// Which peer: user, torrent, peer id and key.
pub(super) type PeerKey = (UserId, TorrentId, PeerId, u32);

/// The peer whose announce it is.
pub(super) fn peer_of(fact: &Fact) -> PeerKey {
    (fact.user, fact.torrent, fact.peer_id, fact.key)
}

/// The outcome of some acts for a peer.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct PeerEnd<'a> {
    /// Its last announce, where there is one among the acts.
    pub(super) fact: Option<&'a Fact>,
    /// It left without saying so after that.
    pub(super) gone: bool,
}

/// The outcome of the acts for each peer.
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

/// Entries of a map in the order of their keys.
pub(super) fn sorted<K: Ord + Copy, V>(entries: impl IntoIterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut entries: Vec<(K, V)> = entries.into_iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}
