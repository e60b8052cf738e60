//! A lease: of several processes that share a database one has it, for work that only one may do.
//!
//! It is a row with the holder, the time at which it ends, and an epoch that grows whenever the holder changes. The time
//! is the server's. The holder renews the row long before it ends, and counts by its own clock from before it asked: so
//! it stops working before anybody else can begin, also when the network, the server or the process itself hangs. What
//! it writes elsewhere carries the epoch, and who reads that prefers the higher one.
//!
//! No advisory lock: one is not released by a holder that hangs, and it has no number to go with what is written.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ::postgres::Client;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::postgres::Backoff;
use crate::{Database, DatabaseError, StopSign, Stoppable};

/// A lease that is held, or waited for.
#[derive(Debug)]
pub struct Lease {
    thread: Stoppable,
    state: Arc<Mutex<State>>,
}

/// How a lease is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tenure {
    /// This process has it, with this epoch.
    Held(u64),
    /// Somebody else has it.
    Other {
        /// His name.
        holder: String,
    },
    /// Nobody knows: the database does not answer. Who had it works no longer.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

#[derive(Debug)]
struct State {
    /// The epoch, and until when it may be worked under it.
    held: Option<(u64, Instant)>,
    otherwise: Tenure,
}

/// Which lease, and who wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseOptions {
    /// Its name: processes that want the same work want the same lease.
    pub name: String,
    /// The name of this process; another one for each.
    pub holder: String,
    /// How long it lasts when its holder is gone: from two seconds on.
    pub time: Duration,
}

impl Lease {
    /// Wants the lease from now on; it is taken as soon as nobody has it. `changed` is called on the lease's thread
    /// when it was taken, lost or first known to be somebody else's.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        database: Database,
        options: LeaseOptions,
        changed: impl FnMut(Tenure) + Send + 'static,
    ) -> io::Result<Self> {
        let why = "it has not been asked yet".to_owned();
        let state = Arc::new(Mutex::new(State { held: None, otherwise: Tenure::Unknown { why } }));
        let thread = Stoppable::start("margay-lease", {
            let state = state.clone();
            move |stop| {
                Keeper { database, options, state, changed, said: None, worker: None }.run(&stop)
            }
        })?;
        Ok(Self { thread, state })
    }

    /// How it is at this moment. Who works under it asks before each step that others see.
    pub fn tenure(&self) -> Tenure {
        lock(&self.state).tenure(Instant::now())
    }

    /// Gives it back, so that the next one has it at once, unless the database does not answer within `patience`.
    pub fn stop(self, patience: Duration) {
        self.thread.stop(patience);
    }
}

impl State {
    fn tenure(&self, now: Instant) -> Tenure {
        match self.held {
            Some((epoch, until)) if now < until => Tenure::Held(epoch),
            Some(_) => Tenure::Unknown { why: "it could not be renewed in time".to_owned() },
            None => self.otherwise.clone(),
        }
    }
}

/// The lease's thread.
struct Keeper<F> {
    database: Database,
    options: LeaseOptions,
    state: Arc<Mutex<State>>,
    changed: F,
    /// What `changed` was told last.
    said: Option<Tenure>,
    worker: Option<Worker>,
}

impl<F: FnMut(Tenure)> Keeper<F> {
    fn run(mut self, stop: &StopSign) {
        let third = self.options.time / 3;
        let mut backoff = Backoff::between(Duration::from_millis(200), third);
        loop {
            let asked = Instant::now();
            let wait = match self.ask(Ask::Renew, third) {
                Ok(Answer { epoch: Some(epoch), .. }) => {
                    backoff.reset();
                    lock(&self.state).held = Some((epoch, asked + third * 2));
                    third
                }
                Ok(Answer { holder, .. }) => {
                    backoff.reset();
                    self.not_held(Tenure::Other { holder });
                    third
                }
                Err(why) => {
                    if backoff.is_news(&why) {
                        tracing::warn!(
                            why,
                            "the lease is not known; who had it works no longer until it is"
                        );
                    }
                    // What is held stays so until its time is over.
                    let held = lock(&self.state).held;
                    if held.is_none_or(|(_, until)| until <= Instant::now()) {
                        self.not_held(Tenure::Unknown { why });
                    }
                    backoff.next()
                }
            };
            self.say();
            let until = Instant::now() + wait;
            // A lease whose time is over is lost when it is, not at the next attempt.
            while let Some(rest) = until.checked_duration_since(Instant::now()) {
                if stop.comes_within(rest.min(LOOK)) {
                    if matches!(lock(&self.state).tenure(Instant::now()), Tenure::Held(_)) {
                        lock(&self.state).held = None;
                        let _ = self.ask(Ask::GiveBack, third);
                    }
                    return;
                }
                self.say();
            }
        }
    }

    fn not_held(&mut self, otherwise: Tenure) {
        let mut state = lock(&self.state);
        state.held = None;
        state.otherwise = otherwise;
    }

    fn say(&mut self) {
        let tenure = lock(&self.state).tenure(Instant::now());
        let is_same = match (&self.said, &tenure) {
            (Some(Tenure::Unknown { .. }), Tenure::Unknown { .. }) => true,
            (said, tenure) => said.as_ref() == Some(tenure),
        };
        if !is_same {
            self.said = Some(tenure.clone());
            (self.changed)(tenure);
        }
    }

    /// Asks the server, for `patience` at most; one that hangs is left to a thread that waits for it.
    fn ask(&mut self, ask: Ask, patience: Duration) -> Result<Answer, String> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.database.clone(), self.options.clone())
                .map_err(|error| format!("no thread for it: {error}"))?,
        };
        let gone = |_| "the connection is gone".to_owned();
        worker.asks.send(ask).map_err(|_| "the connection is gone".to_owned())?;
        match worker.answers.recv_timeout(patience) {
            Ok(Ok(answer)) => {
                self.worker = Some(worker);
                Ok(answer)
            }
            Ok(Err(error)) => Err(chain(&error)),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                Err(format!("the database did not answer within {patience:?}"))
            }
            Err(error) => Err(gone(error)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Renew,
    GiveBack,
}

/// The row after it was asked for.
#[derive(Debug)]
struct Answer {
    /// The epoch, where it is ours.
    epoch: Option<u64>,
    /// The holder's name.
    holder: String,
}

/// A thread with a connection. It ends when nobody asks it any more.
struct Worker {
    asks: Sender<Ask>,
    answers: Receiver<Result<Answer, DatabaseError>>,
}

impl Worker {
    fn start(database: Database, options: LeaseOptions) -> io::Result<Self> {
        let (asks, asked) = bounded::<Ask>(1);
        let (answer, answers) = bounded(1);
        thread::Builder::new().name("margay-lease-db".into()).spawn(move || {
            let mut client = None;
            for ask in asked {
                let answered = answered(&database, &options, &mut client, ask);
                if answer.send(answered).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { asks, answers })
    }
}

fn answered(
    database: &Database,
    options: &LeaseOptions,
    client: &mut Option<Client>,
    ask: Ask,
) -> Result<Answer, DatabaseError> {
    let client = match client {
        Some(client) => client,
        None => {
            let mut made = database.connect("lease")?;
            let prepare = prepare(database.schema(), options.time);
            made.batch_execute(&prepare).map_err(database.failed("prepare the table of leases"))?;
            client.insert(made)
        }
    };
    let LeaseOptions { name, holder, time } = options;
    match ask {
        Ask::Renew => {
            let seconds = time.as_secs_f64();
            let rows = client
                .query(RENEW, &[name, holder, &seconds])
                .map_err(database.failed("renew the lease"))?;
            if let Some(row) = rows.first() {
                let epoch: i64 = row.get(0);
                return Ok(Answer { epoch: u64::try_from(epoch).ok(), holder: holder.clone() });
            }
            let row =
                client.query_opt(HOLDER, &[name]).map_err(database.failed("read the lease"))?;
            Ok(Answer { epoch: None, holder: row.map(|row| row.get(0)).unwrap_or_default() })
        }
        Ask::GiveBack => {
            client
                .execute(GIVE_BACK, &[name, holder])
                .map_err(database.failed("give the lease back"))?;
            Ok(Answer { epoch: None, holder: String::new() })
        }
    }
}

/// Two that begin at once may both find no schema: the one that is too late tries again.
fn prepare(schema: &str, time: Duration) -> String {
    let schema = schema.replace('"', "\"\"");
    format!(
        "SET statement_timeout = {}; SET synchronous_commit = on; CREATE SCHEMA IF NOT EXISTS \"{schema}\"; \
         CREATE TABLE IF NOT EXISTS \"{schema}\".leases (name text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT \
         NULL, expires timestamptz NOT NULL)",
        (time / 3).as_millis(),
    )
}

const RENEW: &str = "\
INSERT INTO leases AS held (name, holder, epoch, expires)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET
    epoch = CASE WHEN held.holder = $2 AND held.expires > clock_timestamp() THEN held.epoch ELSE held.epoch + 1 END,
    holder = $2,
    expires = clock_timestamp() + make_interval(secs => $3)
WHERE held.holder = $2 OR held.expires < clock_timestamp()
RETURNING epoch";

const HOLDER: &str = "SELECT holder FROM leases WHERE name = $1";

const GIVE_BACK: &str =
    "UPDATE leases SET expires = clock_timestamp() WHERE name = $1 AND holder = $2";

/// How often a holder looks whether its time is over.
const LOOK: Duration = Duration::from_millis(100);

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
