//! What staff does by SQL to the figures and rows of users.

use std::collections::BTreeMap;

use postgres::error::SqlState;
use postgres::{Client as Sql, NoTls, Row};

use super::words::Right;
use super::{CROWD, USERS, World};
use crate::nothing_lost::client::Client;
use crate::tracker::patiently;

/// What staff has done, as the database has it: it goes back with the database.
#[derive(Clone, Default)]
pub(super) struct Staff {
    /// Bytes of upload that users were given.
    given: BTreeMap<usize, u64>,
    /// What a user had who was deleted.
    deleted: Option<(u64, u64)>,
    /// A user's upload was set to nearly the largest number; what he was owed then.
    rich: Option<u64>,
    /// The row of a user cannot be read.
    pub(super) spoilt: bool,
}

/// Who of the users is meant.
#[derive(Clone, Copy)]
pub(super) struct Special {
    deleted: usize,
    rich: usize,
    spoilt: usize,
}

/// What a column can hold.
const MOST: u64 = i64::MAX as u64;

/// How far a rich user is from that.
const ROOM: u64 = 100_000;

impl Special {
    pub(super) fn of(rng: &mut fastrand::Rng) -> Self {
        let first = rng.usize(..USERS);
        let at = |step| (first + step) % USERS;
        Self { deleted: at(0), rich: at(1), spoilt: at(2) }
    }
}

impl World<'_> {
    /// Staff says something by SQL, and again when it is in the way of somebody; nothing where the database
    /// does not answer.
    pub(super) fn sql(&mut self, statement: &str) -> Option<Vec<Row>> {
        if !self.server.up || self.server.hangs {
            return None;
        }
        // What the tracker said a moment ago was said in another millisecond.
        std::thread::sleep(std::time::Duration::from_millis(3));
        let mut sql = Sql::connect(&self.server.url, NoTls).unwrap();
        sql.batch_execute(&format!("SET search_path TO {}; SET lock_timeout TO '2s'", self.schema))
            .unwrap();
        Some(patiently("a lock", || match sql.query(statement, &[]) {
            Ok(rows) => Some(rows),
            Err(error) => {
                let code = error.code().cloned();
                let locked = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];
                assert!(code.is_some_and(|code| locked.contains(&code)), "{statement}: {error}");
                None
            }
        }))
    }

    /// So many users who never announce that what is said of all is more than notices can say.
    /// Those who do are in the database before, so that SQL can say something of them.
    pub(super) fn add_crowd(&mut self) {
        patiently("users and torrents in the database", || {
            let count = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM torrents)";
            let rows = self.sql(count)?[0].get::<_, i64>(0);
            (rows as usize == USERS + self.site.torrents.len()).then_some(())
        });
        self.sql(&format!(
            "INSERT INTO users (id, passkey) SELECT n, lpad('c' || n, 32, '0') \
             FROM generate_series({CROWD}, {CROWD} + 1199) AS n"
        ));
    }

    /// One in three users is in a group whose users may download one torrent at a time.
    pub(super) fn bound_downloads(&mut self) {
        self.sql("INSERT INTO user_groups VALUES (3, 'New', 1)");
        let join = "UPDATE users SET group_id = 3 WHERE id % 3 = 0";
        self.sql(&format!("{join} AND id < {CROWD}"));
    }

    pub(super) fn give(&mut self) -> bool {
        let bytes = self.rng.u64(1..1 << 30);
        // As nobody else could get it.
        let given = format!(
            "UPDATE users SET uploaded = uploaded + {bytes} WHERE uploaded < 1::bigint << 62"
        );
        if self.sql(&given).is_none() {
            return false;
        }
        for user in 0..USERS {
            let is_rich = user == self.special.rich && self.staff.rich.is_some();
            if !self.is_deleted(user) && !is_rich {
                *self.staff.given.entry(user).or_default() += bytes;
            }
        }
        self.done.count("upload given", 1);
        true
    }

    /// One statement about all users.
    pub(super) fn change_all(&mut self) -> bool {
        let hidden = self.rng.bool();
        if self.sql(&format!("UPDATE users SET hidden = {hidden}")).is_none() {
            return false;
        }
        let users = (0..USERS).map(Some).chain([None]);
        users.for_each(|user| self.words.say(user, Right::Hidden, hidden, true));
        self.done.count("all users changed", 1);
        true
    }

    /// A user's row becomes one that the tracker sets aside; the next time it is mended. His clients say
    /// nothing meanwhile: after a restart they are refused, and where they were is forgotten.
    pub(super) fn spoil_or_mend(&mut self) -> bool {
        let user = self.special.spoilt;
        if self.spoilt_at.is_some() {
            return self.mend();
        }
        if !self.is_settled_user(user) {
            return false;
        }
        let statement = format!("UPDATE users SET passkey = 'x' WHERE id = {}", self.site.id(user));
        if self.sql("ALTER TABLE users DROP CONSTRAINT IF EXISTS users_passkey_check").is_none()
            || self.sql(&statement).is_none()
        {
            return false;
        }
        self.staff.spoilt = true;
        self.spoilt_at = Some(self.starts);
        self.done.count("user unreadable", 1);
        // To be mended.
        false
    }

    /// Whatever the database has of it, after restores: the user is as he was.
    pub(super) fn mend(&mut self) -> bool {
        let user = self.special.spoilt;
        // All is compared with the database when the journal has it, which a full disk may hold up.
        if self.full || !self.mend_row() {
            return false;
        }
        let passkey = self.site.passkey(user);
        patiently("a user whose row was mended", || {
            self.known(user).is_some_and(|known| known["passkey"] == *passkey).then_some(())
        });
        if self.spoilt_at.take() != Some(self.starts) {
            // Of those whom a start did not know, the tracker forgets the clients, sooner or later.
            for client in self.clients.iter_mut().filter(|client| client.user == user) {
                client.give_up();
            }
            self.is_unsure_of(user);
        }
        self.done.count("user mended", 1);
        true
    }

    pub(super) fn mend_row(&mut self) -> bool {
        let (passkey, id) = {
            let user = self.special.spoilt;
            (self.site.passkey(user), self.site.id(user))
        };
        let mended = format!("UPDATE users SET passkey = '{passkey}' WHERE id = {id}");
        let done = self.sql(&mended).is_some();
        self.staff.spoilt &= !done;
        done
    }

    /// A user goes by SQL, and what his clients have moved and the database has not got yet stays in the table
    /// of what nobody took.
    pub(super) fn delete_user(&mut self) -> bool {
        let user = self.special.deleted;
        if self.silent == Some(user) || !self.speak_now(user) || !self.is_settled_user(user) {
            return false;
        }
        let id = self.site.id(user);
        let deleted = format!("DELETE FROM users WHERE id = {id} RETURNING uploaded, downloaded");
        let Some(rows) = self.sql(&deleted) else { return false };
        let bytes = |at: usize| rows[0].get::<_, i64>(at).cast_unsigned();
        self.staff.deleted = Some((bytes(0), bytes(1)));
        self.silent = Some(user);
        self.is_unsure_of(user);
        self.done.count("user deleted", 1);
        true
    }

    pub(super) fn make_rich(&mut self) -> bool {
        let user = self.special.rich;
        let set = format!(
            "UPDATE users SET uploaded = {} WHERE id = {}",
            MOST - ROOM,
            self.site.id(user)
        );
        if self.sql(&set).is_none() {
            return false;
        }
        self.staff.rich = Some(self.owed(user).0);
        self.done.count("upload near the end", 1);
        true
    }

    pub(super) fn is_deleted(&self, user: usize) -> bool {
        user == self.special.deleted && self.staff.deleted.is_some()
    }

    /// Who says nothing: nobody would hear him, or not for long.
    pub(super) fn is_silent(&self, client: &Client) -> bool {
        self.silent == Some(client.user)
            || self.spoilt_at.is_some() && client.user == self.special.spoilt
    }

    fn is_settled_user(&self, user: usize) -> bool {
        let mut clients = self.clients.iter().filter(|client| client.user == user);
        !self.full && clients.all(Client::is_settled)
    }

    /// Which of a user's clients the tracker still takes for present depends on its sweep.
    fn is_unsure_of(&mut self, user: usize) {
        let clients = self.clients.iter().filter(|client| client.user == user);
        self.unsure.extend(clients.map(|client| client.torrent));
    }

    /// What the judge says that a user was credited until now.
    fn owed(&mut self, user: usize) -> (u64, u64) {
        self.judge.book_all(&self.site);
        self.judge.users.get(&user).copied().unwrap_or_default()
    }

    /// What users have to have in the end, but for those who are checked here.
    pub(super) fn settle_accounts(&mut self, sql: &mut Sql) -> BTreeMap<usize, (u64, u64)> {
        let Special { deleted, rich, .. } = self.special;
        let mut expected = BTreeMap::new();
        for user in 0..USERS {
            let (up, down) = self.owed(user);
            let given = self.staff.given.get(&user).copied().unwrap_or_default();
            expected.insert(user, (up + given, down));
        }
        let id = |user: usize| i64::from(self.site.id(user));
        let sums = "SELECT coalesce(sum(uploaded), 0)::bigint, coalesce(sum(downloaded), 0)::bigint \
                    FROM rejected WHERE user_id = $1 AND part = 'credit'";
        let kept = sql.query_one(sums, &[&id(deleted)]).unwrap();
        let bytes = |at: usize| kept.get::<_, i64>(at).cast_unsigned();
        let kept = (bytes(0), bytes(1));
        match self.staff.deleted {
            Some((up, down)) => {
                let whole = (up + kept.0, down + kept.1);
                assert_eq!(
                    whole, expected[&deleted],
                    "of user {deleted}, who was deleted with {up}"
                );
                expected.remove(&deleted);
                self.done.count("bytes of a deleted user kept", kept.0 + kept.1);
            }
            None => assert_eq!(kept, (0, 0), "user {deleted} is there"),
        }
        if let Some(before) = self.staff.rich {
            let (up, down) = expected.remove(&rich).unwrap();
            let query = "SELECT uploaded, downloaded FROM users WHERE id = $1";
            let row = sql.query_one(query, &[&id(rich)]).unwrap();
            let found =
                (row.get::<_, i64>(0).cast_unsigned(), row.get::<_, i64>(1).cast_unsigned());
            let given = self.staff.given.get(&rich).copied().unwrap_or_default();
            // What he was owed and the database did not have yet came on top of that.
            let least = (MOST - ROOM + (up - given - before)).min(MOST);
            assert!(
                (least..=MOST).contains(&found.0),
                "{found:?} of rich user {rich}, and {least}"
            );
            assert_eq!(found.1, down, "downloaded of rich user {rich}");
        }
        // What was said of a user just before SQL deleted him comes too late, and is kept there (README, "Who wins").
        let others = "SELECT to_jsonb(rejected)::text FROM rejected
            WHERE user_id IS DISTINCT FROM $1
            AND NOT (part = 'change' AND sqlstate = '02000'
                AND (record->'user'->>'id')::bigint = $1)";
        let others = sql.query(others, &[&id(deleted)]).unwrap();
        let others: Vec<String> = others.iter().map(|row| row.get(0)).collect();
        assert_eq!(
            others,
            Vec::<String>::new(),
            "rejected; {deleted} is the deleted, {rich} the rich user"
        );
        expected
    }
}
