//! Who said last what is true of a user: SQL, or the site to the tracker.

use std::time::Duration;

use postgres::Client as Sql;
use serde_json::{Value, json};

use super::{CROWD, USERS, World};
use crate::nothing_lost::site::Free;
use crate::private::api::Api;
use crate::tracker::patiently;

/// What is said of users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Right {
    CanLeech,
    Hidden,
}

impl Right {
    const ALL: [Self; 2] = [Self::CanLeech, Self::Hidden];

    fn column(self) -> &'static str {
        match self {
            Self::CanLeech => "can_leech",
            Self::Hidden => "hidden",
        }
    }
}

/// All that was said, in order; the later one is true.
#[derive(Default)]
pub(super) struct Words {
    said: Vec<Word>,
    number: usize,
}

#[derive(Debug)]
struct Word {
    number: usize,
    /// `None` for all who never announce.
    user: Option<usize>,
    right: Right,
    value: bool,
    by_sql: bool,
}

impl Words {
    pub(super) fn say(&mut self, user: Option<usize>, right: Right, value: bool, by_sql: bool) {
        self.number += 1;
        self.said.push(Word { number: self.number, user, right, value, by_sql });
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The database went back to when so much had been said. What the tracker was told it writes again.
    pub(super) fn forget_sql_since(&mut self, number: usize) {
        self.said.retain(|word| !word.by_sql || word.number <= number);
    }

    fn truth(&self, user: Option<usize>, right: Right) -> bool {
        let mut about =
            self.said.iter().rev().filter(|word| (word.user, word.right) == (user, right));
        about.next().map_or(right == Right::CanLeech, |word| word.value)
    }
}

impl World<'_> {
    /// A user of whom somebody says something, and what.
    fn somebody(&mut self) -> Option<(usize, Right, bool)> {
        // Few, so that words cross.
        let user = self.rng.usize(..USERS) % 4;
        let right = Right::ALL[self.rng.usize(..2)];
        let known = !self.is_deleted(user) && self.silent != Some(user) && self.spoilt_at.is_none();
        known.then_some((user, right, self.rng.bool()))
    }

    pub(super) fn sql_says(&mut self) -> bool {
        let Some((user, right, value)) = self.somebody() else { return false };
        let (column, id) = (right.column(), self.site.id(user));
        if self.sql(&format!("UPDATE users SET {column} = {value} WHERE id = {id}")).is_none() {
            return false;
        }
        self.words.say(Some(user), right, value, true);
        self.tell(&format!("SQL: {right:?} of {user} is {value}"));
        self.done.count("sql said", 1);
        true
    }

    pub(super) fn tracker_is_told(&mut self) -> bool {
        // While the disk is full it is in force, and the site is to say it again.
        let somebody = self.somebody().filter(|_| !self.full);
        let Some((user, right, value)) = somebody else { return false };
        // What SQL said a moment ago was said in another millisecond.
        std::thread::sleep(Duration::from_millis(3));
        let (path, body) =
            (format!("users/{}", self.site.id(user)), json!({right.column(): value}));
        if self.rng.bool() || self.api().call("PATCH", &path, body).0 != 200 {
            let passkey = self.site.passkey(user);
            let said = match right {
                Right::CanLeech => format!("can_leech={}", u8::from(value)),
                Right::Hidden => format!("visible={}", u8::from(!value)),
            };
            self.say(&format!("update_user&passkey={passkey}&{said}"));
        }
        self.words.say(Some(user), right, value, false);
        self.tell(&format!("told: {right:?} of {user} is {value}"));
        self.done.count("tracker was told", 1);
        true
    }

    /// What counts on a torrent changes by SQL, and the tracker hears it before anybody speaks.
    pub(super) fn sql_says_torrent(&mut self) -> bool {
        let torrent = self.rng.usize(..self.site.torrents.len());
        // A row that the tracker is about to put in anew would not keep it.
        let anew = self.removed.contains(&torrent);
        if anew || !self.is_settled(torrent) || !self.server.up || self.server.hangs {
            return false;
        }
        self.judge.book_torrent(&self.site, torrent);
        self.site.change(&mut self.rng, torrent);
        let (id, free) = (self.site.id(torrent), freeleech(self.site.torrents[torrent].free));
        // The row may be on its way yet.
        let update =
            format!("UPDATE torrents SET freeleech = '{free}' WHERE id = {id} RETURNING id");
        patiently("the row of a torrent", || (self.sql(&update)?.len() == 1).then_some(()));
        self.said_by_sql.insert(torrent);
        let hex: String = self.site.torrents[torrent]
            .info_hash
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        patiently("what SQL said of a torrent", || {
            let (_, known) = self.api().call("GET", &format!("torrents/{hex}"), Value::Null);
            (known["freeleech"] == free).then_some(())
        });
        self.done.count("sql said of a torrent", 1);
        true
    }

    /// After a restore the site says again what counts, before anybody speaks.
    pub(super) fn say_torrents_again(&mut self) {
        for torrent in self.said_by_sql.clone() {
            self.put_torrent(torrent);
        }
    }

    pub(super) fn api(&self) -> Api {
        Api::at(self.tracker().control(), self.data.path())
    }

    /// What the tracker knows of a user.
    pub(super) fn known(&self, user: usize) -> Option<Value> {
        let path = format!("users/{}", self.site.id(user));
        let (status, known) = self.api().call("GET", &path, Value::Null);
        (status == 200).then_some(known)
    }

    /// What was said last is true, in the database and in memory.
    pub(super) fn check_words(&self, sql: &mut Sql) {
        for right in Right::ALL {
            let column = right.column();
            for user in (0..USERS).filter(|user| !self.is_deleted(*user)) {
                let truth = self.words.truth(Some(user), right);
                let query = format!("SELECT {column} FROM users WHERE id = $1");
                let id = i64::from(self.site.id(user));
                let found: bool = sql.query_one(&query, &[&id]).unwrap().get(0);
                assert_eq!(found, truth, "{column} of user {user} in the database");
                patiently(&format!("{column} of user {user} to be {truth} in memory"), || {
                    (self.known(user)?[column] == truth).then_some(())
                });
            }
            let truth = self.words.truth(None, right);
            let query =
                format!("SELECT count(*) FROM users WHERE id >= {CROWD} AND {column} <> {truth}");
            let others: i64 = sql.query_one(&query, &[]).unwrap().get(0);
            assert_eq!(others, 0, "{column} of those who never announce");
        }
    }
}

fn freeleech(free: Free) -> &'static str {
    match free {
        Free::None => "none",
        Free::Downloads => "free",
        Free::Neutral => "neutral",
    }
}
