//! Every user is credited what the rules say of what his clients reported, whatever is lost in between.

use std::collections::BTreeMap;

use shard::private::{
    Announce, Counters, Endpoints, Fact, Facts, Freeleech, Gone, Limits, PeerId, Piece, Swarms,
    Terms, TorrentId, User, UserId,
};
use shard::{Event, Families, InfoHash, Reply, Seconds};

use crate::each_seed;
use crate::sim::{import, pieces};

const TIMEOUT: Seconds = Seconds(4000);
const LIMITS: Limits = Limits {
    torrents_max: 100,
    peers_max: 1 << 20,
    clients_max: 0,
    peer_timeout: TIMEOUT,
    interval: Seconds(1800),
    interval_max: Seconds(7200),
    count_unknown: false,
    deletions_max: 10,
    facts: Facts::Changed,
};

/// A client, and what it has been told to be worth by the rules, which are said here once more from its
/// side: a session is a run of reports that do not go down; it is worth its end less its beginning. It begins
/// anew, and speaks again after it has stopped, only some time later: what is nearer may be late.
struct Client {
    announce: Announce,
    /// Of the session: the first report and the last one; none when the tracker does not know it.
    session: Option<(Counters, Counters)>,
    last: Seconds,
    /// When it spoke, by the tracker's clock, which somebody may set.
    spoke: Vec<Seconds>,
    worth: (u64, u64),
}

/// As long as announces may be late, and some more.
const QUIET: u32 = 90;

impl Client {
    fn new(random: &mut fastrand::Rng, number: u32, users: u32, torrents: u8) -> Self {
        let peer_id = PeerId(std::array::from_fn(|_| random.u8(..)));
        let v4 = Some([45, 1, (number >> 8) as u8, number as u8].into());
        let user =
            User { id: UserId(random.u32(..users)), can_leech: true, hidden: false, group: None };
        let announce = Announce {
            info_hash: InfoHash([random.u8(..torrents); 20]),
            user,
            peer_id,
            key: random.u32(..),
            endpoints: Endpoints::new(v4, None, 6881),
            counters: Counters::default(),
            left: 100,
            event: Event::None,
            numwant: 10,
            families: Families { v4: true, v6: true },
            assumed: Families::default(),
            interval: Seconds(1800),
            downloads_full: false,
        };
        let (last, spoke) = Default::default();
        Self { announce, session: None, last, spoke, worth: (0, 0) }
    }

    /// Moves bytes, or begins to count anew, and reports it.
    fn report(&mut self, random: &mut fastrand::Rng, now: Seconds) -> Option<Announce> {
        let quiet = self.spoke.iter().all(|at| at.0.abs_diff(now.0) > QUIET);
        if self.session.is_none() && !quiet {
            return None;
        }
        let counters = &mut self.announce.counters;
        match random.u8(..20) {
            0 if quiet => *counters = Counters::default(),
            1 if quiet => counters.uploaded /= 2,
            0..=6 => {}
            _ => {
                counters.uploaded += bytes(random);
                counters.downloaded += bytes(random);
            }
        }
        self.spoke.push(now);
        self.announce.event = match random.u8(..16) {
            0 => Event::Started,
            1 => Event::Stopped,
            2 => Event::Completed,
            _ => Event::None,
        };
        if random.u8(..3) == 0 {
            self.announce.left = random.u64(..2) * 50;
        }
        self.hear(now);
        Some(self.announce)
    }

    /// What the rules say of this report.
    fn hear(&mut self, now: Seconds) {
        let Announce { counters, event, .. } = self.announce;
        let goes_on = self.session.filter(|(_, last)| {
            counters.uploaded >= last.uploaded && counters.downloaded >= last.downloaded
        });
        self.session = match goes_on {
            Some((first, _)) => Some((first, counters)),
            None => {
                self.end();
                (event != Event::Stopped || self.last != Seconds(0)).then_some((counters, counters))
            }
        };
        self.last = now;
        if event == Event::Stopped {
            self.forget();
        }
    }

    /// The session is over: it is worth what it is worth.
    fn end(&mut self) {
        if let Some((first, last)) = self.session.take() {
            self.worth.0 += last.uploaded - first.uploaded;
            self.worth.1 += last.downloaded - first.downloaded;
        }
    }

    /// The tracker knows nothing of it any more.
    fn forget(&mut self) {
        self.end();
        self.last = Seconds(0);
    }
}

/// What a journal holds.
enum Record {
    Fact(Box<Fact>),
    Gone(Gone),
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut now = Seconds(1_700_000_000);
    let (users, torrents) = (1 + random.u32(..20), 1 + random.u8(..5));
    let mut engine = Swarms::new(seed, LIMITS);
    for n in 0..torrents {
        let terms =
            Terms { id: TorrentId(u32::from(n)), freeleech: Freeleech::None, upload_percent: 100 };
        engine.register(InfoHash([n; 20]), terms).unwrap();
    }
    let mut clients: Vec<Client> =
        (0..60).map(|n| Client::new(&mut random, n, users, torrents)).collect();
    let (mut journal, mut reply): (Vec<Record>, _) = (Vec::new(), Reply::default());
    let mut snapshot = (0, pieces(&mut engine, 100));
    for _ in 0..2000 {
        match random.u8(..100) {
            0 => engine = restarted(&mut random, &snapshot, &journal, now),
            1 => snapshot = (journal.len(), pieces(&mut engine, 1 + random.usize(..100))),
            2..=19 => now = now + Seconds(random.u32(..600)),
            // Somebody sets the clock: forward a day, so that all time out, or back.
            20 if random.u8(..8) == 0 => now = now + Seconds(86_400),
            20 => now = now - Seconds(random.u32(..20_000)),
            21..=25 => {
                let mut gone = Vec::new();
                while !engine.expire(now, 50, &mut gone).finished {}
                for gone in gone {
                    let mut of_gone = clients.iter_mut().filter(|client| {
                        let Announce { user, peer_id, key, info_hash, .. } = client.announce;
                        (user.id, peer_id, key, info_hash)
                            == (gone.user, gone.peer_id, gone.key, gone.info_hash)
                    });
                    of_gone.next().unwrap().forget();
                    journal.push(Record::Gone(gone));
                }
            }
            _ => {
                let client = random.usize(..clients.len());
                let Some(announce) = clients[client].report(&mut random, now) else { continue };
                let done = engine.announce(&announce, now, &mut random, &mut reply).unwrap();
                journal.extend(done.fact.map(|fact| Record::Fact(Box::new(fact))));
            }
        }
    }
    let mut credited: BTreeMap<UserId, (u64, u64)> = BTreeMap::new();
    for record in &journal {
        let Record::Fact(fact) = record else { continue };
        let user = credited.entry(fact.user).or_default();
        (user.0, user.1) = (user.0 + fact.credited_up, user.1 + fact.credited_down);
    }
    let mut expected: BTreeMap<UserId, (u64, u64)> = BTreeMap::new();
    for client in &mut clients {
        client.end();
        let user = expected.entry(client.announce.user.id).or_default();
        (user.0, user.1) = (user.0 + client.worth.0, user.1 + client.worth.1);
    }
    credited.retain(|_, credit| *credit != (0, 0));
    expected.retain(|_, credit| *credit != (0, 0));
    assert_eq!(credited, expected);
}

/// Some bytes, up to many.
fn bytes(random: &mut fastrand::Rng) -> u64 {
    random.u64(..) >> random.u32(19..64)
}

/// What an engine is after its process died: the snapshot and what the journal has after it.
fn restarted(
    random: &mut fastrand::Rng,
    snapshot: &(usize, Vec<Piece>),
    journal: &[Record],
    now: Seconds,
) -> Swarms {
    let mut engine = Swarms::new(random.u64(..), LIMITS);
    snapshot.1.iter().for_each(|piece| import(&mut engine, piece));
    for record in &journal[snapshot.0..] {
        match record {
            Record::Fact(fact) => _ = engine.replay(fact),
            Record::Gone(gone) => _ = engine.replay_gone(gone),
        }
    }
    engine.believe_from(now);
    engine
}

#[test]
fn what_is_credited_is_what_was_reported() {
    each_seed("what_is_credited_is_what_was_reported", 100, run);
}
