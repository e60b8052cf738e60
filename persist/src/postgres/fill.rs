//! Fills an empty database from a snapshot: who may announce, former passkeys, which torrents there are, tokens,
//! groups and client rules. What was credited is not in a snapshot: it comes from the journal, as far as that is kept.

use ::postgres::types::ToSql;
use ::postgres::{Client, Transaction};
use shard::private::{Passkey, TorrentRecord, User};

use super::{Database, DatabaseError};
use crate::ledger::freeleech_text;
use crate::snapshot::{Snapshot, SnapshotError};

/// The counts of what was filled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filled {
    /// Users.
    pub users: u64,
    /// Torrents.
    pub torrents: u64,
}

/// Why a database was not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The database does not take it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Rows in one statement.
const ROWS: usize = 8192;

impl Database {
    /// Puts what a snapshot has into the tables, which have to be there, in one transaction. Rows that are
    /// there stay as they are.
    pub(crate) fn fill(
        &self,
        client: &mut Client,
        snapshot: &Snapshot,
    ) -> Result<Filled, FillError> {
        let failed = self.failed("fill the tables");
        let transaction = client.transaction().map_err(&failed)?;
        let mut fill = Fill { transaction, result: Ok(()), filled: Filled::default() };
        fill.groups(snapshot)?;
        fill.users(snapshot)?;
        fill.formers(snapshot)?;
        fill.rules(snapshot)?;
        fill.torrents(snapshot)?;
        fill.hybrids(snapshot)?;
        let Fill { transaction, result, filled } = fill;
        result.map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(filled)
    }
}

struct Fill<'a> {
    transaction: Transaction<'a>,
    /// The first thing that went wrong; nothing is written after it.
    result: Result<(), ::postgres::Error>,
    filled: Filled,
}

impl Fill<'_> {
    fn put(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> u64 {
        if self.result.is_err() {
            return 0;
        }
        match self.transaction.execute(statement, values) {
            Ok(rows) => rows,
            Err(error) => {
                self.result = Err(error);
                0
            }
        }
    }

    /// A snapshot does not know what they are called.
    fn groups(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (mut ids, mut most) = (Vec::new(), Vec::new());
        snapshot.groups(|id, downloads_max| {
            ids.push(id.0.cast_signed());
            most.push(downloads_max.map(|most| i32::try_from(most).unwrap_or(i32::MAX)));
        })?;
        self.put(GROUPS, &[&ids, &most]);
        Ok(())
    }

    fn users(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let mut rows = Vec::new();
        snapshot.accounts(|passkey, user, enabled| {
            rows.push((passkey, user, enabled));
            if rows.len() == ROWS {
                self.put_users(&rows);
                rows.clear();
            }
        })?;
        self.put_users(&rows);
        Ok(())
    }

    fn put_users(&mut self, rows: &[(Passkey, User, bool)]) {
        let ids: Vec<i64> = rows.iter().map(|(_, user, _)| user.id.0.into()).collect();
        let passkeys: Vec<&str> = rows.iter().map(|(passkey, ..)| passkey.reveal()).collect();
        let can_leech: Vec<bool> = rows.iter().map(|(_, user, _)| user.can_leech).collect();
        let hidden: Vec<bool> = rows.iter().map(|(_, user, _)| user.hidden).collect();
        let enabled: Vec<bool> = rows.iter().map(|(.., enabled)| *enabled).collect();
        let groups: Vec<Option<i16>> =
            rows.iter().map(|(_, user, _)| user.group.map(|group| group.0.cast_signed())).collect();
        self.filled.users +=
            self.put(USERS, &[&ids, &passkeys, &can_leech, &hidden, &groups, &enabled]);
    }

    fn formers(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let mut rows = Vec::new();
        snapshot.formers(|user, passkey, good_until| rows.push((user, passkey, good_until)))?;
        for some in rows.chunks(ROWS) {
            let users: Vec<i64> = some.iter().map(|row| row.0.0.into()).collect();
            let passkeys: Vec<&str> = some.iter().map(|row| row.1.reveal()).collect();
            let until: Vec<i64> = some.iter().map(|row| row.2.0.into()).collect();
            self.put(FORMERS, &[&users, &passkeys, &until]);
        }
        Ok(())
    }

    fn rules(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (mut prefixes, mut allow) = (Vec::new(), Vec::new());
        snapshot.client_rules(|prefix, allowed| {
            prefixes.push(prefix.bytes().to_vec());
            allow.push(allowed);
        })?;
        self.put(RULES, &[&prefixes, &allow]);
        Ok(())
    }

    fn torrents(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (mut torrents, mut tokens) = (Vec::new(), Vec::new());
        snapshot.registered(|torrent, token| {
            match token {
                None => torrents.push(*torrent),
                Some(token) => {
                    let ends = token.expires_at.map(|at| i64::from(at.0));
                    tokens.push((i64::from(token.user.0), i64::from(torrent.terms.id.0), ends));
                }
            }
            if torrents.len() == ROWS {
                self.put_torrents(&torrents);
                torrents.clear();
            }
        })?;
        self.put_torrents(&torrents);
        for some in tokens.chunks(ROWS) {
            let users: Vec<i64> = some.iter().map(|token| token.0).collect();
            let torrents: Vec<i64> = some.iter().map(|token| token.1).collect();
            let ends: Vec<Option<i64>> = some.iter().map(|token| token.2).collect();
            self.put(TOKENS, &[&users, &torrents, &ends]);
        }
        Ok(())
    }

    /// The second names of torrents that have been put there.
    fn hybrids(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        snapshot.hybrids(|first, second| {
            firsts.push(first.0.to_vec());
            seconds.push(second.0.to_vec());
        })?;
        for (firsts, seconds) in firsts.chunks(ROWS).zip(seconds.chunks(ROWS)) {
            self.put(HYBRIDS, &[&firsts, &seconds]);
        }
        Ok(())
    }

    fn put_torrents(&mut self, rows: &[TorrentRecord]) {
        let ids: Vec<i64> = rows.iter().map(|row| row.terms.id.0.into()).collect();
        let hashes: Vec<&[u8]> = rows.iter().map(|row| &row.info_hash.0[..]).collect();
        let freeleech: Vec<&str> =
            rows.iter().map(|row| freeleech_text(row.terms.freeleech)).collect();
        let percents: Vec<i32> = rows.iter().map(|row| row.terms.upload_percent.into()).collect();
        let snatches: Vec<i64> = rows.iter().map(|row| row.snatches.into()).collect();
        let balances: Vec<i64> = rows.iter().map(|row| row.balance).collect();
        let values: [&(dyn ToSql + Sync); 6] =
            [&ids, &hashes, &freeleech, &percents, &snatches, &balances];
        self.filled.torrents += self.put(TORRENTS, &values);
    }
}

const GROUPS: &str = "
    INSERT INTO user_groups (id, name, downloads_max)
    SELECT id, 'group ' || id, downloads_max
    FROM unnest($1::smallint[], $2::integer[]) AS d (id, downloads_max) ON CONFLICT (id) DO NOTHING";

const USERS: &str = "
    INSERT INTO users (id, passkey, can_leech, hidden, group_id, enabled)
    SELECT id, passkey, can_leech, hidden, (SELECT g.id FROM user_groups g WHERE g.id = group_id), enabled
    FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::boolean[], $5::smallint[], $6::boolean[])
        AS d (id, passkey, can_leech, hidden, group_id, enabled) ON CONFLICT (id) DO NOTHING";

const FORMERS: &str = "
    INSERT INTO former_passkeys (user_id, passkey, good_until)
    SELECT who, d.passkey, to_timestamp(until)
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS d (who, passkey, until)
    WHERE EXISTS (SELECT FROM users WHERE users.id = who) ON CONFLICT DO NOTHING";

const RULES: &str = "
    INSERT INTO client_rules (prefix, allow) SELECT * FROM unnest($1::bytea[], $2::boolean[])
    ON CONFLICT DO NOTHING";

const TORRENTS: &str = "
    INSERT INTO torrents (id, info_hash, freeleech, upload_percent, snatches, balance)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::integer[], $5::bigint[], $6::bigint[])
    ON CONFLICT (id) DO NOTHING";

const HYBRIDS: &str = "
    UPDATE torrents SET info_hash_v2 = d.second FROM unnest($1::bytea[], $2::bytea[]) AS d (first, second)
    WHERE torrents.info_hash = d.first";

const TOKENS: &str = "
    INSERT INTO tokens (user_id, torrent_id, expires_at)
    SELECT user_id, torrent_id, to_timestamp(expires_at)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS d (user_id, torrent_id, expires_at)
    ON CONFLICT DO NOTHING";
