//! How peers leave without saying so: in steps of a bounded size.

use std::net::IpAddr;

use super::face::Face;
use super::hybrid::Whom;
use super::members::{TABLES, state_of};
use super::torrent::{Body, Role, Standing};
use super::wides::Wides;
use super::{Gone, Stamp, Swarm, Swarms, Terms, UserId};
use crate::table::Place;
use crate::{InfoHash, PeerState, Seconds};

/// Whose address is refused, where some are.
pub type Refused<'r> = Option<&'r dyn Fn(IpAddr) -> bool>;

/// The outcome of a step of the sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Peers that were dropped; they are in the caller's buffer.
    pub peers: usize,
    /// The sweep reached the end; the next step begins again.
    pub finished: bool,
}

/// How far the sweep has come.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    slot: u32,
    crowd: Option<InCrowd>,
    /// How often it has reached the end.
    round: u32,
    /// Torrents no longer registered that still have peers or tokens.
    dying: Vec<u32>,
    /// Lent to each step.
    faces: Vec<(Face, PeerState)>,
}

/// How far it has come inside a crowd: tables in order, buckets from the last to the first, because
/// dropping peers merges the last ones into earlier ones.
#[derive(Clone, Copy, Debug)]
struct InCrowd {
    table: usize,
    /// Buckets of the table yet to be looked at; clipped to those there are.
    buckets_left: usize,
}

impl InCrowd {
    fn table(table: usize) -> Self {
        Self { table, buckets_left: usize::MAX }
    }
}

impl Sweep {
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// The faces of a place that nobody finds any more are dropped bit by bit.
    pub(crate) fn bury_later(&mut self, slot: u32) {
        self.dying.push(slot);
    }
}

/// Whether a peer has an address that is refused.
#[inline]
fn is_at_refused(face: &Face, wides: &Wides, is_refused: Refused<'_>) -> bool {
    let Some(is_refused) = is_refused else { return false };
    let endpoints = face.endpoints(wides);
    let (v4, v6) = (endpoints.address_v4(), endpoints.address_v6());
    v4.is_some_and(|v4| is_refused(v4.into())) || v6.is_some_and(|v6| is_refused(v6.into()))
}

/// Peers that leave at once with their torrent.
const UNREGISTER_STEP: usize = 256;

/// Tokens and reasons looked at in a step, beside its peers.
const SIDE_BUDGET: usize = 64;

/// Rulings ended in a step: as many as that many users whose rights changed at once are gone in minutes.
const RULINGS_BUDGET: usize = 256;

impl Swarms {
    /// Takes a torrent out, with its tokens, and remembers for a day why; `None` when it was not
    /// registered.
    ///
    /// Its first peers are appended to `gone`, about 256; the others come out of the next calls
    /// of [`Swarms::expire`].
    pub fn unregister(
        &mut self,
        info_hash: &InfoHash,
        reason: &str,
        now: Seconds,
        gone: &mut Vec<Gone>,
    ) -> Option<Terms> {
        if let Some(changed) = &mut self.changed {
            changed.torrent(info_hash);
        }
        let slot = self.find(info_hash)?;
        let torrent = self.torrents.get(slot);
        let (terms, counts) = (torrent.terms, self.members.counts(torrent));
        self.totals.seeders -= counts.seeders as usize;
        self.totals.leechers -= counts.leechers as usize;
        self.totals.peers -= (counts.seeders + counts.leechers) as usize;
        let info_hash = torrent.info_hash;
        let second = self.drop_names(slot);
        self.torrents.condemn(&self.members.keys, slot);
        [Some(info_hash), second].into_iter().flatten().for_each(|name| {
            self.note_deletion(name, reason, now, now);
        });
        self.sweep.dying.push(slot);
        self.bury(UNREGISTER_STEP, now, gone);
        Some(terms)
    }

    /// Looks at the next `budget` peers and torrents, at least at one, and drops peers that were silent
    /// for too long, those of users and torrents no longer there, and tokens and reasons that are over.
    /// Peers that left are appended to `gone`.
    pub fn expire(&mut self, now: Seconds, budget: usize, gone: &mut Vec<Gone>) -> Swept {
        self.expire_refusing(now, budget, None, gone)
    }

    /// Has the sweep begin anew, for what is refused since.
    pub fn sweep_anew(&mut self) {
        (self.sweep.slot, self.sweep.crowd) = (0, None);
    }

    /// The same, and drops peers of one of whose addresses `is_refused` says so.
    pub fn expire_refusing(
        &mut self,
        now: Seconds,
        budget: usize,
        is_refused: Refused<'_>,
        gone: &mut Vec<Gone>,
    ) -> Swept {
        let before = gone.len();
        let mut looked = self.bury(budget, now, gone);
        self.tokens.sweep(now, SIDE_BUDGET.min(budget));
        let (keys, strangers) = (&self.members.keys, &mut self.strangers);
        self.deletions.sweep(now, SIDE_BUDGET.min(budget), |info_hash, at| {
            strangers.bury(keys, &info_hash, at, now);
        });
        let mut finished = false;
        while looked < budget.max(1) && !finished {
            if self.sweep.slot >= self.torrents.end() {
                (self.sweep.slot, self.sweep.crowd) = (0, None);
                self.sweep.round = self.sweep.round.wrapping_add(1);
                finished = true;
            } else {
                looked += self.sweep_slot(now, is_refused, gone);
            }
        }
        self.rights.settle(self.sweep.round, RULINGS_BUDGET);
        Swept { peers: gone.len() - before, finished }
    }

    fn sweep_slot(&mut self, now: Seconds, is_refused: Refused<'_>, gone: &mut Vec<Gone>) -> usize {
        let torrent = self.torrents.get(self.sweep.slot);
        match (torrent.standing, &torrent.body) {
            (Standing::Free | Standing::Dying, _) => self.next_slot(),
            // Of a second name too, where nobody leaves: whoever leaves the first swarm leaves that one.
            (Standing::Registered, Body::List(_)) => {
                let looked = self.sweep_list(now, is_refused, gone);
                looked + self.next_slot()
            }
            (Standing::Registered, Body::Crowd(number)) => {
                let number = *number;
                self.sweep_bucket(number, now, is_refused, gone)
            }
        }
    }

    fn next_slot(&mut self) -> usize {
        (self.sweep.slot, self.sweep.crowd) = (self.sweep.slot + 1, None);
        1
    }

    fn sweep_list(&mut self, now: Seconds, is_refused: Refused<'_>, gone: &mut Vec<Gone>) -> usize {
        let silence = self.silence(now);
        let torrent = self.torrents.get_mut(self.sweep.slot);
        let is_second = torrent.role == Role::Second;
        let Body::List(list) = &mut torrent.body else { unreachable!("the caller looked") };
        let (members, mut left) = (&mut self.members, std::mem::take(&mut self.sweep.faces));
        list.peers(&members.faces).iter().for_each(|face| members.accounts.prefetch(face.account));
        let len = list.len();
        for at in (0..len).rev() {
            // From the end: what fills the gap has been looked at already.
            let state = list.parts.state(at);
            let mut face = list.peers(&members.faces)[at];
            let stays = self.rights.write(&mut face, state)
                && !is_at_refused(&face, &members.wides, is_refused);
            let silent =
                || silence.is_too_long(members.accounts.heard(face.account, face.mark.is_large()));
            if !is_second && (!stays || silent()) {
                left.push((list.remove(&mut members.faces, at), state));
            } else if face != list.peers(&members.faces)[at] {
                *list.peer_mut(&mut members.faces, at) = face;
            }
        }
        self.part(left, self.sweep.slot, true, now, gone);
        len
    }

    /// Sweeps one bucket of a crowd; after its last one the swarm may have become a small one.
    fn sweep_bucket(
        &mut self,
        number: u32,
        now: Seconds,
        is_refused: Refused<'_>,
        gone: &mut Vec<Gone>,
    ) -> usize {
        let slot = self.sweep.slot;
        let mut at = self.sweep.crowd.unwrap_or(InCrowd::table(0));
        if at.table == TABLES {
            self.members.settle(self.torrents.get_mut(slot));
            return self.next_slot();
        }
        at.buckets_left =
            self.members.crowd(number).tables[at.table].buckets().min(at.buckets_left);
        let mut looked = 0;
        if let Some(bucket) = at.buckets_left.checked_sub(1) {
            at.buckets_left = bucket;
            let silence = self.silence(now);
            let is_second = self.torrents.get(slot).role == Role::Second;
            let mut left = std::mem::take(&mut self.sweep.faces);
            let members = &mut self.members;
            let (crowd, faces, accounts, wides) = members.parts(number);
            let table = &mut crowd.tables[at.table];
            let state = state_of(at.table);
            table.bucket(faces, bucket).iter().for_each(|face| accounts.prefetch(face.account));
            looked = table.bucket(faces, bucket).len();
            for place in (0..looked).rev().map(|at| Place { bucket, at }) {
                let mut face = table.bucket(faces, bucket)[place.at];
                let stays =
                    self.rights.write(&mut face, state) && !is_at_refused(&face, wides, is_refused);
                let silent =
                    || silence.is_too_long(accounts.heard(face.account, face.mark.is_large()));
                if !is_second && (!stays || silent()) {
                    left.push((table.remove(faces, place), state));
                } else if face != table.bucket(faces, bucket)[place.at] {
                    *table.record_mut(faces, place) = face;
                }
            }
            // Also where nobody has left: what was put off while the crowd was written out is made up for.
            members.merge(number, at.table);
            members.merge(number, at.table);
            self.part(left, slot, true, now, gone);
        }
        if at.buckets_left == 0 {
            at = InCrowd::table(at.table + 1);
        }
        self.sweep.crowd = Some(at);
        looked + 1
    }

    /// Gives back about `budget` peers and tokens of torrents no longer registered; how many it was.
    fn bury(&mut self, budget: usize, now: Seconds, gone: &mut Vec<Gone>) -> usize {
        let mut buried = 0;
        while buried < budget
            && let Some(slot) = self.sweep.dying.last().copied()
        {
            let mut left = std::mem::take(&mut self.sweep.faces);
            let more = self.members.bury(self.torrents.get_mut(slot), &mut left);
            buried += left.len() + 1;
            match self.torrents.get(slot).role {
                Role::Second => {
                    left.drain(..).for_each(|(face, _)| face.forget(&mut self.members.wides));
                    self.sweep.faces = left;
                }
                Role::Sole | Role::First => self.part(left, slot, false, now, gone),
            }
            if !more {
                let tokens = self.tokens.bury(slot, budget);
                buried += tokens;
                if tokens < budget {
                    self.sweep.dying.pop();
                    self.torrents.free(slot);
                }
            }
        }
        buried
    }

    /// Takes leave of faces that are in no swarm any more.
    pub(super) fn part(
        &mut self,
        mut left: Vec<(Face, PeerState)>,
        slot: u32,
        counted: bool,
        at: Seconds,
        gone: &mut Vec<Gone>,
    ) {
        let torrent = self.torrents.get(slot);
        let (number, info_hash) = (torrent.terms.id, torrent.info_hash);
        let is_hybrid = torrent.role == Role::First;
        let swarm = (counted && !left.is_empty()).then(|| {
            let counts = self.members.counts(torrent);
            Swarm {
                seeders: counts.seeders,
                leechers: counts.leechers,
                snatches: torrent.snatches,
                balance: torrent.balance,
            }
        });
        for (face, state) in left.drain(..) {
            let (peer_id, key) = self.members.accounts.name(face.account);
            let user = UserId(face.user);
            let stamp = Stamp::at(at);
            let torrent = number;
            gone.push(Gone { at, stamp, user, torrent, info_hash, peer_id, key, state, swarm });
            if is_hybrid {
                self.displace(slot, Whom { user, peer_id: &peer_id, key }, &face, state);
            }
            self.members.forget(&face);
            if counted {
                self.count(Some(state), None);
            }
        }
        self.sweep.faces = left;
    }
}
