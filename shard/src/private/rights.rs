//! Changes of users since their peers last announced.

use std::collections::{BTreeMap, VecDeque};

use super::face::Face;
use super::{User, UserId};
use crate::PeerState;

/// Users whose peers are not what their faces say: looked up while choosing, and written into the faces
/// by the sweep. Empty nearly always.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    users: BTreeMap<UserId, (Ruling, u32)>,
    /// The same in the order they came, by the sweep's round.
    queue: VecDeque<(UserId, u32)>,
}

/// A ruling on all the peers of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ruling {
    /// They are to go.
    Gone,
    /// They are to have these rights.
    Rights { can_leech: bool, hidden: bool },
}

/// Whole rounds of the sweep that a ruling stays for. The first has begun already; in the second it
/// meets everybody but a peer that a growing table moves to where the sweep has been; the third meets
/// that one.
const ROUNDS: u32 = 3;

impl Rights {
    pub(crate) fn remove_user(&mut self, user: UserId, round: u32) {
        self.set(user, Ruling::Gone, round);
    }

    pub(crate) fn set_user(&mut self, user: User, round: u32) {
        let User { id, can_leech, hidden, group: _ } = user;
        self.set(id, Ruling::Rights { can_leech, hidden }, round);
    }

    fn set(&mut self, user: UserId, ruling: Ruling, round: u32) {
        self.users.insert(user, (ruling, round));
        self.queue.push_back((user, round));
    }

    #[inline]
    fn ruling(&self, face: &Face) -> Option<Ruling> {
        if self.users.is_empty() {
            return None;
        }
        self.users.get(&UserId(face.user)).map(|(ruling, _)| *ruling)
    }

    /// Whether a peer may be told to anybody.
    #[inline]
    pub(crate) fn shows(&self, face: &Face, state: PeerState) -> bool {
        match self.ruling(face) {
            None => face.mark.is_told(),
            Some(Ruling::Gone) => false,
            Some(Ruling::Rights { can_leech, .. }) => {
                !face.mark.is_apart() && (can_leech || state == PeerState::Seeder)
            }
        }
    }

    /// Writes a ruling into a face, where there is one; whether its peer is to stay.
    #[inline]
    pub(crate) fn write(&self, face: &mut Face, state: PeerState) -> bool {
        match self.ruling(face) {
            None => true,
            Some(Ruling::Gone) => false,
            Some(Ruling::Rights { can_leech, hidden }) => {
                face.mark.set_visible(can_leech || state == PeerState::Seeder);
                face.mark.set_hidden(hidden);
                true
            }
        }
    }

    /// Ends, at most `budget` of them, rulings that the sweep has written everywhere.
    pub(crate) fn settle(&mut self, round: u32, budget: usize) {
        for _ in 0..budget {
            let Some((user, since)) = self.queue.front().copied() else { return };
            if round.wrapping_sub(since) < ROUNDS {
                return;
            }
            self.queue.pop_front();
            if self.users.get(&user).is_some_and(|(_, at)| *at == since) {
                self.users.remove(&user);
            }
        }
    }
}
