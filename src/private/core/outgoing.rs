//! What a core has to tell the journal, and who waits until it is on the disk.
//!
//! Records gather into *parcels* of a bounded size. One is on its way at a time, so records reach the journal in
//! the order they were made in, also when it refuses some: those come back and go first again, a few at first.
//! A parcel that is too large for the journal is halved until it fits.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use persist::journal::{Answer, Batch, JournalSender, Record, Refusal};
use shard::InfoHash;
use shard::private::{PeerId, Stamp, UserId};
use tokio::sync::oneshot;

use crate::core::mesh::Address;
use crate::core::mesh::ask::Results;
use crate::core::mesh::late::Late;
use crate::core::mesh::message::Message;
use crate::core::mesh::told::Told;
use crate::net::batch::Correspondent;
use crate::process::clock;

/// Records that wait before credit is postponed: about 50 MB. From then on only those are added that nobody
/// will say again.
pub const RECORDS_POSTPONED: usize = 1 << 18;

/// Records that wait before announces that would make one are refused.
pub const RECORDS_MAX: usize = RECORDS_POSTPONED + (1 << 17);

/// Records beyond that for what the site says, which begins nothing when there is no room for all that it may
/// say at once.
pub const RECORDS_SITE: usize = 1 << 14;

/// Answers that wait for the disk before announces that would have to wait are refused: about 20 MB.
pub const WAITERS_MAX: usize = 1 << 14;

/// Answers beyond that for the site.
pub const WAITERS_SITE: usize = 256;

/// Records that are handed to the journal at once: about 2 MB. Whatever is refused is cheap to try again.
pub const PARCEL_RECORDS_MAX: usize = 1 << 14;

/// Records of the first parcel after one was refused, so that it finds room as soon as there is some.
const RETRY_RECORDS: usize = 256;

/// How often a journal that refuses is asked again, unless it says itself that it takes more.
const RETRY_PERIOD: Duration = Duration::from_millis(250);

/// Who may ask at once what becomes of everything; a further one is told that it was refused.
const ASKING_MAX: usize = 64;

/// How often the journal is asked to sync for those who wait. Each sync wakes two threads and writes to
/// the disk, and an answer that comes some milliseconds later harms nobody.
const GATHER_PERIOD: Duration = Duration::from_millis(10);

/// How often it is looked whether the journal takes more when nobody waits.
const DISPATCH_PERIOD: Duration = Duration::from_millis(20);

/// After so long without anybody who waits, nobody is expected to.
const BUSTLE: Duration = Duration::from_millis(200);

/// The way to the journal.
pub struct Outgoing {
    /// The parcel that is being filled.
    filling: Parcel,
    /// Those before it, in their order.
    full: VecDeque<Parcel>,
    /// Who is concerned by the parcel that is on its way, while one is.
    under_way: Option<Company>,
    /// Records and waiters in all of these.
    records: usize,
    waiters: usize,
    /// That of the last record that announces made.
    stamp: Stamp,
    /// Somebody waits for what is not on its way yet.
    urgent: bool,
    /// The journal was asked to hurry with the batch that is on its way.
    hurried: bool,
    /// When it was asked to hurry the last time.
    hurried_at: Option<Instant>,
    /// The journal refused the last parcel, and is to be left alone until then.
    rests_until: Option<Instant>,
    journal: JournalSender,
    home: Address<Message>,
    /// The journal's answer comes this way. There is always room: one parcel is on its way at a time.
    answers: Receiver<Answer>,
    answering: Sender<Answer>,
}

/// Records that go to the journal together.
#[derive(Default)]
struct Parcel {
    records: Vec<Record>,
    company: Company,
}

/// Who is concerned by a parcel.
#[derive(Default)]
struct Company {
    /// Who waits for it and all before it.
    waiting: Vec<Waiter>,
    /// Who is to be told what becomes of it and all before it.
    asking: Vec<Sender<bool>>,
    /// Clients whose word must not be forgotten, and is in it.
    unkept: HashSet<Client>,
}

/// Which client, of which user, on which torrent.
pub type Client = (UserId, InfoHash, PeerId, u32);

/// An answer that is held back until what it says is on the disk.
pub enum Waiter {
    /// The connection's task waits for it; true when it is on the disk.
    Http(Rc<Late<bool>>),
    /// The datagram is ready.
    Udp {
        /// By which socket it leaves.
        port: usize,
        /// Where to.
        to: Correspondent,
        /// What it says.
        datagram: Vec<u8>,
    },
    /// Another core waits for it.
    Core(oneshot::Sender<Told>),
    /// Who asked by the API gets this.
    Site {
        /// What has become of what was asked.
        results: Results,
        /// Where it goes.
        reply: oneshot::Sender<Results>,
    },
}

/// Who waited for a parcel, and whether it is on the disk now.
pub struct Waited {
    /// Who.
    pub waiters: Vec<Waiter>,
    /// Otherwise it was refused, and is tried again.
    pub on_disk: bool,
}

impl Outgoing {
    /// Sends to `journal`; the inbox at `home` is told when an answer is there.
    pub fn new(journal: JournalSender, home: Address<Message>) -> Self {
        let (answering, answers) = crossbeam_channel::bounded(1);
        Self {
            filling: Parcel::default(),
            full: VecDeque::new(),
            under_way: None,
            records: 0,
            waiters: 0,
            stamp: Stamp::default(),
            urgent: false,
            hurried: false,
            hurried_at: None,
            rests_until: None,
            journal,
            home,
            answers,
            answering,
        }
    }

    /// Adds a record, and says exactly when it was made. What the site said says so already.
    pub fn push(&mut self, record: impl Into<Record>) {
        let mut record = record.into();
        if !matches!(record, Record::Said(_)) {
            self.stamp = self.stamp.onward(clock::unix_millis());
            record.set_stamp(self.stamp);
        }
        self.filling.records.push(record);
        self.records += 1;
        if self.filling.records.len() >= PARCEL_RECORDS_MAX {
            let parcel = self.take_filling();
            self.full.push_back(parcel);
        }
    }

    /// A client has said what it will not say again. Nobody answers it until it is on the disk; not when it
    /// says so again, either.
    pub fn keep(&mut self, client: Client) {
        self.filling.company.unkept.insert(client);
    }

    /// Whether what a client said is still to be kept.
    #[inline]
    pub fn is_unkept(&self, client: &Client) -> bool {
        let holds =
            |company: &Company| !company.unkept.is_empty() && company.unkept.contains(client);
        holds(&self.filling.company)
            || self.under_way.as_ref().is_some_and(holds)
            || self.full.iter().any(|parcel| holds(&parcel.company))
    }

    /// Lets `waiter` wait for everything added so far.
    pub fn wait(&mut self, waiter: Waiter) {
        self.filling.company.waiting.push(waiter);
        self.waiters += 1;
        self.urgent = true;
    }

    /// Sends on all that there is, and tells `done` when it is on the disk (true) or was refused.
    pub fn hand_over(&mut self, done: Sender<bool>) {
        if self.filling.company.asking.len() >= ASKING_MAX {
            _ = done.try_send(false);
            return;
        }
        self.filling.company.asking.push(done);
        self.urgent = true;
        // It is asked for seldom, and clients may wait for what comes after it.
        self.hurry_now();
    }

    /// True while no more should be added than must be: the journal does not take what there is.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.records >= RECORDS_POSTPONED
    }

    /// True while there is no room for what an announce adds, or for its answer to wait.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.records >= RECORDS_MAX || self.has_no_seat()
    }

    /// True while no client's answer can wait.
    #[inline]
    pub fn has_no_seat(&self) -> bool {
        self.waiters >= WAITERS_MAX
    }

    /// True while there is no room for what the site says, or for the answer to wait.
    pub fn is_full_for_site(&self) -> bool {
        self.records >= RECORDS_MAX + RECORDS_SITE || self.waiters >= WAITERS_MAX + WAITERS_SITE
    }

    /// Records that wait here or are on their way.
    pub fn len(&self) -> usize {
        self.records
    }

    /// True when nothing waits here and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.under_way.is_none()
    }

    /// The same, and nobody waits.
    pub fn is_done(&self) -> bool {
        self.is_empty() && self.waiters == 0
    }

    /// Sends on what somebody waits for; when that was done a moment ago, with the next look at the clock.
    pub fn hurry(&mut self) {
        if self.urgent && !self.has_hurried(GATHER_PERIOD) {
            self.hurry_now();
        }
    }

    /// How long until [`Outgoing::tick`]: less while somebody waits again and again.
    pub fn period(&self) -> Duration {
        if self.has_hurried(BUSTLE) { GATHER_PERIOD } else { DISPATCH_PERIOD }
    }

    /// By the clock: sends on what there is.
    pub fn tick(&mut self) {
        if self.urgent {
            self.hurry_now();
        } else {
            self.dispatch();
        }
    }

    fn has_hurried(&self, within: Duration) -> bool {
        self.hurried_at.is_some_and(|at| at.elapsed() < within)
    }

    fn hurry_now(&mut self) {
        self.hurried_at = Some(Instant::now());
        if self.under_way.is_none() {
            self.dispatch();
        } else if !self.hurried {
            // Nobody may wait for the batch before, so it would be synced by the clock.
            self.hurried = self.journal.try_send(Batch::new(Vec::new()).urgent()).is_ok();
        }
    }

    fn take_filling(&mut self) -> Parcel {
        let records = std::mem::replace(&mut self.filling.records, self.journal.buffer());
        Parcel { records, company: std::mem::take(&mut self.filling.company) }
    }

    /// Sends on the next parcel, unless one is on its way.
    pub fn dispatch(&mut self) {
        let nothing = self.full.is_empty() && self.filling.is_empty();
        if self.under_way.is_some() || nothing || self.rests() {
            return;
        }
        let Parcel { records, company } = match self.full.pop_front() {
            Some(parcel) => parcel,
            None => self.take_filling(),
        };
        let (answering, home) = (self.answering.clone(), self.home.clone());
        let mut batch = Batch::new(records).on_answer(move |answer| {
            // Only a core that has ended has no room for it.
            _ = answering.try_send(answer);
            // Where the inbox is full, the core finds it by the clock.
            _ = home.send(Message::Journaled);
        });
        if self.urgent {
            batch = batch.urgent();
        }
        match self.journal.try_send(batch) {
            Ok(()) => {
                self.under_way = Some(company);
                let waited_for = |parcel: &Parcel| parcel.company.is_waited_for();
                self.urgent = waited_for(&self.filling) || self.full.iter().any(waited_for);
            }
            // Dropped, it answers that it was refused.
            Err(batch) if self.journal.has_ended() => {
                self.under_way = Some(company);
                drop(batch);
            }
            // Its queue is full: again with the next tick.
            Err(batch) => {
                self.full.push_front(Parcel { records: batch.into_records(), company });
            }
        }
    }

    /// Whether the journal is left alone, because it has just refused.
    fn rests(&self) -> bool {
        self.rests_until
            .is_some_and(|until| !self.journal.status().accepting() && Instant::now() < until)
    }

    /// What the journal has answered, once.
    pub fn take_answer(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Takes in what became of the parcel; who waited for it. When it was refused all who wait are told so:
    /// what they said is tried again, and they cannot do anything about it.
    pub fn answered(&mut self, answer: Answer) -> Waited {
        let Company { mut waiting, mut asking, unkept } = self.under_way.take().unwrap_or_default();
        self.hurried = false;
        let on_disk = match answer {
            Answer::Durable { records, .. } => {
                self.records -= records;
                self.rests_until = None;
                true
            }
            Answer::Refused { mut records, why: Refusal::TooLarge } if records.len() > 1 => {
                let rest = records.split_off(records.len() / 2);
                self.urgent |= !waiting.is_empty() || !asking.is_empty();
                let company = Company { waiting, asking, unkept };
                self.full.push_front(Parcel { records: rest, company });
                self.full.push_front(Parcel { records, company: Company::default() });
                self.dispatch();
                return Waited { waiters: Vec::new(), on_disk: false };
            }
            Answer::Refused { records, why: Refusal::TooLarge } => {
                self.records -= records.len();
                for record in records {
                    tracing::error!(
                        record = summary(&record),
                        "a record is too large for the journal; it is in force until the next start, and the \
                         database does not get it"
                    );
                }
                false
            }
            Answer::Refused { mut records, why } => {
                self.rests_until = Some(Instant::now() + RETRY_PERIOD);
                if records.is_empty() && why == Refusal::Stopped {
                    // They were appended, and it ended before they were known to be on the disk.
                    self.records = self.filling.records.len()
                        + self.full.iter().map(|parcel| parcel.records.len()).sum::<usize>();
                }
                if records.len() > RETRY_RECORDS {
                    let records = records.split_off(RETRY_RECORDS);
                    self.full.push_front(Parcel { records, company: Company::default() });
                }
                if !records.is_empty() {
                    self.full.push_front(Parcel { records, company: Company::default() });
                }
                for parcel in self.full.iter_mut().chain([&mut self.filling]) {
                    waiting.append(&mut parcel.company.waiting);
                    asking.append(&mut parcel.company.asking);
                    parcel.company.unkept.clear();
                }
                self.urgent = false;
                false
            }
        };
        for done in asking {
            // Who asked may have given up.
            let _ = done.try_send(on_disk);
        }
        self.waiters -= waiting.len();
        match self.filling.company.asking.is_empty() {
            _ if !on_disk => {}
            true => self.hurry(),
            false => self.hurry_now(),
        }
        Waited { waiters: waiting, on_disk }
    }
}

impl Parcel {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.company.is_waited_for()
    }
}

impl Company {
    fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty() || !self.asking.is_empty()
    }
}

/// The beginning of what a record says, which is all of a usual one.
fn summary(record: &Record) -> String {
    let mut text = format!("{record:?}");
    let end = (0..=SUMMARY_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// Bytes of a record that are written into the log.
const SUMMARY_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use persist::DataDir;
    use persist::journal::{
        Columns, Journal, JournalThread, Options, Reader, Said, Status, ThreadOptions,
    };
    use shard::Seconds;
    use shard::private::{Change, TorrentId};
    use tempfile::TempDir;

    use super::*;
    use crate::core::mesh::{self, INBOX_MESSAGES_MAX, Inbox};

    /// A core's way to a journal of its own.
    struct Way {
        outgoing: Outgoing,
        journal: Option<JournalThread>,
        inbox: Option<Inbox<Message>>,
        home: Address<Message>,
        _data: TempDir,
    }

    impl Way {
        fn new(bytes_max: u64) -> Self {
            let data = TempDir::new().unwrap();
            let dir = DataDir::open(data.path()).unwrap();
            let options = Options { bytes_max, ..Options::default() };
            let options_of_thread = ThreadOptions {
                sync_interval: Duration::from_millis(20),
                ..ThreadOptions::default()
            };
            let journal = Journal::open(&dir, options).unwrap();
            let journal = JournalThread::start(journal, options_of_thread).unwrap();
            let (mut addresses, mut inboxes) = mesh::inboxes(1);
            let (home, inbox) = (addresses.remove(0), inboxes.remove(0));
            let outgoing = Outgoing::new(journal.sender().clone(), home.clone());
            Self { outgoing, journal: Some(journal), inbox: Some(inbox), home, _data: data }
        }

        fn status(&self) -> Arc<Status> {
            self.journal.as_ref().unwrap().status().clone()
        }

        /// Turns as a core does until `done`; who waited and was told.
        fn turn_until(&mut self, mut done: impl FnMut(&Outgoing, &[bool]) -> bool) -> Vec<bool> {
            let (mut told, began) = (Vec::new(), Instant::now());
            loop {
                assert!(began.elapsed() < Duration::from_secs(60), "{told:?}");
                while let Some(answer) = self.outgoing.take_answer() {
                    let Waited { waiters, on_disk } = self.outgoing.answered(answer);
                    told.extend(waiters.iter().map(|_| on_disk));
                }
                self.outgoing.tick();
                std::thread::sleep(Duration::from_millis(1));
                if done(&self.outgoing, &told) {
                    return told;
                }
            }
        }

        /// The numbers of the torrents that the journal has from `from` on, in its order.
        fn read(&self, from: u64) -> Vec<u32> {
            let mut reader = Reader::follow(&self.status(), from).unwrap();
            let mut records = Vec::new();
            reader.read_into(usize::MAX, &mut records).unwrap();
            let number = |record| match record {
                Record::Said(Said { change: Change::TorrentRemoved { id, .. }, .. }) => id.0,
                _ => unreachable!("nothing else is pushed"),
            };
            records.into_iter().map(number).collect()
        }
    }

    fn record(number: u32, reason_bytes: usize) -> Record {
        let change = Change::TorrentRemoved {
            id: TorrentId(number),
            info_hash: InfoHash([7; 20]),
            reason: "x".repeat(reason_bytes),
            at: Seconds(1),
        };
        Said { at: Stamp::default(), columns: Columns::ALL, change }.into()
    }

    fn waiter() -> Waiter {
        Waiter::Http(Rc::new(Late::new()))
    }

    #[test]
    fn parcels_are_bounded_and_records_keep_their_order() {
        let mut way = Way::new(1 << 30);
        let count = 3 * PARCEL_RECORDS_MAX as u32 + 100;
        for number in 0..count {
            way.outgoing.push(record(number, 0));
        }
        assert_eq!(way.outgoing.full.len(), 3);
        way.outgoing.wait(waiter());
        let told = way.turn_until(|_, told| !told.is_empty());
        assert_eq!(told, [true], "told when all before it is on the disk");
        assert!(way.outgoing.is_empty());
        assert_eq!(way.outgoing.len(), 0);
        assert!(way.read(0).into_iter().eq(0..count));
    }

    #[test]
    fn what_is_refused_waits_in_its_order_and_is_asked_for_now_and_then() {
        let mut way = Way::new(200_000);
        let status = way.status();
        let mut number = 0;
        while status.accepting() {
            (0..20).for_each(|more| way.outgoing.push(record(number + more, 100)));
            number += 20;
            way.turn_until(|outgoing, _| outgoing.under_way.is_none());
        }
        // More than the whole journal may have.
        (0..4096).for_each(|more| way.outgoing.push(record(number + more, 100)));
        number += 4096;
        // Whoever waits is told so, and does not wait for room.
        (0..3).for_each(|_| way.outgoing.wait(waiter()));
        let refused = status.refused_batches();
        let began = Instant::now();
        let told = way.turn_until(|_, told| told.len() == 3);
        assert_eq!(told, [false; 3]);
        way.turn_until(|_, _| began.elapsed() > Duration::from_secs(2));
        let tries = status.refused_batches() - refused;
        assert!(tries <= 12, "{tries} tries in two seconds");
        // The journal takes it as the room comes.
        let (mut read, began) = (Vec::new(), Instant::now());
        while read.len() < number as usize {
            assert!(began.elapsed() < Duration::from_secs(60), "{} of {number}", read.len());
            way.turn_until(|outgoing, _| outgoing.under_way.is_none());
            read.extend(way.read(read.len() as u64));
            status.release(read.len() as u64);
        }
        assert!(read.into_iter().eq(0..number), "in the order they were made in");
        way.turn_until(|outgoing, _| outgoing.is_empty());
    }

    #[test]
    fn a_parcel_that_is_too_large_is_divided_and_a_record_that_is_is_dropped() {
        let mut way = Way::new(4 << 30);
        for number in 0..40 {
            way.outgoing.push(record(number, if number % 10 == 3 { 2 << 20 } else { 10 }));
        }
        way.outgoing.wait(waiter());
        let told = way.turn_until(|_, told| !told.is_empty());
        assert_eq!(told, [true]);
        assert!(way.outgoing.is_empty());
        assert_eq!(way.outgoing.len(), 0);
        assert!(way.read(0).into_iter().eq((0..40).filter(|number| number % 10 != 3)));

        // Alone, it is told of its own fate.
        way.outgoing.push(record(99, 2 << 20));
        way.outgoing.wait(waiter());
        assert_eq!(way.turn_until(|_, told| !told.is_empty()), [false]);
        assert!(way.outgoing.is_empty());
    }

    #[test]
    fn an_answer_arrives_though_the_inbox_is_full() {
        let mut way = Way::new(1 << 30);
        for _ in 0..INBOX_MESSAGES_MAX {
            assert!(way.home.send(Message::Journaled).is_ok());
        }
        for number in 0..5 {
            way.outgoing.push(record(number, 10));
            way.outgoing.wait(waiter());
            assert_eq!(way.turn_until(|_, told| !told.is_empty()), [true]);
        }
        way.inbox = None;
        way.outgoing.push(record(5, 10));
        way.outgoing.wait(waiter());
        assert_eq!(way.turn_until(|_, told| !told.is_empty()), [true]);
    }

    #[test]
    fn a_journal_that_has_ended_keeps_nobody_waiting() {
        let mut way = Way::new(1 << 30);
        way.outgoing.push(record(0, 10));
        way.turn_until(|outgoing, _| outgoing.is_empty());
        drop(way.journal.take());
        way.outgoing.push(record(1, 10));
        way.outgoing.wait(waiter());
        let (done, asked) = crossbeam_channel::bounded(1);
        way.outgoing.hand_over(done);
        assert_eq!(way.turn_until(|_, told| !told.is_empty()), [false]);
        assert_eq!(asked.try_recv(), Ok(false));
        assert_eq!(way.outgoing.len(), 1, "it is kept");
    }

    #[test]
    fn every_bound_is_seen() {
        let mut way = Way::new(1 << 30);
        drop(way.journal.take());
        let outgoing = &mut way.outgoing;
        (0..WAITERS_MAX).for_each(|_| outgoing.wait(waiter()));
        assert!(outgoing.has_no_seat() && outgoing.is_full() && !outgoing.is_crowded());
        assert!(!outgoing.is_full_for_site());
        (0..WAITERS_SITE).for_each(|_| outgoing.wait(waiter()));
        assert!(outgoing.is_full_for_site());

        let mut way = Way::new(1 << 30);
        let outgoing = &mut way.outgoing;
        for (more, crowded, full, full_for_site) in [
            (RECORDS_POSTPONED, true, false, false),
            (RECORDS_MAX - RECORDS_POSTPONED, true, true, false),
            (RECORDS_SITE, true, true, true),
        ] {
            (0..more).for_each(|_| outgoing.push(record(1, 0)));
            let found = (outgoing.is_crowded(), outgoing.is_full(), outgoing.is_full_for_site());
            assert_eq!(found, (crowded, full, full_for_site));
        }
        for _ in 0..ASKING_MAX {
            outgoing.hand_over(crossbeam_channel::bounded(1).0);
        }
    }
}
