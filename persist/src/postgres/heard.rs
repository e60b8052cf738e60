//! News of the site, and of which moment they are.

use std::collections::HashMap;
use std::sync::Arc;

use ::postgres::types::ToSql;
use ::postgres::{Client, Error, Row};
use shard::private::{Change, TorrentId, UserId};

use super::load::{Stored, journal_name};
use super::watch::Seen;

/// When SQL named each column of a row in an UPDATE the last time, in microseconds since 1970: the column
/// `said_at` of `users` and `torrents`.
pub type SaidAt = [Option<i64>; 5];

/// Something the site did, with what is needed to hold it against what was said through the tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// What it did.
    pub seen: Seen,
    /// Of which moment that is.
    pub moment: Arc<Moment>,
}

impl Heard {
    /// When SQL said each column of the row.
    pub fn said_at(&self) -> SaidAt {
        let said_at = match &self.seen {
            Seen::Change(Change::User { id, .. }) => self.moment.users.get(id),
            Seen::Torrent(Stored { change: Change::Torrent { id, .. }, .. }) => {
                self.moment.torrents.get(id)
            }
            _ => None,
        };
        said_at.copied().unwrap_or_default()
    }
}

/// A moment before rows were read: what was known then.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    positions: HashMap<String, u64>,
    users: HashMap<UserId, SaidAt>,
    torrents: HashMap<TorrentId, SaidAt>,
}

impl Moment {
    /// Records of the journal with this name before this one are in the rows; 0 for a journal that the
    /// database does not know.
    pub fn position(&self, journal: u64) -> u64 {
        self.positions.get(&journal_name(journal)).copied().unwrap_or_default()
    }

    /// Asks for it. The rows are read after that: where SQL says more of one in between, another notice of it
    /// comes.
    pub(super) fn read(
        client: &mut Client,
        users: impl Iterator<Item = UserId>,
        torrents: impl Iterator<Item = TorrentId>,
    ) -> Result<Self, Error> {
        let mut moment = Self::default();
        for row in client.query("SELECT journal, next FROM ledger", &[])? {
            moment.positions.insert(row.get(0), row.get::<_, i64>(1).cast_unsigned());
        }
        let ids: Vec<i64> = users.map(|id| i64::from(id.0)).collect();
        for row in read_said_at(client, "users", &ids)? {
            if let Ok(id) = u32::try_from(row.get::<_, i64>(0)) {
                moment.users.insert(UserId(id), said_at(&row));
            }
        }
        let ids: Vec<i64> = torrents.map(|id| i64::from(id.0)).collect();
        for row in read_said_at(client, "torrents", &ids)? {
            if let Ok(id) = u32::try_from(row.get::<_, i64>(0)) {
                moment.torrents.insert(TorrentId(id), said_at(&row));
            }
        }
        Ok(moment)
    }
}

fn read_said_at(client: &mut Client, table: &str, ids: &Vec<i64>) -> Result<Vec<Row>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let columns: Vec<String> = (1..=SaidAt::default().len())
        // One that nobody can have said yet, as 'infinity', is of the end of time.
        .map(|at| {
            format!(
                "CASE WHEN isfinite(said_at[{at}]) \
                 THEN (extract(epoch FROM said_at[{at}]) * 1000000)::bigint \
                 WHEN said_at[{at}] = 'infinity' THEN {} END",
                i64::MAX
            )
        })
        .collect();
    let statement = format!(
        "SELECT id, {} FROM {table} WHERE id = ANY($1) AND said_at IS NOT NULL",
        columns.join(", ")
    );
    let values: [&(dyn ToSql + Sync); 1] = [ids];
    client.query(&statement, &values)
}

fn said_at(row: &Row) -> SaidAt {
    std::array::from_fn(|column| row.get(column + 1))
}
