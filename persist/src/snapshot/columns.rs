//! The payload of a frame of the open mode: swarms and peers as columns, archived by rkyv.
//!
//! Columns instead of records leave no padding: an IPv4 peer costs 12 bytes, an IPv6 peer 24, a
//! swarm 28. Times are kept in ticks of four seconds, as exact as the engine itself is.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::{ClientTag, InfoHash, PeerRecord, PeerState, Seconds, SwarmRecord};

use super::format::{PAYLOAD_BYTES_MAX, Totals};

/// Swarms and peers in one frame at most, so that a reader's buffer is small whatever was exported.
pub(super) const ENTRIES_MAX: usize = 16_384;

/// The dearest entry is a swarm that continues another: 28 bytes and its place in `continued`.
const _: () = assert!(ENTRIES_MAX * 30 + 256 <= PAYLOAD_BYTES_MAX);
/// A swarm's peers in one frame are counted in 16 bits.
const _: () = assert!(ENTRIES_MAX <= u16::MAX as usize);

const TICK_SECONDS: u32 = 4;

/// Swarms and their peers; the peers of a swarm are the next `swarm_peers_v4` and
/// `swarm_peers_v6` of the lists.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
pub(super) struct Columns {
    /// The latest `last_seen` of the frame, in ticks since the Unix epoch.
    newest_tick: u32,
    info_hashes: Vec<[u8; 20]>,
    snatches: Vec<u32>,
    swarm_peers_v4: Vec<u16>,
    swarm_peers_v6: Vec<u16>,
    /// Which swarms go on from an earlier frame; ascending.
    continued: Vec<u16>,
    v4: PeerColumns<u32>,
    v6: PeerColumns<[u8; 16]>,
}

/// Peers of one family; all columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct PeerColumns<A> {
    addresses: Vec<A>,
    ports: Vec<u16>,
    /// The client's tag in the low 30 bits, the state in the two above.
    marks: Vec<u32>,
    /// How many ticks before `newest_tick` the peer last announced; 65535 also for longer ago,
    /// which is three days and so beyond any peer timeout.
    ages: Vec<u16>,
}

/// A frame being filled.
#[derive(Default, Debug)]
pub(super) struct Filling {
    columns: Columns,
    /// `last_seen` of the peers in ticks, until the newest one is known.
    ticks_v4: Vec<u32>,
    ticks_v6: Vec<u32>,
}

impl Filling {
    /// How many swarms and peers still fit.
    pub(super) fn room(&self) -> usize {
        ENTRIES_MAX - self.columns.info_hashes.len() - self.ticks_v4.len() - self.ticks_v6.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.info_hashes.is_empty()
    }

    /// Adds a swarm with these peers. The caller has made sure that there is room.
    pub(super) fn push(
        &mut self,
        swarm: &SwarmRecord,
        continued: bool,
        peers_v4: &[PeerRecord<Ipv4Addr>],
        peers_v6: &[PeerRecord<Ipv6Addr>],
    ) {
        assert!(self.room() > peers_v4.len() + peers_v6.len(), "a frame has ENTRIES_MAX entries");
        let columns = &mut self.columns;
        if continued {
            columns.continued.push(short(columns.info_hashes.len()));
        }
        columns.info_hashes.push(swarm.info_hash.0);
        columns.snatches.push(swarm.snatches);
        columns.swarm_peers_v4.push(short(peers_v4.len()));
        columns.swarm_peers_v6.push(short(peers_v6.len()));
        columns.v4.push(&mut self.ticks_v4, peers_v4, |address| address.to_bits());
        columns.v6.push(&mut self.ticks_v6, peers_v6, |address| address.octets());
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(
        &mut self,
        mut buffer: AlignedVec,
    ) -> Result<AlignedVec, rancor::BoxedError> {
        let newest = self.ticks_v4.iter().chain(&self.ticks_v6).copied().max().unwrap_or(0);
        let columns = &mut self.columns;
        columns.newest_tick = newest;
        columns.v4.age(&mut self.ticks_v4, newest);
        columns.v6.age(&mut self.ticks_v6, newest);

        buffer.clear();
        let buffer = rkyv::api::high::to_bytes_in(columns, buffer)?;
        columns.clear();
        Ok(buffer)
    }
}

impl Columns {
    fn clear(&mut self) {
        self.info_hashes.clear();
        self.snatches.clear();
        self.swarm_peers_v4.clear();
        self.swarm_peers_v6.clear();
        self.continued.clear();
        self.v4.clear();
        self.v6.clear();
    }
}

impl<A> PeerColumns<A> {
    fn push<I: Copy>(
        &mut self,
        ticks: &mut Vec<u32>,
        peers: &[PeerRecord<I>],
        packed: impl Fn(I) -> A,
    ) {
        self.addresses.extend(peers.iter().map(|peer| packed(peer.address)));
        self.ports.extend(peers.iter().map(|peer| peer.port));
        self.marks.extend(peers.iter().map(|peer| mark(peer.client, peer.state)));
        ticks.extend(peers.iter().map(|peer| peer.last_seen.0 / TICK_SECONDS));
    }

    fn age(&mut self, ticks: &mut Vec<u32>, newest: u32) {
        let ages = ticks.drain(..).map(|tick| u16::try_from(newest - tick).unwrap_or(u16::MAX));
        self.ages.extend(ages);
    }

    fn clear(&mut self) {
        self.addresses.clear();
        self.ports.clear();
        self.marks.clear();
        self.ages.clear();
    }
}

/// A frame as it was read: the archive is valid and the columns fit each other.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    columns: &'a ArchivedColumns,
}

/// One swarm (or a part of one) of a [`View`].
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) info_hash: InfoHash,
    pub(super) snatches: u32,
    /// The swarm began in an earlier frame.
    pub(super) continued: bool,
    pub(super) v4: Range<usize>,
    pub(super) v6: Range<usize>,
}

impl<'a> View<'a> {
    /// Validates an archive; the text says what is wrong with it.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        let view = Self { columns };
        match view.misfit() {
            None => Ok(view),
            Some(misfit) => Err(misfit.to_owned()),
        }
    }

    /// What the archive format cannot know: lengths that belong together, sums, states.
    fn misfit(&self) -> Option<&'static str> {
        let columns = self.columns;
        let swarms = columns.info_hashes.len();
        let sum = |counts: &[rkyv::rend::u16_le]| -> usize {
            counts.iter().map(|count| usize::from(count.to_native())).sum()
        };
        if swarms + columns.v4.ports.len() + columns.v6.ports.len() > ENTRIES_MAX {
            return Some("too many entries");
        }
        if [columns.snatches.len(), columns.swarm_peers_v4.len(), columns.swarm_peers_v6.len()]
            != [swarms; 3]
        {
            return Some("columns of swarms differ in length");
        }
        if !columns.v4.is_even() || !columns.v6.is_even() {
            return Some("columns of peers differ in length");
        }
        if sum(&columns.swarm_peers_v4) != columns.v4.ports.len()
            || sum(&columns.swarm_peers_v6) != columns.v6.ports.len()
        {
            return Some("swarms have other peers than the frame");
        }
        if !columns.continued.is_sorted_by(|a, b| a < b)
            || columns.continued.last().is_some_and(|last| usize::from(last.to_native()) >= swarms)
        {
            return Some("no such swarm to continue");
        }
        if !columns.v4.has_states() || !columns.v6.has_states() {
            return Some("no such peer state");
        }
        None
    }

    /// The swarms, in the order of the file.
    pub(super) fn parts(self) -> impl Iterator<Item = Part> + use<'a> {
        let columns = self.columns;
        let mut continued =
            columns.continued.iter().map(|at| usize::from(at.to_native())).peekable();
        let (mut v4, mut v6) = (0, 0);
        columns
            .info_hashes
            .iter()
            .zip(columns.snatches.iter())
            .zip(columns.swarm_peers_v4.iter().zip(columns.swarm_peers_v6.iter()))
            .enumerate()
            .map(move |(at, ((info_hash, snatches), (peers_v4, peers_v6)))| {
                let part = Part {
                    info_hash: InfoHash(*info_hash),
                    snatches: snatches.to_native(),
                    continued: continued.next_if_eq(&at).is_some(),
                    v4: v4..v4 + usize::from(peers_v4.to_native()),
                    v6: v6..v6 + usize::from(peers_v6.to_native()),
                };
                (v4, v6) = (part.v4.end, part.v6.end);
                part
            })
    }

    /// IPv4 peers, as a part's `v4` names them.
    pub(super) fn peers_v4(
        self,
        range: Range<usize>,
    ) -> impl Iterator<Item = PeerRecord<Ipv4Addr>> + use<'a> {
        self.peers(&self.columns.v4, range, |address| Ipv4Addr::from_bits(address.to_native()))
    }

    /// IPv6 peers, as a part's `v6` names them.
    pub(super) fn peers_v6(
        self,
        range: Range<usize>,
    ) -> impl Iterator<Item = PeerRecord<Ipv6Addr>> + use<'a> {
        self.peers(&self.columns.v6, range, |address| Ipv6Addr::from_octets(*address))
    }

    fn peers<A: rkyv::Archive, I>(
        self,
        peers: &'a ArchivedPeerColumns<A>,
        range: Range<usize>,
        unpacked: impl Fn(&'a A::Archived) -> I,
    ) -> impl Iterator<Item = PeerRecord<I>> {
        let newest = self.columns.newest_tick.to_native();
        let addresses = peers.addresses[range.clone()].iter();
        let ports = peers.ports[range.clone()].iter();
        let marks = peers.marks[range.clone()].iter();
        let ages = peers.ages[range].iter();
        addresses.zip(ports).zip(marks).zip(ages).map(move |(((address, port), mark), age)| {
            let mark = mark.to_native();
            let tick = newest.saturating_sub(u32::from(age.to_native()));
            PeerRecord {
                address: unpacked(address),
                port: port.to_native(),
                client: ClientTag::from_bits(mark),
                state: state(mark).expect("`View::misfit` looked at every state"),
                last_seen: Seconds(tick.saturating_mul(TICK_SECONDS)),
            }
        })
    }

    /// Adds this frame to the totals of its file.
    pub(super) fn count(self, totals: &mut Totals) {
        let columns = self.columns;
        totals.records += columns.info_hashes.len() as u64;
        totals.swarms += (columns.info_hashes.len() - columns.continued.len()) as u64;
        totals.peers_v4 += columns.v4.ports.len() as u64;
        totals.peers_v6 += columns.v6.ports.len() as u64;
        let all: u64 = columns.snatches.iter().map(|n| u64::from(n.to_native())).sum();
        let counted_before = columns.continued.iter().map(|at| usize::from(at.to_native()));
        let again: u64 = counted_before.map(|at| u64::from(columns.snatches[at].to_native())).sum();
        totals.snatches += all - again;
    }
}

impl<A: rkyv::Archive> ArchivedPeerColumns<A> {
    fn is_even(&self) -> bool {
        let peers = self.ports.len();
        [self.addresses.len(), self.marks.len(), self.ages.len()] == [peers; 3]
    }

    fn has_states(&self) -> bool {
        self.marks.iter().all(|mark| state(mark.to_native()).is_some())
    }
}

fn short(count: usize) -> u16 {
    u16::try_from(count).expect("counts of a frame are at most ENTRIES_MAX")
}

/// The state stands above so many bits. Tags of before had one bit more.
const TAG_BITS: u32 = 30;
const _: () = assert!(ClientTag::BITS < TAG_BITS);

fn mark(client: ClientTag, state: PeerState) -> u32 {
    let state = match state {
        PeerState::Leecher => 0,
        PeerState::PartialSeed => 1,
        PeerState::Seeder => 2,
    };
    client.bits() | state << TAG_BITS
}

#[inline]
fn state(mark: u32) -> Option<PeerState> {
    match mark >> TAG_BITS {
        0 => Some(PeerState::Leecher),
        1 => Some(PeerState::PartialSeed),
        2 => Some(PeerState::Seeder),
        _ => None,
    }
}
