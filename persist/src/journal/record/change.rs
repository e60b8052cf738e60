//! What the site changed, as bytes.
//!
//! ```text
//! change = kind (1 byte) · fields
//! kind   = 1 user · 2 torrent · 3 torrent removed · 4 token · 5 token removed · 6 client rule
//!          7 client rule removed · since format 2: 8 group · 9 group removed
//!          since format 4: 10 former passkey · 11 former passkey removed
//! ```
//! Before format 3 each stood by itself, and was said in whole. The second name of a torrent follows it where a bit
//! beside its freeleech says so.

use shard::private::{Change, ClientPrefix, Freeleech, GroupId, Passkey, TorrentId, UserId};
use shard::{InfoHash, Seconds};

use super::Columns;
use crate::journal::bytes::{Bytes, put_varint};

const USER: u8 = 1;
const TORRENT: u8 = 2;
const TORRENT_REMOVED: u8 = 3;
const TOKEN: u8 = 4;
const TOKEN_REMOVED: u8 = 5;
const CLIENT_RULE: u8 = 6;
const CLIENT_RULE_REMOVED: u8 = 7;
const GROUP: u8 = 8;
const GROUP_REMOVED: u8 = 9;
const FORMER: u8 = 10;
const FORMER_REMOVED: u8 = 11;

/// Beside the freeleech of a torrent: its second name follows.
const HYBRID: u8 = 1 << 7;

/// What was said with a change before format 3: all of it, but for the group of a user who was in none as
/// far as was known.
pub(super) fn columns_before(change: &Change) -> Columns {
    match change {
        Change::User { group: None, .. } => Columns(Columns::ALL.0 & !Columns::GROUP.0),
        _ => Columns::ALL,
    }
}

/// Appends a change.
pub(super) fn encode(change: &Change, out: &mut Vec<u8>) {
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
        &Change::Former { user, passkey, good_until } => {
            out.push(FORMER);
            put_varint(out, user.0.into());
            out.extend_from_slice(passkey.reveal().as_bytes());
            out.extend_from_slice(&good_until.0.to_le_bytes());
        }
        &Change::FormerRemoved { user } => {
            out.push(FORMER_REMOVED);
            put_varint(out, user.0.into());
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
        &Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent } => {
            out.push(TORRENT);
            put_torrent(out, id, info_hash);
            let freeleech = match freeleech {
                Freeleech::None => 0,
                Freeleech::Free => 1,
                Freeleech::Neutral => 2,
            };
            out.push(freeleech | if info_hash_v2.is_some() { HYBRID } else { 0 });
            out.extend_from_slice(&upload_percent.to_le_bytes());
            if let Some(second) = info_hash_v2 {
                out.extend_from_slice(&second.0);
            }
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

/// Takes a change of this kind from the front of `bytes`; what is wrong with them where there is none.
pub(super) fn decode(kind: u8, bytes: &mut Bytes<'_>) -> Result<Change, &'static str> {
    let (change, what) = match kind {
        USER => (decode_user(bytes), "a user is not possible"),
        FORMER => (decode_former(bytes), "a former passkey is not possible"),
        FORMER_REMOVED => (
            bytes.varint_u32().map(|user| Change::FormerRemoved { user: UserId(user) }),
            "a removed former passkey is not possible",
        ),
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

fn decode_former(bytes: &mut Bytes<'_>) -> Option<Change> {
    let user = UserId(bytes.varint_u32()?);
    let passkey = Passkey::new(bytes.slice(Passkey::BYTES)?).ok()?;
    Some(Change::Former { user, passkey, good_until: Seconds(bytes.u32()?) })
}

fn decode_group(bytes: &mut Bytes<'_>) -> Option<Change> {
    let (id, name) = (group(bytes)?, text(bytes)?);
    let downloads_max = if truth(bytes)? { Some(bytes.varint_u32()?) } else { None };
    Some(Change::Group { id, name, downloads_max })
}

fn decode_torrent(bytes: &mut Bytes<'_>) -> Option<Change> {
    let (id, info_hash) = torrent(bytes)?;
    let flags = bytes.u8()?;
    let freeleech = match flags & !HYBRID {
        0 => Freeleech::None,
        1 => Freeleech::Free,
        2 => Freeleech::Neutral,
        _ => return None,
    };
    let upload_percent = bytes.u16()?;
    let info_hash_v2 = if flags & HYBRID != 0 { Some(InfoHash(bytes.array()?)) } else { None };
    Some(Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent })
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
