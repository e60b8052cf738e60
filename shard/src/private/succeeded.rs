//! A client that comes to an endpoint of another client of the same user is its successor: nobody else can be
//! reached there. Clients that have crashed come back so, as many make a new peer id at each start.

use std::collections::{HashMap, VecDeque};

use super::account::Figures;
use super::face::{Face, Name};
use super::recent::Whose;
use super::{AHEAD_MAX, Counters, Endpoints, Gone, PeerId, Swarms, UserId};
use crate::{PeerState, Seconds};

/// The last counters of clients whose endpoint was taken over. Two clients behind one address may say the same port:
/// then each is the other's successor in turn, and what they move counts all the same.
#[derive(Debug, Default)]
pub(crate) struct Succeeded {
    /// By client.
    last: HashMap<Whose, Last>,
    /// In the order in which they were succeeded.
    order: VecDeque<(Whose, Seconds)>,
}

/// The counters a client has come to, and when it was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Last {
    pub(crate) reported: Counters,
    pub(crate) seen: Seconds,
}

/// Clients remembered by a core, the newest; of others nobody knows what they had come to when they come back.
const SUCCEEDED_MAX: usize = 1 << 14;

impl Last {
    /// Whether it has not been silent for too long.
    pub(crate) fn counts(&self, now: Seconds, peer_timeout: Seconds) -> bool {
        now.since(self.seen) <= peer_timeout && self.seen.since(now) <= AHEAD_MAX
    }
}

impl Succeeded {
    fn note(&mut self, whose: Whose, last: Last) {
        self.last.insert(whose, last);
        self.order.push_back((whose, last.seen));
        if self.order.len() > SUCCEEDED_MAX
            && let Some((whose, seen)) = self.order.pop_front()
            && self.last.get(&whose).is_some_and(|last| last.seen == seen)
        {
            self.last.remove(&whose);
        }
    }

    pub(crate) fn forget(&mut self, whose: Whose) {
        if !self.last.is_empty() {
            self.last.remove(&whose);
        }
    }

    pub(crate) fn get(&self, whose: Whose) -> Option<Last> {
        self.last.get(&whose).copied()
    }
}

impl Swarms {
    /// Takes out of a swarm the other clients of a user that have an endpoint in common with this one; `own` is
    /// the account of the client itself, where it is there. Whether one of them was downloading.
    pub(super) fn succeed(
        &mut self,
        slot: u32,
        user: UserId,
        endpoints: &Endpoints,
        own: Option<u32>,
        now: Seconds,
    ) -> bool {
        let (torrent, members) = (self.torrents.get(slot), &self.members);
        let mut before: Vec<(PeerId, u32, PeerState)> = Vec::new();
        members.each_of(torrent, user, |face, state| {
            if Some(face.account) != own && face.endpoints(&members.wides).share_one(endpoints) {
                let (peer_id, key) = members.accounts.name(face.account);
                before.push((peer_id, key, state));
            }
        });
        if before.is_empty() {
            return false;
        }
        let left = before.iter().map(|one| self.take_succeeded(slot, user, one, now)).collect();
        let mut gone = std::mem::take(&mut self.succeeded_now);
        self.part(left, slot, true, now, &mut gone);
        self.succeeded_now = gone;
        before.iter().any(|(.., state)| *state == PeerState::Leecher)
    }

    fn take_succeeded(
        &mut self,
        slot: u32,
        user: UserId,
        (peer_id, key, state): &(PeerId, u32, PeerState),
        now: Seconds,
    ) -> (Face, PeerState) {
        let (torrent, members) = (self.torrents.get_mut(slot), &mut self.members);
        let name = Name::new(&members.keys, user, peer_id, *key);
        let spot = members.find(torrent, &name, *state).expect("it was seen in this swarm");
        let face = members.take(torrent, spot);
        let Figures { reported, seen, .. } =
            members.accounts.figures(face.account, face.mark.is_large());
        let info_hash = torrent.info_hash;
        let whose = self.whose(user, peer_id, *key, &info_hash);
        self.recent.rename(Whose::account(face.account), whose, now);
        self.succeeded.note(whose, Last { reported, seen });
        (face, *state)
    }

    /// The clients whose endpoint the last announces took over, in their order: they have left. The caller takes them
    /// out; for the journal, before the fact of the announce.
    pub fn succeeded(&mut self) -> &mut Vec<Gone> {
        &mut self.succeeded_now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let mut succeeded = Succeeded::default();
        let last = |seen| Last { reported: Counters::default(), seen: Seconds(seen) };
        for client in 0..SUCCEEDED_MAX as u32 + 10 {
            succeeded.note(Whose::account(client), last(client));
        }
        let here = |succeeded: &Succeeded, client| succeeded.get(Whose::account(client)).is_some();
        assert!(!here(&succeeded, 9) && here(&succeeded, 10));
        // One that was succeeded again is not forgotten for its first time.
        succeeded.note(Whose::account(10), last(1 << 20));
        assert!(here(&succeeded, 10) && here(&succeeded, 11));
        succeeded.forget(Whose::account(10));
        assert!(!here(&succeeded, 10));
        assert!(succeeded.order.len() <= SUCCEEDED_MAX && succeeded.last.len() <= SUCCEEDED_MAX);
    }
}
