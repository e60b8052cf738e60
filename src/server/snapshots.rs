//! When snapshots are written, and by whom: one at a time, on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use persist::{DataDir, Meta, SnapshotError, SnapshotWriter, Written};
use shard::{Piece, Seconds};

use super::cores::Cores;
use super::{ErrorChain, Event};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::State;
use crate::core::export::Exported;
use crate::core::message::Command;
use crate::net::thread;

/// Pieces on their way from the cores to the writer; about 32 KiB each. Cores that find the queue full
/// keep their piece and serve on.
const PIECES_MAX: usize = 16;

/// How a snapshot went.
pub(crate) struct Outcome {
    result: Result<Written, WriteError>,
    took: Duration,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("a core ended before it had sent all of its swarms")]
    Incomplete,
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
            events,
        }
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

    /// Starts a snapshot, unless one is under way.
    pub(super) fn start(&mut self, cores: &Cores, state: &State, clock: Clock) {
        self.due = self.every.map(|every| Instant::now() + every);
        if self.under_way {
            return;
        }
        let interval = self.longest_interval(cores, state);
        let meta = Meta { written_at: clock.now(), interval, peer_timeout: self.peer_timeout };
        let (sender, pieces) = crossbeam_channel::bounded(PIECES_MAX);
        let (data, events, kept) = (self.data.clone(), self.events.clone(), self.kept);
        let count = cores.count();
        let write = move || {
            thread::give_way();
            let began = Instant::now();
            let result = write(&data, meta, kept, &pieces, count);
            let _ = events.send(Event::SnapshotDone(Outcome { result, took: began.elapsed() }));
        };
        match std::thread::Builder::new().name("margay-snapshot".to_owned()).spawn(write) {
            Ok(_) => {
                self.under_way = true;
                cores.tell_all(&Command::Export(sender));
            }
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

    /// Takes note of how a snapshot went.
    pub(super) fn done(&mut self, outcome: Outcome, state: &State) {
        self.under_way = false;
        self.failed_last = outcome.result.is_err();
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
            }
            Err(error) => {
                tracing::error!(
                    error = %ErrorChain(&error),
                    "snapshot not written; the ones before are untouched, the next try comes by itself"
                );
                state.update_snapshot(|known| known.failed += 1);
            }
        }
    }
}

fn write(
    data: &DataDir,
    meta: Meta,
    kept: usize,
    pieces: &Receiver<Exported<Piece>>,
    cores: usize,
) -> Result<Written, WriteError> {
    let mut writer = SnapshotWriter::create(data, meta)?.keep(kept);
    let mut finished = 0;
    for exported in pieces {
        match exported {
            Exported::Piece(piece) => writer.append(&piece)?,
            Exported::End => finished += 1,
        }
    }
    if finished < cores {
        return Err(WriteError::Incomplete);
    }
    Ok(writer.finish()?)
}

fn unix_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
