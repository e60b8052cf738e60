//! Reads all that announces need: at start, and to find out what has changed without a notice.

use ::postgres::IsolationLevel;
use ::postgres::Transaction;
use ::postgres::binary_copy::{BinaryCopyOutIter, BinaryCopyOutRow};
use ::postgres::fallible_iterator::FallibleIterator;
use shard::Seconds;
use shard::private::{Change, Swarm};

use super::rows::{self, Table};
use super::{Database, DatabaseError};

/// One row that was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The row, as the change that would make it.
    pub change: Change,
    /// Of a torrent, the snatches and the balance to go on from; else zeros. Seeders and leechers are
    /// for whoever knows peers, and always 0 here.
    pub figures: Swarm,
}

/// How many rows were loaded, and of which moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// Records of the journal before this one are in what was loaded; `None` for a journal that the
    /// database does not know yet.
    pub position: Option<u64>,
    /// Users, also those that may not announce.
    pub users: u64,
    /// Registered torrents.
    pub torrents: u64,
    /// Tokens that can be used.
    pub tokens: u64,
    /// Groups of users.
    pub groups: u64,
    /// Client rules.
    pub client_rules: u64,
    /// Deletion reasons.
    pub deletion_reasons: u64,
}

impl Database {
    /// Records of the journal with this name before this one are in the database; `None` for a journal that
    /// it does not know.
    pub fn position(&self, journal: u64) -> Result<Option<u64>, DatabaseError> {
        let mut client = self.connect("position")?;
        let row = client
            .query_opt("SELECT next FROM ledger WHERE journal = $1", &[&journal_name(journal)])
            .map_err(self.failed("read the position"))?;
        Ok(row.map(|row| row.get::<_, i64>(0).cast_unsigned()))
    }

    /// Hands over, row by row and all of one moment: client rules, torrents deleted at `reasons_since`
    /// or later, registered torrents, groups of users, users, tokens that can be used. In this order, so
    /// that a token comes after its torrent and its user.
    ///
    /// What the journal with the name `journal` holds from [`Loaded::position`] on is not in it: put those changes
    /// on top. To find out what has changed without a notice, load and compare; what differs is true of
    /// the database if the journal had no change that was not in it, neither before nor after.
    pub fn load(
        &self,
        journal: u64,
        reasons_since: Seconds,
        mut visit: impl FnMut(Stored),
    ) -> Result<Loaded, DatabaseError> {
        let mut client = self.connect("load")?;
        let mut transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .map_err(self.failed("load"))?;
        let position = transaction
            .query_opt("SELECT next FROM ledger WHERE journal = $1", &[&journal_name(journal)])
            .map_err(self.failed("read the position"))?
            .map(|row| row.get::<_, i64>(0).cast_unsigned());
        let mut read = |table, condition: &str, row: Reading| {
            self.read(&mut transaction, table, condition, row, &mut visit)
        };

        let client_rules = read(&rows::CLIENT_RULES, "", |row| plain(rows::client_rule(row)))?;
        let since = format!("AND at >= to_timestamp({})", reasons_since.0);
        let deletion_reasons =
            read(&rows::DELETION_REASONS, &since, |row| plain(rows::deletion_reason(row)))?;
        let torrents = read(&rows::TORRENTS, "", |row| {
            rows::torrent(row).map(|(change, figures)| Stored { change, figures })
        })?;
        let groups = read(&rows::USER_GROUPS, "", |row| plain(rows::user_group(row)))?;
        let users = read(&rows::USERS, "", |row| plain(rows::user(row)))?;
        let tokens = read(&rows::TOKENS, "", |row| plain(rows::token(row)))?;
        Ok(Loaded { position, users, torrents, tokens, groups, client_rules, deletion_reasons })
    }

    fn read(
        &self,
        transaction: &mut Transaction<'_>,
        table: &Table,
        condition: &str,
        row: Reading,
        visit: &mut impl FnMut(Stored),
    ) -> Result<u64, DatabaseError> {
        let failed = self.failed("load");
        let copy = format!("COPY ({} {condition}) TO STDOUT (FORMAT binary)", table.select);
        let reader = transaction.copy_out(copy.as_str()).map_err(&failed)?;
        let mut count = 0;
        let mut stream = BinaryCopyOutIter::new(reader, table.types);
        while let Some(columns) = stream.next().map_err(&failed)? {
            let stored = row(&columns).map_err(|problem| DatabaseError::Row {
                table: table.name,
                database: self.to_string(),
                problem,
            })?;
            visit(stored);
            count += 1;
        }
        Ok(count)
    }
}

/// How a journal is called in the tables.
pub(crate) fn journal_name(journal: u64) -> String {
    format!("{journal:016x}")
}

type Reading = fn(&BinaryCopyOutRow) -> Result<Stored, String>;

fn plain(change: Result<Change, String>) -> Result<Stored, String> {
    change.map(|change| Stored { change, figures: Swarm::default() })
}
