//! The payload of a frame of the private mode: torrents, their tokens and their peers as columns.
//!
//! A torrent costs 43 bytes, a token 12, a peer 59; 16 more for one with an IPv6 address, 2 more for one with
//! a port for each family, and 40 more for one whose figures are large: a terabyte or more, corrupt data, more
//! than half a year.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use rkyv::rancor;
use rkyv::rend::u16_le;
use rkyv::util::AlignedVec;
use shard::private::{
    Counters, Endpoints, Freeleech, PeerId, PeerRecord, Terms, TokenRecord, TorrentId,
    TorrentRecord, UserId,
};
use shard::{InfoHash, PeerState, Seconds};

use super::format::{PAYLOAD_BYTES_MAX, Totals};

/// Torrents, tokens and peers in one frame at most, so that a reader's buffer is small whatever was
/// exported.
pub(super) const ENTRIES_MAX: usize = 4096;

/// The dearest entry is a peer with an IPv6 address, two ports and large figures: 117 bytes.
const _: () = assert!(ENTRIES_MAX * 118 + 1024 <= PAYLOAD_BYTES_MAX);
/// A torrent's peers in one frame are counted in 16 bits.
const _: () = assert!(ENTRIES_MAX <= u16::MAX as usize);

/// Torrents, with their tokens and peers; those of a torrent are the next `torrent_tokens` and
/// `torrent_peers` of the lists.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct Columns {
    info_hashes: Vec<[u8; 20]>,
    ids: Vec<u32>,
    freeleech: Vec<u8>,
    upload_percents: Vec<u16>,
    balances: Vec<i64>,
    snatches: Vec<u32>,
    torrent_tokens: Vec<u16>,
    torrent_peers: Vec<u16>,
    /// Which torrents go on from an earlier frame; ascending.
    continued: Vec<u16>,
    token_users: Vec<u32>,
    token_ends: Vec<Option<u32>>,
    peers: PeerColumns,
}

/// Torrents with peers of which some have a port for each family; since format 5.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct Ported {
    torrents: Columns,
    /// Over IPv6, of the peers that are marked so.
    ports_v6: Vec<u16>,
}

/// Peers; all columns but the last two have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct PeerColumns {
    users: Vec<u32>,
    peer_ids: Vec<[u8; 20]>,
    keys: Vec<u32>,
    /// State, rights, and which of the columns below have something about the peer.
    marks: Vec<u8>,
    /// 0 for a peer without an IPv4 address.
    v4: Vec<u32>,
    /// Over IPv4 where there is an address, and over IPv6 unless that has its own.
    ports: Vec<u16>,
    seen: Vec<u32>,
    /// Seconds from `since` to `seen`.
    lasted: Vec<[u8; 3]>,
    announces: Vec<u16>,
    uploaded: Vec<[u8; 5]>,
    downloaded: Vec<[u8; 5]>,
    left: Vec<[u8; 5]>,
    /// Of the peers that have one.
    v6: Vec<[u8; 16]>,
    /// Of the peers whose figures do not fit the columns above, which have zeros then.
    large: Vec<Large>,
}

/// Figures as they are.
#[derive(rkyv::Archive, rkyv::Serialize, Debug)]
struct Large {
    uploaded: u64,
    downloaded: u64,
    corrupt: u64,
    left: u64,
    since: u32,
    announces: u32,
}

/// In `marks`; the two bits below are the state.
const VISIBLE: u8 = 1 << 2;
const HIDDEN: u8 = 1 << 3;
const HAS_V4: u8 = 1 << 4;
const HAS_V6: u8 = 1 << 5;
const LARGE: u8 = 1 << 6;
/// Its port over IPv6 is another, see [`Ported`].
const OWN_PORT: u8 = 1 << 7;

/// A frame being filled.
#[derive(Default, Debug)]
pub(super) struct Filling {
    columns: Ported,
}

impl Filling {
    /// How many torrents, tokens and peers still fit.
    pub(super) fn room(&self) -> usize {
        let Columns { info_hashes, token_users, peers, .. } = &self.columns.torrents;
        ENTRIES_MAX - info_hashes.len() - token_users.len() - peers.users.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.torrents.info_hashes.is_empty()
    }

    /// Some peer in the frame has a port for each family: it goes into a frame of that kind.
    pub(super) fn is_ported(&self) -> bool {
        !self.columns.ports_v6.is_empty()
    }

    /// Adds a torrent with these tokens and peers. The caller has made sure that there is room.
    pub(super) fn push(
        &mut self,
        torrent: &TorrentRecord,
        continued: bool,
        tokens: &[TokenRecord],
        peers: &[PeerRecord],
    ) {
        assert!(self.room() > tokens.len() + peers.len(), "a frame has ENTRIES_MAX entries");
        let Ported { torrents: columns, ports_v6 } = &mut self.columns;
        if continued {
            columns.continued.push(short(columns.info_hashes.len()));
        }
        let TorrentRecord { info_hash, terms, balance, snatches, .. } = *torrent;
        columns.info_hashes.push(info_hash.0);
        columns.ids.push(terms.id.0);
        columns.freeleech.push(freeleech_code(terms.freeleech));
        columns.upload_percents.push(terms.upload_percent);
        columns.balances.push(balance);
        columns.snatches.push(snatches);
        columns.torrent_tokens.push(short(tokens.len()));
        columns.torrent_peers.push(short(peers.len()));
        columns.token_users.extend(tokens.iter().map(|token| token.user.0));
        columns.token_ends.extend(tokens.iter().map(|token| token.expires_at.map(|at| at.0)));
        for peer in peers {
            let own_port = own_port(&peer.endpoints);
            ports_v6.extend(own_port);
            columns.peers.push(peer, own_port.is_some());
        }
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(
        &mut self,
        mut buffer: AlignedVec,
    ) -> Result<AlignedVec, rancor::BoxedError> {
        buffer.clear();
        let buffer = match self.is_ported() {
            true => rkyv::api::high::to_bytes_in(&self.columns, buffer)?,
            false => rkyv::api::high::to_bytes_in(&self.columns.torrents, buffer)?,
        };
        self.columns.torrents.clear();
        self.columns.ports_v6.clear();
        Ok(buffer)
    }
}

/// The port over IPv6, where it is another than that over IPv4.
fn own_port(endpoints: &Endpoints) -> Option<u16> {
    endpoints.port_v6().filter(|port| endpoints.port() != Some(*port))
}

impl Columns {
    fn clear(&mut self) {
        self.info_hashes.clear();
        self.ids.clear();
        self.freeleech.clear();
        self.upload_percents.clear();
        self.balances.clear();
        self.snatches.clear();
        self.torrent_tokens.clear();
        self.torrent_peers.clear();
        self.continued.clear();
        self.token_users.clear();
        self.token_ends.clear();
        self.peers.clear();
    }
}

impl PeerColumns {
    fn push(&mut self, peer: &PeerRecord, has_own_port: bool) {
        let (v4, v6) = (peer.endpoints.address_v4(), peer.endpoints.address_v6());
        let Counters { uploaded, downloaded, corrupt } = peer.reported;
        let lasted = peer.seen.since(peer.since).0;
        let announces = u16::try_from(peer.announces);
        let fitting = [uploaded, downloaded, peer.left].map(five_bytes);
        let mut mark = state_code(peer.state);
        mark |= (u8::from(peer.visible) * VISIBLE) | (u8::from(peer.hidden) * HIDDEN);
        mark |= (u8::from(v4.is_some()) * HAS_V4) | (u8::from(v6.is_some()) * HAS_V6);
        mark |= u8::from(has_own_port) * OWN_PORT;
        let small = match (fitting, announces, lasted.to_le_bytes()) {
            ([Some(uploaded), Some(downloaded), Some(left)], Ok(announces), [a, b, c, 0])
                if corrupt == 0 && peer.since <= peer.seen =>
            {
                (uploaded, downloaded, left, announces, [a, b, c])
            }
            _ => {
                mark |= LARGE;
                let (left, since, announces) = (peer.left, peer.since.0, peer.announces);
                self.large.push(Large { uploaded, downloaded, corrupt, left, since, announces });
                Default::default()
            }
        };
        self.users.push(peer.user.0);
        self.peer_ids.push(peer.peer_id.0);
        self.keys.push(peer.key);
        self.marks.push(mark);
        self.v4.push(v4.map_or(0, Ipv4Addr::to_bits));
        self.v6.extend(v6.map(|address| address.octets()));
        self.ports.push(peer.endpoints.port().unwrap_or_default());
        self.seen.push(peer.seen.0);
        let (uploaded, downloaded, left, announces, lasted) = small;
        self.uploaded.push(uploaded);
        self.downloaded.push(downloaded);
        self.left.push(left);
        self.announces.push(announces);
        self.lasted.push(lasted);
    }

    fn clear(&mut self) {
        self.users.clear();
        self.peer_ids.clear();
        self.keys.clear();
        self.marks.clear();
        self.v4.clear();
        self.ports.clear();
        self.seen.clear();
        self.lasted.clear();
        self.announces.clear();
        self.uploaded.clear();
        self.downloaded.clear();
        self.left.clear();
        self.v6.clear();
        self.large.clear();
    }
}

/// A frame as it was read: the archive is valid and the columns fit each other.
#[derive(Clone, Copy)]
pub(super) struct TorrentsView<'a> {
    columns: &'a ArchivedColumns,
    /// None in a frame of torrents whose peers have one port each.
    ports_v6: &'a [u16_le],
}

/// One torrent (or a part of one) of a [`TorrentsView`].
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// With the numbers of peers and tokens of this part.
    pub(super) record: TorrentRecord,
    /// The torrent began in an earlier frame.
    pub(super) continued: bool,
    pub(super) tokens: Range<usize>,
    pub(super) peers: Peers,
}

/// Where the peers of a part are in the columns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Peers {
    range: Range<usize>,
    /// The first of `v6`, of `large` and of `ports_v6` that are theirs.
    v6: usize,
    large: usize,
    ports_v6: usize,
}

impl<'a> TorrentsView<'a> {
    /// Validates an archive; the text says what is wrong with it.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        Self::of(columns, &[])
    }

    /// The same for torrents with peers of which some have a port for each family.
    pub(super) fn new_ported(payload: &'a [u8]) -> Result<Self, String> {
        let ported = rkyv::access::<ArchivedPorted, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        Self::of(&ported.torrents, &ported.ports_v6)
    }

    fn of(columns: &'a ArchivedColumns, ports_v6: &'a [u16_le]) -> Result<Self, String> {
        let view = Self { columns, ports_v6 };
        match view.misfit() {
            None => Ok(view),
            Some(misfit) => Err(misfit.to_owned()),
        }
    }

    /// What the archive format cannot know: lengths that belong together, sums, states.
    fn misfit(&self) -> Option<&'static str> {
        let columns = self.columns;
        let (torrents, tokens) = (columns.info_hashes.len(), columns.token_users.len());
        let peers = columns.peers.users.len();
        let sum = |counts: &[u16_le]| -> usize {
            counts.iter().map(|count| usize::from(count.to_native())).sum()
        };
        if torrents + tokens + peers > ENTRIES_MAX {
            return Some("too many entries");
        }
        let lengths = [
            columns.ids.len(),
            columns.freeleech.len(),
            columns.upload_percents.len(),
            columns.balances.len(),
            columns.snatches.len(),
            columns.torrent_tokens.len(),
            columns.torrent_peers.len(),
        ];
        if lengths != [torrents; 7] {
            return Some("columns of torrents differ in length");
        }
        if columns.token_ends.len() != tokens || !columns.peers.are_even() {
            return Some("columns of tokens or peers differ in length");
        }
        if sum(&columns.torrent_tokens) != tokens || sum(&columns.torrent_peers) != peers {
            return Some("torrents have other tokens or peers than the frame");
        }
        if !columns.continued.is_sorted_by(|a, b| a < b)
            || columns
                .continued
                .last()
                .is_some_and(|last| usize::from(last.to_native()) >= torrents)
        {
            return Some("no such torrent to continue");
        }
        if columns.freeleech.iter().any(|code| freeleech(*code).is_none()) {
            return Some("no such freeleech");
        }
        if columns.peers.marked(OWN_PORT) != self.ports_v6.len() {
            return Some("peers have other ports than the frame");
        }
        columns.peers.misfit()
    }

    /// The torrents, in the order of the file.
    pub(super) fn parts(self) -> impl Iterator<Item = Part> + use<'a> {
        let columns = self.columns;
        let mut continued =
            columns.continued.iter().map(|at| usize::from(at.to_native())).peekable();
        let (mut tokens, mut peers) = (0, Peers::default());
        (0..columns.info_hashes.len()).map(move |at| {
            let part_tokens = usize::from(columns.torrent_tokens[at].to_native());
            let part_peers = usize::from(columns.torrent_peers[at].to_native());
            let record = TorrentRecord {
                info_hash: InfoHash(columns.info_hashes[at]),
                terms: Terms {
                    id: TorrentId(columns.ids[at].to_native()),
                    freeleech: freeleech(columns.freeleech[at])
                        .expect("`TorrentsView::misfit` looked at every one"),
                    upload_percent: columns.upload_percents[at].to_native(),
                },
                balance: columns.balances[at].to_native(),
                snatches: columns.snatches[at].to_native(),
                peers: part_peers as u32,
                tokens: part_tokens as u32,
            };
            let before = tokens;
            tokens += part_tokens;
            peers.range = peers.range.end..peers.range.end + part_peers;
            let part = Part {
                record,
                continued: continued.next_if_eq(&at).is_some(),
                tokens: before..tokens,
                peers: peers.clone(),
            };
            for mark in &columns.peers.marks[peers.range.clone()] {
                peers.v6 += usize::from(mark & HAS_V6 != 0);
                peers.large += usize::from(mark & LARGE != 0);
                peers.ports_v6 += usize::from(mark & OWN_PORT != 0);
            }
            part
        })
    }

    /// The tokens of a part.
    pub(super) fn tokens(self, range: Range<usize>) -> impl Iterator<Item = TokenRecord> + use<'a> {
        let users = self.columns.token_users[range.clone()].iter();
        users.zip(self.columns.token_ends[range].iter()).map(|(user, end)| TokenRecord {
            user: UserId(user.to_native()),
            expires_at: end.as_ref().map(|at| Seconds(at.to_native())),
        })
    }

    /// The peers of a part.
    pub(super) fn peers(self, of: Peers) -> impl Iterator<Item = PeerRecord> + use<'a> {
        let columns = &self.columns.peers;
        let ports_v6 = self.ports_v6;
        let (mut next_v6, mut next_large, mut next_port) = (of.v6, of.large, of.ports_v6);
        of.range.map(move |at| {
            let mark = columns.marks[at];
            let v4 = Ipv4Addr::from_bits(columns.v4[at].to_native());
            let v6 = (mark & HAS_V6 != 0).then(|| {
                next_v6 += 1;
                Ipv6Addr::from_octets(columns.v6[next_v6 - 1])
            });
            let port = columns.ports[at].to_native();
            let mut endpoints = Endpoints::new((mark & HAS_V4 != 0).then_some(v4), v6, port);
            if mark & OWN_PORT != 0 {
                next_port += 1;
                if let Some(v6) = &mut endpoints.v6 {
                    v6.port = ports_v6[next_port - 1].to_native();
                }
            }
            let seen = Seconds(columns.seen[at].to_native());
            let (reported, left, since, announces) = if mark & LARGE == 0 {
                let [a, b, c] = columns.lasted[at];
                let reported = Counters {
                    uploaded: number(columns.uploaded[at]),
                    downloaded: number(columns.downloaded[at]),
                    corrupt: 0,
                };
                let since = seen - Seconds(u32::from_le_bytes([a, b, c, 0]));
                let announces = u32::from(columns.announces[at].to_native());
                (reported, number(columns.left[at]), since, announces)
            } else {
                next_large += 1;
                let large = &columns.large[next_large - 1];
                let reported = Counters {
                    uploaded: large.uploaded.to_native(),
                    downloaded: large.downloaded.to_native(),
                    corrupt: large.corrupt.to_native(),
                };
                let since = Seconds(large.since.to_native());
                (reported, large.left.to_native(), since, large.announces.to_native())
            };
            PeerRecord {
                user: UserId(columns.users[at].to_native()),
                peer_id: PeerId(columns.peer_ids[at]),
                key: columns.keys[at].to_native(),
                endpoints,
                state: state(mark).expect("`PeerColumns::misfit` looked at every state"),
                visible: mark & VISIBLE != 0,
                hidden: mark & HIDDEN != 0,
                reported,
                left,
                since,
                seen,
                announces,
            }
        })
    }

    /// Adds this frame to the totals of its file.
    pub(super) fn count(self, totals: &mut Totals) {
        let columns = self.columns;
        totals.records += columns.info_hashes.len() as u64;
        totals.swarms += (columns.info_hashes.len() - columns.continued.len()) as u64;
        totals.tokens += columns.token_users.len() as u64;
        totals.peers_v6 += columns.peers.v6.len() as u64;
        totals.peers_v4 += (columns.peers.users.len() - columns.peers.v6.len()) as u64;
        let all: u64 = columns.snatches.iter().map(|n| u64::from(n.to_native())).sum();
        let counted_before = columns.continued.iter().map(|at| usize::from(at.to_native()));
        let again: u64 = counted_before.map(|at| u64::from(columns.snatches[at].to_native())).sum();
        totals.snatches += all - again;
    }
}

impl ArchivedPeerColumns {
    fn are_even(&self) -> bool {
        let lengths = [
            self.peer_ids.len(),
            self.keys.len(),
            self.marks.len(),
            self.v4.len(),
            self.ports.len(),
            self.seen.len(),
            self.lasted.len(),
            self.announces.len(),
            self.uploaded.len(),
            self.downloaded.len(),
            self.left.len(),
        ];
        lengths == [self.users.len(); 11]
    }

    /// How many peers are marked so.
    fn marked(&self, bit: u8) -> usize {
        self.marks.iter().filter(|mark| **mark & bit != 0).count()
    }

    fn misfit(&self) -> Option<&'static str> {
        if self.marks.iter().any(|mark| state(*mark).is_none()) {
            return Some("no such peer state");
        }
        if self.marked(HAS_V6) != self.v6.len() || self.marked(LARGE) != self.large.len() {
            return Some("peers have other addresses or figures than the frame");
        }
        None
    }
}

fn short(count: usize) -> u16 {
    u16::try_from(count).expect("counts of a frame are at most ENTRIES_MAX")
}

/// The low five bytes, when there is nothing above.
fn five_bytes(number: u64) -> Option<[u8; 5]> {
    match number.to_le_bytes() {
        [a, b, c, d, e, 0, 0, 0] => Some([a, b, c, d, e]),
        _ => None,
    }
}

fn number([a, b, c, d, e]: [u8; 5]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

fn state_code(state: PeerState) -> u8 {
    match state {
        PeerState::Leecher => 0,
        PeerState::PartialSeed => 1,
        PeerState::Seeder => 2,
    }
}

#[inline]
fn state(mark: u8) -> Option<PeerState> {
    match mark & 3 {
        0 => Some(PeerState::Leecher),
        1 => Some(PeerState::PartialSeed),
        2 => Some(PeerState::Seeder),
        _ => None,
    }
}

fn freeleech_code(freeleech: Freeleech) -> u8 {
    match freeleech {
        Freeleech::None => 0,
        Freeleech::Free => 1,
        Freeleech::Neutral => 2,
    }
}

fn freeleech(code: u8) -> Option<Freeleech> {
    match code {
        0 => Some(Freeleech::None),
        1 => Some(Freeleech::Free),
        2 => Some(Freeleech::Neutral),
        _ => None,
    }
}
