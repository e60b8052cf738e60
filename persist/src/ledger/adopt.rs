//! Fills an empty database from the data folder, when somebody has said that this is to be done
//! (`margay journal adopt`).
//!
//! Users, torrents, tokens, groups and client rules come from the newest snapshot. What was changed and
//! credited after it, and before as far as it is kept, comes from the journal: the ledger writes it from its
//! first record on. What was credited before that is gone, and is a row of the table `gaps`: also where the journal
//! is kept from its beginning, as nobody here knows whether the site is older than that.

use ::postgres::Client;

use super::gaps::{self, Gap, GapReason};
use crate::belongs;
use crate::journal::Reader;
use crate::postgres::{Database, DatabaseError, FillError, Home, journal_name};
use crate::snapshot::{Snapshot, SnapshotError};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdoptError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Fill(#[from] FillError),
}

/// Makes the tables where there are none, and fills them. Done twice it is done once.
pub(super) fn adopt(
    database: &Database,
    client: &mut Client,
    home: &Home,
    node: &str,
) -> Result<(), AdoptError> {
    database.migrate()?;
    let filled = match Snapshot::newest_in(home.data())? {
        Some(snapshot) => database.fill(client, &snapshot)?,
        None => Default::default(),
    };
    if let Some(identity) = belongs::remembered(home.data()) {
        database.identify(&identity)?;
    } else if let Some(identity) = database.look(home.journal().id())?.identity {
        let _ = belongs::remember(home.data(), &identity);
    }
    let begin = home.journal().begin();
    let gap = Gap {
        reason: GapReason::DatabaseEmptied,
        first: 0,
        behind: begin,
        from_millis: None,
        to_millis: begun_at(home, begin),
    };
    let noted = client.transaction().and_then(|mut transaction| {
        gaps::note(&mut transaction, &journal_name(home.journal().id()), node, &gap)?;
        transaction.commit()
    });
    noted.map_err(database.failed("note what is missing"))?;
    if let Err(error) = belongs::adopted(home.data()) {
        tracing::warn!(%error, "cannot remove the file `adopt` of the data folder; remove it");
    }
    tracing::warn!(
        users = filled.users,
        torrents = filled.torrents,
        credited_from = begin,
        "the empty database is filled from the data folder; credit comes from the journal, from this record on, and \
         what was credited before that is lost, see table gaps"
    );
    Ok(())
}

/// When the first record that is kept was made, in milliseconds since 1970; `None` where it cannot be read.
fn begun_at(home: &Home, begin: u64) -> Option<u64> {
    let (mut reader, _) = Reader::open_behind(home.journal().dir(), begin).ok()?;
    let mut records = Vec::new();
    reader.read_on(1, &mut records).ok()?;
    records.first().map(|record| record.stamp().millis)
}
