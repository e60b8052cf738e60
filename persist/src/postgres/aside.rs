//! Rows that cannot be read: put aside, said, and left alone.
//!
//! The constraints of the tables let nothing in that means nothing, but a site may drop them, and a
//! database in another encoding holds text that is none here. Such a row costs itself and nothing else. Its
//! key, where that can be read, is handed on, so that what is known under it is not taken for gone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use shard::private::{ClientPrefix, GroupId, TorrentId, UserId};

use super::DatabaseError;

/// The rows that were set aside by one load, by those keys of theirs that can be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetAside {
    /// How many, of all tables.
    pub rows: u64,
    /// Users who may announce. What is known of them stays as it is.
    pub users: HashSet<UserId>,
    /// Users whose former passkey cannot be read.
    pub formers: HashSet<UserId>,
    /// Torrents.
    pub torrents: HashSet<TorrentId>,
    /// Tokens.
    pub tokens: HashSet<(UserId, TorrentId)>,
    /// Groups of users.
    pub groups: HashSet<GroupId>,
    /// Client rules.
    pub client_rules: HashSet<ClientPrefix>,
}

/// Which row it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    User(UserId),
    Former(UserId),
    Torrent(TorrentId),
    Token(UserId, TorrentId),
    Group(GroupId),
    ClientRule(ClientPrefix),
    /// Its key cannot be read, or is nobody's business.
    None,
}

/// A row that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unread {
    pub(super) key: Key,
    /// The columns of its primary key, for people.
    pub(super) shown: String,
    /// The problem, without secrets.
    pub(super) problem: String,
    /// It is not to be used, whatever else is wrong with it: a user who may not announce.
    pub(super) disabled: bool,
}

impl SetAside {
    /// Takes note of one.
    pub(super) fn note(
        &mut self,
        table: &'static str,
        database: &str,
        unread: &Unread,
    ) -> Result<(), DatabaseError> {
        self.rows += 1;
        if self.rows > ROWS_MAX {
            // That is no bad row, it is another table.
            return Err(DatabaseError::Row {
                table,
                database: database.to_owned(),
                problem: format!(
                    "{} {}, and more than {ROWS_MAX} others",
                    unread.shown, unread.problem
                ),
            });
        }
        match unread.key {
            // What is known of one who may not announce is not to stay.
            Key::User(_) if unread.disabled => {}
            Key::User(id) => _ = self.users.insert(id),
            Key::Former(user) => _ = self.formers.insert(user),
            Key::Torrent(id) => _ = self.torrents.insert(id),
            Key::Token(user, torrent) => _ = self.tokens.insert((user, torrent)),
            Key::Group(id) => _ = self.groups.insert(id),
            Key::ClientRule(ref prefix) => _ = self.client_rules.insert(prefix.clone()),
            Key::None => {}
        }
        Ok(())
    }
}

/// Which rows were said, so that each is said once. By tables.
#[derive(Default)]
pub(super) struct Said(Mutex<HashMap<&'static str, OfTable>>);

#[derive(Default)]
struct OfTable {
    /// The problems, by keys.
    rows: BTreeMap<String, String>,
    /// How many there were when it was said last.
    count: u64,
}

/// The rows that one load set aside of one table.
#[derive(Default)]
pub(super) struct Tally {
    count: u64,
    again: HashSet<String>,
}

impl Said {
    /// Says a row, if it was not said and not too many were.
    pub(super) fn row(&self, table: &'static str, unread: &Unread) {
        self.say(table, unread);
    }

    /// The same while a whole table is read.
    pub(super) fn row_of(&self, table: &'static str, unread: &Unread, tally: &mut Tally) {
        tally.count += 1;
        if self.say(table, unread) {
            tally.again.insert(unread.shown.clone());
        }
    }

    /// A whole table was read: says how many there are, if that is another number than the last time.
    pub(super) fn end(&self, table: &'static str, tally: Tally) {
        let mut said = self.0.lock().expect("nobody panics with it");
        let said = said.entry(table).or_default();
        said.rows.retain(|row, _| tally.again.contains(row));
        if tally.count == said.count {
            return;
        }
        said.count = tally.count;
        match tally.count {
            0 => tracing::info!(table, "all rows of the table can be read again"),
            rows => tracing::warn!(
                table,
                rows,
                named = said.rows.len(),
                "rows of the database cannot be read and are left alone, with what was known of them; correct \
                 them, and put back the constraints of the table"
            ),
        }
    }

    /// Whether it is among those that are named.
    fn say(&self, table: &'static str, unread: &Unread) -> bool {
        let mut said = self.0.lock().expect("nobody panics with it");
        let said = &mut said.entry(table).or_default().rows;
        if said.get(&unread.shown) == Some(&unread.problem) {
            return true;
        }
        if said.len() >= ROWS_SAID && !said.contains_key(&unread.shown) {
            return false;
        }
        said.insert(unread.shown.clone(), unread.problem.clone());
        let Unread { shown: row, problem, .. } = unread;
        tracing::warn!(
            table,
            row,
            problem,
            "a row of the database cannot be read and is set aside"
        );
        true
    }
}

/// Rows of a table that are named in the log; of the rest, the number is.
const ROWS_SAID: usize = 10;

/// Rows that may be set aside by one load. With more of them the tables are not what they have to be, and
/// nothing is loaded.
const ROWS_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(id: u32, problem: &str) -> Unread {
        Unread {
            key: Key::User(UserId(id)),
            shown: format!("id {id}"),
            problem: problem.to_owned(),
            disabled: false,
        }
    }

    #[test]
    fn the_first_rows_of_a_table_are_said_and_each_once() {
        let said = Said::default();
        let named = |table| {
            (0..100).filter(|id| said.say(table, &unread(*id, "passkey"))).collect::<Vec<_>>()
        };
        assert_eq!(named("users"), (0..ROWS_SAID as u32).collect::<Vec<_>>());
        assert_eq!(named("users"), (0..ROWS_SAID as u32).collect::<Vec<_>>());
        assert_eq!(named("torrents").len(), ROWS_SAID);
        // Those that are mended make room.
        let mut tally = Tally::default();
        said.row_of("users", &unread(3, "passkey"), &mut tally);
        said.end("users", tally);
        assert!(said.say("users", &unread(70, "passkey")));
        let known = said.0.lock().unwrap()["users"].rows.len();
        assert_eq!((known, said.0.lock().unwrap()["users"].count), (2, 1));
    }

    #[test]
    fn a_table_that_is_another_one_is_not_loaded() {
        let mut aside = SetAside::default();
        for id in 0..ROWS_MAX as u32 {
            aside.note("users", "database", &unread(id, "passkey")).unwrap();
        }
        assert_eq!(aside.users.len() as u64, ROWS_MAX);
        assert!(aside.note("users", "database", &unread(9, "passkey")).is_err());
    }
}
