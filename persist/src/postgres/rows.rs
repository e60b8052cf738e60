//! Rows of the database as the engine's values.

use ::postgres::Row;
use ::postgres::binary_copy::BinaryCopyOutRow;
use ::postgres::types::{FromSql, Type};
use shard::private::{Change, ClientPrefix, Freeleech, GroupId, Passkey, Swarm, TorrentId, UserId};
use shard::{InfoHash, Seconds};

/// A row, however it was read.
pub(super) trait Columns {
    /// A column by its place; the text says which one is wrong.
    fn column<'a, T: FromSql<'a>>(&'a self, place: usize) -> Result<T, String>;
}

impl Columns for Row {
    fn column<'a, T: FromSql<'a>>(&'a self, place: usize) -> Result<T, String> {
        self.try_get(place).map_err(|error| error.to_string())
    }
}

impl Columns for BinaryCopyOutRow {
    fn column<'a, T: FromSql<'a>>(&'a self, place: usize) -> Result<T, String> {
        self.try_get(place).map_err(|error| error.to_string())
    }
}

/// What is read of a table, and how a row of it is understood.
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// The statement up to its conditions, which may be appended with `AND`.
    pub(super) select: &'static str,
    /// The types of the columns.
    pub(super) types: &'static [Type],
}

/// All users, also those that may not announce.
pub(super) const USERS: Table = Table {
    name: "users",
    select: "SELECT id, passkey, can_leech, hidden, enabled, group_id FROM users WHERE true",
    types: &[Type::INT8, Type::TEXT, Type::BOOL, Type::BOOL, Type::BOOL, Type::INT2],
};

pub(super) const USER_GROUPS: Table = Table {
    name: "user_groups",
    select: "SELECT id, name, downloads_max FROM user_groups WHERE true",
    types: &[Type::INT2, Type::TEXT, Type::INT4],
};

pub(super) const TORRENTS: Table = Table {
    name: "torrents",
    select: "SELECT id, info_hash, freeleech, upload_percent, snatches, balance FROM torrents WHERE true",
    types: &[Type::INT8, Type::BYTEA, Type::TEXT, Type::INT4, Type::INT8, Type::INT8],
};

/// Tokens that can be used.
pub(super) const TOKENS: Table = Table {
    name: "tokens",
    select: "SELECT user_id, torrent_id, info_hash, ceil(extract(epoch FROM expires_at))::bigint \
             FROM tokens JOIN torrents ON torrents.id = torrent_id \
             WHERE spent_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
    types: &[Type::INT8, Type::INT8, Type::BYTEA, Type::INT8],
};

pub(super) const CLIENT_RULES: Table = Table {
    name: "client_rules",
    select: "SELECT prefix, allow FROM client_rules WHERE true",
    types: &[Type::BYTEA, Type::BOOL],
};

/// Reasons of torrents that have not been registered again since.
pub(super) const DELETION_REASONS: Table = Table {
    name: "deletion_reasons",
    select: "SELECT torrent_id, info_hash, reason, floor(extract(epoch FROM at))::bigint \
             FROM deletion_reasons WHERE NOT EXISTS \
             (SELECT FROM torrents WHERE torrents.info_hash = deletion_reasons.info_hash)",
    types: &[Type::INT8, Type::BYTEA, Type::TEXT, Type::INT8],
};

pub(super) fn user(row: &impl Columns) -> Result<Change, String> {
    let id = UserId(row.column::<i64>(0)?.try_into().map_err(|_| "id")?);
    let passkey: &str = row.column(1)?;
    Ok(Change::User {
        id,
        passkey: Passkey::new(passkey.as_bytes())
            .map_err(|error| format!("user {}: {error}", id.0))?,
        can_leech: row.column(2)?,
        hidden: row.column(3)?,
        enabled: row.column(4)?,
        group: row.column::<Option<i16>>(5)?.map(group_id).transpose()?,
    })
}

pub(super) fn user_group(row: &impl Columns) -> Result<Change, String> {
    let most = row.column::<Option<i32>>(2)?;
    Ok(Change::Group {
        id: group_id(row.column(0)?)?,
        name: row.column::<&str>(1)?.to_owned(),
        downloads_max: most.map(u32::try_from).transpose().map_err(|_| "downloads_max")?,
    })
}

/// With the figures that the engine goes on from: snatches and balance.
pub(super) fn torrent(row: &impl Columns) -> Result<(Change, Swarm), String> {
    let change = Change::Torrent {
        id: torrent_id(row, 0)?,
        info_hash: info_hash(row, 1)?,
        freeleech: match row.column(2)? {
            "none" => Freeleech::None,
            "free" => Freeleech::Free,
            "neutral" => Freeleech::Neutral,
            other => return Err(format!("freeleech is {other:?}")),
        },
        upload_percent: row.column::<i32>(3)?.try_into().map_err(|_| "upload_percent")?,
    };
    let snatches = row.column::<i64>(4)?.try_into().map_err(|_| "snatches")?;
    Ok((change, Swarm { snatches, balance: row.column(5)?, ..Swarm::default() }))
}

pub(super) fn token(row: &impl Columns) -> Result<Change, String> {
    Ok(Change::Token {
        user: UserId(row.column::<i64>(0)?.try_into().map_err(|_| "user_id")?),
        torrent: torrent_id(row, 1)?,
        info_hash: info_hash(row, 2)?,
        expires_at: row.column::<Option<i64>>(3)?.map(seconds),
    })
}

pub(super) fn client_rule(row: &impl Columns) -> Result<Change, String> {
    let prefix = ClientPrefix::new(row.column(0)?).ok_or("prefix")?;
    Ok(Change::ClientRule { prefix, allow: row.column(1)? })
}

pub(super) fn deletion_reason(row: &impl Columns) -> Result<Change, String> {
    Ok(Change::TorrentRemoved {
        id: torrent_id(row, 0)?,
        info_hash: info_hash(row, 1)?,
        reason: row.column(2)?,
        at: seconds(row.column(3)?),
    })
}

fn torrent_id(row: &impl Columns, place: usize) -> Result<TorrentId, String> {
    Ok(TorrentId(row.column::<i64>(place)?.try_into().map_err(|_| "torrent id")?))
}

fn group_id(id: i16) -> Result<GroupId, String> {
    Ok(GroupId(id.try_into().map_err(|_| "group id")?))
}

fn info_hash(row: &impl Columns, place: usize) -> Result<InfoHash, String> {
    Ok(InfoHash(row.column::<&[u8]>(place)?.try_into().map_err(|_| "info_hash")?))
}

/// A moment before 1970 or after 2106 is the nearest that there is.
fn seconds(epoch: i64) -> Seconds {
    Seconds(epoch.clamp(0, i64::from(u32::MAX)) as u32)
}
