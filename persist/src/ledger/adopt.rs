//! Fills an empty database from the data folder, when somebody has said that this is to be done
//! (`margay journal adopt`).
//!
//! Users, torrents, tokens, groups and client rules come from the newest snapshot. What was changed and
//! credited after it, and before as far as it is kept, comes from the journal: the ledger writes it from its
//! first record on. What was credited before that is gone, and is a row of the table `gaps`.

use ::postgres::Client;

use crate::belongs;
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
    if begin > 0 {
        let journal = journal_name(home.journal().id());
        client
            .execute(GAP, &[&journal, &node, &begin.cast_signed()])
            .map_err(database.failed("note what is missing"))?;
    }
    if let Err(error) = belongs::adopted(home.data()) {
        tracing::warn!(%error, "cannot remove the file `adopt` of the data folder; remove it");
    }
    tracing::warn!(
        users = filled.users,
        torrents = filled.torrents,
        credited_from = begin,
        "the empty database is filled from the data folder; credit comes from the journal, from this record on"
    );
    Ok(())
}

const GAP: &str = "
    INSERT INTO gaps (journal, node, reason, first, behind)
    VALUES ($1, $2, 'database_emptied', 0, $3)";
