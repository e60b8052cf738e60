//! Reads the rows again that notices name.
//!
//! What is handed over is what is true now: a row as it is, or that it is gone. A row that is there and cannot be
//! read is neither, and nothing is said of it.

use std::time::{SystemTime, UNIX_EPOCH};

use ::postgres::Client;
use shard::Seconds;
use shard::private::{Change, ClientPrefix};

use super::aside::{Key, Unread};
use super::load::{Stored, is_about_encoding};
use super::notices::Notices;
use super::rows::{self, Table, Text};
use super::watch::Seen;
use super::{Database, DatabaseError};

/// Reads over one connection.
pub(super) struct Again<'a> {
    pub(super) database: &'a Database,
    pub(super) client: &'a mut Client,
    /// Tables whose constraints no longer say that two rows are different.
    pub(super) may_repeat: &'a [String],
    /// How many rows were set aside.
    pub(super) set_aside: u64,
}

impl Again<'_> {
    /// The rows of these notices, or that they are gone. Torrents come before tokens, which need them.
    pub(super) fn read(&mut self, notices: &Notices) -> Result<Vec<Seen>, DatabaseError> {
        for row in &notices.impossible {
            let (key, problem) = (Key::None, "no row of the tracker has such a key".to_owned());
            let unread = Unread { key, shown: row.clone(), problem, disabled: false };
            self.set_aside("notices", &unread);
        }
        let mut all = Vec::new();
        self.read_client_rules(notices, &mut all)?;
        self.read_torrents(notices, &mut all)?;
        self.read_groups(notices, &mut all)?;
        self.read_users(notices, &mut all)?;
        self.read_formers(notices, &mut all)?;
        self.read_tokens(notices, &mut all)?;
        Ok(all)
    }

    fn read_client_rules(
        &mut self,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.client_rules.is_empty() {
            return Ok(());
        }
        let (mut gone, mut unread) = (notices.client_rules.clone(), Vec::new());
        let prefixes: Vec<&[u8]> = gone.iter().map(ClientPrefix::bytes).collect();
        let found = self.query(&rows::CLIENT_RULES, "AND prefix = ANY($1)", &[&prefixes])?;
        for row in &found {
            let rule = rows::client_rule(row);
            let Some(change) = self.understood(&rows::CLIENT_RULES, rule, &mut unread) else {
                continue;
            };
            if let Change::ClientRule { prefix, .. } = &change {
                gone.remove(prefix);
            }
            all.push(Seen::Change(change));
        }
        gone.retain(|prefix| !is_among(&unread, &Key::ClientRule(prefix.clone())));
        all.extend(
            gone.into_iter().map(|prefix| Seen::Change(Change::ClientRuleRemoved { prefix })),
        );
        Ok(())
    }

    /// A torrent that changed its infohash is another torrent, and the one before is gone: so removals
    /// come first.
    fn read_torrents(
        &mut self,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.torrents.is_empty() {
            return Ok(());
        }
        let (mut gone, mut unread) = (notices.torrents.clone(), Vec::new());
        let ids: Vec<i64> = gone.iter().map(|(id, _)| i64::from(id.0)).collect();
        let mut there = Vec::new();
        for row in &self.query(&rows::TORRENTS, "AND id = ANY($1)", &[&ids])? {
            let torrent = rows::torrent(row);
            let torrent = self.understood(&rows::TORRENTS, torrent, &mut unread);
            let Some((change, figures)) = torrent else { continue };
            if let Change::Torrent { id, info_hash, .. } = &change {
                gone.remove(&(*id, *info_hash));
            }
            there.push(Stored { change, figures });
        }
        for id in self.repeated(&rows::TORRENTS, "info_hash", &ids)? {
            there.retain(|row| {
                !matches!(&row.change, Change::Torrent { id: it, .. } if i64::from(it.0) == id)
            });
        }
        gone.retain(|(id, _)| !is_among(&unread, &Key::Torrent(*id)));
        let hashes: Vec<&[u8]> = gone.iter().map(|(_, hash)| &hash.0[..]).collect();
        let mut reasons = Vec::new();
        let table = &rows::DELETION_REASONS;
        for row in &self.query(table, "AND info_hash = ANY($1)", &[&hashes])? {
            let reason = self.understood(table, rows::deletion_reason(row), &mut unread);
            if let Some(Change::TorrentRemoved { info_hash, reason, .. }) = reason {
                reasons.push((info_hash, reason));
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Seconds(u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
        all.extend(gone.into_iter().map(|(id, info_hash)| {
            let reason = reasons.iter().find(|(hash, _)| *hash == info_hash);
            let reason = reason.map(|(_, text)| text.clone()).unwrap_or_default();
            Seen::Change(Change::TorrentRemoved { id, info_hash, reason, at })
        }));
        all.extend(there.into_iter().map(Seen::Torrent));
        Ok(())
    }

    /// Groups come before the users that are in them.
    fn read_groups(&mut self, notices: &Notices, all: &mut Vec<Seen>) -> Result<(), DatabaseError> {
        if notices.groups.is_empty() {
            return Ok(());
        }
        let (mut gone, mut unread) = (notices.groups.clone(), Vec::new());
        let ids: Vec<i16> = gone.iter().map(|id| id.0.cast_signed()).collect();
        for row in &self.query(&rows::USER_GROUPS, "AND id = ANY($1)", &[&ids])? {
            let group = rows::user_group(row);
            let Some(change) = self.understood(&rows::USER_GROUPS, group, &mut unread) else {
                continue;
            };
            if let Change::Group { id, .. } = &change {
                gone.remove(id);
            }
            all.push(Seen::Change(change));
        }
        gone.retain(|id| !is_among(&unread, &Key::Group(*id)));
        all.extend(gone.into_iter().map(|id| Seen::Change(Change::GroupRemoved { id })));
        Ok(())
    }

    fn read_users(&mut self, notices: &Notices, all: &mut Vec<Seen>) -> Result<(), DatabaseError> {
        if notices.users.is_empty() {
            return Ok(());
        }
        let (mut gone, mut unread) = (notices.users.clone(), Vec::new());
        let ids: Vec<i64> = gone.iter().map(|id| i64::from(id.0)).collect();
        let mut there = Vec::new();
        for row in &self.query(&rows::USERS, "AND id = ANY($1)", &[&ids])? {
            let Some(change) = self.understood(&rows::USERS, rows::user(row), &mut unread) else {
                continue;
            };
            if let Change::User { id, .. } = &change {
                gone.remove(id);
            }
            there.push(Seen::Change(change));
        }
        for id in self.repeated(&rows::USERS, "passkey", &ids)? {
            there.retain(|seen| {
                !matches!(seen, Seen::Change(Change::User { id: it, .. }) if i64::from(it.0) == id)
            });
        }
        // Who may not announce may not, whatever else is wrong with his row.
        unread.retain(|row| !row.disabled);
        gone.retain(|id| !is_among(&unread, &Key::User(*id)));
        all.extend(gone.into_iter().map(Seen::UserGone));
        all.append(&mut there);
        Ok(())
    }

    /// One that is over is gone.
    fn read_formers(
        &mut self,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.formers.is_empty() {
            return Ok(());
        }
        let (mut gone, mut unread) = (notices.formers.clone(), Vec::new());
        let ids: Vec<i64> = gone.iter().map(|id| i64::from(id.0)).collect();
        for row in &self.query(&rows::FORMER_PASSKEYS, "AND user_id = ANY($1)", &[&ids])? {
            let former = rows::former_passkey(row);
            let Some(change) = self.understood(&rows::FORMER_PASSKEYS, former, &mut unread) else {
                continue;
            };
            if let Change::Former { user, .. } = &change {
                gone.remove(user);
            }
            all.push(Seen::Change(change));
        }
        gone.retain(|user| !is_among(&unread, &Key::Former(*user)));
        all.extend(gone.into_iter().map(|user| Seen::Change(Change::FormerRemoved { user })));
        Ok(())
    }

    fn read_tokens(&mut self, notices: &Notices, all: &mut Vec<Seen>) -> Result<(), DatabaseError> {
        if notices.tokens.is_empty() {
            return Ok(());
        }
        let (mut gone, mut unread) = (notices.tokens.clone(), Vec::new());
        let (users, torrents): (Vec<i64>, Vec<i64>) =
            gone.iter().map(|(user, torrent)| (i64::from(user.0), i64::from(torrent.0))).unzip();
        let condition =
            "AND (user_id, torrent_id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))";
        for row in &self.query(&rows::TOKENS, condition, &[&users, &torrents])? {
            let token = rows::token(row);
            let Some(change) = self.understood(&rows::TOKENS, token, &mut unread) else { continue };
            if let Change::Token { user, torrent, .. } = &change {
                gone.remove(&(*user, *torrent));
            }
            all.push(Seen::Change(change));
        }
        gone.retain(|(user, torrent)| !is_among(&unread, &Key::Token(*user, *torrent)));
        // Without its torrent a token is nothing, and there is no infohash to tell of.
        let torrents: Vec<i64> = gone.iter().map(|(_, torrent)| i64::from(torrent.0)).collect();
        for row in &self.query(&rows::TORRENTS, "AND id = ANY($1)", &[&torrents])? {
            let torrent = self.understood(&rows::TORRENTS, rows::torrent(row), &mut unread);
            if let Some((Change::Torrent { id, info_hash, .. }, _)) = torrent {
                let of_it = gone.iter().filter(|(_, torrent)| *torrent == id);
                all.extend(of_it.map(|(user, torrent)| {
                    let (user, torrent) = (*user, *torrent);
                    Seen::Change(Change::TokenRemoved { user, torrent, info_hash })
                }));
            }
        }
        Ok(())
    }

    /// Where a text cannot be converted, all of them are taken as they are.
    fn query(
        &mut self,
        table: &Table,
        condition: &str,
        values: &[&(dyn ::postgres::types::ToSql + Sync)],
    ) -> Result<Vec<::postgres::Row>, DatabaseError> {
        let mut read =
            |text| self.client.query(&format!("{} {condition}", table.select(text)), values);
        match read(Text::Converted) {
            Err(error) if is_about_encoding(&error) => read(Text::Raw),
            result => result,
        }
        .map_err(self.database.failed("read what has changed"))
    }

    /// Those of these rows that say the same as one with a lower id, where no constraint forbids it: that
    /// one counts.
    fn repeated(
        &mut self,
        table: &Table,
        column: &str,
        ids: &[i64],
    ) -> Result<Vec<i64>, DatabaseError> {
        if !self.may_repeat.iter().any(|name| name == table.name) {
            return Ok(Vec::new());
        }
        let enabled = if column == "passkey" { "AND a.enabled AND b.enabled" } else { "" };
        let name = table.name;
        let statement = format!(
            "SELECT DISTINCT a.id FROM {name} a JOIN {name} b ON b.{column} = a.{column} AND b.id < a.id \
             WHERE a.id = ANY($1) {enabled}"
        );
        let rows = self
            .client
            .query(&statement, &[&ids])
            .map_err(self.database.failed("read what has changed"))?;
        let repeated: Vec<i64> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        for id in &repeated {
            let problem = format!("a row with a lower id has the same {column}");
            let (key, shown) = (Key::None, format!("id {id}"));
            self.set_aside(name, &Unread { key, shown, problem, disabled: false });
        }
        Ok(repeated)
    }

    /// What a row says; one that cannot be read is set aside, and goes to `unread`.
    fn understood<T>(
        &mut self,
        table: &Table,
        row: Result<T, Unread>,
        unread: &mut Vec<Unread>,
    ) -> Option<T> {
        let row = match row {
            Ok(understood) => return Some(understood),
            Err(row) => row,
        };
        self.set_aside(table.name, &row);
        unread.push(row);
        None
    }

    fn set_aside(&mut self, table: &'static str, row: &Unread) {
        self.database.said.row(table, row);
        self.set_aside += 1;
    }
}

/// Whether a row with this key is there, and cannot be read.
fn is_among(unread: &[Unread], key: &Key) -> bool {
    unread.iter().any(|row| row.key == *key)
}
