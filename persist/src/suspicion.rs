//! Announces that look like cheating, for people to judge: reported, never punished.
//!
//! A client can report what it likes. What it cannot know is what its swarm and its user's other clients
//! did at the same time, and that is in the facts. So a [`Judge`] reads the facts on their way into the
//! database, off the way of every announce, and holds each against four rules with thresholds of the
//! operator's:
//!
//! - more bytes a second than the site's fastest line ([`Kind::Rate`]);
//! - uploads while nobody was there to take them ([`Kind::UploadAlone`]);
//! - the same counters on several torrents at a time ([`Kind::SameCounters`]), as programs report that
//!   make them up;
//! - clients of one user in many networks at a time ([`Kind::Networks`]), as with a passkey that went
//!   round.
//!
//! Each can hit an honest user: a client that was restored from a backup, a peer that came and went
//! between two announces, a seedbox beside a laptop. That is why nothing follows from it here.

mod alone;
mod counters;
mod networks;

use shard::Seconds;
use shard::private::{Fact, PeerId, TorrentId, UserId};

use alone::Takers;
use counters::Repeats;
use networks::Networks;

/// From where on something is reported; `None` switches a rule off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Thresholds {
    /// Bytes a second, up or down, between two announces of a client.
    pub rate: Option<u64>,
    /// Bytes uploaded between two announces, while no other client of the torrent had anything left to
    /// download.
    pub upload_alone: Option<u64>,
    /// Torrents on which the clients of a user report the same counters within an hour.
    pub same_counters: Option<u32>,
    /// Networks from which the clients of a user announce within an hour.
    pub networks: Option<u32>,
}

/// Which rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// See [`Thresholds::rate`].
    Rate,
    /// See [`Thresholds::upload_alone`].
    UploadAlone,
    /// See [`Thresholds::same_counters`].
    SameCounters,
    /// See [`Thresholds::networks`].
    Networks,
}

impl Kind {
    /// All of them, in the order of [`Suspected`].
    pub const ALL: [Self; 4] = [Self::Rate, Self::UploadAlone, Self::SameCounters, Self::Networks];

    /// As the table and the metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::UploadAlone => "upload_alone",
            Self::SameCounters => "same_counters",
            Self::Networks => "networks",
        }
    }
}

/// How many announces were reported, by [`Kind::ALL`].
pub type Suspected = [u64; Kind::ALL.len()];

/// An announce that went beyond a threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suspicion {
    /// By which rule.
    pub kind: Kind,
    /// The client's user.
    pub user: UserId,
    /// On which torrent; `None` when it is about all the user's clients.
    pub torrent: Option<TorrentId>,
    /// Which client, by its program.
    pub peer_id: PeerId,
    /// When.
    pub at: Seconds,
    /// How far it went, in the unit of the threshold.
    pub figure: u64,
}

/// Holds facts against the rules. It knows what it has seen since it began, and what it does not know it
/// does not hold against anybody.
#[derive(Debug)]
pub struct Judge {
    thresholds: Thresholds,
    takers: Takers,
    repeats: Repeats,
    networks: Networks,
}

/// How long the clients of a user count as being there at the same time.
const AT_ONCE: u32 = 3600;

/// Facts between two rounds of forgetting what is too old to matter.
const FORGET_EVERY: u32 = 100_000;

impl Judge {
    /// Begins without any knowledge.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            takers: Takers::default(),
            repeats: Repeats::default(),
            networks: Networks::default(),
        }
    }

    /// Whether there is any rule.
    pub fn is_on(&self) -> bool {
        self.thresholds != Thresholds::default()
    }

    /// Takes in the next fact of a journal, and reports what is odd about it.
    pub fn hear(&mut self, fact: &Fact, mut report: impl FnMut(Suspicion)) {
        let mut found = |kind, torrent, figure| {
            report(Suspicion {
                kind,
                user: fact.user,
                torrent,
                peer_id: fact.peer_id,
                at: fact.at,
                figure,
            });
        };
        let here = Some(fact.torrent);
        if let Some(threshold) = self.thresholds.rate {
            let rate = rate(fact);
            if rate > threshold {
                found(Kind::Rate, here, rate);
            }
        }
        if let Some(threshold) = self.thresholds.upload_alone {
            let alone = self.takers.hear(fact);
            if alone && fact.moved.uploaded >= threshold.max(1) {
                found(Kind::UploadAlone, here, fact.moved.uploaded);
            }
        }
        if let Some(threshold) = self.thresholds.same_counters {
            let torrents = self.repeats.hear(fact);
            if torrents >= threshold.max(2) {
                found(Kind::SameCounters, here, torrents.into());
            }
        }
        if let Some(threshold) = self.thresholds.networks {
            // Reported when it grows, not with every announce from there on.
            if let Some(networks) = self.networks.hear(fact)
                && networks > threshold
            {
                found(Kind::Networks, None, networks.into());
            }
        }
    }
}

/// Bytes a second since the announce before, the larger of both directions. A second at least: a client may
/// announce twice in one.
fn rate(fact: &Fact) -> u64 {
    fact.moved.uploaded.max(fact.moved.downloaded) / u64::from(fact.elapsed.max(1))
}

/// Counts facts, and says when it is time to forget.
#[derive(Debug, Default)]
struct Forgetting(u32);

impl Forgetting {
    fn is_due(&mut self) -> bool {
        self.0 += 1;
        if self.0 < FORGET_EVERY {
            return false;
        }
        self.0 = 0;
        true
    }
}

#[cfg(test)]
pub(crate) mod tests;
