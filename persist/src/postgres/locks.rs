//! The holders of what somebody waits for in vain.

use ::postgres::Client;
use ::postgres::error::SqlState;

use super::session::START_LOCK_PATIENCE;
use super::settings::quote;
use super::{Database, DatabaseError};

impl Database {
    /// Says which lock a statement did not get, and who holds it; of other errors, what was being done.
    /// The transaction of the statement has to be over.
    pub(super) fn explained(
        &self,
        task: &'static str,
        source: ::postgres::Error,
        advisory: Option<i64>,
        client: &mut Client,
    ) -> DatabaseError {
        if source.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return self.failed(task)(source);
        }
        let key = advisory.map(|key| ((key >> 32) as u32, key as u32));
        let (high, low) = key.map(|(high, low)| (i64::from(high), i64::from(low))).unzip();
        let holders = client.query(HOLDERS, &[&self.schema(), &high, &low]).unwrap_or_default();
        let column = |place: usize| {
            let mut all: Vec<String> = holders.iter().map(|row| row.get(place)).collect();
            all.sort();
            all.dedup();
            all.truncate(HOLDERS_SAID);
            all
        };
        let lock = match (advisory, column(0).as_slice()) {
            (Some(_), _) => "the lock of the migrations".to_owned(),
            (None, []) => format!("a table of schema {}", quote(self.schema())),
            (None, [table]) => format!("table {table}"),
            (None, tables) => format!("one of the tables {}", tables.join(", ")),
        };
        let holders = match holders.is_empty() {
            true => "somebody who has just gone".to_owned(),
            false => column(1).join(", "),
        };
        let patience = START_LOCK_PATIENCE;
        DatabaseError::Locked { task, database: self.to_string(), lock, holders, patience }
    }
}

/// Holders of locks, or tables, that are named in an error.
const HOLDERS_SAID: usize = 5;

/// Sessions that hold an advisory lock, or else one on a table of the schema, the strongest first; the tracker's own that
/// only read are not worth a word.
const HOLDERS: &str = "
    SELECT coalesce(c.relname::text, ''), format('process %s (%s)', l.pid, coalesce(
        nullif(a.application_name, ''), a.backend_type, 'without a name'))
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_class c
        ON c.oid = l.relation AND c.relkind IN ('r', 'p')
    WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND CASE WHEN $2::bigint IS NULL
        THEN c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
        ELSE l.locktype = 'advisory' AND l.classid::bigint = $2 AND l.objid::bigint = $3 END
    ORDER BY l.mode <> 'AccessExclusiveLock', l.pid, 1
    LIMIT 20";
