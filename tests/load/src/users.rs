//! The users of a private tracker: who has which peer, what each peer reports, and what a tracker that
//! neither loses nor doubles anything has to credit for it.
//!
//! A peer's counters grow with every announce. What they come to is a function of the peer and of how often
//! they have grown, so that four bytes a peer are all that is kept. A peer that stopped and comes back says
//! what it said last, until that is answered: whether the tracker still knew it or not, the sum comes out the
//! same.

use crate::swarms::{Swarms, mix};
use crate::udp::packet::{Counters, Event};

/// A passkey: 32 hex digits.
pub(crate) type Passkey = [u8; 32];

/// The users, and how far each peer is.
pub(crate) struct Users {
    seed: u64,
    users: u32,
    from: u64,
    peers: Vec<Peer>,
}

/// How often the counters of a peer have grown, which announce was its last, and three flags.
#[derive(Clone, Copy, Default)]
struct Peer(u32);

/// It stopped, and may be unknown to the tracker: its counters stay until it is known again.
const FROZEN: u32 = 1 << 31;
/// The last announce has no answer yet.
const OPEN: u32 = 1 << 30;
/// The last announce was `stopped`.
const STOPPED: u32 = 1 << 29;
/// The number of the last announce; starts again after 127.
const NUMBER: u32 = 0x7f << 22;
const NUMBER_ONE: u32 = 1 << 22;
const STEPS: u32 = NUMBER_ONE - 1;

/// What was credited, if all was, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
    /// Peers whose last announce has no answer: it may be credited or not.
    pub(crate) open: u64,
}

impl Users {
    /// `users` users share the peers evenly; no two peers of a swarm of at most `users` are of the same one.
    /// All counters begin at `from` bytes.
    pub(crate) fn new(swarms: &Swarms, users: u32, from: u64) -> Self {
        assert!(users > 0, "the command line allows no site without users");
        let peers = vec![Peer::default(); swarms.peers() as usize];
        Self { seed: swarms.seed(), users, from, peers }
    }

    /// The passkey that a peer announces with.
    pub(crate) fn passkey_of(&self, peer: u32) -> Passkey {
        passkey(self.seed, user_of(peer, self.users))
    }

    /// Whether the answer to the last announce of a peer is still to come.
    pub(crate) fn is_open(&self, peer: u32) -> bool {
        self.peers[peer as usize].0 & OPEN != 0
    }

    /// What a peer says with its next announce that was to say `event`. Who has stopped says so until that is
    /// answered, and then that it begins, as clients do: without that, a tracker takes what it says for an
    /// announce from before the stop that comes late.
    pub(crate) fn event_of(&self, peer: u32, event: Event) -> Event {
        let state = self.peers[peer as usize].0;
        match state & FROZEN {
            0 => event,
            _ if state & STOPPED != 0 && state & OPEN != 0 => Event::Stopped,
            _ => Event::Started,
        }
    }

    /// What a peer reports in its next announce, and what tells this announce from others in
    /// [`Users::answered`].
    pub(crate) fn report(&mut self, peer: u32, seeds: bool, event: Event) -> (Counters, u32) {
        let state = self.peers[peer as usize].0;
        let grows = state & FROZEN == 0 && event != Event::Started;
        let stopped = if event == Event::Stopped { STOPPED | FROZEN } else { 0 };
        self.say(peer, seeds, (state & STEPS) + u32::from(grows), stopped)
    }

    /// The same as last time, for a peer whose last announce may not have arrived.
    pub(crate) fn repeat(&mut self, peer: u32, seeds: bool) -> (Counters, u32) {
        self.say(peer, seeds, self.peers[peer as usize].0 & STEPS, 0)
    }

    fn say(&mut self, peer: u32, seeds: bool, steps: u32, stopped: u32) -> (Counters, u32) {
        let state = &mut self.peers[peer as usize].0;
        let number = state.wrapping_add(NUMBER_ONE) & NUMBER;
        *state = *state & FROZEN | OPEN | stopped | number | steps;
        let said = *state;
        (self.counters(peer, seeds, steps), said)
    }

    /// An announce of a peer has been answered, and so booked.
    pub(crate) fn answered(&mut self, peer: u32, said: u32) {
        let state = &mut self.peers[peer as usize].0;
        // Announces of a peer arrive in their order, so the last one tells of all before it.
        if *state & NUMBER == said & NUMBER {
            *state &= if *state & STOPPED == 0 { !(OPEN | FROZEN) } else { !OPEN };
        }
    }

    /// Peers whose last announce has no answer.
    pub(crate) fn open(&self) -> impl Iterator<Item = u32> {
        (0..self.peers.len() as u32).filter(|&peer| self.is_open(peer))
    }

    /// What all peers have moved since their `started`.
    pub(crate) fn credit(&self, swarms: &Swarms) -> Credit {
        let mut credit = Credit { open: self.open().count() as u64, ..Credit::default() };
        for (peer, state) in (0..).zip(&self.peers) {
            let (uploaded, downloaded) = self.step(peer, swarms.is_seeder(peer));
            credit.uploaded += uploaded * u64::from(state.0 & STEPS);
            credit.downloaded += downloaded * u64::from(state.0 & STEPS);
        }
        credit
    }

    fn counters(&self, peer: u32, seeds: bool, steps: u32) -> Counters {
        let (uploaded, downloaded) = self.step(peer, seeds);
        Counters {
            uploaded: self.from + uploaded * u64::from(steps),
            downloaded: self.from + downloaded * u64::from(steps),
        }
    }

    /// What a peer moves from one announce to the next: some megabytes, odd numbers of bytes.
    fn step(&self, peer: u32, seeds: bool) -> (u64, u64) {
        let random = mix(self.seed ^ 0xb17e ^ (u64::from(peer) << 24));
        let (uploaded, downloaded) = (random % STEP_MAX, (random >> 32) % STEP_MAX);
        (uploaded + 1, if seeds { 0 } else { downloaded + 1 })
    }
}

/// The number of the user whose peer this is, from 1 on.
pub(crate) fn user_of(peer: u32, users: u32) -> u32 {
    peer % users + 1
}

/// The passkey of a user: a function of seed and user alone.
pub(crate) fn passkey(seed: u64, user: u32) -> Passkey {
    let base = seed.wrapping_mul(0xd134_2543_de82_ef95) ^ (u64::from(user) << 2);
    let mut key = [0; 32];
    for (half, digits) in key.chunks_exact_mut(16).enumerate() {
        let word = mix(base ^ half as u64 ^ 0xa11ce);
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = HEX[(word >> (60 - 4 * at)) as usize & 15];
        }
    }
    key
}

const HEX: &[u8; 16] = b"0123456789abcdef";

const STEP_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn some() -> (Swarms, Users) {
        let swarms = Swarms::new(1_000, 40, 50, 7).unwrap();
        let users = Users::new(&swarms, 400, 5);
        (swarms, users)
    }

    #[test]
    fn passkeys_are_distinct_hex_digits_and_stay_what_they_were() {
        let all: HashSet<_> = (1..=10_000).map(|user| passkey(1, user)).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().flatten().all(|digit| HEX.contains(digit)));
        assert_ne!(passkey(1, 1), passkey(2, 1));
    }

    #[test]
    fn peers_of_a_swarm_are_of_different_users() {
        let (swarms, _) = some();
        let pairs: HashSet<_> =
            (0..swarms.peers()).map(|peer| (swarms.torrent_of(peer), user_of(peer, 400))).collect();
        assert_eq!(pairs.len(), 1_000);
    }

    /// A tracker of one peer that goes by the rules.
    #[derive(Default)]
    struct Book {
        last: Option<Counters>,
        credit: (u64, u64),
    }

    impl Book {
        fn hear(&mut self, counters: Counters, event: Event) {
            if let (Some(last), true) = (self.last, event != Event::Started) {
                self.credit.0 += counters.uploaded - last.uploaded;
                self.credit.1 += counters.downloaded - last.downloaded;
            }
            self.last = (event != Event::Stopped).then_some(counters);
        }
    }

    #[test]
    fn the_sum_is_that_of_a_tracker_that_hears_some_of_it_and_then_all() {
        let (swarms, mut users) = some();
        let mut random = fastrand::Rng::with_seed(5);
        let mut credited = (0, 0);
        for peer in 0..swarms.peers() {
            let seeds = swarms.is_seeder(peer);
            let mut book = Book::default();
            let (counters, said) = users.report(peer, seeds, Event::Started);
            book.hear(counters, Event::Started);
            users.answered(peer, said);
            for _ in 0..200 {
                let event = [Event::None, Event::Completed, Event::Stopped][random.usize(..3)];
                let event = users.event_of(peer, event);
                let (counters, said) = users.report(peer, seeds, event);
                // Lost on the way there, lost on the way back, or answered.
                let fate = random.u8(..3);
                if fate > 0 {
                    book.hear(counters, event);
                }
                if fate > 1 {
                    users.answered(peer, said);
                }
            }
            if users.is_open(peer) {
                let (counters, said) = users.repeat(peer, seeds);
                book.hear(counters, Event::None);
                users.answered(peer, said);
            }
            credited = (credited.0 + book.credit.0, credited.1 + book.credit.1);
        }
        let Credit { uploaded, downloaded, open } = users.credit(&swarms);
        assert_eq!((uploaded, downloaded, open), (credited.0, credited.1, 0));
        assert!(uploaded > 0 && downloaded > 0);
    }

    #[test]
    fn an_answer_to_an_earlier_announce_settles_nothing() {
        let (_, mut users) = some();
        let (_, first) = users.report(3, true, Event::None);
        let (_, second) = users.report(3, true, Event::None);
        users.answered(3, first);
        assert_eq!(users.open().collect::<Vec<_>>(), [3]);
        users.answered(3, second);
        assert_eq!(users.open().count(), 0);
    }
}
