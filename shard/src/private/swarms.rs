//! The private swarms of one core.

use std::sync::Arc;

use super::choose::state;
use super::deletions::Deletions;
use super::face::Name;
use super::hybrid::Hybrids;
use super::members::{Members, Spot};
use super::recent::Recent;
use super::rights::Rights;
use super::rules::Changed;
use super::strangers::Strangers;
use super::succeeded::Succeeded;
use super::sweep::Sweep;
use super::tokens::Tokens;
use super::torrent::{Role, Torrent, Torrents};
use super::wait::Wait;
use super::{
    Announce, Fact, Passkey, PeerId, PeerRecord, Stamp, Swarm, Terms, TorrentId, TorrentRecord,
    User, UserId,
};
use crate::downloads::Downloads;
use crate::hash::Keys;
use crate::{Counts, InfoHash, PeerState, Seconds};

/// Bounds and options of one core's private swarms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Torrents registered at most.
    pub torrents_max: usize,
    /// Peers held at most.
    pub peers_max: usize,
    /// Clients of one user on one torrent; 0 is as many as he likes.
    pub clients_max: u16,
    /// A peer silent for longer is dropped by the sweep, where it was told to wait for `interval`; one that was told
    /// otherwise, as much later or sooner, and up to a fifteenth of `interval_max` late.
    pub peer_timeout: Seconds,
    /// The usual interval.
    pub interval: Seconds,
    /// The longest interval that a peer is told.
    pub interval_max: Seconds,
    /// `completed` of a client that is not known counts as a snatch too.
    pub count_unknown: bool,
    /// Deletion reasons kept at most; the oldest go first.
    pub deletions_max: usize,
    /// Which announces are reported as facts.
    pub facts: Facts,
}

/// Which announces make a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Facts {
    /// Announces that changed what must not be lost: the peer is new or has left, has started anew, has other
    /// counters, another state, other rights or another endpoint, or completed its download.
    #[default]
    Changed,
    /// All that were applied.
    All,
    /// Only those that will not be said again: the peer is new or has left, has started anew or counts
    /// anew, completed its download, or is now a seeder, partial seed or leecher, or is reached over another
    /// family, and was not before. All other peers keep the baseline of their last fact, and what they move is
    /// credited with a later one; what was moved since is lost where a client begins anew before that.
    /// For times when facts find no place to go.
    Postponed,
    /// None: as [`Facts::Postponed`], and an announce that would make one all the same is refused with
    /// [`Refusal::NoRoom`] and changes nothing. For times when there is no place for these either.
    Refused,
}

/// The totals of a core's private swarms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Registered torrents.
    pub torrents: usize,
    /// Peers of them.
    pub peers: usize,
    /// Peers with everything.
    pub seeders: usize,
    /// Peers without everything, partial seeds included.
    pub leechers: usize,
    /// Tokens, those that are over and not yet dropped included.
    pub tokens: usize,
    /// Deletion reasons, those that are too old and not yet dropped included.
    pub deletions: usize,
}

/// The measure of a peer's silence.
#[derive(Clone, Copy)]
pub(super) struct Silence {
    now: Seconds,
    believed_from: Seconds,
    limits: Limits,
}

impl Silence {
    /// Whether one who was last heard at `seen`, and told to wait for so long, has been silent for too long.
    #[inline]
    pub(super) fn is_too_long(self, (seen, wait): (Seconds, Wait)) -> bool {
        let from_a_wrong_clock = seen.since(self.now) > AHEAD_MAX;
        let heard =
            if from_a_wrong_clock { self.believed_from } else { seen.max(self.believed_from) };
        self.now.since(heard) > wait.timeout(&self.limits)
    }
}

/// A peer heard further ahead of now than this was heard by a clock that was wrong. Less is a clock that was put
/// right a little.
pub const AHEAD_MAX: Seconds = Seconds(60);

/// Why an announce or a torrent is not taken. Shows itself as clients are told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The torrent is not registered.
    #[error("Unregistered torrent")]
    Unregistered,
    /// The torrent is no longer registered, since less than a day.
    #[error("Unregistered torrent{}{}", if reason.is_empty() { "" } else { ": " }, reason.trim())]
    Deleted {
        /// The site's reason; may be empty. Blanks alone are a reason without words.
        reason: Arc<str>,
    },
    /// The user may not download. What was announced counts all the same; see [`Outcome::forbidden`].
    #[error("Access denied, leeching forbidden")]
    LeechingForbidden,
    /// The user has `Limits::clients_max` other clients on this torrent.
    #[error("Too many clients of yours on this torrent")]
    ClientsMax,
    /// The user has as many downloads as his group allows, and this would be one more; see
    /// [`Announce::downloads_full`]. What a known peer moved counts all the same; see
    /// [`Outcome::held_back`].
    #[error("Too many downloads at once for your user group: finish or stop one first")]
    DownloadsMax,
    /// The core holds `Limits::peers_max` peers, and this would be one more.
    #[error("Tracker is full: no more peers are accepted")]
    PeersMax,
    /// It would have to be noted, and nothing is noted now: see [`Facts::Refused`]. Nothing was changed.
    #[error("The tracker is temporarily unavailable.")]
    NoRoom,
    /// The infohash is a name of another torrent.
    #[error("This infohash is a name of another torrent")]
    NameTaken,
    /// The core holds `Limits::torrents_max` torrents, and this would be one more.
    #[error("Tracker is full: no more torrents are accepted")]
    TorrentsMax,
}

/// The outcome of an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// For the journal. There also when leeching is forbidden.
    pub fact: Option<Fact>,
    /// The peer's state in the swarm before; `None` when it was not there.
    pub was: Option<PeerState>,
    /// Its state now; `None` when it is not there. What a user seeds and leeches follows `was` and `is`.
    pub is: Option<PeerState>,
    /// How long ago the peer announced before; `None` when it was not there.
    pub since_last: Option<Seconds>,
    /// The interval that it was told then, up to a fifteenth of the longest one less; 0 when it was not there.
    pub told: Seconds,
    /// A download completed, counted once per client.
    pub snatched: bool,
    /// There is a fact, and nothing in it will be said again: the peer is new or has left, counts from
    /// here on, or has completed its download. Everything else comes again with the next announce, as
    /// counters are absolute; of this, a client must not hear that it was taken before it is on the disk.
    pub once: bool,
    /// The user may not download, and is to be told so in place of the reply, which has no peers.
    /// Everything else has happened.
    pub forbidden: bool,
    /// A peer that did not download would have begun to, and the user's group allows no further download: it is
    /// a partial seed now, and is to be told so in place of the reply, which has no peers. Everything else has
    /// happened.
    pub held_back: bool,
    /// It was an older announce that came late, or a copy of one: it credits nothing, and the peer stays what
    /// a newer one has made of it. Of a client that has just left, it does not bring it back.
    pub late: bool,
    /// The client says that it has moved more than can be moved since its last announce
    /// ([`super::fold::LINE_RATE`]): it is credited nothing, and counts from here on.
    pub impossible: bool,
}

impl Outcome {
    /// The peer was not in the swarm before.
    pub fn joined(&self) -> bool {
        self.was.is_none() && self.is.is_some()
    }

    /// The peer was in the swarm and left it.
    pub fn left(&self) -> bool {
        self.was.is_some() && self.is.is_none()
    }

    /// The refusal that the client is to be told in place of the reply.
    pub fn refusal(&self) -> Option<Refusal> {
        match (self.forbidden, self.held_back) {
            (true, _) => Some(Refusal::LeechingForbidden),
            (false, true) => Some(Refusal::DownloadsMax),
            (false, false) => None,
        }
    }
}

/// A peer that left without saying so: silent for too long, or its torrent or user is no longer there.
///
/// Absolute, like a [`Fact`]: where one is replayed, its peer is not there, and the torrent has these
/// figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// When it was dropped.
    pub at: Seconds,
    /// The same in the order of all reports; see [`Fact::stamp`].
    pub stamp: Stamp,
    /// The client's user.
    pub user: UserId,
    /// Which torrent, by number.
    pub torrent: TorrentId,
    /// Which torrent, by name.
    pub info_hash: InfoHash,
    /// Which client.
    pub peer_id: PeerId,
    /// Which client; see [`super::Announce::key`].
    pub key: u32,
    /// Its last state.
    pub state: PeerState,
    /// The torrent without it, and without those dropped in the same step; `None` when it is no longer
    /// registered.
    pub swarm: Option<Swarm>,
}

/// The private swarms of one core: registered torrents, and the clients of known users.
///
/// No call takes longer than a millisecond, however many torrents and peers there are.
#[derive(Debug)]
pub struct Swarms {
    pub(super) limits: Limits,
    pub(super) torrents: Torrents,
    pub(super) members: Members,
    pub(super) recent: Recent,
    pub(super) succeeded: Succeeded,
    pub(super) downloads: Downloads,
    /// By the last announces.
    pub(super) succeeded_now: Vec<Gone>,
    pub(super) tokens: Tokens,
    pub(super) deletions: Deletions,
    pub(super) strangers: Strangers,
    pub(super) rights: Rights,
    pub(super) totals: Totals,
    pub(super) sweep: Sweep,
    pub(super) hybrids: Hybrids,
    /// The moment from which on silence counts, for everybody.
    pub(super) believed_from: Seconds,
    /// While somebody compares everything with the site's books.
    pub(super) changed: Option<Box<Changed>>,
}

impl Swarms {
    /// No torrents yet. `seed` keys the hash tables, so that nobody can aim at one bucket.
    pub fn new(seed: u64, limits: Limits) -> Self {
        Self {
            limits,
            torrents: Torrents::new(),
            members: Members::new(Keys::new(seed)),
            recent: Recent::new(),
            succeeded: Succeeded::default(),
            downloads: Downloads::default(),
            succeeded_now: Vec::new(),
            tokens: Tokens::default(),
            deletions: Deletions::default(),
            strangers: Strangers::default(),
            rights: Rights::default(),
            totals: Totals::default(),
            sweep: Sweep::default(),
            hybrids: Hybrids::default(),
            believed_from: Seconds::default(),
            changed: None,
        }
    }

    /// The bounds and options.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes bounds and options; what is there already stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How much a whole sweep looks at, in what [`Swarms::expire`] calls its budget: the peers there are, and
    /// the places of torrents, which may be many more than the torrents that are left.
    pub fn walked(&self) -> usize {
        self.totals.peers + self.torrents.end() as usize
    }

    /// The totals now. Costs nothing: the numbers are kept as they change.
    pub fn totals(&self) -> Totals {
        Totals {
            torrents: self.torrents.registered(),
            tokens: self.tokens.len(),
            deletions: self.deletions.len(),
            ..self.totals
        }
    }

    /// Registers a torrent, or changes the rules of one that is: its balance, snatches, peers and second name
    /// stay. True when it is new. By the second name of another it is refused.
    pub fn register(&mut self, info_hash: InfoHash, terms: Terms) -> Result<bool, Refusal> {
        if let Some(changed) = &mut self.changed {
            changed.torrent(&info_hash);
        }
        if let Some(slot) = self.find_swarm(&info_hash) {
            let torrent = self.torrents.get_mut(slot);
            if torrent.role == Role::Second {
                return Err(Refusal::NameTaken);
            }
            torrent.terms = terms;
            return Ok(false);
        }
        if self.torrents.registered() >= self.limits.torrents_max {
            return Err(Refusal::TorrentsMax);
        }
        self.deletions.remove(&info_hash);
        self.strangers.forget(&self.members.keys, &info_hash);
        self.torrents.add(&self.members.keys, info_hash, terms);
        Ok(true)
    }

    /// Says how often a torrent was completed and what its balance is, as the site's books have it;
    /// false when it is not registered.
    pub fn set_figures(&mut self, info_hash: &InfoHash, snatches: u32, balance: i64) -> bool {
        let Some(slot) = self.find(info_hash) else { return false };
        let torrent = self.torrents.get_mut(slot);
        (torrent.snatches, torrent.balance) = (snatches, balance);
        true
    }

    /// The rules of a registered torrent.
    pub fn terms(&self, info_hash: &InfoHash) -> Option<Terms> {
        Some(self.torrents.get(self.find(info_hash)?).terms)
    }

    /// Makes downloads of a torrent free for a user, until he has it or the token ends; false when the
    /// torrent is not registered. Replaces a token that is there.
    pub fn set_token(
        &mut self,
        user: UserId,
        info_hash: &InfoHash,
        expires_at: Option<Seconds>,
    ) -> bool {
        if let Some(changed) = &mut self.changed {
            changed.token(user, info_hash);
        }
        let Some(slot) = self.find(info_hash) else { return false };
        self.torrents.get_mut(slot).has_tokens = true;
        self.tokens.set(slot, user, expires_at);
        true
    }

    /// Takes a token back; false when there is none.
    pub fn remove_token(&mut self, user: UserId, info_hash: &InfoHash) -> bool {
        if let Some(changed) = &mut self.changed {
            changed.token(user, info_hash);
        }
        self.find(info_hash).is_some_and(|slot| self.tokens.remove(slot, user))
    }

    /// Whether a user has a token for a torrent that is not over.
    pub fn has_token(&self, user: UserId, info_hash: &InfoHash, now: Seconds) -> bool {
        self.find(info_hash).is_some_and(|slot| self.tokens.has(slot, user, now))
    }

    /// The reason that clients of a torrent that is no longer registered are told; empty when the site gave none,
    /// `None` a day after it went.
    pub fn deletion(&self, info_hash: &InfoHash, now: Seconds) -> Option<Arc<str>> {
        self.deletions.reason(info_hash, now)
    }

    /// Remembers why a torrent is not registered; [`Swarms::unregister`] does it by itself. Nothing for
    /// one that is registered.
    pub fn set_deletion(&mut self, info_hash: InfoHash, reason: &str, at: Seconds) {
        if self.find(&info_hash).is_none() {
            self.note_deletion(info_hash, reason, at, at);
        }
    }

    /// Takes a user's peers out: nobody is told of them from now on, and the sweep drops them. Until it
    /// has, an announce of his is applied, and its peer not told to anybody.
    pub fn remove_user(&mut self, user: UserId) {
        self.rights.remove_user(user, self.sweep.round());
    }

    /// Gives a user's peers other rights without waiting for their next announces, and ends what
    /// [`Swarms::remove_user`] has begun, where it has not come to an end. For changes, not for loading:
    /// each is looked up for every peer that is told, until the sweep has been round three times.
    pub fn set_user_rights(&mut self, user: User) {
        self.rights.set_user(user, self.sweep.round());
    }

    /// The counts of a torrent, of one with two names those of the swarm of this name; `None` when it is not
    /// registered.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Counts> {
        Some(self.counts_by_name(self.find_swarm(info_hash)?))
    }

    /// The counts of a torrent, by all of its names together; `None` when it is not registered.
    pub fn counts(&self, info_hash: &InfoHash) -> Option<Counts> {
        Some(self.members.counts(self.torrents.get(self.find(info_hash)?)))
    }

    /// A torrent and at most `peers_max` of its peers, for somebody who wants to look; `None` when it is
    /// not registered. Peers of removed users are not shown.
    pub fn swarm(
        &self,
        info_hash: &InfoHash,
        peers_max: usize,
    ) -> Option<(TorrentRecord, Vec<PeerRecord>)> {
        let torrent = self.torrents.get(self.find(info_hash)?);
        let mut peers = Vec::new();
        self.members.each(torrent, |face, state| {
            peers.extend(self.peer_record(face, state));
            peers.len() < peers_max
        });
        peers.truncate(peers_max);
        let record = TorrentRecord {
            info_hash: torrent.info_hash,
            terms: torrent.terms,
            balance: torrent.balance,
            snatches: torrent.snatches,
            peers: peers.len() as u32,
            tokens: 0,
        };
        Some((record, peers))
    }

    /// From now on nobody's silence counts from before this moment; nor from after it, for those who were heard
    /// more than [`AHEAD_MAX`] in times to come. For a start: while the tracker was away nobody could announce. To
    /// be said after facts were replayed. And for a clock that was wrong, or stood still: nobody knows how old
    /// anything is.
    pub fn believe_from(&mut self, now: Seconds) {
        self.believed_from = now;
    }

    /// How long peers may be silent.
    pub(super) fn silence(&self, now: Seconds) -> Silence {
        Silence { now, believed_from: self.believed_from, limits: self.limits }
    }

    /// The slot of a swarm: a torrent by this of its names.
    #[inline]
    pub(super) fn find_swarm(&self, info_hash: &InfoHash) -> Option<u32> {
        self.torrents.find(&self.members.keys, info_hash)
    }

    /// The slot of a torrent, by whichever of its names.
    #[inline]
    pub(super) fn find(&self, info_hash: &InfoHash) -> Option<u32> {
        let slot = self.find_swarm(info_hash)?;
        match self.torrents.get(slot).role {
            Role::Sole | Role::First => Some(slot),
            Role::Second => Some(self.first_of(slot)),
        }
    }

    /// A torrent that is not registered was asked for: since when it is, as far as is known, or was registered no
    /// longer. Of names that nobody has asked for within a week nothing is known.
    pub fn asked_in_vain(&mut self, info_hash: &InfoHash, now: Seconds) -> Seconds {
        let since = self.strangers.ask(&self.members.keys, info_hash, now);
        self.deletions.removed_at(info_hash).map_or(since, |at| at.min(since))
    }

    /// A passkey that nobody has was asked with: since when it is, as far as is known.
    pub fn passkey_in_vain(&mut self, passkey: &Passkey, now: Seconds) -> Seconds {
        self.strangers.ask(&self.members.keys, &passkey.as_name(), now)
    }

    /// Why a torrent is not registered any more is told for a day; that it was, is remembered for longer.
    pub(super) fn note_deletion(
        &mut self,
        info_hash: InfoHash,
        reason: &str,
        at: Seconds,
        now: Seconds,
    ) {
        let (keys, strangers) = (&self.members.keys, &mut self.strangers);
        self.deletions.set(info_hash, reason, at, self.limits.deletions_max, |oldest, at| {
            strangers.bury(keys, &oldest, at, now);
        });
    }

    /// Why a torrent that was not found is not there.
    pub(super) fn unknown(&self, info_hash: &InfoHash, now: Seconds) -> Refusal {
        match self.deletions.reason(info_hash, now) {
            Some(reason) => Refusal::Deleted { reason },
            None => Refusal::Unregistered,
        }
    }

    /// Brings the totals up to date with a peer that was one thing and is another.
    #[inline]
    pub(super) fn count(&mut self, was: Option<PeerState>, is: Option<PeerState>) {
        if was == is {
            return;
        }
        let totals = &mut self.totals;
        match was {
            Some(PeerState::Seeder) => totals.seeders -= 1,
            Some(_) => totals.leechers -= 1,
            None => totals.peers += 1,
        }
        match is {
            Some(PeerState::Seeder) => totals.seeders += 1,
            Some(_) => totals.leechers += 1,
            None => totals.peers -= 1,
        }
    }

    /// Where the peer of an announce is.
    #[inline]
    pub(super) fn spot(&self, torrent: &Torrent, announce: &Announce) -> Option<Spot> {
        let name = Name::of(&self.members.keys, announce);
        self.members.find(torrent, &name, state(announce))
    }
}
