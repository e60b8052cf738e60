//! Shards and their models side by side, and a clock.

use shard::model::{Model, Peer, Swarm};
use shard::{
    Announce, Cursor, Expired, InfoHash, Limits, Outcome, PeerRecord, Piece, Refusal, Reply,
    Seconds, Shard,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::check;

/// Everything that happens goes to the shard that owns the infohash and to its model, and what they
/// answer must agree.
pub(crate) struct Sim {
    pub(crate) now: Seconds,
    pub(crate) random: fastrand::Rng,
    pub(crate) shards: Vec<(Shard, Model)>,
    /// Peers are told to wait for different times.
    pub(crate) has_intervals: bool,
    reply: Reply,
    expected: Reply,
}

impl Sim {
    pub(crate) fn new(seed: u64, shards: usize, limits: Limits) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Seconds(1_700_000_000 + random.u32(..1_000_000));
        let shards = (0..shards).map(|_| pair(&mut random, limits)).collect();
        let (reply, expected) = (Reply::default(), Reply::default());
        Self { now: start, random, shards, has_intervals: false, reply, expected }
    }

    pub(crate) fn owner(&self, info_hash: &InfoHash) -> usize {
        info_hash.prefix() as usize % self.shards.len()
    }

    /// One announce to both; everything they say of it and of its swarm is compared.
    pub(crate) fn announce(&mut self, announce: &Announce) -> (Result<Outcome, Refusal>, &Reply) {
        let owner = self.owner(&announce.info_hash);
        let (shard, model) = &mut self.shards[owner];
        let silent_from = match self.random.u8(..4) {
            _ if !self.has_intervals => self.now,
            0 => self.now + Seconds(self.random.u32(..5_000)),
            1 => self.now - Seconds(self.random.u32(..900)),
            _ => self.now,
        };
        let (random, reply) = (&mut self.random, &mut self.reply);
        let done = shard.announce_until(announce, self.now, silent_from, random, reply);
        // The model need not choose: what the engine chose is checked against who could be.
        let to_model = Announce { numwant: 0, ..*announce };
        let expected = model.announce_until(&to_model, self.now, silent_from, &mut self.expected);
        assert_eq!(done, expected, "{announce:?}");
        assert_eq!(self.reply.counts, self.expected.counts, "{announce:?}");
        if done.is_err() {
            assert_eq!(self.reply, Reply::default(), "a refusal tells nobody anything");
        }
        // The model takes its time with large swarms.
        let peers = model.swarms.get(&announce.info_hash).map_or(0, |swarm| swarm.peers.len());
        if done.is_ok() && (peers < 500 || self.random.u8(..16) == 0) {
            let joined = done.is_ok_and(|done| done.joined);
            check::peers(model, announce, joined, &self.reply);
            let scraped = shard.scrape(&announce.info_hash);
            assert_eq!(scraped, model.scrape(&announce.info_hash), "after {announce:?}");
            let totals = shard.totals();
            assert!(totals.seeders + totals.leechers <= totals.peers_v4 + totals.peers_v6);
        }
        (done, &self.reply)
    }

    /// A whole sweep, in steps of `budget`.
    pub(crate) fn expire(&mut self, budget: usize) {
        for (shard, model) in &mut self.shards {
            let mut sum = Expired::default();
            while !sum.finished {
                let step = shard.expire(self.now, budget);
                sum.peers += step.peers;
                sum.swarms += step.swarms;
                sum.finished = step.finished;
            }
            assert_eq!(sum, model.expire(self.now));
        }
        self.check_all();
    }

    pub(crate) fn remove(&mut self, info_hash: &InfoHash) {
        let owner = self.owner(info_hash);
        let (shard, model) = &mut self.shards[owner];
        assert_eq!(shard.remove(info_hash), model.remove(info_hash));
        self.check_all();
    }

    /// Everything is written out in pieces of about `peers_max` and read by `shards` others.
    pub(crate) fn restart(&mut self, shards: usize, peers_max: usize, limits: Limits) {
        let old = std::mem::take(&mut self.shards);
        self.shards = (0..shards).map(|_| pair(&mut self.random, limits)).collect();
        for (shard, model) in old {
            for piece in pieces(&shard, peers_max) {
                self.import(&piece);
            }
            for (info_hash, mut swarm) in model.swarms {
                swarm.empty_since = self.now;
                // A snapshot knows who announced, and not who was told to wait longer.
                for peer in swarm.peers.values_mut() {
                    peer.last_seen = peer.last_seen.min(tick(self.now));
                    peer.may_have_nothing = false;
                }
                let owner = self.owner(&info_hash);
                self.shards[owner].1.swarms.insert(info_hash, swarm);
            }
        }
        self.check_all();
    }

    fn import(&mut self, piece: &Piece) {
        let (mut from_v4, mut from_v6) = (0, 0);
        for swarm in &piece.swarms {
            let to_v4 = from_v4 + swarm.peers_v4 as usize;
            let to_v6 = from_v6 + swarm.peers_v6 as usize;
            let v4 = piece.peers_v4[from_v4..to_v4].iter().copied();
            let v6 = piece.peers_v6[from_v6..to_v6].iter().copied();
            let owner = self.owner(&swarm.info_hash);
            let into = &mut self.shards[owner].0;
            into.import(swarm.info_hash, swarm.snatches, v4, v6, self.now).unwrap();
            (from_v4, from_v6) = (to_v4, to_v6);
        }
        assert_eq!((from_v4, from_v6), (piece.peers_v4.len(), piece.peers_v6.len()));
    }

    /// Totals, and everything a shard would write to a snapshot.
    pub(crate) fn check_all(&mut self) {
        for (shard, model) in &self.shards {
            assert_eq!(shard.totals(), model.totals());
            let peers_max = self.random.usize(1..200);
            let exported = swarms(&pieces(shard, peers_max));
            assert_eq!(
                exported.keys().collect::<Vec<_>>(),
                model.swarms.keys().collect::<Vec<_>>()
            );
            for (info_hash, swarm) in &model.swarms {
                let mut peers = swarm.peers.clone();
                peers.values_mut().for_each(|peer| peer.may_have_nothing = false);
                assert_eq!(exported[info_hash].peers, peers, "{info_hash}");
                assert_eq!(exported[info_hash].snatches, swarm.snatches, "{info_hash}");
            }
        }
    }
}

/// The engine's clock goes in steps of 4 seconds.
fn tick(now: Seconds) -> Seconds {
    Seconds(now.0 / 4 * 4)
}

fn pair(random: &mut fastrand::Rng, limits: Limits) -> (Shard, Model) {
    (Shard::new(random.u64(..), limits), Model::new(limits))
}

/// A whole export.
pub(crate) fn pieces(shard: &Shard, peers_max: usize) -> Vec<Piece> {
    let (mut cursor, mut pieces, mut finished) = (Cursor::default(), Vec::new(), false);
    while !finished {
        let mut piece = Piece::default();
        finished = shard.export(&mut cursor, peers_max, &mut piece);
        let peers = piece.peers_v4.len() + piece.peers_v6.len();
        assert!(peers < peers_max + 2 * 128, "a piece of {peers} where {peers_max} were asked for");
        pieces.push(piece);
    }
    pieces
}

/// What is in the pieces of an export, in the model's terms.
pub(crate) fn swarms(pieces: &[Piece]) -> BTreeMap<InfoHash, Swarm> {
    let mut swarms: BTreeMap<InfoHash, Swarm> = BTreeMap::new();
    for piece in pieces {
        let (mut v4, mut v6) = (piece.peers_v4.iter(), piece.peers_v6.iter());
        for record in &piece.swarms {
            let swarm = swarms.entry(record.info_hash).or_default();
            swarm.snatches = swarm.snatches.max(record.snatches);
            swarm.peers.extend(v4.by_ref().take(record.peers_v4 as usize).map(peer));
            swarm.peers.extend(v6.by_ref().take(record.peers_v6 as usize).map(peer));
        }
    }
    swarms
}

fn peer<A: Copy + Into<IpAddr>>(record: &PeerRecord<A>) -> (SocketAddr, Peer) {
    let PeerRecord { address, port, client, state, last_seen } = *record;
    (
        SocketAddr::new(address.into(), port),
        Peer { client, state, last_seen, may_have_nothing: false },
    )
}
