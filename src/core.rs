//! The engine of a core: its shard, its counters, and the way to the other cores. It decides with values; sockets
//! are [`crate::front`]'s.

pub mod changes;
pub mod connection_id;
pub mod crowd;
pub mod floods;
pub mod interval;
pub mod load;
pub mod mesh;
pub mod private_side;
pub mod route;

use std::net::IpAddr;
use std::sync::Arc;

use ops::counters::{self, Family, Protocol, Reason};
use ops::lists::{Standing, Standings, TorrentLists, Verdict};
use ops::screening::lookups::Said;
use ops::screening::{Gate, Table, Verdict as Screened};
use persist::Trouble;
use shard::{
    Announce, Counts, Event, InfoHash, Outcome, PeerChange, Refusal, Reply, Seconds, Shard,
};

use crate::api::OpenState;
use crate::config::{Config, Refusals};
use crate::core::changes::Changes;
use crate::core::connection_id::ConnectionIds;
use crate::core::crowd::Crowd;
use crate::core::floods::Floods;
use crate::core::interval::Controller;
use crate::core::mesh::Address;
use crate::core::mesh::ask::Stood;
use crate::core::mesh::gather::Gather;
use crate::core::mesh::message::{CountPart, CountedPart, Message, ReplyTo};
use crate::core::mesh::unheard::Unheard;
use crate::private::core::Private;
use crate::process::clock::{Clock, Jump};

/// The state of one core, by which it decides.
pub struct Engine {
    /// Which core this is, from 0.
    pub number: usize,
    /// The operator's options.
    pub settings: Arc<Config>,
    /// The swarms whose infohash this core owns.
    pub shard: Shard,
    /// Registered torrents and known users, where the tracker is private.
    pub private: Option<Box<Private>>,
    /// The counts of what happened here since the start.
    pub counters: counters::Core,
    /// The time.
    pub clock: Clock,
    /// Issues and checks the connection ids of UDP.
    pub connection_ids: ConnectionIds,
    /// Whether somebody hides where announces come from.
    pub crowd: Crowd,
    /// Which interval to answer.
    pub interval: Controller,
    /// Which torrents are allowed.
    pub lists: Arc<TorrentLists>,
    /// What the API has said of torrents that this core owns.
    pub said: Standings,
    /// Which addresses are served.
    pub gate: Gate,
    /// How much is answered, and of whom.
    pub floods: Floods,
    /// So many rounds of the sweep are to be made sooner, as rules about addresses have changed.
    pub hurried_rounds: u8,
    /// The other cores; this one's own address is among them.
    pub mesh: Vec<Address<Message>>,
    /// Scrapes that wait for other cores.
    pub gather: Gather<ReplyTo>,
    /// The site's changes that other cores have not heard yet.
    pub unheard: Unheard,
    /// What changes is noted, as another process takes over.
    pub changes: Option<Box<Changes>>,
    /// Set when the tracker stops: from then on clients only leave.
    pub draining: bool,
    /// The source of all chance on this core, but for intervals.
    pub random: fastrand::Rng,
    /// The source of chance for intervals. One of its own, as `random` has to draw the same when an announce is applied
    /// as when its memory was asked for ([`Shard::warm`]).
    pub moments: fastrand::Rng,
    /// Filled by every announce; its buffers are used again.
    pub reply: Reply,
}

/// Said by the first core for all.
static JUMPED: Trouble = Trouble::new();

/// Why there is nothing to read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotLent {
    /// The first edition is still being made.
    #[error("Full scrape is not ready yet, please try again in a minute")]
    NotMade,
    /// As many read as may.
    #[error("Full scrape is being read by too many, please try again in a minute")]
    ReadersMax,
}

/// Why a request was not answered, with the text for the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Only named torrents are served and nobody names it, or it is on the deny-list.
    #[error("Torrent not allowed on this tracker")]
    Torrent,
    /// The API has withdrawn the torrent, for this reason.
    #[error("Torrent withdrawn{}{}", if .0.is_empty() { "" } else { ": " }, .0)]
    Withdrawn(Arc<str>),
    /// The shard is full.
    #[error(transparent)]
    Full(Refusal),
    /// The owner's inbox is full; the client should ask again soon.
    #[error("Tracker overloaded, please try again")]
    Overload,
    /// There is no full scrape to be had now.
    #[error(transparent)]
    FullScrape(NotLent),
    /// Its network has asked too often.
    #[error("Too many requests")]
    Rate,
    /// Its service has had as many requests as it may.
    #[error("Tracker busy, please try later")]
    Shed,
    /// Its service has been switched off.
    #[error("Service is switched off")]
    Off,
    /// The country of its address is not known.
    #[error("Tracker busy, please try again")]
    Deferred,
    /// The tracker is stopping.
    #[error("Tracker is restarting, please try again")]
    Draining,
}

impl Refused {
    /// The metrics' name for it.
    pub fn reason(&self) -> Reason {
        match self {
            Refused::Torrent | Refused::Withdrawn(_) => Reason::Torrent,
            Refused::Full(_) => Reason::Full,
            Refused::Rate => Reason::Rate,
            Refused::Shed | Refused::Off => Reason::Shed,
            Refused::Overload | Refused::FullScrape(_) | Refused::Deferred | Refused::Draining => {
                Reason::Overload
            }
        }
    }

    /// When who is refused for the moment comes back; `None` where it is for good. What is for the moment is no failure,
    /// as most clients come back after one at times of their own, which are sooner.
    pub fn comeback(&self) -> Option<Comeback> {
        match self {
            Refused::Torrent | Refused::Withdrawn(_) => None,
            Refused::Full(_)
            | Refused::Overload
            | Refused::FullScrape(_)
            | Refused::Deferred
            | Refused::Draining => Some(Comeback::Soon),
            Refused::Rate | Refused::Shed | Refused::Off => Some(Comeback::MuchLater),
        }
    }
}

/// When a client comes back that is turned away for the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comeback {
    /// In a minute or two.
    Soon,
    /// After one to two intervals.
    MuchLater,
}

/// What a client is told of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TurnedAway {
    /// The reason, as a failure, with this interval.
    Failure(Seconds),
    /// A success with nobody.
    Nobody {
        /// When to come back.
        interval: Seconds,
        /// The reason stands there as a warning.
        says_why: bool,
    },
}

/// When a client comes back that could not be served for the moment: from so long on, to twice as long, so that those
/// who were turned away together do not come together.
pub const SOON: Seconds = Seconds(60);

/// When a client comes back that will not be served, as sites are used to.
pub const LATE: Seconds = Seconds(5400);

/// No answer has a longer interval.
const LATEST: Seconds = Seconds(12 * 3600);

/// A peer may move to where the sweep has been already, but not twice.
pub const HURRIED_ROUNDS: u8 = 2;

/// Where the torrents of a scrape are known.
pub enum Scraped {
    /// All here: the answer, in the order asked.
    Here(Vec<Option<Counts>>),
    /// Some elsewhere: the answer goes to `reply_to` later.
    Later,
}

/// The family a request came over; IPv4-mapped addresses were made IPv4 before.
pub fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// Leaves only peers in an answer whom the rules about addresses do not refuse.
#[cold]
fn withhold_refused(gate: &Gate, reply: &mut Reply) {
    keep_if(&mut reply.peers_v4, |peer: &[u8; 6]| {
        let address: [u8; 4] = peer[..4].try_into().expect("an address and a port");
        !gate.refuses(address.into())
    });
    keep_if(&mut reply.peers_v6, |peer: &[u8; 18]| {
        let address: [u8; 16] = peer[..16].try_into().expect("an address and a port");
        !gate.refuses(IpAddr::from(address))
    });
}

/// Keeps those of compact peers of which `is_kept` says so, in their order.
fn keep_if<const N: usize>(peers: &mut Vec<u8>, is_kept: impl Fn(&[u8; N]) -> bool) {
    let mut kept = 0;
    for at in (0..peers.len() / N * N).step_by(N) {
        let peer: [u8; N] = peers[at..at + N].try_into().expect("so long");
        if is_kept(&peer) {
            peers[kept..kept + N].copy_from_slice(&peer);
            kept += N;
        }
    }
    peers.truncate(kept);
}

impl Engine {
    /// The core that owns `info_hash`. The second name of a hybrid torrent is owned where the first one is.
    #[inline]
    pub fn owner(&self, info_hash: &InfoHash) -> usize {
        let cores = self.mesh.len();
        match &self.private {
            None => route::owner(info_hash, cores),
            Some(private) => route::owner(&private.site.hybrids().first_of(info_hash), cores),
        }
    }

    /// The core that owns `info_hash`; `None` when it is this one.
    #[inline]
    pub fn elsewhere(&self, info_hash: &InfoHash) -> Option<usize> {
        let owner = self.owner(info_hash);
        (owner != self.number).then_some(owner)
    }

    /// What happens to who comes from an address, which is canonical. Nothing is looked at where there are no rules.
    #[inline]
    pub fn screen(&mut self, address: IpAddr, protocol: Protocol) -> Screened {
        match self.gate.has_rules() {
            false => Screened::Allow,
            true => self.screen_by_rules(address, protocol),
        }
    }

    #[cold]
    #[inline(never)]
    fn screen_by_rules(&mut self, address: IpAddr, protocol: Protocol) -> Screened {
        let now = self.clock.now();
        let verdict = self.gate.judge(address, protocol.label(), now, &mut self.counters.screened);
        // A datagram may say that it comes from anywhere.
        if protocol == Protocol::Http {
            self.gate.ask(now);
        }
        verdict
    }

    /// Takes in what look-ups say of countries. Who is refused since leaves with the next rounds of the sweep.
    pub fn hear_countries(&mut self, said: &[Said]) {
        if self.gate.take_in(said) {
            // A round may be half over, and does not begin anew: others may be refused again and again.
            self.hurried_rounds = HURRIED_ROUNDS + 1;
        }
    }

    /// Has other rules about addresses from now on; peers that they refuse leave with the next rounds of the sweep.
    pub fn screen_by(&mut self, table: Arc<Table>) {
        self.gate.put(table);
        if self.hurried_rounds > 0 {
            // To begin anew with each of many changes would be never to come to the end.
            self.hurried_rounds = HURRIED_ROUNDS + 1;
            return;
        }
        self.hurried_rounds = HURRIED_ROUNDS;
        match &mut self.private {
            None => self.shard.sweep_anew(),
            Some(private) => private.swarms.sweep_anew(),
        }
    }

    /// Takes those out of the answer whom new rules about addresses refuse: until the sweep has come by everywhere, some of
    /// them are in swarms.
    #[cold]
    #[inline(never)]
    pub(in crate::core) fn withhold_refused(&mut self) {
        withhold_refused(&self.gate, &mut self.reply);
    }

    /// Applies an announce of a torrent that this core owns and leaves the answer in `self.reply`; the interval to answer.
    pub fn announce(
        &mut self,
        announce: &Announce,
        protocol: Protocol,
        now: Seconds,
    ) -> Result<Seconds, Refused> {
        debug_assert_eq!(self.elsewhere(&announce.info_hash), None);
        let family = family(announce.address);
        // Who says that it leaves is answered in any case: some clients wait for that for more than a minute.
        let leaves = announce.event == Event::Stopped;
        let applied = if self.draining && !leaves {
            Err(Refused::Draining)
        } else if !leaves && let Err(refused) = self.permit(&announce.info_hash, now) {
            Err(refused)
        } else {
            let interval = self.next_interval(now);
            let steady = self.clock.steady_at(now);
            let silent_from = self.interval.silent_from(interval, steady);
            self.shard
                .announce_until(announce, steady, silent_from, &mut self.random, &mut self.reply)
                .map(|outcome| {
                    if self.changes.is_some() {
                        self.note_change(announce, silent_from, outcome);
                    }
                    (interval, outcome)
                })
                .map_err(Refused::Full)
        };
        if self.hurried_rounds > 0 {
            self.withhold_refused();
        }
        self.crowd.note(announce.address);
        let front = self.counters.front(protocol, family);
        match applied {
            Ok((interval, outcome)) => {
                front.announces += 1;
                front.peers_sent +=
                    (self.reply.peers_v4.len() / 6 + self.reply.peers_v6.len() / 18) as u64;
                self.counters.snatches += u64::from(outcome.snatched);
                Ok(interval)
            }
            Err(refused) => {
                front.refuse(refused.reason());
                Err(refused)
            }
        }
    }

    /// Notes for the process that takes over what an announce has made.
    #[cold]
    #[inline(never)]
    fn note_change(&mut self, announce: &Announce, silent_from: Seconds, outcome: Outcome) {
        let silent_from = self.clock.wall_at(silent_from);
        let change = PeerChange::of(announce, silent_from, outcome, self.reply.counts);
        if let (Some(changes), Some(change)) = (&mut self.changes, change) {
            changes.note(change);
        }
    }

    /// Does what the process before this one has done since the snapshot that this core has loaded.
    pub fn follow(&mut self, changes: &[PeerChange], is_late: bool) {
        let (now, ahead) = (self.clock.steady(), self.clock.ahead());
        for change in changes {
            let silent_from = Seconds((i64::from(change.silent_from.0) - ahead).max(0) as u32);
            self.shard.follow(&PeerChange { silent_from, ..*change }, is_late, now);
            if is_late && let Some(changes) = &mut self.changes {
                // Somebody takes over from this process already, and has to know as well.
                let counts = self.shard.scrape(&change.info_hash).unwrap_or_default();
                changes.note(PeerChange { snatches: counts.snatches, ..*change });
            }
        }
    }

    /// Whether a torrent that this core owns is served.
    #[inline]
    fn permit(&self, info_hash: &InfoHash, now: Seconds) -> Result<(), Refused> {
        match self.lists.verdict(&self.said, info_hash, || now) {
            Verdict::Served => Ok(()),
            Verdict::Denied | Verdict::Unlisted => Err(Refused::Torrent),
            Verdict::Withdrawn(withdrawal) => Err(Refused::Withdrawn(withdrawal.reason.clone())),
        }
    }

    /// What becomes of who asks for a torrent that this core owns.
    pub fn verdict(&self, info_hash: &InfoHash) -> Verdict<'_> {
        self.lists.verdict(&self.said, info_hash, || self.clock.now())
    }

    /// Says something of a torrent that this core owns. One that is not served any more loses its swarm at once. How it
    /// is then, and whether it was served but for the deny-list before.
    pub fn stand(&mut self, info_hash: InfoHash, standing: Standing) -> (Stood, bool) {
        let before = self.verdict(&info_hash);
        let was_served = matches!(before, Verdict::Served | Verdict::Denied);
        self.said.put(info_hash, standing);
        if self.verdict(&info_hash) != Verdict::Served {
            self.shard.remove(&info_hash);
        }
        (self.stood(&info_hash), was_served)
    }

    /// How a torrent is that this core owns.
    pub fn stood(&self, info_hash: &InfoHash) -> Stood {
        let state = match self.verdict(info_hash) {
            Verdict::Served => OpenState::Served,
            Verdict::Denied => OpenState::Denied,
            Verdict::Withdrawn(_) => OpenState::Withdrawn,
            Verdict::Unlisted => OpenState::Unlisted,
        };
        Stood { state, counts: self.shard.scrape(info_hash) }
    }

    /// What a client is told whose announce is refused for this reason.
    pub fn told_of(&mut self, refused: &Refused) -> TurnedAway {
        let interval = match refused.comeback() {
            Some(Comeback::Soon) => self.soon(),
            Some(Comeback::MuchLater) => self.much_later(),
            None if matches!(refused, Refused::Withdrawn(_)) => return self.told_for_good(LATE),
            None => {
                return match self.settings.refusals {
                    Refusals::Failure => TurnedAway::Failure(self.interval.current()),
                    Refusals::Quiet => TurnedAway::Nobody { interval: LATE, says_why: true },
                };
            }
        };
        TurnedAway::Nobody { interval, says_why: false }
    }

    /// What a client is told that will not be served, and is to come back after `interval`.
    pub fn told_for_good(&self, interval: Seconds) -> TurnedAway {
        match self.settings.refusals {
            Refusals::Failure => TurnedAway::Failure(interval),
            Refusals::Quiet => TurnedAway::Nobody { interval, says_why: true },
        }
    }

    /// When somebody who could not be served for the moment comes back.
    pub fn soon(&mut self) -> Seconds {
        SOON + Seconds(self.random.u32(..=SOON.0))
    }

    /// When somebody comes back who asks more than there is room for: in one to two intervals, so that those who were turned
    /// away together do not come together.
    pub fn much_later(&mut self) -> Seconds {
        let interval = self.interval.current();
        (interval + Seconds(self.random.u32(..=interval.0))).min(LATEST)
    }

    /// The interval to answer now.
    #[inline]
    pub fn next_interval(&mut self, now: Seconds) -> Seconds {
        self.interval.answer(self.clock.steady_at(now), &mut self.moments)
    }

    /// Follows the wall clock. After a far jump nobody knows for how long peers have been silent: so they are
    /// believed from now on.
    pub fn follow_clock(&mut self) {
        let Some(Jump { by, is_far }) = self.clock.follow() else { return };
        let now = self.clock.now();
        if is_far && let Some(private) = &mut self.private {
            private.swarms.believe_from(now);
        }
        if self.number == 0
            && let Some(times) = JUMPED.again("")
        {
            tracing::warn!(
                seconds = by,
                now = now.0,
                times,
                "the system's clock has jumped, or the machine was suspended; it is followed"
            );
        }
    }

    /// Hands `message` to another core; hands it back when that core's inbox is full.
    #[expect(clippy::result_large_err, reason = "a message comes back as it went, without a box")]
    pub fn send(&mut self, to: usize, message: Message) -> Result<(), Message> {
        let sent = self.mesh[to].send(message);
        let channel = &mut self.counters.channels[to];
        match sent {
            Ok(()) => channel.sent += 1,
            Err(_) => channel.dropped += 1,
        }
        sent
    }

    /// Counts the torrents of a scrape. What other cores own is asked of them, and the whole goes to
    /// `reply_to` when they have answered; where that cannot be, they stay unknown.
    pub fn scrape(&mut self, hashes: &[InfoHash], reply_to: ReplyTo, now: Seconds) -> Scraped {
        let cores = self.mesh.len();
        match &self.private {
            None => self.shard.warm_counts(hashes),
            Some(private) => private.swarms.warm_counts(hashes),
        }
        let mut counts: Vec<Option<Counts>> =
            hashes.iter().map(|info_hash| self.count(info_hash)).collect();
        if hashes.iter().all(|info_hash| self.elsewhere(info_hash).is_none()) {
            return Scraped::Here(counts);
        }
        let parts = route::split(hashes, cores, |info_hash| self.owner(info_hash));
        let others = |(core, part): &(usize, Vec<u16>)| *core != self.number && !part.is_empty();
        let parts: Vec<(usize, Vec<u16>)> = parts.into_iter().enumerate().filter(others).collect();
        let steady = self.clock.steady_at(now);
        let id = match self.gather.begin(reply_to, counts, parts.len(), steady) {
            Ok(id) => id,
            Err((_, own)) => return Scraped::Here(own),
        };
        let from = self.number;
        for (core, positions) in parts {
            let asked = positions.iter().map(|at| hashes[usize::from(*at)]).collect();
            let part = Box::new(CountPart { from, id, positions, hashes: asked });
            if let Err(Message::Count(part)) = self.send(core, Message::Count(part)) {
                // That core is drowning: its torrents stay unknown in this answer.
                let unknown = vec![None; part.positions.len()];
                if let Some((_, whole)) = self.gather.take(id, &part.positions, &unknown) {
                    counts = whole;
                    return Scraped::Here(counts);
                }
            }
        }
        Scraped::Later
    }

    /// Counts the torrents that another core asked about and sends the answer back.
    pub fn count_part(&mut self, part: CountPart) {
        let counts = part.hashes.iter().map(|info_hash| self.count(info_hash)).collect();
        let CountPart { from, id, positions, .. } = part;
        let answer = Box::new(CountedPart { id, positions, counts });
        // When the asker is drowning, its deadline answers for it.
        let _ = self.send(from, Message::Counted(answer));
    }

    fn count(&self, info_hash: &InfoHash) -> Option<Counts> {
        if self.elsewhere(info_hash).is_some() || self.verdict(info_hash) != Verdict::Served {
            return None;
        }
        match &self.private {
            None => self.shard.scrape(info_hash),
            Some(private) => private.swarms.scrape(info_hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a26_what_is_refused_for_the_moment_is_no_failure() {
        let soon = [
            Refused::Full(Refusal::PeersMax),
            Refused::Overload,
            Refused::FullScrape(NotLent::NotMade),
            Refused::Deferred,
            Refused::Draining,
        ];
        assert!(soon.iter().all(|refused| refused.comeback() == Some(Comeback::Soon)));
        let much_later = [Refused::Rate, Refused::Shed, Refused::Off];
        assert!(much_later.iter().all(|refused| refused.comeback() == Some(Comeback::MuchLater)));
        let for_good = [Refused::Torrent, Refused::Withdrawn("Dupe".into())];
        assert!(for_good.iter().all(|refused| refused.comeback().is_none()));
    }
}
