//! Hears of what the site changes by SQL, as soon as it is committed.
//!
//! Triggers send a notice for each row (`migrations/0002_notices.sql` and later ones). A notice names the row and says
//! nothing about it, so the row is read again, and what is handed over is what is true now. Notices that
//! were given while nobody listened are lost: whenever a connection is new, everything has to be compared.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::postgres::Client;
use ::postgres::fallible_iterator::FallibleIterator;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use shard::private::{Change, ClientPrefix, GroupId, TorrentId, UserId};
use shard::{InfoHash, Seconds};

use super::heard::{Heard, Moment};
use super::rows::{self, Table};
use super::settings::quote;
use super::{Backoff, Database, DatabaseError, text_of};

/// What the site did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A row as it is now. It is for memory only: in the journal, it would come to the database again,
    /// over whatever the site writes next.
    Change(Change),
    /// The row of a user is gone. (Of one who may not announce any more, the row is handed over.)
    UserGone(UserId),
    /// More has changed than notices can say, or notices may be missing: load, and compare.
    Reload,
}

/// How the watch is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchStatus {
    /// There is a connection.
    pub connected: bool,
    /// Notices of rows so far.
    pub notices: u64,
    /// How often everything had to be compared, connections included.
    pub reloads: u64,
    /// Why there was no connection the last time.
    pub last_error: Option<String>,
}

/// A thread that listens. It reconnects for ever, at the latest after some ten seconds.
#[derive(Debug)]
pub struct Watch {
    status: Arc<Mutex<WatchStatus>>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts the thread. It connects, says [`Seen::Reload`], and then `seen` is called for each change;
    /// it may take its time, notices wait in the connection.
    pub fn start(database: Database, seen: impl FnMut(Heard) + Send + 'static) -> io::Result<Self> {
        let status = Arc::new(Mutex::new(WatchStatus::default()));
        let (stop, stopped) = bounded(0);
        let listener = Listener { database, status: status.clone(), stopped, seen };
        let thread =
            thread::Builder::new().name("margay-watch".into()).spawn(move || listener.run())?;
        Ok(Self { status, stop, thread })
    }

    /// How it is doing.
    pub fn status(&self) -> WatchStatus {
        self.status.lock().expect("nobody panics with it").clone()
    }

    /// The same for somebody elsewhere, also when the thread has ended.
    pub fn watch_status(&self) -> impl Fn() -> WatchStatus + Send + Sync + use<> {
        let status = self.status.clone();
        move || status.lock().expect("nobody panics with it").clone()
    }

    /// Ends the thread. One that waits for the database longer than `patience` is left alone, and ends
    /// when that answers.
    pub fn stop(self, patience: Duration) {
        drop(self.stop);
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

struct Listener<F> {
    database: Database,
    status: Arc<Mutex<WatchStatus>>,
    stopped: Receiver<()>,
    seen: F,
}

impl<F: FnMut(Heard)> Listener<F> {
    fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.stops_within(Duration::ZERO) {
            let Err(error) = self.listen(&mut backoff) else { return };
            let wait = backoff.next();
            let text = text_of(&error);
            if backoff.is_news(&text) {
                tracing::warn!(error = text, again_in = ?wait, "cannot hear of changes in the database");
            }
            self.set(|status| {
                status.connected = false;
                status.last_error = Some(text);
            });
            if self.stops_within(wait) {
                return;
            }
        }
    }

    /// Returns when it is told to stop.
    fn listen(&mut self, backoff: &mut Backoff) -> Result<(), DatabaseError> {
        let database = self.database.clone();
        let failed = database.failed("listen to changes");
        let mut client = database.connect("watch")?;
        let channel = quote(&format!("{}_changes", database.schema()));
        client.batch_execute(&format!("LISTEN {channel}")).map_err(&failed)?;
        backoff.reset();
        self.set(|status| {
            status.connected = true;
            status.reloads += 1;
        });
        // Only now: what is committed from here on comes with a notice.
        (self.seen)(Heard { seen: Seen::Reload, moment: Arc::default() });

        while !self.stops_within(Duration::ZERO) {
            let mut notices = Notices::default();
            let mut wait = POLL;
            loop {
                let mut waiting = client.notifications();
                let mut waiting = waiting.timeout_iter(wait);
                let Some(notification) = waiting.next().map_err(&failed)? else { break };
                notices.add(notification.payload());
                // More of the same transaction are already there.
                wait = Duration::ZERO;
                if notices.count >= NOTICES_MAX {
                    break;
                }
            }
            if notices.count > 0 {
                self.tell(&mut client, notices)?;
            } else if client.is_closed() {
                client.batch_execute("").map_err(&failed)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, client: &mut Client, notices: Notices) -> Result<(), DatabaseError> {
        self.set(|status| {
            status.notices += notices.count as u64;
            status.reloads += u64::from(notices.reload);
        });
        if notices.reload {
            (self.seen)(Heard { seen: Seen::Reload, moment: Arc::default() });
            return Ok(());
        }
        let torrents = notices.torrents.iter().map(|(id, _)| *id);
        let moment = Moment::read(client, notices.users.iter().copied(), torrents);
        let moment = Arc::new(moment.map_err(self.database.failed("read what has changed"))?);
        for seen in self.read_again(client, &notices)? {
            (self.seen)(Heard { seen, moment: moment.clone() });
        }
        Ok(())
    }

    /// The rows of these notices, or that they are gone. Torrents come before tokens, which need them.
    fn read_again(
        &self,
        client: &mut Client,
        notices: &Notices,
    ) -> Result<Vec<Seen>, DatabaseError> {
        let mut all = Vec::new();
        self.read_client_rules(client, notices, &mut all)?;
        self.read_torrents(client, notices, &mut all)?;
        self.read_groups(client, notices, &mut all)?;
        self.read_users(client, notices, &mut all)?;
        self.read_tokens(client, notices, &mut all)?;
        Ok(all)
    }

    fn read_client_rules(
        &self,
        client: &mut Client,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.client_rules.is_empty() {
            return Ok(());
        }
        let mut gone = notices.client_rules.clone();
        let prefixes: Vec<&[u8]> = gone.iter().map(ClientPrefix::bytes).collect();
        let found =
            self.query(client, &rows::CLIENT_RULES, "AND prefix = ANY($1)", &[&prefixes])?;
        for row in &found {
            let change = self.understood(&rows::CLIENT_RULES, rows::client_rule(row))?;
            if let Change::ClientRule { prefix, .. } = &change {
                gone.remove(prefix);
            }
            all.push(Seen::Change(change));
        }
        all.extend(
            gone.into_iter().map(|prefix| Seen::Change(Change::ClientRuleRemoved { prefix })),
        );
        Ok(())
    }

    /// A torrent that changed its infohash is another torrent, and the one before is gone: so removals
    /// come first.
    fn read_torrents(
        &self,
        client: &mut Client,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.torrents.is_empty() {
            return Ok(());
        }
        let mut gone = notices.torrents.clone();
        let ids: Vec<i64> = gone.iter().map(|(id, _)| i64::from(id.0)).collect();
        let mut there = Vec::new();
        for row in &self.query(client, &rows::TORRENTS, "AND id = ANY($1)", &[&ids])? {
            let (change, _) = self.understood(&rows::TORRENTS, rows::torrent(row))?;
            if let Change::Torrent { id, info_hash, .. } = &change {
                gone.remove(&(*id, *info_hash));
            }
            there.push(Seen::Change(change));
        }
        let hashes: Vec<&[u8]> = gone.iter().map(|(_, hash)| &hash.0[..]).collect();
        let mut reasons = Vec::new();
        let table = &rows::DELETION_REASONS;
        for row in &self.query(client, table, "AND info_hash = ANY($1)", &[&hashes])? {
            let change = self.understood(table, rows::deletion_reason(row))?;
            if let Change::TorrentRemoved { info_hash, reason, .. } = change {
                reasons.push((info_hash, reason));
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Seconds(u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
        all.extend(gone.into_iter().map(|(id, info_hash)| {
            let reason = reasons.iter().find(|(hash, _)| *hash == info_hash);
            let reason = reason.map(|(_, text)| text.clone()).unwrap_or_default();
            Seen::Change(Change::TorrentRemoved { id, info_hash, reason, at })
        }));
        all.append(&mut there);
        Ok(())
    }

    /// Groups come before the users that are in them.
    fn read_groups(
        &self,
        client: &mut Client,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.groups.is_empty() {
            return Ok(());
        }
        let mut gone = notices.groups.clone();
        let ids: Vec<i16> = gone.iter().map(|id| id.0.cast_signed()).collect();
        for row in &self.query(client, &rows::USER_GROUPS, "AND id = ANY($1)", &[&ids])? {
            let change = self.understood(&rows::USER_GROUPS, rows::user_group(row))?;
            if let Change::Group { id, .. } = &change {
                gone.remove(id);
            }
            all.push(Seen::Change(change));
        }
        all.extend(gone.into_iter().map(|id| Seen::Change(Change::GroupRemoved { id })));
        Ok(())
    }

    fn read_users(
        &self,
        client: &mut Client,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.users.is_empty() {
            return Ok(());
        }
        let mut gone = notices.users.clone();
        let ids: Vec<i64> = gone.iter().map(|id| i64::from(id.0)).collect();
        let mut there = Vec::new();
        for row in &self.query(client, &rows::USERS, "AND id = ANY($1)", &[&ids])? {
            let change = self.understood(&rows::USERS, rows::user(row))?;
            if let Change::User { id, .. } = &change {
                gone.remove(id);
            }
            there.push(Seen::Change(change));
        }
        all.extend(gone.into_iter().map(Seen::UserGone));
        all.append(&mut there);
        Ok(())
    }

    fn read_tokens(
        &self,
        client: &mut Client,
        notices: &Notices,
        all: &mut Vec<Seen>,
    ) -> Result<(), DatabaseError> {
        if notices.tokens.is_empty() {
            return Ok(());
        }
        let mut gone = notices.tokens.clone();
        let (users, torrents): (Vec<i64>, Vec<i64>) =
            gone.iter().map(|(user, torrent)| (i64::from(user.0), i64::from(torrent.0))).unzip();
        let condition =
            "AND (user_id, torrent_id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))";
        for row in &self.query(client, &rows::TOKENS, condition, &[&users, &torrents])? {
            let change = self.understood(&rows::TOKENS, rows::token(row))?;
            if let Change::Token { user, torrent, .. } = &change {
                gone.remove(&(*user, *torrent));
            }
            all.push(Seen::Change(change));
        }
        // Without its torrent a token is nothing, and there is no infohash to tell of.
        let torrents: Vec<i64> = gone.iter().map(|(_, torrent)| i64::from(torrent.0)).collect();
        for row in &self.query(client, &rows::TORRENTS, "AND id = ANY($1)", &[&torrents])? {
            if let (Change::Torrent { id, info_hash, .. }, _) =
                self.understood(&rows::TORRENTS, rows::torrent(row))?
            {
                let of_it = gone.iter().filter(|(_, torrent)| *torrent == id);
                all.extend(of_it.map(|(user, torrent)| {
                    let (user, torrent) = (*user, *torrent);
                    Seen::Change(Change::TokenRemoved { user, torrent, info_hash })
                }));
            }
        }
        Ok(())
    }

    fn query(
        &self,
        client: &mut Client,
        table: &Table,
        condition: &str,
        values: &[&(dyn ::postgres::types::ToSql + Sync)],
    ) -> Result<Vec<::postgres::Row>, DatabaseError> {
        let statement = format!("{} {condition}", table.select);
        client.query(&statement, values).map_err(self.database.failed("read what has changed"))
    }

    fn understood<T>(&self, table: &Table, row: Result<T, String>) -> Result<T, DatabaseError> {
        row.map_err(|problem| DatabaseError::Row {
            table: table.name,
            database: self.database.to_string(),
            problem,
        })
    }

    fn set(&self, change: impl FnOnce(&mut WatchStatus)) {
        change(&mut self.status.lock().expect("nobody panics with it"));
    }

    fn stops_within(&self, time: Duration) -> bool {
        self.stopped.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

/// What a burst of notices names.
#[derive(Default)]
struct Notices {
    count: usize,
    reload: bool,
    users: BTreeSet<UserId>,
    groups: BTreeSet<GroupId>,
    torrents: BTreeSet<(TorrentId, InfoHash)>,
    tokens: BTreeSet<(UserId, TorrentId)>,
    client_rules: BTreeSet<ClientPrefix>,
}

impl Notices {
    /// Anybody may send anything on the channel, and what is not understood is a reason to compare.
    fn add(&mut self, payload: &str) {
        self.count += 1;
        self.reload |= self.understand(payload).is_none();
    }

    fn understand(&mut self, payload: &str) -> Option<()> {
        let mut words = payload.split(' ');
        match words.next()? {
            "users" => drop(self.users.insert(UserId(words.next()?.parse().ok()?))),
            "user_groups" => {
                let id = GroupId(words.next()?.parse().ok()?);
                self.groups.insert(Some(id).filter(|id| *id <= GroupId::MAX)?);
            }
            "torrents" => {
                let id = TorrentId(words.next()?.parse().ok()?);
                let hash = unhex(words.next()?)?.try_into().ok()?;
                self.torrents.insert((id, InfoHash(hash)));
            }
            "tokens" => {
                let user = UserId(words.next()?.parse().ok()?);
                self.tokens.insert((user, TorrentId(words.next()?.parse().ok()?)));
            }
            "client_rules" => {
                self.client_rules.insert(ClientPrefix::new(&unhex(words.next()?)?)?);
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// How long the thread may take to notice that it is to stop.
const POLL: Duration = Duration::from_millis(200);

/// Notices that are looked up together.
const NOTICES_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_a_reason_to_compare() {
        let mut notices = Notices::default();
        let hash = "00112233445566778899aabbccddeeff00112233";
        for payload in [
            "users 7",
            "users 7",
            &format!("torrents 4294967295 {hash}"),
            "tokens 1 2",
            "user_groups 32767",
            "client_rules 2d71",
        ] {
            notices.add(payload);
        }
        assert!(!notices.reload);
        assert_eq!((notices.count, notices.users.len(), notices.torrents.len()), (6, 1, 1));
        let wrong = [
            "",
            "reload",
            "users",
            "users x",
            "users 4294967296",
            "users 1 2",
            "torrents 1",
            "torrents 1 00",
            "tokens 1",
            "user_groups",
            "user_groups -1",
            "user_groups 32768",
            "client_rules",
            "client_rules zz",
            "client_rules é1",
        ];
        for payload in wrong {
            let mut notices = Notices::default();
            notices.add(payload);
            assert!(notices.reload, "{payload}");
        }
    }
}
