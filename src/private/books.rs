//! The books of a private tracker: accounts, the journal, and the database behind it.
//!
//! At a start the ledger first brings into the database what the journal has and the database has not;
//! then everything is loaded from there. From then on nothing waits for the database.

mod beginning;
mod figures;
mod hear;
mod inspect;
mod opening;
pub mod reconcile;
pub mod restore;
mod succession;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use persist::journal::{self, Journal, JournalError, JournalThread, ThreadOptions};
use persist::ledger::JournalSource;
use persist::postgres::{Heard, Home, Watch};
use persist::suspicion::Thresholds;
use persist::{
    DataDir, Database, DatabaseError, Ledger, LedgerOptions, LedgerStatus, Snapshot, SnapshotError,
};

use super::books::reconcile::Compared;
use crate::config::{Config, GivenDatabaseError, Secret, SecretError};
use crate::private::site::Site;
use crate::private::site::audit::SiteAudit;
use crate::private::site::calls::Calls;
use crate::private::site::credits::Credits;
use crate::private::users::accounts::Accounts;
use crate::process::clock::Clock;
use crate::wire::private::ClientRules;
use ops::slot::Slot;

use beginning::Loading;
pub(crate) use beginning::{Beginning, PrivateOutfit, REASONS_KEPT};
use inspect::Inspector;
use opening::Way;
pub(crate) use succession::Unfollowed;

/// What the snapshot of a private tracker has beside its swarms.
#[derive(Clone)]
pub(crate) struct Registers {
    /// All users.
    pub(crate) accounts: Arc<Accounts>,
    /// With the rules of clients.
    pub(crate) site: Arc<Site>,
    /// Says which journal there is, and how far it is on the disk.
    pub(crate) journal: Arc<journal::Status>,
}

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// A file with a password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database, as the options name it.
    #[error(transparent)]
    Named(#[from] GivenDatabaseError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The database does not take what the journal has, and there is no snapshot to go by.
    #[error("the database does not take what the journal still has for it: {text} ({why})")]
    Stuck {
        /// What the ledger says.
        why: String,
        /// What is so, and what to do.
        text: &'static str,
    },
    /// The database is not to be written by this tracker.
    #[error("{0}")]
    Refused(String),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl BooksError {
    /// It is about a file or a URL that the options name.
    pub(crate) fn is_mistake(&self) -> bool {
        matches!(self, BooksError::Secret(_) | BooksError::Named(_))
    }
}

/// Everything that is kept about users and torrents beside the swarms.
pub(crate) struct Books {
    database: Database,
    home: Home,
    journal: JournalThread,
    ledger: Ledger,
    watch: Watch,
    /// It hears since before all was loaded, so its first connection has nothing to make up for.
    hears_all: Cell<bool>,
    /// Where the operator says where the site is.
    calls: Option<Calls>,
    _inspector: Inspector,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) site: Arc<Site>,
    rules: Arc<ClientRules>,
    /// What each core begins with, until it has it; nothing when the database was away.
    beginnings: Vec<Beginning>,
    /// The records that cores replay at the start.
    tail: (u64, u64),
    /// Snapshot and journal say where clients are.
    believed: bool,
    /// How large the journal may become, in bytes.
    journal_bytes_max: u64,
    /// The record that came next when the books were opened, or taken over.
    opened_at: Arc<AtomicU64>,
}

/// How long a start waits until changes in the database are heard. When they are not, all is compared
/// later.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);

/// How long a stop waits until the database has taken what the journal still has for it.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits for a call to the site that is under way; a call is made again when it is not known
/// to have succeeded.
const CALLS_STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Whether changes in the database are heard, after waiting for it.
fn hears(watch: &Watch, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while !watch.status().connected && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    watch.status().connected
}

/// The database that the options name.
fn database(config: &Config) -> Result<Database, BooksError> {
    let given = config.given_database()?;
    Ok(given.expect("a private tracker has a database; it was checked"))
}

fn journal_options(config: &Config) -> journal::Options {
    journal::Options {
        bytes_max: config.journal_bytes_max.0 as u64,
        keep: config.journal_keep,
        keep_bytes: config.journal_keep_bytes.0 as u64,
        ..journal::Options::default()
    }
}

fn ledger_options(config: &Config, home: &Home) -> LedgerOptions {
    LedgerOptions {
        node: config.database_node.0.clone(),
        peers: config.database_peers,
        suspect: Thresholds {
            rate: config.suspect_rate.map(|rate| rate.0 as u64),
            upload_alone: config.suspect_upload_alone.map(|bytes| bytes.0 as u64),
            same_counters: config.suspect_same_counters.map(u32::from),
            networks: config.suspect_networks.map(u32::from),
        },
        spent_tokens: config.ocelot_site_url.is_some(),
        home: Some(home.clone()),
        ..LedgerOptions::default()
    }
}

/// Which records the swarms of the snapshot lack: from which one to which.
fn tail(
    config: &Config,
    status: &journal::Status,
    snapshot: Option<&Snapshot>,
    believed: bool,
) -> Result<(u64, u64), BooksError> {
    let from = match snapshot {
        _ if !believed => status.begin(),
        Some(snapshot) => snapshot.replay_from(status.id())?,
        None if config.fresh => status.durable(),
        None => status.begin(),
    };
    Ok((from, status.durable()))
}

/// Whether neither the snapshot nor the journal says where all clients were, though the journal is not new: they are
/// measured from what the database knows of them.
fn lacks_clients(
    config: &Config,
    status: &journal::Status,
    snapshot: Option<&Snapshot>,
    believed: bool,
) -> bool {
    let begins_later = snapshot.is_none() && status.begin() > 0;
    let forgets = config.fresh && status.end() > 0;
    config.database_peers && (!believed || begins_later || forgets)
}

/// Who tells the site of used up tokens, where it wants to be told.
fn calls(
    config: &Config,
    password: Option<&Secret>,
    database: &Database,
) -> Result<Option<Calls>, BooksError> {
    let (Some(url), Some(password)) = (&config.ocelot_site_url, password) else { return Ok(None) };
    let calls = Calls::start(database.clone(), url, password);
    Ok(Some(calls.map_err(BooksError::Thread)?))
}

impl Books {
    /// Opens the books for as many cores as there are `slots` of their counters. `seen` is called, on a thread of its own, with what the site
    /// writes into the database by itself.
    pub(crate) fn open(
        config: &Config,
        data: &DataDir,
        slots: Vec<Arc<Slot>>,
        clock: Clock,
        snapshot: Option<&Snapshot>,
        seen: impl FnMut(Heard) + Send + 'static,
    ) -> Result<Self, BooksError> {
        let database = database(config)?;
        let mut journal = Journal::open(data, journal_options(config))?;
        let full = snapshot.is_some_and(|snapshot| snapshot.totals().swarms > 0);
        let home = Home::new(data.path(), journal.status().clone(), full);
        let mut way = opening::find_way(&database, &home, snapshot)?;
        let known = match way {
            Way::Database(position) => position,
            Way::Snapshot(_) => None,
        };
        let believed = opening::agree(&mut journal, known, snapshot)?;
        let options = ThreadOptions { sync_interval: config.journal_sync, ..Default::default() };
        let journal = JournalThread::start(journal, options).map_err(BooksError::Thread)?;
        let source = JournalSource::new(journal.status().clone());
        let ledger = Ledger::start(database.clone(), ledger_options(config, &home), source)
            .map_err(BooksError::Thread)?;
        way = opening::begin_to_write(&ledger, journal.status().durable(), way, snapshot)?;
        let tail = tail(config, journal.status(), snapshot, believed)?;
        if lacks_clients(config, journal.status(), snapshot, believed) {
            ledger.measure_from(tail.1);
        }

        let cores = slots.len();
        let mut books = Self::assemble(
            config,
            data,
            slots,
            clock,
            (database.clone(), home, journal, ledger),
            (tail, believed),
            seen,
        )?;
        // What it hears from before the load on need not be looked for after it.
        let hears_all = matches!(way, Way::Database(_)) && hears(&books.watch, LISTEN_PATIENCE);
        books.hears_all.set(hears_all);
        if matches!(way, Way::Database(_)) {
            match Loading::of(&database, &books, cores, clock.now()) {
                Ok(loaded) => books.begin_with(loaded),
                Err(error) => way = opening::without(snapshot, error)?,
            }
        }
        if let (Way::Snapshot(_), Some(snapshot)) = (&way, snapshot) {
            // What it heard is not in a snapshot.
            books.hears_all.set(false);
            books.load_from_snapshot(snapshot)?;
        }
        Ok(books)
    }

    /// Books of these parts, which hear what the site writes into the database by itself.
    fn assemble(
        config: &Config,
        data: &DataDir,
        slots: Vec<Arc<Slot>>,
        clock: Clock,
        (database, home, journal, ledger): (Database, Home, JournalThread, Ledger),
        (tail, believed): ((u64, u64), bool),
        seen: impl FnMut(Heard) + Send + 'static,
    ) -> Result<Self, BooksError> {
        let password = config.given_ocelot_site_password()?;
        let calls = calls(config, password.as_ref(), &database)?;
        let report = config.given_ocelot_report_password()?;
        let audit = SiteAudit::start(data.path(), config.audit_keep).map_err(BooksError::Thread)?;
        let credits = Credits::start(database.clone()).map_err(BooksError::Thread)?;
        let site = Site::new(password, report, slots, clock.now(), audit, credits);
        let inspector = Inspector::start(journal.status().clone()).map_err(BooksError::Thread)?;
        let watch = Watch::start(database.clone(), seen).map_err(BooksError::Thread)?;
        Ok(Self {
            watch,
            hears_all: Cell::new(false),
            rules: Arc::default(),
            accounts: Arc::default(),
            site: Arc::new(site),
            beginnings: Vec::new(),
            tail,
            journal_bytes_max: config.journal_bytes_max.0 as u64,
            opened_at: Arc::new(AtomicU64::new(journal.status().end())),
            believed,
            database,
            home,
            journal,
            ledger,
            calls,
            _inspector: inspector,
        })
    }

    /// What a snapshot has beside the swarms.
    pub(crate) fn registers(&self) -> Registers {
        Registers {
            accounts: self.accounts.clone(),
            site: self.site.clone(),
            journal: self.journal.status().clone(),
        }
    }

    /// Which record of the journal is the first that is not on the disk for sure.
    pub(crate) fn durable(&self) -> u64 {
        self.journal.status().durable()
    }

    /// True when nothing is written down any more: the journal's thread has panicked.
    pub(crate) fn journal_has_ended(&self) -> bool {
        self.journal.has_ended()
    }

    /// Lets those segments of the journal go that neither a snapshot (from `needed_from` on) nor the
    /// database needs.
    pub(crate) fn release(&self, needed_from: Option<u64>) {
        if let (Some(needed_from), Some(in_database)) = (needed_from, self.ledger.status().position)
        {
            self.journal.status().release(needed_from.min(in_database));
        }
    }

    /// What is compared with the database now and then.
    pub(crate) fn compared(&self) -> Compared {
        Compared {
            database: self.database.clone(),
            home: self.home.clone(),
            accounts: self.accounts.clone(),
            site: self.site.clone(),
            journal: self.journal.status().clone(),
            ledger: Arc::new(self.ledger.watch_status()),
        }
    }

    /// Closes the books after the cores have ended: everything is on the disk, and in the database if
    /// that takes it now.
    pub(crate) fn close(self) {
        let (journal, status) = self.end(STOP_PATIENCE);
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

    /// Ends all threads. The database is waited for as long as `patience` lasts.
    fn end(self, patience: Duration) -> (Journal, LedgerStatus) {
        self.watch.stop(patience);
        let journal = self.journal.stop();
        let status = self.ledger.stop(patience);
        if let Some(calls) = self.calls {
            calls.stop(CALLS_STOP_PATIENCE);
        }
        if let Some(audit) = self.site.audit() {
            audit.flush(CALLS_STOP_PATIENCE);
        }
        (journal, status)
    }
}
