//! One record of the journal as bytes.
//!
//! ```text
//! record = kind (1 byte) · fields
//! kind   = 0 fact · 1 user · 2 torrent · 3 torrent removed · 4 token · 5 token removed
//!          6 client rule · 7 client rule removed · since format 2: 8 group · 9 group removed · 16 gone
//! fact   = flags (2) · at (4) · info hash (20) · peer id (20) · key (4) · [v4 (4)] · [v6 (16)]
//!          port (2) · user° · torrent° · seconds since `since`° · reported: uploaded° downloaded°
//!          [corrupt°, moved corrupt°] · [left°] · elapsed° · announces° · moved: uploaded°
//!          downloaded° · [credited up°] · [credited down°] · [token down°]
//!          swarm: seeders° leechers° snatches° balance°
//! gone   = flags (1) · at (4) · info hash (20) · peer id (20) · key (4) · user° · torrent°
//!          [swarm, as above]
//! ```
//! ° is a number in 7-bit groups, all others are little endian. What stands in brackets is only
//! there when a flag says so: addresses that are known, amounts that are not 0, credits that are not
//! simply what was moved. A usual fact takes about 100 bytes, where most of it, hash, peer id and
//! address, is as good as random.

use shard::private::{
    Change, ClientPrefix, Counters, Endpoints, Fact, Freeleech, Gone, GroupId, Passkey, PeerId,
    Swarm, TorrentId, UserId,
};
use shard::{InfoHash, PeerState, Seconds};

use super::bytes::{Bytes, put_varint, put_varint_i64};

/// What the journal holds: what announces and the site did, in one order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // Nearly all are facts, and vectors of them are reused.
pub enum Record {
    /// One announce changed the accounting.
    Fact(Fact),
    /// The site changed users, torrents, tokens or client rules.
    Change(Change),
    /// A peer left without saying so.
    Gone(Gone),
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

impl From<Change> for Record {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}

impl Record {
    /// Appends the record to `out`.
    #[doc(hidden)] // Public for counting its instructions.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Fact(fact) => encode_fact(fact, out),
            Record::Change(change) => encode_change(change, out),
            Record::Gone(gone) => encode_gone(gone, out),
        }
    }

    /// Takes one record from the front of `bytes`; what is wrong with them where there is none.
    #[inline]
    pub(super) fn decode(bytes: &mut Bytes<'_>) -> Result<Self, &'static str> {
        match bytes.u8().ok_or("a record is missing")? {
            FACT => decode_fact(bytes).map(Self::Fact).ok_or("a fact is not possible"),
            GONE => decode_gone(bytes).map(Self::Gone).ok_or("a departure is not possible"),
            kind => decode_change(kind, bytes).map(Self::Change),
        }
    }
}

const FACT: u8 = 0;
const USER: u8 = 1;
const TORRENT: u8 = 2;
const TORRENT_REMOVED: u8 = 3;
const TOKEN: u8 = 4;
const TOKEN_REMOVED: u8 = 5;
const CLIENT_RULE: u8 = 6;
const CLIENT_RULE_REMOVED: u8 = 7;
const GONE: u8 = 16;
const GROUP: u8 = 8;
const GROUP_REMOVED: u8 = 9;

/// The flags of a fact, by bit.
mod flag {
    pub(super) const HIDDEN: u16 = 1;
    pub(super) const VISIBLE: u16 = 1 << 1;
    pub(super) const PARTIAL: u16 = 1 << 2;
    pub(super) const ACTIVE: u16 = 1 << 3;
    pub(super) const TOKEN_SPENT: u16 = 1 << 4;
    pub(super) const SNATCHED: u16 = 1 << 5;
    /// An IPv4 address follows.
    pub(super) const V4: u16 = 1 << 6;
    /// An IPv6 address follows.
    pub(super) const V6: u16 = 1 << 7;
    /// Corrupt bytes, reported and moved, follow.
    pub(super) const CORRUPT: u16 = 1 << 8;
    /// The bytes left follow; otherwise there are none.
    pub(super) const LEFT: u16 = 1 << 9;
    /// The bytes left are unknown (`u64::MAX`).
    pub(super) const LEFT_UNKNOWN: u16 = 1 << 10;
    /// The credited upload follows; otherwise it is what was moved.
    pub(super) const CREDITED_UP: u16 = 1 << 11;
    /// The credited download follows; otherwise it is what was moved.
    pub(super) const CREDITED_DOWN: u16 = 1 << 12;
    /// What a token took over follows; otherwise it is nothing.
    pub(super) const TOKEN_DOWN: u16 = 1 << 13;
    /// None of the above.
    pub(super) const UNKNOWN: u16 = 0b11 << 14;
}

/// More than a usual fact takes.
const FACT_BYTES: usize = 192;

fn encode_fact(fact: &Fact, out: &mut Vec<u8>) {
    // Every field is named, so that a new one cannot be forgotten.
    let Fact {
        at,
        user,
        torrent,
        info_hash,
        peer_id,
        key,
        endpoints: Endpoints { v4, v6, port },
        hidden,
        visible,
        reported,
        left,
        partial,
        active,
        since,
        elapsed,
        announces,
        moved,
        credited_up,
        credited_down,
        token_down,
        token_spent,
        snatched,
        swarm,
    } = *fact;
    let flags = [
        (hidden, flag::HIDDEN),
        (visible, flag::VISIBLE),
        (partial, flag::PARTIAL),
        (active, flag::ACTIVE),
        (token_spent, flag::TOKEN_SPENT),
        (snatched, flag::SNATCHED),
        (v4.is_some(), flag::V4),
        (v6.is_some(), flag::V6),
        (reported.corrupt != 0 || moved.corrupt != 0, flag::CORRUPT),
        (left != 0 && left != u64::MAX, flag::LEFT),
        (left == u64::MAX, flag::LEFT_UNKNOWN),
        (credited_up != moved.uploaded, flag::CREDITED_UP),
        (credited_down != moved.downloaded, flag::CREDITED_DOWN),
        (token_down != 0, flag::TOKEN_DOWN),
    ];
    let flags = flags.iter().fold(0, |set, &(is, flag)| if is { set | flag } else { set });
    let has = |flag: u16| flags & flag != 0;

    out.reserve(FACT_BYTES);
    out.push(FACT);
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(&info_hash.0);
    out.extend_from_slice(&peer_id.0);
    out.extend_from_slice(&key.to_le_bytes());
    if let Some(v4) = v4 {
        out.extend_from_slice(&v4.octets());
    }
    if let Some(v6) = v6 {
        out.extend_from_slice(&v6.octets());
    }
    out.extend_from_slice(&port.to_le_bytes());
    put_varint(out, user.0.into());
    put_varint(out, torrent.0.into());
    put_varint(out, at.0.wrapping_sub(since.0).into());
    put_varint(out, reported.uploaded);
    put_varint(out, reported.downloaded);
    if has(flag::CORRUPT) {
        put_varint(out, reported.corrupt);
        put_varint(out, moved.corrupt);
    }
    if has(flag::LEFT) {
        put_varint(out, left);
    }
    put_varint(out, elapsed.into());
    put_varint(out, announces.into());
    put_varint(out, moved.uploaded);
    put_varint(out, moved.downloaded);
    if has(flag::CREDITED_UP) {
        put_varint(out, credited_up);
    }
    if has(flag::CREDITED_DOWN) {
        put_varint(out, credited_down);
    }
    if has(flag::TOKEN_DOWN) {
        put_varint(out, token_down);
    }
    put_swarm(out, swarm);
}

fn put_swarm(out: &mut Vec<u8>, Swarm { seeders, leechers, snatches, balance }: Swarm) {
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
    let Gone { at, user, torrent, info_hash, peer_id, key, state, swarm } = *gone;
    let state = match state {
        PeerState::Seeder => 0,
        PeerState::PartialSeed => 1,
        PeerState::Leecher => 2,
    };
    out.push(GONE);
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
    Some(Gone {
        at: Seconds(bytes.u32()?),
        info_hash: InfoHash(bytes.array()?),
        peer_id: PeerId(bytes.array()?),
        key: bytes.u32()?,
        user: UserId(bytes.varint_u32()?),
        torrent: TorrentId(bytes.varint_u32()?),
        state,
        swarm: if flags & gone_flag::SWARM != 0 { Some(swarm(bytes)?) } else { None },
    })
}

fn decode_fact(bytes: &mut Bytes<'_>) -> Option<Fact> {
    let flags = bytes.u16()?;
    let has = |flag: u16| flags & flag != 0;
    if has(flag::UNKNOWN) || has(flag::LEFT) && has(flag::LEFT_UNKNOWN) {
        return None;
    }
    let at = Seconds(bytes.u32()?);
    let info_hash = InfoHash(bytes.array()?);
    let peer_id = PeerId(bytes.array()?);
    let key = bytes.u32()?;
    let v4 = if has(flag::V4) { Some(bytes.array::<4>()?.into()) } else { None };
    let v6 = if has(flag::V6) { Some(bytes.array::<16>()?.into()) } else { None };
    let endpoints = Endpoints { v4, v6, port: bytes.u16()? };
    let user = UserId(bytes.varint_u32()?);
    let torrent = TorrentId(bytes.varint_u32()?);
    let since = Seconds(at.0.wrapping_sub(bytes.varint_u32()?));
    let mut reported =
        Counters { uploaded: bytes.varint()?, downloaded: bytes.varint()?, corrupt: 0 };
    let mut moved = Counters::default();
    if has(flag::CORRUPT) {
        (reported.corrupt, moved.corrupt) = (bytes.varint()?, bytes.varint()?);
    }
    let left = match () {
        () if has(flag::LEFT) => bytes.varint()?,
        () if has(flag::LEFT_UNKNOWN) => u64::MAX,
        () => 0,
    };
    let (elapsed, announces) = (bytes.varint_u32()?, bytes.varint_u32()?);
    (moved.uploaded, moved.downloaded) = (bytes.varint()?, bytes.varint()?);
    let mut unless = |flag, usual| if has(flag) { bytes.varint() } else { Some(usual) };
    let credited_up = unless(flag::CREDITED_UP, moved.uploaded)?;
    let credited_down = unless(flag::CREDITED_DOWN, moved.downloaded)?;
    let token_down = unless(flag::TOKEN_DOWN, 0)?;
    let swarm = swarm(bytes)?;
    Some(Fact {
        at,
        user,
        torrent,
        info_hash,
        peer_id,
        key,
        endpoints,
        hidden: has(flag::HIDDEN),
        visible: has(flag::VISIBLE),
        reported,
        left,
        partial: has(flag::PARTIAL),
        active: has(flag::ACTIVE),
        since,
        elapsed,
        announces,
        moved,
        credited_up,
        credited_down,
        token_down,
        token_spent: has(flag::TOKEN_SPENT),
        snatched: has(flag::SNATCHED),
        swarm,
    })
}

fn encode_change(change: &Change, out: &mut Vec<u8>) {
    match change {
        &Change::User { id, passkey, can_leech, hidden, enabled, group } => {
            out.push(USER);
            put_varint(out, id.0.into());
            out.extend_from_slice(passkey.reveal().as_bytes());
            let rights = u8::from(can_leech) | u8::from(hidden) << 1 | u8::from(enabled) << 2;
            out.push(rights | u8::from(group.is_some()) << 3);
            if let Some(group) = group {
                put_varint(out, group.0.into());
            }
        }
        &Change::Group { id, ref name, downloads_max } => {
            out.push(GROUP);
            put_varint(out, id.0.into());
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            out.push(downloads_max.is_some().into());
            if let Some(downloads_max) = downloads_max {
                put_varint(out, downloads_max.into());
            }
        }
        &Change::GroupRemoved { id } => {
            out.push(GROUP_REMOVED);
            put_varint(out, id.0.into());
        }
        &Change::Torrent { id, info_hash, freeleech, upload_percent } => {
            out.push(TORRENT);
            put_torrent(out, id, info_hash);
            out.push(match freeleech {
                Freeleech::None => 0,
                Freeleech::Free => 1,
                Freeleech::Neutral => 2,
            });
            out.extend_from_slice(&upload_percent.to_le_bytes());
        }
        &Change::TorrentRemoved { id, info_hash, ref reason, at } => {
            out.push(TORRENT_REMOVED);
            put_torrent(out, id, info_hash);
            out.extend_from_slice(&at.0.to_le_bytes());
            put_varint(out, reason.len() as u64);
            out.extend_from_slice(reason.as_bytes());
        }
        &Change::Token { user, torrent, info_hash, expires_at } => {
            out.push(TOKEN);
            put_varint(out, user.0.into());
            put_torrent(out, torrent, info_hash);
            out.push(expires_at.is_some().into());
            if let Some(at) = expires_at {
                out.extend_from_slice(&at.0.to_le_bytes());
            }
        }
        &Change::TokenRemoved { user, torrent, info_hash } => {
            out.push(TOKEN_REMOVED);
            put_varint(out, user.0.into());
            put_torrent(out, torrent, info_hash);
        }
        Change::ClientRule { prefix, allow } => {
            out.push(CLIENT_RULE);
            put_prefix(out, prefix);
            out.push((*allow).into());
        }
        Change::ClientRuleRemoved { prefix } => {
            out.push(CLIENT_RULE_REMOVED);
            put_prefix(out, prefix);
        }
    }
}

fn decode_change(kind: u8, bytes: &mut Bytes<'_>) -> Result<Change, &'static str> {
    let (change, what) = match kind {
        USER => (decode_user(bytes), "a user is not possible"),
        GROUP => (decode_group(bytes), "a group is not possible"),
        GROUP_REMOVED => {
            (group(bytes).map(|id| Change::GroupRemoved { id }), "a removed group is not possible")
        }
        TORRENT => (decode_torrent(bytes), "a torrent is not possible"),
        TORRENT_REMOVED => (decode_torrent_removed(bytes), "a removed torrent is not possible"),
        TOKEN => (decode_token(bytes), "a token is not possible"),
        TOKEN_REMOVED => (decode_token_removed(bytes), "a removed token is not possible"),
        CLIENT_RULE => (decode_client_rule(bytes), "a client rule is not possible"),
        CLIENT_RULE_REMOVED => (
            prefix(bytes).map(|prefix| Change::ClientRuleRemoved { prefix }),
            "a removed client rule is not possible",
        ),
        _ => (None, "a record is of unknown kind"),
    };
    change.ok_or(what)
}

fn decode_user(bytes: &mut Bytes<'_>) -> Option<Change> {
    let id = UserId(bytes.varint_u32()?);
    let passkey = Passkey::new(bytes.slice(Passkey::BYTES)?).ok()?;
    let flags = bytes.u8()?;
    let has = |bit: u8| flags & bit != 0;
    let (can_leech, hidden, enabled) = (has(1), has(2), has(4));
    let group = if has(8) { Some(group(bytes)?) } else { None };
    (flags < 16).then_some(Change::User { id, passkey, can_leech, hidden, enabled, group })
}

fn decode_group(bytes: &mut Bytes<'_>) -> Option<Change> {
    let (id, name) = (group(bytes)?, text(bytes)?);
    let downloads_max = if truth(bytes)? { Some(bytes.varint_u32()?) } else { None };
    Some(Change::Group { id, name, downloads_max })
}

fn decode_torrent(bytes: &mut Bytes<'_>) -> Option<Change> {
    let (id, info_hash) = torrent(bytes)?;
    let freeleech = match bytes.u8()? {
        0 => Freeleech::None,
        1 => Freeleech::Free,
        2 => Freeleech::Neutral,
        _ => return None,
    };
    Some(Change::Torrent { id, info_hash, freeleech, upload_percent: bytes.u16()? })
}

fn decode_torrent_removed(bytes: &mut Bytes<'_>) -> Option<Change> {
    let (id, info_hash) = torrent(bytes)?;
    let at = Seconds(bytes.u32()?);
    let reason = text(bytes)?;
    Some(Change::TorrentRemoved { id, info_hash, reason, at })
}

fn decode_token(bytes: &mut Bytes<'_>) -> Option<Change> {
    let user = UserId(bytes.varint_u32()?);
    let (torrent, info_hash) = torrent(bytes)?;
    let expires_at = if truth(bytes)? { Some(Seconds(bytes.u32()?)) } else { None };
    Some(Change::Token { user, torrent, info_hash, expires_at })
}

fn decode_token_removed(bytes: &mut Bytes<'_>) -> Option<Change> {
    let user = UserId(bytes.varint_u32()?);
    let (torrent, info_hash) = torrent(bytes)?;
    Some(Change::TokenRemoved { user, torrent, info_hash })
}

fn decode_client_rule(bytes: &mut Bytes<'_>) -> Option<Change> {
    Some(Change::ClientRule { prefix: prefix(bytes)?, allow: truth(bytes)? })
}

fn put_torrent(out: &mut Vec<u8>, id: TorrentId, info_hash: InfoHash) {
    put_varint(out, id.0.into());
    out.extend_from_slice(&info_hash.0);
}

fn torrent(bytes: &mut Bytes<'_>) -> Option<(TorrentId, InfoHash)> {
    Some((TorrentId(bytes.varint_u32()?), InfoHash(bytes.array()?)))
}

fn group(bytes: &mut Bytes<'_>) -> Option<GroupId> {
    let group = GroupId(u16::try_from(bytes.varint()?).ok()?);
    (group <= GroupId::MAX).then_some(group)
}

fn text(bytes: &mut Bytes<'_>) -> Option<String> {
    let length = usize::try_from(bytes.varint()?).ok()?;
    Some(str::from_utf8(bytes.slice(length)?).ok()?.to_owned())
}

fn put_prefix(out: &mut Vec<u8>, prefix: &ClientPrefix) {
    put_varint(out, prefix.bytes().len() as u64);
    out.extend_from_slice(prefix.bytes());
}

fn prefix(bytes: &mut Bytes<'_>) -> Option<ClientPrefix> {
    let length = usize::from(bytes.u8()?);
    ClientPrefix::new(bytes.slice(length)?)
}

fn truth(bytes: &mut Bytes<'_>) -> Option<bool> {
    match bytes.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
