//! The tracker: the real engine and the real [`Controller`] in simulated time, without sockets.

use std::net::{IpAddr, Ipv4Addr};

use margay::core::interval::{Controller, Load, Policy};
use shard::private::{
    self, Counters, Endpoints, Facts, Freeleech, PeerId, Swarms, Terms, TorrentId, User, UserId,
};
use shard::{
    Announce, ClientTag, Event, Families, InfoHash, Limits, Reply, Seconds, Shard, lasting_key,
};

use crate::clients::{Protocol, Told};

/// Which engine answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Site {
    Open,
    Private,
}

/// What the answers say beside the interval. Whom a client is told, and what a download is, is the engine's
/// to say: that of the commit this is built of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    /// `min interval` is half of the interval, the same for everybody. Who is refused for good is told a
    /// failure, over UDP an error.
    Before,
    /// `min interval` is the interval that was decided. Who is refused for good is told a success with
    /// nobody in it and a long interval.
    After,
}

/// One announce as it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub torrent: u32,
    /// Nobody will ever answer this client with peers.
    pub refused: bool,
    pub protocol: Protocol,
    pub user: u32,
    pub address: Ipv4Addr,
    pub port: u16,
    pub peer_id: [u8; 20],
    pub key: u32,
    pub counters: Counters,
    pub left: u64,
    pub event: Event,
}

/// What comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// The tracker is away.
    Nothing,
    Refused {
        interval: Seconds,
    },
    Told {
        told: Told,
        /// How many it is told of.
        peers: usize,
        /// Others in the swarm, as the tracker counts.
        others: u32,
        /// A download was counted.
        snatched: bool,
    },
}

enum Engine {
    Open(Box<Shard>),
    Private(Box<Swarms>),
}

pub(crate) struct Tracker {
    engine: Engine,
    controller: Controller,
    answers: Answers,
    random: fastrand::Rng,
    reply: Reply,
    announces: u64,
    /// Announces a second that would be a load of 1.
    capacity: f64,
    pub away: bool,
}

impl Tracker {
    pub(crate) fn new(
        site: Site,
        answers: Answers,
        torrents: u32,
        capacity: f64,
        now: Seconds,
    ) -> Self {
        let engine = match site {
            Site::Open => Engine::Open(Box::new(Shard::new(
                1,
                Limits {
                    swarms_max: usize::MAX,
                    peers_max: usize::MAX,
                    peer_timeout: PEER_TIMEOUT,
                    swarm_retention: Seconds(86_400),
                    count_unknown: false,
                },
            ))),
            Site::Private => {
                let mut swarms = Swarms::new(
                    1,
                    private::Limits {
                        torrents_max: torrents as usize,
                        peers_max: 1 << 26,
                        clients_max: 0,
                        peer_timeout: PEER_TIMEOUT,
                        interval: POLICY.base,
                        interval_max: POLICY.max,
                        count_unknown: false,
                        deletions_max: 100,
                        facts: Facts::Changed,
                    },
                );
                for torrent in 0..torrents {
                    let terms = Terms {
                        id: TorrentId(torrent),
                        freeleech: Freeleech::None,
                        upload_percent: 100,
                    };
                    swarms.register(info_hash(torrent), terms).expect("there is room for all");
                }
                Engine::Private(Box::new(swarms))
            }
        };
        Self {
            engine,
            controller: Controller::new(POLICY, now),
            answers,
            random: fastrand::Rng::with_seed(2),
            reply: Reply::default(),
            announces: 0,
            capacity,
            away: false,
        }
    }

    /// Does what a core does each second beside its answers.
    pub(crate) fn tick(&mut self, now: Seconds) {
        let peers = match &mut self.engine {
            Engine::Open(shard) => {
                shard.expire(now, shard.walked() / SWEEP_SECONDS + 1);
                let totals = shard.totals();
                totals.peers_v4 + totals.peers_v6
            }
            Engine::Private(swarms) => {
                swarms.expire(now, swarms.walked() / SWEEP_SECONDS + 1, &mut Vec::new());
                swarms.succeeded().clear();
                swarms.totals().peers
            }
        };
        let announces = std::mem::take(&mut self.announces);
        if !self.away {
            let busy = (announces as f64 / self.capacity).min(1.0);
            let peers = peers as u64;
            let load =
                Load { elapsed: 1.0, busy, queue: 0.0, announces, others: 0, junk: 0, peers };
            self.controller.observe(&load, now);
        }
    }

    pub(crate) fn announce(&mut self, said: &Said, now: Seconds) -> Answer {
        if self.away {
            return Answer::Nothing;
        }
        self.announces += 1;
        if said.refused {
            return match self.answers {
                Answers::Before => Answer::Refused { interval: REFUSED_INTERVAL },
                Answers::After => Answer::Told {
                    told: told(REFUSED_INTERVAL, REFUSED_INTERVAL, said.protocol),
                    peers: 0,
                    others: 0,
                    snatched: false,
                },
            };
        }
        let interval = self.controller.answer(now, &mut self.random);
        let silent_from = self.controller.silent_from(interval, now);
        let (random, reply) = (&mut self.random, &mut self.reply);
        let snatched = match &mut self.engine {
            Engine::Open(shard) => shard
                .announce_until(&open(said), now, silent_from, random, reply)
                .map(|outcome| outcome.snatched)
                .expect("there is room for all"),
            Engine::Private(swarms) => swarms
                .announce(&private::Announce { interval, ..private(said) }, now, random, reply)
                .map(|outcome| outcome.snatched)
                .expect("there is room for all"),
        };
        let min_interval = match self.answers {
            Answers::Before => POLICY.min,
            Answers::After => interval,
        };
        let here = self.reply.counts.seeders + self.reply.counts.leechers;
        Answer::Told {
            told: told(interval, min_interval, said.protocol),
            peers: self.reply.peers_v4.len() / 6,
            others: here.saturating_sub(1),
            snatched,
        }
    }

    /// Peers that it counts.
    pub(crate) fn peers(&self) -> usize {
        match &self.engine {
            Engine::Open(shard) => shard.totals().seeders + shard.totals().leechers,
            Engine::Private(swarms) => swarms.totals().peers,
        }
    }
}

fn told(interval: Seconds, min_interval: Seconds, protocol: Protocol) -> Told {
    Told { interval, min_interval: (protocol == Protocol::Http).then_some(min_interval) }
}

fn open(said: &Said) -> Announce {
    Announce {
        info_hash: info_hash(said.torrent),
        address: IpAddr::V4(said.address),
        port: said.port,
        client: ClientTag::of(&said.peer_id, lasting_key(&said.peer_id, said.key)),
        left: said.left,
        downloaded: said.counters.downloaded,
        event: said.event,
        numwant: NUMWANT,
        families: V4,
    }
}

fn private(said: &Said) -> private::Announce {
    private::Announce {
        info_hash: info_hash(said.torrent),
        user: User { id: UserId(said.user), can_leech: true, hidden: false, group: None },
        peer_id: PeerId(said.peer_id),
        key: lasting_key(&said.peer_id, said.key),
        endpoints: Endpoints::new(Some(said.address), None, said.port),
        counters: said.counters,
        left: said.left,
        event: said.event,
        numwant: NUMWANT,
        families: V4,
        assumed: Families::default(),
        interval: POLICY.base,
        downloads_full: false,
    }
}

fn info_hash(torrent: u32) -> InfoHash {
    let mut bytes = [0x5a; 20];
    bytes[..4].copy_from_slice(&torrent.wrapping_mul(0x9e37_79b9).to_be_bytes());
    InfoHash(bytes)
}

/// The defaults of the tracker.
pub(crate) const POLICY: Policy = Policy {
    base: Seconds(1800),
    min: Seconds(900),
    max: Seconds(7200),
    jitter: 0.1,
    load_target: 0.7,
};

const PEER_TIMEOUT: Seconds = Seconds(4500);

/// The interval that is said to a client which will never be served.
pub(crate) const REFUSED_INTERVAL: Seconds = Seconds(5400);

const NUMWANT: u16 = 50;

const V4: Families = Families { v4: true, v6: false };

/// A sweep for silent peers takes so long.
const SWEEP_SECONDS: usize = 60;
