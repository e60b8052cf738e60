//! The books of a private tracker: accounts, the journal, and the database behind it.
//!
//! At a start the ledger first brings into the database what the journal has and the database has not;
//! then everything is loaded from there. From then on nothing waits for the database.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use ops::counters;
use persist::journal::{
    self, Journal, JournalError, JournalSender, JournalThread, Reader, ThreadOptions,
};
use persist::ledger::JournalSource;
use persist::postgres::{Loaded, Seen, Stored, Watch, WatchStatus};
use persist::suspicion::Thresholds;
use persist::{
    DataDir, Database, DatabaseError, Ledger, LedgerOptions, LedgerStatus, Snapshot, SnapshotError,
};
use shard::private::{Change, ClientPrefix, Swarm, Terms, User, UserId};
use shard::{InfoHash, Seconds};

use super::ErrorChain;
use super::cores::Cores;
use super::reconcile::Compared;
use super::snapshots::Registers;
use crate::clock::Clock;
use crate::config::{Config, SecretError};
use crate::control::Slot;
use crate::core::message::Command;
use crate::private::accounts::Accounts;
use crate::private::calls::Calls;
use crate::private::site::Site;
use crate::route;
use crate::wire::private::ClientRules;

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// A file with a password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The database does not take what the journal has.
    #[error(
        "the database did not take within {} s what the journal still has for it: {why}",
        patience.as_secs()
    )]
    Behind {
        /// How long was waited.
        patience: Duration,
        /// What the ledger says.
        why: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Everything that is kept about users and torrents beside the swarms.
pub(super) struct Books {
    database: Database,
    journal: JournalThread,
    ledger: Ledger,
    watch: Watch,
    /// Where the operator says where the site is.
    calls: Option<Calls>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) site: Arc<Site>,
    rules: Arc<ClientRules>,
    /// What each core begins with, until it has it; nothing when the database was away.
    beginnings: Vec<Beginning>,
    /// The records that cores replay at the start.
    tail: (u64, u64),
    /// Snapshot and journal say where clients are.
    believed: bool,
    /// How large the journal may become, in bytes.
    journal_bytes_max: u64,
    /// The record that came next when the books were opened.
    opened_at: u64,
}

/// What a core begins with: its torrents, and where to read what happened on them.
#[derive(Clone, Default)]
pub(super) struct Beginning {
    pub(super) torrents: Vec<(InfoHash, Terms, Swarm)>,
    pub(super) tokens: Vec<(UserId, InfoHash, Option<Seconds>)>,
    pub(super) deletions: Vec<(InfoHash, String, Seconds)>,
}

/// What the private side of a core is made of.
#[derive(Clone)]
pub(super) struct PrivateOutfit {
    pub(super) accounts: Arc<Accounts>,
    pub(super) site: Arc<Site>,
    pub(super) rules: Arc<ClientRules>,
    pub(super) journal: JournalSender,
    pub(super) journal_dir: PathBuf,
    /// The records that are to be replayed: from, and up to.
    pub(super) journal_tail: (u64, u64),
    /// The snapshot says where clients are.
    pub(super) believed: bool,
    beginnings: Arc<Mutex<Vec<Option<Beginning>>>>,
}

impl PrivateOutfit {
    /// What the database says a core begins with; `None` when it was not asked, and when a core asks
    /// again.
    pub(super) fn beginning(&self, core: usize) -> Option<Beginning> {
        let mut beginnings = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner);
        beginnings.get_mut(core)?.take()
    }
}

/// What is logged when a start goes on without the database.
const AWAY: &str = "the database is away: starting with users and torrents of the snapshot; what the site \
    changes there by SQL meanwhile is taken over when it is back";

/// How long a start waits until the database has taken what the journal still has for it.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(120);

/// How long a stop waits for the same.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits for a call to the site that is under way; a call is made again when it is not known
/// to have succeeded.
const CALLS_STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Deletion reasons older than this are told to nobody any more.
const REASONS_KEPT: Seconds = Seconds(86_400);

impl Books {
    /// Opens the books for as many cores as there are `slots` of their counters. `seen` is called, on a thread of its own, with what the site
    /// writes into the database by itself.
    pub(super) fn open(
        config: &Config,
        data: &DataDir,
        slots: Vec<Arc<Slot>>,
        clock: Clock,
        snapshot: Option<&Snapshot>,
        seen: impl FnMut(Seen) + Send + 'static,
    ) -> Result<Self, BooksError> {
        let url =
            config.database.as_ref().expect("a private tracker has a database; it was checked");
        let password = config.given_database_password()?;
        let password = password.as_ref().map(|password| password.reveal());
        let database = Database::new(url.reveal(), password, &config.database_schema.0)?;
        let mut there = match (database.migrate(), snapshot) {
            (Ok(migrated), _) => {
                tracing::info!(%database, schema_version = migrated.to, "the database is there");
                true
            }
            (Err(error), Some(_)) => {
                tracing::error!(error = %ErrorChain(&error), "{AWAY}");
                false
            }
            (Err(error), None) => return Err(error.into()),
        };

        let options = journal::Options {
            bytes_max: config.journal_bytes_max.0 as u64,
            ..journal::Options::default()
        };
        let mut journal = Journal::open(data, options)?;
        let known = if there { database.position(journal.id())? } else { None };
        let covered = snapshot.and_then(Snapshot::covered);
        let covered = covered.filter(|covered| covered.journal == journal.id());
        // Records that others have seen already must not get the numbers of those.
        let taken = known.max(covered.map(|covered| covered.position)).unwrap_or_default();
        let has_lost = known.is_some_and(|known| known > journal.end());
        let believed = match covered {
            Some(covered) if there => !has_lost && covered.position >= journal.begin(),
            _ => !has_lost,
        };
        journal.begin_at(taken)?;
        if has_lost {
            tracing::error!(
                database = known,
                "the journal has lost records that the database has: nobody knows where clients were; their \
                 next announces are not credited"
            );
            // So that no start takes what is before for all there was.
            journal.delete_before(taken)?;
        }
        let options = ThreadOptions { sync_interval: config.journal_sync, ..Default::default() };
        let journal = JournalThread::start(journal, options).map_err(BooksError::Thread)?;
        let options = LedgerOptions {
            node: config.database_node.0.clone(),
            peers: config.database_peers,
            suspect: Thresholds {
                rate: config.suspect_rate.map(|rate| rate.0 as u64),
                upload_alone: config.suspect_upload_alone.map(|bytes| bytes.0 as u64),
                same_counters: config.suspect_same_counters.map(u32::from),
                networks: config.suspect_networks.map(u32::from),
            },
            spent_tokens: config.ocelot_site_url.is_some(),
            ..LedgerOptions::default()
        };
        let source = JournalSource::new(journal.status().clone());
        let ledger =
            Ledger::start(database.clone(), options, source).map_err(BooksError::Thread)?;
        if there && !ledger.drain(CATCH_UP_PATIENCE) {
            let why = ledger.status().last_error.unwrap_or_default();
            if snapshot.is_none() {
                return Err(BooksError::Behind { patience: CATCH_UP_PATIENCE, why });
            }
            tracing::error!(error = why, "{AWAY}");
            there = false;
        }
        let status = journal.status();
        let from = match snapshot {
            _ if !believed => status.begin(),
            Some(snapshot) => snapshot.replay_from(status.id())?,
            None if config.fresh => status.durable(),
            None => status.begin(),
        };
        let tail = (from, status.durable());

        let cores = slots.len();
        let password = config.given_ocelot_site_password()?;
        let calls = match (&config.ocelot_site_url, &password) {
            (Some(url), Some(password)) => {
                let calls = Calls::start(database.clone(), url, password);
                Some(calls.map_err(BooksError::Thread)?)
            }
            _ => None,
        };
        let site = Site::new(password, config.given_ocelot_report_password()?, slots, clock.now());
        let mut books = Self {
            watch: Watch::start(database.clone(), seen).map_err(BooksError::Thread)?,
            rules: Arc::default(),
            accounts: Arc::default(),
            site: Arc::new(site),
            beginnings: Vec::new(),
            tail,
            journal_bytes_max: config.journal_bytes_max.0 as u64,
            opened_at: journal.status().end(),
            believed,
            database: database.clone(),
            journal,
            ledger,
            calls,
        };
        match (there, snapshot) {
            (false, Some(snapshot)) => books.load_from_snapshot(snapshot)?,
            _ => {
                books.beginnings = vec![Beginning::default(); cores];
                books.load(&database, clock.now())?;
            }
        }
        Ok(books)
    }

    fn load(&mut self, database: &Database, now: Seconds) -> Result<(), BooksError> {
        let began = Instant::now();
        let mut rules: Vec<(ClientPrefix, bool)> = Vec::new();
        let journal = self.journal.status().id();
        let loaded: Loaded = database.load(journal, now - REASONS_KEPT, |stored| {
            self.take(stored, &mut rules);
        })?;
        self.rules = self.site.change_rules(|known| known.extend(rules));
        tracing::info!(
            users = loaded.users,
            torrents = loaded.torrents,
            tokens = loaded.tokens,
            groups = loaded.groups,
            client_rules = loaded.client_rules,
            seconds = began.elapsed().as_secs_f64(),
            "users and torrents loaded from the database"
        );
        Ok(())
    }

    /// Takes users and client rules from the snapshot, and from what the journal has after it.
    fn load_from_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), BooksError> {
        let mut rules: Vec<(ClientPrefix, bool)> = Vec::new();
        snapshot.accounts(|passkey, user| self.accounts.put(passkey, user))?;
        snapshot.groups(|id, downloads_max| self.accounts.groups().put(id, downloads_max))?;
        snapshot.client_rules(|prefix, allow| rules.push((prefix, allow)))?;
        self.rules = self.site.change_rules(|known| known.extend(rules));
        let (from, to) = self.tail;
        if from < to {
            let mut reader = Reader::open(self.journal.status().dir(), from)?;
            while reader.position() < to
                && let Some((_, record)) = reader.read()?
            {
                if let journal::Record::Change(change) = record {
                    self.put(change);
                }
            }
        }
        tracing::info!(users = self.accounts.len(), "users loaded from the snapshot");
        Ok(())
    }

    /// Does what a change says of a user or a client rule.
    fn put(&mut self, change: Change) {
        match change {
            Change::User { id, passkey, can_leech, hidden, enabled: true, group } => {
                self.accounts.put(passkey, User { id, can_leech, hidden, group });
            }
            Change::User { id, passkey, can_leech, hidden, group, .. } => {
                self.accounts.disable(passkey, User { id, can_leech, hidden, group });
            }
            Change::Group { id, downloads_max, .. } => {
                self.accounts.groups().put(id, downloads_max)
            }
            Change::GroupRemoved { id } => self.accounts.groups().remove(id),
            Change::ClientRule { prefix, allow } => {
                self.rules = self.site.change_rules(|rules| _ = rules.insert(prefix, allow));
            }
            Change::ClientRuleRemoved { prefix } => {
                self.rules = self.site.change_rules(|rules| _ = rules.remove(&prefix));
            }
            _ => {}
        }
    }

    /// What a snapshot has beside the swarms.
    pub(super) fn registers(&self) -> Registers {
        Registers {
            accounts: self.accounts.clone(),
            site: self.site.clone(),
            journal: self.journal.status().clone(),
        }
    }

    /// Lets those segments of the journal go that neither a snapshot (from `needed_from` on) nor the
    /// database needs.
    pub(super) fn release(&self, needed_from: Option<u64>) {
        if let (Some(needed_from), Some(in_database)) = (needed_from, self.ledger.status().position)
        {
            self.journal.status().release(needed_from.min(in_database));
        }
    }

    fn take(&mut self, stored: Stored, rules: &mut Vec<(ClientPrefix, bool)>) {
        let cores = self.beginnings.len();
        let beginnings = &mut self.beginnings;
        let owner = |info_hash: &InfoHash| route::owner(info_hash, cores);
        match stored.change {
            Change::User { id, passkey, can_leech, hidden, enabled: true, group } => {
                self.accounts.put(passkey, User { id, can_leech, hidden, group });
            }
            Change::User { id, passkey, can_leech, hidden, group, .. } => {
                self.accounts.disable(passkey, User { id, can_leech, hidden, group });
            }
            Change::Group { id, downloads_max, .. } => {
                self.accounts.groups().put(id, downloads_max)
            }
            Change::Torrent { id, info_hash, freeleech, upload_percent } => {
                let terms = Terms { id, freeleech, upload_percent };
                beginnings[owner(&info_hash)].torrents.push((info_hash, terms, stored.figures));
            }
            Change::TorrentRemoved { info_hash, reason, at, .. } => {
                beginnings[owner(&info_hash)].deletions.push((info_hash, reason, at));
            }
            Change::Token { user, info_hash, expires_at, .. } => {
                beginnings[owner(&info_hash)].tokens.push((user, info_hash, expires_at));
            }
            Change::ClientRule { prefix, allow } => rules.push((prefix, allow)),
            Change::GroupRemoved { .. }
            | Change::TokenRemoved { .. }
            | Change::ClientRuleRemoved { .. } => {}
        }
    }

    /// What the private side of every core is made of. Once, as they take what they begin with.
    pub(super) fn outfit(&mut self) -> PrivateOutfit {
        let beginnings = std::mem::take(&mut self.beginnings).into_iter().map(Some).collect();
        let beginnings = Arc::new(Mutex::new(beginnings));
        let status = self.journal.status();
        PrivateOutfit {
            accounts: self.accounts.clone(),
            site: self.site.clone(),
            rules: self.rules.clone(),
            journal: self.journal.sender().clone(),
            journal_dir: status.dir().to_owned(),
            journal_tail: self.tail,
            believed: self.believed,
            beginnings,
        }
    }

    /// How the books are, for whoever asks. Nothing of it waits.
    pub(super) fn figures(&self) -> impl Fn() -> counters::Books + Send + Sync + use<> {
        let (accounts, journal) = (self.accounts.clone(), self.journal.status().clone());
        let (ledger, watch) = (self.ledger.watch_status(), self.watch.watch_status());
        let calls = self.calls.as_ref().map(Calls::watch_status);
        let (opened_at, bytes_max) = (self.opened_at, self.journal_bytes_max);
        move || counters::Books {
            accounts: accounts.len() as u64,
            journal: journal_figures(&journal, opened_at, bytes_max),
            ledger: ledger_figures(&ledger(), &watch()),
            calls: calls.as_ref().map(|calls| calls()).unwrap_or_default(),
            // The control listener knows.
            api: counters::Api::default(),
        }
    }

    /// Takes in what the site wrote into the database by itself.
    /// Whether all has to be compared with it, because it cannot be said what it wrote.
    pub(super) fn hear(&self, seen: Seen, cores: &Cores) -> bool {
        match seen {
            Seen::Change(change) => match change {
                Change::User { id, passkey, can_leech, hidden, enabled: true, group } => {
                    let user = User { id, can_leech, hidden, group };
                    self.accounts.put(passkey, user);
                    cores.tell_all(&Command::Rights(user));
                }
                Change::User { id, passkey, can_leech, hidden, group, .. } => {
                    self.accounts.disable(passkey, User { id, can_leech, hidden, group });
                    cores.tell_all(&Command::UserGone(id));
                }
                Change::Group { id, downloads_max, .. } => {
                    self.accounts.groups().put(id, downloads_max);
                }
                Change::GroupRemoved { id } => self.accounts.groups().remove(id),
                Change::ClientRule { prefix, allow } => {
                    let rules = self.site.change_rules(|rules| _ = rules.insert(prefix, allow));
                    cores.tell_all(&Command::ClientRules(rules));
                }
                Change::ClientRuleRemoved { prefix } => {
                    let rules = self.site.change_rules(|rules| _ = rules.remove(&prefix));
                    cores.tell_all(&Command::ClientRules(rules));
                }
                change => cores.tell_all(&Command::Seen(Arc::new(change))),
            },
            Seen::UserGone(id) => self.forget(id, cores),
            Seen::Reload => return true,
        }
        false
    }

    /// What is compared with the database now and then.
    pub(super) fn compared(&self) -> Compared {
        Compared {
            database: self.database.clone(),
            accounts: self.accounts.clone(),
            site: self.site.clone(),
            journal: self.journal.status().clone(),
            ledger: Arc::new(self.ledger.watch_status()),
        }
    }

    fn forget(&self, id: UserId, cores: &Cores) {
        self.accounts.remove(id);
        cores.tell_all(&Command::UserGone(id));
    }

    /// Closes the books after the cores have ended: everything is on the disk, and in the database if
    /// that takes it now.
    pub(super) fn close(self) {
        self.watch.stop(STOP_PATIENCE);
        let journal = self.journal.stop();
        let status = self.ledger.stop(STOP_PATIENCE);
        if let Some(calls) = self.calls {
            calls.stop(CALLS_STOP_PATIENCE);
        }
        let behind = journal.end().saturating_sub(status.position.unwrap_or_default());
        match behind {
            0 => tracing::info!("the books are closed, and everything is in the database"),
            _ => tracing::warn!(
                records = behind,
                error = status.last_error,
                "the books are closed; what the database has not got yet, it gets after the next start"
            ),
        }
    }
}

fn journal_figures(status: &journal::Status, opened_at: u64, bytes_max: u64) -> counters::Journal {
    let end = status.end();
    counters::Journal {
        records: end.saturating_sub(opened_at),
        begin: status.begin(),
        end,
        durable: status.durable(),
        bytes: status.bytes(),
        bytes_max,
        accepting: status.accepting(),
        refused_batches: status.refused_batches(),
        refused_records: status.refused_records(),
        syncs: status.syncs(),
        synced_at: status
            .last_sync_at()
            .map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
        sync_nanos: status.last_sync_time().as_nanos() as u64,
    }
}

fn ledger_figures(status: &LedgerStatus, watch: &WatchStatus) -> counters::Ledger {
    counters::Ledger {
        connected: status.connected,
        watching: watch.connected,
        position: status.position,
        oldest_at: status.oldest_at.map(|at| f64::from(at.0)),
        facts: status.facts,
        changes: status.changes,
        batches: status.batches,
        batch_records: status.batch_records,
        batch_max: status.batch_max,
        batch_nanos: status.batch_time.as_nanos() as u64,
        batches_nanos: status.batches_time.as_nanos() as u64,
        retries: status.retries,
        rejected: status.rejected,
        unknown_users: status.unknown_users,
        unknown_torrents: status.unknown_torrents,
        unknown_tokens: status.unknown_tokens,
        suspected: status.suspected,
        notices: watch.notices,
        reloads: watch.reloads,
    }
}

#[cfg(test)]
mod tests {
    use persist::suspicion::Kind;

    use super::*;

    #[test]
    fn the_metrics_name_the_rules_as_the_table_does() {
        assert_eq!(counters::SUSPICION_KINDS, Kind::ALL.map(Kind::name));
    }
}
