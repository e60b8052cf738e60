//! One tracker a schema: the session that writes holds a lock, and says whose it is.
//!
//! Several trackers would write the figures of torrents over each other's, and not hear of each other's
//! changes. So the lock is of the schema, not of the journal.

use std::fmt;
use std::time::Duration;

use ::postgres::error::SqlState;
use ::postgres::{Client, Error};

use crate::postgres::{Database, DatabaseError};

/// The session that writes into a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaWriter {
    /// Its journal; `None` where the session does not say.
    pub journal: Option<u64>,
    /// The name of the tracker, or the beginning of a long one.
    pub node: String,
    /// The process of the server.
    pub pid: i32,
    /// From where it is connected; `None` for a socket, and where the role may not know.
    pub address: Option<String>,
    /// Since when; as with the address.
    pub since: Option<String>,
}

impl fmt::Display for SchemaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {:?}", self.node)?;
        if let Some(journal) = self.journal {
            write!(f, ", journal {journal:016x}")?;
        }
        write!(f, ", pid {}", self.pid)?;
        if let Some(address) = &self.address {
            write!(f, ", from {address}")?;
        }
        match &self.since {
            Some(since) => write!(f, ", since {since}"),
            None => Ok(()),
        }
    }
}

impl Database {
    /// The session that writes into this schema now, this process included; `None` when none does.
    pub fn writer_of_schema(&self) -> Result<Option<SchemaWriter>, DatabaseError> {
        let mut client = self.connect("writer")?;
        let writer = writer(&mut client, lock(self));
        writer.map_err(self.failed("find out who writes into the schema"))
    }
}

/// The name that the session of the ledger gives itself, after the name of the program.
pub(super) fn purpose(journal: u64, node: &str) -> String {
    let mut purpose = format!("{LEDGER} {journal:016x} ");
    // The server cuts longer names off, where it may be in the middle of a letter.
    for letter in node.chars() {
        if PROGRAM.len() + purpose.len() + letter.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        purpose.push(letter);
    }
    purpose
}

/// The lock that the writer of a schema holds.
pub(super) fn lock(database: &Database) -> i64 {
    database.lock_number("ledger")
}

/// The session that holds this lock.
pub(super) fn writer(client: &mut Client, lock: i64) -> Result<Option<SchemaWriter>, Error> {
    let row = client.query_opt(WRITER, &[&lock])?;
    Ok(row.map(|row| {
        let name: String = row.get::<_, Option<String>>(1).unwrap_or_default();
        let rest = name.strip_prefix(PROGRAM).and_then(|rest| rest.strip_prefix(LEDGER));
        let mut parts = rest.unwrap_or_default().trim_start().splitn(2, ' ');
        let journal = parts.next().and_then(|journal| u64::from_str_radix(journal, 16).ok());
        let node = parts.next().unwrap_or(&name).to_owned();
        let (pid, address, since) = (row.get(0), row.get(2), row.get(3));
        SchemaWriter { journal, node, pid, address, since }
    }))
}

/// Ends the session of a writer that is idle and has not said for [`SILENT_MAX`] that it is alive, by the clock of the
/// database: its machine or its process is gone, and the server has not noticed. Whether it was ended.
pub(super) fn take_over(client: &mut Client, other: &SchemaWriter) -> Result<bool, Error> {
    let Some(row) = client.query_opt(SILENT, &[&other.pid, &SILENT_MAX.as_secs_f64()])? else {
        return Ok(false);
    };
    let silent_seconds = row.get::<_, f64>(0).round();
    match client.query_one("SELECT pg_terminate_backend($1)", &[&other.pid]) {
        Ok(row) => {
            let ended: bool = row.get(0);
            tracing::warn!(writer = %other, silent_seconds, ended, "the ledger takes over from a session that is idle");
            Ok(ended)
        }
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            tracing::error!(
                writer = %other,
                silent_seconds,
                "a session that is idle keeps the ledger out, and this role may not end it: let somebody who may \
                 run SELECT pg_terminate_backend({})",
                other.pid
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// How long a writer may be silent: several of its beats, and longer than any of its statements waits for a lock.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(30);

/// How long the session with this process has been silent, where that is too long and it is not at work.
const SILENT: &str = "
    SELECT extract(epoch FROM clock_timestamp() - w.beat_at)::float8
    FROM writer w JOIN pg_stat_activity a ON a.pid = w.pid AND a.backend_start <= w.beat_at
    WHERE w.pid = $1 AND a.state LIKE 'idle%'
        AND least(clock_timestamp() - w.beat_at, clock_timestamp() - a.state_change)
            > make_interval(secs => $2)";

const PROGRAM: &str = "margay ";
const LEDGER: &str = "ledger";

/// PostgreSQL, "application_name".
const NAME_BYTES_MAX: usize = 63;

/// A lock of 64 bits is shown in halves (PostgreSQL, "pg_locks").
const WRITER: &str = "
    SELECT l.pid, a.application_name, host(a.client_addr), date_trunc('second', a.backend_start)::text
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (l.classid::bigint << 32 | l.objid::bigint) = $1
    LIMIT 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let name = format!("{PROGRAM}{}", purpose(1, &"ä".repeat(40)));
        assert!(name.len() <= NAME_BYTES_MAX && name.len() >= NAME_BYTES_MAX - 1, "{name}");
        assert!(name.starts_with("margay ledger 0000000000000001 ä"), "{name}");
    }
}
