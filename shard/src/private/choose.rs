//! Which peers a requester is told: fairly, and at a cost that follows what it asked for.

use super::Announce;
use super::face::{self, Face};
use super::members::{Members, table_of};
use super::rights::Rights;
use super::torrent::{Body, Torrent};
use super::wides::Wides;
use crate::pool::Pool;
use crate::prefetch::prefetch_all;
use crate::table::Table;
use crate::{Event, Families, PeerState, Reply, SPARE_LOOKS, Scope};

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Peers of the same user are not for it.
    user: u32,
    state: PeerState,
    reach: Scope,
    families: Families,
    numwant: usize,
}

/// What an announce says its peer is.
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
    pub(crate) fn of(announce: &Announce) -> Self {
        Self {
            user: announce.user.id.0,
            state: state(announce),
            reach: face::reach(&announce.endpoints),
            families: announce.families,
            numwant: usize::from(announce.numwant),
        }
    }

    /// Whom to tell of, in this order.
    #[inline]
    fn kinds(&self) -> &'static [PeerState] {
        match self.state {
            PeerState::Leecher => &[PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher],
            PeerState::Seeder | PeerState::PartialSeed => &[PeerState::Leecher],
        }
    }
}

/// Appends to `reply` at most `ask.numwant` different peers, each with one endpoint or both.
///
/// A leecher is told seeders first, then partial seeds, then leechers; who downloads nothing is told
/// leechers only. Of each kind every peer is as likely as every other: those that follow a random one.
/// Looks at no more than twice as many as are asked for, and [`SPARE_LOOKS`].
pub(crate) fn choose(
    torrent: &Torrent,
    members: &Members,
    rights: &Rights,
    ask: &Ask,
    random: &mut fastrand::Rng,
    reply: &mut Reply,
) {
    let mut teller =
        Teller { ask, rights, wides: &members.wides, looks: 2 * ask.numwant + SPARE_LOOKS, reply };
    let mut wanted = ask.numwant;
    for kind in ask.kinds() {
        if wanted == 0 {
            return;
        }
        let Walks { mut narrow, mut wide, share } =
            Walks::new(torrent, members, *kind, ask.families, wanted, random);
        wanted -= teller.take(&mut wide, share, *kind);
        wanted -= teller.take(&mut narrow, wanted, *kind);
        // What there was too little of without IPv6.
        wanted -= teller.take(&mut wide, wanted, *kind);
    }
}

/// Asks for the memory of the peers that will be told first.
pub(crate) fn prefetch(
    torrent: &Torrent,
    members: &Members,
    ask: &Ask,
    random: &mut fastrand::Rng,
) {
    if let Some(kind) = ask.kinds().first() {
        let Walks { mut narrow, mut wide, share } =
            Walks::new(torrent, members, *kind, ask.families, ask.numwant, random);
        wide.prefetch(share);
        narrow.prefetch(ask.numwant - share);
    }
}

/// Ways through the peers of one kind, and how many of those wanted are to have IPv6.
struct Walks<'a> {
    narrow: Walk<'a>,
    wide: Walk<'a>,
    share: usize,
}

impl<'a> Walks<'a> {
    #[inline]
    fn new(
        torrent: &Torrent,
        members: &'a Members,
        kind: PeerState,
        families: Families,
        wanted: usize,
        random: &mut fastrand::Rng,
    ) -> Self {
        let (narrow, wide) = match &torrent.body {
            // A list is short enough to look for the rare ones.
            Body::List(list) => {
                let faces = &list.peers(&members.faces)[list.parts.range(kind)];
                (Source::List(faces), Source::List(&[]))
            }
            Body::Crowd(number) => {
                let at = table_of(kind, false);
                let tables = &members.crowd(*number).tables;
                let wide = Source::Table(&tables[at + 1], &members.faces);
                match families.v4 {
                    true => (Source::Table(&tables[at], &members.faces), wide),
                    false => (Source::List(&[]), wide),
                }
            }
        };
        let share = share(wanted, narrow.len(), wide.len(), random);
        let narrow = Walk::new(narrow, wanted - share, random);
        Self { narrow, wide: Walk::new(wide, share, random), share }
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
    looks: usize,
    reply: &'a mut Reply,
}

impl Teller<'_> {
    /// Appends up to `wanted` peers of a walk; how many.
    #[inline]
    fn take(&mut self, walk: &mut Walk<'_>, wanted: usize, kind: PeerState) -> usize {
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
        face.user != user
            && self.rights.shows(face, kind)
            && face.tell(self.wides, families, reach, self.reply)
    }
}
