//! The thread of the ledger: when it writes how much, and what it does when it cannot. Where it goes on is found
//! out in `begin`; how it makes up for an outage is in `catch_up`.

mod begin;
mod catch_up;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::adopt::AdoptError;
use super::minutely::Minutely;
use super::schema_writer::SchemaWriter;
use super::suspicions::Suspicions;
use super::write::{Fault, Outcome, Tally, Writer};
use super::{LedgerStatus, Record, Source, SourceError};
use crate::books::{Lasting, Obstacle, Passing, State};
use crate::journal::Life;
use crate::postgres::{Backoff, Database, DatabaseError, Home, text_of};
use crate::stoppable::join_within;
use crate::suspicion::Thresholds;
use catch_up::Stride;

/// How the ledger works.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The name of this tracker in the database, for people.
    pub node: String,
    /// Writes the table `peers`. Without it, nearly all of the work is saved.
    pub peers: bool,
    /// Notes tokens that are used up in the table `spent_tokens`, for who tells the site of them.
    pub spent_tokens: bool,
    /// How long a peer that announces no more stays in the table.
    pub peers_kept: Duration,
    /// From where on announces are reported in the table `suspicions`.
    pub suspect: Thresholds,
    /// Records in a transaction, at most. As many are in memory, of some 300 bytes each. Far behind, more are
    /// taken together, and not kept.
    pub batch_max: usize,
    /// How long records gather before they are written, when there are fewer.
    pub period: Duration,
    /// The data folder, which may not be the database's own; `None` where that is not to be asked.
    pub home: Option<Home>,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            node: "margay".to_owned(),
            peers: true,
            spent_tokens: false,
            peers_kept: Duration::from_secs(24 * 3600),
            suspect: Thresholds::default(),
            batch_max: 16_384,
            period: Duration::from_secs(1),
            home: None,
        }
    }
}

/// A thread that writes the journal into the database. It goes on for ever: while the database is away
/// the journal waits.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    bell: Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<LedgerStatus>,
    stopping: AtomicBool,
    /// Another process writes the database.
    held: AtomicBool,
    /// From which record on clients are to be measured, and the database has not been told yet.
    measure_from: Mutex<Option<u64>>,
}

impl Ledger {
    /// Starts the thread. The tables have to be there ([`Database::migrate`]) before anything is written.
    pub fn start(
        database: Database,
        options: LedgerOptions,
        source: impl Source + 'static,
    ) -> io::Result<Self> {
        Self::start_as(database, options, source, false)
    }

    fn start_as(
        database: Database,
        options: LedgerOptions,
        source: impl Source + 'static,
        held: bool,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { held: AtomicBool::new(held), ..Shared::default() });
        let (bell, rung) = bounded(1);
        let batch_max = options.batch_max.max(1);
        let worker = Worker {
            database,
            suspicions: Suspicions::new(options.suspect),
            options,
            source,
            shared: shared.clone(),
            rung,
            batch_max,
            stride: Stride::new(batch_max),
            hurry: false,
            said: Minutely::default(),
            by_difference: false,
        };
        let thread =
            thread::Builder::new().name("margay-ledger".into()).spawn(move || worker.run())?;
        Ok(Self { shared, bell, thread })
    }

    /// The same where another process writes the database: nothing is written until [`Ledger::take_over`].
    pub fn start_held(
        database: Database,
        options: LedgerOptions,
        source: impl Source + 'static,
    ) -> io::Result<Self> {
        Self::start_as(database, options, source, true)
    }

    /// The other process writes no more.
    pub fn take_over(&self) {
        self.taking_over()();
    }

    /// [`Ledger::take_over`] for somebody elsewhere.
    pub fn taking_over(&self) -> impl Fn() + Send + Sync + use<> {
        let (shared, bell) = (self.shared.clone(), self.bell.clone());
        move || {
            shared.held.store(false, Ordering::Relaxed);
            let _ = bell.try_send(());
        }
    }

    /// How it is doing.
    pub fn status(&self) -> LedgerStatus {
        self.shared.status()
    }

    /// The same for somebody elsewhere, also when the ledger has stopped.
    pub fn watch_status(&self) -> impl Fn() -> LedgerStatus + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || shared.status()
    }

    /// Says what a start has found in the way of the database, until the ledger has found out for itself.
    pub fn begin_with(&self, obstacle: Obstacle) {
        self.shared.set(|status| {
            if status.state == State::Opening {
                status.state = State::Kept(obstacle);
            }
        });
    }

    /// Has clients measured by what the database knows of them, from this record on: the tracker does not know
    /// where they were, because records are missing that it should have begun with. To be said before it hears
    /// announces.
    pub fn measure_from(&self, record: u64) {
        self.measuring()(record);
    }

    /// [`Ledger::measure_from`] for somebody elsewhere.
    pub fn measuring(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let (shared, bell) = (self.shared.clone(), self.bell.clone());
        move |record| {
            *shared.measure_from.lock().expect("nobody panics with it") = Some(record);
            let _ = bell.try_send(());
        }
    }

    /// Writes what is there now, however little it is. A database that is away is not tried sooner.
    pub fn wake(&self) {
        let _ = self.bell.try_send(()); // Rung is rung.
    }

    /// Waits until all that was in the journal when this was called is in the database, or until
    /// `patience` is over; whether it is.
    pub fn drain(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        // The look that is going on may have begun before.
        let enough = self.status().caught_up + 2;
        while self.status().caught_up < enough {
            if Instant::now() >= deadline {
                return false;
            }
            self.wake();
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Writes what there is, for as long as `patience` lasts, and ends the thread. One that waits for the
    /// database even longer is left alone: whatever becomes of its last transaction, the position tells.
    pub fn stop(self, patience: Duration) -> LedgerStatus {
        let deadline = Instant::now() + patience;
        self.drain(patience);
        self.shared.stopping.store(true, Ordering::Relaxed);
        let left = deadline.saturating_duration_since(Instant::now()) + GRACE;
        join_within(self.thread, left, || _ = self.bell.try_send(()));
        self.shared.status()
    }
}

impl Shared {
    fn status(&self) -> LedgerStatus {
        self.status.lock().expect("nobody panics with it").clone()
    }

    fn set(&self, change: impl FnOnce(&mut LedgerStatus)) {
        change(&mut self.status.lock().expect("nobody panics with it"));
    }

    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The counts of what was written together.
struct Counts {
    records: u64,
    facts: u64,
    changes: u64,
    gone: u64,
}

impl Counts {
    fn of(batch: &[(u64, Record)]) -> Self {
        let count = |kind: fn(&Record) -> bool| {
            batch.iter().filter(|(_, record)| kind(record)).count() as u64
        };
        Self {
            records: batch.len() as u64,
            facts: count(|record| matches!(record, Record::Fact(_))),
            changes: count(|record| matches!(record, Record::Said(_))),
            gone: count(|record| matches!(record, Record::Gone(_))),
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot read the journal from record {0} on")]
    Journal(u64, #[source] SourceError),
    #[error("cannot fill the database")]
    Adopt(#[from] AdoptError),
    #[error(
        "a session of this tracker from before its restart is still there ({0}); the server notices \
         that it is gone"
    )]
    Remnant(SchemaWriter),
    #[error(
        "another tracker ({0}) writes this schema, and one tracker a schema is what there can be; give this \
         one --database-schema of its own"
    )]
    Shared(SchemaWriter),
    #[error("somebody writes this schema who ended a moment ago")]
    Passed,
    #[error("the database has moved from record {0} without this process")]
    Moved(u64),
    #[error("a user came into the database while he was written; all of it is written again")]
    Raced,
    #[error("the database refuses to keep what it refused: {error} ({sqlstate})")]
    Refused { sqlstate: String, error: String },
}

impl SessionError {
    /// The obstacle it is for the books; `None` when it is tried again at once, and will be so.
    fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::Database(error) => Some(error.into()),
            Self::Adopt(AdoptError::Database(error)) => Some(error.into()),
            Self::Adopt(_) => Some(Obstacle::Lasting(Lasting::Emptied)),
            Self::Journal(..) => Some(Obstacle::Passing(Passing::Journal)),
            Self::Remnant(_) => Some(Obstacle::Passing(Passing::Remnant)),
            Self::Shared(_) => Some(Obstacle::Lasting(Lasting::Shared)),
            Self::Passed | Self::Moved(_) | Self::Raced => None,
            Self::Refused { .. } => Some(Obstacle::Lasting(Lasting::Refused)),
        }
    }
}

struct Worker<S> {
    database: Database,
    options: LedgerOptions,
    source: S,
    shared: Arc<Shared>,
    rung: Receiver<()>,
    /// How many records the next batch may have; follows the time that batches take.
    batch_max: usize,
    /// How much is taken together next, far behind.
    stride: Stride,
    /// Somebody waits.
    hurry: bool,
    suspicions: Suspicions,
    said: Minutely,
    /// Clients were measured since this process began, see [`Writer::set_measure`].
    by_difference: bool,
}

impl<S: Source> Worker<S> {
    fn run(mut self) {
        let mut backoff = Backoff::new();
        while self.shared.held.load(Ordering::Relaxed) && !self.shared.stops() {
            let _ = self.rung.recv_timeout(HELD_LOOK);
        }
        while !self.shared.stops() {
            let Err(error) = self.session(&mut backoff) else { return };
            self.stride.fail();
            let obstacle = error.obstacle();
            let wait = match obstacle {
                Some(Obstacle::Lasting(_)) => LASTING_PERIOD,
                _ => backoff.next(),
            };
            let text = text_of(&error);
            let kind = obstacle.as_ref().map_or("moved", Obstacle::name);
            if let Some(count) = self.said.count(kind, 1) {
                tracing::warn!(error = text, count, again_in = ?wait, "the ledger waits");
            }
            let state = obstacle.map(State::Kept);
            self.shared.set(|status| {
                status.connected = false;
                status.retries += 1;
                status.last_error = Some(text);
                status.state = state.unwrap_or_else(|| status.state.clone());
            });
            self.look_ahead();
            self.pause(wait);
        }
    }

    /// Waits this long, whoever rings: only a stop ends it.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.shared.stops() {
            let _ = self.rung.recv_deadline(until);
            // Whoever waits rings again and again.
            thread::sleep(PAUSE.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Writes over one connection, until that fails or the thread is to stop.
    fn session(&mut self, backoff: &mut Backoff) -> Result<(), SessionError> {
        let (mut writer, next) = self.connect()?;
        let served = self.serve(&mut writer, next, backoff);
        if served.is_err() {
            writer.let_go();
        }
        served
    }

    /// The same, from a record on.
    fn serve(
        &mut self,
        writer: &mut Writer,
        mut next: u64,
        backoff: &mut Backoff,
    ) -> Result<(), SessionError> {
        let mut batch = Vec::new();
        let mut written_at = Instant::now();
        let mut checked_at = Instant::now();
        let mut cleaned_at: Option<Instant> = None;
        let mut looked_at = Instant::now();
        while !self.shared.stops() {
            if checked_at.elapsed() > CHECK_PERIOD {
                self.check(writer, next)?;
                checked_at = Instant::now();
            }
            if self.take_order(writer)? {
                self.begin_measuring(writer, next)?;
                batch.clear();
                self.source.seek(next).map_err(|source| SessionError::Journal(next, source))?;
            }
            if looked_at.elapsed() > LOOK_PERIOD {
                self.look_after(writer)?;
                looked_at = Instant::now();
            }
            if let Some(reached) = self.catch_up(writer, &mut batch, next)? {
                if reached > next {
                    backoff.reset();
                }
                next = reached;
                written_at = Instant::now();
                self.clean(writer, &mut cleaned_at)?;
                continue;
            }
            let room = self.batch_max.saturating_sub(batch.len());
            if let Err(source) = self.source.next_batch(room, &mut batch) {
                // What comes before is good, and written first.
                if batch.is_empty() {
                    next = self.go_on_behind(writer, next, source)?;
                    continue;
                }
                self.hurry = true;
            }
            self.tell_age(&batch);
            if batch.is_empty() {
                self.shared.set(|status| status.caught_up += 1);
                self.clean(writer, &mut cleaned_at)?;
                self.wait(self.options.period);
                written_at = Instant::now();
                continue;
            }
            let gathering = self.options.period.saturating_sub(written_at.elapsed());
            if batch.len() < self.batch_max && !gathering.is_zero() && !self.hurry {
                self.wait(gathering);
                continue;
            }
            written_at = Instant::now();
            self.write(writer, &batch, next)?;
            backoff.reset();
            next += batch.len() as u64;
            batch.clear();
            self.hurry = false;
            self.clean(writer, &mut cleaned_at)?;
        }
        Ok(())
    }

    /// With nothing to write, nobody would notice that the connection is gone, or that the database went back to a
    /// backup. And others are to know that this session is alive. A server that hangs is noticed before anything is
    /// asked of it that would wait for as long.
    fn check(&self, writer: &mut Writer, next: u64) -> Result<(), SessionError> {
        let failed = self.database.failed("reach the server");
        writer.check(CHECK_PERIOD).map_err(&failed)?;
        writer.beat().map_err(&failed)?;
        match writer.is_at(next).map_err(&failed)? {
            true => Ok(()),
            false => Err(SessionError::Moved(next)),
        }
    }

    /// Looks after what is to be seen to now and then.
    fn look_after(&mut self, writer: &mut Writer) -> Result<(), SessionError> {
        let failed = self.database.failed("see how the journal is written");
        let gaps = writer.gaps().map_err(&failed)?;
        let measuring = self.shared.status().state == State::Measuring;
        let ended = measuring
            && writer.end_measuring(self.options.peers_kept.as_secs()).map_err(&failed)?;
        if ended {
            tracing::info!(
                "clients are not measured any more: all that there can be have announced"
            );
        }
        self.shared.set(|status| {
            status.gaps = gaps;
            if ended {
                status.state = State::Up;
            }
        });
        Ok(())
    }

    fn write(
        &mut self,
        writer: &mut Writer,
        batch: &[(u64, Record)],
        next: u64,
    ) -> Result<(), SessionError> {
        Self::without_gap(batch, next)?;
        self.suspicions.hear(batch);
        let start = Instant::now();
        let last = next + (batch.len() as u64).saturating_sub(1);
        let life = Life::of(&self.source.lives(), last);
        let written = writer.write(batch, life);
        let tally = self.outcome(written, next)?;
        let took = start.elapsed();
        self.adapt(batch.len(), took);
        self.count(Counts::of(batch), tally, next, took);
        self.report(writer)
    }

    /// Whether these records follow on each other, from `next` on.
    fn without_gap(batch: &[(u64, Record)], next: u64) -> Result<(), SessionError> {
        let gap = batch.iter().zip(next..).find(|((number, _), expected)| number != expected);
        match gap {
            Some(((number, _), expected)) => {
                let source = format!("record {number} came where {expected} was expected").into();
                Err(SessionError::Journal(expected, source))
            }
            None => Ok(()),
        }
    }

    /// The outcome of writing records from `next` on.
    fn outcome(&self, written: Result<Outcome, Fault>, next: u64) -> Result<Tally, SessionError> {
        match written {
            Ok(Outcome::Written(tally)) => Ok(tally),
            Ok(Outcome::Moved) => Err(SessionError::Moved(next)),
            Err(Fault::Raced) => Err(SessionError::Raced),
            Err(Fault::Failed(error)) => {
                Err(self.database.failed("write the journal")(error).into())
            }
            Err(Fault::Refused { sqlstate, error }) => {
                Err(SessionError::Refused { sqlstate, error })
            }
        }
    }

    /// Writes down what was suspicious. That is no statistic: where the database does not take it, it goes
    /// to the log, and the ledger goes on.
    fn report(&mut self, writer: &mut Writer) -> Result<(), SessionError> {
        let rows = self.suspicions.rows();
        if rows.is_empty() {
            return Ok(());
        }
        match writer.write_suspicions(&rows) {
            Ok(()) | Err(Fault::Raced) => {}
            Err(Fault::Failed(error)) => {
                return Err(self.database.failed("report suspicions")(error).into());
            }
            Err(Fault::Refused { sqlstate, error }) => {
                let count = rows.len();
                tracing::warn!(
                    count,
                    sqlstate,
                    error,
                    "the database refused suspicions; they are gone"
                );
            }
        }
        let suspected = self.suspicions.settle();
        self.shared.set(|status| status.suspected = suspected);
        Ok(())
    }

    /// Large batches are cheaper a record, and one that takes long keeps rows locked that the site may
    /// want.
    fn adapt(&mut self, records: usize, took: Duration) {
        if took > BATCH_TIME {
            self.batch_max = (self.batch_max / 2).max(BATCH_MIN.min(self.options.batch_max.max(1)));
        } else if records == self.batch_max && took < BATCH_TIME / 4 {
            self.batch_max = (self.batch_max * 2).min(self.options.batch_max.max(1));
        }
    }

    fn count(&mut self, counts: Counts, tally: Tally, next: u64, took: Duration) {
        let Counts { records, facts, changes, gone } = counts;
        let batch_max = self.batch_max as u64;
        for ((part, sqlstate), (count, record, error)) in &tally.refusals {
            if let Some(count) = self.said.count(&format!("refused {part} {sqlstate}"), *count) {
                tracing::warn!(
                    count,
                    part,
                    sqlstate,
                    record,
                    error,
                    "the database refused records; they are in table rejected"
                );
            }
        }
        let unknown = tally.unknown_users;
        if unknown > 0
            && let Some(count) = self.said.count("unknown users", unknown)
        {
            tracing::warn!(
                count,
                "credit of users who are not in the database; it is in table rejected"
            );
        }
        let refusal = tally.refusals.into_iter().next_back();
        self.shared.set(|status| {
            status.position = Some(next + records);
            status.oldest_at = None;
            status.facts += facts;
            status.changes += changes;
            status.gone += gone;
            status.batches += 1;
            status.batch_records = records;
            status.batch_time = took;
            status.batches_time += took;
            status.batch_max = batch_max;
            status.rejected += tally.rejected;
            status.unknown_users += tally.unknown_users;
            status.unknown_torrents += tally.unknown_torrents;
            status.unknown_tokens += tally.unknown_tokens;
            if let Some(((part, _), (_, number, error))) = refusal {
                status.last_error = Some(format!("record {number} was refused: {part}: {error}"));
            }
        });
    }

    fn tell_age(&self, batch: &[(u64, Record)]) {
        let oldest_at = batch.iter().find_map(|(_, record)| match record {
            Record::Fact(fact) => Some(fact.at),
            Record::Gone(gone) => Some(gone.at),
            Record::Said(_) | Record::Tick(_) => None,
        });
        self.shared.set(|status| status.oldest_at = oldest_at);
    }

    /// Tells the age while there is no connection: with nothing to write when it was lost, nobody else
    /// looks into the journal. What cannot be read is told by the next session.
    fn look_ahead(&mut self) {
        let Some(next) = self.shared.status().position else { return };
        let mut records = Vec::new();
        let read =
            self.source.seek(next).and_then(|()| self.source.next_batch(LOOK_AHEAD, &mut records));
        if read.is_ok() {
            self.tell_age(&records);
        }
    }

    /// Removes peers that have been silent for long, and former passkeys that are over, some at a time. Where peers
    /// are not written, all of them: they say no more where a client was credited last, and nothing is to be
    /// measured from them when they are written again.
    fn clean(&self, writer: &mut Writer, at: &mut Option<Instant>) -> Result<(), SessionError> {
        if at.is_some_and(|at| at.elapsed() < CLEANING_PERIOD) {
            return Ok(());
        }
        let formers = writer
            .remove_over_formers(CLEANING_MAX)
            .map_err(self.database.failed("remove former passkeys that are over"))?;
        let kept = match self.options.peers {
            true => self.options.peers_kept,
            false => Duration::ZERO,
        };
        let peers = writer
            .remove_stale_peers(kept.as_secs(), CLEANING_MAX)
            .map_err(self.database.failed("remove peers that are gone"))?;
        // Where there may be more, it goes on after the next batch.
        *at = (formers.max(peers) < CLEANING_MAX).then(Instant::now);
        Ok(())
    }

    fn wait(&mut self, time: Duration) {
        self.hurry |= self.rung.recv_timeout(time).is_ok();
    }
}

/// The time a batch may take before the next one is made smaller.
const BATCH_TIME: Duration = Duration::from_secs(4);

/// Smaller batches would only be slower.
const BATCH_MIN: usize = 500;

/// How soon what lasts is looked at again.
const LASTING_PERIOD: Duration = Duration::from_secs(5);

/// How often is looked after what changes seldom.
const LOOK_PERIOD: Duration = Duration::from_secs(30);

/// How soon a stop is noticed while the database is not to be asked.
const PAUSE: Duration = Duration::from_millis(10);

/// How often the connection is looked at and says that it is alive, see [`super::schema_writer`], and how long it may
/// take to answer.
const CHECK_PERIOD: Duration = Duration::from_secs(5);

/// How often the tables of peers and of former passkeys are looked through, and how many rows of each are removed at
/// once.
const CLEANING_PERIOD: Duration = Duration::from_secs(3600);
const CLEANING_MAX: u64 = 20_000;

/// How long a thread that was told to stop may need beyond the patience of who stops it.
const GRACE: Duration = Duration::from_millis(200);

/// How often a ledger that is held looks whether it is to stop.
const HELD_LOOK: Duration = Duration::from_secs(1);

/// Records among which the oldest fact is looked for while the database is away.
const LOOK_AHEAD: usize = 256;
