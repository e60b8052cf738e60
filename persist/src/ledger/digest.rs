//! Many records as the few rows that come of them, for a ledger that is far behind.
//!
//! Records after an outage are about the same clients, users and torrents again and again, and of most of them only
//! the last word or the sum is written. So they are taken in as they are read, and not kept: of a client its last
//! announce, of a user what is credited, of a torrent its figures. As with [`super::batch`], changes of the site move
//! before what peers did; one that must not ends the digest.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use shard::Seconds;
use shard::private::{Counters, Endpoints, Fact, Stamp, TorrentId, UserId};

use super::Record;
use super::batch::{self, Act, Credit, Deed, Figures, PeerKey, TokenUse};
use crate::journal::Said;

/// The rows to be written for records that follow on each other.
#[derive(Debug)]
pub(super) struct Digest {
    first: u64,
    next: u64,
    until_millis: Option<u64>,
    pub(super) facts: u64,
    pub(super) gone: u64,
    pub(super) said: Vec<(u64, Said)>,
    credits: HashMap<UserId, Credit>,
    figures: HashMap<TorrentId, Figures>,
    tokens: HashMap<(UserId, TorrentId), TokenUse>,
    pub(super) snatches: Vec<Snatch>,
    /// `None` where they are not written.
    peers: Option<HashMap<PeerKey, PeerLast>>,
    /// Of whom and of what there is anything.
    users: HashSet<UserId>,
    torrents: HashSet<TorrentId>,
    peers_max: usize,
}

/// The database's row of a completed download.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snatch {
    pub(super) user: UserId,
    pub(super) torrent: TorrentId,
    pub(super) at: Seconds,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

impl Snatch {
    pub(super) fn of(fact: &Fact) -> Self {
        let shown = !fact.hidden;
        Self {
            user: fact.user,
            torrent: fact.torrent,
            at: fact.at,
            v4: fact.endpoints.address_v4().filter(|_| shown),
            v6: fact.endpoints.address_v6().filter(|_| shown),
        }
    }
}

/// The database's row of a client's last announce, without its key. In 96 bytes, as many are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerRow {
    pub(super) reported: Counters,
    pub(super) left: u64,
    /// Bytes a second.
    pub(super) upload_rate: u64,
    pub(super) download_rate: u64,
    pub(super) stamp: Stamp,
    pub(super) at: Seconds,
    /// Since its first announce.
    pub(super) seconds: u32,
    pub(super) announces: u32,
    /// No addresses of a hidden user.
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    /// See [`Endpoints::port`].
    pub(super) port: u16,
    pub(super) port_v6: u16,
    pub(super) active: bool,
}

const _: () = assert!(size_of::<(PeerKey, PeerLast)>() <= 136, "see PEERS_MAX");
const _: () = assert!(size_of::<(TorrentId, Figures)>() <= 80, "see PEERS_MAX");
const _: () = assert!(size_of::<(UserId, Credit)>() <= 24, "see PEERS_MAX");

impl PeerRow {
    pub(super) fn of(fact: &Fact) -> Self {
        let endpoints = if fact.hidden { Endpoints::default() } else { fact.endpoints };
        let rate = |bytes: u64| bytes.checked_div(u64::from(fact.elapsed)).unwrap_or(0);
        Self {
            reported: fact.reported,
            left: fact.left,
            upload_rate: rate(fact.moved.uploaded),
            download_rate: rate(fact.moved.downloaded),
            stamp: fact.stamp,
            at: fact.at,
            seconds: fact.at.since(fact.since).0,
            announces: fact.announces,
            v4: endpoints.address_v4(),
            v6: endpoints.address_v6(),
            port: endpoints.port().unwrap_or_default(),
            port_v6: endpoints.port_v6().unwrap_or_default(),
            active: fact.active,
        }
    }

    /// See [`Endpoints::port`].
    pub(super) fn port(&self) -> Option<u16> {
        (self.v4.is_some() || self.v6.is_some()).then_some(self.port)
    }

    /// See [`Endpoints::port_v6`].
    pub(super) fn port_v6(&self) -> Option<u16> {
        self.v6.map(|_| self.port_v6)
    }
}

/// The last that is known of a client.
#[derive(Clone, Copy, Debug)]
enum PeerLast {
    Announced(PeerRow),
    /// It left without saying so, and has not announced before among these records.
    Gone,
}

impl Digest {
    /// Begins with this record, and takes in no more than so many clients, users or torrents. Clients are kept where
    /// they are to be written; room for them is there at once, and takes no memory before it is used.
    pub(super) fn new(first: u64, peers_max: usize, keeps_peers: bool) -> Self {
        Self {
            first,
            next: first,
            until_millis: None,
            facts: 0,
            gone: 0,
            said: Vec::new(),
            credits: HashMap::new(),
            figures: HashMap::new(),
            tokens: HashMap::new(),
            snatches: Vec::new(),
            peers: keeps_peers.then(|| HashMap::with_capacity(peers_max)),
            users: HashSet::new(),
            torrents: HashSet::new(),
            peers_max,
        }
    }

    /// The number of its first record, and the one behind its last.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.first, self.next)
    }

    /// How many records it is made of.
    pub(super) fn records(&self) -> u64 {
        self.next - self.first
    }

    /// When the last of them was made, in milliseconds since 1970.
    pub(super) fn until_millis(&self) -> Option<u64> {
        self.until_millis
    }

    /// Takes in records, which follow on those before, as far as it can; how many. When these are not all, it is
    /// to be written, and the rest begins another one: each takes one record at least.
    pub(super) fn take(&mut self, records: &[(u64, Record)]) -> usize {
        for (at, (number, record)) in records.iter().enumerate() {
            debug_assert_eq!(*number, self.next);
            if self.is_full() || !self.take_one(*number, record) {
                return at;
            }
            self.next = number + 1;
            self.until_millis = self.until_millis.max(Some(record.stamp().millis));
        }
        records.len()
    }

    /// Whether it is to be written before more is taken in.
    pub(super) fn is_full(&self) -> bool {
        // A record adds one to each of them at most.
        let peers = self.peers.as_ref().map_or(0, HashMap::len);
        peers.max(self.users.len()).max(self.torrents.len()) >= self.peers_max
            || self.tokens.len().max(self.snatches.len()) >= TOKENS_MAX
            || self.said.len() >= SAID_MAX
    }

    fn take_one(&mut self, number: u64, record: &Record) -> bool {
        let deed = match record {
            Record::Fact(fact) => Deed::Fact(fact),
            Record::Gone(gone) => Deed::Gone(gone),
            Record::Tick(_) => return true,
            Record::Said(said) => {
                if batch::touches(said, &self.users, &self.torrents, &self.tokens) {
                    return false;
                }
                self.said.push((number, said.clone()));
                return true;
            }
        };
        let act = Act { number, deed };
        self.users.insert(act.user());
        self.torrents.insert(act.torrent());
        batch::add_figures(&mut self.figures, &act);
        match deed {
            Deed::Gone(_) => {
                self.gone += 1;
                if let Some(peers) = &mut self.peers
                    && let PeerLast::Announced(row) =
                        peers.entry(act.peer()).or_insert(PeerLast::Gone)
                {
                    row.active = false;
                }
            }
            Deed::Fact(fact) => {
                self.facts += 1;
                batch::add_credit(&mut self.credits, fact);
                batch::add_token_use(&mut self.tokens, fact);
                if fact.snatched {
                    self.snatches.push(Snatch::of(fact));
                }
                if let Some(peers) = &mut self.peers {
                    peers.insert(act.peer(), PeerLast::Announced(PeerRow::of(fact)));
                }
            }
        }
        true
    }

    /// Each in the order of its keys, as [`batch::credits`] and the others have them.
    pub(super) fn credits(&self) -> Vec<(UserId, Credit)> {
        batch::sorted(self.credits.iter().map(|(user, credit)| (*user, *credit)))
    }

    /// See [`batch::figures`]. These are large, and not copied.
    pub(super) fn figures(&self) -> Vec<(&TorrentId, &Figures)> {
        batch::sorted(&self.figures)
    }

    /// See [`batch::token_uses`].
    pub(super) fn token_uses(&self) -> Vec<((UserId, TorrentId), TokenUse)> {
        batch::sorted(self.tokens.iter().map(|(token, token_use)| (*token, *token_use)))
    }

    /// The clients that announced, and those that only left.
    pub(super) fn peers(&self) -> (Vec<(&PeerKey, &PeerRow)>, Vec<PeerKey>) {
        let (mut announced, mut gone) = (Vec::new(), Vec::new());
        for (key, last) in self.peers.iter().flatten() {
            match last {
                PeerLast::Announced(row) => announced.push((key, row)),
                PeerLast::Gone => gone.push(*key),
            }
        }
        announced.sort_unstable_by_key(|(key, _)| *key);
        gone.sort_unstable();
        (announced, gone)
    }
}

/// Clients in a digest; as many users and torrents at most. Seven eighths of a power of two, as full as maps get:
/// 34 MiB of clients, and 31 MiB of users and torrents where there are as many of them.
pub(super) const PEERS_MAX: usize = (1 << 18) / 8 * 7;

/// Tokens that are used, and completed downloads.
const TOKENS_MAX: usize = 1 << 14;

/// Changes of the site.
const SAID_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use shard::private::{Change, Freeleech};

    use super::*;
    use crate::journal::Columns;
    use crate::suspicion::tests::fact;

    /// Takes records in as those that follow; how many it takes.
    fn take(digest: &mut Digest, records: impl IntoIterator<Item = Record>) -> usize {
        let (_, next) = digest.span();
        let records: Vec<(u64, Record)> = (next..).zip(records).collect();
        digest.take(&records)
    }

    fn said(columns: Columns, change: Change) -> Record {
        Record::Said(Said { at: Stamp::default(), columns, change })
    }

    fn torrent(id: u32, columns: Columns) -> Record {
        let id = TorrentId(id);
        let (info_hash, freeleech) = (fact(1, 1, 1).info_hash, Freeleech::Free);
        let (info_hash_v2, upload_percent) = (None, 100);
        said(columns, Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent })
    }

    fn token(user: u32, torrent: u32) -> Record {
        let (user, torrent) = (UserId(user), TorrentId(torrent));
        let info_hash = fact(1, 1, 1).info_hash;
        said(Columns::ALL, Change::Token { user, torrent, info_hash, expires_at: None })
    }

    /// All that is kept is counted, however much comes: nothing else decides how much memory it takes.
    #[test]
    fn each_map_and_list_has_a_bound() {
        let full = |records: &mut dyn Iterator<Item = Record>| {
            let mut digest = Digest::new(7, 100, true);
            let taken = take(&mut digest, records);
            assert!(digest.is_full());
            assert_eq!((digest.records(), digest.span()), (taken as u64, (7, 7 + taken as u64)));
            let peers = digest.peers().0.len();
            assert!(peers.max(digest.users.len()).max(digest.torrents.len()) <= 100);
            taken
        };
        // Users, torrents, clients of one user on one torrent.
        assert_eq!(full(&mut (0..300).map(|user| fact(user, 1, 1).into())), 100);
        assert_eq!(full(&mut (0..300).map(|torrent| fact(1, torrent, 1).into())), 100);
        assert_eq!(full(&mut (0..300).map(|key| Fact { key, ..fact(1, 1, 1) }.into())), 100);
        // Those who come again take no room, and snatches do.
        let snatch = Fact { snatched: true, ..fact(1, 1, 1) };
        assert_eq!(full(&mut (0..2 * TOKENS_MAX).map(|_| snatch.into())), TOKENS_MAX);
        assert_eq!(full(&mut (0..2 * SAID_MAX).map(|_| token(1, 1))), SAID_MAX);

        let mut digest = Digest::new(0, 100, true);
        assert_eq!(take(&mut digest, (0..9_000).map(|at| fact(at % 9, at % 3, at).into())), 9_000);
        assert_eq!((digest.facts, digest.peers().0.len(), digest.is_full()), (9_000, 9, false));
        assert!(digest.peers.unwrap().capacity() < 300);
    }

    /// Beyond its bound, a digest takes one record: otherwise nothing would go on.
    #[test]
    fn the_first_record_is_always_taken() {
        for record in [fact(1, 1, 1).into(), torrent(1, Columns::ALL), token(1, 1)] {
            assert_eq!(take(&mut Digest::new(0, 1, true), [record]), 1);
        }
    }

    #[test]
    fn what_the_site_says_of_what_has_happened_ends_it_where_the_order_matters() {
        let used = Fact { token_down: 5, ..fact(1, 1, 1) };
        for (change, ends) in [
            (torrent(1, Columns::ALL), true),
            (torrent(1, Columns::FREELEECH), false),
            (torrent(2, Columns::ALL), false),
            (token(1, 1), true),
            (token(1, 2), false),
            (token(2, 1), false),
        ] {
            let mut digest = Digest::new(0, 100, true);
            let taken = take(&mut digest, [used.into(), change.clone(), fact(1, 1, 2).into()]);
            assert_eq!(taken, if ends { 1 } else { 3 }, "{change:?}");
        }
    }
}
