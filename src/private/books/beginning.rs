//! What the books give to the cores at a start: from the database, or from the snapshot without it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use persist::journal::{self, JournalSender, Reader};
use persist::postgres::{Loaded, Stored};
use persist::{Database, DatabaseError, Snapshot};
use shard::private::{Change, ClientPrefix, Swarm, Terms, User, UserId};
use shard::{InfoHash, Seconds};

use super::{Books, BooksError};
use crate::core::route;
use crate::private::site::Site;
use crate::private::users::accounts::Accounts;
use crate::private::users::formers::Former;
use crate::private::users::groups::Group;
use crate::private::users::unwritten::Written;
use crate::wire::private::ClientRules;

/// Records that are read at once.
const RECORDS: usize = 4096;

/// Deletion reasons older than this are told to nobody any more.
pub(crate) const REASONS_KEPT: Seconds = Seconds(86_400);

/// What a core begins with: its torrents, and where to read what happened on them.
#[derive(Clone, Default)]
pub(crate) struct Beginning {
    pub(crate) torrents: Vec<(InfoHash, Option<InfoHash>, Terms, Swarm)>,
    pub(crate) tokens: Vec<(UserId, InfoHash, Option<Seconds>)>,
    pub(crate) deletions: Vec<(InfoHash, String, Seconds)>,
}

/// What the private side of a core is made of.
#[derive(Clone)]
pub(crate) struct PrivateOutfit {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) site: Arc<Site>,
    pub(crate) rules: Arc<ClientRules>,
    pub(crate) journal: JournalSender,
    pub(crate) journal_dir: PathBuf,
    /// The records that are to be replayed: from, and up to.
    pub(crate) journal_tail: (u64, u64),
    /// The snapshot says where clients are.
    pub(crate) believed: bool,
    /// To be told how many records of those are lost, before announces are heard.
    pub(crate) on_lost: Arc<dyn Fn(u64) + Send + Sync>,
    /// Which records the database has.
    pub(crate) ledger: Written,
    beginnings: Arc<Mutex<Vec<Option<Beginning>>>>,
}

impl PrivateOutfit {
    /// What the database says a core begins with; `None` when it was not asked, and when a core asks
    /// again.
    pub(crate) fn beginning(&self, core: usize) -> Option<Beginning> {
        let mut beginnings = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner);
        beginnings.get_mut(core)?.take()
    }
}

/// What was loaded from the database. It counts when all of it is there: a database that ends in the middle
/// has said nothing.
pub(super) struct Loading {
    accounts: Accounts,
    rules: Vec<(ClientPrefix, bool)>,
    beginnings: Vec<Beginning>,
    /// The database went back to an older state since it had what the journal has.
    went_back: bool,
}

impl Loading {
    /// Loads all for as many cores.
    pub(super) fn of(
        database: &Database,
        books: &Books,
        cores: usize,
        now: Seconds,
    ) -> Result<Self, DatabaseError> {
        let began = Instant::now();
        let mut loading = Self {
            accounts: Accounts::default(),
            rules: Vec::new(),
            beginnings: vec![Beginning::default(); cores],
            went_back: false,
        };
        let journal = books.journal.status().id();
        let loaded: Loaded =
            database.load(journal, now - REASONS_KEPT, |stored| loading.take(stored))?;
        let status = books.journal.status();
        loading.went_back = !loaded
            .position
            .is_some_and(|next| next >= books.tail.1 && status.wrote(next, loaded.life));
        tracing::info!(
            users = loaded.users,
            former_passkeys = loaded.former_passkeys,
            torrents = loaded.torrents,
            tokens = loaded.tokens,
            groups = loaded.groups,
            client_rules = loaded.client_rules,
            seconds = began.elapsed().as_secs_f64(),
            "users and torrents loaded from the database"
        );
        Ok(loading)
    }

    fn take(&mut self, stored: Stored) {
        let cores = self.beginnings.len();
        let beginnings = &mut self.beginnings;
        let owner = |info_hash: &InfoHash| route::owner(info_hash, cores);
        match stored.change {
            Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent } => {
                let terms = Terms { id, freeleech, upload_percent };
                let torrents = &mut beginnings[owner(&info_hash)].torrents;
                torrents.push((info_hash, info_hash_v2, terms, stored.figures));
            }
            Change::TorrentRemoved { info_hash, reason, at, .. } => {
                beginnings[owner(&info_hash)].deletions.push((info_hash, reason, at));
            }
            Change::Token { user, info_hash, expires_at, .. } => {
                beginnings[owner(&info_hash)].tokens.push((user, info_hash, expires_at));
            }
            Change::ClientRule { prefix, allow } => self.rules.push((prefix, allow)),
            change => put_account(&self.accounts, change),
        }
    }
}

/// Does what a change says of a user, a former passkey or a group.
pub(super) fn put_account(accounts: &Accounts, change: Change) {
    match change {
        Change::User { id, passkey, can_leech, hidden, enabled: true, group } => {
            accounts.put(passkey, User { id, can_leech, hidden, group });
        }
        Change::User { id, passkey, can_leech, hidden, group, .. } => {
            accounts.disable(passkey, User { id, can_leech, hidden, group });
        }
        Change::Former { user, passkey, good_until } => {
            accounts.put_former(user, Some(Former { passkey, good_until }));
        }
        Change::FormerRemoved { user } => accounts.put_former(user, None),
        Change::Group { id, name, downloads_max } => {
            accounts.groups().put(id, Group::named(&name, downloads_max));
        }
        Change::GroupRemoved { id } => _ = accounts.remove_group(id),
        _ => {}
    }
}

impl Books {
    /// Begins with what was loaded.
    pub(super) fn begin_with(&mut self, loading: Loading) {
        let Loading { accounts, rules, beginnings, went_back } = loading;
        if went_back {
            // So that all is compared again, when it has what it lacks.
            self.hears_all.set(false);
        }
        self.accounts = Arc::new(accounts);
        self.rules = self.site.change_rules(|known| known.extend(rules));
        self.beginnings = beginnings;
    }

    /// Takes users and client rules from the snapshot, and from what the journal has after it.
    pub(super) fn load_from_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), BooksError> {
        let mut rules: Vec<(ClientPrefix, bool)> = Vec::new();
        snapshot.accounts(|passkey, user, enabled| match enabled {
            true => self.accounts.put(passkey, user),
            false => self.accounts.disable(passkey, user),
        })?;
        snapshot.formers(|user, passkey, good_until| {
            self.accounts.put_former(user, Some(Former { passkey, good_until }));
        })?;
        snapshot.groups(|id, downloads_max| {
            self.accounts.groups().put(id, Group { name: None, downloads_max });
        })?;
        snapshot.client_rules(|prefix, allow| rules.push((prefix, allow)))?;
        self.rules = self.site.change_rules(|known| known.extend(rules));
        let (from, to) = self.tail;
        if from < to {
            // What is lost is told by the cores, which replay the same.
            let (mut reader, _) = Reader::open_behind(self.journal.status().dir(), from)?;
            let mut records = Vec::new();
            while reader.position() < to {
                let lost = reader.read_on(RECORDS, &mut records)?;
                if records.is_empty() && lost == 0 {
                    break;
                }
                for record in records.drain(..) {
                    if let journal::Record::Said(said) = record {
                        self.put(said.change);
                    }
                }
            }
        }
        tracing::info!(users = self.accounts.len(), "users loaded from the snapshot");
        Ok(())
    }

    /// Does what a change says of a user, a former passkey, a group or a client rule.
    pub(super) fn put(&mut self, change: Change) {
        match change {
            Change::ClientRule { prefix, allow } => {
                self.rules = self.site.change_rules(|rules| _ = rules.insert(prefix, allow));
            }
            Change::ClientRuleRemoved { prefix } => {
                self.rules = self.site.change_rules(|rules| _ = rules.remove(&prefix));
            }
            change => put_account(&self.accounts, change),
        }
    }

    /// Where records are lost that a start has to replay, nobody knows where clients were: they are measured
    /// from what the database knows of them. Every core replays the same journal, and one says so.
    fn on_lost(&self) -> Arc<dyn Fn(u64) + Send + Sync> {
        let (measuring, from, said) =
            (self.ledger.measuring(), self.tail.1, AtomicBool::new(false));
        Arc::new(move |lost| {
            if !said.swap(true, Ordering::Relaxed) {
                measuring(from);
                tracing::error!(
                    records = lost,
                    "the journal has lost records that this start needs: what clients moved is measured from \
                     their rows in the database; `margay journal verify` says which file it is"
                );
            }
        })
    }

    /// What the private side of every core is made of. Once, as they take what they begin with.
    pub(crate) fn outfit(&mut self) -> PrivateOutfit {
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
            on_lost: self.on_lost(),
            ledger: Written::new({
                let status = self.ledger.watch_status();
                move || status().position.unwrap_or_default()
            }),
            beginnings,
        }
    }
}
