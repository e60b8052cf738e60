//! `margay journal adopt DIR` and `margay check-books`: what an operator does with the books beside a running
//! tracker.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use persist::check::{CheckError, Checked, Short, Stray, check_books};
use persist::journal::{self, JournalError};
use persist::{Snapshot, SnapshotError, belongs};
use shard::private::UserId;

use crate::command::snapshot::date;
use crate::config::{Config, GivenDatabaseError};

/// Why a command did not do what it was asked for; the process ends with status 1.
#[derive(Debug, thiserror::Error)]
pub enum BooksCommandError {
    /// The folder has neither snapshot nor journal.
    #[error(
        "there is nothing in {0} to fill a database from: it is not the data folder of a private tracker"
    )]
    NoBooks(PathBuf),
    /// A snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The wish cannot be left in the folder.
    #[error("cannot write into {}; run this as root or as the tracker's user", path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No database is named.
    #[error("name the database as the tracker has it: MARGAY_DATABASE, --database or --config")]
    NoDatabase,
    /// The database, as the options name it.
    #[error(transparent)]
    Database(#[from] GivenDatabaseError),
    /// Journal and database cannot be compared.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// They differ.
    #[error("the books do not hold: see above; docs/operations.md says what each line may mean")]
    Differ,
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Answer(#[from] io::Error),
}

/// Options that `check-books` looks at.
pub const OPTIONS: &[&str] =
    &["config", "data", "database", "database-password-file", "database-schema", "database-peers"];

/// Says that an empty database is to be filled from this data folder, and with what.
pub fn adopt(data: &Path, out: &mut impl Write) -> Result<(), BooksCommandError> {
    if !data.is_dir() {
        return Err(BooksCommandError::NoBooks(data.to_owned()));
    }
    let is_folder = data.join("journal").is_dir();
    let segments = if is_folder { journal::segments(data)? } else { Vec::new() };
    let snapshot = Snapshot::newest_in(data)?;
    if segments.is_empty() && snapshot.is_none() {
        return Err(BooksCommandError::NoBooks(data.to_owned()));
    }
    let mut users = 0;
    if let Some(snapshot) = &snapshot {
        snapshot.accounts(|_, _, _| users += 1)?;
        let (written, torrents) = (date(snapshot.meta().written_at), snapshot.totals().swarms);
        writeln!(out, "users and torrents  {users} and {torrents}, of the snapshot of {written}")?;
    }
    let write = |source| BooksCommandError::Write { path: data.to_owned(), source };
    belongs::ask_to_adopt(data).map_err(write)?;
    let begun = match segments.first() {
        Some(first) => {
            let survey = journal::survey(first, |_, _| {})?;
            format!("record {} of {} on", survey.first, date(survey.begun_at))
        }
        None => "now on: there is no journal".to_owned(),
    };
    writeln!(
        out,
        "credit              from {begun}; what was credited before is lost, and a row of the table gaps"
    )?;
    writeln!(
        out,
        "The tracker fills the database within some seconds, or with its next start, if that is empty. To \
         take this back, remove {}.",
        data.join("adopt").display()
    )?;
    Ok(())
}

/// Compares the journal with the database.
pub fn check(config: &Config, out: &mut impl Write) -> Result<(), BooksCommandError> {
    let database = config.given_database()?.ok_or(BooksCommandError::NoDatabase)?;
    let checked = check_books(&database, &config.data, config.database_peers)?;
    describe(&checked, out)?;
    if checked.holds() { Ok(()) } else { Err(BooksCommandError::Differ) }
}

/// So many are named; the others are counted.
const NAMED_MAX: usize = 20;

fn describe(checked: &Checked, out: &mut impl Write) -> io::Result<()> {
    let Checked { records, credited, snatches, gaps, rejected, .. } = checked;
    let (first, behind) = *records;
    writeln!(out, "compared    {} records, {first} to {behind} (exclusive)", behind - first)?;
    writeln!(out, "to come     {} records, which the database has not got yet", checked.behind)?;
    writeln!(
        out,
        "credited    {} bytes up, {} down, by {} announces of {} users",
        credited.0, credited.1, checked.facts, checked.users
    )?;
    match checked.peers {
        Some(peers) => writeln!(out, "clients     {peers} compared, {} differ", checked.strayed)?,
        None => writeln!(
            out,
            "clients     not compared: there is no table of them without --database-peers"
        )?,
    }
    for Stray { user, torrent, peer_id, reported, found } in &checked.strays {
        let found = match found {
            Some((up, down)) => format!("{up} up, {down} down"),
            None => "no row".to_owned(),
        };
        writeln!(
            out,
            "  user {}, torrent {}, {}: {found}, reported {} and {}",
            user.0,
            torrent.0,
            peer_id.0.escape_ascii(),
            reported.0,
            reported.1
        )?;
    }
    writeln!(out, "snatches    {} in the journal, {} in the database", snatches.0, snatches.1)?;
    writeln!(out, "unknown     {} users who are not in the database", checked.unknown.len())?;
    for UserId(user) in checked.unknown.iter().take(NAMED_MAX) {
        writeln!(out, "  user {user}")?;
    }
    writeln!(out, "too little  {} users have less than they were credited", checked.short.len())?;
    for Short { user, credited, found } in checked.short.iter().take(NAMED_MAX) {
        writeln!(
            out,
            "  user {}: {} up, {} down, of {} and {} credited",
            user.0, found.0, found.1, credited.0, credited.1
        )?;
    }
    writeln!(out, "gaps        {} rows, {} records", gaps.0, gaps.1)?;
    writeln!(out, "rejected    {} rows, {} bytes up, {} down", rejected.0, rejected.1, rejected.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_no_books_nothing_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        for nothing in [folder.path().to_owned(), folder.path().join("missing")] {
            let error = adopt(&nothing, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, BooksCommandError::NoBooks(_)), "{error}");
            assert!(!nothing.join("adopt").exists());
        }
    }
}
