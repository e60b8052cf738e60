//! The engine said plainly: ordered maps, every count made by counting, every peer looked at.
//!
//! It is the definition that the engine is tested against, and the naive version its benchmarks run
//! beside. Where the two differ, one of them is wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::{
    Announce, ClientTag, Counts, Event, Expired, InfoHash, Limits, Outcome, PeerState, Refusal,
    Reply, Scope, Seconds, Totals,
};

/// The swarms of one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// The shard's bounds.
    pub limits: Limits,
    /// The swarms.
    pub swarms: BTreeMap<InfoHash, Swarm>,
    /// What clients had downloaded when they became leechers again, or completed over the other family.
    pub had: BTreeMap<(InfoHash, ClientTag), u64>,
}

/// A swarm and its peers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swarm {
    /// Completed downloads.
    pub snatches: u32,
    /// Peers by endpoint.
    pub peers: BTreeMap<SocketAddr, Peer>,
    /// Since when nobody has been here; means nothing while somebody is.
    pub empty_since: Seconds,
}

/// An endpoint of a swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Which client it belongs to.
    pub client: ClientTag,
    /// Its state in the swarm.
    pub state: PeerState,
    /// From when on its silence counts, rounded down to 4 seconds.
    pub last_seen: Seconds,
    /// It says that nothing is left and it has downloaded nothing.
    pub may_have_nothing: bool,
}

impl Model {
    /// An empty shard.
    pub fn new(limits: Limits) -> Self {
        Self { limits, swarms: BTreeMap::new(), had: BTreeMap::new() }
    }

    /// As [`Shard::announce`](crate::Shard::announce), with the first peers in order.
    pub fn announce(
        &mut self,
        announce: &Announce,
        now: Seconds,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        self.announce_until(announce, now, now, reply)
    }

    /// As [`Shard::announce_until`](crate::Shard::announce_until).
    pub fn announce_until(
        &mut self,
        announce: &Announce,
        now: Seconds,
        silent_from: Seconds,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        reply.clear();
        if announce.event == Event::Stopped {
            return Ok(self.stop(announce, now, reply));
        }
        let endpoint = SocketAddr::new(announce.address, announce.port);
        let known = self.swarms.get(&announce.info_hash);
        if known.is_none() && self.swarms.len() >= self.limits.swarms_max {
            return Err(Refusal::SwarmsMax);
        }
        if !known.is_some_and(|swarm| swarm.peers.contains_key(&endpoint)) && self.is_full() {
            return Err(Refusal::PeersMax);
        }
        let snatched = self.completes(announce, endpoint);
        let swarm = self.swarms.entry(announce.info_hash).or_default();
        let peer = Peer {
            client: announce.client,
            state: state(announce),
            last_seen: tick(silent_from),
            may_have_nothing: announce.left == 0 && announce.downloaded == 0,
        };
        let joined = swarm.peers.insert(endpoint, peer).is_none();
        reply.counts = swarm.counts();
        if announce.numwant > 0 {
            let eligible = self.eligible(announce, joined);
            eligible.iter().take(announce.numwant.into()).for_each(|(at, _)| write(at, reply));
        }
        Ok(Outcome { joined, left: false, snatched })
    }

    /// The peers an announce that has just been applied may be told, in the order of preference; `joined` when its
    /// endpoint was not there before.
    pub fn eligible(&self, announce: &Announce, joined: bool) -> Vec<(SocketAddr, PeerState)> {
        let may_have_nothing = joined && announce.left == 0;
        let reach = Scope::of_requester(announce.address);
        let Some(swarm) = self.swarms.get(&announce.info_hash) else { return Vec::new() };
        let mut eligible: Vec<_> = swarm
            .peers
            .iter()
            .filter(|(_, peer)| peer.client != announce.client)
            .filter(|(at, _)| match at {
                SocketAddr::V4(_) => announce.families.v4,
                SocketAddr::V6(_) => announce.families.v6,
            })
            .filter(|(at, _)| Scope::of_peer(at.ip(), at.port()) <= reach)
            .filter(|(_, peer)| {
                state(announce) == PeerState::Leecher
                    || peer.state == PeerState::Leecher
                    || may_have_nothing && peer.state == PeerState::Seeder
            })
            .map(|(at, peer)| (*at, peer.state))
            .collect();
        eligible.sort_by_key(|(_, state)| *state);
        if may_have_nothing {
            eligible.reverse();
        }
        eligible
    }

    /// As [`Shard::scrape`](crate::Shard::scrape).
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Counts> {
        self.swarms.get(info_hash).map(Swarm::counts)
    }

    /// A whole sweep at once.
    pub fn expire(&mut self, now: Seconds) -> Expired {
        let mut expired = Expired { finished: true, ..Expired::default() };
        let limits = self.limits;
        self.swarms.retain(|_, swarm| {
            let before = swarm.peers.len();
            swarm.peers.retain(|_, peer| !peer.is_silent(limits.peer_timeout, now));
            expired.peers += before - swarm.peers.len();
            if before > 0 {
                swarm.empty_since = now;
            }
            let keep = !swarm.peers.is_empty()
                || swarm.snatches > 0 && now.since(swarm.empty_since) <= limits.swarm_retention;
            expired.swarms += usize::from(!keep);
            keep
        });
        expired
    }

    /// As [`Shard::remove`](crate::Shard::remove).
    pub fn remove(&mut self, info_hash: &InfoHash) -> Option<usize> {
        self.swarms.remove(info_hash).map(|swarm| swarm.peers.len())
    }

    /// As [`Shard::totals`](crate::Shard::totals).
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { swarms: self.swarms.len(), ..Totals::default() };
        for swarm in self.swarms.values() {
            let counts = swarm.counts();
            totals.seeders += counts.seeders as usize;
            totals.leechers += counts.leechers as usize;
            let peers_v4 = swarm.peers.keys().filter(|at| at.is_ipv4()).count();
            totals.peers_v4 += peers_v4;
            totals.peers_v6 += swarm.peers.len() - peers_v4;
        }
        totals
    }

    fn stop(&mut self, announce: &Announce, now: Seconds, reply: &mut Reply) -> Outcome {
        let endpoint = SocketAddr::new(announce.address, announce.port);
        let is_known = |swarm: &Swarm| swarm.peers.contains_key(&endpoint);
        let known = self.swarms.get(&announce.info_hash).is_some_and(is_known);
        let snatched = known && self.completes(announce, endpoint);
        let Some(swarm) = self.swarms.get_mut(&announce.info_hash) else {
            return Outcome::default();
        };
        let left = swarm.peers.remove(&endpoint).is_some();
        reply.counts = swarm.counts();
        if left && swarm.peers.is_empty() {
            swarm.empty_since = now;
            if swarm.snatches == 0 {
                self.swarms.remove(&announce.info_hash);
            }
        }
        Outcome { left, snatched, ..Outcome::default() }
    }

    /// Whether an announce that is about to be applied completes a download. If so, it is counted.
    fn completes(&mut self, announce: &Announce, endpoint: SocketAddr) -> bool {
        let Announce { info_hash, client, event, downloaded, .. } = *announce;
        let swarm = self.swarms.entry(info_hash).or_default();
        let known = swarm.peers.get(&endpoint).copied();
        let elsewhere = |is: fn(PeerState) -> bool| {
            swarm.peers.iter().any(|(at, peer)| {
                at.is_ipv4() != endpoint.is_ipv4() && peer.client == client && is(peer.state)
            })
        };
        let leeches = elsewhere(|state| state != PeerState::Seeder);
        let was_seeder = known.is_some_and(|known| known.state == PeerState::Seeder);
        if announce.left > 0 {
            if was_seeder && event != Event::Stopped {
                self.had.insert((info_hash, client), downloaded);
            }
            return false;
        }
        let before = known.map(|known| known.client).or(leeches.then_some(client));
        let seeds = elsewhere(|state| state == PeerState::Seeder);
        let has_it_now = downloaded > 0 && known.is_some_and(|known| known.may_have_nothing);
        let snatched = if (was_seeder || seeds) && !has_it_now {
            false
        } else if let Some(before) = before {
            match self.had.remove(&(info_hash, client)) {
                Some(had) => downloaded > 0 && downloaded != had,
                None => event == Event::Completed || downloaded > 0 || before != client,
            }
        } else {
            self.limits.count_unknown && event == Event::Completed
        };
        if snatched && (leeches || seeds) {
            self.had.insert((info_hash, client), downloaded);
        }
        swarm.snatches = swarm.snatches.saturating_add(u32::from(snatched));
        snatched
    }

    fn is_full(&self) -> bool {
        let peers: usize = self.swarms.values().map(|swarm| swarm.peers.len()).sum();
        peers >= self.limits.peers_max
    }
}

impl Swarm {
    /// Clients are counted once: an IPv6 endpoint is left out when its client is here over IPv4.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { snatches: self.snatches, ..Counts::default() };
        let over_v4 = self.peers.iter().filter(|(at, _)| at.is_ipv4());
        let mut clients: Vec<ClientTag> = over_v4.map(|(_, peer)| peer.client).collect();
        clients.sort_unstable();
        for (at, peer) in &self.peers {
            let twin = at.is_ipv6() && clients.binary_search(&peer.client).is_ok();
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

impl Peer {
    /// Silent for more than `timeout`; both ends are known to 4 seconds.
    fn is_silent(&self, timeout: Seconds, now: Seconds) -> bool {
        tick(now).since(self.last_seen).0 > timeout.0.next_multiple_of(4)
    }
}

/// The state of the peer as its announce says it, unless that is `stopped`.
pub fn state(announce: &Announce) -> PeerState {
    match (announce.left, announce.event) {
        (0, _) => PeerState::Seeder,
        (_, Event::Paused) => PeerState::PartialSeed,
        _ => PeerState::Leecher,
    }
}

/// The engine's clock goes in steps of 4 seconds.
fn tick(now: Seconds) -> Seconds {
    Seconds(now.0 / 4 * 4)
}

fn write(at: &SocketAddr, reply: &mut Reply) {
    let compact = match at.ip() {
        IpAddr::V4(ip) => {
            reply.peers_v4.extend_from_slice(&ip.octets());
            &mut reply.peers_v4
        }
        IpAddr::V6(ip) => {
            reply.peers_v6.extend_from_slice(&ip.octets());
            &mut reply.peers_v6
        }
    };
    compact.extend_from_slice(&at.port().to_be_bytes());
}
