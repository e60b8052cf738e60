//! The journal: what announces and the site did, in one order, on the disk before anything else.
//!
//! Cores hand records over in batches, [`JournalThread`] appends them to a [`Journal`] and syncs it
//! on an interval; a [`Reader`] gives them back, to the ledger as they become durable and to a
//! tracker that starts again. The place of a record is its *sequence number*: 0 for the first, one
//! more for each.
//!
//! The journal is a folder of *segments*, each named by the sequence number of its first record. A
//! segment ends where the next one begins. Records stand in frames with checksums (see `format`), so
//! that a crash costs nothing but batches at the end that were not synced yet, each as a whole.
//!
//! **When a sync fails**, Linux may have dropped the pages that it could not write, and says so only
//! once: a second fsync that succeeds proves nothing. So the segment is given up behind the last byte
//! that an earlier sync covered, and everything after it, which is kept in memory until it is
//! durable, is written again into a new segment. The same is done when a write fails and what it left
//! cannot be cut off. Until that succeeds nothing counts as durable and appending fails.

mod bytes;
mod format;
mod inspect;
mod keep;
mod lives;
mod names;
#[cfg(test)]
pub(crate) mod random;
mod reader;
mod record;
mod scan;
mod segment;
mod status;
mod survey;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use format::{Damage, FORMAT, FORMAT_OLDEST};
pub use inspect::{Found, inspect};
pub use lives::Life;
pub use reader::{Reader, cut_by};
pub use record::{Columns, Record, Said};
pub use scan::Torn;
pub use status::Status;
pub use survey::{SegmentFile, Survey, segments, survey};
pub use thread::{Answer, Batch, JournalSender, JournalThread, Refusal, ThreadOptions};

use crate::data_dir::{DataDir, UNFINISHED, sync_dir};
use crate::trouble::Trouble;
use format::{HEADER_BYTES, Header, PAYLOAD_BYTES, PAYLOAD_BYTES_MAX, close_frame, open_frame};
use names::{FOLDER, Name};
use scan::Scan;
use segment::{Segment, nanos_now};

/// How a journal divides and bounds itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// A segment that has so many bytes is followed by a new one: 4 KiB to 1 GiB, and at most a quarter
    /// of `bytes_max`, as only whole segments can be deleted.
    pub segment_bytes: u64,
    /// All segments together; what would go beyond is refused.
    pub bytes_max: u64,
    /// How long segments are kept that nobody needs any more ([`Status::release`]): a database that is
    /// restored to an older state is caught up from them.
    pub keep: Duration,
    /// How much of them is kept at most. They also give way before anything is refused.
    pub keep_bytes: u64,
    /// A journal that is empty, or ends before this sequence number, goes on at it: at least where a
    /// snapshot or the database already are. Otherwise new records would have the numbers of old
    /// ones, and be passed over.
    pub begin_at: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            bytes_max: 8 << 30,
            keep: Duration::from_secs(26 * 3600),
            keep_bytes: 4 << 30,
            begin_at: 0,
        }
    }
}

/// An error of a journal. Whoever reports it prints the source too.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields: the texts say it.
pub enum JournalError {
    /// A file or the folder cannot be read; it may be fine.
    #[error("cannot read journal {path}")]
    Read { path: PathBuf, source: io::Error },
    /// Nothing of what was to be written is there; everything before is as it was.
    #[error("cannot write journal {path}; make room or mend the disk, it is tried again")]
    Write { path: PathBuf, source: io::Error },
    /// The bound is reached; nothing was written.
    #[error(
        "the journal has {bytes} bytes and may have {bytes_max}; it becomes smaller when the \
         database and a snapshot have what is in it"
    )]
    Full { bytes: u64, bytes_max: u64 },
    /// A record, or all of the batch, is larger than the format allows; nothing was written.
    #[error("{bytes} bytes are too many for the journal at once")]
    TooLarge { bytes: usize },
    /// A segment is of a format this program does not know.
    #[error(
        "journal segment {path} has format {found}, and this margay reads formats {FORMAT_OLDEST} to \
         {FORMAT}; start margay {version}, which wrote it"
    )]
    Format { path: PathBuf, found: u32, version: String },
    /// A segment is not as it was written. Its records before `sequence` are good.
    #[error(
        "journal segment {path} is damaged: {damage}. Put a good copy of the file in its place; or, \
         to give up record {sequence} and all after it, cut the file off (truncate --size={} {path}; \
         at 0 move it away) and move all later segments out of the folder",
        .damage.offset()
    )]
    Damaged { path: PathBuf, sequence: u64, damage: Damage },
    /// Records between two segments are not there.
    #[error(
        "journal {dir} has no records from {from} to {to} (exclusive); put the segment back that \
         begins with record {from} or before"
    )]
    Missing { dir: PathBuf, from: u64, to: u64 },
    /// A reader asked for records that have been deleted.
    #[error("the journal begins with record {begin}; record {from} is not kept any more")]
    Gone { from: u64, begin: u64 },
    /// A reader asked for records that were never written here.
    #[error(
        "the journal ends before record {end}, and record {from} is asked for: it is not the journal \
         that was read before, or a part of it is lost"
    )]
    Ahead { from: u64, end: u64 },
}

impl JournalError {
    /// True when there is no room: the bound is reached, or the disk or a quota is full. Later there
    /// may be.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::Full { .. } => true,
            Self::Write { source, .. } => {
                matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            _ => false,
        }
    }
}

/// A journal that is being written, by this value alone. Blocks on the disk.
///
/// Appended records are written to the file at once and kept in memory until they are durable, at most 8 MiB and one
/// batch.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    options: Options,
    /// Segments before the active one, oldest first.
    sealed: VecDeque<Sealed>,
    /// The last segment; `None` after a failure, until there is a new one at `durable`.
    active: Option<Segment>,
    /// Nothing may be written into the active segment any more: a new one was perhaps begun, or it has an
    /// older format.
    rotation_due: bool,
    /// The frames that are not durable.
    unsynced: Vec<u8>,
    /// Room for the frames of a batch.
    frames: Vec<u8>,
    durable: u64,
    end: u64,
    /// The life of the journal that began when this value was made.
    life: Life,
    status: Arc<Status>,
}

/// A segment that is not written any more.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    first: u64,
    bytes: u64,
    life: u64,
    /// Unix nanoseconds.
    begun_at: u64,
}

impl Sealed {
    fn new(header: &Header, bytes: u64) -> Self {
        let Header { first, life, begun_at, .. } = *header;
        Self { first, bytes, life, begun_at }
    }
}

impl Journal {
    /// Opens the journal of a data directory, `DATA/journal`, or begins one.
    ///
    /// The last segment is read to its end. Where that is no whole batch, as a crash or a power cut
    /// leaves it, the rest is cut off and logged. It is an error when that would throw away what is
    /// known to have been durable: when a later batch was written after a sync of the damaged one. Other segments are only looked at, a [`Reader`] checks their content.
    /// A disk without room is no error: appending says so.
    pub fn open(data: &DataDir, options: Options) -> Result<Self, JournalError> {
        let dir = data.path().join(FOLDER);
        make_folder(data, &dir)
            .map_err(|source| JournalError::Write { path: dir.clone(), source })?;
        Self::open_as(dir, options, None)
    }

    /// The journal of a data directory that another process still writes. Nothing may be appended before
    /// [`Journal::go_on`]; its [`Journal::id`] is known.
    pub fn of_another(data: &DataDir, options: Options) -> Result<Self, JournalError> {
        let dir = data.path().join(FOLDER);
        let read = |source| JournalError::Read { path: dir.clone(), source };
        let newest = Name::list(&dir).map_err(read)?.pop();
        let newest = newest.ok_or(JournalError::Gone { from: 0, begin: 0 })?;
        let id = Scan::open(newest.path(&dir))?.header.id;
        let options = options.bounded();
        Ok(Self::without_segments(dir.clone(), options, Arc::new(Status::new(dir, id)), newest.0))
    }

    /// Goes on with what another process may have written since this value was made, or wrote last: reads the
    /// folder again. After an error it can be tried again, and nothing may be appended before that.
    pub fn go_on(&mut self) -> Result<(), JournalError> {
        *self = Self::open_as(self.dir.clone(), self.options, Some(self.status.clone()))?;
        Ok(())
    }

    /// What is appended from here on stands in a segment of its own, so that whoever goes on with the journal has little to
    /// read.
    pub fn divide(&mut self) {
        self.rotation_due = true;
    }

    fn open_as(
        dir: PathBuf,
        options: Options,
        status: Option<Arc<Status>>,
    ) -> Result<Self, JournalError> {
        let read = |source| JournalError::Read { path: dir.clone(), source };
        remove_unfinished(&dir).map_err(read)?;
        let names = Name::list(&dir).map_err(read)?;
        let options = options.bounded();

        let mut id = status.as_ref().map(|status| status.id());
        let (mut sealed, mut active, mut end) = (VecDeque::new(), None, 0);
        for (at, name) in names.iter().enumerate() {
            let scan = Scan::open(name.path(&dir))?;
            check_id(&scan, *id.get_or_insert(scan.header.id))?;
            if at + 1 < names.len() {
                let (path, header) = (scan.path.clone(), scan.header);
                let bytes = scan.file_bytes();
                let bytes = bytes.map_err(|source| JournalError::Read { path, source })?;
                sealed.push_back(Sealed::new(&header, bytes));
            } else {
                let last;
                (last, end) = resume(scan)?;
                active = Some(last);
            }
        }

        let id = id.unwrap_or_else(|| RandomState::new().hash_one(0));
        let status = status.unwrap_or_else(|| Arc::new(Status::new(dir.clone(), id)));
        let mut journal = Self::without_segments(dir, options, status, end);
        // A life begins with a segment of its own, so that it can be told from the one before; and what
        // is new in this format must not stand behind a header of an older one.
        journal.rotation_due = active.is_some();
        (journal.sealed, journal.active) = (sealed, active);
        journal.begin_at(options.begin_at)?;
        journal.publish();
        journal.publish_lives();
        Ok(journal)
    }

    /// A life that begins with record `end`, without any segments.
    fn without_segments(dir: PathBuf, options: Options, status: Arc<Status>, end: u64) -> Self {
        let life = Life {
            id: RandomState::new().hash_one(1).max(1),
            first: end,
            begun_at: nanos_now() / 1_000_000,
        };
        Self {
            dir,
            options,
            sealed: VecDeque::new(),
            active: None,
            rotation_due: false,
            unsynced: Vec::new(),
            frames: Vec::new(),
            durable: end,
            end,
            life,
            status,
        }
    }

    /// Appends records, all or none, and returns the sequence number of the first. They are durable
    /// once [`Journal::sync`] has returned a larger number; a killed process loses none of them, a
    /// power cut may.
    ///
    /// After an error nothing of them is in the file, and the next call tries again whatever is left to
    /// be repaired.
    pub fn append(&mut self, records: &[Record]) -> Result<u64, JournalError> {
        let appended = self.making_room(|journal| journal.try_append(records));
        match &appended {
            Ok(_) => self.status.accept(),
            Err(error) => {
                self.status.count_refused(records.len());
                if !matches!(error, JournalError::TooLarge { .. }) {
                    self.status.refuse(error);
                }
            }
        }
        self.publish();
        appended
    }

    /// Makes everything appended durable; returns the sequence number behind it.
    ///
    /// After an error nothing has been lost, unless the process ends before a later call succeeds.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        if self.durable == self.end && self.active.is_some() {
            return Ok(self.durable);
        }
        let start = Instant::now();
        let synced = self.making_room(Self::try_sync);
        match &synced {
            Ok(()) => self.status.synced(start.elapsed()),
            Err(error) => self.status.refuse(error),
        }
        self.publish();
        synced.map(|()| self.durable)
    }

    /// After an error: repairs what has to be, and tries whether there is room for some records. Then
    /// [`Status::accepting`] is true again.
    pub fn probe(&mut self) -> Result<(), JournalError> {
        let probed = self.making_room(Self::try_probe);
        match &probed {
            Ok(()) => self.status.accept(),
            Err(error) => self.status.refuse(error),
        }
        self.publish();
        probed
    }

    /// Deletes the segments that hold nothing but records before `sequence`; the last one stays.
    /// Returns how many bytes that freed.
    pub fn delete_before(&mut self, sequence: u64) -> Result<u64, JournalError> {
        let mut freed = 0;
        while let Some(oldest) = self.sealed.front() {
            if self.first_after(0) > sequence {
                break;
            }
            let path = Name(oldest.first).path(&self.dir);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(JournalError::Write { path, source });
                }
                _ => freed += oldest.bytes,
            }
            self.sealed.pop_front();
            self.publish();
            self.publish_lives();
        }
        if freed > 0 {
            let path = || self.dir.clone();
            sync_dir(&self.dir).map_err(|source| JournalError::Write { path: path(), source })?;
        }
        Ok(freed)
    }

    /// The sequence number that comes next.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Records before this sequence number are durable.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The sequence number of the oldest record kept.
    pub fn begin(&self) -> u64 {
        let active = self.active.as_ref().map(|active| active.header.first);
        self.sealed.front().map(|oldest| oldest.first).or(active).unwrap_or(self.durable)
    }

    /// The size of all segments.
    pub fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        self.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>() + active
    }

    /// Which journal this is: random, and the same in all its segments. A position in another journal
    /// means nothing here.
    pub fn id(&self) -> u64 {
        self.status.id()
    }

    /// The figures for others, kept up to date.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Goes on at this sequence number, when it ends before it: see [`Options::begin_at`].
    pub fn begin_at(&mut self, sequence: u64) -> Result<(), JournalError> {
        if sequence > self.end {
            if self.active.is_some() {
                tracing::warn!(
                    "the journal ends before record {}, and goes on with record {sequence}, where \
                     snapshot or database are",
                    self.end
                );
            }
            (self.durable, self.end) = (sequence, sequence);
            self.give_up();
            self.publish_lives();
        }
        match self.active.is_none().then(|| self.try_sync()) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.is_full() => {
                tracing::error!("{error}");
                self.status.refuse(&error);
                Ok(())
            }
            Some(Err(error)) => Err(error),
        }
        .inspect(|()| self.publish())
    }

    fn try_append(&mut self, records: &[Record]) -> Result<u64, JournalError> {
        if records.is_empty() {
            return Ok(self.end);
        }
        if self.active.is_none() || self.unsynced.len() >= UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let written = encode(records, self.end, &mut frames).and_then(|()| self.write(&mut frames));
        if written.is_ok() {
            self.unsynced.extend_from_slice(&frames);
        }
        self.frames = frames;
        written?;
        let first = self.end;
        self.end += records.len() as u64;
        Ok(first)
    }

    fn write(&mut self, frames: &mut [u8]) -> Result<(), JournalError> {
        self.refuse_beyond_bound(frames.len())?;
        let active = self.active.as_ref().expect("a sync has succeeded since there was none");
        let bytes = active.bytes + frames.len() as u64;
        let full = active.bytes > HEADER_BYTES as u64 && bytes > self.options.segment_bytes;
        if full || self.rotation_due {
            self.rotate()?;
        }
        let active = self.active.as_mut().expect("rotating leaves one");
        let written = active.append(frames);
        self.or_give_up(written)
    }

    /// Seals the active segment and begins one after it.
    fn rotate(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        // When this fails, there may be a segment of that name all the same.
        self.rotation_due = true;
        let next = self.create()?;
        if let Some(active) = self.active.replace(next) {
            // Empty, it had the same name as the next one.
            if active.header.first < self.end {
                self.sealed.push_back(Sealed::new(&active.header, active.bytes));
            }
        }
        self.rotation_due = false;
        self.publish_lives();
        Ok(())
    }

    fn try_sync(&mut self) -> Result<(), JournalError> {
        if let Some(active) = &mut self.active {
            match active.sync() {
                Ok(()) => {
                    self.all_is_durable();
                    return Ok(());
                }
                Err(error) => {
                    if let Some(times) = UNSYNCED.again("") {
                        tracing::error!(
                            path = %active.path.display(), %error, times,
                            "a sync of the journal failed; what was not durable goes into a new segment"
                        );
                    }
                    self.give_up();
                }
            }
        }
        self.active = Some(self.create()?);
        self.rotation_due = false;
        self.all_is_durable();
        self.publish_lives();
        Ok(())
    }

    fn try_probe(&mut self) -> Result<(), JournalError> {
        if self.active.is_none() || self.durable < self.end {
            self.sync()?;
        }
        self.refuse_beyond_bound(PROBE_BYTES)?;
        if self.rotation_due {
            self.rotate()?;
        }
        let active = self.active.as_mut().expect("a sync has succeeded since there was none");
        let probed = active.probe(PROBE_BYTES);
        self.or_give_up(probed)
    }

    /// A segment that begins with what is not durable.
    fn create(&mut self) -> Result<Segment, JournalError> {
        let first = self.durable;
        let which = (self.status.id(), self.life.id);
        Segment::create(&self.dir, first, which, &mut self.unsynced)
            .map_err(|source| JournalError::Write { path: Name(first).path(&self.dir), source })
    }

    fn or_give_up(&mut self, done: Result<(), (io::Error, bool)>) -> Result<(), JournalError> {
        done.map_err(|(source, usable)| {
            let path = self.active.as_ref().map_or(&self.dir, |active| &active.path).clone();
            if !usable {
                self.give_up();
            }
            JournalError::Write { path, source }
        })
    }

    /// Does not write the active segment any more; what is durable in it stays.
    fn give_up(&mut self) {
        if let Some(active) = self.active.take() {
            let header = active.header;
            let bytes = active.give_up();
            // Without a durable record, its name is that of the segment to come.
            if header.first < self.durable {
                self.sealed.push_back(Sealed::new(&header, bytes));
            }
        }
    }

    fn all_is_durable(&mut self) {
        self.durable = self.end;
        self.unsynced.clear();
        self.unsynced.shrink_to(2 * UNSYNCED_BYTES_MAX);
    }

    fn refuse_beyond_bound(&self, more: usize) -> Result<(), JournalError> {
        let (bytes, bytes_max) = (self.bytes(), self.options.bytes_max);
        if bytes + more as u64 > bytes_max {
            return Err(JournalError::Full { bytes, bytes_max });
        }
        Ok(())
    }

    /// The first record after the sealed segment at this place.
    fn first_after(&self, at: usize) -> u64 {
        let active = self.active.as_ref().map_or(self.durable, |active| active.header.first);
        self.sealed.get(at + 1).map_or(active, |next| next.first)
    }

    fn publish(&self) {
        self.status.publish(self.begin(), self.end, self.durable, self.bytes());
    }
}

impl Options {
    fn bounded(self) -> Self {
        let most = (self.bytes_max / 4).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        Self { segment_bytes: self.segment_bytes.clamp(SEGMENT_BYTES_MIN, most), ..self }
    }
}

const SEGMENT_BYTES_MIN: u64 = 4 << 10;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// When more is not durable, appending syncs first: what a failed sync makes necessary to write again.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
/// A batch that is larger is refused.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// There is room again when there is room for so much: some thousand records.
const PROBE_BYTES: usize = 256 << 10;

static UNSYNCED: Trouble = Trouble::new();

/// Puts records into frames, whose heads are completed when their place is known.
fn encode(
    mut records: &[Record],
    mut first: u64,
    frames: &mut Vec<u8>,
) -> Result<(), JournalError> {
    while !records.is_empty() {
        let head = open_frame(frames);
        let payload = frames.len();
        let mut whole = payload;
        let mut count = 0;
        for record in records {
            record.encode(frames);
            if frames.len() - payload > PAYLOAD_BYTES && count > 0 {
                frames.truncate(whole);
                break;
            }
            whole = frames.len();
            count += 1;
        }
        let bytes = whole - payload;
        if bytes > PAYLOAD_BYTES_MAX || whole > BATCH_BYTES_MAX {
            return Err(JournalError::TooLarge { bytes: whole });
        }
        records = &records[count..];
        let frame_records = u32::try_from(count).expect("they have a byte each");
        close_frame(frames, head, frame_records, !records.is_empty(), first);
        first += count as u64;
    }
    Ok(())
}

fn make_folder(data: &DataDir, dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        DirBuilder::new().mode(0o750).create(dir)?;
        data.sync()?;
    }
    Ok(())
}

/// A segment appears when its header is on the disk; a file without its final name never counted.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn check_id(scan: &Scan, expected: u64) -> Result<(), JournalError> {
    let Header { id: found, first: sequence, .. } = scan.header;
    if found != expected {
        let damage = Damage::Journal { found, expected };
        return Err(JournalError::Damaged { path: scan.path.clone(), sequence, damage });
    }
    Ok(())
}

/// Finds the end of the last segment, which is where it is written on, and the sequence number there.
fn resume(mut scan: Scan) -> Result<(Segment, u64), JournalError> {
    let fault = loop {
        match scan.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(fault) => break Some(fault),
        }
    };
    let (bytes, end) = scan.place();
    if let Some(fault) = fault {
        let torn = scan.torn(fault)?;
        tracing::warn!(
            "journal segment {} ended with {} bytes that are no whole batch, as a crash leaves them \
             ({}); cut off, record {end} comes next",
            scan.path.display(),
            torn.bytes,
            torn.damage,
        );
    }
    let segment = Segment::resume(scan.path.clone(), scan.header, bytes)
        .map_err(|source| JournalError::Write { path: scan.path, source })?;
    Ok((segment, end))
}
