//! The thread that writes the journal: takes batches, appends them, syncs on an interval, and answers
//! those who wait.
//!
//! A batch is answered once, whatever happens, also when the thread panics: as durable, or as refused with its
//! records. While the disk is full everything is refused at once, so that cores leave the baselines where they
//! are, and the thread tries again with every batch and every second.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded};

use super::{Journal, JournalError, Record, Status};
use crate::postgres::text_of;
use crate::trouble::Trouble;

/// How the thread works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadOptions {
    /// Time between syncs: what a power cut may cost. Zero: each batch, or those that came together,
    /// is synced before the next.
    pub sync_interval: Duration,
    /// Batches that may wait; a further one is not taken.
    pub batches_max: usize,
}

impl Default for ThreadOptions {
    fn default() -> Self {
        Self { sync_interval: Duration::from_secs(1), batches_max: 256 }
    }
}

/// A running journal. Dropped, it ends as with [`JournalThread::stop`].
#[derive(Debug)]
pub struct JournalThread {
    sender: JournalSender,
    /// Says when a thread that rests goes on; gone when it is to end.
    orders: Option<Sender<Order>>,
    /// `None` once it has been stopped.
    thread: Option<JoinHandle<Journal>>,
}

/// Hands batches to the journal; one for each who does.
#[derive(Clone, Debug)]
pub struct JournalSender {
    messages: Sender<Message>,
    buffers: Receiver<Vec<Record>>,
    status: Arc<Status>,
}

/// Records that are appended together, all or none, and whom to tell.
pub struct Batch {
    records: Vec<Record>,
    reply: Reply,
    urgent: bool,
}

/// Whom to tell what became of a batch. Dropped, it says that it was for nothing.
#[derive(Default)]
struct Reply(Option<Box<dyn FnOnce(Answer) + Send>>);

/// The outcome of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// All of it is durable, and everything that was sent before it.
    Durable {
        /// The sequence number of its first record.
        first: u64,
        /// How many it had.
        records: usize,
    },
    /// Nothing of it was written.
    Refused {
        /// As they were sent. Empty when they were appended, and the thread had to end before they
        /// were durable ([`Refusal::Stopped`]).
        records: Vec<Record>,
        /// Why.
        why: Refusal,
    },
}

/// Why a batch was not written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The journal's bound is reached, or the disk is full.
    Full,
    /// The disk fails.
    Disk,
    /// A record, or the batch, is larger than the format allows. It will not be taken later either, but its
    /// parts may: who sent it divides it.
    TooLarge,
    /// The thread has ended.
    Stopped,
}

impl JournalThread {
    /// Starts the thread `margay-journal`.
    pub fn start(journal: Journal, options: ThreadOptions) -> io::Result<Self> {
        Self::start_as(journal, options, false)
    }

    /// The same with the journal of another process ([`Journal::of_another`]): it rests until [`JournalThread::go_on`].
    pub fn start_at_rest(journal: Journal, options: ThreadOptions) -> io::Result<Self> {
        Self::start_as(journal, options, true)
    }

    fn start_as(journal: Journal, options: ThreadOptions, rests: bool) -> io::Result<Self> {
        let batches_max = options.batches_max.max(1);
        let (messages, inbox) = bounded(batches_max);
        // As many as can be on their way, so that all come back.
        let (used, buffers) = bounded(2 * batches_max);
        let status = journal.status().clone();
        let (orders, ordered) = unbounded();
        let running = Running {
            journal,
            inbox,
            ordered,
            used,
            interval: options.sync_interval,
            next_sync: Instant::now() + options.sync_interval,
            waiting: Vec::new(),
            urgent: false,
            trouble: Trouble::new(),
        };
        let thread = thread::Builder::new().name("margay-journal".to_owned());
        let ending = Ending(status.clone());
        let thread = thread.spawn(move || {
            let _ending = ending;
            running.run(rests)
        })?;
        let sender = JournalSender { messages, buffers, status };
        Ok(Self { sender, orders: Some(orders), thread: Some(thread) })
    }

    /// Of one that writes: makes durable what was sent until now, and writes no more until [`JournalThread::go_on`]: another process goes on
    /// with the journal meanwhile. What is sent later waits. The sequence number behind the last record.
    ///
    /// # Errors
    /// In words. It writes on then.
    pub fn rest(&self) -> Result<u64, String> {
        let (reply, rests) = bounded(1);
        self.sender.messages.send(Message::Rest(reply)).map_err(|_| ENDED)?;
        rests.recv().map_err(|_| ENDED)?
    }

    /// Writes again, behind what another process has written meanwhile; with which record.
    ///
    /// # Errors
    /// In words. It rests on then, and this can be tried again.
    pub fn go_on(&self) -> Result<u64, String> {
        let (reply, done) = bounded(1);
        let orders = self.orders.as_ref().expect("it is there until the thread is stopped");
        orders.send(Order(reply)).map_err(|_| ENDED)?;
        done.recv().map_err(|_| ENDED)?
    }

    /// Whoever goes on with the journal next has little to read ([`Journal::divide`]).
    pub fn divide(&self) {
        // One that has ended says so elsewhere.
        let _ = self.sender.messages.send(Message::Divide);
    }

    /// Hands batches over; to be cloned.
    pub fn sender(&self) -> &JournalSender {
        &self.sender
    }

    /// The figures of the journal.
    pub fn status(&self) -> &Arc<Status> {
        self.sender.status()
    }

    /// True when the thread has ended by itself, which is a panic: nothing is written any more.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Appends what was sent until now, syncs, ends. What is sent later is refused.
    pub fn stop(mut self) -> Journal {
        self.end().expect("it runs until it is stopped")
    }

    fn end(&mut self) -> Option<Journal> {
        let thread = self.thread.take()?;
        // One that rests ends with this.
        self.orders = None;
        // When it does not receive any more, it has panicked, and joining says so.
        let _ = self.sender.messages.send(Message::Stop);
        match thread.join() {
            Ok(journal) => Some(journal),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

const ENDED: &str = "the journal's thread has ended";

impl Drop for JournalThread {
    fn drop(&mut self) {
        // That it has panicked was said then.
        if !thread::panicking() && !self.has_ended() {
            self.end();
        }
    }
}

impl JournalSender {
    /// An empty buffer for records: a used one, where there is one.
    pub fn buffer(&self) -> Vec<Record> {
        self.buffers.try_recv().unwrap_or_default()
    }

    /// Hands a batch over without waiting. It comes back when too many are waiting, or the thread has
    /// ended.
    #[allow(clippy::result_large_err)] // That is the batch itself.
    pub fn try_send(&self, batch: Batch) -> Result<(), Batch> {
        self.messages.try_send(Message::Batch(batch)).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message.batch(),
        })
    }

    /// Hands a batch over, and waits for room where there is none. It comes back when the thread has
    /// ended.
    #[allow(clippy::result_large_err)] // That is the batch itself.
    pub fn send(&self, batch: Batch) -> Result<(), Batch> {
        self.messages.send(Message::Batch(batch)).map_err(|error| error.0.batch())
    }

    /// True when the thread has ended: it takes no batch any more.
    pub fn has_ended(&self) -> bool {
        self.status.has_ended()
    }

    /// The figures of the journal.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }
}

impl Batch {
    /// A batch of these records. Without any it is answered when all before it is durable.
    pub fn new(records: Vec<Record>) -> Self {
        Self { records, reply: Reply::default(), urgent: false }
    }

    /// Whom to tell. Runs on the journal's thread, where others wait meanwhile; also when the batch is
    /// dropped without having been written.
    pub fn on_answer(mut self, reply: impl FnOnce(Answer) + Send + 'static) -> Self {
        self.reply = Reply(Some(Box::new(reply)));
        self
    }

    /// Makes it urgent, as somebody waits for it: it is synced as soon as it is its turn, not at the interval.
    pub fn urgent(mut self) -> Self {
        self.urgent = true;
        self
    }

    /// Takes the records out, of a batch that came back, and nobody is told anything.
    pub fn into_records(mut self) -> Vec<Record> {
        self.reply.0 = None;
        std::mem::take(&mut self.records)
    }

    fn refuse(&mut self, why: Refusal) {
        let records = std::mem::take(&mut self.records);
        self.reply.tell(Answer::Refused { records, why });
    }
}

impl Drop for Batch {
    /// Tells whoever waits that it was for nothing.
    fn drop(&mut self) {
        self.refuse(Refusal::Stopped);
    }
}

impl Reply {
    /// Says it; to say it again does nothing.
    fn tell(&mut self, answer: Answer) {
        if let Some(reply) = self.0.take() {
            reply(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.tell(Answer::Refused { records: Vec::new(), why: Refusal::Stopped });
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl From<&JournalError> for Refusal {
    fn from(error: &JournalError) -> Self {
        match error {
            JournalError::TooLarge { .. } => Self::TooLarge,
            error if error.is_full() => Self::Full,
            _ => Self::Disk,
        }
    }
}

#[derive(Debug)]
enum Message {
    Batch(Batch),
    /// What comes next stands in a segment of its own.
    Divide,
    /// Write no more until there is an order, and say up to where the journal goes.
    Rest(Sender<Result<u64, String>>),
    Stop,
}

/// To write again, and to say with which record.
#[derive(Debug)]
struct Order(Sender<Result<u64, String>>);

impl Message {
    fn batch(self) -> Batch {
        match self {
            Message::Batch(batch) => batch,
            _ => Batch::new(Vec::new()), // Nobody sends it that way.
        }
    }
}

/// The state that the thread owns.
struct Running {
    journal: Journal,
    inbox: Receiver<Message>,
    ordered: Receiver<Order>,
    used: Sender<Vec<Record>>,
    interval: Duration,
    next_sync: Instant,
    /// Appended and not durable, in order.
    waiting: Vec<Waiting>,
    urgent: bool,
    trouble: Trouble,
}

struct Waiting {
    first: u64,
    records: usize,
    reply: Reply,
}

/// Records that a buffer has room for which is used again. A larger one was for a rush, and would keep
/// its memory: some 50 MB for all that a core may have waiting.
const BUFFER_RECORDS_MAX: usize = 1 << 14;

/// How long the thread looks for more batches before it syncs all the same.
const TURN_BATCHES: usize = 256;
/// With a sync after each batch there is no interval for what is done now and then.
const TICK: Duration = Duration::from_secs(1);

impl Running {
    fn run(mut self, rests: bool) -> Journal {
        let mut stopping = rests && !self.rest();
        while !stopping {
            stopping = self.turn();
            let now = Instant::now();
            let due = now >= self.next_sync;
            if due || self.urgent || self.interval.is_zero() {
                self.sync();
            }
            if due {
                self.tick();
                let period = if self.interval.is_zero() { TICK } else { self.interval };
                self.next_sync = now + period;
            }
        }
        // Who sends now does not know yet that it is over; what is behind the stop is refused.
        self.sync();
        self.journal
    }

    /// Waits for a batch until the next sync, and takes those that have come with it. True when it is
    /// time to stop.
    fn turn(&mut self) -> bool {
        let message = match self.inbox.recv_deadline(self.next_sync) {
            Ok(message) => message,
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        };
        let mut left = TURN_BATCHES;
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Batch(batch) => self.append(batch),
                Message::Divide => self.journal.divide(),
                Message::Rest(reply) => return !self.rest_from_here(&reply),
                Message::Stop => return true,
            }
            left -= 1;
            // What is taken out is done.
            next = if left > 0 { self.inbox.try_recv().ok() } else { None };
        }
        false
    }

    /// Makes all durable and rests, where that can be; false when the thread is to end.
    fn rest_from_here(&mut self, reply: &Sender<Result<u64, String>>) -> bool {
        self.sync();
        let (durable, end) = (self.journal.durable(), self.journal.end());
        let rests = durable == end;
        let said = match rests {
            true => Ok(end),
            false => Err(self.journal.status().last_error().unwrap_or_default()),
        };
        // Whoever asked and has given up would not say when to go on.
        if reply.send(said).is_err() || !rests {
            return true;
        }
        self.rest()
    }

    /// Waits until it is to be gone on, and does; false when the thread is to end.
    fn rest(&mut self) -> bool {
        for Order(reply) in &self.ordered {
            let gone_on = self.journal.go_on().map(|()| self.journal.end());
            let gone_on = gone_on.map_err(|error| text_of(&error));
            let goes_on = gone_on.is_ok();
            let _ = reply.send(gone_on);
            if goes_on {
                return true;
            }
        }
        false
    }

    fn append(&mut self, mut batch: Batch) {
        match self.journal.append(&batch.records) {
            Ok(first) => {
                self.is_well();
                self.urgent |= batch.urgent;
                let mut records = std::mem::take(&mut batch.records);
                let reply = std::mem::take(&mut batch.reply);
                if reply.0.is_some() {
                    self.waiting.push(Waiting { first, records: records.len(), reply });
                }
                records.clear();
                if (1..=BUFFER_RECORDS_MAX).contains(&records.capacity()) {
                    let _ = self.used.try_send(records); // There are enough already.
                }
            }
            // Who sent it divides it, and says what cannot be divided.
            Err(JournalError::TooLarge { .. }) => batch.refuse(Refusal::TooLarge),
            Err(error) => {
                self.report(&error);
                batch.refuse(Refusal::from(&error));
            }
        }
    }

    fn sync(&mut self) {
        self.urgent = false;
        if let Err(error) = self.journal.sync() {
            self.report(&error);
        }
        // Appending syncs too when much is waiting.
        let durable = self.journal.durable();
        let done = self.waiting.partition_point(|w| w.first + w.records as u64 <= durable);
        for Waiting { first, records, mut reply } in self.waiting.drain(..done) {
            reply.tell(Answer::Durable { first, records });
        }
    }

    /// Does what is due now and then: makes room, and looks whether there is room again.
    fn tick(&mut self) {
        if let Err(error) = self.journal.delete_released() {
            self.report(&error);
        }
        if !self.journal.status().accepting() {
            match self.journal.probe() {
                Ok(()) => self.is_well(),
                Err(error) => self.report(&error),
            }
        }
    }

    fn report(&self, error: &JournalError) {
        // Figures in the text are no news.
        let kind = if error.is_full() { "full" } else { "broken" };
        if let Some(times) = self.trouble.again(kind) {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            tracing::error!(times, "{error}{}; credit is postponed", cause.unwrap_or_default());
        }
    }

    fn is_well(&self) {
        if let Some(time) = self.trouble.over() {
            tracing::info!("the journal is written again, after {} s", time.as_secs());
        }
    }
}

/// Says that the thread has ended, and whether by a panic.
struct Ending(Arc<Status>);

impl Drop for Ending {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end_badly("the journal's thread has panicked; nothing is written any more");
        }
        self.0.note_end();
    }
}
