//! What a core has to tell the journal, and who waits until it is on the disk.
//!
//! One batch is on its way at a time; meanwhile the next one gathers. So records reach the journal in
//! the order they were made in, also when it refuses some: those come back and go first again.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use persist::journal::{Answer, Batch, JournalSender, Record};
use shard::InfoHash;
use shard::private::{PeerId, UserId};
use tokio::sync::oneshot;

use super::ask::Results;
use super::late::Late;
use super::message::Message;
use crate::mesh::Address;
use crate::net::batch::Correspondent;

/// Records that wait before credit is postponed: about 50 MB.
pub const RECORDS_MAX: usize = 1 << 18;

/// How often the journal is asked to sync for those who wait. Each sync wakes two threads and writes to
/// the disk, and an answer that comes some milliseconds later harms nobody.
const GATHER_PERIOD: Duration = Duration::from_millis(10);

/// How often it is looked whether the journal takes more when nobody waits.
const DISPATCH_PERIOD: Duration = Duration::from_millis(20);

/// After so long without anybody who waits, nobody is expected to.
const BUSTLE: Duration = Duration::from_millis(200);

/// The way to the journal.
pub struct Outgoing {
    records: Vec<Record>,
    /// Who waits for what is in `records`.
    waiting: Vec<Waiter>,
    /// Who waits for the batch that is on its way, while one is.
    under_way: Option<Vec<Waiter>>,
    /// Who is to be told what becomes of all that is in `records`, and of what is on its way.
    asking: Vec<Sender<bool>>,
    asking_under_way: Vec<Sender<bool>>,
    /// Clients whose word must not be forgotten, and is in `records`, or on its way.
    unkept: HashSet<Client>,
    unkept_under_way: HashSet<Client>,
    /// Somebody waits for what is in `records`.
    urgent: bool,
    /// The journal was asked to hurry with the batch that is on its way.
    hurried: bool,
    /// When it was asked to hurry the last time.
    hurried_at: Option<Instant>,
    /// The journal refused the last batch.
    refused: bool,
    journal: JournalSender,
    home: Address<Message>,
}

/// Which client, of which user, on which torrent.
pub type Client = (UserId, InfoHash, PeerId, u32);

/// An answer that is held back until what it says is on the disk.
pub enum Waiter {
    /// The connection's task waits for it.
    Http(Rc<Late<()>>),
    /// The datagram is ready.
    Udp {
        /// By which socket it leaves.
        port: usize,
        /// Where to.
        to: Correspondent,
        /// What it says.
        datagram: Vec<u8>,
    },
    /// Who asked by the API gets this.
    Site {
        /// What has become of what was asked.
        results: Results,
        /// Where it goes.
        reply: oneshot::Sender<Results>,
    },
}

impl Outgoing {
    /// Sends to `journal`, whose answers come to the inbox at `home`.
    pub fn new(journal: JournalSender, home: Address<Message>) -> Self {
        Self {
            records: Vec::new(),
            waiting: Vec::new(),
            under_way: None,
            asking: Vec::new(),
            asking_under_way: Vec::new(),
            unkept: HashSet::new(),
            unkept_under_way: HashSet::new(),
            urgent: false,
            hurried: false,
            hurried_at: None,
            refused: false,
            journal,
            home,
        }
    }

    /// Adds a record.
    pub fn push(&mut self, record: impl Into<Record>) {
        self.records.push(record.into());
    }

    /// A client has said what it will not say again. Nobody answers it until it is on the disk; not when it
    /// says so again, either.
    pub fn keep(&mut self, client: Client) {
        self.unkept.insert(client);
    }

    /// Whether what a client said is still to be kept.
    #[inline]
    pub fn is_unkept(&self, client: &Client) -> bool {
        !(self.unkept.is_empty() && self.unkept_under_way.is_empty())
            && (self.unkept.contains(client) || self.unkept_under_way.contains(client))
    }

    /// Lets `waiter` wait for everything added so far.
    pub fn wait(&mut self, waiter: Waiter) {
        self.waiting.push(waiter);
        self.urgent = true;
    }

    /// Sends on all that there is, and tells `done` when it is on the disk (true) or was refused.
    pub fn hand_over(&mut self, done: Sender<bool>) {
        self.asking.push(done);
        self.urgent = true;
        self.hurry();
    }

    /// True while no more should be added than must be: the journal does not take what there is.
    pub fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX
    }

    /// Records that wait here.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when nothing waits here and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.under_way.is_none()
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

    /// Sends on what there is, unless a batch is on its way.
    pub fn dispatch(&mut self) {
        let idle = self.records.is_empty() && self.waiting.is_empty() && self.asking.is_empty();
        if self.under_way.is_some() || idle {
            return;
        }
        let records = std::mem::replace(&mut self.records, self.journal.buffer());
        let home = self.home.clone();
        let mut batch = Batch::new(records).on_answer(move |answer| {
            // The journal's thread waits for a full inbox; a core that has ended needs no answer.
            let mut message = Message::Journaled(answer);
            for _ in 0..ANSWER_TRIES {
                match home.send(message) {
                    Ok(()) => return,
                    Err(back) => message = back,
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        if !self.waiting.is_empty() || !self.asking.is_empty() {
            batch = batch.urgent();
        }
        match self.journal.try_send(batch) {
            Ok(()) => {
                self.under_way = Some(std::mem::take(&mut self.waiting));
                self.asking_under_way = std::mem::take(&mut self.asking);
                std::mem::swap(&mut self.unkept_under_way, &mut self.unkept);
                self.urgent = false;
            }
            // Its queue is full: again with the next tick.
            Err(batch) => self.records = batch.into_records(),
        }
    }

    /// Takes in what became of the batch; who waited for it. Those whose records were refused are told
    /// as well: their credit is postponed, and they cannot do anything about it.
    pub fn answered(&mut self, answer: Answer) -> Vec<Waiter> {
        (self.refused, self.hurried) = (false, false);
        self.unkept_under_way.clear();
        if let Answer::Refused { mut records, .. } = answer {
            self.refused = true;
            records.append(&mut self.records);
            self.records = records;
        }
        for done in self.asking_under_way.drain(..) {
            // Who asked may have given up.
            let _ = done.try_send(!self.refused);
        }
        let waited = self.under_way.take().unwrap_or_default();
        if !self.refused {
            self.hurry();
        }
        waited
    }
}

/// How many milliseconds the journal's thread tries to bring its answer.
const ANSWER_TRIES: usize = 10_000;
