//! The database goes back to a copy, and so does the data folder: the rows of one run among others, and a
//! journal that is kept for it.

use std::collections::BTreeMap;

use postgres::Client as Sql;
use shard::Seconds;
use tempfile::TempDir;

use super::World;
use crate::nothing_lost::site::Site;

/// An older state of the database.
pub(super) struct DatabaseCopy {
    /// What staff had given until then.
    given: BTreeMap<usize, u64>,
}

/// An older state of the data folder.
pub(super) struct FolderCopy {
    folder: TempDir,
    /// How many records its journal had had.
    made: u64,
}

/// The tables of a run, each with the column that says whose a row is.
const TABLES: [(&str, &str); 4] =
    [("users", "id"), ("torrents", "id"), ("peers", "user_id"), ("tokens", "user_id")];

impl World<'_> {
    /// The database is copied, or goes back to its copy, whatever the ledger is doing.
    pub(super) fn copy_or_restore_database(&mut self) {
        let journal = self.tracker.journal_name();
        let range = range(&self.site);
        match self.database_copy.take() {
            None => {
                copy(self.sql, range, &journal);
                let query = "SELECT coalesce(max(next), 0)::bigint FROM copy_ledger";
                let position: i64 = self.sql.query_one(query, &[]).unwrap().get(0);
                self.tracker.keep_from(position.cast_unsigned());
                self.database_copy = Some(DatabaseCopy { given: self.given.clone() });
            }
            Some(copy) => {
                restore(self.sql, range, &journal);
                self.given.clone_from(&copy.given);
                self.done.count("database restored", 1);
                // Again, or never again. What the journal keeps it keeps, until the ledger has noticed.
                if self.rng.bool() {
                    self.database_copy = Some(copy);
                }
            }
        }
    }

    /// The data folder is copied, or goes back to its copy while the database has everything. From then on the
    /// database must not go back to a copy from before: what happened in between is nowhere else.
    pub(super) fn copy_or_restore_folder(&mut self) {
        self.sync();
        let made = self.tracker.made();
        // One that lacks nothing is not an older one.
        if self.folder_copy.as_ref().is_some_and(|copy| copy.made == made) {
            return;
        }
        let Some(FolderCopy { folder, .. }) = self.folder_copy.take() else {
            let folder = self.tracker.copy_folder(&mut self.rng);
            self.folder_copy = Some(FolderCopy { folder, made });
            return;
        };
        for at in 0..self.clients.len() {
            if !self.clients[at].is_settled() {
                self.somebody_speaks(at);
            }
            while self.clients[at].is_waiting() {
                self.somebody_speaks(at);
            }
        }
        self.write_books();
        // It takes a while, so that nothing that is said is late by what the copy says, and what came before
        // is told from what comes by the clock.
        self.now = self.now + Seconds(120);
        self.tracker.restore_folder(folder, &mut self.rng, self.now);
        self.database_copy = None;
        // The record from which on clients are measured is kept for longer than they are.
        self.tracker.keep_always(self.tracker.made());
        self.judge.measure();
        // Whom the tracker had forgotten it may know again, and who goes on would be credited, or not. Whom it
        // takes for a seeder, and who downloads again, would complete nothing.
        for client in &mut self.clients {
            let who = super::who(client);
            if !self.judge.knows(who) || self.judge.downloads_again(who) {
                client.give_up();
            }
        }
        self.load_rules();
        self.tracker.begin_measuring();
        self.is_unsure = true;
        self.gaps += 1;
        self.done.count("folder restored", 1);
    }

    /// Somebody gives a user upload by SQL.
    pub(super) fn give(&mut self) {
        let (user, bytes) = (self.rng.usize(..self.site.users), self.rng.u64(..1 << 40));
        let update = "UPDATE users SET uploaded = uploaded + $2 WHERE id = $1";
        let id = i64::from(self.site.id(user));
        // Before the ledger has written him he is not there.
        if self.sql.execute(update, &[&id, &bytes.cast_signed()]).unwrap() == 1 {
            *self.given.entry(user).or_default() += bytes;
            self.done.count("upload given", 1);
        }
    }
}

/// The first number and the last one.
fn range(site: &Site) -> (u32, u32) {
    (site.first_id, site.id(site.users.max(site.torrents.len()) - 1))
}

fn copy(sql: &mut Sql, (first, last): (u32, u32), journal: &str) {
    let tables = TABLES.map(|(table, column)| {
        format!(
            "DROP TABLE IF EXISTS copy_{table}; CREATE TEMP TABLE copy_{table} AS \
             SELECT * FROM {table} WHERE {column} BETWEEN {first} AND {last};"
        )
    });
    sql.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; {} DROP TABLE IF EXISTS copy_ledger; \
         CREATE TEMP TABLE copy_ledger AS SELECT * FROM ledger WHERE journal = '{journal}'; COMMIT",
        tables.concat()
    ))
    .unwrap();
}

/// Whoever writes the journal is let finish its batch first, by the lock that it takes first.
fn restore(sql: &mut Sql, (first, last): (u32, u32), journal: &str) {
    let tables = TABLES.map(|(table, column)| {
        format!(
            "DELETE FROM {table} WHERE {column} BETWEEN {first} AND {last}; \
             INSERT INTO {table} SELECT * FROM copy_{table};"
        )
    });
    sql.batch_execute(&format!(
        "BEGIN; SET LOCAL session_replication_role TO replica; \
         SELECT FROM ledger WHERE journal = '{journal}' FOR UPDATE; \
         DELETE FROM ledger WHERE journal = '{journal}'; INSERT INTO ledger SELECT * FROM copy_ledger; \
         {} COMMIT",
        tables.concat()
    ))
    .unwrap();
}
