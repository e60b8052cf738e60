//! The whole tracker: built, started in order, watched, and stopped in order.

mod bans;
mod certificates;
mod core_thread;
pub(crate) mod cores;
mod deadline;
mod error;
mod full_scrapes;
mod listeners;
mod predecessor;
mod reload;
mod screening;
mod signals;
pub(crate) mod snapshots;
mod start;
mod succession;
mod successor;
mod systemd;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ops::health::Phase;
use ops::lists::TorrentLists;
use ops::screening::lookups::{self, Lookups};
use persist::postgres::Heard;
use persist::register::Register;
use persist::{DataDir, Snapshot};
use signal_hook::consts::SIGHUP;
use tokio::sync::oneshot;

use crate::api::Failure;
use crate::config::{Config, ConfigError};
use crate::control::{self, BansAnswer, BansAsked};
use crate::core::mesh::barrier;
use crate::core::mesh::message::Command;
use crate::net::unix::UnixSocket;
use crate::private::books::Books;
use crate::private::books::reconcile::{Differed, ReconcileError, Reconciliation};
use crate::private::books::restore::Unloaded;
use crate::process::clock::Clock;
use crate::process::memory;
use bans::Bans;
use certificates::Certificates;
use cores::{Cores, Outfit};
use full_scrapes::{FullScrapes, Made};
use listeners::Listeners;
use predecessor::Predecessor;
use screening::Screening;
use snapshots::{Outcome, Snapshots};
use successor::{Successors, Visit};

pub use error::ServerError;

/// An event that the main thread waits for.
pub(crate) enum Event {
    /// A core has loaded its swarms and serves, or cannot.
    CoreReady(Result<persist::Restored, Unloaded>),
    /// A core's thread has ended.
    CoreEnded(usize),
    /// A signal from the operating system.
    Signal(i32),
    /// The operator asked for a snapshot.
    SnapshotWanted,
    /// Somebody asked for the lists to be read again, and hears what they are then, or why not.
    ListsWanted(oneshot::Sender<Result<String, String>>),
    /// Somebody asks for bans, or changes them.
    Bans(BansAsked, oneshot::Sender<Result<BansAnswer, Failure>>),
    /// The snapshot under way is done.
    SnapshotDone(Outcome),
    /// The site wrote something into the database by itself.
    Seen(Heard),
    /// Everything has been compared with the database, or could not be.
    Reconciled(Result<Differed, ReconcileError>),
    /// The full scrape under way is made, or could not be.
    FullScrapeMade(Made),
    /// About a process that takes over.
    Visit(Visit),
}

/// Events that wait for the main thread at most; each source has few under way.
const EVENTS_MAX: usize = 4096;

/// How often it is looked at what nobody sends an event of.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Says which options would have other values now than at the start.
pub type Changed<'c> = &'c dyn Fn() -> Result<Vec<&'static str>, ConfigError>;

/// This program, as it was called at the start; a successor is what is there then.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Runs the tracker until a signal stops it or another process takes over; with `takes_over` it takes over itself. At
/// SIGHUP `changed` is asked, and the log says what it says.
pub fn run(config: &Config, changed: Changed<'_>, takes_over: bool) -> Result<(), ServerError> {
    let started = Instant::now();
    if let Ok(program) = std::env::current_exe() {
        let _ = PROGRAM.set(program);
    }
    let clock = Clock::start();
    let signals = signals::forward()?;
    let is_ending = || {
        let signal = signals.try_iter().find(|event| !matches!(event, Event::Signal(SIGHUP)));
        signal.is_some()
    };
    let mut before = match takes_over {
        true => Some(Predecessor::meet(&config.data, config.private)?),
        false => None,
    };
    let data = match before.as_mut().and_then(Predecessor::lock) {
        Some(lock) => DataDir::adopt(&config.data, lock),
        None => DataDir::open(&config.data)?,
    };
    let data = Arc::new(data);
    let ids = start::connection_ids(config, &data)?;
    let lists = Arc::new(reload::read_lists(config)?);
    let bans = Bans::open(&data, clock.now())?;
    let screening = Screening::open(config, bans.networks())?;
    let certificates = Certificates::open(config, &data)?;
    let (events, arriving) = crossbeam_channel::bounded(EVENTS_MAX);

    let placement = cores::placement(config.cores);
    let count = placement.len();
    let mut inherited = match &mut before {
        Some(before) => std::mem::take(&mut before.inherited),
        None => systemd::sockets(config),
    };
    let mut listeners = Listeners::bind(config, count, &mut inherited)?;
    let unix = std::mem::take(&mut listeners.unix);
    let state = Arc::new(start::control_state(&listeners.addresses, count, events.clone()));
    reload::say_sizes(&lists, &state);
    certificates.iter().for_each(|certificates| certificates.show(&state));
    state.show_services(&listeners.addresses.services());
    if let Some(screening) = &screening {
        state.screen_by(screening.table());
        screening.show(&state);
    } else if let Some(table) = bans.alone() {
        state.screen_by(table);
    }
    let lookups = config.lookup_options().map(|options| lookups::open(options, clock.now()));
    let lookups = lookups.transpose()?;
    let looked_up = lookups.as_ref().map(|(.., shared)| shared.clone());
    if let Some((ask, _, shared)) = &lookups {
        let shared = shared.clone();
        state.look_up(ask.clone(), move || shared.figures());
    }
    // While the process before serves, it answers here as well.
    let mut answering = match before.is_some() {
        true => Vec::new(),
        false => start::answer_all(&listeners, &state)?,
    };
    let addresses = listeners.addresses.clone();

    let (snapshot, journal) = match &mut before {
        None if config.fresh => (None, None),
        None => (Snapshot::open_newest(&data)?, None),
        Some(before) => {
            let (path, journal) = before.snapshot(&is_ending)?;
            (Some(Snapshot::open(path)?), journal)
        }
    };
    if let Some(snapshot) = &snapshot {
        snapshot.expect_private(config.private)?;
        start::say_what_is_loaded(snapshot, &state);
    }
    let loading = Instant::now();
    let place = start::Place { config, data: &data, clock, cores: count, state: &state };
    let mut books = place.open_books(snapshot.as_ref(), journal, events.clone())?;
    let outfit = Outfit {
        private: books.as_mut().map(Books::outfit),
        settings: Arc::new(config.clone()),
        clock,
        connection_ids: ids,
        lists: lists.clone(),
        screening: screening.as_ref().map(Screening::table).or_else(|| bans.alone()),
        lookups: lookups.as_ref().map(|(ask, ..)| ask.clone()),
        shedding: Arc::default(),
        tls: certificates.as_ref().map(Certificates::config),
    };
    let register = match config.private {
        true => None,
        false => Some(Register::open(&data, config.torrents_max, clock.now())?),
    };
    let said: Vec<_> =
        register.iter().flat_map(|register| control::said(register, clock)).collect();
    let snapshot = snapshot.map(|snapshot| {
        let grace = match before.is_some() {
            true => snapshot.grace_of_hand_over(clock.now()),
            false => snapshot.grace(clock.now()),
        };
        (snapshot, grace)
    });
    let (sockets, mut copies) = match before.is_some() {
        true => (None, Vec::new()),
        false => {
            let (sockets, copies) = listeners.for_cores(config, count);
            listeners.steer(config, count);
            (Some(sockets), copies)
        }
    };
    let cores = Cores::start(&outfit, placement, sockets, snapshot, said, &state)?;
    let addresses_of_cores = cores.addresses();
    if let Some((_, asked, _)) = lookups {
        let (cores, state) = (cores.addresses(), state.clone());
        let tell = move |said: Arc<[_]>| {
            state.hear_countries(&said);
            // Who misses it asks again.
            let _ = barrier::tell_all(&cores, &Command::Countries(said));
        };
        let mut clock = clock;
        let now = move || {
            clock.follow();
            clock.now()
        };
        asked.answer(now, tell)?;
    }
    place.open_api(addresses_of_cores, books.as_ref(), register)?;
    let mut server = Server::new(
        (config, changed),
        clock,
        cores,
        books,
        (lists, screening, bans, certificates),
        state,
        data.clone(),
        (events.clone(), arriving),
        signals.clone(),
    );
    server.lookups = looked_up;
    server.wait_until_ready(loading).inspect_err(|_| deadline::end_within(deadline::FAILURE))?;
    // Tables that grew while users and torrents were loaded have left holes of what they were before.
    memory::give_back();
    if let Some(before) = before {
        let reload = server.take_over(before, &mut listeners, &mut copies, &is_ending)?;
        data.sign();
        answering = start::answer_all(&listeners, &server.state)?;
        if reload {
            server.read_again();
        }
    }
    systemd::keep(&copies);
    server.successors = Some(Successors::open(&config.data, copies, events));
    server.state.set_phase(Phase::Ready);
    server.log_ready(&addresses, started.elapsed());
    systemd::ready();
    let end = server.watch().inspect_err(|_| deadline::end_within(deadline::FAILURE))?;
    match end {
        End::Stopped => {
            systemd::stopping();
            deadline::end_within(deadline::STOP);
            server.stop()?;
            drop(unix);
            answering.into_iter().for_each(control::ControlHandle::shutdown);
        }
        End::Succeeded => {
            unix.into_iter().for_each(UnixSocket::leave);
            answering.into_iter().for_each(control::ControlHandle::shutdown);
            server.leave();
        }
    }
    systemd::finish();
    Ok(())
}

/// How serving has ended.
enum End {
    /// A signal has ended it.
    Stopped,
    /// Another process serves.
    Succeeded,
}

struct Server<'c> {
    config: &'c Config,
    changed: Changed<'c>,
    clock: Clock,
    cores: Cores,
    /// Where the tracker is private.
    books: Option<Books>,
    state: Arc<control::State>,
    lists: Arc<TorrentLists>,
    /// Where there are rules about addresses.
    screening: Option<Screening>,
    bans: Bans,
    /// Where countries are looked up.
    lookups: Option<Arc<Lookups>>,
    /// Where there is `https`.
    certificates: Option<Certificates>,
    snapshots: Snapshots,
    full_scrapes: FullScrapes,
    reconciliation: Reconciliation,
    /// Processes that take over; none before this one serves.
    successors: Option<Successors>,
    /// What has come while something else was waited for.
    postponed: VecDeque<Event>,
    arriving: Receiver<Event>,
    signals: Receiver<Event>,
    /// When it was looked last at what nobody sends an event of.
    looked: Instant,
}

impl<'c> Server<'c> {
    #[expect(clippy::too_many_arguments, reason = "what a start has made, put together once")]
    fn new(
        (config, changed): (&'c Config, Changed<'c>),
        clock: Clock,
        cores: Cores,
        books: Option<Books>,
        (lists, screening, bans, certificates): (
            Arc<TorrentLists>,
            Option<Screening>,
            Bans,
            Option<Certificates>,
        ),
        state: Arc<control::State>,
        data: Arc<DataDir>,
        (events, arriving): (Sender<Event>, Receiver<Event>),
        signals: Receiver<Event>,
    ) -> Self {
        let snapshots = Snapshots::new(data.clone(), config, events.clone());
        let snapshots = match &books {
            Some(books) => snapshots.of_private(books.registers()),
            None => snapshots,
        };
        let compared = books.as_ref().map(Books::compared);
        let reconciliation = Reconciliation::new(compared, config, {
            let events = events.clone();
            // The server may have ended.
            Arc::new(move |result| _ = events.send(Event::Reconciled(result)))
        });
        Self {
            config,
            changed,
            clock,
            cores,
            books,
            lists,
            screening,
            bans,
            lookups: None,
            certificates,
            state,
            reconciliation,
            full_scrapes: FullScrapes::new(data, config, events),
            snapshots,
            successors: None,
            postponed: VecDeque::new(),
            arriving,
            signals,
            looked: Instant::now(),
        }
    }
}

impl Server<'_> {
    /// The next event; what cores say of themselves is not kept waiting by anything else. `None` when nothing has
    /// happened until then, or for some seconds.
    fn next_event(&mut self, until: Option<Instant>) -> Option<Event> {
        if let Some(event) = self.postponed.pop_front() {
            return Some(event);
        }
        let look = Instant::now() + LOOK_PERIOD;
        let until = until.map_or(look, |until| until.min(look));
        if let Ok(event) = self.cores.news.try_recv().or_else(|_| self.signals.try_recv()) {
            return Some(event);
        }
        crossbeam_channel::select! {
            recv(self.cores.news) -> event => event.ok(),
            recv(self.signals) -> event => event.ok(),
            recv(self.arriving) -> event => event.ok(),
            recv(crossbeam_channel::at(until)) -> _ => None,
        }
    }

    /// Serves until a signal ends it, or another process serves.
    fn watch(&mut self) -> Result<End, ServerError> {
        loop {
            if self.hands_over()? {
                return Ok(End::Succeeded);
            }
            let succession = self.successors.as_ref().and_then(Successors::due);
            let due = [self.snapshots.due(), self.full_scrapes.due(), self.reconciliation.due()];
            let due = due.into_iter().flatten().chain(succession).min();
            let Some(event) = self.next_event(due) else {
                if self.books.as_ref().is_some_and(Books::journal_has_ended) {
                    return Err(ServerError::JournalFailed);
                }
                self.start_what_is_due();
                continue;
            };
            self.clock.follow();
            match event {
                Event::Signal(SIGHUP) => {
                    self.read_again();
                    self.say_what_changed();
                }
                Event::ListsWanted(reply) => _ = reply.send(self.reload_lists()),
                Event::Bans(asked, reply) => _ = reply.send(self.hear_bans(asked)),
                Event::Signal(_) => return Ok(End::Stopped),
                Event::SnapshotWanted => self.snapshots.start(&self.cores, &self.state, self.clock),
                Event::SnapshotDone(outcome) => {
                    let written = self.snapshots.done(outcome, &self.state);
                    if let Some(successors) = &mut self.successors {
                        let journal = self.books.as_ref().map(Books::durable);
                        successors.snapshot_done(written.as_deref(), journal, &self.cores);
                    }
                    if let Some(books) = &self.books {
                        books.release(self.snapshots.journal_needed_from());
                    }
                }
                Event::FullScrapeMade(made) => self.full_scrapes.done(made, &self.cores),
                Event::Seen(seen) => {
                    if let Some(books) = &self.books
                        && books.hear(seen, &|command| self.cores.tell_all(command))
                    {
                        self.reconciliation.is_wanted();
                    }
                }
                Event::Reconciled(result) => {
                    self.reconciliation.done(result);
                    if let Some(books) = &self.books {
                        books.release(self.snapshots.journal_needed_from());
                    }
                }
                Event::Visit(visit) => self.receive(visit),
                Event::CoreEnded(core) => return Err(self.cores.failed(core)),
                Event::CoreReady(..) => {}
            }
            if self.cores.has_missed() {
                self.reconciliation.is_wanted();
            }
            self.start_what_is_due();
        }
    }

    /// Bans, or says who is banned; answered when all cores have been told.
    fn hear_bans(&mut self, asked: BansAsked) -> Result<BansAnswer, Failure> {
        let (answer, has_changed) = self.bans.hear(asked, self.clock.now());
        if has_changed {
            self.bans.tell(self.screening.as_mut(), &self.cores, &self.state);
        }
        answer
    }

    fn start_what_is_due(&mut self) {
        self.clock.follow();
        let now = Instant::now();
        let is_coming = self.successors.as_ref().is_some_and(Successors::is_coming);
        if self.looked.elapsed() >= LOOK_PERIOD {
            self.looked = now;
            if self.bans.expire(self.clock.now()) {
                self.bans.tell(self.screening.as_mut(), &self.cores, &self.state);
            }
            if let Some(screening) = &mut self.screening {
                screening.look(&self.cores, &self.state);
            }
            if let Some(certificates) = &mut self.certificates {
                certificates.look(&self.cores, &self.state);
            }
            // Who takes over reads the file, and writes it from then on.
            if let Some(lookups) = self.lookups.as_ref().filter(|_| !is_coming) {
                lookups.keep_now_and_then();
            }
        }
        // One beside that of a take-over would be older, and found first by the next start.
        if !is_coming && self.snapshots.due().is_some_and(|due| due <= now) {
            self.snapshots.start(&self.cores, &self.state, self.clock);
        }
        if self.reconciliation.due().is_some_and(|due| due <= now) {
            self.reconciliation.start(self.cores.addresses(), self.clock);
        }
        if self.full_scrapes.due().is_some_and(|due| due <= now) {
            self.full_scrapes.start(&self.cores, &self.state);
        }
    }

    /// Refuses new work, writes the last snapshot, ends the cores. A second signal ends it at once.
    fn stop(mut self) -> Result<(), ServerError> {
        tracing::info!("stopping: writing a snapshot; a second signal stops without");
        self.state.set_phase(Phase::Draining);
        while self.snapshots.under_way() {
            self.wait_for_snapshot()?;
        }
        self.cores.tell_all(&Command::Drain);
        self.clock.follow();
        self.snapshots.start(&self.cores, &self.state, self.clock);
        while self.snapshots.under_way() {
            self.wait_for_snapshot()?;
        }
        let failed = self.snapshots.failed_last();
        if let Some(lookups) = &self.lookups {
            lookups.keep();
        }
        self.cores.stop();
        // Threads that wait for room in it to say something have nobody to say it to.
        drop(self.arriving);
        if let Some(books) = self.books {
            books.close();
        }
        if failed {
            return Err(ServerError::LastSnapshot);
        }
        tracing::info!("stopped");
        Ok(())
    }

    fn wait_for_snapshot(&mut self) -> Result<(), ServerError> {
        match self.next_event(None) {
            Some(Event::SnapshotDone(outcome)) => _ = self.snapshots.done(outcome, &self.state),
            Some(Event::CoreEnded(core)) => return Err(self.cores.failed(core)),
            _ => {}
        }
        Ok(())
    }
}

fn system(what: &'static str, source: io::Error) -> ServerError {
    ServerError::System { what, source }
}
