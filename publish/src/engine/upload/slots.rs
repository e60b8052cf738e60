//! Whom blocks are sent to: all that want some, or by turns when they are more than there are slots.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use super::peer::Peer;

/// The peers that are unchoked and those that wait for it, each in the order in which they came there.
pub(crate) struct Slots {
    turns: Mutex<Turns>,
    slots_max: usize,
}

#[derive(Default)]
struct Turns {
    unchoked: VecDeque<Arc<Peer>>,
    waiting: VecDeque<Arc<Peer>>,
}

impl Slots {
    pub(crate) fn new(slots_max: usize) -> Self {
        Self { turns: Mutex::default(), slots_max: slots_max.max(1) }
    }

    /// A peer has become interested.
    pub(crate) fn want(&self, peer: &Arc<Peer>) {
        let mut turns = self.lock();
        if turns.unchoked.len() < self.slots_max {
            peer.set_unchoked(true);
            turns.unchoked.push_back(peer.clone());
        } else {
            turns.waiting.push_back(peer.clone());
        }
    }

    /// A peer is not interested any more, or is gone.
    pub(crate) fn leave(&self, peer: &Arc<Peer>) {
        let mut turns = self.lock();
        turns.waiting.retain(|waiting| !Arc::ptr_eq(waiting, peer));
        let before = turns.unchoked.len();
        turns.unchoked.retain(|unchoked| !Arc::ptr_eq(unchoked, peer));
        if turns.unchoked.len() < before {
            peer.set_unchoked(false);
            turns.next();
        }
    }

    /// A quarter of the slots goes from those that have had theirs for longest to those that have waited for longest.
    pub(crate) fn turn(&self) {
        let mut turns = self.lock();
        for _ in 0..turns.waiting.len().min(self.slots_max.div_ceil(4)) {
            if let Some(peer) = turns.unchoked.pop_front() {
                peer.set_unchoked(false);
                turns.next();
                turns.waiting.push_back(peer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().expect("nothing panics while it is held")
    }
}

impl Turns {
    fn next(&mut self) {
        if let Some(peer) = self.waiting.pop_front() {
            peer.set_unchoked(true);
            self.unchoked.push_back(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_a_turn() {
        let slots = Slots::new(4);
        let peers: Vec<_> = (0..10).map(|_| Arc::new(Peer::for_test())).collect();
        peers.iter().for_each(|peer| slots.want(peer));
        let mut turns = [0; 10];
        for _ in 0..100 {
            slots.turn();
            let unchoked: Vec<_> = peers.iter().map(|peer| peer.is_unchoked()).collect();
            assert_eq!(unchoked.iter().filter(|&&is| is).count(), 4);
            turns.iter_mut().zip(unchoked).for_each(|(turns, is)| *turns += usize::from(is));
        }
        assert!(turns.iter().all(|&turns| (36..=44).contains(&turns)), "{turns:?}");
        // Who leaves makes room for one that waits.
        peers.iter().take(6).for_each(|peer| slots.leave(peer));
        assert!(peers[6..].iter().all(|peer| peer.is_unchoked()));
        assert!(!peers[0].is_unchoked());
    }
}
