//! Compares what the tracker knows of users, their former passkeys, torrents, tokens and client rules with the
//! database, and takes over what differs: what the site changed by SQL while nobody heard it.
//!
//! The database may be behind: what was changed through the tracker is in memory first, then in the
//! journal, then there. So the cores begin to note what changes; then everything before is brought into the
//! journal, and from there into the database; then it is read. What differs is the site's doing, unless it
//! was noted. Nothing stops meanwhile: cores send what they have in pieces, and are told what differs some
//! at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use persist::postgres::{Home, SetAside, Stored};
use persist::{Database, DatabaseError, LedgerStatus, Trouble, journal};
use shard::private::{
    Change, ClientPrefix, GroupId, HeldToken, Rules, Terms, TorrentId, User, UserId,
};
use shard::{InfoHash, Seconds};

use super::REASONS_KEPT;
use crate::config::Config;
use crate::core::mesh::Address;
use crate::core::mesh::barrier::{self, HAND_OVER_PATIENCE, Unreached};
use crate::core::mesh::message::Exported;
use crate::core::mesh::message::{Command, Differing, Message};
use crate::private::site::Site;
use crate::private::users::accounts::Accounts;
use crate::private::users::formers::Former;
use crate::private::users::groups::Group;
use crate::process::clock::Clock;
use crate::process::thread;
use ops::log::ErrorChain;

/// How long the database may take until it has what the journal had.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(60);

/// How soon it is tried again after it failed, at the latest.
const RETRY: Duration = Duration::from_secs(60);

/// Users who are named in one line of the log.
const NAMED_MAX: usize = 1000;

/// Differences that a core is told at once, and the time until it is told more.
const DIFFERENCES: usize = 32;
const DIFFERENCES_PAUSE: Duration = Duration::from_millis(5);

/// Pieces of the cores' rules on their way.
const PIECES_MAX: usize = 16;

/// What is compared, and with what.
#[derive(Clone)]
pub(crate) struct Compared {
    pub(crate) database: Database,
    pub(crate) home: Home,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) site: Arc<Site>,
    pub(crate) journal: Arc<journal::Status>,
    pub(crate) ledger: Arc<dyn Fn() -> LedgerStatus + Send + Sync>,
}

/// When it is done next; one at a time, on a thread of its own.
pub(crate) struct Reconciliation {
    compared: Option<Compared>,
    every: Option<Duration>,
    due: Option<Instant>,
    under_way: bool,
    done: OnDone,
}

/// Who is told, on that thread, what came of it.
type OnDone = Arc<dyn Fn(Result<Differed, ReconcileError>) + Send + Sync>;

/// How many differed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Differed {
    users_added: usize,
    users_changed: usize,
    users_gone: usize,
    /// What is here is newer than what was read; it is compared again soon.
    users_postponed: usize,
    torrents_added: usize,
    torrents_changed: usize,
    torrents_gone: usize,
    tokens_added: usize,
    tokens_gone: usize,
    client_rules: usize,
    groups: usize,
    former_passkeys: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("nobody knows what the database lacks")]
    NotHandedOver(#[source] Unreached),
    #[error(
        "the database has not got yet what the journal had; it is at record {position:?} of {end}"
    )]
    Behind { position: Option<u64>, end: u64 },
    #[error("a core ended before it had sent all of its rules")]
    Incomplete,
}

impl From<Unreached> for ReconcileError {
    fn from(unreached: Unreached) -> Self {
        Self::NotHandedOver(unreached)
    }
}

impl Reconciliation {
    /// Of a private tracker; of an open one nothing is ever due.
    pub(crate) fn new(compared: Option<Compared>, config: &Config, done: OnDone) -> Self {
        let every = config.database_reconcile.filter(|_| compared.is_some());
        let due = every.map(|every| Instant::now() + every);
        Self { compared, every, due, under_way: false, done }
    }

    /// When the next one is to be started; `None` while one is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.under_way)
    }

    /// Something may have been missed.
    pub(crate) fn is_wanted(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Starts one.
    pub(crate) fn start(&mut self, cores: Vec<Address<Message>>, clock: Clock) {
        self.due = self.every.map(|every| Instant::now() + every);
        let Some(compared) = self.compared.clone().filter(|_| !self.under_way) else { return };
        let (done, now) = (self.done.clone(), clock.now());
        let compare = move || {
            thread::give_way();
            let work = Work { compared: &compared, cores: &cores, now };
            done(work.run());
        };
        let thread = std::thread::Builder::new().name("margay-compare".to_owned());
        match thread.spawn(compare) {
            Ok(_) => self.under_way = true,
            Err(error) => {
                if let Some(times) = UNCOMPARED.again("thread") {
                    tracing::error!(%error, times, "cannot start a thread to compare with the database");
                }
            }
        }
    }

    /// Takes note of how it went.
    pub(crate) fn done(&mut self, result: Result<Differed, ReconcileError>) {
        self.under_way = false;
        if result.as_ref().is_ok_and(|differed| differed.users_postponed > 0) {
            self.again();
        }
        match result {
            Ok(differed) if Differed { users_postponed: 0, ..differed } == Differed::default() => {}
            Ok(differed) => tracing::info!(
                users_added = differed.users_added,
                users_changed = differed.users_changed,
                users_gone = differed.users_gone,
                torrents_added = differed.torrents_added,
                torrents_changed = differed.torrents_changed,
                torrents_gone = differed.torrents_gone,
                tokens_added = differed.tokens_added,
                tokens_gone = differed.tokens_gone,
                client_rules = differed.client_rules,
                groups = differed.groups,
                former_passkeys = differed.former_passkeys,
                "took over from the database what had changed there"
            ),
            Err(error) => {
                if let Some(times) = UNCOMPARED.again("") {
                    tracing::warn!(
                        error = %ErrorChain(&error),
                        times,
                        "cannot compare users and torrents with the database; trying again"
                    );
                }
                self.again();
            }
        }
    }

    fn again(&mut self) {
        let again = Instant::now() + RETRY;
        self.due = Some(self.due.map_or(again, |due| due.min(again)));
    }
}

static UNCOMPARED: Trouble = Trouble::new();

/// One comparison.
struct Work<'a> {
    compared: &'a Compared,
    cores: &'a [Address<Message>],
    now: Seconds,
}

/// A torrent's second name, rules and figures.
type Row = (Option<InfoHash>, Terms, (u32, i64));

/// What the database says.
#[derive(Default)]
struct Books {
    users: HashSet<UserId>,
    torrents: HashMap<InfoHash, Row>,
    tokens: HashMap<(UserId, InfoHash), (TorrentId, Option<Seconds>)>,
    reasons: HashMap<InfoHash, String>,
    client_rules: BTreeMap<ClientPrefix, bool>,
    groups: BTreeMap<GroupId, Group>,
    formers: HashMap<UserId, Former>,
    /// What it has, and nobody can read: what is known of it stays.
    unread: SetAside,
}

impl Work<'_> {
    fn run(&self) -> Result<Differed, ReconcileError> {
        // A start without the database may have left that to do.
        self.compared.database.admit(&self.compared.home, None)?;
        self.compared.accounts.watch_changes(true);
        let result = barrier::tell_all(self.cores, &Command::WatchChanges(true))
            .map_err(ReconcileError::from)
            .and_then(|()| self.compare());
        self.compared.accounts.watch_changes(false);
        barrier::tell_all(self.cores, &Command::WatchChanges(false))?;
        result
    }

    fn compare(&self) -> Result<Differed, ReconcileError> {
        let rules_version = self.compared.site.rules_version();
        let groups_version = self.compared.accounts.groups().version();
        barrier::hand_over(self.cores, HAND_OVER_PATIENCE)?;
        let end = self.compared.journal.durable();
        self.await_ledger(end)?;

        let (mut differed, mut books) = (Differed::default(), Books::default());
        let mut users = Vec::new();
        let journal = self.compared.journal.id();
        let loaded = self.compared.database.load(journal, self.now - REASONS_KEPT, |stored| {
            self.look_at(stored, &mut books, &mut users);
        })?;
        // The ledger may have been there before the database was restored. What counts is what was read.
        let position = loaded.position;
        let ours = |position| position >= end && self.compared.journal.wrote(position, loaded.life);
        if !position.is_some_and(ours) {
            return Err(ReconcileError::Behind { position, end });
        }
        self.leave_alone(loaded.set_aside, &mut books);
        differed.groups = self.compared.accounts.groups().replace(groups_version, &books.groups);
        self.take_users(users, &books, &mut differed)?;
        self.take_formers(&books, &mut differed);
        let differing = self.compare_torrents(&mut books, &mut differed)?;
        for some in differing.chunks(DIFFERENCES) {
            barrier::tell_all(self.cores, &Command::Differing(Arc::new(some.to_vec())))?;
            std::thread::sleep(DIFFERENCES_PAUSE);
        }
        let rules = self.compared.site.replace_rules(rules_version, books.client_rules);
        if let Some((count, rules)) = rules {
            differed.client_rules = count;
            barrier::tell_all(self.cores, &Command::ClientRules(rules))?;
        }
        Ok(differed)
    }

    fn await_ledger(&self, end: u64) -> Result<(), ReconcileError> {
        let until = Instant::now() + CATCH_UP_PATIENCE;
        loop {
            let position = (self.compared.ledger)().position;
            if position.is_some_and(|position| position >= end) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(ReconcileError::Behind { position, end });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Groups and client rules that cannot be read are taken for what is known of them.
    fn leave_alone(&self, unread: SetAside, books: &mut Books) {
        for group in &unread.groups {
            let known = self.compared.accounts.groups().get(*group);
            books.groups.entry(*group).or_insert(known.unwrap_or_default());
        }
        for prefix in &unread.client_rules {
            if let Some(known) = self.compared.site.rule(prefix) {
                books.client_rules.entry(prefix.clone()).or_insert(known);
            }
        }
        books.unread = unread;
    }

    /// Keeps what is compared later; users who differ are kept in whole.
    fn look_at(&self, stored: Stored, books: &mut Books, users: &mut Vec<Change>) {
        match stored.change {
            Change::User { id, passkey, can_leech, hidden, enabled, group } => {
                let accounts = &self.compared.accounts;
                let user = User { id, can_leech, hidden, group };
                books.users.insert(id);
                let same = accounts.known(id).is_some_and(|known| {
                    (known.user, known.passkey, known.enabled) == (user, passkey, enabled)
                });
                if !same || accounts.holder(&passkey) != Some(id) {
                    users.push(stored.change);
                }
            }
            Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent } => {
                let terms = Terms { id, freeleech, upload_percent };
                let figures = (stored.figures.snatches, stored.figures.balance);
                books.torrents.insert(info_hash, (info_hash_v2, terms, figures));
            }
            Change::TorrentRemoved { info_hash, reason, .. } => {
                books.reasons.insert(info_hash, reason);
            }
            Change::Token { user, torrent, info_hash, expires_at } => {
                books.tokens.insert((user, info_hash), (torrent, expires_at));
            }
            Change::ClientRule { prefix, allow } => _ = books.client_rules.insert(prefix, allow),
            Change::Group { id, name, downloads_max } => {
                books.groups.insert(id, Group::named(&name, downloads_max));
            }
            Change::Former { user, passkey, good_until } => {
                books.formers.insert(user, Former { passkey, good_until });
            }
            Change::FormerRemoved { .. }
            | Change::GroupRemoved { .. }
            | Change::TokenRemoved { .. }
            | Change::ClientRuleRemoved { .. } => {}
        }
    }

    fn take_users(
        &self,
        users: Vec<Change>,
        books: &Books,
        differed: &mut Differed,
    ) -> Result<(), ReconcileError> {
        let accounts = &self.compared.accounts;
        let mut gone = Vec::new();
        accounts.for_each(|known| {
            let id = known.user.id;
            if !books.users.contains(&id) && !books.unread.users.contains(&id) {
                gone.push(id);
            }
        });
        if !gone.is_empty() {
            let named: Vec<u32> = gone.iter().take(NAMED_MAX).map(|id| id.0).collect();
            tracing::warn!(
                count = gone.len(),
                users = ?named,
                "these users were known here and are not in the database any more: they may not announce. After a \
                 restore, those who came after the backup are missing there"
            );
        }
        for id in gone {
            if accounts.remove_unless_changed(id) {
                differed.users_gone += 1;
                barrier::tell_all(self.cores, &Command::UserGone(id))?;
            }
        }
        for change in users {
            let Change::User { id, passkey, can_leech, hidden, enabled, group } = change else {
                continue;
            };
            let user = User { id, can_leech, hidden, group };
            let was_there = accounts.passkey(id).is_some();
            if accounts.put_unless_changed(passkey, user, enabled) {
                differed.users_changed += usize::from(was_there);
                differed.users_added += usize::from(!was_there);
                let command = if enabled { Command::Rights(user) } else { Command::UserGone(id) };
                barrier::tell_all(self.cores, &command)?;
            } else {
                differed.users_postponed += 1;
            }
        }
        Ok(())
    }

    /// Those that are over are read nowhere, and differ from nothing.
    fn take_formers(&self, books: &Books, differed: &mut Differed) {
        let accounts = &self.compared.accounts;
        let mut others: Vec<(UserId, Option<Former>)> = Vec::new();
        accounts.for_each_former(|user, former| {
            let is_good = self.now < former.good_until;
            let is_left =
                books.unread.formers.contains(&user) || books.unread.users.contains(&user);
            if is_good && !is_left && !books.formers.contains_key(&user) {
                others.push((user, None));
            }
        });
        for (user, former) in &books.formers {
            if accounts.former(*user) != Some(*former) {
                others.push((*user, Some(*former)));
            }
        }
        for (user, former) in others {
            match accounts.put_former_unless_changed(user, former) {
                true => differed.former_passkeys += 1,
                false => differed.users_postponed += 1,
            }
        }
    }

    /// Holds what the cores have against the books, from which it is taken; what differs.
    fn compare_torrents(
        &self,
        books: &mut Books,
        differed: &mut Differed,
    ) -> Result<Vec<Differing>, ReconcileError> {
        let (sender, pieces) = crossbeam_channel::bounded(PIECES_MAX);
        barrier::tell_all(self.cores, &Command::Rules(sender))?;
        let mut differing = Vec::new();
        let mut finished = 0;
        for exported in &pieces {
            match exported {
                Exported::Piece(rules) => {
                    self.compare_rules(rules, books, differed, &mut differing)
                }
                Exported::End => finished += 1,
            }
        }
        if finished < self.cores.len() {
            return Err(ReconcileError::Incomplete);
        }
        for (info_hash, (second, terms, figures)) in books.torrents.drain() {
            differed.torrents_added += 1;
            let change = torrent(info_hash, second, terms);
            differing.push(Differing { change, figures: Some(figures) });
        }
        for ((user, info_hash), (torrent, expires_at)) in books.tokens.drain() {
            differed.tokens_added += 1;
            let change = Change::Token { user, torrent, info_hash, expires_at };
            differing.push(Differing { change, figures: None });
        }
        Ok(differing)
    }

    fn compare_rules(
        &self,
        rules: Rules,
        books: &mut Books,
        differed: &mut Differed,
        differing: &mut Vec<Differing>,
    ) {
        let mut differs = |change| differing.push(Differing { change, figures: None });
        for (info_hash, second, terms) in rules.torrents {
            match books.torrents.remove(&info_hash) {
                Some((name, expected, _)) if (name, expected) == (second, terms) => {}
                Some((name, expected, _)) => {
                    differed.torrents_changed += 1;
                    differs(torrent(info_hash, name, expected));
                }
                None if books.unread.torrents.contains(&terms.id) => {}
                None => {
                    differed.torrents_gone += 1;
                    let reason = books.reasons.remove(&info_hash).unwrap_or_default();
                    let (id, at) = (terms.id, self.now);
                    differs(Change::TorrentRemoved { id, info_hash, reason, at });
                }
            }
        }
        for HeldToken { user, torrent, info_hash, expires_at } in rules.tokens {
            match books.tokens.remove(&(user, info_hash)) {
                Some((_, expected)) if expected == expires_at => {}
                Some((_, expires_at)) => {
                    differed.tokens_added += 1;
                    differs(Change::Token { user, torrent, info_hash, expires_at });
                }
                // One that is over by itself is dropped by the sweep.
                None if expires_at.is_some_and(|at| at <= self.now) => {}
                None if books.unread.tokens.contains(&(user, torrent))
                    || books.unread.torrents.contains(&torrent) => {}
                None => {
                    differed.tokens_gone += 1;
                    differs(Change::TokenRemoved { user, torrent, info_hash });
                }
            }
        }
    }
}

fn torrent(info_hash: InfoHash, info_hash_v2: Option<InfoHash>, terms: Terms) -> Change {
    let Terms { id, freeleech, upload_percent } = terms;
    Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent }
}
