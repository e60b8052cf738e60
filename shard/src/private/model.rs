//! The private engine said plainly: ordered maps, every count made by counting, every peer looked at.
//!
//! It is the definition that [`super::Swarms`] is tested against, and the naive version its benchmark
//! runs beside. Where the two differ, one of them is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    AHEAD_MAX, Announce, Counters, Endpoints, Fact, Facts, Freeleech, Gone, Limits, Names, Outcome,
    PeerId, PeerRecord, Refusal, Stamp, Swarm, Terms, Totals, User, UserId, fold,
};
use crate::{Counts, Event, InfoHash, PeerState, Reply, Scope, Seconds};

/// Which peer of a torrent: its user, peer id and key.
pub type Client = (UserId, PeerId, u32);

mod memory;

use memory::Memories;

use super::announce::Over;
use super::heard::Judged;

/// The swarms of one core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// The bounds and options.
    pub limits: Limits,
    /// The registered torrents.
    pub torrents: BTreeMap<InfoHash, Torrent>,
    /// Why others are not registered any more, and since when.
    pub deletions: BTreeMap<InfoHash, (Arc<str>, Seconds)>,
    /// News about users, and how many sweeps they are still looked up for.
    pub rulings: BTreeMap<UserId, (Ruling, u32)>,
    /// The last announce, as it counted.
    pub counted: Option<Announce>,
    /// The clients whose endpoint the last announce has taken over.
    pub succeeded: Vec<PeerRecord>,
    /// Memories of what clients have said within the last moments.
    memories: Memories,
    /// What clients had downloaded when they became leechers again.
    had: BTreeMap<(InfoHash, Client), u64>,
    /// How long clients were told to wait.
    waits: BTreeMap<(InfoHash, Client), Seconds>,
}

/// News about a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// He is gone.
    Gone,
    /// He has these rights.
    Rights(User),
}

/// A registered torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torrent {
    /// Its rules.
    pub terms: Terms,
    /// Bytes uploaded less bytes downloaded and corrupt.
    pub balance: i64,
    /// Completed downloads.
    pub snatches: u32,
    /// The peers in its swarm.
    pub peers: BTreeMap<Client, PeerRecord>,
    /// Its second name.
    pub second: Option<InfoHash>,
    /// By which of them each is there, of a torrent that has two or had.
    pub names: BTreeMap<Client, Names>,
    /// Users whose downloads are free, and until when.
    pub tokens: BTreeMap<UserId, Option<Seconds>>,
}

/// Sweeps for which a ruling is looked up.
const RULING_SWEEPS: u32 = 3;
/// How long a deletion reason is told.
const DELETION_KEPT: u32 = 86_400;

impl Model {
    /// No torrents yet.
    pub fn new(limits: Limits) -> Self {
        let (torrents, deletions, rulings, memories, succeeded, had) = Default::default();
        Self {
            limits,
            torrents,
            deletions,
            rulings,
            counted: None,
            succeeded,
            memories,
            had,
            waits: BTreeMap::new(),
        }
    }

    /// See [`super::Swarms::register`].
    pub fn register(&mut self, info_hash: InfoHash, terms: Terms) -> Result<bool, Refusal> {
        if let Some(torrent) = self.torrents.get_mut(&info_hash) {
            torrent.terms = terms;
            return Ok(false);
        }
        if self.torrents.len() >= self.limits.torrents_max {
            return Err(Refusal::TorrentsMax);
        }
        let (peers, tokens, names) = Default::default();
        let (balance, snatches, second) = (0, 0, None);
        let torrent = Torrent { terms, balance, snatches, peers, second, names, tokens };
        self.torrents.insert(info_hash, torrent);
        self.deletions.remove(&info_hash);
        Ok(true)
    }

    /// See [`super::Swarms::set_second`].
    pub fn set_second(
        &mut self,
        info_hash: &InfoHash,
        second: Option<InfoHash>,
    ) -> Result<(), Refusal> {
        let taken = second.is_some_and(|second| {
            self.torrents.iter().any(|(first, torrent)| {
                *first == second || first != info_hash && torrent.second == Some(second)
            })
        });
        let Some(torrent) = self.torrents.get_mut(info_hash) else { return Ok(()) };
        if taken {
            return Err(Refusal::NameTaken);
        }
        if torrent.second != second {
            torrent.second = second;
            torrent.names.values_mut().for_each(|names| names.second = false);
            second.iter().for_each(|second| _ = self.deletions.remove(second));
        }
        Ok(())
    }

    /// The first name of the torrent that has this one.
    pub fn first(&self, name: InfoHash) -> InfoHash {
        let mut torrents = self.torrents.iter();
        let first = torrents.find(|(_, torrent)| torrent.second == Some(name));
        first.map_or(name, |(first, _)| *first)
    }

    /// See [`super::Swarms::unregister`]; everybody who was there.
    pub fn unregister(
        &mut self,
        info_hash: &InfoHash,
        reason: &str,
        now: Seconds,
    ) -> Option<(Terms, Vec<Gone>)> {
        let torrent = self.torrents.remove(info_hash)?;
        self.memories.forget_torrent(info_hash);
        for name in [Some(*info_hash), torrent.second].into_iter().flatten() {
            self.deletions.insert(name, (reason.into(), now));
        }
        let gone = torrent.peers.values().map(|peer| torrent.gone(info_hash, peer)).collect();
        Some((torrent.terms, gone))
    }

    /// See [`super::Swarms::remove_user`].
    pub fn remove_user(&mut self, user: UserId) {
        self.rulings.insert(user, (Ruling::Gone, RULING_SWEEPS));
    }

    /// See [`super::Swarms::set_user_rights`].
    pub fn set_user_rights(&mut self, user: User) {
        self.rulings.insert(user.id, (Ruling::Rights(user), RULING_SWEEPS));
    }

    /// Applies one announce. Fills in the counts; it chooses no peers, see [`Model::eligible`].
    pub fn announce(
        &mut self,
        announce: &Announce,
        now: Seconds,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        reply.clear();
        let peers: usize = self.torrents.values().map(|torrent| torrent.peers.len()).sum();
        let name = announce.info_hash;
        let announce = &Announce { info_hash: self.first(name), ..*announce };
        let Some(torrent) = self.torrents.get_mut(&announce.info_hash) else {
            return Err(unregistered(self.deletions.get(&name), now));
        };
        let client = (announce.user.id, announce.peer_id, announce.key);
        let known = torrent.peers.get(&client).map(|peer| ruled(&self.rulings, peer));
        let announce = &Announce { counters: fold::bounded(&announce.counters), ..*announce };
        let over = torrent.over(&client, name != announce.info_hash, announce.event);
        let silent_max = self.limits.peer_timeout;
        let is_odd = self.memories.is_odd(announce);
        let judged = self.memories.judge(announce, known.as_ref(), over.as_ref(), now, silent_max);
        let said = announce.counters;
        let announce = judged.as_ref().map_or(announce, |judged| &judged.announce);
        self.counted = Some(Announce { info_hash: name, ..*announce });
        let stops = announce.event == Event::Stopped;
        let mut announce = *announce;
        self.succeeded.clear();
        if known.is_none() && !stops && self.limits.facts != Facts::Refused {
            let gone = torrent.succeed(&announce, &announce.endpoints);
            let downloaded = gone.iter().any(|gone| gone.state == PeerState::Leecher);
            announce.downloads_full &= !downloaded;
            self.counted = self
                .counted
                .map(|counted| Announce { downloads_full: announce.downloads_full, ..counted });
            gone.iter().for_each(|gone| self.memories.succeed(announce.info_hash, gone));
            self.succeeded = gone;
        }
        let announce = &announce;
        let begins = judged.as_ref().is_some_and(|judged| judged.begins());
        let anew = known.is_none() || announce.event == Event::Started || begins;
        let had = self.had.get(&(announce.info_hash, client)).copied();
        let is_of_one = !is_odd && !judged.as_ref().is_some_and(|judged| judged.is_elsewhere);
        let snatched = completes(announce, known.as_ref(), had, is_of_one, &self.limits);
        let postponed = matches!(self.limits.facts, Facts::Postponed | Facts::Refused)
            && !anew
            && known.is_some_and(|known| {
                !snatched && changes_figures_only(announce, &known, judged.as_ref())
            });
        if self.limits.facts == Facts::Refused && !postponed && (known.is_some() || !stops) {
            return Err(Refusal::NoRoom);
        }
        if known.is_none() && !stops {
            torrent.has_room(announce.user.id, peers - self.succeeded.len(), &self.limits)?;
        }
        let announce = *announce;
        let case = Case { announce, known, judged, over, said, postponed, anew, snatched };
        Ok(self.settle(&case, name != announce.info_hash, now, reply))
    }

    /// Does what an announce counts as.
    fn settle(&mut self, case: &Case, by_second: bool, now: Seconds, reply: &mut Reply) -> Outcome {
        let Case { announce, known, judged, over, said, postponed, .. } = case;
        let (known, judged, stops) = (known.as_ref(), judged.as_ref(), case.stops());
        let torrent = self.torrents.get_mut(&announce.info_hash).expect("it was found");
        let moved = match (judged, known) {
            _ if *postponed => Counters::default(),
            (Some(judged), _) => judged.moved,
            (None, Some(known)) => fold::moved(&known.reported, &announce.counters),
            (None, None) => Counters::default(),
        };
        if !postponed {
            self.memories.remember(announce, known, judged, now);
        }
        let as_before = known.filter(|_| *postponed).map(|known| known.reported);
        let announce = &Announce { counters: as_before.unwrap_or(announce.counters), ..*announce };
        let peer = ruled(&self.rulings, &peer_after(announce, known, judged, now));
        let client = (announce.user.id, announce.peer_id, announce.key);
        let whose = (announce.info_hash, client);
        let told = known.map_or(Seconds(0), |_| least(self.waits.get(&whose), &self.limits));
        if !stops {
            self.waits.insert(whose, announce.interval);
        }
        let was_seeder = known.is_some_and(|known| known.state == PeerState::Seeder);
        if announce.left == 0 {
            self.had.remove(&whose);
        } else if was_seeder && !stops {
            let begins = judged.is_some_and(|judged| judged.begins() && !judged.is_elsewhere);
            let had = known.filter(|_| !begins).map_or(0, |known| known.reported.downloaded);
            self.had.insert(whose, announce.counters.downloaded.max(had));
        }
        if known.is_some_and(|known| known.endpoints != peer.endpoints) && !stops {
            self.succeeded = torrent.succeed(announce, &peer.endpoints);
            let info_hash = announce.info_hash;
            self.succeeded.iter().for_each(|gone| self.memories.succeed(info_hash, gone));
        }
        let fact = Fact {
            said: (*said != announce.counters).then_some(*said),
            names: over.as_ref().filter(|_| !stops).map_or(Names::FIRST, |over| over.names),
            ..torrent.apply(announce, known, &peer, moved, case.snatched, now)
        };
        if let Some(over) = over {
            torrent.names.insert(client, over.names);
        }
        let Torrent { names, peers, .. } = torrent;
        names.retain(|client, _| peers.contains_key(client));
        reply.counts = torrent.counts_by(by_second);
        let mut outcome = case.outcome(fact, &peer, now, self.limits.facts == Facts::All);
        outcome.told = told;
        outcome
    }

    /// The counts of a torrent by this of its names.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Counts> {
        let first = self.first(*info_hash);
        Some(self.torrents.get(&first)?.counts_by(first != *info_hash))
    }

    /// The counts of a torrent by all of its names together.
    pub fn counts(&self, info_hash: &InfoHash) -> Option<Counts> {
        Some(self.torrents.get(&self.first(*info_hash))?.counts())
    }

    /// Whom a requester may be told, whether or not he is here; `is_new` when he was not before.
    pub fn eligible(&self, announce: &Announce, is_new: bool) -> Vec<PeerRecord> {
        let first = self.first(announce.info_hash);
        let by_second = first != announce.info_hash;
        let Some(torrent) = self.torrents.get(&first) else { return Vec::new() };
        let kinds: &[PeerState] = match state(announce) {
            PeerState::Leecher => &[PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher],
            PeerState::Seeder if is_new && may_download(announce) => {
                &[PeerState::Leecher, PeerState::Seeder]
            }
            _ => &[PeerState::Leecher],
        };
        let may = |peer: &&PeerRecord| {
            let shows = match self.rulings.get(&peer.user) {
                None => peer.visible,
                Some((Ruling::Gone, _)) => false,
                Some((Ruling::Rights(user), _)) => {
                    user.can_leech || peer.state == PeerState::Seeder
                }
            };
            let usable = usable(announce, &peer.endpoints);
            shows
                && torrent.is_there(peer, by_second)
                && peer.user != announce.user.id
                && kinds.contains(&peer.state)
                && usable != Endpoints::default()
        };
        torrent.peers.values().filter(may).copied().collect()
    }

    /// A whole sweep; who left.
    pub fn expire(&mut self, now: Seconds) -> Vec<Gone> {
        let mut gone = Vec::new();
        for (info_hash, torrent) in &self.torrents {
            let leaving = torrent.peers.values().filter(|peer| self.leaves(info_hash, peer, now));
            gone.extend(leaving.map(|peer| torrent.gone(info_hash, peer)));
        }
        for torrent in self.torrents.values_mut() {
            torrent.tokens.retain(|_, expires_at| expires_at.is_none_or(|at| now < at));
        }
        gone.iter().for_each(|gone| self.part(gone));
        self.deletions.retain(|_, (_, at)| now.since(*at).0 <= DELETION_KEPT);
        self.end_sweep();
        gone
    }

    /// Whether the sweep is to drop a peer.
    pub fn leaves(&self, info_hash: &InfoHash, peer: &PeerRecord, now: Seconds) -> bool {
        // Who was heard in times to come is believed from the beginning on.
        let client = (peer.user, peer.peer_id, peer.key);
        let wait = self.waits.get(&(*info_hash, client)).copied().unwrap_or(self.limits.interval);
        let timeout = timeout(wait, &self.limits);
        let silent = now.since(peer.seen) > timeout || peer.seen.since(now) > AHEAD_MAX;
        silent || matches!(self.rulings.get(&peer.user), Some((Ruling::Gone, _)))
    }

    /// The process has died: what clients said last is all that is known of them.
    pub fn restart(&mut self) {
        self.had.clear();
        self.waits.clear();
        self.memories = Memories::default();
    }

    /// Takes out whom the sweep has dropped.
    pub fn part(&mut self, gone: &Gone) {
        if let Some(torrent) = self.torrents.get_mut(&gone.info_hash) {
            let client = (gone.user, gone.peer_id, gone.key);
            torrent.peers.remove(&client);
            torrent.names.remove(&client);
            self.memories.forget(gone.info_hash, client);
        }
    }

    /// The sweep has reached the end: some rulings are written everywhere.
    pub fn end_sweep(&mut self) {
        for peer in self.torrents.values_mut().flat_map(|torrent| torrent.peers.values_mut()) {
            *peer = ruled(&self.rulings, peer);
        }
        self.rulings.values_mut().for_each(|(_, sweeps)| *sweeps -= 1);
        self.rulings.retain(|_, (_, sweeps)| *sweeps > 0);
    }

    /// The totals of the model.
    pub fn totals(&self) -> Totals {
        let peers = || self.torrents.values().flat_map(|torrent| torrent.peers.values());
        let seeders = peers().filter(|peer| peer.state == PeerState::Seeder).count();
        Totals {
            torrents: self.torrents.len(),
            peers: peers().count(),
            seeders,
            leechers: peers().count() - seeders,
            tokens: self.torrents.values().map(|torrent| torrent.tokens.len()).sum(),
            deletions: self.deletions.len(),
        }
    }
}

/// An announce that is let in, and what it is.
struct Case {
    /// As it counts.
    announce: Announce,
    known: Option<PeerRecord>,
    judged: Option<Judged>,
    over: Option<Over>,
    /// The counters that the client said.
    said: Counters,
    /// Its figures wait for the next one.
    postponed: bool,
    /// A session begins with it.
    anew: bool,
    /// It completes a download.
    snatched: bool,
}

impl Case {
    fn stops(&self) -> bool {
        self.announce.event == Event::Stopped
    }

    /// What has come of it, where the client is like `peer` now; the fact is noted where it says something, or
    /// `all` are.
    fn outcome(&self, fact: Fact, peer: &PeerRecord, now: Seconds, all: bool) -> Outcome {
        let Case { announce, known, judged, over, .. } = self;
        let (stops, has_moved) = (self.stops(), fact.moved != Counters::default());
        let changed = match (known, stops) {
            (None, true) => has_moved,
            (None, false) | (Some(_), true) => true,
            (Some(known), false) => {
                is_other(known, peer)
                    || announce.event == Event::Started
                    || fact.snatched
                    || has_moved
                    || over.as_ref().is_some_and(|over| over.changed)
            }
        };
        let noted = changed && !self.postponed || all;
        let says_stopped = judged.as_ref().is_some_and(|judged| judged.stops);
        let was = known.map(|known| known.state);
        Outcome {
            was,
            is: (!stops).then_some(peer.state),
            since_last: known.map(|known| now.since(known.seen)),
            told: Seconds(0),
            snatched: fact.snatched,
            once: noted && (stops || says_stopped || self.anew || fact.snatched),
            forbidden: announce.left > 0 && !announce.user.can_leech,
            held_back: becomes(announce, was).1,
            late: judged.as_ref().is_some_and(Judged::is_late),
            impossible: judged
                .as_ref()
                .is_some_and(|judged| judged.verdict == fold::Verdict::Impossible),
            fact: noted.then_some(fact),
        }
    }
}

impl Torrent {
    fn counts(&self) -> Counts {
        self.counts_of(|_| true)
    }

    fn counts_by(&self, second: bool) -> Counts {
        self.counts_of(|peer| self.is_there(peer, second))
    }

    /// By one of its names.
    fn is_there(&self, peer: &PeerRecord, by_second: bool) -> bool {
        let names = self.names.get(&(peer.user, peer.peer_id, peer.key));
        let names = names.copied().unwrap_or(Names::FIRST);
        if by_second { names.second } else { names.first }
    }

    /// The [`Over`] of an announce by one of two names, where it is one.
    fn over(&self, client: &Client, by_second: bool, event: Event) -> Option<Over> {
        if self.second.is_none() && self.names.is_empty() {
            return None;
        }
        let known = self.peers.get(client);
        let before =
            known.map_or(Names::NONE, |_| self.names.get(client).copied().unwrap_or(Names::FIRST));
        let (mut names, stopped) = (before, event == Event::Stopped);
        *if by_second { &mut names.second } else { &mut names.first } = !stopped;
        let stays = stopped && known.is_some() && names != Names::NONE;
        if stopped && !stays {
            names = before;
        }
        Some(Over { told: 0, names, changed: names != before, stays })
    }

    fn counts_of(&self, is_one: impl Fn(&PeerRecord) -> bool) -> Counts {
        let count = |state| {
            let peers = self.peers.values().filter(|peer| peer.state == state && is_one(peer));
            peers.count() as u32
        };
        let partial_seeds = count(PeerState::PartialSeed);
        Counts {
            seeders: count(PeerState::Seeder),
            leechers: count(PeerState::Leecher) + partial_seeds,
            partial_seeds,
            snatches: self.snatches,
        }
    }

    /// Takes out the user's other clients that are reached at one of these endpoints.
    fn succeed(&mut self, announce: &Announce, endpoints: &Endpoints) -> Vec<PeerRecord> {
        let own = (announce.user.id, announce.peer_id, announce.key);
        let is_same = |client: &Client, peer: &PeerRecord| {
            let Endpoints { v4, v6 } = peer.endpoints;
            let same_v4 = v4.is_some_and(|v4| v4.port > 0 && endpoints.v4 == Some(v4));
            let same_v6 = v6.is_some_and(|v6| v6.port > 0 && endpoints.v6 == Some(v6));
            client.0 == own.0 && *client != own && (same_v4 || same_v6)
        };
        let gone = self.peers.extract_if(.., |client, peer| is_same(client, peer));
        gone.map(|(_, peer)| peer).collect()
    }

    /// Without the torrent's figures and the moment, which follow how the sweep's steps fall.
    fn gone(&self, info_hash: &InfoHash, peer: &PeerRecord) -> Gone {
        let PeerRecord { user, peer_id, state, .. } = *peer;
        let (torrent, info_hash, at, swarm) = (self.terms.id, *info_hash, peer.seen, None);
        let (stamp, key) = (Stamp::at(at), peer.key);
        Gone { at, stamp, user, torrent, info_hash, peer_id, key, state, swarm }
    }

    /// Accounts for an announce and puts its peer in or takes it out.
    fn apply(
        &mut self,
        announce: &Announce,
        known: Option<&PeerRecord>,
        peer: &PeerRecord,
        moved: Counters,
        snatched: bool,
        now: Seconds,
    ) -> Fact {
        let expires_at = self.tokens.get(&announce.user.id).copied();
        let token = expires_at.is_some_and(|at| at.is_none_or(|at| now < at));
        let (upload_percent, download_percent) = match self.terms.freeleech {
            Freeleech::Neutral => (0, 0),
            Freeleech::Free => (self.terms.upload_percent, 0),
            Freeleech::None => (self.terms.upload_percent, 100),
        };
        let (credited_up, credited_down, token_down) = self.credit(&moved, token);
        self.balance = self.balance.saturating_add_unsigned(moved.uploaded);
        self.balance = self.balance.saturating_sub_unsigned(moved.downloaded);
        self.balance = self.balance.saturating_sub_unsigned(moved.corrupt);

        self.snatches += u32::from(snatched);
        let token_spent = snatched && token && self.terms.freeleech != Freeleech::Neutral;
        if token_spent {
            self.tokens.remove(&announce.user.id);
        }
        let client = (announce.user.id, announce.peer_id, announce.key);
        let active = announce.event != Event::Stopped;
        match active {
            true => _ = self.peers.insert(client, *peer),
            false => _ = self.peers.remove(&client),
        }
        let counts = self.counts();
        Fact {
            at: peer.seen,
            stamp: Stamp::at(peer.seen),
            over_v6: announce.endpoints.v4.is_none(),
            after: None,
            user: announce.user.id,
            torrent: self.terms.id,
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            key: announce.key,
            endpoints: peer.endpoints,
            hidden: announce.user.hidden,
            visible: peer.visible,
            reported: announce.counters,
            said: None,
            left: announce.left,
            partial: peer.state == PeerState::PartialSeed,
            active,
            names: Names::FIRST,
            since: peer.since,
            elapsed: known.map_or(0, |known| now.since(known.seen).0),
            announces: peer.announces,
            moved,
            upload_percent,
            download_percent,
            token: token && self.terms.freeleech != Freeleech::Neutral,
            credited_up,
            credited_down,
            token_down,
            token_spent,
            snatched,
            swarm: Swarm {
                seeders: counts.seeders,
                leechers: counts.leechers,
                snatches: counts.snatches,
                balance: self.balance,
            },
        }
    }

    /// Of what was moved: what is credited up and down, and what a token takes over.
    fn credit(&self, moved: &Counters, token: bool) -> (u64, u64, u64) {
        let up = self.times(moved.uploaded);
        match (self.terms.freeleech, token) {
            (Freeleech::Neutral, _) => (0, 0, 0),
            (Freeleech::None | Freeleech::Free, true) => (up, 0, moved.downloaded),
            (Freeleech::Free, false) => (up, 0, 0),
            (Freeleech::None, false) => (up, moved.downloaded, 0),
        }
    }

    /// Whether one more client of this user may come, where all torrents have so many.
    fn has_room(&self, user: UserId, peers: usize, limits: &Limits) -> Result<(), Refusal> {
        let clients = self.peers.keys().filter(|(whose, ..)| *whose == user);
        let clients_max = usize::from(limits.clients_max);
        if peers >= limits.peers_max {
            return Err(Refusal::PeersMax);
        }
        if clients_max > 0 && clients.count() >= clients_max {
            return Err(Refusal::ClientsMax);
        }
        Ok(())
    }

    /// The bytes that an upload counts for.
    fn times(&self, uploaded: u64) -> u64 {
        let percent = u128::from(self.terms.upload_percent);
        (u128::from(uploaded) * percent / 100).min(u128::from(fold::COUNTER_MAX)) as u64
    }
}

/// How long a peer may be silent that was told to wait so long: what it was told is kept in fifteenths of the longest
/// interval.
fn timeout(wait: Seconds, limits: &Limits) -> Seconds {
    if wait == limits.interval {
        return limits.peer_timeout;
    }
    let unit = limits.interval_max.0.div_ceil(15).max(1);
    let wait = wait.0.div_ceil(unit).clamp(1, 15) * unit;
    Seconds((limits.peer_timeout.0 + wait).saturating_sub(limits.interval.0))
}

/// What a peer was told to wait at least.
fn least(wait: Option<&Seconds>, limits: &Limits) -> Seconds {
    match wait {
        Some(wait) if *wait != limits.interval => {
            let unit = limits.interval_max.0.div_ceil(15).max(1);
            Seconds((wait.0.div_ceil(unit).clamp(1, 15) - 1) * unit)
        }
        _ => limits.interval,
    }
}

/// Whether an announce completes a download: of a client that `had` downloaded so much when it became a leecher
/// again; whether there is no copy of it.
fn completes(
    announce: &Announce,
    known: Option<&PeerRecord>,
    had: Option<u64>,
    is_of_one: bool,
    limits: &Limits,
) -> bool {
    let completed = announce.event == Event::Completed;
    let downloaded = announce.counters.downloaded;
    match (known, had) {
        _ if announce.left > 0 => false,
        (Some(known), _) if known.state == PeerState::Seeder => {
            is_of_one && known.reported.downloaded == 0 && downloaded > 0
        }
        (None, _) => limits.count_unknown && completed,
        (_, Some(had)) => downloaded > 0 && downloaded != had,
        _ => completed || downloaded > 0,
    }
}

/// Why a torrent that is not registered is not.
fn unregistered(deletion: Option<&(Arc<str>, Seconds)>, now: Seconds) -> Refusal {
    match deletion {
        Some((reason, at)) if now.since(*at).max(at.since(now)).0 <= DELETION_KEPT => {
            Refusal::Deleted { reason: reason.clone() }
        }
        _ => Refusal::Unregistered,
    }
}

/// Whether the client stays what it is: then its figures can wait for its next announce.
fn changes_figures_only(announce: &Announce, known: &PeerRecord, judged: Option<&Judged>) -> bool {
    let had_v6 = known.endpoints.v6.is_some() || announce.endpoints.v6.is_none();
    let had_v4 = known.endpoints.v4.is_some() || announce.endpoints.v4.is_none();
    let stays = known.state == becomes(announce, Some(known.state)).0 && had_v6 && had_v4;
    let stops = announce.event == Event::Stopped || judged.is_some_and(|judged| judged.stops);
    !stops && stays
}

/// Whether more of the client is new than when it was heard.
fn is_other(known: &PeerRecord, peer: &PeerRecord) -> bool {
    let PeerRecord { seen, since, announces, .. } = *known;
    PeerRecord { seen, since, announces, ..*peer } != *known
}

/// A peer as an announce leaves it; one that leaves, as it goes.
fn peer_after(
    announce: &Announce,
    known: Option<&PeerRecord>,
    judged: Option<&Judged>,
    now: Seconds,
) -> PeerRecord {
    let before = known.map_or(Endpoints::default(), |known| known.endpoints);
    let partial = known.is_some_and(|known| known.state == PeerState::PartialSeed);
    let state = match (announce.event, announce.left) {
        (Event::Stopped, 1..) if partial => PeerState::PartialSeed,
        _ => becomes(announce, known.map(|known| known.state)).0,
    };
    let seen = known.map_or(now, |known| now.not_before(known.seen, AHEAD_MAX));
    PeerRecord {
        user: announce.user.id,
        peer_id: announce.peer_id,
        key: announce.key,
        endpoints: match judged {
            Some(judged) if judged.parts => Endpoints {
                v4: before.v4.filter(|_| announce.endpoints.v4.is_none()),
                v6: before.v6.filter(|_| announce.endpoints.v6.is_none()),
            },
            Some(judged) if judged.stays => before,
            _ => announce.meets(&before),
        },
        state,
        visible: announce.left == 0
            || announce.user.can_leech && !becomes(announce, known.map(|known| known.state)).1,
        hidden: announce.user.hidden,
        reported: announce.counters,
        left: announce.left,
        since: known.map_or(now, |known| known.since.min(seen)),
        seen,
        announces: known.map_or(1, |known| known.announces + 1),
    }
}

/// A peer with what is new about its user.
fn ruled(rulings: &BTreeMap<UserId, (Ruling, u32)>, peer: &PeerRecord) -> PeerRecord {
    match rulings.get(&peer.user) {
        Some((Ruling::Rights(user), _)) => PeerRecord {
            visible: user.can_leech || peer.state == PeerState::Seeder,
            hidden: user.hidden,
            ..*peer
        },
        _ => *peer,
    }
}

/// Whether the user may begin a download.
pub fn may_download(announce: &Announce) -> bool {
    announce.user.can_leech && !announce.downloads_full
}

/// The state of the peer as its announce says it, unless it leaves.
pub fn state(announce: &Announce) -> PeerState {
    match (announce.left, announce.event) {
        (0, _) => PeerState::Seeder,
        (_, Event::Paused) => PeerState::PartialSeed,
        _ => PeerState::Leecher,
    }
}

/// The state of the peer after an announce, unless it leaves; and whether that is less than the announce says, as the
/// user's group allows no further download.
fn becomes(announce: &Announce, was: Option<PeerState>) -> (PeerState, bool) {
    let begins = state(announce) == PeerState::Leecher && was != Some(PeerState::Leecher);
    let may = !announce.downloads_full || !announce.user.can_leech;
    if begins && !may && announce.event != Event::Stopped {
        (PeerState::PartialSeed, true)
    } else {
        (state(announce), false)
    }
}

/// The endpoints of a peer that a requester can use and may be told.
pub fn usable(announce: &Announce, endpoints: &Endpoints) -> Endpoints {
    let own = announce.endpoints;
    let reach_v4 = own.address_v4().map(|v4| Scope::of_requester(v4.into()));
    let reach_v6 = own.address_v6().map(|v6| Scope::of_requester(v6.into()));
    let reach = reach_v4.max(reach_v6).unwrap_or(Scope::Public);
    let near = |address, port| Scope::of_peer(address, port) <= reach;
    Endpoints {
        v4: endpoints.v4.filter(|v4| announce.families.v4 && near(v4.address.into(), v4.port)),
        v6: endpoints.v6.filter(|v6| announce.families.v6 && near(v6.address.into(), v6.port)),
    }
}
