//! Looking at swarms for people: who is on a torrent, and on which torrents a user is.

use super::face::Face;
use super::members::{TABLES, state_of};
use super::torrent::Body;
use super::{HeldToken, PeerRecord, Swarms, TokenRecord, TorrentId, UserId};
use crate::{InfoHash, PeerState};

/// Where the next page of a torrent's peers begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bookmark {
    table: usize,
    bucket: usize,
    at: usize,
}

impl Bookmark {
    /// As a number, to be handed to somebody and back.
    pub fn number(self) -> u64 {
        (self.table as u64) << 48 | (self.bucket as u64) << 16 | self.at as u64
    }

    /// The bookmark of a number. One that never was a bookmark finds some peers or none.
    pub fn of(number: u64) -> Self {
        Self {
            table: (number >> 48) as usize,
            bucket: (number >> 16 & u64::from(u32::MAX)) as usize,
            at: (number & u64::from(u16::MAX)) as usize,
        }
    }
}

/// A client of a user, and where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Presence {
    /// The torrent's name.
    pub info_hash: InfoHash,
    /// Its number at the site.
    pub torrent: TorrentId,
    /// The client.
    pub peer: PeerRecord,
}

/// Tokens that are looked at in one go; about a millisecond.
const LOOKED_AT_MAX: usize = 1 << 16;

impl Swarms {
    /// Appends at most `peers_max` peers of a torrent to `out`, from `from` on; where the next page begins,
    /// `Some(None)` at the end, `None` when the torrent is not registered. Peers of removed users are not
    /// shown.
    ///
    /// Announces may come between two pages: a peer that is there from the first to the last may be in
    /// two of them, or in none when it became a seeder or the swarm shrank meanwhile.
    pub fn page(
        &self,
        info_hash: &InfoHash,
        from: Bookmark,
        peers_max: usize,
        out: &mut Vec<PeerRecord>,
    ) -> Option<Option<Bookmark>> {
        let torrent = self.torrents.get(self.find(info_hash)?);
        let members = &self.members;
        let end = out.len() + peers_max.max(1);
        let mut mark = from;
        let Body::Crowd(number) = &torrent.body else {
            let mut place = 0;
            let mut more = false;
            members.each(torrent, |face, state| {
                if place >= mark.at && mark.table == 0 && mark.bucket == 0 {
                    if out.len() == end {
                        more = true;
                        mark.at = place;
                        return false;
                    }
                    out.extend(self.peer_record(face, state));
                }
                place += 1;
                true
            });
            return Some(more.then_some(mark));
        };
        let tables = &members.crowd(*number).tables;
        while mark.table < TABLES {
            let faces = tables[mark.table].bucket(&members.faces, mark.bucket);
            for face in faces.iter().skip(mark.at) {
                if out.len() == end {
                    return Some(Some(mark));
                }
                out.extend(self.peer_record(face, state_of(mark.table)));
                mark.at += 1;
            }
            let (table, bucket) = match mark.bucket + 1 < tables[mark.table].buckets() {
                true => (mark.table, mark.bucket + 1),
                false => (mark.table + 1, 0),
            };
            mark = Bookmark { table, bucket, at: 0 };
        }
        Some(None)
    }

    /// Appends registered torrents to `out`, from place `from` on, by their first names: as many as fit until it
    /// has `max`, or stand in `places` places; the place to go on from, `None` at the end.
    pub fn registered(
        &self,
        from: u32,
        places: u32,
        max: usize,
        out: &mut Vec<(InfoHash, TorrentId)>,
    ) -> Option<u32> {
        let end = self.torrents.end();
        let stop = end.min(from.saturating_add(places.max(1)));
        for slot in from..stop {
            if out.len() >= max {
                return Some(slot);
            }
            let torrent = self.torrents.get(slot);
            if torrent.is_registered() {
                out.push((torrent.info_hash, torrent.terms.id));
            }
        }
        (stop < end).then_some(stop)
    }

    /// Appends tokens to `out` until it has `max`, from the one after `after` on, which is a torrent's place and a
    /// user; what to go on after, `None` at the end. With `of`, those of this user alone.
    ///
    /// Looks at 65,536 tokens at most.
    pub fn held_tokens(
        &self,
        after: Option<(u32, UserId)>,
        of: Option<UserId>,
        max: usize,
        out: &mut Vec<HeldToken>,
    ) -> Option<(u32, UserId)> {
        let mut last = after;
        for (slot, token) in self.tokens.after(after).take(LOOKED_AT_MAX) {
            if out.len() >= max {
                return last;
            }
            last = Some((slot, token.user));
            let torrent = self.torrents.get(slot);
            if torrent.is_registered() && of.is_none_or(|of| of == token.user) {
                out.push(HeldToken {
                    user: token.user,
                    torrent: torrent.terms.id,
                    info_hash: torrent.info_hash,
                    expires_at: token.expires_at,
                });
            }
        }
        last.filter(|last| self.tokens.after(Some(*last)).next().is_some())
    }

    /// Looks through `torrents` places of torrents, from place `from` on, for clients of a user, and
    /// appends them to `out`; the place to go on from, `None` at the end. Stops early when `out` has
    /// `presences_max` or more.
    ///
    /// A place costs a cache miss for its torrent and another for its peers.
    pub fn find_user(
        &self,
        user: UserId,
        from: u32,
        torrents: u32,
        presences_max: usize,
        out: &mut Vec<Presence>,
    ) -> Option<u32> {
        let end = self.torrents.end();
        let stop = end.min(from.saturating_add(torrents.max(1)));
        for slot in from..stop {
            let torrent = self.torrents.get(slot);
            if !torrent.is_registered() {
                continue;
            }
            let (info_hash, id) = (torrent.info_hash, torrent.terms.id);
            self.members.each_of(torrent, user, |face: &Face, state: PeerState| {
                let peer = self.peer_record(face, state);
                out.extend(peer.map(|peer| Presence { info_hash, torrent: id, peer }));
            });
            if out.len() >= presences_max {
                return (slot + 1 < end).then_some(slot + 1);
            }
        }
        (stop < end).then_some(stop)
    }

    /// At most `tokens_max` of the tokens for a torrent, those that are over and not yet dropped
    /// included; none where it is not registered.
    pub fn tokens_of(&self, info_hash: &InfoHash, tokens_max: usize) -> Vec<TokenRecord> {
        let Some(slot) = self.find(info_hash) else { return Vec::new() };
        self.tokens.of(slot, None).take(tokens_max).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::private::{
        Announce, Counters, Endpoints, Facts, Freeleech, Limits, PeerId, Terms, User,
    };
    use crate::{Event, Families, Reply, Seconds};

    const LIMITS: Limits = Limits {
        torrents_max: 100,
        peers_max: 100_000,
        clients_max: 0,
        peer_timeout: Seconds(3600),
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 10,
        facts: Facts::Changed,
    };

    fn info_hash(torrent: u32) -> InfoHash {
        let mut hash = [7; 20];
        hash[..4].copy_from_slice(&torrent.to_be_bytes());
        InfoHash(hash)
    }

    fn swarms(torrents: u32) -> Swarms {
        let mut swarms = Swarms::new(3, LIMITS);
        for torrent in 0..torrents {
            let id = TorrentId(torrent);
            let terms = Terms { id, freeleech: Freeleech::None, upload_percent: 100 };
            swarms.register(info_hash(torrent), terms).unwrap();
        }
        swarms
    }

    /// A client of a user announces a torrent; every third is a seeder.
    fn announce(swarms: &mut Swarms, torrent: u32, user: u32, client: u32) {
        let mut peer_id = *b"-XX0001-000000000000";
        peer_id[8..12].copy_from_slice(&client.to_be_bytes());
        let announce = Announce {
            interval: Seconds(1800),
            downloads_full: false,
            assumed: Families::default(),
            info_hash: info_hash(torrent),
            user: User { id: UserId(user), can_leech: true, hidden: false, group: None },
            peer_id: PeerId(peer_id),
            key: 0,
            endpoints: Endpoints::new(Some((45 << 24 | client).into()), None, 6881),
            counters: Counters::default(),
            left: u64::from(client % 3),
            event: Event::Started,
            numwant: 0,
            families: Families { v4: true, v6: true },
        };
        let mut random = fastrand::Rng::with_seed(1);
        swarms.announce(&announce, Seconds(1000), &mut random, &mut Reply::default()).unwrap();
    }

    #[test]
    fn pages_together_show_every_peer_once() {
        for peers in [0, 1, 90, 128, 129, 5000] {
            let mut swarms = swarms(1);
            (0..peers).for_each(|client| announce(&mut swarms, 0, client / 2, client));
            for size in [1, 7, 100, 10_000] {
                let (mut shown, mut from) = (Vec::new(), Bookmark::default());
                loop {
                    let before = shown.len();
                    let next = swarms.page(&info_hash(0), from, size, &mut shown).unwrap();
                    assert!(shown.len() - before <= size);
                    let Some(next) = next else { break };
                    assert_eq!(Bookmark::of(next.number()), next);
                    from = next;
                }
                let clients: BTreeSet<_> =
                    shown.iter().map(|peer| (peer.user, peer.peer_id)).collect();
                assert_eq!(
                    (shown.len(), clients.len()),
                    (peers as usize, peers as usize),
                    "{size}"
                );
            }
        }
        assert_eq!(swarms(0).page(&info_hash(0), Bookmark::default(), 1, &mut Vec::new()), None);
    }

    #[test]
    fn a_bookmark_from_nowhere_does_no_harm() {
        let mut swarms = swarms(2);
        (0..3000).for_each(|client| announce(&mut swarms, 0, client, client));
        (0..30).for_each(|client| announce(&mut swarms, 1, client, client));
        for number in [u64::MAX, 1 << 48, 5 << 48 | 77 << 16 | 9, 0xffff, 1 << 16] {
            for torrent in [0, 1] {
                let _ = swarms.page(&info_hash(torrent), Bookmark::of(number), 50, &mut Vec::new());
            }
        }
    }

    #[test]
    fn a_user_is_found_in_small_and_large_swarms() {
        let mut swarms = swarms(40);
        for torrent in 0..40 {
            let others = if torrent == 5 { 4000 } else { torrent };
            (0..others).for_each(|client| announce(&mut swarms, torrent, 1000 + client, client));
        }
        for (torrent, client) in [(0, 1), (5, 1), (5, 2), (39, 1)] {
            announce(&mut swarms, torrent, 7, client);
        }
        for (step, most) in [(1, 100), (1000, 100), (10, 1)] {
            let (mut found, mut from) = (Vec::new(), Some(0));
            while let Some(slot) = from {
                let before = found.len();
                from = swarms.find_user(UserId(7), slot, step, before + most, &mut found);
            }
            let torrents: Vec<u32> = found.iter().map(|presence| presence.torrent.0).collect();
            assert_eq!(torrents, [0, 5, 5, 39]);
            assert!(found.iter().all(|presence| presence.peer.user == UserId(7)));
        }
    }
}
