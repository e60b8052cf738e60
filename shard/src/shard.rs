//! A shard: the swarms of one core.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    Announce, ClientTag, Counts, Event, InfoHash, PeerRecord, PeerState, Piece, Refusal, Reply,
    Seconds, SwarmRecord,
};

/// Bounds of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Swarms held at most; an announce that would make one more is refused.
    pub swarms_max: usize,
    /// Peers held at most, both families together.
    pub peers_max: usize,
    /// A peer silent for longer leaves the swarm. At most 24 hours.
    pub peer_timeout: Seconds,
    /// How long an empty swarm is kept for its snatch count.
    pub swarm_retention: Seconds,
}

/// What a shard holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Swarms, empty ones kept for their snatch count included.
    pub swarms: usize,
    /// IPv4 endpoints.
    pub peers_v4: usize,
    /// IPv6 endpoints.
    pub peers_v6: usize,
    /// Clients with everything, over all swarms.
    pub seeders: usize,
    /// Clients without everything, over all swarms.
    pub leechers: usize,
}

/// What an announce changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The endpoint was not in the swarm before.
    pub joined: bool,
    /// The endpoint was in the swarm and left it.
    pub left: bool,
    /// A download completed, counted once per client.
    pub snatched: bool,
}

/// What a sweep did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expired {
    /// Peers dropped because they were silent for too long.
    pub peers: usize,
    /// Swarms dropped because they were empty for too long.
    pub swarms: usize,
    /// The sweep reached the end; the next one starts over.
    pub finished: bool,
}

/// How far an export has come. Starts at `Cursor::default()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    last: Option<InfoHash>,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    client: ClientTag,
    state: PeerState,
    last_seen: Seconds,
}

#[derive(Debug, Default)]
struct Swarm {
    snatches: u32,
    peers: BTreeMap<(IpAddr, u16), Peer>,
    empty_since: Seconds,
}

/// The swarms of one core.
#[derive(Debug)]
pub struct Shard {
    limits: Limits,
    swarms: BTreeMap<InfoHash, Swarm>,
}

impl Shard {
    /// An empty shard. `seed` keys its hash tables, so that nobody can aim at one bucket.
    pub fn new(_seed: u64, limits: Limits) -> Self {
        Self { limits, swarms: BTreeMap::new() }
    }

    /// Applies one announce and fills `reply` with the swarm's counts and at most
    /// `announce.numwant` peers.
    pub fn announce(
        &mut self,
        announce: &Announce,
        now: Seconds,
        _random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        reply.clear();
        let endpoint = (announce.address, announce.port);
        let mut outcome = Outcome::default();
        if announce.event == Event::Stopped {
            if let Some(swarm) = self.swarms.get_mut(&announce.info_hash) {
                outcome.left = swarm.peers.remove(&endpoint).is_some();
                swarm.empty_since = now;
                reply.counts = swarm.counts();
            }
            return Ok(outcome);
        }
        if !self.swarms.contains_key(&announce.info_hash)
            && self.swarms.len() >= self.limits.swarms_max
        {
            return Err(Refusal::SwarmsMax);
        }
        let swarm = self.swarms.entry(announce.info_hash).or_default();
        let state = match (announce.left, announce.event) {
            (0, _) => PeerState::Seeder,
            (_, Event::Paused) => PeerState::PartialSeed,
            _ => PeerState::Leecher,
        };
        let seeding = swarm.peers.iter().any(|(at, peer)| {
            peer.state == PeerState::Seeder && (*at == endpoint || peer.client == announce.client)
        });
        if announce.event == Event::Completed && announce.left == 0 && !seeding {
            swarm.snatches = swarm.snatches.saturating_add(1);
            outcome.snatched = true;
        }
        let peer = Peer { client: announce.client, state, last_seen: now };
        outcome.joined = swarm.peers.insert(endpoint, peer).is_none();
        reply.counts = swarm.counts();
        for ((address, port), peer) in &swarm.peers {
            let taken = reply.peers_v4.len() / 6 + reply.peers_v6.len() / 18;
            if taken >= usize::from(announce.numwant) {
                break;
            }
            if (*address, *port) == endpoint
                || (state == PeerState::Seeder && peer.state != PeerState::Leecher)
            {
                continue;
            }
            match address {
                IpAddr::V4(ip) if announce.families.v4 => {
                    reply.peers_v4.extend_from_slice(&ip.octets());
                    reply.peers_v4.extend_from_slice(&port.to_be_bytes());
                }
                IpAddr::V6(ip) if announce.families.v6 => {
                    reply.peers_v6.extend_from_slice(&ip.octets());
                    reply.peers_v6.extend_from_slice(&port.to_be_bytes());
                }
                _ => {}
            }
        }
        Ok(outcome)
    }

    /// The counts of a swarm; `None` when nobody has announced it.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Counts> {
        self.swarms.get(info_hash).map(Swarm::counts)
    }

    /// Looks at the next `budget` peers or swarms of the sweep and drops what has timed out.
    pub fn expire(&mut self, now: Seconds, _budget: usize) -> Expired {
        let mut expired = Expired { finished: true, ..Expired::default() };
        let limits = self.limits;
        self.swarms.retain(|_, swarm| {
            let before = swarm.peers.len();
            swarm.peers.retain(|_, peer| now.since(peer.last_seen) <= limits.peer_timeout);
            expired.peers += before - swarm.peers.len();
            if before > 0 && swarm.peers.is_empty() {
                swarm.empty_since = now;
            }
            let keep = !swarm.peers.is_empty()
                || (swarm.snatches > 0 && now.since(swarm.empty_since) <= limits.swarm_retention);
            expired.swarms += usize::from(!keep);
            keep
        });
        expired
    }

    /// Appends about `peers_max` peers' worth of swarms to `piece`, from `cursor` on; true when the
    /// shard's end is reached.
    pub fn export(&self, cursor: &mut Cursor, peers_max: usize, piece: &mut Piece) -> bool {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = cursor.last.map_or(Unbounded, Excluded);
        for (info_hash, swarm) in self.swarms.range((from, Unbounded)) {
            if piece.peers_v4.len() + piece.peers_v6.len() + piece.swarms.len() >= peers_max {
                return false;
            }
            let mut record = SwarmRecord {
                info_hash: *info_hash,
                snatches: swarm.snatches,
                peers_v4: 0,
                peers_v6: 0,
            };
            for (&(address, port), &Peer { client, state, last_seen }) in &swarm.peers {
                match address {
                    IpAddr::V4(address) => {
                        record.peers_v4 += 1;
                        piece.peers_v4.push(PeerRecord { address, port, client, state, last_seen });
                    }
                    IpAddr::V6(address) => {
                        record.peers_v6 += 1;
                        piece.peers_v6.push(PeerRecord { address, port, client, state, last_seen });
                    }
                }
            }
            piece.swarms.push(record);
            cursor.last = Some(*info_hash);
        }
        true
    }

    /// Takes in a swarm (or a part of one) from a snapshot. Peers already here stay as they are;
    /// snatches become the larger number.
    pub fn import(
        &mut self,
        info_hash: InfoHash,
        snatches: u32,
        peers_v4: impl Iterator<Item = PeerRecord<Ipv4Addr>>,
        peers_v6: impl Iterator<Item = PeerRecord<Ipv6Addr>>,
        now: Seconds,
    ) -> Result<(), Refusal> {
        let swarm = self.swarms.entry(info_hash).or_default();
        swarm.snatches = swarm.snatches.max(snatches);
        swarm.empty_since = now;
        for p in peers_v4 {
            let peer = Peer { client: p.client, state: p.state, last_seen: p.last_seen };
            swarm.peers.entry((p.address.into(), p.port)).or_insert(peer);
        }
        for p in peers_v6 {
            let peer = Peer { client: p.client, state: p.state, last_seen: p.last_seen };
            swarm.peers.entry((p.address.into(), p.port)).or_insert(peer);
        }
        Ok(())
    }

    /// Drops a swarm and its peers, for a torrent that is no longer allowed; how many peers it had.
    pub fn remove(&mut self, info_hash: &InfoHash) -> Option<usize> {
        self.swarms.remove(info_hash).map(|swarm| swarm.peers.len())
    }

    /// What the shard holds now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { swarms: self.swarms.len(), ..Totals::default() };
        for swarm in self.swarms.values() {
            let counts = swarm.counts();
            totals.seeders += counts.seeders as usize;
            totals.leechers += counts.leechers as usize;
            for (address, _) in swarm.peers.keys() {
                match address {
                    IpAddr::V4(_) => totals.peers_v4 += 1,
                    IpAddr::V6(_) => totals.peers_v6 += 1,
                }
            }
        }
        totals
    }
}

impl Swarm {
    /// Clients are counted once: an IPv6 endpoint is left out when its client is here over IPv4.
    fn counts(&self) -> Counts {
        let mut counts = Counts { snatches: self.snatches, ..Counts::default() };
        for ((address, _), peer) in &self.peers {
            let twin = address.is_ipv6()
                && self.peers.iter().any(|((a, _), p)| a.is_ipv4() && p.client == peer.client);
            match peer.state {
                _ if twin => {}
                PeerState::Seeder => counts.seeders += 1,
                PeerState::PartialSeed => {
                    counts.leechers += 1;
                    counts.partial_seeds += 1;
                }
                PeerState::Leecher => counts.leechers += 1,
            }
        }
        counts
    }
}
