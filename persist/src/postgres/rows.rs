//! Rows of the database as the engine's values.

use std::error::Error;

use ::postgres::Row;
use ::postgres::binary_copy::BinaryCopyOutRow;
use ::postgres::types::{FromSql, Type};
use shard::private::{Change, ClientPrefix, Freeleech, GroupId, Passkey, Swarm, TorrentId, UserId};
use shard::{InfoHash, Seconds};

use super::aside::{Key, Unread};

/// A row, however it was read.
pub(super) trait Columns {
    /// A column by its place; the text says which one is wrong.
    fn column<'a, T: FromSql<'a>>(&'a self, place: usize) -> Result<T, String>;
}

impl Columns for Row {
    fn column<'a, T: FromSql<'a>>(&'a self, place: usize) -> Result<T, String> {
        self.try_get(place).map_err(|error| super::text_of(&error))
    }
}

impl Columns for BinaryCopyOutRow {
    fn column<'a, T: FromSql<'a>>(&'a self, place: usize) -> Result<T, String> {
        self.try_get(place).map_err(|error| super::text_of(&error))
    }
}

/// The columns that are read of a table, and how a row of it is understood.
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// The statement up to its conditions, which may be appended with `AND`. Columns of text are in
    /// brackets.
    select: &'static str,
    /// The types of the columns.
    pub(super) types: &'static [Type],
}

/// How text comes from the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// As UTF-8. Where the database is in another encoding, one text that cannot be that makes the whole
    /// statement fail.
    Converted,
    /// As the bytes that are in the database.
    Raw,
}

impl Table {
    /// The statement up to its conditions.
    pub(super) fn select(&self, text: Text) -> String {
        let (before, after) = match text {
            Text::Converted => ("", ""),
            Text::Raw => ("pg_catalog.convert_to(", ", pg_catalog.getdatabaseencoding())"),
        };
        self.select.replace('[', before).replace(']', after)
    }
}

/// All users, also those that may not announce.
pub(super) const USERS: Table = Table {
    name: "users",
    select: "SELECT id, [passkey], can_leech, hidden, enabled, group_id FROM users WHERE true",
    types: &[Type::INT8, Type::TEXT, Type::BOOL, Type::BOOL, Type::BOOL, Type::INT2],
};

/// Those that are good now. One that is good to infinity is good as long as a time can be.
pub(super) const FORMER_PASSKEYS: Table = Table {
    name: "former_passkeys",
    select: "SELECT user_id, [passkey], \
             CASE WHEN isfinite(good_until) THEN ceil(extract(epoch FROM good_until))::bigint \
             ELSE 4294967295 END FROM former_passkeys WHERE good_until > now()",
    types: &[Type::INT8, Type::TEXT, Type::INT8],
};

pub(super) const USER_GROUPS: Table = Table {
    name: "user_groups",
    select: "SELECT id, [name], downloads_max FROM user_groups WHERE true",
    types: &[Type::INT2, Type::TEXT, Type::INT4],
};

pub(super) const TORRENTS: Table = Table {
    name: "torrents",
    select: "SELECT id, info_hash, [freeleech], upload_percent, snatches, balance, info_hash_v2 FROM torrents \
             WHERE true",
    types: &[Type::INT8, Type::BYTEA, Type::TEXT, Type::INT4, Type::INT8, Type::INT8, Type::BYTEA],
};

/// Tokens that can be used. One that ends at infinity never does.
pub(super) const TOKENS: Table = Table {
    name: "tokens",
    select: "SELECT user_id, torrent_id, info_hash, \
             CASE WHEN isfinite(expires_at) THEN ceil(extract(epoch FROM expires_at))::bigint END \
             FROM tokens JOIN torrents ON torrents.id = torrent_id \
             WHERE spent_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
    types: &[Type::INT8, Type::INT8, Type::BYTEA, Type::INT8],
};

pub(super) const CLIENT_RULES: Table = Table {
    name: "client_rules",
    select: "SELECT prefix, allow FROM client_rules WHERE true",
    types: &[Type::BYTEA, Type::BOOL],
};

/// Reasons of torrents that have not been registered again since. One of infinity is one of now.
pub(super) const DELETION_REASONS: Table = Table {
    name: "deletion_reasons",
    select: "SELECT torrent_id, info_hash, [reason], \
             floor(extract(epoch FROM CASE WHEN isfinite(at) THEN at ELSE now() END))::bigint \
             FROM deletion_reasons WHERE NOT EXISTS \
             (SELECT FROM torrents WHERE torrents.info_hash = deletion_reasons.info_hash)",
    types: &[Type::INT8, Type::BYTEA, Type::TEXT, Type::INT8],
};

pub(super) fn user(row: &impl Columns) -> Result<Change, Unread> {
    let id = number(row, 0);
    let key = id.map_or(Key::None, |id| Key::User(UserId(id)));
    let read = || {
        Ok(Change::User {
            id: UserId(id.ok_or_else(|| wrong(row, 0, "id"))?),
            passkey: Passkey::new(row.column::<Bytes<'_>>(1)?.0)
                .map_err(|error| format!("passkey: {error}"))?,
            can_leech: row.column(2)?,
            hidden: row.column(3)?,
            enabled: row.column(4)?,
            group: row.column::<Option<i16>>(5)?.map(group_id).transpose()?,
        })
    };
    read().map_err(|problem| Unread {
        disabled: row.column(4) == Ok(false),
        ..unread(key, format!("id {}", shown(row, 0)), problem)
    })
}

pub(super) fn former_passkey(row: &impl Columns) -> Result<Change, Unread> {
    let user = number(row, 0).map(UserId);
    let key = user.map_or(Key::None, Key::Former);
    let read = || {
        Ok(Change::Former {
            user: user.ok_or_else(|| wrong(row, 0, "user_id"))?,
            passkey: Passkey::new(row.column::<Bytes<'_>>(1)?.0)
                .map_err(|error| format!("passkey: {error}"))?,
            good_until: seconds(row.column(2)?),
        })
    };
    read().map_err(|problem| unread(key, format!("user_id {}", shown(row, 0)), problem))
}

pub(super) fn user_group(row: &impl Columns) -> Result<Change, Unread> {
    let id = row.column::<i16>(0).and_then(group_id);
    let key = id.clone().map_or(Key::None, Key::Group);
    let read = || {
        let most = row.column::<Option<i32>>(2)?;
        Ok(Change::Group {
            id: id?,
            name: text(row, 1)?,
            downloads_max: most.map(u32::try_from).transpose().map_err(|_| "downloads_max")?,
        })
    };
    read().map_err(|problem| {
        let id = row.column::<i16>(0).map_or("?".to_owned(), |id| id.to_string());
        unread(key, format!("id {id}"), problem)
    })
}

/// With the figures that the engine goes on from: snatches and balance.
pub(super) fn torrent(row: &impl Columns) -> Result<(Change, Swarm), Unread> {
    let id = number(row, 0);
    let key = id.map_or(Key::None, |id| Key::Torrent(TorrentId(id)));
    let read = || {
        let change = Change::Torrent {
            id: TorrentId(id.ok_or_else(|| wrong(row, 0, "id"))?),
            info_hash: info_hash(row, 1)?,
            info_hash_v2: match row.column::<Option<Bytes<'_>>>(6)? {
                Some(bytes) => Some(InfoHash(
                    bytes
                        .0
                        .try_into()
                        .map_err(|_| format!("info_hash_v2 has {} bytes", bytes.0.len()))?,
                )),
                None => None,
            },
            freeleech: match row.column::<Bytes<'_>>(2)?.0 {
                b"none" => Freeleech::None,
                b"free" => Freeleech::Free,
                b"neutral" => Freeleech::Neutral,
                _ => return Err("freeleech is neither none, free nor neutral".to_owned()),
            },
            upload_percent: row.column::<i32>(3)?.try_into().map_err(|_| "upload_percent")?,
        };
        let snatches = row.column::<i64>(4)?.try_into().map_err(|_| "snatches")?;
        Ok((change, Swarm { snatches, balance: row.column(5)?, ..Swarm::default() }))
    };
    read().map_err(|problem| unread(key, format!("id {}", shown(row, 0)), problem))
}

pub(super) fn token(row: &impl Columns) -> Result<Change, Unread> {
    let (user, torrent) = (number(row, 0).map(UserId), number(row, 1).map(TorrentId));
    let key = user.zip(torrent).map_or(Key::None, |(user, torrent)| Key::Token(user, torrent));
    let read = || {
        Ok(Change::Token {
            user: user.ok_or_else(|| wrong(row, 0, "user_id"))?,
            torrent: torrent.ok_or_else(|| wrong(row, 1, "torrent_id"))?,
            info_hash: info_hash(row, 2)?,
            expires_at: row.column::<Option<i64>>(3)?.map(seconds),
        })
    };
    read().map_err(|problem| {
        let row = format!("user_id {}, torrent_id {}", shown(row, 0), shown(row, 1));
        unread(key, row, problem)
    })
}

pub(super) fn client_rule(row: &impl Columns) -> Result<Change, Unread> {
    let bytes = row.column::<Bytes<'_>>(0).map_or(&[][..], |bytes| bytes.0);
    let prefix = ClientPrefix::new(bytes);
    let key = prefix.clone().map_or(Key::None, Key::ClientRule);
    let read = || {
        let prefix = prefix.ok_or("prefix has not 1 to 20 bytes")?;
        Ok(Change::ClientRule { prefix, allow: row.column(1)? })
    };
    read().map_err(|problem| unread(key, format!("prefix {}", hex(bytes)), problem))
}

pub(super) fn deletion_reason(row: &impl Columns) -> Result<Change, Unread> {
    let read = || {
        Ok(Change::TorrentRemoved {
            id: TorrentId(number(row, 0).ok_or_else(|| wrong(row, 0, "torrent_id"))?),
            info_hash: info_hash(row, 1)?,
            reason: text(row, 2)?,
            at: seconds(row.column(3)?),
        })
    };
    read().map_err(|problem| {
        let hash = row.column::<Bytes<'_>>(1).map_or(&[][..], |bytes| bytes.0);
        unread(Key::None, format!("info_hash {}", hex(hash)), problem)
    })
}

fn unread(key: Key, shown: String, problem: String) -> Unread {
    Unread { key, shown, problem, disabled: false }
}

/// The number of a user or a torrent, where it can be one.
fn number(row: &impl Columns, place: usize) -> Option<u32> {
    row.column::<i64>(place).ok().and_then(|number| number.try_into().ok())
}

/// The problem with such a number.
fn wrong(row: &impl Columns, place: usize, name: &str) -> String {
    match row.column::<i64>(place) {
        Ok(_) => format!("{name} is not between 0 and {}", u32::MAX),
        Err(problem) => problem,
    }
}

fn shown(row: &impl Columns, place: usize) -> String {
    row.column::<i64>(place).map_or("?".to_owned(), |number| number.to_string())
}

fn group_id(id: i16) -> Result<GroupId, String> {
    Ok(GroupId(id.try_into().map_err(|_| "the number of the group is below 0")?))
}

fn info_hash(row: &impl Columns, place: usize) -> Result<InfoHash, String> {
    let bytes = row.column::<Bytes<'_>>(place)?.0;
    Ok(InfoHash(bytes.try_into().map_err(|_| format!("info_hash has {} bytes", bytes.len()))?))
}

/// Text for people: what is no UTF-8 in it is lost.
fn text(row: &impl Columns, place: usize) -> Result<String, String> {
    Ok(String::from_utf8_lossy(row.column::<Bytes<'_>>(place)?.0).into_owned())
}

/// A moment before 1970 or after 2106 is the nearest that there is.
fn seconds(epoch: i64) -> Seconds {
    Seconds(epoch.clamp(0, i64::from(u32::MAX)) as u32)
}

/// As PostgreSQL writes bytes; not more than say which row it is.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("\\x");
    for byte in bytes.iter().take(HEX_BYTES) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

const HEX_BYTES: usize = 24;

/// Text or bytes, as they come.
struct Bytes<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
