//! How torrents, their trackers and the servers of these stand.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shard::InfoHash;
use tokio::time::Instant;

use super::super::address::Address;
use super::super::answer::Answer;
use super::super::{Event, Transfer, pace};
use super::Ticket;

/// Slot and line.
pub(super) type Place = (u32, u16);

/// Who is first in a tracker's queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Urgency {
    Stopped,
    Completed,
    Fetching,
    Other,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) info_hash: InfoHash,
    pub(super) private: bool,
    pub(super) phase: Phase,
    pub(super) completed: bool,
    /// Somebody asked for peers before the interval is over.
    pub(super) hurried: bool,
    pub(super) in_flight: u16,
    pub(super) transfer: Arc<Transfer>,
    /// What the counters were when the torrent was added: trackers are told what came since.
    pub(super) uploaded_before: u64,
    pub(super) downloaded_before: u64,
    pub(super) peers: VecDeque<SocketAddr>,
    pub(super) lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It waits until its former self has left.
    Held,
    Here,
    /// Removed; as soon as nothing is under way, those that know it are told.
    Leaving,
    /// Its lines are those that have to be told.
    Left,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) tiers: Vec<Vec<Standing>>,
    pub(super) at: At,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Nowhere,
    Timer(Instant),
    Queue(u32, Urgency, Instant),
    UnderWay,
}

/// A URL that torrents share.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) address: Arc<Address>,
    pub(super) host: u32,
}

/// How a torrent stands with a tracker.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) tracker: Arc<Tracker>,
    /// Which of its torrent's trackers it is, in the order they were given.
    pub(super) number: u16,
    /// Regular announces wait until then.
    pub(super) next: Option<Instant>,
    /// And those that are asked for until then.
    pub(super) least: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) seeders: Option<u32>,
    pub(super) leechers: Option<u32>,
    pub(super) failures: u16,
    /// The last announce was answered.
    pub(super) good: bool,
    /// It was answered, and not left since: it has to be told when the torrent goes.
    pub(super) known: bool,
    /// It knows of something that was missing, and not that this is here now.
    pub(super) as_leecher: bool,
    /// An error or a warning.
    pub(super) text: Option<Box<str>>,
    pub(super) tracker_id: Option<Box<[u8]>>,
}

/// A tracker as a server: what is true of all its torrents.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) queue: BTreeSet<(Urgency, Instant, Place)>,
    pub(super) in_flight: usize,
    /// Has it ever answered?
    pub(super) reached: Option<Instant>,
    pub(super) failures: u32,
    pub(super) down_until: Option<Instant>,
    pub(super) text: Option<Box<str>>,
    /// Announces that it may get now, as at `counted`.
    pub(super) tokens: f64,
    pub(super) counted: Instant,
}

/// What a line does.
pub(super) enum Walk {
    /// This tracker is asked, on that server.
    Ask(u16, u32, Urgency),
    Wait(Instant),
    Nothing,
}

impl Entry {
    /// What a tracker has to be told.
    pub(super) fn event(&self, standing: &Standing) -> Event {
        match self.phase {
            Phase::Left => Event::Stopped,
            _ if !standing.known => Event::Started,
            _ if self.completed
                && standing.as_leecher
                && self.transfer.left.load(Ordering::Relaxed) == 0 =>
            {
                Event::Completed
            }
            _ => Event::None,
        }
    }

    pub(super) fn urgency(&self, event: Event) -> Urgency {
        match event {
            Event::Stopped => Urgency::Stopped,
            Event::Completed => Urgency::Completed,
            Event::Started if self.transfer.left.load(Ordering::Relaxed) > 0 => Urgency::Fetching,
            _ if self.hurried => Urgency::Fetching,
            _ => Urgency::Other,
        }
    }

    /// Where a tracker stands: line, tier, place in it.
    pub(super) fn find(&self, number: u16) -> Option<(usize, usize, usize)> {
        for (line, tiers) in self.lines.iter().enumerate() {
            for (tier, standings) in tiers.tiers.iter().enumerate() {
                if let Some(position) =
                    standings.iter().position(|standing| standing.number == number)
                {
                    return Some((line, tier, position));
                }
            }
        }
        None
    }
}

impl Line {
    pub(super) fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.tiers.iter().flatten()
    }
}

impl Standing {
    pub(super) fn new(tracker: Arc<Tracker>, number: u16) -> Self {
        Self {
            tracker,
            number,
            next: None,
            least: None,
            answered: None,
            seeders: None,
            leechers: None,
            failures: 0,
            good: false,
            known: false,
            as_leecher: false,
            text: None,
            tracker_id: None,
        }
    }

    pub(super) fn answered(&mut self, ticket: &Ticket, answer: &Answer, now: Instant) {
        self.next = Some(now + pace::after(answer));
        self.least = Some(now + pace::least_after(answer));
        self.answered = Some(now);
        self.seeders = answer.seeders.or(self.seeders);
        self.leechers = answer.leechers.or(self.leechers);
        self.failures = 0;
        self.good = true;
        self.known = ticket.event != Event::Stopped;
        self.as_leecher = match ticket.event {
            _ if ticket.left > 0 => true,
            // The time came for a regular announce before the word that this one was the last piece.
            Event::None => self.as_leecher,
            Event::Started | Event::Completed | Event::Stopped => false,
        };
        self.text = answer.warning.clone().map(|text| self.tracker.address.redact(text).into());
        self.tracker_id = answer.tracker_id.clone().or(self.tracker_id.take());
    }
}

impl Host {
    pub(super) fn new(tokens: f64, now: Instant) -> Self {
        Self {
            queue: BTreeSet::new(),
            in_flight: 0,
            reached: None,
            failures: 0,
            down_until: None,
            text: None,
            tokens,
            counted: now,
        }
    }

    /// One probes a server that was not reached, a few ask one that is new: it may hang, and others wait for their turn.
    pub(super) fn in_flight_max(&self, most: usize) -> usize {
        match () {
            () if self.failures > 0 => 1,
            () if self.reached.is_none() => most.div_ceil(4),
            () => most,
        }
    }

    /// When the next announce may be made, if not now.
    pub(super) fn token(&mut self, per_second_max: NonZeroU32, now: Instant) -> Option<Instant> {
        let rate = f64::from(per_second_max.get());
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min((rate / 5.0).max(1.0));
        self.counted = now;
        (self.tokens < 1.0).then(|| now + Duration::from_secs_f64((1.0 - self.tokens) / rate))
    }
}
