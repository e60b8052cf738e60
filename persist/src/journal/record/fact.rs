//! What an announce did, as bytes.
//!
//! ```text
//! fact   = flags° · at (4) · stamp: milliseconds beside `at`° · node° · info hash (20) · peer id (20)
//!          key (4) · [v4 (4) · its port (2)] · [v6 (16) · its port (2)] · user° · torrent°
//!          seconds since `since`° · reported: uploaded° downloaded° · [corrupt°, moved corrupt°] · [left°]
//!          elapsed° · announces° · moved: uploaded° downloaded° · [upload percent°]
//!          [download percent°] · [credited up°] · [credited down°] · [token down°]
//!          [after: milliseconds° node°] · [said: uploaded° downloaded° corrupt°] · swarm: seeders° leechers° snatches° balance°
//! ```
//! What stands in brackets is only there when a flag says so: addresses that are known, amounts that are not
//! 0, percentages that are not 100, credits that are not simply what was moved. Two flags say by which names of a
//! hybrid torrent the client is there. A usual fact takes about 105
//! bytes, where most of it, hash, peer id and address, is as good as random. Before format 3 there was no
//! stamp, one port behind both addresses, and no percentage; the flags had 16 bits.

use shard::private::{
    Counters, Endpoint, Endpoints, Fact, Names, PeerId, Stamp, TorrentId, UserId,
};
use shard::{InfoHash, Seconds};

use super::{put_stamp, put_swarm, stamp, swarm};
use crate::journal::bytes::{Bytes, Gathered, Put, put_varint, put_varint_i64};

/// The flags of a fact, by bit.
mod flag {
    pub(super) const HIDDEN: u32 = 1;
    pub(super) const VISIBLE: u32 = 1 << 1;
    pub(super) const PARTIAL: u32 = 1 << 2;
    pub(super) const ACTIVE: u32 = 1 << 3;
    pub(super) const TOKEN_SPENT: u32 = 1 << 4;
    pub(super) const SNATCHED: u32 = 1 << 5;
    /// An IPv4 address follows.
    pub(super) const V4: u32 = 1 << 6;
    /// An IPv6 address follows.
    pub(super) const V6: u32 = 1 << 7;
    /// Corrupt bytes, reported and moved, follow.
    pub(super) const CORRUPT: u32 = 1 << 8;
    /// The bytes left follow; otherwise there are none.
    pub(super) const LEFT: u32 = 1 << 9;
    /// The bytes left are unknown (`u64::MAX`).
    pub(super) const LEFT_UNKNOWN: u32 = 1 << 10;
    /// The credited upload follows; otherwise it is what was moved.
    pub(super) const CREDITED_UP: u32 = 1 << 11;
    /// The credited download follows; otherwise it is what was moved.
    pub(super) const CREDITED_DOWN: u32 = 1 << 12;
    /// What a token took over follows; otherwise it is nothing.
    pub(super) const TOKEN_DOWN: u32 = 1 << 13;
    /// What came before has these at most.
    pub(super) const BEFORE: u32 = (1 << 14) - 1;
    /// It came over IPv6.
    pub(super) const OVER_V6: u32 = 1 << 14;
    /// What uploads counted for follows; otherwise it is 100.
    pub(super) const UPLOAD_PERCENT: u32 = 1 << 15;
    /// What downloads counted for follows; otherwise it is 100.
    pub(super) const DOWNLOAD_PERCENT: u32 = 1 << 16;
    /// The stamp of the newest report before it follows.
    pub(super) const AFTER: u32 = 1 << 17;
    /// A token took the download over.
    pub(super) const TOKEN: u32 = 1 << 18;
    /// What the client said follows; otherwise it is what it reported.
    pub(super) const SAID: u32 = 1 << 19;
    /// The peer is there by the second name of its torrent.
    pub(super) const BY_SECOND: u32 = 1 << 20;
    /// It is not there by the first.
    pub(super) const NOT_BY_FIRST: u32 = 1 << 21;
    /// Those of few facts.
    pub(super) const RARE: u32 = AFTER | SAID;
    /// All of the above.
    pub(super) const KNOWN: u32 = (1 << 22) - 1;
}

/// No fact takes more, its kind included: numbers of 16, 32 and 64 bits take 3, 5 and 10 bytes at most.
const FACT_BYTES_MAX: usize = (1 + 4 + 4 + 10 + 3 + 20 + 20 + 4)
    + (4 + 2 + 16 + 2)
    + (5 + 5 + 5)
    + 10 * 5
    + (5 + 5)
    + (10 * 2 + 3 * 2 + 10 * 3)
    + (10 + 3)
    + 10 * 3
    + (5 * 3 + 10);
const _: () = assert!(FACT_BYTES_MAX <= Gathered::BYTES_MAX);

/// Appends a fact without its kind.
#[inline]
pub(super) fn encode(fact: &Fact, out: &mut Gathered) {
    let Fact { at, stamp: Stamp { millis, node }, reported, moved, .. } = *fact;
    let flags = flags(fact);
    put_varint(out, flags.into());
    out.put_array(&at.0.to_le_bytes());
    put_varint_i64(out, millis.wrapping_sub(Stamp::at(at).millis).cast_signed());
    put_varint(out, node.into());
    out.put_array(&fact.info_hash.0);
    out.put_array(&fact.peer_id.0);
    out.put_array(&fact.key.to_le_bytes());
    if let Some(v4) = fact.endpoints.v4 {
        out.put_array(&v4.address.octets());
        out.put_array(&v4.port.to_le_bytes());
    }
    if let Some(v6) = fact.endpoints.v6 {
        out.put_array(&v6.address.octets());
        out.put_array(&v6.port.to_le_bytes());
    }
    put_varint(out, fact.user.0.into());
    put_varint(out, fact.torrent.0.into());
    put_varint(out, at.0.wrapping_sub(fact.since.0).into());
    put_varint(out, reported.uploaded);
    put_varint(out, reported.downloaded);
    put_if(flags & flag::CORRUPT, reported.corrupt, out);
    put_if(flags & flag::CORRUPT, moved.corrupt, out);
    put_if(flags & flag::LEFT, fact.left, out);
    put_varint(out, fact.elapsed.into());
    put_varint(out, fact.announces.into());
    put_varint(out, moved.uploaded);
    put_varint(out, moved.downloaded);
    put_if(flags & flag::UPLOAD_PERCENT, fact.upload_percent.into(), out);
    put_if(flags & flag::DOWNLOAD_PERCENT, fact.download_percent.into(), out);
    put_if(flags & flag::CREDITED_UP, fact.credited_up, out);
    put_if(flags & flag::CREDITED_DOWN, fact.credited_down, out);
    put_if(flags & flag::TOKEN_DOWN, fact.token_down, out);
    if flags & flag::RARE != 0 {
        encode_rare(fact.after, fact.said, out);
    }
    put_swarm(out, fact.swarm);
}

#[inline(always)]
fn put_if(has: u32, number: u64, out: &mut Gathered) {
    if has != 0 {
        put_varint(out, number);
    }
}

#[inline(always)]
fn flags(fact: &Fact) -> u32 {
    let Fact { after, said, names, reported, moved, left, .. } = *fact;
    let flags = [
        (fact.hidden, flag::HIDDEN),
        (fact.visible, flag::VISIBLE),
        (fact.partial, flag::PARTIAL),
        (fact.active, flag::ACTIVE),
        (fact.token_spent, flag::TOKEN_SPENT),
        (fact.snatched, flag::SNATCHED),
        (fact.endpoints.v4.is_some(), flag::V4),
        (fact.endpoints.v6.is_some(), flag::V6),
        (reported.corrupt != 0 || moved.corrupt != 0, flag::CORRUPT),
        (left != 0 && left != u64::MAX, flag::LEFT),
        (left == u64::MAX, flag::LEFT_UNKNOWN),
        (fact.credited_up != moved.uploaded, flag::CREDITED_UP),
        (fact.credited_down != moved.downloaded, flag::CREDITED_DOWN),
        (fact.token_down != 0, flag::TOKEN_DOWN),
        (fact.over_v6, flag::OVER_V6),
        (fact.upload_percent != 100, flag::UPLOAD_PERCENT),
        (fact.download_percent != 100, flag::DOWNLOAD_PERCENT),
        (fact.token, flag::TOKEN),
    ];
    let usual = flags.iter().fold(0, |set, &(is, flag)| set | (u32::from(is) * flag));
    // Compared as one number.
    let is_by_names = u16::from_le_bytes([names.first.into(), names.second.into()]) != 1;
    if !(after.is_some() | said.is_some() | is_by_names) {
        return usual;
    }
    let rare = [
        (after.is_some(), flag::AFTER),
        (said.is_some(), flag::SAID),
        (names.second, flag::BY_SECOND),
        (!names.first, flag::NOT_BY_FIRST),
    ];
    rare.iter().fold(usual, |set, &(is, flag)| set | (u32::from(is) * flag))
}

#[cold]
fn encode_rare(after: Option<Stamp>, said: Option<Counters>, out: &mut Gathered) {
    if let Some(after) = after {
        put_stamp(out, after);
    }
    if let Some(Counters { uploaded, downloaded, corrupt }) = said {
        put_varint(out, uploaded);
        put_varint(out, downloaded);
        put_varint(out, corrupt);
    }
}

/// Takes a fact from the front of `bytes`, behind its kind.
pub(super) fn decode(bytes: &mut Bytes<'_>) -> Option<Fact> {
    let flags = bytes.varint_u32()?;
    if flags & !flag::KNOWN != 0 {
        return None;
    }
    let has = |flag: u32| flags & flag != 0;
    let at = Seconds(bytes.u32()?);
    let millis = Stamp::at(at).millis.wrapping_add_signed(bytes.varint_i64()?);
    let stamp_of = Stamp { millis, node: bytes.varint()?.try_into().ok()? };
    let name = Name::decode(bytes)?;
    let v4 = if has(flag::V4) { Some(endpoint::<_, 4>(bytes)?) } else { None };
    let v6 = if has(flag::V6) { Some(endpoint::<_, 16>(bytes)?) } else { None };
    let fact = rest(bytes, flags, at, name, Endpoints { v4, v6 })?;
    Some(Fact { stamp: stamp_of, over_v6: has(flag::OVER_V6), ..fact })
}

fn endpoint<A: From<[u8; N]>, const N: usize>(bytes: &mut Bytes<'_>) -> Option<Endpoint<A>> {
    Some(Endpoint { address: bytes.array::<N>()?.into(), port: bytes.u16()? })
}

/// The same for a fact of formats 1 and 2.
pub(super) fn decode_before(bytes: &mut Bytes<'_>) -> Option<Fact> {
    let flags = u32::from(bytes.u16()?);
    if flags & !flag::BEFORE != 0 {
        return None;
    }
    let has = |flag: u32| flags & flag != 0;
    let at = Seconds(bytes.u32()?);
    let name = Name::decode(bytes)?;
    let v4 = if has(flag::V4) { Some(bytes.array::<4>()?.into()) } else { None };
    let v6 = if has(flag::V6) { Some(bytes.array::<16>()?.into()) } else { None };
    // A port stood there also where there was no address that it could be of.
    let endpoints = Endpoints::new(v4, v6, bytes.u16()?);
    let mut fact = rest(bytes, flags, at, name, endpoints)?;
    fact.over_v6 = v4.is_none();
    fact.token = fact.token_down != 0 || fact.token_spent;
    // What counted can only be told from what came of it.
    if fact.credited_up != fact.moved.uploaded {
        let up = u128::from(fact.credited_up) * 100;
        let percent = up.checked_div(fact.moved.uploaded.into()).unwrap_or(100);
        fact.upload_percent = u16::try_from(percent).unwrap_or(u16::MAX);
    }
    if fact.credited_down != fact.moved.downloaded && !fact.token {
        fact.download_percent = 0;
    }
    Some(fact)
}

/// Whose announce it was, but for the numbers of user and torrent.
struct Name {
    info_hash: InfoHash,
    peer_id: PeerId,
    key: u32,
}

impl Name {
    fn decode(bytes: &mut Bytes<'_>) -> Option<Self> {
        let (info_hash, peer_id) = (InfoHash(bytes.array()?), PeerId(bytes.array()?));
        Some(Self { info_hash, peer_id, key: bytes.u32()? })
    }
}

fn counters(bytes: &mut Bytes<'_>) -> Option<Counters> {
    let (uploaded, downloaded) = (bytes.varint()?, bytes.varint()?);
    Some(Counters { uploaded, downloaded, corrupt: bytes.varint()? })
}

/// What is behind the addresses.
fn rest(
    bytes: &mut Bytes<'_>,
    flags: u32,
    at: Seconds,
    Name { info_hash, peer_id, key }: Name,
    endpoints: Endpoints,
) -> Option<Fact> {
    let has = |flag: u32| flags & flag != 0;
    let user = UserId(bytes.varint_u32()?);
    let torrent = TorrentId(bytes.varint_u32()?);
    let since = Seconds(at.0.wrapping_sub(bytes.varint_u32()?));
    let mut reported =
        Counters { uploaded: bytes.varint()?, downloaded: bytes.varint()?, corrupt: 0 };
    let mut moved = Counters::default();
    if has(flag::CORRUPT) {
        (reported.corrupt, moved.corrupt) = (bytes.varint()?, bytes.varint()?);
    }
    let left = match (has(flag::LEFT), has(flag::LEFT_UNKNOWN)) {
        (true, true) => return None,
        (true, false) => bytes.varint()?,
        (false, true) => u64::MAX,
        (false, false) => 0,
    };
    let (elapsed, announces) = (bytes.varint_u32()?, bytes.varint_u32()?);
    (moved.uploaded, moved.downloaded) = (bytes.varint()?, bytes.varint()?);
    let mut unless = |flag, usual| if has(flag) { bytes.varint() } else { Some(usual) };
    let upload_percent = unless(flag::UPLOAD_PERCENT, 100)?.try_into().ok()?;
    let download_percent = unless(flag::DOWNLOAD_PERCENT, 100)?.try_into().ok()?;
    let credited_up = unless(flag::CREDITED_UP, moved.uploaded)?;
    let credited_down = unless(flag::CREDITED_DOWN, moved.downloaded)?;
    let token_down = unless(flag::TOKEN_DOWN, 0)?;
    let after = if has(flag::AFTER) { Some(stamp(bytes)?) } else { None };
    let said = if has(flag::SAID) { Some(counters(bytes)?) } else { None };
    let swarm = swarm(bytes)?;
    // Every field is named, and any fact comes back as it was (a test), so that no new one can be forgotten.
    Some(Fact {
        at,
        stamp: Stamp::at(at),
        over_v6: false,
        after,
        user,
        torrent,
        info_hash,
        peer_id,
        key,
        endpoints,
        hidden: has(flag::HIDDEN),
        visible: has(flag::VISIBLE),
        reported,
        said,
        left,
        partial: has(flag::PARTIAL),
        active: has(flag::ACTIVE),
        names: Names { first: !has(flag::NOT_BY_FIRST), second: has(flag::BY_SECOND) },
        since,
        elapsed,
        announces,
        moved,
        upload_percent,
        download_percent,
        token: has(flag::TOKEN),
        credited_up,
        credited_down,
        token_down,
        token_spent: has(flag::TOKEN_SPENT),
        snatched: has(flag::SNATCHED),
        swarm,
    })
}
