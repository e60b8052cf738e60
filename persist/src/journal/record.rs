//! One record of the journal as bytes.
//!
//! ```text
//! record = kind (1 byte) · fields
//! kind   = since format 3: 18 fact · 19 said · 20 gone · 21 tick
//!          in formats 1 and 2: 0 fact · 1 to 9 said, see `change` · 16 gone
//! fact   = see `fact`
//! said   = stamp · columns (1) · kind and fields of a change
//! gone   = stamp · flags (1) · at (4) · info hash (20) · peer id (20) · key (4) · user° · torrent°
//!          [swarm: seeders° leechers° snatches° balance°]
//! tick   = stamp
//! stamp  = milliseconds° · node°
//! ```
//! ° is a number in 7-bit groups, all others are little endian. What stands in brackets is only
//! there when a flag says so. Before format 3 nothing had a stamp, and what the site changed was said in
//! whole; such records are read as what they mean now.

mod change;
mod fact;

use shard::private::{Change, Fact, Gone, PeerId, Stamp, Swarm, TorrentId, UserId};
use shard::{InfoHash, PeerState, Seconds};

use super::bytes::{Bytes, Gathered, Put, put_varint, put_varint_i64};

/// What the journal holds: what announces and the site did, in one order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // Nearly all are facts, and vectors of them are reused.
pub enum Record {
    /// One announce changed the accounting.
    Fact(Fact),
    /// The site changed users, torrents, tokens or client rules, by way of the tracker.
    Said(Said),
    /// A peer left without saying so.
    Gone(Gone),
    /// Nothing has happened until then.
    Tick(Stamp),
}

/// What the site said to the tracker. Only this is journaled of what a site changes, and so written into the
/// database: a row that was read from there is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// When.
    pub at: Stamp,
    /// Which columns of it were said. The others are as the tracker knew them, for whoever goes without the
    /// database; there they are not written over.
    pub columns: Columns,
    /// What is true from then on.
    pub change: Change,
}

/// Which columns of a row were said: those of `users` or of `torrents`. Of other tables all are, always.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Columns(pub u8);

impl Columns {
    /// The passkey of a user.
    pub const PASSKEY: Self = Self(1);
    /// Whether a user may download.
    pub const CAN_LEECH: Self = Self(1 << 1);
    /// Whether a user's addresses are hidden.
    pub const HIDDEN: Self = Self(1 << 2);
    /// Whether a user may announce.
    pub const ENABLED: Self = Self(1 << 3);
    /// The group of a user.
    pub const GROUP: Self = Self(1 << 4);
    /// What counts of a torrent.
    pub const FREELEECH: Self = Self(1);
    /// What uploads of a torrent count for.
    pub const UPLOAD_PERCENT: Self = Self(1 << 1);
    /// The second name of a torrent.
    pub const INFO_HASH_V2: Self = Self(1 << 2);
    /// Where there is no such row, it is made; otherwise what was said comes too late for one that is gone.
    pub const MAKES: Self = Self(1 << 7);
    /// All of them, and the row.
    pub const ALL: Self = Self(u8::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of those were said.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl From<Fact> for Record {
    fn from(fact: Fact) -> Self {
        Self::Fact(fact)
    }
}

impl From<Gone> for Record {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl From<Said> for Record {
    fn from(said: Said) -> Self {
        Self::Said(said)
    }
}

impl Record {
    /// When it was made.
    pub fn stamp(&self) -> Stamp {
        match self {
            Self::Fact(fact) => fact.stamp,
            Self::Said(said) => said.at,
            Self::Gone(gone) => gone.stamp,
            Self::Tick(at) => *at,
        }
    }

    /// Says exactly when it was made.
    pub fn set_stamp(&mut self, stamp: Stamp) {
        match self {
            Self::Fact(fact) => fact.stamp = stamp,
            Self::Said(said) => said.at = stamp,
            Self::Gone(gone) => gone.stamp = stamp,
            Self::Tick(at) => *at = stamp,
        }
    }

    /// Appends the record to `out`.
    #[doc(hidden)] // Public for counting its instructions.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Fact(fact) => {
                let mut gathered = Gathered::new();
                gathered.put(FACT);
                fact::encode(fact, &mut gathered);
                out.extend_from_slice(gathered.get());
            }
            Record::Said(Said { at, columns, change }) => {
                out.push(SAID);
                put_stamp(out, *at);
                out.push(columns.0);
                change::encode(change, out);
            }
            Record::Gone(gone) => {
                out.push(GONE);
                put_stamp(out, gone.stamp);
                encode_gone(gone, out);
            }
            Record::Tick(at) => {
                out.push(TICK);
                put_stamp(out, *at);
            }
        }
    }

    /// Takes one record from the front of `bytes`; what is wrong with them where there is none.
    #[inline]
    pub(super) fn decode(bytes: &mut Bytes<'_>) -> Result<Self, &'static str> {
        let kind = bytes.u8().ok_or("a record is missing")?;
        match kind {
            FACT => fact::decode(bytes).map(Self::Fact).ok_or("a fact is not possible"),
            FACT_BEFORE => {
                fact::decode_before(bytes).map(Self::Fact).ok_or("a fact is not possible")
            }
            SAID => {
                let at = stamp(bytes).ok_or("a stamp is not possible")?;
                let columns = bytes.u8().map(Columns).ok_or("what was said is missing")?;
                let kind = bytes.u8().ok_or("what was said is missing")?;
                let change = change::decode(kind, bytes)?;
                Ok(Self::Said(Said { at, columns, change }))
            }
            GONE => stamp(bytes)
                .and_then(|stamp| Some(Gone { stamp, ..decode_gone(bytes)? }))
                .map(Self::Gone)
                .ok_or("a departure is not possible"),
            GONE_BEFORE => decode_gone(bytes).map(Self::Gone).ok_or("a departure is not possible"),
            TICK => stamp(bytes).map(Self::Tick).ok_or("a stamp is not possible"),
            kind => {
                let change = change::decode(kind, bytes)?;
                let columns = change::columns_before(&change);
                Ok(Self::Said(Said { at: Stamp::default(), columns, change }))
            }
        }
    }
}

const FACT: u8 = 18;
const SAID: u8 = 19;
const GONE: u8 = 20;
const TICK: u8 = 21;
/// As they were before format 3; of changes see `change`.
const FACT_BEFORE: u8 = 0;
const GONE_BEFORE: u8 = 16;

#[inline]
fn put_stamp(out: &mut impl Put, Stamp { millis, node }: Stamp) {
    put_varint(out, millis);
    put_varint(out, node.into());
}

fn stamp(bytes: &mut Bytes<'_>) -> Option<Stamp> {
    Some(Stamp { millis: bytes.varint()?, node: bytes.varint()?.try_into().ok()? })
}

#[inline]
fn put_swarm(out: &mut impl Put, Swarm { seeders, leechers, snatches, balance }: Swarm) {
    put_varint(out, seeders.into());
    put_varint(out, leechers.into());
    put_varint(out, snatches.into());
    put_varint_i64(out, balance);
}

fn swarm(bytes: &mut Bytes<'_>) -> Option<Swarm> {
    Some(Swarm {
        seeders: bytes.varint_u32()?,
        leechers: bytes.varint_u32()?,
        snatches: bytes.varint_u32()?,
        balance: bytes.varint_i64()?,
    })
}
/// The flags of a departure: the lowest two bits are what the peer was, then whether the torrent's figures
/// follow.
mod gone_flag {
    pub(super) const STATE: u8 = 0b11;
    pub(super) const SWARM: u8 = 1 << 2;
    pub(super) const UNKNOWN: u8 = !(STATE | SWARM);
}

fn encode_gone(gone: &Gone, out: &mut Vec<u8>) {
    let Gone { at, stamp: _, user, torrent, info_hash, peer_id, key, state, swarm } = *gone;
    let state = match state {
        PeerState::Seeder => 0,
        PeerState::PartialSeed => 1,
        PeerState::Leecher => 2,
    };
    out.push(state | if swarm.is_some() { gone_flag::SWARM } else { 0 });
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(&info_hash.0);
    out.extend_from_slice(&peer_id.0);
    out.extend_from_slice(&key.to_le_bytes());
    put_varint(out, user.0.into());
    put_varint(out, torrent.0.into());
    if let Some(swarm) = swarm {
        put_swarm(out, swarm);
    }
}

fn decode_gone(bytes: &mut Bytes<'_>) -> Option<Gone> {
    let flags = bytes.u8()?;
    let state = match flags & gone_flag::STATE {
        _ if flags & gone_flag::UNKNOWN != 0 => return None,
        0 => PeerState::Seeder,
        1 => PeerState::PartialSeed,
        2 => PeerState::Leecher,
        _ => return None,
    };
    let at = Seconds(bytes.u32()?);
    Some(Gone {
        at,
        stamp: Stamp::at(at),
        info_hash: InfoHash(bytes.array()?),
        peer_id: PeerId(bytes.array()?),
        key: bytes.u32()?,
        user: UserId(bytes.varint_u32()?),
        torrent: TorrentId(bytes.varint_u32()?),
        state,
        swarm: if flags & gone_flag::SWARM != 0 { Some(swarm(bytes)?) } else { None },
    })
}
