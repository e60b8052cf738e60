//! Tokens that were used up, and of which the site is to be told.
//!
//! The ledger notes them in the transaction that books the download ([`crate::LedgerOptions::spent_tokens`]),
//! so that none is forgotten, whatever dies. Who tells the site marks them here after that. One that was told and not
//! marked yet is told again: a site that knows of a token hears of it twice and does nothing.

use ::postgres::Client;
use shard::private::{TorrentId, UserId};

use super::aside::{Key, Unread};
use super::{Database, DatabaseError};

/// A token that was used up, and of which the site is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpentToken {
    /// Its place in the table.
    id: i64,
    /// The user who had it.
    pub user: UserId,
    /// For which torrent.
    pub torrent: TorrentId,
}

/// A connection of the one who tells the site.
pub struct SpentTokens {
    client: Client,
    database: Database,
}

impl SpentTokens {
    /// Connects; `None` when somebody else does this work on this schema.
    pub fn connect(database: &Database) -> Result<Option<Self>, DatabaseError> {
        let mut client = database.connect("site")?;
        let lock = database.lock_number("spent tokens");
        let alone = client
            .query_one("SELECT pg_try_advisory_lock($1)", &[&lock])
            .map_err(database.failed("be alone with the tokens that are used up"))?;
        let alone: bool = alone.get(0);
        if !alone {
            return Ok(None);
        }
        let mut tokens = Self { client, database: database.clone() };
        tokens.set_aside()?;
        Ok(Some(tokens))
    }

    /// The next tokens the site has not been told of, the oldest first, at most `max`.
    pub fn untold(&mut self, max: usize) -> Result<Vec<SpentToken>, DatabaseError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = self
            .client
            .query(UNTOLD, &[&max])
            .map_err(self.database.failed("read which tokens are used up"))?;
        let read = |row: &::postgres::Row| {
            let number = |at: usize| u32::try_from(row.try_get::<_, i64>(at).ok()?).ok();
            let (user, torrent) = (UserId(number(1)?), TorrentId(number(2)?));
            Some(SpentToken { id: row.try_get(0).ok()?, user, torrent })
        };
        // Those that cannot be are not asked for.
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Names those of which the site cannot be told.
    fn set_aside(&mut self) -> Result<(), DatabaseError> {
        let rows = self
            .client
            .query(IMPOSSIBLE, &[])
            .map_err(self.database.failed("read which tokens are used up"))?;
        for row in &rows {
            let unread = Unread {
                key: Key::None,
                shown: format!("id {}", row.try_get::<_, i64>(0).unwrap_or_default()),
                problem: "it is of a user or torrent that cannot be; the site is not told of it"
                    .to_owned(),
                disabled: false,
            };
            self.database.said.row("spent_tokens", &unread);
        }
        Ok(())
    }

    /// How many there are.
    pub fn waiting(&mut self) -> Result<u64, DatabaseError> {
        let row = self
            .client
            .query_one(WAITING, &[])
            .map_err(self.database.failed("count which tokens are used up"))?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    /// The site has been told of these.
    pub fn told(&mut self, tokens: &[SpentToken]) -> Result<(), DatabaseError> {
        let ids: Vec<i64> = tokens.iter().map(|token| token.id).collect();
        let told = "UPDATE spent_tokens SET told_at = now() WHERE id = ANY($1)";
        self.client
            .execute(told, &[&ids])
            .map_err(self.database.failed("note that the site has been told"))?;
        Ok(())
    }

    /// Removes some of those that the site was told of more than a week ago; how many.
    pub fn forget(&mut self, max: usize) -> Result<u64, DatabaseError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        self.client
            .execute(FORGET, &[&max])
            .map_err(self.database.failed("remove tokens that the site knows of"))
    }
}

const UNTOLD: &str = "
    SELECT id, user_id, torrent_id FROM spent_tokens
    WHERE told_at IS NULL AND user_id BETWEEN 0 AND 4294967295 AND torrent_id BETWEEN 0 AND 4294967295
    ORDER BY id LIMIT $1";

const WAITING: &str = "
    SELECT count(*) FROM spent_tokens
    WHERE told_at IS NULL AND user_id BETWEEN 0 AND 4294967295 AND torrent_id BETWEEN 0 AND 4294967295";

/// The first of them, as many as are named.
const IMPOSSIBLE: &str = "
    SELECT id FROM spent_tokens WHERE told_at IS NULL
    AND NOT coalesce(user_id BETWEEN 0 AND 4294967295 AND torrent_id BETWEEN 0 AND 4294967295, false)
    ORDER BY id LIMIT 10";

const FORGET: &str = "
    DELETE FROM spent_tokens WHERE id = ANY(ARRAY(
        SELECT id FROM spent_tokens WHERE told_at < now() - interval '7 days' ORDER BY id LIMIT $1))";
