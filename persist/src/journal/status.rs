//! The state of a journal that others may know while it is being written.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Found, JournalError, Life};

/// The figures of a journal, for metrics, for the ledger and for cores. Each is read for itself, at
/// any time; only [`Status::wait`] blocks.
#[derive(Debug)]
pub struct Status {
    dir: PathBuf,
    id: u64,
    begin: AtomicU64,
    end: AtomicU64,
    durable: AtomicU64,
    bytes: AtomicU64,
    refusing: AtomicBool,
    ended: AtomicBool,
    refused_batches: AtomicU64,
    refused_records: AtomicU64,
    syncs: AtomicU64,
    /// Unix milliseconds; 0: never.
    last_sync_at: AtomicU64,
    last_sync_micros: AtomicU64,
    released: AtomicU64,
    kept_bytes: AtomicU64,
    lives: Mutex<Vec<Life>>,
    damage: Mutex<Vec<Found>>,
    last_error: Mutex<Option<String>>,
    /// With `last_error`: more is durable.
    more: Condvar,
}

impl Status {
    pub(super) fn new(dir: PathBuf, id: u64) -> Self {
        Self {
            dir,
            id,
            begin: AtomicU64::new(0),
            end: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            refused_batches: AtomicU64::new(0),
            refused_records: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            last_sync_at: AtomicU64::new(0),
            last_sync_micros: AtomicU64::new(0),
            released: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            lives: Mutex::default(),
            damage: Mutex::default(),
            last_error: Mutex::new(None),
            more: Condvar::new(),
        }
    }

    /// The folder of the segments.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// See [`super::Journal::id`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The sequence number of the oldest record kept.
    pub fn begin(&self) -> u64 {
        self.begin.load(Relaxed)
    }

    /// The sequence number that comes next.
    pub fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }

    /// Records before this sequence number are durable.
    pub fn durable(&self) -> u64 {
        self.durable.load(Acquire)
    }

    /// The size of all segments.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// False when the last attempt to append or to sync failed. What is sent now will most likely be
    /// refused, so baselines stay where they are: credit is postponed.
    pub fn accepting(&self) -> bool {
        !self.refusing.load(Relaxed)
    }

    /// Batches that were not appended.
    pub fn refused_batches(&self) -> u64 {
        self.refused_batches.load(Relaxed)
    }

    /// Records in them.
    pub fn refused_records(&self) -> u64 {
        self.refused_records.load(Relaxed)
    }

    /// Syncs that succeeded.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Relaxed)
    }

    /// When the last of them ended.
    pub fn last_sync_at(&self) -> Option<SystemTime> {
        match self.last_sync_at.load(Relaxed) {
            0 => None,
            millis => Some(UNIX_EPOCH + Duration::from_millis(millis)),
        }
    }

    /// How long it took.
    pub fn last_sync_time(&self) -> Duration {
        Duration::from_micros(self.last_sync_micros.load(Relaxed))
    }

    /// Why an attempt to append or to sync failed most recently.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a record with this sequence number or a later one is durable, at most for
    /// `timeout`. Returns [`Status::durable`].
    pub fn wait(&self, sequence: u64, timeout: Duration) -> u64 {
        let guard = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let still = |_: &mut _| self.durable() <= sequence;
        drop(self.more.wait_timeout_while(guard, timeout, still));
        self.durable()
    }

    /// Says that records before `sequence` are needed by nobody: the database has them, and a snapshot
    /// covers them. Segments that hold nothing else are kept for as long as [`super::Options::keep`] says,
    /// and give way sooner when their room is needed.
    pub fn release(&self, sequence: u64) {
        self.released.store(sequence, Relaxed);
    }

    /// Says that records from `sequence` on are needed after all: a database that was restored lacks them.
    pub fn hold(&self, sequence: u64) {
        self.released.fetch_min(sequence, Relaxed);
    }

    /// Records before this sequence number are needed by nobody.
    pub fn released(&self) -> u64 {
        self.released.load(Relaxed)
    }

    /// Of [`Status::bytes`], what is needed by nobody, and kept for a database that is restored.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes.load(Relaxed)
    }

    /// The lives of the journal, oldest first, as far as it is kept; see [`super::Journal::lives`].
    pub fn lives(&self) -> Vec<Life> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In which life a record was written; `None` for one that is not kept, or not written yet.
    pub fn life_of(&self, sequence: u64) -> Option<u64> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        Life::of(&lives, sequence).filter(|_| sequence < self.end())
    }

    /// Whether a database with all records before `next`, the last one of them of this life, has what this
    /// journal has before that record, and not what another copy of it had. What is not kept is believed.
    pub fn wrote(&self, next: u64, life: Option<u64>) -> bool {
        let (begin, end) = (self.begin(), self.end());
        let last = next.checked_sub(1).and_then(|last| self.life_of(last));
        next <= begin || (next <= end && last == Some(life.unwrap_or(0)))
    }

    pub(super) fn set_lives(&self, lives: Vec<Life>) {
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner) = lives;
    }

    pub(super) fn damage(&self) -> MutexGuard<'_, Vec<Found>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_kept_bytes(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Relaxed);
    }

    pub(super) fn publish(&self, begin: u64, end: u64, durable: u64, bytes: u64) {
        self.begin.store(begin, Relaxed);
        self.end.store(end, Relaxed);
        self.bytes.store(bytes, Relaxed);
        if self.durable.swap(durable, AcqRel) != durable {
            // Under the lock, so that nobody is between looking and waiting.
            drop(self.last_error.lock().unwrap_or_else(PoisonError::into_inner));
            self.more.notify_all();
        }
    }

    pub(super) fn accept(&self) {
        self.refusing.store(false, Relaxed);
    }

    pub(super) fn refuse(&self, error: &JournalError) {
        self.refusing.store(true, Relaxed);
        let text = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// Whether the thread that wrote it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    pub(super) fn note_end(&self) {
        self.ended.store(true, Release);
    }

    /// It was not meant to end.
    pub(super) fn end_badly(&self, why: &str) {
        self.refusing.store(true, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        self.more.notify_all();
    }

    pub(super) fn count_refused(&self, records: usize) {
        self.refused_batches.fetch_add(1, Relaxed);
        self.refused_records.fetch_add(records as u64, Relaxed);
    }

    pub(super) fn synced(&self, time: Duration) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_sync_at.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.last_sync_micros.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.syncs.fetch_add(1, Relaxed);
    }
}
