//! Which peers a requester is told: fairly, and at a cost that follows what it asked for.

use super::Announce;
use super::face::{self, Face, Reached};
use super::members::{Members, table_of};
use super::rights::Rights;
use super::torrent::{Body, Torrent};
use super::wides::Wides;
use crate::pool::Pool;
use crate::prefetch::prefetch_all;
use crate::table::Table;
use crate::{Event, Families, PeerState, Reply, SEEDERS_FOR_NOTHING, SPARE_LOOKS, Scope};

/// The client that asks, and the peers it asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Peers of the same user are not for it.
    user: u32,
    state: PeerState,
    reach: Scope,
    families: Families,
    /// It has said no IPv6 address of its own, though it takes any: who is reached over IPv6 alone comes last.
    is_v4_only: bool,
    numwant: usize,
    looks: usize,
    /// It says that nothing is left and is new: with a magnet link some clients say so that have nothing yet.
    may_have_nothing: bool,
}

/// Looks that an announce has to spare for those who are told to nobody, a few microseconds.
const UNTOLD_MAX: usize = 4096;

/// Which peers are looked at, by how they are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Those {
    All,
    WithV4,
    WithV6Alone,
}

/// The state of the peer as its announce says it.
#[inline]
pub(crate) fn state(announce: &Announce) -> PeerState {
    match (announce.left, announce.event) {
        (0, _) => PeerState::Seeder,
        (_, Event::Paused) => PeerState::PartialSeed,
        _ => PeerState::Leecher,
    }
}

impl Ask {
    #[inline]
    pub(crate) fn of(announce: &Announce, has_v6: bool) -> Self {
        Self {
            user: announce.user.id.0,
            state: state(announce),
            reach: face::reach(&announce.endpoints),
            families: announce.families,
            is_v4_only: !has_v6 && announce.families.v4 && announce.families.v6,
            numwant: usize::from(announce.numwant),
            looks: 2 * usize::from(announce.numwant) + SPARE_LOOKS,
            may_have_nothing: false,
        }
    }

    /// It is told some seeders, though it says that it has everything.
    pub(crate) fn may_have_nothing(&mut self, may: bool) {
        self.may_have_nothing = may;
    }

    /// So many are in the swarm who are told to nobody.
    pub(crate) fn look_beyond(&mut self, untold: usize) {
        self.looks += untold.min(UNTOLD_MAX);
    }

    /// Whom to tell of, in this order.
    #[inline]
    fn kinds(&self) -> &'static [PeerState] {
        match self.state {
            PeerState::Leecher => &[PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher],
            PeerState::Seeder if self.may_have_nothing => &[PeerState::Leecher, PeerState::Seeder],
            PeerState::Seeder | PeerState::PartialSeed => &[PeerState::Leecher],
        }
    }
}

/// Appends to `reply` at most `ask.numwant` different peers, each with one endpoint or both.
///
/// A leecher is told seeders first, then partial seeds, then leechers; who downloads nothing is told
/// leechers only, but who may have nothing at all, some seeders behind them. Of each kind every peer is as likely as every other: those that follow a random one. But who has
/// no IPv6 address, as far as is known, is told of those with IPv4 first, of whatever kind.
/// Looks at no more than twice as many as are asked for, and [`SPARE_LOOKS`].
pub(crate) fn choose(
    torrent: &Torrent,
    members: &Members,
    rights: &Rights,
    ask: &Ask,
    random: &mut fastrand::Rng,
    reply: &mut Reply,
) {
    let looks = ask.looks;
    let mut teller = Teller {
        ask,
        rights,
        wides: &members.wides,
        those: Those::All,
        missed: false,
        looks,
        reply,
    };
    if !ask.is_v4_only {
        teller.tell_those(torrent, members, Those::All, ask.numwant, random);
        return;
    }
    let wanted = teller.tell_those(torrent, members, Those::WithV4, ask.numwant, random);
    let may_be_more = teller.missed || matches!(torrent.body, Body::Crowd(_));
    if wanted > 0 && may_be_more {
        teller.tell_those(torrent, members, Those::WithV6Alone, wanted, random);
    }
}

/// Asks for the memory of the peers that will be told first.
pub(crate) fn prefetch(
    torrent: &Torrent,
    members: &Members,
    ask: &Ask,
    random: &mut fastrand::Rng,
) {
    let those = if ask.is_v4_only { Those::WithV4 } else { Those::All };
    if let Some(kind) = ask.kinds().first() {
        let mut walks = Walks::new(torrent, members, *kind, those, ask, ask.numwant, random);
        walks.both.prefetch(walks.share_both);
        walks.six.prefetch(walks.share_six);
        walks.narrow.prefetch(ask.numwant - walks.share_both - walks.share_six);
    }
}

/// Ways through the peers of one kind, and how many of those wanted are to have IPv6.
struct Walks<'a> {
    narrow: Walk<'a>,
    both: Walk<'a>,
    six: Walk<'a>,
    share_both: usize,
    share_six: usize,
}

impl<'a> Walks<'a> {
    #[inline]
    fn new(
        torrent: &Torrent,
        members: &'a Members,
        kind: PeerState,
        those: Those,
        ask: &Ask,
        wanted: usize,
        random: &mut fastrand::Rng,
    ) -> Self {
        const NONE: Source<'_> = Source::List(&[]);
        let (narrow, both, six) = match &torrent.body {
            // A list is short enough to look for the rare ones.
            Body::List(list) => {
                let faces = &list.peers(&members.faces)[list.parts.range(kind)];
                (Source::List(faces), NONE, NONE)
            }
            Body::Crowd(number) => {
                let at = table_of(kind, Reached::V4);
                let tables = &members.crowd(*number).tables;
                let source = |reached: Reached, is_wanted: bool| match is_wanted {
                    true => Source::Table(&tables[at + reached as usize], &members.faces),
                    false => NONE,
                };
                let (has_v4, v6_alone) = (those != Those::WithV6Alone, those != Those::WithV4);
                (
                    source(Reached::V4, has_v4 && ask.families.v4),
                    source(Reached::Both, has_v4),
                    source(Reached::V6, v6_alone && ask.families.v6),
                )
            }
        };
        let share_wide = share(wanted, narrow.len(), both.len() + six.len(), random);
        let share_both = share(share_wide, six.len(), both.len(), random);
        let share_six = share_wide - share_both;
        let narrow = Walk::new(narrow, wanted - share_wide, random);
        let both = Walk::new(both, share_both, random);
        Self { narrow, both, six: Walk::new(six, share_six, random), share_both, share_six }
    }
}

/// How many of `wanted` peers are to be wide: in proportion, rounded at random so that nobody is
/// favoured for its family.
#[inline]
fn share(wanted: usize, narrow: usize, wide: usize, random: &mut fastrand::Rng) -> usize {
    if wide == 0 {
        0
    } else if narrow + wide <= wanted {
        wide
    } else if narrow == 0 {
        wanted
    } else {
        (wanted * wide + random.usize(..narrow + wide)) / (narrow + wide)
    }
}

/// Peers of one kind.
#[derive(Clone, Copy)]
enum Source<'a> {
    List(&'a [Face]),
    Table(&'a Table<Face>, &'a Pool<Face>),
}

impl Source<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::List(faces) => faces.len(),
            Self::Table(table, _) => table.len(),
        }
    }
}

/// Once around a source, from a random peer on.
struct Walk<'a> {
    source: Source<'a>,
    left: usize,
    bucket: usize,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Where everybody is wanted it does not matter where the walk starts.
    #[inline]
    fn new(source: Source<'a>, wanted: usize, random: &mut fastrand::Rng) -> Self {
        let left = source.len();
        let (mut bucket, mut at) = (0, 0);
        if left > wanted {
            match source {
                Source::List(faces) => at = random.usize(..faces.len()),
                Source::Table(table, _) => {
                    if let Some(place) = table.draw(random) {
                        (bucket, at) = (place.bucket, place.at);
                    }
                }
            }
        }
        Self { source, left, bucket, at }
    }

    /// Up to `max` of the next peers; `None` after the last. May be none in between, where a bucket is
    /// empty.
    #[inline]
    fn next(&mut self, max: usize) -> Option<&'a [Face]> {
        if self.left == 0 {
            return None;
        }
        let run = match self.source {
            Source::List(faces) => faces,
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
            && let Some(faces) = self.next(left)
        {
            prefetch_all(faces);
            left -= faces.len().max(1).min(left);
        }
    }
}

/// Writes the reply.
struct Teller<'a> {
    ask: &'a Ask,
    rights: &'a Rights,
    wides: &'a Wides,
    those: Those,
    /// There were others.
    missed: bool,
    looks: usize,
    reply: &'a mut Reply,
}

impl Teller<'_> {
    /// Appends up to `wanted` peers of all kinds; how many are still wanted.
    #[inline]
    fn tell_those(
        &mut self,
        torrent: &Torrent,
        members: &Members,
        those: Those,
        mut wanted: usize,
        random: &mut fastrand::Rng,
    ) -> usize {
        self.those = those;
        for kind in self.ask.kinds() {
            if wanted == 0 {
                return 0;
            }
            let mut spared = 0;
            if self.ask.may_have_nothing && *kind == PeerState::Seeder {
                spared = wanted.saturating_sub(SEEDERS_FOR_NOTHING);
                wanted -= spared;
            }
            let mut walks = Walks::new(torrent, members, *kind, those, self.ask, wanted, random);
            wanted -= self.take(&mut walks.both, walks.share_both, *kind);
            wanted -= self.take(&mut walks.six, walks.share_six, *kind);
            wanted -= self.take(&mut walks.narrow, wanted, *kind);
            // What there was too little of without IPv6.
            wanted -= self.take(&mut walks.both, wanted, *kind);
            wanted -= self.take(&mut walks.six, wanted, *kind);
            wanted += spared;
        }
        wanted
    }

    /// Whether this is one of those that are looked at.
    #[inline]
    fn is_one(&self, face: &Face) -> bool {
        match self.those {
            Those::All => true,
            Those::WithV4 => face.mark.has_v4(),
            Those::WithV6Alone => face.mark.reached() == Reached::V6,
        }
    }

    /// Appends up to `wanted` peers of a walk; how many.
    #[inline(always)]
    fn take(&mut self, walk: &mut Walk<'_>, wanted: usize, kind: PeerState) -> usize {
        if walk.left == 0 || wanted == 0 { 0 } else { self.take_some(walk, wanted, kind) }
    }

    #[inline]
    fn take_some(&mut self, walk: &mut Walk<'_>, wanted: usize, kind: PeerState) -> usize {
        let mut left = wanted;
        while left > 0
            && self.looks > 0
            && let Some(faces) = walk.next(left.min(self.looks))
        {
            self.looks = self.looks.saturating_sub(faces.len().max(1));
            faces.iter().for_each(|face| face.prefetch(self.wides));
            for face in faces {
                left -= usize::from(self.tell(face, kind));
            }
        }
        wanted - left
    }

    #[inline]
    fn tell(&mut self, face: &Face, kind: PeerState) -> bool {
        let Ask { user, reach, families, .. } = *self.ask;
        if (face.mark.is_wide() || self.those == Those::WithV6Alone) && !self.is_one(face) {
            self.missed = true;
            return false;
        }
        face.user != user
            && self.rights.shows(face, kind)
            && face.tell(self.wides, families, reach, self.reply)
    }
}
