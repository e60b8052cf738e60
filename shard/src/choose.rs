//! Which peers a requester is told: fairly, and at a cost that follows what it asked for.

use crate::family::Family;
use crate::peer::{Peer, V4, V6};
use crate::pool::Pool;
use crate::prefetch::prefetch_all;
use crate::scope::Scope;
use crate::stores::Stores;
use crate::swarm::{Body, Entry};
use crate::table::Table;
use crate::{ClientTag, Families, PeerState, Reply};

/// The client that asks, and the peers it asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// The same client's other endpoints are not for it.
    pub(crate) client: ClientTag,
    pub(crate) state: PeerState,
    pub(crate) reach: Scope,
    pub(crate) families: Families,
    /// It asks from an IPv4 address. It may have no other.
    pub(crate) is_v4: bool,
    /// Peers of all families together.
    pub(crate) numwant: usize,
    /// It says that nothing is left and is new: with a magnet link some clients say so that have nothing yet.
    pub(crate) may_have_nothing: bool,
}

/// Candidates looked at beyond twice those asked for. In a swarm up to this size, whoever may be
/// told is found; in a larger one full of endpoints for nobody, the search ends here.
pub const SPARE_LOOKS: usize = 256;

/// Seeders that a client is told which may have nothing at all. Where three of five seeders cannot be reached, behind
/// NAT or gone without a word, one client in sixty finds none among eight, one in eight among four. A client that has
/// everything tries them once at its start for nothing; they are 48 bytes of one answer.
pub const SEEDERS_FOR_NOTHING: usize = 8;

/// Appends to `reply` at most `ask.numwant` different peers.
///
/// A leecher is told seeders first, then partial seeds, then leechers; who downloads nothing is told
/// leechers only, but who may have nothing at all, up to [`SEEDERS_FOR_NOTHING`] seeders behind them.
/// Of each kind every peer is as likely as every other, of either family: the peers
/// that follow a random one, in the order of the list or table. But who may be told of both families is told of at
/// least as many of its own as of the other, where there are as many: it may have no other.
pub(crate) fn choose(
    entry: &Entry,
    stores: &Stores,
    ask: &Ask,
    random: &mut fastrand::Rng,
    reply: &mut Reply,
) {
    if ask.families.v4 && ask.families.v6 && is_mixed(entry, stores) {
        return choose_mixed(entry, stores, ask, random, reply);
    }
    let mut looks = 2 * ask.numwant + SPARE_LOOKS;
    let mut wanted = ask.numwant;
    for kind in ask.kinds() {
        if ask.may_have_nothing && *kind == PeerState::Seeder {
            wanted = wanted.min(SEEDERS_FOR_NOTHING);
        }
        if wanted == 0 {
            return;
        }
        let Walks { mut v4, mut v6, share } = Walks::new(entry, stores, *kind, ask, wanted, random);
        wanted -= v6.take(share, ask, &mut looks, &mut reply.peers_v6);
        wanted -= v4.take(wanted, ask, &mut looks, &mut reply.peers_v4);
        // What IPv4 had too few of.
        wanted -= v6.take(wanted, ask, &mut looks, &mut reply.peers_v6);
    }
}

/// Whether there are peers of both families.
#[inline]
fn is_mixed(entry: &Entry, stores: &Stores) -> bool {
    match &entry.body {
        Body::Free { .. } | Body::Empty { .. } | Body::Few { .. } => false,
        Body::Blocks(blocks) => V6::list(blocks).len() > 0 && V4::list(blocks).len() > 0,
        Body::Crowd(number) => {
            let crowd = stores.crowd(*number);
            V6::tables(crowd).iter().any(|table| table.len() > 0)
                && V4::tables(crowd).iter().any(|table| table.len() > 0)
        }
    }
}

/// The same where there are peers of both families, who may both be told of.
#[inline(never)]
fn choose_mixed(
    entry: &Entry,
    stores: &Stores,
    ask: &Ask,
    random: &mut fastrand::Rng,
    reply: &mut Reply,
) {
    // How many there are, and how many of them are to be told, of IPv4 and IPv6; none of kinds that are not for it.
    let (mut there, mut plan) = ([[0; 2]; 3], [[0; 2]; 3]);
    let mut sources = [(Source::<V4>::List(&[]), Source::<V6>::List(&[])); 3];
    let (mut wanted, mut spared) = (ask.numwant, 0);
    for (at, kind) in ask.kinds().iter().enumerate() {
        sources[at] = (
            Source::of(entry, stores, *kind, ask.families),
            Source::of(entry, stores, *kind, ask.families),
        );
        let (v4, v6) = (sources[at].0.len(), sources[at].1.len());
        if ask.may_have_nothing && *kind == PeerState::Seeder {
            spared = wanted.saturating_sub(SEEDERS_FOR_NOTHING);
            wanted -= spared;
        }
        let of_both = wanted.min(v4 + v6);
        let share = share(of_both, v4, v6, random);
        (there[at], plan[at]) = ([v4, v6], [of_both - share, share]);
        wanted -= of_both;
    }
    keep_half(&there, &mut plan, ask);

    let mut walks: [_; 3] = std::array::from_fn(|at| {
        let ((v4, v6), [some_v4, some_v6]) = (sources[at], plan[at]);
        (Walk::new(v4, some_v4, random), Walk::new(v6, some_v6, random))
    });
    let mut looks = 2 * ask.numwant + SPARE_LOOKS;
    let mut left = ask.numwant - spared;
    for ((v4, v6), [some_v4, some_v6]) in walks.iter_mut().zip(plan) {
        left -= v4.take(some_v4, ask, &mut looks, &mut reply.peers_v4);
        left -= v6.take(some_v6, ask, &mut looks, &mut reply.peers_v6);
    }
    // In the place of those that may not be told.
    for (v4, v6) in &mut walks {
        left -= v4.take(left, ask, &mut looks, &mut reply.peers_v4);
        left -= v6.take(left, ask, &mut looks, &mut reply.peers_v6);
    }
}

/// Has at least half of a plan be of the requester's own family, as far as there are so many: the first kinds that
/// there are more of come in the place of the last of the other family.
fn keep_half(there: &[[usize; 2]; 3], plan: &mut [[usize; 2]; 3], ask: &Ask) {
    let (own, other) = if ask.is_v4 { (0, 1) } else { (1, 0) };
    let sum =
        |of: &[[usize; 2]; 3], family: usize| of.iter().map(|kind| kind[family]).sum::<usize>();
    let least = sum(there, own).min(ask.numwant / 2);
    let moved = least.saturating_sub(sum(plan, own)).min(sum(plan, other));
    let (mut fewer, mut more) = (moved, moved);
    for kind in plan.iter_mut().rev() {
        let out = kind[other].min(fewer);
        kind[other] -= out;
        fewer -= out;
    }
    for (kind, there) in plan.iter_mut().zip(there) {
        let more_of_it = (there[own] - kind[own]).min(more);
        kind[own] += more_of_it;
        more -= more_of_it;
    }
}

impl Ask {
    /// Whom to tell of, in this order.
    #[inline]
    pub(crate) fn kinds(&self) -> &'static [PeerState] {
        match self.state {
            PeerState::Leecher => &[PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher],
            PeerState::Seeder if self.may_have_nothing => &[PeerState::Leecher, PeerState::Seeder],
            PeerState::Seeder | PeerState::PartialSeed => &[PeerState::Leecher],
        }
    }
}

/// Ways through the peers of one kind, and how many of those wanted are to be IPv6.
pub(crate) struct Walks<'a> {
    v4: Walk<'a, V4>,
    v6: Walk<'a, V6>,
    share: usize,
}

impl<'a> Walks<'a> {
    #[inline(always)]
    pub(crate) fn new(
        entry: &'a Entry,
        stores: &'a Stores,
        kind: PeerState,
        ask: &Ask,
        wanted: usize,
        random: &mut fastrand::Rng,
    ) -> Self {
        let v4 = Source::<V4>::of(entry, stores, kind, ask.families);
        let v6 = Source::<V6>::of(entry, stores, kind, ask.families);
        let share = share(wanted, v4.len(), v6.len(), random);
        let v4 = Walk::new(v4, wanted - share, random);
        let v6 = Walk::new(v6, share, random);
        Self { v4, v6, share }
    }

    /// Asks for the memory of the peers that will be told.
    #[inline(always)]
    pub(crate) fn prefetch(mut self, ask: &Ask) {
        self.v4.prefetch(ask.numwant - self.share);
        self.v6.prefetch(self.share);
    }
}

/// How many of `wanted` peers are to be IPv6: in proportion, rounded at random so that no endpoint
/// is favoured for its family.
#[inline]
fn share(wanted: usize, v4: usize, v6: usize, random: &mut fastrand::Rng) -> usize {
    if v6 == 0 {
        0
    } else if v4 + v6 <= wanted {
        v6
    } else if v4 == 0 {
        wanted
    } else {
        (wanted * v6 + random.usize(..v4 + v6)) / (v4 + v6)
    }
}

/// The peers of one kind and family.
#[derive(Clone, Copy)]
enum Source<'a, E> {
    List(&'a [Peer<E>]),
    Table(&'a Table<Peer<E>>, &'a Pool<Peer<E>>),
}

impl<'a, E: Family> Source<'a, E> {
    #[inline(always)]
    fn of(entry: &'a Entry, stores: &'a Stores, kind: PeerState, families: Families) -> Self {
        if !E::is_wanted(families) {
            return Source::List(&[]);
        }
        match &entry.body {
            Body::Free { .. } | Body::Empty { .. } => Source::List(&[]),
            Body::Few { .. } => match E::few(&entry.body) {
                Some((parts, peers)) => Source::List(&peers[parts.range(kind)]),
                None => Source::List(&[]),
            },
            Body::Blocks(blocks) => {
                let list = E::list(blocks);
                let peers = list.peers(E::pool(&stores.pools));
                Source::List(&peers[list.parts.range(kind)])
            }
            Body::Crowd(number) => {
                let table = &E::tables(stores.crowd(*number))[kind as usize];
                Source::Table(table, E::pool(&stores.pools))
            }
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::List(peers) => peers.len(),
            Self::Table(table, _) => table.len(),
        }
    }
}

/// Once around a source, from a random peer on.
struct Walk<'a, E> {
    source: Source<'a, E>,
    left: usize,
    bucket: usize,
    at: usize,
}

impl<'a, E: Family> Walk<'a, E> {
    /// Where everybody is wanted it does not matter where the walk starts.
    #[inline(always)]
    fn new(source: Source<'a, E>, wanted: usize, random: &mut fastrand::Rng) -> Self {
        let left = source.len();
        let (mut bucket, mut at) = (0, 0);
        if left > wanted {
            match source {
                Source::List(peers) => at = random.usize(..peers.len()),
                Source::Table(table, _) => {
                    if let Some(place) = table.draw(random) {
                        (bucket, at) = (place.bucket, place.at);
                    }
                }
            }
        }
        Self { source, left, bucket, at }
    }

    /// Up to `max` of the next peers; `None` after the last. May be none in between, where a bucket
    /// is empty.
    #[inline(always)]
    fn next(&mut self, max: usize) -> Option<&'a [Peer<E>]> {
        if self.left == 0 {
            return None;
        }
        let run = match self.source {
            Source::List(peers) => peers,
            Source::Table(table, pool) => table.bucket(pool, self.bucket),
        };
        let start = self.at.min(run.len());
        let end = run.len().min(start + max.min(self.left));
        self.left -= end - start;
        self.at = end;
        if end == run.len() {
            self.at = 0;
            if let Source::Table(table, _) = self.source {
                self.bucket = (self.bucket + 1) % table.buckets();
            }
        }
        Some(&run[start..end])
    }

    #[inline]
    fn prefetch(&mut self, wanted: usize) {
        let mut left = wanted;
        while left > 0
            && let Some(peers) = self.next(left)
        {
            prefetch_all(peers);
            left -= peers.len().max(1);
        }
    }

    /// Appends up to `wanted` peers that `ask` may be told; how many.
    #[inline(always)]
    fn take(
        &mut self,
        wanted: usize,
        ask: &Ask,
        looks: &mut usize,
        compact: &mut Vec<u8>,
    ) -> usize {
        let mut left = wanted;
        while left > 0
            && *looks > 0
            && let Some(peers) = self.next(left.min(*looks))
        {
            *looks = looks.saturating_sub(peers.len().max(1));
            left -= append(peers, ask, compact);
        }
        wanted - left
    }
}

/// Appends those of `peers` that `ask` may be told; how many. Makes room for all of them first: one
/// check for the room of each costs more than filling it with zeros.
#[inline]
fn append<E: Family>(peers: &[Peer<E>], ask: &Ask, compact: &mut Vec<u8>) -> usize {
    let mut told = 0;
    for peer in peers {
        if peer.mark.is_for(ask.client, ask.reach) {
            compact.extend_from_slice(peer.endpoint.compact());
            told += 1;
        }
    }
    told
}
