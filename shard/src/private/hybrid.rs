//! Hybrid torrents (BEP 52): one torrent with two infohashes, and a swarm by each.
//!
//! All clients are in the swarm of the first name, with their accounts: what they move, complete and have left is
//! counted there, once, by whichever name they say it. Those who announce by the second name have a face in its
//! swarm as well, without an account; those who announce by it alone are marked in the first, and told to nobody
//! there.

use std::collections::HashMap;

use super::announce::Over;
use super::face::{Face, Name};
use super::torrent::Role;
use super::{Announce, Outcome, PeerId, PeerRecord, Refusal, Swarms, UserId};
use crate::{Counts, Event, InfoHash, PeerState, Reply, Seconds};

/// By which of its torrent's infohashes a client is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names {
    /// By the first, which is the only one of most torrents.
    pub first: bool,
    /// By the second.
    pub second: bool,
}

impl Names {
    /// By the first alone.
    pub const FIRST: Self = Self { first: true, second: false };

    /// By neither.
    pub(crate) const NONE: Self = Self { first: false, second: false };

    fn by(&mut self, role: Role) -> &mut bool {
        if role == Role::Second { &mut self.second } else { &mut self.first }
    }
}

/// Which client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whom<'a> {
    pub(crate) user: UserId,
    pub(crate) peer_id: &'a PeerId,
    pub(crate) key: u32,
}

/// A client that is not there by the first name of its torrent alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedRecord {
    /// The first name of the torrent.
    pub info_hash: InfoHash,
    /// The client's user.
    pub user: UserId,
    /// Which client.
    pub peer_id: PeerId,
    /// Which client; see [`Announce::key`].
    pub key: u32,
    /// By which names.
    pub names: Names,
}

/// The torrents with two names, by slot.
#[derive(Debug, Default)]
pub(crate) struct Hybrids {
    by_first: HashMap<u32, Hybrid>,
    /// The slot of the first by that of the second.
    firsts: HashMap<u32, u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hybrid {
    /// `None` where a name was taken back: those who are there by it alone are to go.
    second: Option<u32>,
    /// Clients by state that are not there by the first name.
    apart: [u32; 3],
}

impl Hybrids {
    fn second(&self, first: u32) -> Option<u32> {
        self.by_first.get(&first)?.second
    }
}

impl Swarms {
    /// Gives a registered torrent a second name, or takes it back; its peers stay those of the first.
    ///
    /// # Errors
    /// [`Refusal::NameTaken`] where the name is that of another torrent of this core; nothing has changed.
    pub fn set_second(
        &mut self,
        info_hash: &InfoHash,
        second: Option<InfoHash>,
    ) -> Result<(), Refusal> {
        let Some(first) = self.find(info_hash) else { return Ok(()) };
        if self.second_name(first) == second {
            return Ok(());
        }
        if second.is_some_and(|second| self.find_swarm(&second).is_some()) {
            return Err(Refusal::NameTaken);
        }
        if let Some(changed) = &mut self.changed {
            changed.torrent(&self.torrents.get(first).info_hash);
        }
        self.drop_second(first);
        if let Some(second) = second {
            self.deletions.remove(&second);
            self.strangers.forget(&self.members.keys, &second);
            let slot = self.torrents.add_second(&self.members.keys, second);
            self.torrents.get_mut(first).role = Role::First;
            self.hybrids.by_first.entry(first).or_default().second = Some(slot);
            self.hybrids.firsts.insert(slot, first);
        }
        Ok(())
    }

    /// Whether any torrent has a second name.
    pub fn has_hybrids(&self) -> bool {
        !self.hybrids.firsts.is_empty()
    }

    /// The second name of a registered torrent, by whichever of its names it is asked for.
    pub fn second(&self, info_hash: &InfoHash) -> Option<InfoHash> {
        self.second_name(self.find(info_hash)?)
    }

    pub(super) fn second_name(&self, first: u32) -> Option<InfoHash> {
        if self.torrents.get(first).role == Role::Sole {
            return None;
        }
        let second = self.hybrids.second(first)?;
        Some(self.torrents.get(second).info_hash)
    }

    /// The swarm of the second name goes; the sweep takes leave of its faces.
    fn drop_second(&mut self, first: u32) {
        let Some(hybrid) = self.hybrids.by_first.get_mut(&first) else { return };
        let Some(second) = hybrid.second.take() else { return };
        self.hybrids.firsts.remove(&second);
        self.torrents.condemn(&self.members.keys, second);
        self.sweep.bury_later(second);
    }

    /// A torrent goes, and its second name with it; that name.
    pub(super) fn drop_names(&mut self, first: u32) -> Option<InfoHash> {
        let name = self.second_name(first);
        self.drop_second(first);
        self.hybrids.by_first.remove(&first);
        name
    }

    /// The slot in which the clients of a swarm are.
    #[cold]
    pub(super) fn first_of(&self, slot: u32) -> u32 {
        self.hybrids.firsts.get(&slot).copied().unwrap_or(slot)
    }

    /// Counts those who can be met in a swarm: by this one of a torrent's names.
    pub(super) fn counts_by_name(&self, slot: u32) -> Counts {
        let torrent = self.torrents.get(slot);
        let counts = self.members.counts(torrent);
        match torrent.role {
            Role::Sole => counts,
            Role::Second => {
                let snatches = self.torrents.get(self.first_of(slot)).snatches;
                Counts { snatches, ..counts }
            }
            Role::First => {
                let hybrid = self.hybrids.by_first.get(&slot).copied().unwrap_or_default();
                let [seeders, partial_seeds, leechers] = hybrid.apart;
                Counts {
                    seeders: counts.seeders - seeders,
                    leechers: counts.leechers - partial_seeds - leechers,
                    partial_seeds: counts.partial_seeds - partial_seeds,
                    ..counts
                }
            }
        }
    }

    /// Looks that are wasted on those who are not told by the first name.
    pub(super) fn apart(&self, slot: u32) -> usize {
        let hybrid = self.hybrids.by_first.get(&slot).copied().unwrap_or_default();
        hybrid.apart.iter().sum::<u32>() as usize
    }

    /// [`Swarms::announce`] by one of two names.
    #[cold]
    pub(super) fn announce_hybrid(
        &mut self,
        slot: u32,
        announce: &Announce,
        now: Seconds,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        let role = self.torrents.get(slot).role;
        let first = self.first_of(slot);
        let info_hash = self.torrents.get(first).info_hash;
        let announce = &Announce { info_hash, ..*announce };
        let known = self.known(first, announce);
        let name = Name::of(&self.members.keys, announce);
        let before =
            known.map_or(Names::NONE, |known| self.names(first, &name, &known.face, known.state));
        let stopped = announce.event == Event::Stopped;
        let mut names = before;
        *names.by(role) = !stopped;
        // Who stops by one name is there by the other one. Otherwise it may be there over another family.
        let stays = stopped && known.is_some() && names != Names::NONE;
        if stopped && !stays {
            names = before;
        }
        let over = Over { told: slot, names, changed: names != before, stays };
        let outcome =
            self.announce_judged(first, announce, known, Some(&over), now, random, reply)?;
        let name = Whom { user: announce.user.id, peer_id: &announce.peer_id, key: announce.key };
        let was_apart = known.filter(|known| known.face.mark.is_apart());
        let was_apart = was_apart.map(|known| known.state);
        self.place(first, name, was_apart, names);
        reply.counts = self.counts_by_name(slot);
        Ok(outcome)
    }

    /// By which names a client is there.
    fn names(&self, first: u32, name: &Name<'_>, face: &Face, state: PeerState) -> Names {
        let second = self.hybrids.second(first).map(|second| self.torrents.get(second));
        let is_there = |second| self.members.find(second, name, state).is_some();
        Names { first: !face.mark.is_apart(), second: second.is_some_and(is_there) }
    }

    /// Has a client there by these names and no others, unless it has left the torrent; `was_apart` is what it was
    /// where it was not there by the first.
    pub(super) fn place(
        &mut self,
        first: u32,
        whom: Whom<'_>,
        was_apart: Option<PeerState>,
        names: Names,
    ) {
        if let Some(was) = was_apart {
            self.count_apart(first, was, -1);
        }
        let second = self.hybrids.second(first);
        let (torrent, members) = (self.torrents.get_mut(first), &mut self.members);
        let name = Name::new(&members.keys, whom.user, whom.peer_id, whom.key);
        let spot = members.find(torrent, &name, PeerState::Seeder);
        let is = spot.map(|spot| {
            let (mut face, state) = members.face(torrent, spot);
            face.mark.set_apart(!names.first);
            // It stays where it is: neither its state nor its families have changed.
            members.replace(torrent, spot, face, state);
            (face, state)
        });
        if let Some((_, state)) = is.filter(|_| !names.first) {
            self.count_apart(first, state, 1);
        }
        let Some(second) = second else { return };
        let (torrent, members) = (self.torrents.get_mut(second), &mut self.members);
        let there = members.find(torrent, &name, PeerState::Seeder);
        match (is.filter(|_| names.second), there) {
            (Some((face, state)), Some(spot)) => {
                let (mut copy, _) = members.face(torrent, spot);
                face.copy(&mut members.wides, &mut copy);
                // Where there is no room it stays what it was; its next announce tries again.
                members.replace(torrent, spot, copy, state);
            }
            (Some((face, state)), None) => {
                let mut copy = Face::new(&name, face.account);
                face.copy(&mut members.wides, &mut copy);
                if !members.insert(torrent, copy, state) {
                    copy.forget(&mut members.wides);
                }
            }
            (None, Some(spot)) => members.take(torrent, spot).forget(&mut members.wides),
            (None, None) => {}
        }
    }

    /// A client has left the first swarm of a torrent, with this face.
    pub(super) fn displace(&mut self, first: u32, whom: Whom<'_>, face: &Face, state: PeerState) {
        let was_apart = face.mark.is_apart().then_some(state);
        self.place(first, whom, was_apart, Names::NONE);
    }

    fn count_apart(&mut self, first: u32, state: PeerState, by: i32) {
        if let Some(hybrid) = self.hybrids.by_first.get_mut(&first) {
            let count = &mut hybrid.apart[state as usize];
            *count = count.saturating_add_signed(by);
        }
    }

    /// Takes in from a snapshot by which names a client is there. Nothing of one that is not there.
    pub fn import_names(&mut self, record: &NamedRecord) {
        let Some(first) = self.find(&record.info_hash) else { return };
        let whom = Whom { user: record.user, peer_id: &record.peer_id, key: record.key };
        self.set_names(first, whom, record.names);
    }

    /// The same where it is not known by which it was.
    pub(super) fn set_names(&mut self, first: u32, whom: Whom<'_>, names: Names) {
        if self.torrents.get(first).role == Role::Sole {
            if names.first {
                return;
            }
            self.torrents.get_mut(first).role = Role::First;
            self.hybrids.by_first.entry(first).or_default();
        }
        let name = Name::new(&self.members.keys, whom.user, whom.peer_id, whom.key);
        let torrent = self.torrents.get(first);
        let spot = self.members.find(torrent, &name, PeerState::Seeder);
        let known = spot.map(|spot| self.members.face(torrent, spot));
        let was_apart = known.filter(|(face, _)| face.mark.is_apart()).map(|(_, state)| state);
        self.place(first, whom, was_apart, names);
    }

    /// By which names those clients of a torrent are there that are not there by the first alone.
    pub(super) fn named<'a>(
        &'a self,
        first: u32,
        peers: impl Iterator<Item = &'a PeerRecord> + 'a,
    ) -> impl Iterator<Item = NamedRecord> + 'a {
        let (torrent, members) = (self.torrents.get(first), &self.members);
        peers.filter_map(move |peer| {
            let PeerRecord { user, peer_id, key, state, .. } = *peer;
            let name = Name::new(&members.keys, user, &peer_id, key);
            let spot = members.find(torrent, &name, state)?;
            let names = self.names(first, &name, &members.face(torrent, spot).0, state);
            let record = NamedRecord { info_hash: torrent.info_hash, user, peer_id, key, names };
            (names != Names::FIRST).then_some(record)
        })
    }
}
