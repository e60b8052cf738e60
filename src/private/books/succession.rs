//! The books when one process takes over from another: the journal goes from the one to the other, and the database
//! with it.
//!
//! The successor begins with a snapshot and follows what the predecessor writes into the journal. When the predecessor
//! hears nobody any more it has all of it made durable and rests; the successor follows the rest of it, goes on with the journal, and
//! serves. Its ledger begins when that of the other one has ended. The database is not asked for anything in that, so it
//! may be away; what was changed there by SQL and heard of by neither is found when all is compared, soon after.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ops::slot::Slot;
use persist::journal::{Journal, JournalError, JournalThread, Reader, Record, Said, ThreadOptions};
use persist::ledger::JournalSource;
use persist::postgres::{Heard, Home};
use persist::{DataDir, Ledger, Snapshot};
use shard::InfoHash;
use shard::private::Change;

use super::beginning::put_account;
use super::{Books, BooksError, database, journal_options, ledger_options};
use crate::config::Config;
use crate::core::mesh::Address;
use crate::core::mesh::barrier::{self, Unreached};
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::succession::Step;
use crate::core::route;
use crate::process::clock::Clock;

/// Records that are followed at once.
const RECORDS: usize = 4096;

/// How long the journal may take for what the cores have, while nobody hears clients.
const REST_PATIENCE: Duration = Duration::from_secs(4);

/// How long the ledger of a process that leaves writes on.
const LEDGER_LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// Why the journal did not come to rest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Restless {
    #[error(transparent)]
    Cores(#[from] Unreached),
    #[error("the journal cannot be written: {0}")]
    Journal(String),
}

/// Why what another process has written was not followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfollowed {
    #[error(transparent)]
    Cores(#[from] Unreached),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the journal cannot be gone on with: {0}")]
    GoOn(String),
    #[error(
        "the journal ends with record {found} and not with {told}, as the process before has said"
    )]
    End {
        /// The record after the last one that there is.
        found: u64,
        /// The one that was said.
        told: u64,
    },
}

/// How far the journal of another process is followed.
pub(crate) struct Following {
    /// None where it has to be opened, at `next`.
    reader: Option<Reader>,
    next: u64,
}

impl Following {
    /// From this record on.
    fn from(next: u64) -> Self {
        Self { reader: None, next }
    }
}

impl Books {
    /// Opens the books of a tracker that another process still serves, with a snapshot by it and the journal up to record
    /// `end`, which is durable.
    pub(crate) fn open_beside(
        config: &Config,
        data: &DataDir,
        slots: Vec<Arc<Slot>>,
        clock: Clock,
        (snapshot, end): (&Snapshot, u64),
        seen: impl FnMut(Heard) + Send + 'static,
    ) -> Result<Self, BooksError> {
        let database = database(config)?;
        let journal = Journal::of_another(data, journal_options(config))?;
        let status = journal.status().clone();
        let from = snapshot.replay_from(status.id())?;
        let home = Home::new(data.path(), status.clone(), snapshot.totals().swarms > 0);
        let options = ThreadOptions { sync_interval: config.journal_sync, ..Default::default() };
        let journal = JournalThread::start_at_rest(journal, options).map_err(BooksError::Thread)?;
        let source = JournalSource::new(status);
        let ledger = Ledger::start_held(database.clone(), ledger_options(config, &home), source)
            .map_err(BooksError::Thread)?;
        let mut books = Self::assemble(
            config,
            data,
            slots,
            clock,
            (database, home, journal, ledger),
            ((from, from.max(end)), true),
            seen,
        )?;
        books.load_from_snapshot(snapshot)?;
        Ok(books)
    }

    /// To follow what comes behind that with which the books were opened.
    pub(crate) fn following(&self) -> Following {
        Following::from(self.tail.1)
    }

    /// Has the cores follow what another process has written into the journal by now.
    pub(crate) fn follow(
        &mut self,
        following: &mut Following,
        cores: &[Address<Message>],
    ) -> Result<(), Unfollowed> {
        let dir = self.journal.status().dir().to_owned();
        loop {
            let reader = match &mut following.reader {
                Some(reader) => reader,
                none => none.insert(Reader::open(dir.clone(), following.next)?),
            };
            let mut records = Vec::new();
            if let Err(error) = reader.read_into(RECORDS, &mut records) {
                // A frame that is being written is not whole. What came before it is.
                following.reader = None;
                if records.is_empty() {
                    return Err(error.into());
                }
            }
            if records.is_empty() {
                return Ok(());
            }
            following.next += records.len() as u64;
            self.replay(records, cores)?;
        }
    }

    /// Follows the rest, and goes on with the journal behind it: at the record that the other process has `told`, unless it
    /// could not.
    pub(crate) fn take_over(
        &mut self,
        following: &mut Following,
        told: Option<u64>,
        cores: &[Address<Message>],
    ) -> Result<(), Unfollowed> {
        // The end of a process that has died may be no whole frame, and is cut off by the second step.
        let _ = self.follow(following, cores);
        let end = self.journal.go_on().map_err(Unfollowed::GoOn)?;
        self.follow(following, cores)?;
        for (found, told) in [(following.next, end), (end, told.unwrap_or(end))] {
            if found != told {
                return Err(Unfollowed::End { found, told });
            }
        }
        self.tail.1 = end;
        self.opened_at.store(end, Relaxed);
        Ok(barrier::tell_all(cores, &Command::Succession(Step::Replayed))?)
    }

    /// Writes the database from here on: the other process does so no more. For a thread elsewhere.
    pub(crate) fn begin_to_write(&self) -> impl Fn() + Send + Sync + use<> {
        self.ledger.taking_over()
    }

    /// Prepares for a rest that is short.
    pub(crate) fn prepare_to_rest(&self, cores: &[Address<Message>]) -> Result<(), Unreached> {
        barrier::hand_over(cores, REST_PATIENCE)?;
        self.journal.divide();
        Ok(())
    }

    /// Has the journal take what the cores have, and writes it no more: which record comes next. The cores hear nobody.
    pub(crate) fn rest(&self, cores: &[Address<Message>]) -> Result<u64, Restless> {
        barrier::hand_over(cores, REST_PATIENCE)?;
        self.journal.rest().map_err(Restless::Journal)
    }

    /// Goes on where no other process does. What one has written before it ended is followed.
    pub(crate) fn go_on(
        &mut self,
        rested_at: u64,
        cores: &[Address<Message>],
    ) -> Result<(), Unfollowed> {
        let end = self.journal.go_on().map_err(Unfollowed::GoOn)?;
        if end > rested_at {
            tracing::warn!(
                records = end - rested_at,
                "the process that would have taken over has served for a moment; what it has written counts"
            );
            self.follow(&mut Following::from(rested_at), cores)?;
        }
        Ok(())
    }

    /// Leaves the books to another process: writes nothing any more.
    pub(crate) fn leave(self) {
        self.end(LEDGER_LEAVE_PATIENCE);
    }

    /// Has each core follow what is about what it owns, and does the rest.
    fn replay(
        &mut self,
        records: Vec<Record>,
        cores: &[Address<Message>],
    ) -> Result<(), Unfollowed> {
        let mut parts = vec![Vec::new(); cores.len()];
        let owner = |info_hash: &InfoHash| route::owner(info_hash, cores.len());
        for record in records {
            let owner = match &record {
                Record::Fact(fact) => Some(owner(&fact.info_hash)),
                Record::Gone(gone) => Some(owner(&gone.info_hash)),
                Record::Said(said) => said.change.info_hash().map(owner),
                Record::Tick(_) => None,
            };
            match (owner, record) {
                (Some(owner), record) => parts[owner].push(record),
                (None, Record::Said(Said { change, .. })) => self.follow_site(change, cores)?,
                (None, _) => {}
            }
        }
        for (core, part) in cores.iter().zip(parts) {
            if !part.is_empty() {
                barrier::tell_one(core, Command::Succession(Step::Replay(Arc::new(part))))?;
            }
        }
        Ok(())
    }

    /// Does what the site has said of a user, a group or a client rule.
    fn follow_site(&mut self, change: Change, cores: &[Address<Message>]) -> Result<(), Unreached> {
        let tell = |command| barrier::tell_all(cores, &command);
        match change {
            Change::ClientRule { .. } | Change::ClientRuleRemoved { .. } => {
                self.put(change);
                tell(Command::ClientRules(self.rules.clone()))
            }
            Change::User { id, .. } => {
                put_account(&self.accounts, change);
                tell(match self.accounts.of(id) {
                    Some(user) => Command::Rights(user),
                    None => Command::UserGone(id),
                })
            }
            change => {
                put_account(&self.accounts, change);
                Ok(())
            }
        }
    }
}
