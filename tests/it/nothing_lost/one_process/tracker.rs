//! A tracker without sockets and threads of its own: it does one thing after the other, when it is told to.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use persist::books::State;
use persist::journal::{self, Columns, Journal, Options, Record, Said};
use persist::ledger::JournalSource;
use persist::restart::replay_tail;
use persist::{
    Covered, DataDir, Database, Ledger, LedgerOptions, Meta, Mode, Snapshot, SnapshotWriter,
};
use shard::private::{
    Announce, Change, Cursor, Facts, Gone, Limits, Outcome, PeerId, Piece, Refusal, Stamp, Swarms,
    UserId,
};
use shard::{Event, InfoHash, PeerState, Reply, Seconds};
use tempfile::TempDir;

use super::crash;

pub(crate) struct Tracker<'a> {
    swarms: Swarms,
    facts: Facts,
    /// Records that wait for the journal.
    outgoing: Vec<Record>,
    /// Who has left silently, with the numbers of their records.
    gone: Vec<(u64, Gone)>,
    /// Whose word, that must not be forgotten, is not on the disk yet.
    unkept: HashSet<(UserId, InfoHash, PeerId, u32)>,
    /// How many may wait before credit is postponed, while the journal takes nothing.
    outgoing_max: usize,
    refusing: bool,
    journal: Journal,
    /// How much of each segment is on the disk for good.
    synced: BTreeMap<PathBuf, u64>,
    making: Option<Making>,
    ledger: Option<Ledger>,
    database: &'a Database,
    data: DataDir,
    dir: TempDir,
    seed: u64,
    /// Records from this one on are kept for a database that goes back.
    kept_from: Option<u64>,
    kept_always: u64,
}

/// A snapshot on its way.
struct Making {
    writer: SnapshotWriter,
    cursor: Cursor,
    exported: bool,
}

/// Small, so that segments are begun and deleted often.
const OPTIONS: Options = Options {
    segment_bytes: 8 << 10,
    bytes_max: 1 << 30,
    keep: Duration::ZERO,
    keep_bytes: 0,
    begin_at: 0,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The head of a segment, which is on the disk before the segment has its name.
const HEADER_BYTES: u64 = 64;

impl<'a> Tracker<'a> {
    /// One that has never run before.
    pub(crate) fn new(facts: Facts, seed: u64, database: &'a Database) -> Self {
        let dir = TempDir::new().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let journal = Journal::open(&data, OPTIONS).unwrap();
        let mut tracker = Self {
            swarms: Swarms::new(seed, limits(facts)),
            facts,
            outgoing: Vec::new(),
            gone: Vec::new(),
            unkept: HashSet::new(),
            outgoing_max: seed as usize % 40,
            refusing: false,
            journal,
            synced: BTreeMap::new(),
            making: None,
            ledger: None,
            database,
            data,
            dir,
            seed,
            kept_from: None,
            kept_always: u64::MAX,
        };
        tracker.all_is_synced();
        tracker
    }

    pub(crate) fn announce(
        &mut self,
        announce: &Announce,
        now: Seconds,
        rng: &mut Rng,
    ) -> Result<Outcome, Refusal> {
        let full = self.is_full();
        let facts = if full { Facts::Postponed } else { self.facts };
        self.swarms.set_limits(limits(facts));
        let mut reply = Reply::default();
        let outcome = self.swarms.announce(announce, now, rng, &mut reply);
        let gone = std::mem::take(self.swarms.succeeded());
        let succeeds = !gone.is_empty();
        self.note_gone(gone);
        let mut outcome = outcome?;
        check_refused(announce, &outcome, succeeds, &reply);
        self.outgoing.extend(outcome.fact.map(Record::Fact));
        let Announce { info_hash, user, peer_id, key, .. } = *announce;
        let client = (user.id, info_hash, peer_id, key);
        if outcome.once {
            self.unkept.insert(client);
        }
        // Who asks again before it is kept waits as well.
        outcome.once |= self.unkept.contains(&client);
        Ok(outcome)
    }

    /// True when the last announce may have been postponed.
    pub(crate) fn postpones(&self) -> bool {
        self.swarms.limits().facts == Facts::Postponed
    }

    fn is_full(&self) -> bool {
        self.refusing && self.outgoing.len() >= self.outgoing_max
    }

    pub(crate) fn change(&mut self, change: Change, now: Seconds) {
        self.load(&change);
        let (at, columns) = (Stamp::at(now), Columns::ALL);
        self.outgoing.push(Said { at, columns, change }.into());
    }

    /// A change is so, and is known to the database.
    pub(crate) fn load(&mut self, change: &Change) {
        self.swarms.apply(change, &mut Vec::new()).unwrap();
    }

    /// Who left silently, each with the number of its record.
    pub(crate) fn sweep(&mut self, now: Seconds, budget: usize) -> Vec<(u64, Gone)> {
        if self.is_full() {
            return Vec::new();
        }
        let mut gone = Vec::new();
        self.swarms.expire(now, budget, &mut gone);
        self.note_gone(gone);
        self.take_gone()
    }

    fn note_gone(&mut self, gone: Vec<Gone>) {
        for gone in gone.into_iter().filter(|gone| gone.swarm.is_some()) {
            self.gone.push((self.made(), gone));
            self.outgoing.push(gone.into());
        }
    }

    /// Who has left silently, or was succeeded, since it was asked last, with the numbers of their records.
    pub(crate) fn take_gone(&mut self) -> Vec<(u64, Gone)> {
        std::mem::take(&mut self.gone)
    }

    /// Records made so far, by all trackers of this journal.
    pub(crate) fn made(&self) -> u64 {
        self.journal.end() + self.outgoing.len() as u64
    }

    /// Appends what waits; it is not on the disk yet.
    pub(crate) fn hand_over(&mut self) {
        self.journal.append(&self.outgoing).unwrap();
        self.outgoing.clear();
        for file in journal::segments(self.dir.path()).unwrap() {
            if !self.synced.contains_key(&file.path) {
                // What was before it has been synced.
                self.all_is_synced();
                self.synced.insert(file.path, HEADER_BYTES);
            }
        }
    }

    pub(crate) fn sync(&mut self) {
        self.hand_over();
        self.journal.sync().unwrap();
        self.unkept.clear();
        self.all_is_synced();
    }

    fn all_is_synced(&mut self) {
        let files = journal::segments(self.dir.path()).unwrap();
        let bytes = |path: &Path| path.metadata().unwrap().len();
        self.synced =
            files.into_iter().map(|file| (file.path.clone(), bytes(&file.path))).collect();
    }

    /// From now on the journal takes nothing, or takes what comes again.
    pub(crate) fn refuse(&mut self, refusing: bool) {
        self.refusing = refusing;
    }

    /// The next step of a snapshot; true when it is finished.
    pub(crate) fn snapshot_some(&mut self, now: Seconds, rng: &mut Rng) -> bool {
        let Some(mut making) = self.making.take() else {
            self.sync();
            let (journal, position) = (self.journal.id(), self.journal.durable());
            let meta = Meta {
                written_at: now,
                interval: Seconds(1800),
                peer_timeout: PEER_TIMEOUT,
                mode: Mode::Private(Covered { journal, position }),
            };
            let writer = SnapshotWriter::create(&self.data, meta).unwrap();
            self.making = Some(Making { writer, cursor: Cursor::default(), exported: false });
            return false;
        };
        if making.exported {
            self.sync();
            making.writer.finish().unwrap();
            return true;
        }
        let mut piece = Piece::default();
        making.exported = self.swarms.export(&mut making.cursor, 1 + rng.usize(..60), &mut piece);
        making.writer.append_private(&piece).unwrap();
        self.making = Some(making);
        false
    }

    /// Lets segments go that neither the snapshots nor the database need.
    pub(crate) fn release(&mut self) {
        let needed = Snapshot::oldest_covered(&self.data, self.journal.id()).unwrap();
        let written = self.ledger.as_ref().and_then(|ledger| ledger.status().position);
        if let (Some(needed), Some(written)) = (needed, written) {
            let kept = self.kept_from.unwrap_or(u64::MAX);
            self.journal.delete_before(needed.min(written).min(kept)).unwrap();
        }
    }

    pub(crate) fn keep_from(&mut self, record: u64) {
        self.kept_from = Some(record.min(self.kept_always));
    }

    /// From this one on, whatever else is asked for.
    pub(crate) fn keep_always(&mut self, record: u64) {
        self.kept_always = record;
        self.keep_from(record);
    }

    /// As the table of journals calls it.
    pub(crate) fn journal_name(&self) -> String {
        format!("{:016x}", self.journal.id())
    }

    /// The ledger begins to write, or ends at once, wherever it is.
    pub(crate) fn switch_ledger(&mut self) {
        self.ledger = match self.ledger.take() {
            Some(ledger) => {
                ledger.stop(Duration::ZERO);
                None
            }
            None => Some(self.start_ledger()),
        };
    }

    /// Brings everything into the database.
    pub(crate) fn write_books(&mut self) {
        if self.ledger.is_none() {
            self.switch_ledger();
        }
        let ledger = self.ledger.take().unwrap();
        assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
        let status = ledger.stop(PATIENCE);
        assert_eq!((status.position, status.rejected), (Some(self.journal.end()), 0), "{status:?}");
    }

    /// The machine dies, and comes back with a disk on which is what was synced, and some of the rest.
    pub(crate) fn crash(&mut self, rng: &mut Rng, now: Seconds) {
        let dir = self.copy_folder(rng);
        self.begin_with(dir, rng, now);
        if rng.bool() {
            self.switch_ledger();
        }
    }

    /// A copy of the data folder, as a crash at this moment leaves it.
    pub(crate) fn copy_folder(&self, rng: &mut Rng) -> TempDir {
        let dir = TempDir::new().unwrap();
        crash::leave(self.dir.path(), &self.synced, dir.path(), rng);
        dir
    }

    /// The data folder is an older copy from now on.
    pub(crate) fn restore_folder(&mut self, dir: TempDir, rng: &mut Rng, now: Seconds) {
        self.begin_with(dir, rng, now);
    }

    /// The ledger notices that, before anybody speaks.
    pub(crate) fn begin_measuring(&mut self) {
        self.switch_ledger();
        let deadline = Instant::now() + PATIENCE;
        while self.ledger.as_ref().unwrap().status().state != State::Measuring {
            assert!(Instant::now() < deadline, "{:?}", self.ledger.as_ref().unwrap().status());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn begin_with(&mut self, dir: TempDir, rng: &mut Rng, now: Seconds) {
        if let Some(ledger) = self.ledger.take() {
            ledger.stop(Duration::ZERO);
        }
        self.making = None;
        self.outgoing.clear();
        self.unkept.clear();

        self.data = DataDir::open(dir.path()).unwrap();
        let snapshot = Snapshot::open_newest(&self.data).unwrap();
        self.journal = Journal::open(&self.data, OPTIONS).unwrap();
        self.swarms = Swarms::new(rng.u64(..), limits(self.facts));
        let from = match &snapshot {
            None => self.journal.begin(),
            Some(snapshot) => {
                snapshot.restore_private(|_| true, &mut self.swarms).unwrap();
                snapshot.replay_from(self.journal.id()).unwrap()
            }
        };
        let to = self.journal.durable();
        let folder = dir.path().join("journal");
        replay_tail(folder, (from, to), |_| true, &mut self.swarms, |_| {}, now).unwrap();
        self.dir = dir;
        self.all_is_synced();
    }

    fn start_ledger(&self) -> Ledger {
        let options = LedgerOptions {
            node: "node".into(),
            period: Duration::from_millis(1),
            batch_max: 20 + self.seed as usize % 500,
            ..LedgerOptions::default()
        };
        let status = self.journal.status().clone();
        let source = JournalSource::new(status);
        Ledger::start(self.database.clone(), options, source).unwrap()
    }
}

pub(super) const PEER_TIMEOUT: Seconds = Seconds(3600);

/// Who has as many downloads as his group allows begins no further one: he gets no peers. Who downloads
/// already goes on.
#[track_caller]
fn check_refused(announce: &Announce, outcome: &Outcome, succeeds: bool, reply: &Reply) {
    let told = reply.peers_v4.len() + reply.peers_v6.len();
    assert!(!outcome.held_back || told == 0, "a refused client gets no peers");
    // It says no more than it did before, goes on as what it was over its other family, or as what another
    // one was.
    if outcome.late || announce.event == Event::Stopped || succeeds {
        return;
    }
    let begins = announce.left > 0 && outcome.was != Some(PeerState::Leecher);
    let refused = announce.downloads_full && begins;
    assert_eq!(outcome.held_back, refused, "{:?}: {announce:?}", outcome.was);
}

fn limits(facts: Facts) -> Limits {
    Limits {
        torrents_max: 100_000,
        peers_max: 100_000,
        clients_max: 0,
        peer_timeout: PEER_TIMEOUT,
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 100,
        facts,
    }
}
