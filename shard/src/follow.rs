//! What one shard does after another: the swarms of a process that is being succeeded, and of its successor.

use std::net::IpAddr;

use crate::family::Family;
use crate::peer::{Endpoint, Peer, Seen, V4, V6};
use crate::store::{may_have_nothing, state};
use crate::{Announce, ClientTag, Counts, Event, InfoHash, Outcome, PeerState, Seconds, Shard};

/// What an announce has made of a peer and its swarm. Absolute, so that following it twice is following it once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerChange {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Address; with `port` the peer's identity.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Which client the endpoint belongs to.
    pub client: ClientTag,
    /// How it is there; `None` when it has left.
    pub state: Option<PeerState>,
    /// It says that nothing is left and it has downloaded nothing.
    pub may_have_nothing: bool,
    /// From when on its silence counts.
    pub silent_from: Seconds,
    /// The downloads of the swarm after that.
    pub snatches: u32,
    /// One of them was this one.
    pub snatched: bool,
}

impl PeerChange {
    /// What an announce has made; `None` when that is nothing at all.
    pub fn of(
        announce: &Announce,
        silent_from: Seconds,
        outcome: Outcome,
        counts: Counts,
    ) -> Option<Self> {
        let leaves = announce.event == Event::Stopped;
        if leaves && !outcome.left {
            return None;
        }
        Some(Self {
            info_hash: announce.info_hash,
            address: announce.address,
            port: announce.port,
            client: announce.client,
            state: (!leaves).then(|| state(announce)),
            may_have_nothing: may_have_nothing(announce),
            silent_from,
            snatches: counts.snatches,
            snatched: outcome.snatched,
        })
    }
}

impl Shard {
    /// Does what another shard of the same swarms has done. What does not fit into the limits is left out.
    ///
    /// Where both count at the same time (`is_late`), the downloads of the swarm become one more with one that was
    /// counted there; else they become as many as there, where that is more.
    pub fn follow(&mut self, change: &PeerChange, is_late: bool, now: Seconds) {
        match change.address {
            IpAddr::V4(address) => {
                self.follow_at(V4::new(address, change.port), change, is_late, now);
            }
            IpAddr::V6(address) => {
                self.follow_at(V6::new(address, change.port), change, is_late, now);
            }
        }
    }

    fn follow_at<E: Family>(
        &mut self,
        endpoint: E,
        change: &PeerChange,
        is_late: bool,
        now: Seconds,
    ) {
        self.take_note_of(now);
        let hash = self.hash(&change.info_hash);
        let found = self.find(&change.info_hash, hash);
        let Ok(slot) = (match (found, change.state) {
            (Some(slot), _) => Ok(slot),
            (None, None) => return,
            (None, Some(_)) => self.slot_for(change.info_hash, hash, None, now),
        }) else {
            return;
        };
        let before = self.tally(slot);
        let has_room = self.has_room();
        let entry = self.slab.entry_mut(slot);
        entry.snatches = match is_late {
            true => entry.snatches.saturating_add(u32::from(change.snatched)),
            false => entry.snatches.max(change.snatches),
        };
        match change.state {
            Some(state) => {
                let peer = Peer::new(endpoint, change.client, Seen::at(change.silent_from));
                let peer = peer.that(change.may_have_nothing);
                entry.join(&mut self.stores, peer, state, has_room);
            }
            None => _ = entry.leave(&mut self.stores, &endpoint),
        }
        self.account(slot, before);
        self.keep_or_drop(slot, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, Families, Limits, Piece, Reply};

    const LIMITS: Limits = Limits {
        swarms_max: 1000,
        peers_max: 100_000,
        peer_timeout: Seconds(4000),
        swarm_retention: Seconds(4000),
        count_unknown: false,
    };

    fn announce(random: &mut fastrand::Rng) -> Announce {
        let mut info_hash = [0; 20];
        info_hash[0] = random.u8(..20);
        let address: IpAddr = match random.bool() {
            true => [10, 0, random.u8(..3), random.u8(..)].into(),
            false => [0x2001, 0xdb8, 0, 0, 0, 0, 0, random.u16(..400)].into(),
        };
        let peer_id = [random.u8(..); 20];
        Announce {
            info_hash: InfoHash(info_hash),
            client: ClientTag::new(&peer_id, &[]),
            address,
            port: 1 + random.u16(..2),
            left: random.u64(..2),
            downloaded: random.u64(..3),
            event: *random
                .choice(&[
                    Event::None,
                    Event::Started,
                    Event::Completed,
                    Event::Stopped,
                    Event::Paused,
                ])
                .unwrap(),
            numwant: 5,
            families: Families { v4: true, v6: true },
        }
    }

    /// Every swarm with its peers, in an order of its own; without how it is kept in memory.
    fn all(shard: &Shard) -> Vec<String> {
        let (mut cursor, mut finished, mut lines) = (Cursor::default(), false, Vec::new());
        while !finished {
            let mut piece = Piece::default();
            finished = shard.export(&mut cursor, 1000, &mut piece);
            let (mut v4, mut v6) = (piece.peers_v4.iter(), piece.peers_v6.iter());
            for swarm in &piece.swarms {
                lines.push(format!("{:?} {}", swarm.info_hash, swarm.snatches));
                let v4 = v4.by_ref().take(swarm.peers_v4 as usize);
                lines.extend(v4.map(|peer| format!("{:?} {peer:?}", swarm.info_hash)));
                let v6 = v6.by_ref().take(swarm.peers_v6 as usize);
                lines.extend(v6.map(|peer| format!("{:?} {peer:?}", swarm.info_hash)));
            }
        }
        lines.sort();
        lines.dedup();
        lines
    }

    /// Loads what was exported.
    fn take_in(heir: &mut Shard, pieces: Vec<Piece>, now: Seconds) {
        for piece in pieces {
            let (mut v4, mut v6) = (piece.peers_v4.into_iter(), piece.peers_v6.into_iter());
            for swarm in piece.swarms {
                let v4 = v4.by_ref().take(swarm.peers_v4 as usize);
                let v6 = v6.by_ref().take(swarm.peers_v6 as usize);
                heir.import(swarm.info_hash, swarm.snatches, v4, v6, now).unwrap();
            }
        }
    }

    /// The way of a successor: an export while announces go on, and all that they have changed since it began.
    #[test]
    fn an_export_and_what_changed_since_make_the_same_shard() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut shard, mut heir) = (Shard::new(seed, LIMITS), Shard::new(!seed, LIMITS));
            let (mut now, mut reply) = (Seconds(100_000), Reply::default());
            let (mut changes, mut pieces) = (Vec::new(), Vec::new());
            let mut cursor = Cursor::default();
            let mut is_exporting = false;
            for step in 0..6000 {
                now = now + Seconds(u32::from(random.u8(..) < 40));
                let announce = announce(&mut random);
                let outcome = shard.announce(&announce, now, &mut random, &mut reply).unwrap();
                if step >= 2000 {
                    changes.extend(PeerChange::of(&announce, now, outcome, reply.counts));
                }
                is_exporting |= step == 2000;
                if is_exporting && step % 10 == 0 {
                    let mut piece = Piece::default();
                    is_exporting = !shard.export(&mut cursor, 20, &mut piece);
                    pieces.push(piece);
                }
            }
            assert!(!is_exporting && pieces.len() > 5);
            take_in(&mut heir, pieces, now);
            for change in changes.iter().chain(&changes[changes.len() / 2..]) {
                heir.follow(change, false, now);
            }
            assert_eq!(all(&shard), all(&heir), "{seed}");
            assert_eq!(shard.totals(), heir.totals(), "{seed}");
        }
    }

    /// A swarm of many, whose leechers become few while it is exported: their table is merged, and who does nothing moves.
    #[test]
    fn nobody_is_missed_in_a_large_swarm_that_changes() {
        for seed in 0..10 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut shard, mut heir) = (Shard::new(seed, LIMITS), Shard::new(!seed, LIMITS));
            let (now, mut reply) = (Seconds(100_000), Reply::default());
            let (mut changes, mut pieces) = (Vec::new(), Vec::new());
            let announce = |peer: u32, left| Announce {
                info_hash: InfoHash([7; 20]),
                client: ClientTag::from_bits(peer),
                address: IpAddr::V4(peer.into()),
                port: 1,
                left,
                downloaded: 9,
                event: if left > 0 { Event::None } else { Event::Completed },
                numwant: 0,
                families: Families::default(),
            };
            let peers = 5000;
            for peer in 0..peers {
                shard.announce(&announce(peer, 1), now, &mut random, &mut reply).unwrap();
            }
            let (mut cursor, mut finished, mut completing) = (Cursor::default(), false, 0..peers);
            while !finished {
                let mut piece = Piece::default();
                finished = shard.export(&mut cursor, 100, &mut piece);
                pieces.push(piece);
                for peer in completing.by_ref().take(120) {
                    let announce = announce(peer, u64::from(peer % 10 == 0));
                    let done = shard.announce(&announce, now, &mut random, &mut reply).unwrap();
                    // Those that do nothing are known by the export alone.
                    if peer % 10 > 0 {
                        changes.extend(PeerChange::of(&announce, now, done, reply.counts));
                    }
                }
            }
            take_in(&mut heir, pieces, now);
            changes.iter().for_each(|change| heir.follow(change, false, now));
            assert_eq!(all(&shard), all(&heir), "{seed}");
            assert_eq!(shard.totals(), heir.totals(), "{seed}");
        }
    }

    #[test]
    fn what_is_late_counts_one_more() {
        let mut shard = Shard::new(1, LIMITS);
        let change = PeerChange {
            info_hash: InfoHash([7; 20]),
            address: [10, 0, 0, 1].into(),
            port: 1,
            client: ClientTag::new(&[1; 20], &[]),
            state: Some(PeerState::Seeder),
            may_have_nothing: false,
            silent_from: Seconds(1000),
            snatches: 9,
            snatched: true,
        };
        shard.follow(&change, false, Seconds(1000));
        assert_eq!(shard.scrape(&change.info_hash).unwrap().snatches, 9);
        shard.follow(&change, true, Seconds(1000));
        let left = PeerChange { state: None, snatched: false, ..change };
        shard.follow(&left, true, Seconds(1000));
        let counts = shard.scrape(&change.info_hash).unwrap();
        assert_eq!((counts.snatches, counts.seeders), (10, 0));
        let unknown = PeerChange { info_hash: InfoHash([8; 20]), ..left };
        shard.follow(&unknown, false, Seconds(1000));
        assert_eq!(shard.totals().swarms, 1);
    }
}
