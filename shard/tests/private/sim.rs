//! An engine and its model side by side, with a clock, a journal and snapshots.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use shard::private::model::{Client, Model, Ruling};
use shard::private::{
    Announce, Cursor, Fact, Facts, Gone, Limits, Names, Outcome, PeerRecord, Piece, Refusal, Stamp,
    Swarms, Terms, TorrentRecord, User, UserId,
};
use shard::{InfoHash, PeerState, Reply, Seconds};

use crate::check;

/// Everything that happens goes to the engine and to its model, and what they answer must agree.
pub(crate) struct Sim {
    pub(crate) now: Seconds,
    pub(crate) random: fastrand::Rng,
    pub(crate) limits: Limits,
    pub(crate) engine: Swarms,
    pub(crate) model: Model,
    journal: Vec<Record>,
    /// The snapshot being made: the journal's length when it was begun, and how far it has come.
    making: Option<(usize, Cursor, Vec<Piece>)>,
    /// The last one that was finished.
    snapshot: Option<(usize, Vec<Piece>)>,
    /// Not all that changed has made facts.
    postponed: bool,
    /// When each peer was seen, by the clock of then.
    seen: HashSet<(InfoHash, Client, Seconds)>,
    /// The clock at the last announce, and whether it was ever put back.
    last: Seconds,
    put_back: bool,
    reply: Reply,
    expected: Reply,
}

/// What a journal holds.
#[derive(Clone)]
enum Record {
    Fact(Box<Fact>),
    Gone(Gone),
    Registered(InfoHash, Terms),
    Second(InfoHash, Option<InfoHash>),
    Unregistered(InfoHash, String, Seconds),
    Token(UserId, InfoHash, Option<Seconds>),
    TokenRemoved(UserId, InfoHash),
    UserRemoved(UserId),
    UserRights(User),
}

impl Sim {
    pub(crate) fn new(seed: u64, limits: Limits) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let now = Seconds(1_700_000_000 + random.u32(..1_000_000));
        let engine = Swarms::new(random.u64(..), limits);
        let model = Model::new(limits);
        let (journal, making, snapshot) = Default::default();
        let (reply, expected) = (Reply::default(), Reply::default());
        let (postponed, put_back, last) = (false, false, now);
        let seen = HashSet::new();
        Self {
            now,
            random,
            limits,
            engine,
            model,
            journal,
            making,
            snapshot,
            postponed,
            seen,
            last,
            put_back,
            reply,
            expected,
        }
    }

    /// One announce to both; everything they say of it and of its swarm is compared.
    pub(crate) fn announce(&mut self, announce: &Announce) -> (Result<Outcome, Refusal>, &Reply) {
        if self.random.u8(..4) == 0 {
            let seed = self.random.u64(..);
            self.engine.warm(&[*announce], &[seed]);
        }
        self.put_back |= self.now < self.last;
        self.last = self.now;
        let was_narrow = self.is_wide(announce) == Some(false);
        let done = self.engine.announce(announce, self.now, &mut self.random, &mut self.reply);
        let expected = self.model.announce(announce, self.now, &mut self.expected);
        assert_eq!(done, expected, "{announce:?}");
        assert_eq!(self.reply.counts, self.expected.counts, "{announce:?}");
        let first = self.model.first(announce.info_hash);
        self.take_succeeded(&first);
        match &done {
            Err(_) => assert_eq!(self.reply, Reply::default(), "a refusal tells nobody anything"),
            Ok(outcome) => {
                if let Some(fact) = outcome.fact {
                    self.journal.push(Record::Fact(Box::new(fact)));
                }
                let peers = &self.model.torrents[&first].peers;
                let client = check::client(announce);
                if let Some(peer) = peers.get(&client) {
                    self.seen.insert((first, client, peer.seen));
                }
                let peers = peers.len();
                // The model takes its time with large swarms.
                if peers < 500 || self.random.u8(..16) == 0 {
                    let refused = outcome.refusal().is_some();
                    let counted = self.model.counted.unwrap_or(*announce);
                    let is_new = outcome.was.is_none()
                        || (was_narrow && self.is_wide(announce) == Some(true));
                    let (postponed, reply) = (self.postponed, &self.reply);
                    check::peers(&self.model, &counted, is_new, refused, postponed, reply);
                    let scraped = self.engine.scrape(&announce.info_hash);
                    assert_eq!(scraped, self.model.scrape(&announce.info_hash));
                    self.check_one(announce, outcome);
                }
            }
        }
        (done, &self.reply)
    }

    /// Whether the client of an announce is known with addresses of both families; `None` when it is not known.
    fn is_wide(&self, announce: &Announce) -> Option<bool> {
        let torrent = self.model.torrents.get(&self.model.first(announce.info_hash))?;
        let endpoints = &torrent.peers.get(&check::client(announce))?.endpoints;
        Some(endpoints.v4.is_some() && endpoints.v6.is_some())
    }

    /// Those whose endpoint was taken over, by the last announce.
    fn take_succeeded(&mut self, info_hash: &InfoHash) {
        let gone = std::mem::take(self.engine.succeeded());
        let expected = std::mem::take(&mut self.model.succeeded);
        let names = |peers: &[PeerRecord]| -> BTreeSet<_> {
            peers.iter().map(|peer| (client(peer), peer.state as u8)).collect()
        };
        let found = gone.iter().map(|gone| ((gone.user, gone.peer_id, gone.key), gone.state as u8));
        assert_eq!(found.collect::<BTreeSet<_>>(), names(&expected));
        assert!(gone.iter().all(|gone| gone.info_hash == *info_hash && gone.at == self.now));
        self.journal.extend(gone.into_iter().map(Record::Gone));
    }

    /// A peer that is in a small swarm can be seen there, with its figures.
    fn check_one(&self, announce: &Announce, outcome: &Outcome) {
        let first = self.model.first(announce.info_hash);
        let is = self.model.torrents[&first].peers.get(&check::client(announce));
        assert_eq!(is.map(|peer| peer.state), outcome.is);
        let kept = self.to_be_kept(&first);
        let known = kept.get(&check::client(announce));
        let (_, seen) = self.engine.swarm(&announce.info_hash, 500).unwrap();
        if seen.len() < 500 {
            let found = seen.iter().find(|peer| client(peer) == check::client(announce));
            assert_eq!(found, known);
        }
    }

    pub(crate) fn register(&mut self, info_hash: InfoHash, terms: Terms) {
        let done = self.engine.register(info_hash, terms);
        assert_eq!(done, self.model.register(info_hash, terms));
        if done.is_ok() {
            self.journal.push(Record::Registered(info_hash, terms));
        }
    }

    /// A torrent is given a second name, or it is taken back.
    pub(crate) fn set_second(&mut self, info_hash: &InfoHash, second: Option<InfoHash>) {
        let done = self.engine.set_second(info_hash, second);
        assert_eq!(done, self.model.set_second(info_hash, second));
        if done.is_ok() {
            self.journal.push(Record::Second(*info_hash, second));
        }
    }

    /// Who left with the torrent comes out of this call and of sweeps.
    pub(crate) fn unregister(&mut self, info_hash: &InfoHash, reason: &str) {
        if self.model.torrents.get(info_hash).is_some_and(|torrent| torrent.peers.len() > 128) {
            // So that then nobody else leaves while time stands still.
            (0..3).for_each(|_| self.expire(1000));
        }
        let mut gone = Vec::new();
        let terms = self.engine.unregister(info_hash, reason, self.now, &mut gone);
        let expected = self.model.unregister(info_hash, reason, self.now);
        assert_eq!(terms, expected.as_ref().map(|(terms, _)| *terms));
        let Some((_, expected)) = expected else { return };
        self.journal.push(Record::Unregistered(*info_hash, reason.into(), self.now));
        assert_eq!(self.engine.scrape(info_hash), None);
        assert!(gone.len() >= expected.len().min(128), "{} at once", gone.len());
        assert!(gone.len() < 512, "{} at once", gone.len());
        let budget = 1 + self.random.usize(..500);
        let mut steps = 0;
        while gone.len() < expected.len() {
            self.engine.expire(Seconds(0), budget, &mut gone);
            steps += 1;
            assert!(steps < 10_000, "{} of {}", gone.len(), expected.len());
        }
        assert_eq!(sorted(gone), sorted(expected));
        if steps > 0 {
            let mut gone = Vec::new();
            while !self.engine.expire(Seconds(0), budget, &mut gone).finished {}
            assert_eq!(gone, []);
        }
    }

    pub(crate) fn set_token(&mut self, user: UserId, info_hash: &InfoHash, at: Option<Seconds>) {
        let done = self.engine.set_token(user, info_hash, at);
        let torrent = self.model.torrents.get_mut(info_hash);
        assert_eq!(done, torrent.is_some());
        if let Some(torrent) = torrent {
            torrent.tokens.insert(user, at);
            self.journal.push(Record::Token(user, *info_hash, at));
        }
    }

    pub(crate) fn remove_token(&mut self, user: UserId, info_hash: &InfoHash) {
        let known = self.engine.has_token(user, info_hash, self.now);
        let done = self.engine.remove_token(user, info_hash);
        // One that is over may have been swept.
        assert!(done || !known);
        if let Some(torrent) = self.model.torrents.get_mut(info_hash) {
            torrent.tokens.remove(&user);
        }
        self.journal.push(Record::TokenRemoved(user, *info_hash));
    }

    pub(crate) fn remove_user(&mut self, user: UserId) {
        self.engine.remove_user(user);
        self.model.remove_user(user);
        self.journal.push(Record::UserRemoved(user));
    }

    pub(crate) fn set_user_rights(&mut self, user: User) {
        self.engine.set_user_rights(user);
        self.model.set_user_rights(user);
        self.journal.push(Record::UserRights(user));
    }

    /// A whole sweep, in steps of `budget`, after the one that is under way.
    pub(crate) fn expire(&mut self, budget: usize) {
        self.end_sweep();
        let mut gone = Vec::new();
        while !self.engine.expire(self.now, budget, &mut gone).finished {}
        self.journal.extend(gone.iter().copied().map(Record::Gone));
        let expected = self.model.expire(self.now);
        // What is said last of a torrent is what it is then.
        let last: BTreeMap<_, _> = gone.iter().map(|gone| (gone.info_hash, gone)).collect();
        for (info_hash, gone) in last {
            let (swarm, counts) = (gone.swarm.unwrap(), self.model.counts(&info_hash).unwrap());
            let found = (swarm.seeders, swarm.leechers, swarm.snatches, swarm.balance);
            let balance = self.model.torrents[&info_hash].balance;
            assert_eq!(found, (counts.seeders, counts.leechers, counts.snatches, balance));
            assert_eq!(gone.at, self.now);
        }
        assert_eq!(sorted(gone), sorted(expected));
        self.check_all();
    }

    fn end_sweep(&mut self) {
        for _ in 0..100_000 {
            if self.expire_some() {
                return;
            }
        }
        panic!("a sweep has no end");
    }

    /// The journal is full, or has room again.
    pub(crate) fn switch_facts(&mut self) {
        let facts = match self.limits.facts {
            Facts::All => return,
            Facts::Changed => Facts::Postponed,
            Facts::Postponed | Facts::Refused => Facts::Changed,
        };
        self.postponed = true;
        self.limits.facts = facts;
        self.engine.set_limits(self.limits);
        self.model.limits = self.limits;
    }

    /// One step of a sweep, with announces before and after it.
    pub(crate) fn expire_some(&mut self) -> bool {
        let (budget, mut gone) = (1 + self.random.usize(..200), Vec::new());
        let swept = self.engine.expire(self.now, budget, &mut gone);
        assert_eq!(swept.peers, gone.len());
        for gone in gone {
            let peers = &self.model.torrents[&gone.info_hash].peers;
            let peer = &peers[&(gone.user, gone.peer_id, gone.key)];
            assert_eq!(peer.state, gone.state);
            assert!(
                self.model.leaves(&gone.info_hash, peer, self.now),
                "{gone:?} was there to stay"
            );
            self.model.part(&gone);
            self.journal.push(Record::Gone(gone));
        }
        if swept.finished {
            self.model.end_sweep();
        }
        swept.finished
    }

    /// Goes on with the snapshot, or begins one; false when it is finished.
    pub(crate) fn export_some(&mut self) -> bool {
        let begin = (self.journal.len(), Cursor::default(), Vec::new());
        let (from, cursor, pieces) = self.making.get_or_insert(begin);
        let peers_max = 1 + self.random.usize(..300);
        let mut piece = Piece::default();
        let finished = self.engine.export(cursor, peers_max, &mut piece);
        assert!(piece.records() <= peers_max + 256, "{} of {peers_max}", piece.records());
        pieces.push(piece);
        if finished {
            self.snapshot = Some((*from, std::mem::take(pieces)));
            self.making = None;
        }
        !finished
    }

    /// The process dies, and comes back from its last snapshot and the journal.
    pub(crate) fn restart(&mut self) {
        self.making = None;
        self.engine = Swarms::new(self.random.u64(..), self.limits);
        self.model.restart();
        let (from, pieces) = self.snapshot.clone().unwrap_or_default();
        pieces.iter().for_each(|piece| import(&mut self.engine, piece));
        let tail = self.journal.split_off(from);
        tail.iter().for_each(|record| self.replay(record));
        // Rulings that had come to their end are there again.
        for record in &tail {
            match record {
                Record::UserRights(user) => self.model.set_user_rights(*user),
                Record::UserRemoved(user) => self.model.remove_user(*user),
                _ => {}
            }
        }
        self.journal.extend(tail);
        match self.limits.facts {
            // Every announce made a fact: the same is there, but for those who had left silently.
            Facts::All => {
                (0..3).for_each(|_| self.both_expire());
                self.compare_names();
                self.check_all();
            }
            Facts::Changed | Facts::Postponed | Facts::Refused => self.compare_baselines(),
        }
    }

    fn replay(&mut self, record: &Record) {
        let engine = &mut self.engine;
        match record {
            Record::Fact(fact) => {
                let (was, is) = engine.replay(fact);
                let registered = engine.terms(&fact.info_hash).is_some();
                assert!(was.is_some() || is.is_some() || !fact.active || !registered);
            }
            Record::Gone(gone) => {
                engine.replay_gone(gone);
                let (user, peer_id, key) = (gone.user, gone.peer_id, gone.key);
                let peers = engine.swarm(&gone.info_hash, usize::MAX).map(|(_, peers)| peers);
                let is_it = |peer: &PeerRecord| client(peer) == (user, peer_id, key);
                assert!(!peers.unwrap_or_default().iter().any(is_it));
            }
            Record::Registered(info_hash, terms) => {
                engine.register(*info_hash, *terms).unwrap();
            }
            Record::Second(first, second) => engine.set_second(first, *second).unwrap(),
            Record::Unregistered(info_hash, reason, at) => {
                engine.unregister(info_hash, reason, *at, &mut Vec::new());
                engine.set_deletion(*info_hash, reason, *at);
            }
            Record::Token(user, info_hash, at) => _ = engine.set_token(*user, info_hash, *at),
            Record::TokenRemoved(user, info_hash) => _ = engine.remove_token(*user, info_hash),
            Record::UserRemoved(user) => engine.remove_user(*user),
            Record::UserRights(user) => engine.set_user_rights(*user),
        }
    }

    /// Announces that changed nothing are lost with the process, and who has left silently may be back;
    /// but everybody is there, with his baseline. From here on the model is what the engine is.
    fn compare_baselines(&mut self) {
        let found = torrents(&pieces(&mut self.engine, 100));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            self.model.torrents.keys().collect::<Vec<_>>()
        );
        for (info_hash, expected) in &self.model.torrents {
            let (record, peers) = &found[info_hash];
            assert_eq!(record.terms, expected.terms);
            assert_eq!((record.balance, record.snatches), (expected.balance, expected.snatches));
            for (client, expected) in &self.to_be_kept(info_hash) {
                let found = peers.get(client).unwrap_or_else(|| panic!("lost: {expected:?}"));
                // Or it was seen by a clock that was put back after the fact.
                assert!(found.seen <= expected.seen || self.put_back, "{found:?} {expected:?}");
                assert!(self.seen.contains(&(*info_hash, *client, found.seen)), "{found:?}");
                assert!(found.announces <= expected.announces);
                // A clock that was put back moves `since` too, which alone makes no fact.
                let PeerRecord { seen, since, announces, .. } = *found;
                // Written by the sweep, from changes that are in the journal as well.
                let PeerRecord { visible, hidden, .. } = *found;
                let mut expected =
                    PeerRecord { seen, since, announces, visible, hidden, ..*expected };
                if self.postponed {
                    let PeerRecord { left, endpoints, .. } = *found;
                    expected = PeerRecord { left, endpoints, ..expected };
                }
                assert_eq!(*found, expected);
            }
        }
        for (info_hash, (_, peers)) in found {
            self.model.torrents.get_mut(&info_hash).unwrap().peers = peers;
        }
        (0..3).for_each(|_| self.both_expire());
        for (info_hash, torrent) in &mut self.model.torrents {
            let (_, peers) = self.engine.swarm(info_hash, usize::MAX).unwrap();
            torrent.peers = peers.into_iter().map(|peer| (client(&peer), peer)).collect();
        }
        self.compare_names();
        self.check_all();
    }

    /// By which names everybody is there, who is there; where not all of it made facts, from here on as the engine
    /// says.
    fn compare_names(&mut self) {
        let found = names(&pieces(&mut self.engine, 100));
        for (info_hash, torrent) in &mut self.model.torrents {
            torrent.names.retain(|client, _| torrent.peers.contains_key(client));
            let of_torrent = |((first, client), names): (&(InfoHash, Client), &Names)| {
                (first == info_hash).then_some((*client, *names))
            };
            let found: BTreeMap<Client, Names> = found.iter().filter_map(of_torrent).collect();
            if !self.postponed {
                let by_second = torrent.names.iter().filter(|(_, names)| names.second);
                for (client, expected) in by_second {
                    assert_eq!(found.get(client), Some(expected));
                }
            }
            torrent.names = found;
        }
    }

    /// Peers with what is new about their users, which the sweep has still to write.
    fn to_be_kept(&self, info_hash: &InfoHash) -> BTreeMap<Client, PeerRecord> {
        let mut peers = self.model.torrents[info_hash].peers.clone();
        peers.retain(|_, peer| match self.model.rulings.get(&peer.user) {
            None => true,
            Some((Ruling::Gone, _)) => false,
            Some((Ruling::Rights(user), _)) => {
                peer.visible = user.can_leech || peer.state == PeerState::Seeder;
                peer.hidden = user.hidden;
                true
            }
        });
        peers
    }

    fn both_expire(&mut self) {
        let mut gone = Vec::new();
        while !self.engine.expire(self.now, 100, &mut gone).finished {}
        // Who left with a torrent that was unregistered is not said again.
        gone.retain(|gone| gone.swarm.is_some());
        self.journal.extend(gone.into_iter().map(Record::Gone));
        self.model.expire(self.now);
    }

    /// Totals, and everything that would be in a snapshot.
    pub(crate) fn check_all(&mut self) {
        let (totals, expected) = (self.engine.totals(), self.model.totals());
        assert_eq!((totals.torrents, totals.peers), (expected.torrents, expected.peers));
        assert_eq!((totals.seeders, totals.leechers), (expected.seeders, expected.leechers));
        // A snapshot that is being made goes on where it was: to look at everything would end what holds
        // its place.
        if self.making.is_some() {
            return;
        }
        let peers_max = 1 + self.random.usize(..200);
        let pieces = pieces(&mut self.engine, peers_max);
        let (found, named) = (torrents(&pieces), names(&pieces));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            self.model.torrents.keys().collect::<Vec<_>>()
        );
        for (info_hash, expected) in &self.model.torrents {
            let (record, peers) = &found[info_hash];
            assert_eq!(record.terms, expected.terms);
            assert_eq!((record.balance, record.snatches), (expected.balance, expected.snatches));
            let kept = self.to_be_kept(info_hash);
            assert_eq!(*peers, kept, "{info_hash}");
            let by_second = |(client, names): (&Client, &Names)| {
                (*names != Names::FIRST && kept.contains_key(client)).then_some((*client, *names))
            };
            let expected_names: BTreeMap<_, _> =
                expected.names.iter().filter_map(by_second).collect();
            let found_names = named.iter().filter(|((first, _), _)| first == info_hash);
            let found_names: BTreeMap<_, _> =
                found_names.map(|((_, client), names)| (*client, *names)).collect();
            assert_eq!(found_names, expected_names);
            assert_eq!(self.engine.second(info_hash), expected.second);
            for name in [Some(*info_hash), expected.second].into_iter().flatten() {
                assert_eq!(self.engine.scrape(&name), self.model.scrape(&name));
                assert_eq!(self.engine.counts(&name), self.model.counts(&name));
            }
            for (user, expires_at) in &expected.tokens {
                let over = expires_at.is_some_and(|at| at <= self.now);
                assert_eq!(self.engine.has_token(*user, info_hash, self.now), !over);
            }
        }
        for (info_hash, (reason, at)) in &self.model.deletions {
            let told = self.now.since(*at) <= Seconds(86_400);
            let expected = told.then(|| reason.clone());
            assert_eq!(self.engine.deletion(info_hash, self.now), expected);
        }
    }
}

/// Everything of a piece, into an engine that owns all torrents.
pub(crate) fn import(engine: &mut Swarms, piece: &Piece) {
    let (mut peers, mut tokens) = (piece.peers.iter(), piece.tokens.iter());
    for record in &piece.torrents {
        let peers = peers.by_ref().take(record.peers as usize).copied();
        let tokens = tokens.by_ref().take(record.tokens as usize).copied();
        engine.import(record, peers, tokens).unwrap();
    }
    assert_eq!((peers.next(), tokens.next()), (None, None));
    for (first, second) in &piece.hybrids {
        engine.set_second(first, Some(*second)).unwrap();
    }
    piece.named.iter().for_each(|named| engine.import_names(named));
    for deletion in &piece.deletions {
        engine.set_deletion(deletion.info_hash, &deletion.reason, deletion.at);
    }
}

/// A whole export.
pub(crate) fn pieces(engine: &mut Swarms, peers_max: usize) -> Vec<Piece> {
    let (mut cursor, mut pieces, mut finished) = (Cursor::default(), Vec::new(), false);
    while !finished {
        let mut piece = Piece::default();
        finished = engine.export(&mut cursor, peers_max, &mut piece);
        pieces.push(piece);
    }
    pieces
}

type Torrents = BTreeMap<InfoHash, (TorrentRecord, BTreeMap<Client, PeerRecord>)>;

/// What is in the pieces of an export.
pub(crate) fn torrents(pieces: &[Piece]) -> Torrents {
    let mut torrents = Torrents::new();
    for piece in pieces {
        let mut peers = piece.peers.iter();
        for record in &piece.torrents {
            let torrent = torrents.entry(record.info_hash).or_insert((*record, BTreeMap::new()));
            torrent.0 = *record;
            let peers = peers.by_ref().take(record.peers as usize);
            torrent.1.extend(peers.map(|peer| (client(peer), *peer)));
        }
    }
    torrents
}

/// Who is not there by the first name of a torrent alone.
fn names(pieces: &[Piece]) -> BTreeMap<(InfoHash, Client), Names> {
    let named = pieces.iter().flat_map(|piece| &piece.named);
    named.map(|one| ((one.info_hash, (one.user, one.peer_id, one.key)), one.names)).collect()
}

pub(crate) fn client(peer: &PeerRecord) -> Client {
    (peer.user, peer.peer_id, peer.key)
}

/// In one order, and without what depends on the steps of the sweep.
fn sorted(mut gone: Vec<Gone>) -> Vec<Gone> {
    let plain = (Seconds(0), Stamp::default(), None);
    gone.iter_mut().for_each(|gone| (gone.at, gone.stamp, gone.swarm) = plain);
    gone.sort_by_key(|gone| (gone.info_hash, gone.user, gone.peer_id, gone.key));
    gone
}
