//! A shard: the swarms of one core.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::choose::{Ask, choose};
use crate::downloads::{Completion, Downloads};
use crate::export::{self, Cursor};
use crate::family::Family;
use crate::hash::Keys;
use crate::index::Index;
use crate::peer::{Endpoint, Mark, Peer, Seen, V4, V6};
use crate::scope::Scope;
use crate::slab::Slab;
use crate::stores::Stores;
use crate::swarm::{Body, Entry, Joined};
use crate::sweep::{Expired, Sweep};
use crate::{
    Announce, Counts, Event, InfoHash, PeerRecord, PeerState, Piece, Refusal, Reply, Seconds,
};

/// Bounds of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Swarms held at most; an announce that would make one more is refused.
    pub swarms_max: usize,
    /// Peers held at most, both families together.
    pub peers_max: usize,
    /// A peer silent for longer leaves the swarm (up to 8 seconds late); one that was told to wait longer or shorter
    /// than others, as much later or sooner. At most 24 hours.
    pub peer_timeout: Seconds,
    /// How long an empty swarm is kept for its snatch count; one without snatches is not kept.
    pub swarm_retention: Seconds,
    /// `completed` of a client that is not known counts as a snatch too.
    pub count_unknown: bool,
}

/// The totals of a shard.
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

/// The outcome of an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The endpoint was not in the swarm before.
    pub joined: bool,
    /// The endpoint was in the swarm and left it.
    pub left: bool,
    /// A download completed, counted once per client.
    pub snatched: bool,
}

/// A swarm's part of the totals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) peers_v4: usize,
    pub(crate) peers_v6: usize,
}

/// The swarms of one core.
#[derive(Debug)]
pub struct Shard {
    pub(crate) limits: Limits,
    pub(crate) slab: Slab,
    pub(crate) stores: Stores,
    pub(crate) index: Index,
    pub(crate) totals: Totals,
    pub(crate) sweep: Sweep,
    downloads: Downloads,
    /// The latest time heard of; what a peer's wrapped time is relative to when it is exported.
    now: Seconds,
}

impl Shard {
    /// An empty shard. `seed` keys its hash tables, so that nobody can aim at one bucket.
    pub fn new(seed: u64, limits: Limits) -> Self {
        Self {
            limits,
            slab: Slab::default(),
            stores: Stores::new(Keys::new(seed)),
            index: Index::new(),
            totals: Totals::default(),
            sweep: Sweep::default(),
            downloads: Downloads::default(),
            now: Seconds::default(),
        }
    }

    /// Applies one announce and fills `reply` with the swarm's counts and at most
    /// `announce.numwant` peers.
    ///
    /// `stopped` takes the endpoint out, yields no peers, and is no mistake when the endpoint or the
    /// swarm is unknown. A snatch is the first announce with nothing left, `stopped` included, of a client that is
    /// known as a leecher over either family, or said that it had downloaded nothing, and has downloaded something since
    /// ([`crate::downloads`]); with
    /// [`Limits::count_unknown`], `completed` of a client that is not known is one as well.
    ///
    /// An endpoint that is new and has nothing left may have nothing at all, with a magnet link: it is told some seeders
    /// as well.
    ///
    /// One index lookup, a scan of at most 128 peers or of one bucket, then a number of candidates
    /// that follows `numwant`. Allocates when a list grows, at most some tens of KiB.
    ///
    /// The peer is told to wait for the usual interval; see [`Shard::announce_until`] for any other.
    pub fn announce(
        &mut self,
        announce: &Announce,
        now: Seconds,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        self.announce_until(announce, now, now, random, reply)
    }

    /// The same for a peer whose silence counts from `silent_from` on: `now`, and as much later or sooner as it is told
    /// to wait longer or shorter than the usual interval. At most 12 hours later.
    #[inline]
    pub fn announce_until(
        &mut self,
        announce: &Announce,
        now: Seconds,
        silent_from: Seconds,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        reply.clear();
        self.now = self.now.max(now);
        let times = (now, Seen::at(silent_from));
        match announce.address {
            IpAddr::V4(address) => {
                self.announce_from(V4::new(address, announce.port), announce, times, random, reply)
            }
            IpAddr::V6(address) => {
                self.announce_from(V6::new(address, announce.port), announce, times, random, reply)
            }
        }
    }

    /// The counts of a swarm; `None` when there is none.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Counts> {
        let slot = self.find(info_hash, self.hash(info_hash))?;
        Some(self.slab.entry(slot).counts(&self.stores))
    }

    /// Looks at the next `budget` peers and swarms of the sweep, at least at one, and drops what has
    /// timed out: silent peers, and swarms that stayed empty. Call it until a sweep has `finished`
    /// at least every few hours.
    pub fn expire(&mut self, now: Seconds, budget: usize) -> Expired {
        self.expire_refusing(now, budget, &|_| false)
    }

    /// The same, and drops peers of whose address `is_refused` says so.
    pub fn expire_refusing(
        &mut self,
        now: Seconds,
        budget: usize,
        is_refused: &impl Fn(IpAddr) -> bool,
    ) -> Expired {
        self.now = self.now.max(now);
        self.sweep(now, budget, is_refused)
    }

    /// Has the sweep begin anew, for what is refused since.
    pub fn sweep_anew(&mut self) {
        self.sweep = Sweep::default();
    }

    /// Appends about `peers_max` peers' worth of swarms to `piece`, from `cursor` on; true when the
    /// shard's end is reached. A piece may stay empty before the end.
    ///
    /// Announces may come between two pieces: a peer that moves meanwhile may be missed or appear
    /// twice, no other is.
    pub fn export(&self, cursor: &mut Cursor, peers_max: usize, piece: &mut Piece) -> bool {
        export::export(&self.slab, &self.stores, self.now, cursor, peers_max, piece)
    }

    /// Appends the counts of the next swarms to `counts`, at most `swarms_max` of them, from `cursor`
    /// on; true when the shard's end is reached. Nothing may be appended before the end.
    ///
    /// Looks at `swarms_max` entries, one cache line each and for a large swarm two. Announces may come
    /// between two pieces: a swarm that comes or goes meanwhile may be missed, and one that goes and
    /// comes again may appear twice; any other appears once, with the counts of its moment.
    pub fn counts(
        &self,
        cursor: &mut Cursor,
        swarms_max: usize,
        counts: &mut Vec<(InfoHash, Counts)>,
    ) -> bool {
        export::counts(&self.slab, &self.stores, cursor, swarms_max, counts)
    }

    /// Takes in a swarm (or a part of one) from a snapshot. Peers already here stay as they are;
    /// snatches become the larger number. Nothing is made of a swarm without peers and snatches.
    ///
    /// Refused when some of it does not fit the limits; what does is in.
    pub fn import(
        &mut self,
        info_hash: InfoHash,
        snatches: u32,
        peers_v4: impl Iterator<Item = PeerRecord<Ipv4Addr>>,
        peers_v6: impl Iterator<Item = PeerRecord<Ipv6Addr>>,
        now: Seconds,
    ) -> Result<(), Refusal> {
        self.now = self.now.max(now);
        let hash = self.hash(&info_hash);
        let slot = match self.find(&info_hash, hash) {
            Some(slot) => slot,
            None if self.totals.swarms >= self.limits.swarms_max => return Err(Refusal::SwarmsMax),
            None => self.add_swarm(info_hash, hash, now),
        };
        let entry = self.slab.entry_mut(slot);
        entry.snatches = entry.snatches.max(snatches);
        let v4 = self.import_peers::<V4>(slot, peers_v4, now);
        let v6 = self.import_peers::<V6>(slot, peers_v6, now);
        self.keep_or_drop(slot, now);
        v4.and(v6)
    }

    /// Drops a swarm and its peers, for a torrent that is no longer allowed; how many peers it had.
    pub fn remove(&mut self, info_hash: &InfoHash) -> Option<usize> {
        let slot = self.find(info_hash, self.hash(info_hash))?;
        let before = self.tally(slot);
        self.slab.entry_mut(slot).clear(&mut self.stores);
        self.account(slot, before);
        self.drop_swarm(slot);
        Some(before.peers_v4 + before.peers_v6)
    }

    /// How much a whole sweep looks at, in what [`Shard::expire`] calls its budget: the peers there are, and
    /// the places of swarms, which may be many more than the swarms that are left.
    pub fn walked(&self) -> usize {
        self.totals.peers_v4 + self.totals.peers_v6 + self.slab.walked()
    }

    /// The time has come to this.
    pub(crate) fn take_note_of(&mut self, now: Seconds) {
        self.now = self.now.max(now);
    }

    /// The shard's totals now. Costs nothing: the numbers are kept as they change.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    #[inline]
    fn announce_from<E: Family>(
        &mut self,
        endpoint: E,
        announce: &Announce,
        (now, seen): (Seconds, Seen),
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        let hash = self.hash(&announce.info_hash);
        let found = self.find(&announce.info_hash, hash);
        if announce.event == Event::Stopped {
            return Ok(found.map_or(Outcome::default(), |slot| {
                self.stop(slot, endpoint, announce, now, reply)
            }));
        }
        let slot = self.slot_for(announce.info_hash, hash, found, now)?;
        let before = self.tally(slot);
        let peer = Peer::new(endpoint, announce.client, seen).that(may_have_nothing(announce));
        let outcome = match self.join(slot, peer, announce) {
            // By far the most announces end here.
            (Joined::Same, _) => {
                reply.counts = before.counts;
                Outcome::default()
            }
            (joined, snatched) => {
                reply.counts = self.account(slot, before).counts;
                if joined == Joined::Refused {
                    reply.clear();
                    return Err(Refusal::PeersMax);
                }
                Outcome { joined: joined == Joined::New, left: false, snatched }
            }
        };
        let mut ask = ask(announce);
        ask.may_have_nothing = outcome.joined && announce.left == 0;
        choose(self.slab.entry(slot), &self.stores, &ask, random, reply);
        Ok(outcome)
    }

    /// The swarm to join: the one found, or a new one if there is room for it and its first peer.
    #[inline]
    pub(crate) fn slot_for(
        &mut self,
        info_hash: InfoHash,
        hash: u64,
        found: Option<u32>,
        now: Seconds,
    ) -> Result<u32, Refusal> {
        match found {
            Some(slot) => Ok(slot),
            None if self.totals.swarms >= self.limits.swarms_max => Err(Refusal::SwarmsMax),
            None if !self.has_room() => Err(Refusal::PeersMax),
            None => Ok(self.add_swarm(info_hash, hash, now)),
        }
    }

    /// Takes a peer in: what became of it, and whether that was a snatch.
    #[inline]
    fn join<E: Family>(&mut self, slot: u32, peer: Peer<E>, announce: &Announce) -> (Joined, bool) {
        let room = self.has_room();
        let entry = self.slab.entry_mut(slot);
        let joined = entry.join(&mut self.stores, peer, state(announce), room);
        let snatched = match joined {
            Joined::Same | Joined::Refused => false,
            Joined::New if announce.left > 0 => false,
            Joined::New => self.completes::<E>(slot, None, peer.mark, announce),
            Joined::Known(was, mark) => {
                self.completes::<E>(slot, Some((was, mark)), peer.mark, announce)
            }
        };
        (joined, snatched)
    }

    /// Notes that a client which is known as this, or not at all over its family, is there by `mark` with what it says it
    /// has left; whether that completes a download.
    #[cold]
    fn completes<E: Family>(
        &mut self,
        slot: u32,
        was: Option<(PeerState, Mark)>,
        mark: Mark,
        announce: &Announce,
    ) -> bool {
        let client = self.client_of(slot, mark);
        let was_seeder = was.is_some_and(|(state, _)| state == PeerState::Seeder);
        // It had a magnet link, and now it has what that is of.
        let has_it_now =
            was.is_some_and(|(_, mark)| mark.may_have_nothing()) && announce.downloaded > 0;
        if announce.left > 0 {
            if was_seeder {
                self.downloads.note(client, announce.downloaded);
            }
            return false;
        }
        let entry = self.slab.entry(slot);
        let elsewhere = |state| entry.is_elsewhere::<E>(&self.stores, mark, state);
        let leeches_elsewhere = elsewhere(PeerState::Leecher) || elsewhere(PeerState::PartialSeed);
        let seeds_elsewhere = elsewhere(PeerState::Seeder);
        let before = match was {
            Some((_, before)) => Some(before),
            None => leeches_elsewhere.then_some(mark),
        };
        let snatched = match before {
            _ if was_seeder && !has_it_now => false,
            _ if seeds_elsewhere && !has_it_now => false,
            Some(before) => {
                let is_another_session = before.client() != mark.client();
                let Announce { event, downloaded, .. } = *announce;
                let completion = Completion { event, downloaded, is_another_session };
                let is_one = self.downloads.is_one(client, &completion);
                self.downloads.forget(client);
                is_one
            }
            None => self.limits.count_unknown && announce.event == Event::Completed,
        };
        if snatched && (leeches_elsewhere || seeds_elsewhere) {
            // The other family has yet to say it.
            self.downloads.note(client, announce.downloaded);
        }
        let entry = self.slab.entry_mut(slot);
        entry.snatches = entry.snatches.saturating_add(u32::from(snatched));
        snatched
    }

    /// A client of a swarm, as [`Downloads`] knows it.
    fn client_of(&self, slot: u32, mark: Mark) -> u64 {
        let keys = &self.stores.pools.keys;
        let torrent = keys.info_hash(&self.slab.entry(slot).info_hash);
        keys.word(torrent ^ u64::from(mark.client().bits()))
    }

    fn stop<E: Family>(
        &mut self,
        slot: u32,
        endpoint: E,
        announce: &Announce,
        now: Seconds,
        reply: &mut Reply,
    ) -> Outcome {
        let before = self.tally(slot);
        let entry = self.slab.entry_mut(slot);
        let was = entry.leave(&mut self.stores, &endpoint);
        let snatched = announce.left == 0
            && was
                .is_some_and(|(state, mark)| state != PeerState::Seeder || mark.may_have_nothing())
            && self.completes::<E>(
                slot,
                was,
                Peer::new(endpoint, announce.client, Seen::at(now)).mark,
                announce,
            );
        reply.counts = self.slab.entry(slot).counts(&self.stores);
        if was.is_some() {
            self.account(slot, before);
            self.keep_or_drop(slot, now);
        }
        Outcome { left: was.is_some(), snatched, ..Outcome::default() }
    }

    fn import_peers<E: Family>(
        &mut self,
        slot: u32,
        records: impl Iterator<Item = PeerRecord<E::Address>>,
        now: Seconds,
    ) -> Result<(), Refusal> {
        let before = self.tally(slot);
        let mut room =
            self.limits.peers_max.saturating_sub(self.totals.peers_v4 + self.totals.peers_v6);
        let mut imported = Ok(());
        for record in records {
            let peer = Peer::<E>::from_record(&record, now);
            let entry = self.slab.entry_mut(slot);
            if entry.has(&self.stores, &peer.endpoint) {
                continue;
            }
            match entry.join(&mut self.stores, peer, record.state, room > 0) {
                Joined::Refused => imported = Err(Refusal::PeersMax),
                Joined::New | Joined::Known(..) | Joined::Same => room -= 1,
            }
        }
        self.account(slot, before);
        imported
    }

    #[inline]
    pub(crate) fn hash(&self, info_hash: &InfoHash) -> u64 {
        self.stores.pools.keys.info_hash(info_hash)
    }

    #[inline]
    pub(crate) fn find(&self, info_hash: &InfoHash, hash: u64) -> Option<u32> {
        self.index.find(hash, |slot| self.slab.entry(slot).info_hash == *info_hash)
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.totals.peers_v4 + self.totals.peers_v6 < self.limits.peers_max
    }

    fn add_swarm(&mut self, info_hash: InfoHash, hash: u64, now: Seconds) -> u32 {
        let slot = self.slab.insert(Entry::new(info_hash, now));
        let (slab, keys) = (&self.slab, self.stores.pools.keys);
        self.index.insert(hash, slot, |slot| keys.info_hash(&slab.entry(slot).info_hash));
        self.totals.swarms += 1;
        slot
    }

    /// Settles a swarm after peers have left: one without peers is kept for its snatches, from the moment it became
    /// empty, and dropped without any. True when it was dropped.
    pub(crate) fn keep_or_drop(&mut self, slot: u32, now: Seconds) -> bool {
        let entry = self.slab.entry_mut(slot);
        if entry.endpoints(&self.stores) != (0, 0) {
            return false;
        }
        if entry.snatches == 0 {
            self.drop_swarm(slot);
            return true;
        }
        if !matches!(entry.body, Body::Empty { .. }) {
            entry.body = Body::Empty { since: now };
        }
        false
    }

    /// Frees the place of a swarm without peers.
    pub(crate) fn drop_swarm(&mut self, slot: u32) {
        debug_assert_eq!(self.slab.entry(slot).endpoints(&self.stores), (0, 0));
        self.index.remove(self.hash(&self.slab.entry(slot).info_hash), slot);
        self.slab.remove(slot);
        self.totals.swarms -= 1;
    }

    /// The counts of a swarm.
    #[inline]
    pub(crate) fn tally(&self, slot: u32) -> Tally {
        let entry = self.slab.entry(slot);
        let (peers_v4, peers_v6) = entry.endpoints(&self.stores);
        Tally { counts: entry.counts(&self.stores), peers_v4, peers_v6 }
    }

    /// Brings the totals up to date with a swarm that was counted as `before`; as what it is now.
    pub(crate) fn account(&mut self, slot: u32, before: Tally) -> Tally {
        let after = self.tally(slot);
        let totals = &mut self.totals;
        totals.peers_v4 = totals.peers_v4 + after.peers_v4 - before.peers_v4;
        totals.peers_v6 = totals.peers_v6 + after.peers_v6 - before.peers_v6;
        let (was, is) = (before.counts, after.counts);
        totals.seeders = totals.seeders + is.seeders as usize - was.seeders as usize;
        totals.leechers = totals.leechers + is.leechers as usize - was.leechers as usize;
        after
    }
}

/// Whether it says that nothing is left and it has downloaded nothing.
#[inline]
pub(crate) fn may_have_nothing(announce: &Announce) -> bool {
    announce.left == 0 && announce.downloaded == 0
}

/// The state of the peer as its announce says it, unless that is `stopped`.
#[inline]
pub(crate) fn state(announce: &Announce) -> PeerState {
    match (announce.left, announce.event) {
        (0, _) => PeerState::Seeder,
        (_, Event::Paused) => PeerState::PartialSeed,
        _ => PeerState::Leecher,
    }
}

/// Reads from an announce what it asks for.
#[inline]
pub(crate) fn ask(announce: &Announce) -> Ask {
    Ask {
        client: announce.client,
        state: state(announce),
        reach: Scope::of_requester(announce.address),
        families: announce.families,
        is_v4: announce.address.is_ipv4(),
        numwant: usize::from(announce.numwant),
        may_have_nothing: false,
    }
}
