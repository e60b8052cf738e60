//! A tracker that is started again knows what the one knew that never stopped.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use shard::private::{
    Announce, Counters, Endpoint, Endpoints, Facts, Freeleech, GroupId, Limits, PeerId, PeerRecord,
    Swarm, Terms, TokenRecord, TorrentId, TorrentRecord,
};
use shard::{Event, Families, Reply};

use super::*;
use crate::journal::{Journal, Options, random};
use crate::scratch::Scratch;
use crate::{Covered, DataDir, Meta, Mode, Snapshot, SnapshotWriter};

/// So long that nobody times out: a peer that has timed out comes back with a restart, to time out again.
const PEER_TIMEOUT: Seconds = Seconds(10_000_000);
const START: Seconds = Seconds(1_800_000_000);

/// A tracker with its site, its clients and its journal.
struct World {
    rng: Rng,
    now: Seconds,
    swarms: Swarms,
    facts: Facts,
    users: BTreeMap<UserId, User>,
    rules: u32,
    torrents: Vec<InfoHash>,
    clients: Vec<Announce>,
    journal: Journal,
    /// The records that the journal has not got yet.
    outgoing: Vec<Record>,
    dir: DataDir,
    scratch: Scratch,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let scratch = Scratch::new();
        let dir = DataDir::open(scratch.path()).unwrap();
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let journal = Journal::open(&dir, options).unwrap();
        let facts = [Facts::Changed, Facts::All][rng.usize(..2)];
        let mut world = Self {
            swarms: Swarms::new(seed, limits(facts)),
            now: START,
            facts,
            users: BTreeMap::new(),
            rules: 0,
            torrents: (0..rng.u8(1..12)).map(|n| InfoHash([n.wrapping_mul(37); 20])).collect(),
            clients: Vec::new(),
            journal,
            outgoing: Vec::new(),
            dir,
            scratch,
            rng,
        };
        (0..world.torrents.len()).for_each(|torrent| world.register(torrent));
        (0..20).for_each(|id| world.put_user(id));
        // One large torrent, so that it is exported in several pieces.
        for _ in 0..world.rng.usize(10..400) {
            let client = world.client();
            world.clients.push(client);
        }
        world
    }

    fn change(&mut self, change: Change) {
        self.outgoing.push(random::said(change));
    }

    fn register(&mut self, torrent: usize) {
        let info_hash = self.torrents[torrent];
        let terms = Terms {
            id: TorrentId(torrent as u32),
            freeleech: [Freeleech::None, Freeleech::Free, Freeleech::Neutral][self.rng.usize(..3)],
            upload_percent: [100, 200][self.rng.usize(..2)],
        };
        self.swarms.register(info_hash, terms).unwrap();
        let Terms { id, freeleech, upload_percent } = terms;
        let info_hash_v2 = None;
        self.change(Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent });
    }

    fn put_user(&mut self, id: u32) {
        let group = self.rng.bool().then_some(GroupId(3));
        let (can_leech, hidden) = (self.rng.bool(), self.rng.bool());
        let user = User { id: UserId(id), can_leech, hidden, group };
        self.users.insert(user.id, user);
        self.swarms.set_user_rights(user);
        let (passkey, _) = crate::pieces::private::user(&mut self.rng);
        let User { id, can_leech, hidden, group } = user;
        self.change(Change::User { id, passkey, can_leech, hidden, enabled: true, group });
    }

    fn remove_user(&mut self, id: UserId) {
        let Some(User { can_leech, hidden, group, .. }) = self.users.remove(&id) else { return };
        self.swarms.remove_user(id);
        let (passkey, _) = crate::pieces::private::user(&mut self.rng);
        self.change(Change::User { id, passkey, can_leech, hidden, enabled: false, group });
    }

    fn client(&mut self) -> Announce {
        let torrent = if self.rng.bool() { 0 } else { self.rng.usize(..self.torrents.len()) };
        let users: Vec<_> = self.users.values().copied().collect();
        // A client that keeps its key.
        let mut peer_id = *b"-qB4520-............";
        peer_id[8..].fill_with(|| self.rng.u8(b'a'..=b'z'));
        Announce {
            info_hash: self.torrents[torrent],
            user: users[self.rng.usize(..users.len())],
            peer_id: PeerId(peer_id),
            key: self.rng.u32(..2),
            endpoints: Endpoints {
                v6: self.rng.bool().then(|| Endpoint {
                    address: self.rng.u128(..).into(),
                    port: self.rng.u16(..2),
                }),
                ..Endpoints::new(Some(self.rng.u32(..).into()), None, self.rng.u16(..2))
            },
            counters: Counters::default(),
            left: 1000,
            event: Event::Started,
            numwant: 0,
            families: Families { v4: true, v6: true },
            assumed: Families::default(),
            interval: Seconds(1800),
            downloads_full: self.rng.u8(..10) == 0,
        }
    }

    fn announce(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        let Some(user) = self.users.get(&client.user.id) else {
            self.clients[at] = self.client();
            return;
        };
        client.user = *user;
        if self.rng.bool() {
            client.counters.uploaded += self.rng.u64(..) >> self.rng.u32(20..64);
            client.counters.downloaded += self.rng.u64(..) >> self.rng.u32(20..64);
            client.counters.corrupt += u64::from(self.rng.u8(..20) == 0);
        }
        client.event = match self.rng.u8(..20) {
            0 => Event::Stopped,
            1 => Event::Paused,
            2 => Event::Completed,
            3 => Event::Started,
            _ => Event::None,
        };
        match client.event {
            Event::Completed => client.left = 0,
            // Under a new name, as most clients do. What the engine remembers of one that begins anew within
            // moments under its old name is lost with a restart.
            Event::Started => {
                client.peer_id.0[8..].fill_with(|| self.rng.u8(b'a'..=b'z'));
                (client.left, client.counters) = (1000, Counters::default());
            }
            _ => {}
        }
        let announce = *client;
        let mut reply = Reply::default();
        let outcome = self.swarms.announce(&announce, self.now, &mut self.rng, &mut reply);
        self.outgoing.extend(self.swarms.succeeded().drain(..).map(Record::Gone));
        if let Ok(outcome) = outcome {
            self.outgoing.extend(outcome.fact.map(Record::Fact));
        }
    }

    fn step(&mut self) {
        self.now = self.now + Seconds(self.rng.u32(..20));
        match self.rng.u8(..100) {
            0..=1 => {
                let torrent = self.rng.usize(..self.torrents.len());
                let info_hash = self.torrents[torrent];
                let mut gone = Vec::new();
                let terms = self.swarms.unregister(&info_hash, "Trump", self.now, &mut gone);
                if let Some(Terms { id, .. }) = terms {
                    let (reason, at) = ("Trump".to_owned(), self.now);
                    self.change(Change::TorrentRemoved { id, info_hash, reason, at });
                }
            }
            2..=6 => {
                let torrent = self.rng.usize(..self.torrents.len());
                self.register(torrent);
            }
            7..=9 => {
                let id = self.rng.u32(..20);
                if self.users.contains_key(&UserId(id)) {
                    self.put_user(id);
                }
            }
            10 => {
                let id = UserId(self.rng.u32(..20));
                if self.users.len() > 1 {
                    self.remove_user(id);
                }
            }
            11..=15 => self.change_token(),
            16 => {
                self.rules += 1;
                let (prefix, allow) = crate::pieces::private::rule(&mut self.rng);
                self.change(Change::ClientRule { prefix, allow });
            }
            17..=20 => {
                let mut gone = Vec::new();
                self.swarms.expire(self.now, 50, &mut gone);
                let left = gone.into_iter().filter(|gone| gone.swarm.is_some());
                self.outgoing.extend(left.map(Record::Gone));
            }
            21..=40 => self.hand_over(),
            _ => self.announce(),
        }
    }

    fn change_token(&mut self) {
        let torrent = self.rng.usize(..self.torrents.len());
        let (info_hash, user) = (self.torrents[torrent], UserId(self.rng.u32(..20)));
        let Some(Terms { id: torrent, .. }) = self.swarms.terms(&info_hash) else { return };
        if self.rng.bool() {
            let expires_at = self.rng.bool().then_some(self.now + Seconds(1 << 20));
            self.swarms.set_token(user, &info_hash, expires_at);
            self.change(Change::Token { user, torrent, info_hash, expires_at });
        } else {
            self.swarms.remove_token(user, &info_hash);
            self.change(Change::TokenRemoved { user, torrent, info_hash });
        }
    }

    /// Hands what has happened to the journal.
    fn hand_over(&mut self) {
        self.journal.append(&self.outgoing).unwrap();
        self.outgoing.clear();
        self.journal.sync().unwrap();
    }

    /// A snapshot, while the tracker goes on.
    fn snapshot(&mut self) -> Covered {
        if self.rng.bool() {
            self.hand_over();
        }
        let covered = Covered { journal: self.journal.id(), position: self.journal.durable() };
        let meta = Meta {
            written_at: self.now,
            interval: Seconds(1800),
            peer_timeout: PEER_TIMEOUT,
            mode: Mode::Private(covered),
        };
        let mut writer = SnapshotWriter::create(&self.dir, meta).unwrap();
        let (mut cursor, mut piece) = (Cursor::default(), Piece::default());
        loop {
            piece.clear();
            let finished = self.swarms.export(&mut cursor, 20, &mut piece);
            writer.append_private(&piece).unwrap();
            if finished {
                break;
            }
            (0..self.rng.usize(..10)).for_each(|_| self.step());
        }
        self.hand_over();
        writer.finish().unwrap();
        covered
    }

    /// The tracker started again with so many cores.
    fn restart(&mut self, cores: u32) -> Vec<Swarms> {
        let snapshot = Snapshot::open_newest(&self.dir).unwrap().unwrap();
        let from = snapshot.replay_from(self.journal.id()).unwrap();
        let (to, dir) = (self.journal.durable(), self.scratch.path().join("journal"));
        let mut rules = 0;
        let cores = (0..cores).map(|core| {
            let owns = |info_hash: &InfoHash| info_hash.prefix() % cores == core;
            let mut swarms = Swarms::new(core.into(), limits(self.facts));
            let restored = snapshot.restore_private(owns, &mut swarms).unwrap();
            let count = |change: &Change| {
                rules += u32::from(core == 0 && matches!(change, Change::ClientRule { .. }));
            };
            let replayed =
                replay_tail(&dir, (from, to), owns, &mut swarms, count, self.now).unwrap();
            assert_eq!((restored.refused, replayed.refused), (0, 0));
            assert_eq!(replayed.records, to - from);
            swarms
        });
        let cores = cores.collect();
        assert!(rules <= self.rules);
        cores
    }
}

fn limits(facts: Facts) -> Limits {
    Limits {
        torrents_max: 1000,
        peers_max: 100_000,
        clients_max: 0,
        peer_timeout: PEER_TIMEOUT,
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 1000,
        facts,
    }
}

/// All that a tracker knows.
#[derive(PartialEq, Debug, Default)]
struct Known {
    torrents: BTreeMap<InfoHash, TorrentRecord>,
    peers: BTreeMap<(InfoHash, UserId, PeerId, u32), PeerRecord>,
    tokens: BTreeMap<(InfoHash, UserId), TokenRecord>,
    deletions: BTreeSet<(InfoHash, String, Seconds)>,
    doing: BTreeMap<UserId, (usize, usize)>,
}

impl Known {
    /// All that is left when the users are known and the sweeps have been everywhere.
    fn of(
        cores: &mut [Swarms],
        users: &BTreeMap<UserId, User>,
        now: Seconds,
        facts: Facts,
    ) -> Self {
        let mut known = Known::default();
        for swarms in cores {
            let count = |user, [seeding, partial, leeching]: [usize; 3]| {
                let doing = known.doing.entry(user).or_default();
                *doing = (doing.0 + seeding, doing.1 + partial + leeching);
            };
            settle(swarms, |id| users.get(&id).copied(), count);
            for _ in 0..20 {
                swarms.expire(now, 100_000, &mut Vec::new());
            }
            let mut piece = Piece::default();
            let mut cursor = Cursor::default();
            while !swarms.export(&mut cursor, 100_000, &mut piece) {}
            known.add(&piece, facts);
        }
        known
    }

    fn add(&mut self, piece: &Piece, facts: Facts) {
        let (mut peers, mut tokens) = (piece.peers.iter(), piece.tokens.iter());
        for torrent in &piece.torrents {
            let name = torrent.info_hash;
            for peer in peers.by_ref().take(torrent.peers as usize) {
                let mut peer = *peer;
                if facts == Facts::Changed {
                    // Announces that changed nothing make no fact.
                    (peer.seen, peer.announces) = (Seconds(0), 0);
                }
                self.peers.insert((name, peer.user, peer.peer_id, peer.key), peer);
            }
            for token in tokens.by_ref().take(torrent.tokens as usize) {
                self.tokens.insert((name, token.user), *token);
            }
            self.torrents.insert(name, *torrent);
        }
        for deletion in &piece.deletions {
            let reason = deletion.reason.to_string();
            self.deletions.insert((deletion.info_hash, reason, deletion.at));
        }
    }
}

#[test]
fn a_restart_neither_loses_nor_doubles_anything() {
    let seeds = match std::env::var("MARGAY_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1,
        Err(_) => 0..150,
    };
    for seed in seeds {
        let mut world = World::new(seed);
        (0..world.rng.usize(..1500)).for_each(|_| world.step());
        world.snapshot();
        (0..world.rng.usize(..1500)).for_each(|_| world.step());
        world.hand_over();

        let (now, facts, users) = (world.now, world.facts, world.users.clone());
        let mut once = world.restart(1);
        let mut thrice = world.restart(3);
        let expected = Known::of(std::slice::from_mut(&mut world.swarms), &users, now, facts);
        for cores in [&mut once, &mut thrice] {
            let found = Known::of(cores, &users, now, facts);
            assert_eq!(found, expected, "MARGAY_TEST_SEED={seed}");
        }
    }
}

#[test]
fn credit_goes_on_where_it_was() {
    for seed in 1000..1050 {
        let mut world = World::new(seed);
        (0..world.rng.usize(..800)).for_each(|_| world.step());
        world.snapshot();
        (0..world.rng.usize(..800)).for_each(|_| world.step());
        world.hand_over();
        let mut again = world.restart(1).remove(0);
        // What is remembered of moments is lost with a restart, and is over by then.
        world.now = world.now + Seconds(120);
        // The next announce of everybody is worth the same to both.
        for mut client in world.clients.clone() {
            let Some(user) = world.users.get(&client.user.id) else { continue };
            client.user = *user;
            client.counters.uploaded += 5_000_000;
            client.event = Event::None;
            let mut reply = Reply::default();
            let mut credited = |swarms: &mut Swarms| {
                let outcome = swarms.announce(&client, world.now, &mut world.rng, &mut reply);
                outcome.map(|outcome| {
                    let fact = outcome.fact.expect("something has changed");
                    // Not the counts: peers of users who are gone may have left here and not there.
                    let Swarm { balance, snatches, .. } = fact.swarm;
                    (fact.moved, fact.credited_up, fact.credited_down, balance, snatches)
                })
            };
            let (never_stopped, started_again) =
                (credited(&mut world.swarms), credited(&mut again));
            assert_eq!(started_again, never_stopped, "seed {seed}");
        }
    }
}

#[test]
fn peers_of_strangers_are_taken_out() {
    let mut world = World::new(7);
    (0..500).for_each(|_| world.announce());
    let known: BTreeMap<_, _> = world.users.iter().take(3).map(|(id, user)| (*id, *user)).collect();
    let peers = world.swarms.totals().peers as u64;
    let settled = settle(
        &mut world.swarms,
        |id| known.get(&id).copied(),
        |id, _| {
            assert!(known.contains_key(&id));
        },
    );
    assert!(settled.peers > 0 && settled.strangers > 0, "{settled:?}");
    assert_eq!(settled.peers + settled.strangers, peers);
    for _ in 0..5 {
        world.swarms.expire(world.now, 100_000, &mut Vec::new());
    }
    assert_eq!(world.swarms.totals().peers as u64, settled.peers);
}

/// A segment that is gone, or damaged, keeps no tracker from starting; how much is lost is said.
#[test]
fn a_tail_with_a_part_lost_is_gone_on_with_behind_it() {
    for damaged in [false, true] {
        let scratch = Scratch::new();
        let data = crate::DataDir::open(scratch.path()).unwrap();
        let options = Options { segment_bytes: 4096, ..Options::default() };
        let mut journal = Journal::open(&data, options).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..40 {
            journal.append(&crate::journal::random::several(&mut rng, 20)).unwrap();
        }
        journal.sync().unwrap();
        let files = crate::journal::segments(scratch.path()).unwrap();
        assert!(files.len() > 6);
        let first = files[2].below;
        let lost = match damaged {
            false => {
                std::fs::remove_file(&files[3].path).unwrap();
                files[3].below - first
            }
            true => {
                let mut bytes = std::fs::read(&files[3].path).unwrap();
                bytes[80] ^= 1;
                std::fs::write(&files[3].path, bytes).unwrap();
                files[3].below - first
            }
        };
        let (dir, end) = (scratch.path().join("journal"), journal.durable());
        let replay = |from| {
            let mut swarms = Swarms::new(1, limits(Facts::All));
            replay_tail(&dir, (from, end), |_| true, &mut swarms, |_| {}, START).unwrap()
        };
        let all = replay(0);
        assert_eq!((all.records, all.lost), (end - lost, lost), "{damaged}");
        // From a place that is lost itself.
        let rest = replay(first + 1);
        assert_eq!((rest.records, rest.lost), (end - files[3].below, lost - 1), "{damaged}");
    }
}

#[test]
fn a_tail_that_is_shorter_than_it_should_be_is_an_error() {
    let mut world = World::new(8);
    world.hand_over();
    let (dir, end) = (world.scratch.path().join("journal"), world.journal.durable());
    let mut swarms = Swarms::new(1, limits(Facts::All));
    let mut replay = |span| {
        replay_tail(&dir, span, |_| true, &mut swarms, |_| {}, START).map(|tail| tail.records)
    };
    assert_eq!(replay((0, end)).unwrap(), end);
    assert_eq!(replay((end, end)).unwrap(), 0);
    assert!(matches!(replay((0, end + 1)), Err(JournalError::Ahead { .. })));
}
