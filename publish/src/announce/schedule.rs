//! Which torrent is announced to which tracker next, as plain data: time comes in, announces come out.
//!
//! A torrent has a `Line` for each tier that is asked for itself: one for all its tiers in order (BEP 12), or one for
//! each (`every_tier`). A line stands in exactly one place: in the timer until it is due, in the queue of the tracker that
//! it asks next, or under way. No torrent has a task or a timer of its own.
//!
//! A tracker that is not reached is asked by one line at a time, later and later, and all others go past it to their
//! next tier, or wait.

mod lines;
mod state;
mod trackers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shard::InfoHash;
use tokio::time::Instant;

use self::state::{At, Entry, Host, Line, Phase, Place, Standing, Tracker, Urgency, Walk};
use super::address::{Address, Protocol};
use super::answer::{Answer, Refusal};
use super::{
    Announce, Event, Options, Torrent, TorrentStatus, TrackerState, TrackerStatus, Transfer,
    Unsaid, pace,
};

/// All torrents and trackers, and what is to be said.
#[derive(Debug)]
pub(crate) struct Schedule {
    options: Options,
    random: fastrand::Rng,
    torrents: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_hash: HashMap<InfoHash, u32>,
    /// Slots of torrents that are leaving, by infohash: who comes back waits until that is said.
    leaving: HashMap<InfoHash, u32>,
    addresses: HashMap<Box<str>, Arc<Tracker>>,
    hosts: Vec<Host>,
    by_origin: HashMap<(Protocol, Box<str>, u16), u32>,
    timer: BTreeSet<(Instant, Place)>,
    /// Hosts with somebody in their queue.
    waiting: BTreeSet<u32>,
    in_flight: usize,
    external: [Option<IpAddr>; 2],
    stopping: bool,
    /// Who could not be told, while it is being stopped.
    untold: Vec<Unsaid>,
}

/// An announce that is to be made now. What became of it has to be told to [`Schedule::finished`].
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// To be given back.
    pub(crate) ticket: Ticket,
    /// Whom to ask.
    pub(crate) address: Arc<Address>,
    /// What to say.
    pub(crate) announce: Announce,
}

/// Which announce it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    place: Place,
    host: u32,
    tracker: u16,
    event: Event,
    left: u64,
    begun: Instant,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Make this announce, and ask again.
    Ask(Box<Ask>),
    /// Nothing until then, or until something happens.
    Wait(Option<Instant>),
}

/// What became of an announce.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The tracker has booked it.
    Answered(Answer),
    /// The tracker has answered that it has not.
    Refused(Refusal),
    /// The tracker was not reached, or says that it is not well: true of every torrent.
    Unreachable(Refusal),
    /// It was given up here; it may have arrived.
    GivenUp,
}

impl Schedule {
    /// Nothing to announce yet. `random` is for the jitter of what is tried again.
    pub(crate) fn new(options: Options, random: fastrand::Rng) -> Self {
        Self {
            options,
            random,
            torrents: Vec::new(),
            free: Vec::new(),
            by_hash: HashMap::new(),
            leaving: HashMap::new(),
            addresses: HashMap::new(),
            hosts: Vec::new(),
            by_origin: HashMap::new(),
            timer: BTreeSet::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            external: [None, None],
            stopping: false,
            untold: Vec::new(),
        }
    }

    /// Announces a torrent from now on. One that is there already stays as it is. Returns the URLs that cannot be asked.
    pub(crate) fn add(
        &mut self,
        torrent: Torrent,
        transfer: Arc<Transfer>,
        now: Instant,
    ) -> Vec<(String, super::NoAddress)> {
        let mut wrong = Vec::new();
        if self.stopping || self.by_hash.contains_key(&torrent.info_hash) {
            return wrong;
        }
        let mut number = 0;
        let mut tiers: Vec<Vec<Standing>> = Vec::new();
        for tier in torrent.tiers {
            let mut standings: Vec<Standing> = Vec::new();
            for url in tier {
                if usize::from(number) == TRACKERS_MAX {
                    break;
                }
                match self.tracker(&url, now) {
                    Ok(tracker) => {
                        let given = |standing: &Standing| Arc::ptr_eq(&standing.tracker, &tracker);
                        if !standings.iter().any(given) && !tiers.iter().flatten().any(given) {
                            standings.push(Standing::new(tracker, number));
                            number += 1;
                        }
                    }
                    Err(error) => wrong.push((url, error)),
                }
            }
            self.random.shuffle(&mut standings);
            if !standings.is_empty() {
                tiers.push(standings);
            }
        }
        let line = |tiers| Line { tiers, at: At::Nowhere };
        let lines: Vec<Line> = if torrent.every_tier {
            tiers.into_iter().map(|tier| line(vec![tier])).collect()
        } else if tiers.is_empty() {
            Vec::new()
        } else {
            vec![line(tiers)]
        };
        let held = self.leaving.contains_key(&torrent.info_hash);
        let entry = Entry {
            info_hash: torrent.info_hash,
            private: torrent.private,
            phase: if held { Phase::Held } else { Phase::Here },
            completed: false,
            hurried: false,
            in_flight: 0,
            uploaded_before: transfer.uploaded.load(Ordering::Relaxed),
            downloaded_before: transfer.downloaded.load(Ordering::Relaxed),
            transfer,
            peers: VecDeque::new(),
            lines,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.torrents[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.torrents.push(Some(entry));
                (self.torrents.len() - 1) as u32
            }
        };
        self.by_hash.insert(torrent.info_hash, slot);
        self.place_all(slot, now);
        wrong
    }

    /// Says that what was missing was downloaded. Trackers that knew it to be missing are told at once.
    pub(crate) fn completed(&mut self, info_hash: &InfoHash, now: Instant) {
        let Some(&slot) = self.by_hash.get(info_hash) else { return };
        let entry = self.entry(slot);
        entry.completed = true;
        entry.peers = VecDeque::new();
        self.place_all(slot, now);
    }

    /// Asks for peers as soon as the tracker allows it.
    pub(crate) fn hurry(&mut self, info_hash: &InfoHash, now: Instant) {
        let Some(&slot) = self.by_hash.get(info_hash) else { return };
        self.entry(slot).hurried = true;
        self.place_all(slot, now);
    }

    /// Leaves the swarm; those trackers are told that know the torrent.
    pub(crate) fn remove(&mut self, info_hash: &InfoHash, now: Instant) {
        let Some(slot) = self.by_hash.remove(info_hash) else { return };
        for line in 0..self.entry(slot).lines.len() {
            self.unplace((slot, line as u16));
        }
        let entry = self.entry(slot);
        entry.peers = VecDeque::new();
        if entry.phase == Phase::Held {
            self.free(slot);
            return;
        }
        entry.phase = Phase::Leaving;
        self.leaving.insert(*info_hash, slot);
        self.leave(slot, now);
    }

    /// Leaves every swarm, and takes no more torrents.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.stopping = true;
        let all: Vec<InfoHash> = self.by_hash.keys().copied().collect();
        for info_hash in all {
            self.remove(&info_hash, now);
        }
        // Who waits for another try to say it has it now, or never.
        let left: Vec<u32> = self.leaving.values().copied().collect();
        for slot in left {
            self.place_all(slot, now);
        }
    }

    /// Who was not told yet that a torrent left.
    pub(crate) fn unsaid(&self) -> Vec<Unsaid> {
        let left = self.leaving.values().filter_map(|slot| self.torrents[*slot as usize].as_ref());
        let left = left.flat_map(|entry| {
            let standings =
                entry.lines.iter().flat_map(Line::standings).filter(|standing| standing.known);
            standings.map(|standing| Unsaid {
                info_hash: entry.info_hash,
                tracker: standing.tracker.address.to_string(),
            })
        });
        self.untold.iter().cloned().chain(left).collect()
    }

    /// Whether it was stopped, and everybody has been told.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopping && self.is_done()
    }

    /// Whether everybody has been told who had to be.
    fn is_done(&self) -> bool {
        self.leaving.is_empty() && self.in_flight == 0
    }

    /// The announces under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The torrents, in no order.
    pub(crate) fn torrents(&self) -> impl Iterator<Item = InfoHash> {
        self.by_hash.keys().copied()
    }

    /// The counters of a torrent.
    pub(crate) fn transfer(&self, info_hash: &InfoHash) -> Option<Arc<Transfer>> {
        let slot = self.by_hash.get(info_hash)?;
        self.torrents[*slot as usize].as_ref().map(|entry| Arc::clone(&entry.transfer))
    }

    /// Peers that trackers told of while something is missing; the latest last.
    pub(crate) fn peers(&self, info_hash: &InfoHash) -> Vec<SocketAddr> {
        let entry =
            self.by_hash.get(info_hash).and_then(|slot| self.torrents[*slot as usize].as_ref());
        entry.map(|entry| entry.peers.iter().copied().collect()).unwrap_or_default()
    }

    /// How a torrent stands with its trackers, in the order they were given.
    pub(crate) fn status(&self, info_hash: &InfoHash, now: Instant) -> Option<TorrentStatus> {
        let entry = self.torrents[*self.by_hash.get(info_hash)? as usize].as_ref()?;
        let mut trackers: Vec<(u16, TrackerStatus)> = Vec::new();
        for line in &entry.lines {
            let walk = self.walk(entry, line, now);
            for standing in line.standings() {
                let host = &self.hosts[standing.tracker.host as usize];
                let down = host.down_until.is_some_and(|until| until > now);
                let state = match () {
                    () if down => TrackerState::Unreachable,
                    () if standing.good => TrackerState::Working,
                    () if standing.failures > 0 => TrackerState::Refusing,
                    () if matches!(walk, Walk::Ask(number, ..) if number == standing.number) => {
                        TrackerState::Asking
                    }
                    () => TrackerState::NotAsked,
                };
                let text = if down { host.text.as_ref() } else { standing.text.as_ref() };
                let next =
                    [standing.next, host.down_until.filter(|_| down)].into_iter().flatten().max();
                trackers.push((
                    standing.number,
                    TrackerStatus {
                        url: standing.tracker.address.to_string(),
                        state,
                        text: text.map(|text| text.to_string()),
                        seeders: standing.seeders,
                        leechers: standing.leechers,
                        answered_ago: standing.answered.map(|at| now - at),
                        next_in: next.map(|next| next.saturating_duration_since(now)),
                    },
                ));
            }
        }
        trackers.sort_by_key(|(number, _)| *number);
        Some(TorrentStatus {
            info_hash: entry.info_hash,
            private: entry.private,
            peers: entry.peers.len(),
            trackers: trackers.into_iter().map(|(_, status)| status).collect(),
        })
    }

    /// The next announce to make.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        while let Some(&(due, place)) = self.timer.first() {
            if due > now {
                break;
            }
            self.place(place, now);
        }
        if self.in_flight >= self.options.in_flight_max {
            return Next::Wait(None);
        }
        loop {
            let mut wait = self.timer.first().map(|(due, _)| *due);
            let mut first: Option<(Urgency, Instant, Place, u32)> = None;
            for &number in &self.waiting {
                let host = &mut self.hosts[number as usize];
                let Some(&(urgency, since, place)) = host.queue.first() else { continue };
                if host.in_flight >= host.in_flight_max(self.options.in_flight_max) {
                    continue;
                }
                // Leaving has no pace but what is under way: there is little time for it.
                if !(self.stopping && urgency == Urgency::Stopped)
                    && let Some(until) = host.token(self.options.per_second_max, now)
                {
                    wait = Some(wait.map_or(until, |wait| wait.min(until)));
                    continue;
                }
                if first.is_none_or(|(best, best_since, ..)| (urgency, since) < (best, best_since))
                {
                    first = Some((urgency, since, place, number));
                }
            }
            let Some((_, _, place, number)) = first else { return Next::Wait(wait) };
            // What it was queued for may be over.
            self.unplace(place);
            if let Some(ask) = self.ask(place, number, now) {
                return Next::Ask(Box::new(ask));
            }
            self.place(place, now);
        }
    }

    /// Takes what became of an announce. Returns peers that are new, with their torrent.
    pub(crate) fn finished(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
    ) -> Option<(InfoHash, Vec<SocketAddr>)> {
        let (slot, _) = ticket.place;
        self.in_flight -= 1;
        self.hosts[ticket.host as usize].in_flight -= 1;
        let went_down = self.host_finished(&ticket, &outcome, now);

        let entry = self.torrents[slot as usize]
            .as_mut()
            .expect("a slot is kept while an announce is under way");
        entry.in_flight -= 1;
        let (line, tier, position) =
            entry.find(ticket.tracker).expect("trackers of a torrent stay");
        entry.lines[line].at = At::Nowhere;
        entry.hurried &= ticket.event == Event::Stopped;
        let standing = &mut entry.lines[line].tiers[tier][position];
        let mut found = None;
        match outcome {
            Outcome::Answered(answer) => {
                standing.answered(&ticket, &answer, now);
                let tier = &mut entry.lines[line].tiers[tier];
                let first = tier.remove(position);
                tier.insert(0, first);
                if let Some(external) = answer.external_ip {
                    self.external[usize::from(external.is_ipv6())] = Some(external);
                }
                if ticket.event != Event::Stopped {
                    found = self.found(slot, answer.peers);
                }
            }
            Outcome::Refused(refusal) => {
                standing.good = false;
                standing.failures = standing.failures.saturating_add(1);
                // It has answered that it does not know the torrent. What it was told of a download still counts.
                standing.known &= ticket.event == Event::Completed;
                let wait =
                    pace::after_failure(standing.failures.into(), refusal.wait, &mut self.random);
                standing.next = Some(now + wait);
                standing.least = standing.next;
                standing.text = Some(standing.tracker.address.redact(refusal.reason).into());
            }
            Outcome::Unreachable(refusal) => {
                standing.good = false;
                standing.failures = standing.failures.saturating_add(1);
                standing.text = Some(standing.tracker.address.redact(refusal.reason).into());
                // The server as a whole is waited for, unless others have reached it meanwhile.
                let wait =
                    pace::after_failure(standing.failures.into(), refusal.wait, &mut self.random);
                standing.next = (!went_down).then(|| now + wait);
                standing.least = standing.next;
            }
            Outcome::GivenUp => {
                standing.known |= ticket.event != Event::Stopped;
                standing.next = None;
            }
        }
        if ticket.event == Event::Stopped {
            self.give_up(slot, ticket.tracker);
        }
        match self.entry(slot).phase {
            Phase::Leaving | Phase::Left => self.leave(slot, now),
            Phase::Held | Phase::Here => self.place((slot, line as u16), now),
        }
        if went_down {
            self.requeue(ticket.host, now);
        }
        found
    }

    /// Who does not take a `stopped` in so many tries is not told.
    fn give_up(&mut self, slot: u32, tracker: u16) {
        let tries = if self.stopping { 1 } else { STOPPED_TRIES };
        let entry = self.torrents[slot as usize].as_mut().expect("slots that are named are in use");
        let Some((line, tier, position)) = entry.find(tracker) else { return };
        let standing = &mut entry.lines[line].tiers[tier][position];
        if standing.known && standing.failures >= tries {
            standing.known = false;
            let tracker = standing.tracker.address.to_string();
            if self.stopping {
                self.untold.push(Unsaid { info_hash: entry.info_hash, tracker });
            } else {
                tracing::info!(torrent = %entry.info_hash, %tracker, "not told that the torrent is gone; it will time out there");
            }
        }
    }

    /// Takes peers that were found while an announce is still under way.
    pub(crate) fn found_early(
        &mut self,
        ticket: &Ticket,
        peers: Vec<SocketAddr>,
    ) -> Option<(InfoHash, Vec<SocketAddr>)> {
        self.found(ticket.place.0, peers)
    }

    /// Bookkeeping of the server that was asked; whether it is now taken to be down.
    fn host_finished(&mut self, ticket: &Ticket, outcome: &Outcome, now: Instant) -> bool {
        let host = &mut self.hosts[ticket.host as usize];
        match outcome {
            Outcome::Answered(_) | Outcome::Refused(_) => {
                host.reached = Some(now);
                host.failures = 0;
                host.down_until = None;
                host.text = None;
                false
            }
            Outcome::Unreachable(refusal) if host.reached.is_none_or(|at| at <= ticket.begun) => {
                // Those that were under way together are one failure.
                if host.down_until.is_none_or(|until| until <= now) {
                    host.failures += 1;
                    let wait = pace::after_failure(host.failures, refusal.wait, &mut self.random);
                    host.down_until = Some(now + wait);
                    host.text = Some(refusal.reason.as_str().into());
                }
                true
            }
            Outcome::Unreachable(_) | Outcome::GivenUp => false,
        }
    }

    fn found(&mut self, slot: u32, peers: Vec<SocketAddr>) -> Option<(InfoHash, Vec<SocketAddr>)> {
        let port = self.options.port;
        let external = self.external;
        let entry = self.torrents[slot as usize].as_mut()?;
        if entry.phase != Phase::Here || entry.transfer.left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut new = Vec::new();
        for peer in peers {
            let is_self = peer.port() == port && external.contains(&Some(peer.ip()));
            if is_self {
                continue;
            }
            match entry.peers.iter().position(|known| *known == peer) {
                Some(at) => {
                    entry.peers.remove(at);
                }
                None => new.push(peer),
            }
            if entry.peers.len() == PEERS_MAX {
                entry.peers.pop_front();
            }
            entry.peers.push_back(peer);
        }
        (!new.is_empty()).then_some((entry.info_hash, new))
    }

    /// The tracker of a URL, the same for all torrents.
    fn tracker(&mut self, url: &str, now: Instant) -> Result<Arc<Tracker>, super::NoAddress> {
        if let Some(tracker) = self.addresses.get(url) {
            return Ok(Arc::clone(tracker));
        }
        let address = Address::parse(url)?;
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.retain(|_, tracker| Arc::strong_count(tracker) > 1);
        }
        let origin = (address.protocol, address.host.clone(), address.port);
        if self.hosts.len() >= HOSTS_MAX && !self.by_origin.contains_key(&origin) {
            return Err(super::NoAddress::Many);
        }
        let host = *self.by_origin.entry(origin).or_insert_with(|| {
            self.hosts.push(Host::new(f64::from(self.options.per_second_max.get()), now));
            (self.hosts.len() - 1) as u32
        });
        let tracker = Arc::new(Tracker { address: Arc::new(address), host });
        self.addresses.insert(url.into(), Arc::clone(&tracker));
        Ok(tracker)
    }

    /// A slot that is in use.
    fn entry(&mut self, slot: u32) -> &mut Entry {
        self.torrents[slot as usize].as_mut().expect("slots that are named are in use")
    }

    fn free(&mut self, slot: u32) {
        self.torrents[slot as usize] = None;
        self.free.push(slot);
    }
}

/// Of a torrent; the rest is not asked.
const TRACKERS_MAX: usize = 100;
/// Of a torrent that is being fetched; the one that was told of first gives way.
const PEERS_MAX: usize = 200;
/// URLs that are remembered without a torrent that has them.
const ADDRESSES_MAX: usize = 1_024;
/// Servers in the life of the program, of which each is remembered.
const HOSTS_MAX: usize = 16_384;
/// While it is not being stopped.
const STOPPED_TRIES: u16 = 3;

#[cfg(test)]
mod tests;
