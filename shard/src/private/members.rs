//! The members of swarms: short lists, and tables where a list would be long.

use super::account::Accounts;
use super::face::{self, Face, Name, PARTS, Reached};
use super::slots::Slots;
use super::torrent::{Body, Torrent};
use super::wides::Wides;
use super::{PeerRecord, UserId};
use crate::hash::Keys;
use crate::list::{LIST_MAX, List};
use crate::pool::Pool;
use crate::table::{Place, Table};
use crate::{Counts, PeerState};

/// The memory that the swarms of a core share.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) keys: Keys,
    pub(crate) faces: Pool<Face>,
    pub(crate) accounts: Accounts,
    pub(crate) wides: Wides,
    crowds: Slots<Option<Box<Crowd>>>,
    /// The crowd in which an export has stopped: its buckets must not be merged, or peers would move to
    /// where the export has been.
    pub(crate) held: Option<u32>,
}

/// A swarm that outgrew its list.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// By state; of each first the peers with IPv4 alone, then those with both families, then those with IPv6 alone.
    pub(crate) tables: [Table<Face>; TABLES],
}

pub(crate) const TABLES: usize = 9;

pub(crate) const STATES: [PeerState; 3] =
    [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher];

/// Bucket merges after peers have left: enough to keep up with any rate of leaving.
const MERGES: usize = 2;

/// Where a peer is in its swarm. Good until the swarm changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot {
    List(usize),
    Crowd(usize, Place),
}

/// Which table of a crowd a peer is in.
#[inline]
pub(crate) fn table_of(state: PeerState, reached: Reached) -> usize {
    3 * state as usize + reached as usize
}

/// The state of the peers in a table of a crowd.
#[inline]
pub(crate) fn state_of(table: usize) -> PeerState {
    STATES[table / 3]
}

impl Crowd {
    fn new() -> Self {
        Self { tables: [(); TABLES].map(|()| Table::new()) }
    }

    fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum()
    }
}

impl Members {
    pub(crate) fn new(keys: Keys) -> Self {
        Self {
            keys,
            faces: Pool::new(),
            accounts: Accounts::new(),
            wides: Wides::new(),
            crowds: Slots::new(),
            held: None,
        }
    }

    #[inline]
    pub(crate) fn counts(&self, torrent: &Torrent) -> Counts {
        let [seeders, partial_seeds, downloaders] = match torrent.body {
            Body::List(list) => list.parts.counts(),
            Body::Crowd(number) => {
                let tables = &self.crowd(number).tables;
                STATES.map(|state| {
                    let at = table_of(state, Reached::V4);
                    tables[at..at + 3].iter().map(Table::len).sum::<usize>() as u32
                })
            }
        };
        let leechers = partial_seeds + downloaders;
        Counts { seeders, leechers, partial_seeds, snatches: torrent.snatches }
    }

    #[inline]
    pub(crate) fn crowd(&self, number: u32) -> &Crowd {
        self.crowds.get(number).as_deref().expect("a swarm's crowd is there while it is")
    }

    #[inline]
    fn crowd_mut(&mut self, number: u32) -> (&mut Crowd, &mut Pool<Face>, &Keys) {
        let crowd = self.crowds.get_mut(number).as_deref_mut();
        let crowd = crowd.expect("a swarm's crowd is there while it is");
        (crowd, &mut self.faces, &self.keys)
    }

    /// A crowd with the memory that its peers are in.
    pub(crate) fn parts(
        &mut self,
        number: u32,
    ) -> (&mut Crowd, &mut Pool<Face>, &mut Accounts, &Wides) {
        let crowd = self.crowds.get_mut(number).as_deref_mut();
        let crowd = crowd.expect("a swarm's crowd is there while it is");
        (crowd, &mut self.faces, &mut self.accounts, &self.wides)
    }

    /// Shows the peers of a swarm one by one, until `show` says that is enough.
    pub(crate) fn each(&self, torrent: &Torrent, mut show: impl FnMut(&Face, PeerState) -> bool) {
        match &torrent.body {
            Body::List(list) => {
                let mut faces = list.peers(&self.faces).iter().enumerate();
                faces.all(|(at, face)| show(face, list.parts.state(at)));
            }
            Body::Crowd(number) => {
                let tables = self.crowd(*number).tables.iter().enumerate();
                let buckets = tables.flat_map(|(at, table)| {
                    (0..table.buckets()).map(move |bucket| (at, table, bucket))
                });
                let mut faces = buckets.flat_map(|(at, table, bucket)| {
                    table.bucket(&self.faces, bucket).iter().map(move |face| (face, at))
                });
                faces.all(|(face, at)| show(face, state_of(at)));
            }
        }
    }

    /// Where a peer is; looks first where one in this state would be.
    #[inline]
    pub(crate) fn find(
        &self,
        torrent: &Torrent,
        name: &Name<'_>,
        likely: PeerState,
    ) -> Option<Spot> {
        let is_it = |face: &Face| {
            name.may_be(face) && self.accounts.is(face.account, name.peer_id, name.key)
        };
        match &torrent.body {
            Body::List(list) => list.peers(&self.faces).iter().position(is_it).map(Spot::List),
            Body::Crowd(number) => {
                let (tables, hash) = (&self.crowd(*number).tables, name.hash(&self.keys));
                let first = table_of(likely, Reached::V4);
                let others = (0..TABLES).filter(|table| table / 3 != first / 3);
                (first..first + 3).chain(others).find_map(|table| {
                    let place = tables[table].find(&self.faces, hash, is_it)?;
                    Some(Spot::Crowd(table, place))
                })
            }
        }
    }

    #[inline]
    pub(crate) fn face(&self, torrent: &Torrent, spot: Spot) -> (Face, PeerState) {
        match (&torrent.body, spot) {
            (Body::List(list), Spot::List(at)) => {
                (list.peers(&self.faces)[at], list.parts.state(at))
            }
            (Body::Crowd(number), Spot::Crowd(table, place)) => {
                let bucket = self.crowd(*number).tables[table].bucket(&self.faces, place.bucket);
                (bucket[place.at], state_of(table))
            }
            _ => unreachable!("a spot is used before its swarm changes"),
        }
    }

    /// Puts a face in the place of one of the same peer, or where one in this state belongs; false when
    /// there is no room for it there, and nothing has changed.
    #[inline]
    pub(crate) fn replace(
        &mut self,
        torrent: &mut Torrent,
        spot: Spot,
        face: Face,
        state: PeerState,
    ) -> bool {
        match (&mut torrent.body, spot) {
            (Body::List(list), Spot::List(at)) => {
                if list.parts.state(at) != state {
                    list.remove(&mut self.faces, at);
                    list.insert(&mut self.faces, face, state);
                } else {
                    *list.peer_mut(&mut self.faces, at) = face;
                }
                true
            }
            (Body::Crowd(number), Spot::Crowd(table, place)) => {
                let number = *number;
                let (crowd, faces, keys) = self.crowd_mut(number);
                let target = table_of(state, face.mark.reached());
                if target == table {
                    *crowd.tables[table].record_mut(faces, place) = face;
                    return true;
                }
                let room = crowd.tables[target].insert(faces, keys, face);
                if room {
                    crowd.tables[table].remove(faces, place);
                    self.merge(number, table);
                }
                room
            }
            _ => unreachable!("a spot is used before its swarm changes"),
        }
    }

    /// Adds a peer that is not in the swarm yet; false when there is no room among the clients of its
    /// user, which is beyond two thousand.
    pub(crate) fn insert(&mut self, torrent: &mut Torrent, face: Face, state: PeerState) -> bool {
        if let Body::List(list) = &mut torrent.body {
            if list.len() < LIST_MAX {
                list.insert(&mut self.faces, face, state);
                return true;
            }
            let mut list = *list;
            torrent.body = Body::Crowd(self.gather(&mut list));
        }
        let Body::Crowd(number) = torrent.body else { unreachable!("a list was handled") };
        let (crowd, faces, keys) = self.crowd_mut(number);
        crowd.tables[table_of(state, face.mark.reached())].insert(faces, keys, face)
    }

    /// Takes a face out of its swarm; its account stays.
    pub(crate) fn take(&mut self, torrent: &mut Torrent, spot: Spot) -> Face {
        match (&mut torrent.body, spot) {
            (Body::List(list), Spot::List(at)) => list.remove(&mut self.faces, at),
            (Body::Crowd(number), Spot::Crowd(table, place)) => {
                let number = *number;
                let (crowd, faces, _) = self.crowd_mut(number);
                let face = crowd.tables[table].remove(faces, place);
                self.merge(number, table);
                self.settle(torrent);
                face
            }
            _ => unreachable!("a spot is used before its swarm changes"),
        }
    }

    /// Gives back everything that a face out of any swarm had.
    pub(crate) fn forget(&mut self, face: &Face) {
        self.accounts.remove(face.account, face.mark.is_large());
        face.forget(&mut self.wides);
    }

    /// How many clients of one user are in a swarm.
    pub(crate) fn clients(&self, torrent: &Torrent, user: UserId) -> usize {
        let mut clients = 0;
        self.each_of(torrent, user, |_, _| clients += 1);
        clients
    }

    /// Shows the clients of one user in a swarm.
    pub(crate) fn each_of(
        &self,
        torrent: &Torrent,
        user: UserId,
        mut show: impl FnMut(&Face, PeerState),
    ) {
        match &torrent.body {
            Body::List(list) => {
                for (at, face) in list.peers(&self.faces).iter().enumerate() {
                    if face.user == user.0 {
                        show(face, list.parts.state(at));
                    }
                }
            }
            Body::Crowd(number) => {
                for (at, table) in self.crowd(*number).tables.iter().enumerate() {
                    // In small tables several parts share a bucket.
                    let mut buckets = [usize::MAX; PARTS as usize];
                    for part in 0..PARTS {
                        let hash = face::hash(&self.keys, user.0, part);
                        buckets[usize::from(part)] = table.bucket_of(hash).unwrap_or(usize::MAX);
                    }
                    buckets.sort_unstable();
                    for part in 0..buckets.len() {
                        if part == 0 || buckets[part] != buckets[part - 1] {
                            let faces = table.bucket(&self.faces, buckets[part]).iter();
                            faces
                                .filter(|face| face.user == user.0)
                                .for_each(|face| show(face, state_of(at)));
                        }
                    }
                }
            }
        }
    }

    /// A peer as a snapshot or a reader of the swarm sees it.
    pub(crate) fn record(&self, face: &Face, state: PeerState) -> PeerRecord {
        let (peer_id, key) = self.accounts.name(face.account);
        let figures = self.accounts.figures(face.account, face.mark.is_large());
        PeerRecord {
            user: UserId(face.user),
            peer_id,
            key,
            endpoints: face.endpoints(&self.wides),
            state,
            visible: face.mark.is_visible(),
            hidden: face.mark.is_hidden(),
            reported: figures.reported,
            left: figures.left,
            since: figures.since,
            seen: figures.seen,
            announces: figures.announces,
        }
    }

    /// Merges buckets of a crowd that has lost peers.
    pub(crate) fn merge(&mut self, number: u32, table: usize) {
        if self.held != Some(number) {
            let (crowd, faces, _) = self.crowd_mut(number);
            crowd.tables[table].settle(faces, MERGES);
        }
    }

    /// Makes a list of a crowd that has become small, with some slack.
    pub(crate) fn settle(&mut self, torrent: &mut Torrent) {
        let Body::Crowd(number) = torrent.body else { return };
        if self.crowd(number).len() > LIST_MAX / 2 || self.held == Some(number) {
            return;
        }
        let mut list = List::EMPTY;
        let mut crowd = self.take_crowd(number);
        for (at, table) in crowd.tables.iter_mut().enumerate() {
            let state = state_of(at);
            for bucket in 0..table.buckets() {
                let mut at = 0;
                while let Some(face) = table.bucket(&self.faces, bucket).get(at).copied() {
                    list.insert(&mut self.faces, face, state);
                    at += 1;
                }
            }
            while table.bury_bucket(&mut self.faces) {}
        }
        torrent.body = Body::List(list);
    }

    /// Takes up to about `budget` faces out of a swarm that is dying; `None` when there are none left.
    pub(crate) fn bury(&mut self, torrent: &mut Torrent, out: &mut Vec<(Face, PeerState)>) -> bool {
        match &mut torrent.body {
            Body::List(list) => {
                let faces = list.peers(&self.faces).iter().enumerate();
                out.extend(faces.map(|(at, face)| (*face, list.parts.state(at))));
                list.clear(&mut self.faces);
                false
            }
            Body::Crowd(number) => {
                let number = *number;
                let crowd = self.crowds.get_mut(number).as_deref_mut();
                let crowd = crowd.expect("a swarm's crowd is there while it is");
                for (at, table) in crowd.tables.iter_mut().enumerate() {
                    if let Some(last) = table.buckets().checked_sub(1) {
                        let faces = table.bucket(&self.faces, last).iter();
                        out.extend(faces.map(|face| (*face, state_of(at))));
                        table.bury_bucket(&mut self.faces);
                        return true;
                    }
                }
                self.take_crowd(number);
                torrent.body = Body::List(List::EMPTY);
                false
            }
        }
    }

    /// Makes a crowd of a list, which is emptied.
    fn gather(&mut self, list: &mut List) -> u32 {
        let mut crowd = Crowd::new();
        for at in 0..list.len() {
            let face = list.peers(&self.faces)[at];
            let table = &mut crowd.tables[table_of(list.parts.state(at), face.mark.reached())];
            let room = table.insert(&mut self.faces, &self.keys, face);
            assert!(room, "a bucket has room for a whole list");
        }
        list.clear(&mut self.faces);
        self.crowds.insert(Some(Box::new(crowd)))
    }

    fn take_crowd(&mut self, number: u32) -> Crowd {
        if self.held == Some(number) {
            self.held = None;
        }
        self.crowds.remove(number);
        *self.crowds.get_mut(number).take().expect("a swarm's crowd is there while it is")
    }
}
