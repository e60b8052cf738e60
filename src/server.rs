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
mod screening;
mod signals;
pub(crate) mod snapshots;
mod successor;
mod systemd;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ops::health::Phase;
use ops::lists::{ListError, TorrentLists};
use ops::screening::lookups::{self, Lookups};
use persist::postgres::Heard;
use persist::register::Register;
use persist::{DataDir, Snapshot};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::sync::oneshot;

use crate::api::Failure;
use crate::api::audit::Audit;
use crate::config::{Config, ConfigError};
use crate::control::{self, Api, BansAnswer, BansAsked, Pages, Transport};
use crate::core::connection_id::{self, ConnectionIds};
use crate::core::mesh::barrier;
use crate::core::mesh::message::Command;
use crate::private::books::Books;
use crate::private::books::reconcile::{Differed, ReconcileError, Reconciliation};
use crate::private::books::restore::Unloaded;
use crate::process::clock::Clock;
use crate::process::memory;
use bans::Bans;
use certificates::Certificates;
use cores::{Cores, Outfit};
use full_scrapes::{FullScrapes, Made};
use listeners::{Addresses, Listeners};
use ops::log::ErrorChain;
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

/// How often it is looked whether the connections have ended that are left.
const LEAVE_LOOK: Duration = Duration::from_millis(100);

/// How much longer than an idle connection they may take.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

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
    let ids = connection_ids(config, &data)?;
    let lists = Arc::new(read_lists(config)?);
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
    let state = Arc::new(control_state(&listeners.addresses, count, events.clone()));
    say_sizes(&lists, &state);
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
    let mut looked_up = None;
    if let Some((ask, _, shared)) = &lookups {
        looked_up = Some(shared.clone());
        let shared = shared.clone();
        state.look_up(ask.clone(), move || shared.figures());
    }
    // While the process before serves, it answers here as well.
    let mut answering = match before.is_some() {
        true => Vec::new(),
        false => answer_all(&listeners, &state)?,
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
        say_what_is_loaded(snapshot, &state);
    }
    let loading = Instant::now();
    let mut books = match config.private {
        false => None,
        true => {
            let events = events.clone();
            let seen = move |seen| _ = events.send(Event::Seen(seen));
            let slots = (0..count).map(|core| state.slot(core)).collect();
            let opened = match (&snapshot, journal) {
                (Some(snapshot), Some(end)) => {
                    Books::open_beside(config, &data, slots, clock, (snapshot, end), seen)?
                }
                _ => Books::open(config, &data, slots, clock, snapshot.as_ref(), seen)?,
            };
            state.show_books(opened.figures());
            Some(opened)
        }
    };
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
    let api = match (&books, register) {
        (Some(books), _) => {
            let (accounts, site) = (books.accounts.clone(), books.site.clone());
            let audit = site.audit().expect("the books have one").file().clone();
            Some(Api::private(addresses_of_cores, accounts, site, data.path(), audit, clock)?)
        }
        (None, Some(register)) if config.control.or(config.control_https).is_some() => {
            let audit = Arc::new(Audit::new(data.path().to_owned(), config.audit_keep));
            Some(Api::open(addresses_of_cores, register, data.path(), audit, clock)?)
        }
        _ => None,
    };
    if let Some(api) = api {
        state.open_api(api);
    }
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
    if let Some(mut before) = before {
        let (sockets, given) = listeners.for_cores(config, count);
        copies = given;
        server.cores.open(sockets)?;
        let (promises, reload) = before.follow(&server.cores, &is_ending, server.books.as_mut())?;
        listeners.steer(config, count);
        server.cores.serve(promises)?;
        before.succeed(&server.cores, server.books.as_ref().map(Books::begin_to_write));
        data.sign();
        answering = answer_all(&listeners, &server.state)?;
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

/// Answers on all listeners of the control side.
fn answer_all(
    listeners: &Listeners,
    state: &Arc<control::State>,
) -> Result<Vec<control::ControlHandle>, ServerError> {
    let Listeners { control, control_https, metrics, .. } = listeners;
    let all = [
        answer(control.as_ref(), state, Pages::All, Transport::Plain)?,
        answer(control_https.as_ref(), state, Pages::All, Transport::Tls)?,
        answer(metrics.as_ref(), state, Pages::Metrics, Transport::Plain)?,
    ];
    Ok(all.into_iter().flatten().collect())
}

/// Answers on a listener, where there is one.
fn answer(
    listener: Option<&TcpListener>,
    state: &Arc<control::State>,
    pages: Pages,
    transport: Transport,
) -> Result<Option<control::ControlHandle>, ServerError> {
    let Some(listener) = listener else { return Ok(None) };
    let listener = listener.try_clone().map_err(|source| system("copy a listener", source))?;
    control::spawn(listener, state.clone(), pages, transport)
        .map_err(|source| system("start the control listener", source))
        .map(Some)
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
    /// Waits until every core has loaded its swarms, which began at `loading`.
    fn wait_until_ready(&mut self, loading: Instant) -> Result<(), ServerError> {
        let mut missing = self.cores.count();
        let (mut restored_peers, mut lists_wanted) = (0, Vec::new());
        while missing > 0 {
            systemd::more_time(2 * LOOK_PERIOD);
            match self.next_event(None) {
                Some(Event::CoreReady(restored)) => {
                    let restored = restored?;
                    restored_peers += (restored.peers_v4 + restored.peers_v6) as u64;
                    missing -= 1;
                    self.cores.restored.push(restored);
                    if let Phase::Loading { total, .. } = self.state.phase() {
                        self.state.set_phase(Phase::Loading { done: restored_peers, total });
                    }
                }
                // What is written meanwhile is not in what cores begin with: compared when they serve.
                Some(Event::Seen(heard)) => {
                    let books = self.books.as_ref();
                    if !books.is_some_and(|books| books.has_heard(&heard.seen)) {
                        self.reconciliation.is_wanted();
                    }
                }
                Some(Event::CoreEnded(core)) => return Err(self.cores.failed(core)),
                // The lists were read before loading began, and may have changed since.
                Some(Event::Signal(SIGHUP)) => lists_wanted.push(None),
                Some(Event::ListsWanted(reply)) => lists_wanted.push(Some(reply)),
                Some(Event::Signal(SIGINT | SIGTERM)) => {
                    tracing::info!("stopped while loading; the snapshots are as they were");
                    std::process::exit(0);
                }
                _ => {}
            }
        }
        for reply in lists_wanted {
            let read = self.reload_lists();
            reply.map(|reply| reply.send(read));
        }
        self.state.update_snapshot(|known| {
            known.load_nanos = loading.elapsed().as_nanos() as u64;
            known.loaded_peers = restored_peers;
        });
        Ok(())
    }

    fn log_ready(&self, addresses: &Addresses, took: Duration) {
        let (mut torrents, mut peers) = (0, 0);
        for restored in &self.cores.restored {
            torrents += restored.swarms;
            peers += restored.peers_v4 + restored.peers_v6;
        }
        let show = |addresses: &[SocketAddr]| {
            let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            if shown.is_empty() { "none".to_owned() } else { shown.join(",") }
        };
        let one = |address: Option<SocketAddr>| {
            address.map_or("none".to_owned(), |address| address.to_string())
        };
        tracing::info!(
            udp = show(&addresses.udp),
            http = show(&addresses.http),
            unix = self.config.http.iter().filter(|address| address.at().is_none()).count(),
            https = show(&addresses.https),
            control = one(addresses.control),
            control_https = one(addresses.control_https),
            metrics = one(addresses.metrics),
            cores = self.cores.count(),
            torrents,
            peers,
            seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0,
            "ready"
        );
    }

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

    /// Reads lists, rules about addresses and certificates again.
    fn read_again(&mut self) {
        let _ = self.reload_lists();
        if let Some(screening) = &mut self.screening {
            let _ = screening.read(&self.cores, &self.state);
        }
        if let Some(certificates) = &mut self.certificates {
            certificates.read(&self.cores, &self.state);
        }
        if let Some(successors) = &mut self.successors {
            successors.reload();
        }
    }

    /// Hears somebody who takes over, or speaks of that.
    fn receive(&mut self, visit: Visit) {
        let Some(successors) = &mut self.successors else { return };
        match visit {
            Visit::StartWanted(asking) => successors.start(asking),
            Visit::Ended(text) => successors.ended(&text),
            Visit::Said(number, said) => successors.said(number, said, &self.cores),
            Visit::Successor(talk) => {
                // It begins with what is known here.
                if let Some(lookups) = &self.lookups {
                    lookups.keep();
                }
                // What the API would change now, the other one would not know.
                self.state.set_handing_over(true);
                successors.welcome(talk, &self.cores, &self.snapshots.data());
            }
        }
    }

    /// Does what is next for a process that takes over; true when it has.
    fn hands_over(&mut self) -> Result<bool, ServerError> {
        let Some(successors) = &mut self.successors else { return Ok(false) };
        if successors.wants_snapshot() && !self.snapshots.under_way() {
            self.snapshots.start(&self.cores, &self.state, self.clock);
            if self.snapshots.under_way() {
                successors.snapshot_begun();
            }
        }
        let handed = successors.is_ready(&self.cores)
            && successors
                .hand_over(&self.cores, &self.arriving, &mut self.postponed, self.books.as_mut())
                .map_err(|error| ServerError::JournalNotGoneOn(Box::new(error)))?;
        self.state.set_handing_over(successors.is_coming());
        Ok(handed)
    }

    /// Ends the connections that are left after another process serves, and then the cores. Nothing is written: that is
    /// the other one's.
    fn leave(self) {
        let until = Instant::now() + self.config.http_idle_timeout + LEAVE_GRACE;
        let is_ending = || {
            let event = self.signals.recv_timeout(LEAVE_LOOK);
            event.is_ok_and(|event| !matches!(event, Event::Signal(SIGHUP)))
        };
        if let Some(books) = self.books {
            books.leave();
        }
        if let Some(successors) = &self.successors {
            successors.say_books_left();
            successors.leave(&self.cores, until, &is_ending);
        }
        deadline::end_within(deadline::FAILURE);
        self.cores.stop();
        tracing::info!("left");
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

    /// Reads the lists again; with a mistake in them, the old ones stay. What they are, for people.
    fn reload_lists(&mut self) -> Result<String, String> {
        let Config { allow_list, deny_list, private, .. } = self.config;
        if *private {
            return Err(
                "a private tracker serves what is registered, and has no lists\n".to_owned()
            );
        }
        match read_lists(self.config) {
            Ok(lists) => {
                let (allowed, denied) = lists.sizes();
                say_sizes(&lists, &self.state);
                let allowed = allowed.map_or("all".to_owned(), |allowed| allowed.to_string());
                tracing::info!(allowed, denied, "lists reloaded");
                let refused = lists.refused_since(&self.lists).copied().collect();
                self.lists = Arc::new(lists);
                self.cores.tell_all(&Command::Lists(self.lists.clone()));
                self.cores.tell_all(&Command::Forget(Arc::new(refused)));
                let said = |name: &str, path: &Option<PathBuf>, torrents: &dyn Display| match path {
                    Some(path) => {
                        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                        format!("{name} {}: {torrents} torrents\n", path.display())
                    }
                    None => format!("{name} none\n"),
                };
                Ok(said("allow-list", allow_list, &allowed)
                    + &said("deny-list", deny_list, &denied))
            }
            Err(error) => {
                self.state.update_lists(|known| known.reloads_failed += 1);
                tracing::error!(
                    error = %ErrorChain(&error),
                    "lists not reloaded; the ones from before stay in force"
                );
                Err(format!("{}\nthe lists from before stay in force\n", ErrorChain(&error)))
            }
        }
    }

    /// Options other than what is in the lists count from the next start.
    fn say_what_changed(&self) {
        match (self.changed)() {
            Ok(names) if names.is_empty() => {}
            Ok(names) => tracing::warn!(
                options = names.join(", "),
                "the configuration has changed in these; they count from the next start"
            ),
            Err(error) => tracing::error!(
                error = %ErrorChain(&error),
                "the configuration has a mistake by now; the tracker goes on as it was started, and would not start \
                 with it"
            ),
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

fn connection_ids(config: &Config, data: &DataDir) -> Result<ConnectionIds, ServerError> {
    let key = match config.given_connection_id_key()? {
        Some(key) => key.0,
        None => connection_id::load_or_create(&data.path().join("connection-id.key"))?,
    };
    let grace = shard::Seconds(config.connection_id_grace.as_secs() as u32);
    Ok(ConnectionIds::new(&key, grace))
}

fn read_lists(config: &Config) -> Result<TorrentLists, ListError> {
    let Config { allow_list, deny_list, listed, .. } = config;
    let lists = TorrentLists::load(allow_list.as_deref(), deny_list.as_deref())?;
    Ok(if *listed { lists.listed() } else { lists })
}

/// Tells the metrics how many torrents the lists name.
fn say_sizes(lists: &TorrentLists, state: &control::State) {
    let (allowed, denied) = lists.sizes();
    state.update_lists(|known| {
        known.allowed = allowed.map(|allowed| allowed as u64);
        known.denied = denied as u64;
    });
}

fn say_what_is_loaded(snapshot: &Snapshot, state: &control::State) {
    let (meta, totals) = (snapshot.meta(), snapshot.totals());
    tracing::info!(
        path = %snapshot.path().display(),
        torrents = totals.swarms,
        peers = totals.peers(),
        "loading a snapshot"
    );
    state.set_phase(Phase::Loading { done: 0, total: totals.peers() });
    state.update_snapshot(|known| {
        known.newest = Some(u64::from(meta.written_at.0));
        known.bytes = snapshot.bytes();
        known.peers = totals.peers();
        known.torrents = totals.swarms;
    });
}

fn control_state(addresses: &Addresses, cores: usize, events: Sender<Event>) -> control::State {
    let udp_ports = addresses.udp.iter().map(SocketAddr::port).collect();
    control::State::new(cores, udp_ports, move |command| {
        let event = match command {
            control::Command::Snapshot => Event::SnapshotWanted,
            control::Command::Lists(reply) => Event::ListsWanted(reply),
            control::Command::Bans(asked, reply) => Event::Bans(asked, reply),
        };
        events.try_send(event).map_err(|_| control::Declined("the tracker is busy; try again"))
    })
}

fn system(what: &'static str, source: io::Error) -> ServerError {
    ServerError::System { what, source }
}
