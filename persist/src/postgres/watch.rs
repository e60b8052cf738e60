//! Hears of what the site changes by SQL, as soon as it is committed.
//!
//! Triggers send a notice for each row (`migrations/0002_notices.sql` and later ones). A notice names the row and says
//! nothing about it, so the row is read again, and what is handed over is what is true now. Notices that
//! were given while nobody listened are lost: whenever a connection is new, everything has to be compared.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::postgres::Client;
use ::postgres::fallible_iterator::FallibleIterator;
use shard::private::{Change, UserId};

use super::again::Again;
use super::heard::{Heard, Moment};
use super::load::{Stored, tables_that_may_repeat};
use super::notices::Notices;
use super::proof::{Proof, Proven};
use super::session::let_go;
use super::settings::quote;
use super::{Backoff, Database, DatabaseError, text_of};
use crate::{StopSign, Stoppable};

/// A change by the site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A row as it is now. It is for memory only: in the journal, it would come to the database again,
    /// over whatever the site writes next.
    Change(Change),
    /// The row of a torrent as it is now, with the figures that one which is new goes on from.
    Torrent(Stored),
    /// The row of a user is gone. (Of one who may not announce any more, the row is handed over.)
    UserGone(UserId),
    /// More has changed than notices can say, or notices may be missing: load, and compare.
    Reload,
}

/// How the watch is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchStatus {
    /// There is a connection, and as far as is known notices come through it.
    pub connected: bool,
    /// Notices that were sent to see whether they are heard, and were not.
    pub unheard: u64,
    /// Notices of rows so far.
    pub notices: u64,
    /// How often everything had to be compared, connections included.
    pub reloads: u64,
    /// Rows that changed and could not be read; what is known of them was left alone.
    pub set_aside: u64,
    /// Why there was no connection the last time.
    pub last_error: Option<String>,
}

/// A thread that listens. It reconnects for ever, at the latest after some ten seconds.
#[derive(Debug)]
pub struct Watch {
    status: Arc<Mutex<WatchStatus>>,
    thread: Stoppable,
}

impl Watch {
    /// Starts the thread. It connects, says [`Seen::Reload`], and then `seen` is called for each change;
    /// it may take its time, notices wait in the connection.
    pub fn start(database: Database, seen: impl FnMut(Heard) + Send + 'static) -> io::Result<Self> {
        let status = Arc::new(Mutex::new(WatchStatus::default()));
        let shared = status.clone();
        let thread = Stoppable::start("margay-watch", move |stopped| {
            Listener { database, status: shared, stopped, seen, may_repeat: Vec::new() }.run();
        })?;
        Ok(Self { status, thread })
    }

    /// How it is doing.
    pub fn status(&self) -> WatchStatus {
        status_of(&self.status)
    }

    /// The same for somebody elsewhere, also when the thread has ended.
    pub fn watch_status(&self) -> impl Fn() -> WatchStatus + Send + Sync + use<> {
        let status = self.status.clone();
        move || status_of(&status)
    }

    /// Ends the thread. One that waits for the database longer than `patience` is left alone, and ends
    /// when that answers.
    pub fn stop(self, patience: Duration) {
        self.thread.stop(patience);
    }
}

fn status_of(status: &Mutex<WatchStatus>) -> WatchStatus {
    status.lock().expect("nobody panics with it").clone()
}

struct Listener<F> {
    database: Database,
    status: Arc<Mutex<WatchStatus>>,
    stopped: StopSign,
    seen: F,
    /// Tables whose constraints no longer say that two rows are different.
    may_repeat: Vec<String>,
}

impl<F: FnMut(Heard)> Listener<F> {
    fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.stopped.comes_within(Duration::ZERO) {
            let Err(error) = self.listen(&mut backoff) else { return };
            let wait = backoff.next();
            let text = text_of(&error);
            if backoff.is_news(&text) {
                tracing::warn!(error = text, again_in = ?wait, "cannot hear of changes in the database");
            }
            self.set(|status| {
                status.connected = false;
                status.last_error = Some(text);
            });
            if self.stopped.comes_within(wait) {
                return;
            }
        }
    }

    /// Returns when it is told to stop.
    fn listen(&mut self, backoff: &mut Backoff) -> Result<(), DatabaseError> {
        let database = self.database.clone();
        let mut client = database.connect("watch")?;
        let heard = self.hear(&mut client, backoff);
        if heard.is_err() {
            let_go(client);
        }
        heard
    }

    /// The same over one connection.
    fn hear(&mut self, client: &mut Client, backoff: &mut Backoff) -> Result<(), DatabaseError> {
        let database = self.database.clone();
        let failed = database.failed("listen to changes");
        let channel = format!("{}_changes", database.schema());
        self.may_repeat = tables_that_may_repeat(client).map_err(&failed)?;
        // The last of all, so that who looks at the sessions of the server sees what this one does.
        client.batch_execute(&format!("LISTEN {}", quote(&channel))).map_err(&failed)?;
        backoff.reset();
        self.set(|status| {
            status.connected = true;
            status.reloads += 1;
        });
        // Only now: what is committed from here on comes with a notice.
        (self.seen)(Heard { seen: Seen::Reload, moment: Arc::default() });

        let mut checked_at = Instant::now();
        let mut proof = Proof::new();
        while !self.stopped.comes_within(Duration::ZERO) {
            let mut notices = Notices::default();
            let mut wait = POLL;
            loop {
                let mut waiting = client.notifications();
                let mut waiting = waiting.timeout_iter(wait);
                let Some(notification) = waiting.next().map_err(&failed)? else { break };
                match proof.hear(notification.payload()) {
                    Some(proven) => self.note_proven(proven),
                    None => notices.add(notification.payload()),
                }
                // More of the same transaction are already there.
                wait = Duration::ZERO;
                if notices.count >= NOTICES_MAX {
                    break;
                }
            }
            self.note_proven(proof.look());
            if let Err(error) = proof.send(&database, &channel) {
                // The next try is not far, and this connection may be fine.
                tracing::debug!(%error, "cannot see whether notices are heard");
            }
            if notices.count > 0 {
                self.tell(client, notices)?;
                checked_at = Instant::now();
            } else if client.is_closed() {
                client.batch_execute("").map_err(&failed)?;
            } else if checked_at.elapsed() > CHECK_PERIOD {
                // A server that is stopped keeps its connections, and says nothing.
                client.is_valid(CHECK_PATIENCE).map_err(&failed)?;
                checked_at = Instant::now();
            }
        }
        Ok(())
    }

    /// Notes whether notices are heard. Whatever is changed by SQL while they are not is compared on a clock.
    fn note_proven(&mut self, proven: Option<Proven>) {
        let Some(proven) = proven else { return };
        let is_deaf = proven == Proven::Deaf;
        match proven {
            Proven::Deaf if status_of(&self.status).connected => tracing::error!(
                "what the site changes by SQL is not heard: a notice that was sent did not come through; a pooler has \
                 to give each session a connection of its own (PgBouncer: pool_mode = session), or --database has to lead \
                 to PostgreSQL itself; until then all is compared every half minute"
            ),
            Proven::Deaf => {}
            Proven::HearsAgain => tracing::info!("what the site changes by SQL is heard again"),
        }
        self.set(|status| {
            status.connected = !is_deaf;
            status.unheard += u64::from(is_deaf);
            status.reloads += 1;
            if is_deaf {
                status.last_error = Some("notices do not come through".to_owned());
            }
        });
        (self.seen)(Heard { seen: Seen::Reload, moment: Arc::default() });
    }

    fn tell(&mut self, client: &mut Client, notices: Notices) -> Result<(), DatabaseError> {
        self.set(|status| {
            status.notices += notices.count as u64;
            status.reloads += u64::from(notices.reload);
        });
        if notices.reload {
            (self.seen)(Heard { seen: Seen::Reload, moment: Arc::default() });
            return Ok(());
        }
        let torrents = notices.torrents.iter().map(|(id, _)| *id);
        let moment = Moment::read(client, notices.users.iter().copied(), torrents);
        let moment = Arc::new(moment.map_err(self.database.failed("read what has changed"))?);
        let (database, may_repeat) = (&self.database, self.may_repeat.as_slice());
        let mut again = Again { database, client, may_repeat, set_aside: 0 };
        let read = again.read(&notices);
        let set_aside = again.set_aside;
        self.set(|status| status.set_aside += set_aside);
        for seen in read? {
            (self.seen)(Heard { seen, moment: moment.clone() });
        }
        Ok(())
    }

    fn set(&self, change: impl FnOnce(&mut WatchStatus)) {
        change(&mut self.status.lock().expect("nobody panics with it"));
    }
}

/// How long the thread may take to notice that it is to stop.
const POLL: Duration = Duration::from_millis(200);

/// How often a connection that is silent is looked at, and how long it may take to answer.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
const CHECK_PATIENCE: Duration = Duration::from_secs(5);

/// Notices that are looked up together.
const NOTICES_MAX: usize = 2_000;
