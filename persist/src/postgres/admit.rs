//! Whether a database is the one that a data folder belongs to, and may be written from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::postgres::Client;
use shard::private::Change;

use super::look::Look;
use super::{Database, DatabaseError};
use crate::belongs;
use crate::journal::{Reader, Record, Status};

/// The data folder of a tracker, as far as a database has to do with it.
#[derive(Clone, Debug)]
pub struct Home {
    data: PathBuf,
    journal: Arc<Status>,
    /// There was a snapshot with something in it at the start.
    snapshot: bool,
}

impl Home {
    /// The folder at `data`, with its journal. `snapshot`: it has a snapshot with users or torrents.
    pub fn new(data: impl Into<PathBuf>, journal: Arc<Status>, snapshot: bool) -> Self {
        Self { data: data.into(), journal, snapshot }
    }

    /// The folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The journal in it.
    pub fn journal(&self) -> &Arc<Status> {
        &self.journal
    }

    /// Something has happened here that a database should know of. Asked where a database is empty, so that it may
    /// look into the journal.
    pub fn has_history(&self) -> bool {
        self.snapshot || self.journal.end() > 0 && names_anybody(self.journal.dir())
    }

    /// Whether a database with this in it is not the one the folder belongs to, or has lost what it had.
    pub fn refuses(&self, look: &Look, database: &Database) -> Result<(), DatabaseError> {
        let remembered = belongs::remembered(&self.data);
        if let (Some(expected), Some(found)) = (&remembered, &look.identity)
            && expected != found
        {
            let (expected, found) = (expected.clone(), found.clone());
            let (data, database) = (self.data.clone(), database.to_string());
            return Err(DatabaseError::Foreign { database, data, expected, found });
        }
        if look.is_emptied() && self.has_history() {
            let (data, database) = (self.data.clone(), database.to_string());
            return Err(DatabaseError::Emptied { database, data });
        }
        Ok(())
    }
}

/// Whether a journal has users or torrents in it, or may have. Groups and rules of clients alone are nothing that a
/// database without users could have lost.
fn names_anybody(dir: &Path) -> bool {
    let Ok((mut reader, _)) = Reader::open_behind(dir, 0) else { return true };
    let (mut records, mut seen) = (Vec::new(), 0);
    while seen < LOOKED_AT_MAX {
        records.clear();
        if !matches!(reader.read_on(RECORDS, &mut records), Ok(0)) {
            return true;
        }
        if records.is_empty() {
            return false;
        }
        seen += records.len();
        if records.iter().any(is_of_somebody) {
            return true;
        }
    }
    true
}

fn is_of_somebody(record: &Record) -> bool {
    match record {
        Record::Tick(_) => false,
        Record::Said(said) => !matches!(
            said.change,
            Change::Group { .. }
                | Change::GroupRemoved { .. }
                | Change::ClientRule { .. }
                | Change::ClientRuleRemoved { .. }
        ),
        Record::Fact(_) | Record::Gone(_) => true,
    }
}

/// Records that are looked at, and how many at a time: a journal with more is not one of groups alone.
const LOOKED_AT_MAX: usize = 100_000;
const RECORDS: usize = 1_000;

impl Database {
    /// Looks at the database, makes the tables or brings them up to date, and sees to it that folder and
    /// database know each other. Nothing is written into a database that is not the folder's own, nor into
    /// one that is empty while the folder is not.
    ///
    /// `patience`: how long to wait for a server that has begun to change tables; `None` for as long as it
    /// takes.
    pub fn admit(&self, home: &Home, patience: Option<Duration>) -> Result<Look, DatabaseError> {
        let look = self.look(home.journal.id())?;
        home.refuses(&look, self)?;
        match patience {
            Some(patience) => self.migrate_within(patience)?,
            None => self.migrate()?,
        };
        self.settle_identity(home, look)
    }

    /// The same for a connection that is about to write, which makes no tables.
    pub(crate) fn admit_over(
        &self,
        client: &mut Client,
        home: &Home,
    ) -> Result<Look, DatabaseError> {
        let look =
            self.look_over(client, home.journal.id()).map_err(self.failed("look what is there"))?;
        home.refuses(&look, self)?;
        Ok(look)
    }

    fn settle_identity(&self, home: &Home, mut look: Look) -> Result<Look, DatabaseError> {
        if look.identity.is_none() {
            // It was made, or restored from a time before it had one.
            if let Some(remembered) = belongs::remembered(&home.data) {
                self.identify(&remembered)?;
            }
            look.identity = self.look(home.journal.id())?.identity;
        }
        if let Some(identity) = &look.identity
            && let Err(error) = belongs::remember(&home.data, identity)
        {
            // A full disk must not keep a tracker from starting.
            tracing::warn!(%error, "cannot note which database this data folder belongs to");
        }
        Ok(look)
    }
}
