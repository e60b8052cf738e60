//! When snapshots are written, and by whom: one at a time, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use ops::health::Phase;
use persist::{Covered, DataDir, Meta, Mode, Snapshot, SnapshotError, SnapshotWriter, Written};
use shard::Seconds;

use super::Event;
use super::cores::Cores;
use crate::config::Config;
use crate::control::State;
use crate::core::mesh::Address;
use crate::core::mesh::barrier::{self, HAND_OVER_PATIENCE, Unreached};
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::message::{Exported, Part};
use crate::private::books::Registers;
use crate::process::clock::Clock;
use crate::process::thread;
use ops::log::ErrorChain;

/// Pieces on their way from the cores to the writer; about 32 KiB each. Cores that find the queue full
/// keep their piece and serve on.
const PIECES_MAX: usize = 16;

/// How a snapshot went.
pub(crate) struct Outcome {
    result: Result<Written, WriteError>,
    took: Duration,
    /// From where on the snapshots there are now need the journal.
    journal_needed_from: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("a core ended before it had sent all of its swarms")]
    Incomplete,
    #[error("a snapshot would know of credit that nobody has written down")]
    NotHandedOver(#[from] Unreached),
}

/// The snapshots of this process.
pub(super) struct Snapshots {
    data: Arc<DataDir>,
    every: Option<Duration>,
    kept: usize,
    due: Option<Instant>,
    under_way: bool,
    failed_last: bool,
    interval_longest: Seconds,
    peer_timeout: Seconds,
    registers: Option<Registers>,
    journal_needed_from: Option<u64>,
    events: Sender<Event>,
}

impl Snapshots {
    pub(super) fn new(data: Arc<DataDir>, config: &Config, events: Sender<Event>) -> Self {
        let seconds = |time: Duration| Seconds(time.as_secs() as u32);
        Self {
            data,
            every: config.snapshot_interval,
            kept: config.snapshots_kept,
            due: config.snapshot_interval.map(|every| Instant::now() + every),
            under_way: false,
            failed_last: false,
            interval_longest: seconds(config.interval_max),
            peer_timeout: seconds(config.peer_timeout_at(config.interval_max)),
            registers: None,
            journal_needed_from: None,
            events,
        }
    }

    /// Snapshots of a private tracker, which has these.
    pub(super) fn of_private(mut self, registers: Registers) -> Self {
        let known = Snapshot::oldest_covered(&self.data, registers.journal.id());
        // Until a snapshot says otherwise, all of the journal is needed.
        self.journal_needed_from = known.unwrap_or_default();
        self.registers = Some(registers);
        self
    }

    /// From which record on a start from any of the snapshots needs the journal; `None` before the
    /// first snapshot, while all of it is needed. Records that the database has as well may go.
    pub(super) fn journal_needed_from(&self) -> Option<u64> {
        self.journal_needed_from
    }

    /// When the next one is to be started; `None` while one is under way or when none is wanted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.under_way)
    }

    pub(super) fn under_way(&self) -> bool {
        self.under_way
    }

    pub(super) fn failed_last(&self) -> bool {
        self.failed_last
    }

    /// The data folder that they are in.
    pub(super) fn data(&self) -> Arc<DataDir> {
        self.data.clone()
    }

    /// Starts a snapshot, unless one is under way.
    pub(super) fn start(&mut self, cores: &Cores, state: &State, clock: Clock) {
        self.due = self.every.map(|every| Instant::now() + every);
        if self.under_way {
            return;
        }
        let meta = Meta {
            written_at: clock.now(),
            interval: self.longest_interval(cores, state),
            peer_timeout: self.peer_timeout,
            mode: Mode::Open,
        };
        let (data, events, kept) = (self.data.clone(), self.events.clone(), self.kept);
        let (addresses, registers) = (cores.addresses(), self.registers.clone());
        let write = move || {
            thread::give_way();
            let began = Instant::now();
            let journal = registers.as_ref().map(|registers| registers.journal.id());
            let work = Work { data: &data, meta, kept, cores: &addresses };
            let result = match registers {
                None => work.write(),
                Some(registers) => work.write_private(&registers),
            };
            let needed = journal.map(|id| Snapshot::oldest_covered(&data, id));
            let journal_needed_from = needed.and_then(|needed| needed.ok().flatten());
            let outcome = Outcome { result, took: began.elapsed(), journal_needed_from };
            let _ = events.send(Event::SnapshotDone(outcome));
        };
        match std::thread::Builder::new().name("margay-snapshot".to_owned()).spawn(write) {
            Ok(_) => self.under_way = true,
            Err(error) => {
                self.failed_last = true;
                tracing::error!(%error, "cannot start a thread for the snapshot; trying again later");
            }
        }
    }

    /// The longest interval a client may have been told: an answer may be half as long again as the
    /// interval of its core.
    fn longest_interval(&self, cores: &Cores, state: &State) -> Seconds {
        let intervals = (0..cores.count()).map(|core| state.slot(core).load().interval_seconds);
        match intervals.max() {
            Some(longest @ 1..) => Seconds(longest + longest / 2).min(self.interval_longest),
            _ => self.interval_longest,
        }
    }

    /// Takes note of how a snapshot went; the file, when it is written.
    pub(super) fn done(&mut self, outcome: Outcome, state: &State) -> Option<PathBuf> {
        self.under_way = false;
        self.failed_last = outcome.result.is_err();
        self.journal_needed_from = outcome.journal_needed_from.or(self.journal_needed_from);
        match outcome.result {
            Ok(written) => {
                tracing::info!(
                    path = %written.path.display(),
                    bytes = written.bytes,
                    torrents = written.totals.swarms,
                    peers = written.totals.peers(),
                    seconds = outcome.took.as_secs_f64(),
                    "snapshot written"
                );
                state.update_snapshot(|known| {
                    known.written += 1;
                    known.newest = Some(unix_now());
                    known.write_nanos = outcome.took.as_nanos() as u64;
                    known.bytes = written.bytes;
                    known.peers = written.totals.peers();
                    known.torrents = written.totals.swarms;
                });
                Some(written.path)
            }
            Err(error) => {
                let next = match state.phase() {
                    Phase::Draining => "none, it is stopping",
                    _ => "by itself",
                };
                tracing::error!(
                    error = %ErrorChain(&error),
                    next,
                    "snapshot not written; the ones before are untouched"
                );
                state.update_snapshot(|known| known.failed += 1);
                None
            }
        }
    }
}

/// A snapshot that a thread writes.
struct Work<'a> {
    data: &'a DataDir,
    meta: Meta,
    kept: usize,
    cores: &'a [Address<Message>],
}

impl Work<'_> {
    /// Of an open tracker.
    fn write(&self) -> Result<Written, WriteError> {
        let mut writer = SnapshotWriter::create(self.data, self.meta)?.keep(self.kept);
        self.write_shards(&mut writer)?;
        Ok(writer.finish()?)
    }

    /// Of a private one. It says up to where of the journal it goes: what is journaled by then has been
    /// applied, so it is in everything that is read afterwards; what is journaled later is replayed, and
    /// does no harm where it is in the snapshot as well.
    ///
    /// The file is put in place when the journal has everything that is in it. Otherwise a crash could
    /// leave baselines behind whose credit nobody has written down.
    fn write_private(&self, registers: &Registers) -> Result<Written, WriteError> {
        barrier::hand_over(self.cores, HAND_OVER_PATIENCE)?;
        let Registers { accounts, site, journal } = registers;
        let covered = Covered { journal: journal.id(), position: journal.durable() };
        let meta = Meta { mode: Mode::Private(covered), ..self.meta };
        let mut writer = SnapshotWriter::create(self.data, meta)?.keep(self.kept);

        // First into memory: while a user is looked at, nobody may wait for the disk.
        let mut users = Vec::with_capacity(accounts.len());
        accounts.for_each(|known| users.push((known.passkey, known.user, known.enabled)));
        for (passkey, user, enabled) in users {
            // One whose passkey is another's by now gets his with the next word about him.
            if accounts.holder(&passkey) == Some(user.id) {
                writer.append_user(&passkey, user, enabled)?;
            }
        }
        accounts.forget_over_formers(self.meta.written_at);
        let mut formers = Vec::new();
        accounts.for_each_former(|user, former| formers.push((user, former)));
        for (user, former) in formers {
            writer.append_former(user, &former.passkey, former.good_until)?;
        }
        for (id, group) in accounts.groups().all() {
            writer.append_group(id, group.downloads_max)?;
        }
        let mut rules = Vec::new();
        site.for_each_rule(|prefix, allow| rules.push((prefix.clone(), allow)));
        for (prefix, allow) in rules {
            writer.append_rule(&prefix, allow)?;
        }
        self.write_shards(&mut writer)?;
        barrier::hand_over(self.cores, HAND_OVER_PATIENCE)?;
        Ok(writer.finish()?)
    }

    /// Has every core send its shard, and writes it.
    fn write_shards(&self, writer: &mut SnapshotWriter) -> Result<(), WriteError> {
        let (sender, pieces) = crossbeam_channel::bounded(PIECES_MAX);
        barrier::tell_all(self.cores, &Command::Export(sender))?;
        let mut finished = 0;
        for exported in &pieces {
            match exported {
                Exported::Piece(Part::Open(piece)) => writer.append(&piece)?,
                Exported::Piece(Part::Private(piece)) => writer.append_private(&piece)?,
                Exported::End => finished += 1,
            }
        }
        if finished < self.cores.len() {
            return Err(WriteError::Incomplete);
        }
        Ok(())
    }
}

fn unix_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
