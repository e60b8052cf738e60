//! The whole tracker: built, started in order, watched, and stopped in order.

mod bans;
mod certificates;
mod core_thread;
pub(crate) mod cores;
mod deadline;
mod full_scrapes;
mod listeners;
mod screening;
pub(crate) mod snapshots;

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ops::health::Phase;
use ops::lists::{ListError, TorrentLists};
use ops::screening::ScreeningError;
use ops::tls::KeptError;
use persist::bans::BansError;
use persist::postgres::Heard;
use persist::register::{Register, RegisterError};
use persist::{DataDir, DataDirError, Snapshot, SnapshotError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

use crate::api::Failure;
use crate::api::audit::Audit;
use crate::api::token::TokenError;
use crate::config::{Config, ConfigError, KeyError};
use crate::control::{self, Api, BansAnswer, BansAsked, Pages, Transport};
use crate::core::connection_id::{self, ConnectionIds};
use crate::core::mesh::message::Command;
use crate::private::books::reconcile::{Differed, ReconcileError, Reconciliation};
use crate::private::books::restore::Unloaded;
use crate::private::books::{Books, BooksError};
use crate::process::clock::Clock;
use crate::process::memory;
use bans::Bans;
use certificates::Certificates;
use cores::{Cores, Outfit};
use full_scrapes::{FullScrapes, Made};
use listeners::Listeners;
use ops::log::ErrorChain;
use screening::Screening;
use snapshots::{Outcome, Snapshots};

/// Why the tracker could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There are snapshots, and none can be used or safely passed over.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A core could not load its swarms.
    #[error(transparent)]
    Unloaded(#[from] Unloaded),
    /// The books of a private tracker cannot be opened.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// The key of the connection ids cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The same for the file in the data directory.
    #[error(transparent)]
    KeyFile(#[from] connection_id::KeyError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for the keys of the tables")]
    Random(#[source] getrandom::Error),
    /// The token for operators cannot be left in the data directory.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A list of torrents has a mistake.
    #[error(transparent)]
    Lists(#[from] ListError),
    /// The rules about addresses cannot be used.
    #[error(transparent)]
    Screening(#[from] ScreeningError),
    /// The bans cannot be read.
    #[error(transparent)]
    Bans(#[from] BansError),
    /// The certificates cannot be served.
    #[error(transparent)]
    Certificates(#[from] KeptError),
    /// What the API has said of torrents cannot be read.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {protocol} {address} (option {protocol}): {}", what_to_do(protocol, *address, source)
    )]
    Bind {
        /// `udp`, `http`, `https`, `control`, `control-https` or `metrics`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The snapshot at the stop was not written; the log says why.
    #[error(
        "the last snapshot was not written: the next start goes on from the one before it, and what peers did since is \
         forgotten until they announce"
    )]
    LastSnapshot,
    /// A core's thread did not start.
    #[error(
        "cannot start core {core}: {reason}; glommio needs io_uring (see `sysctl kernel.io_uring_disabled`) and a few hundred KiB of locked memory (`ulimit -l`)"
    )]
    Core {
        /// Its number.
        core: usize,
        /// The reason that glommio gave.
        reason: String,
    },
    /// A core's thread ended by a mistake in the program.
    #[error(
        "core {0} has failed; see the message above. The newest snapshot is used at the next start"
    )]
    CoreFailed(usize),
    /// The journal's thread ended by a mistake in the program.
    #[error(
        "the thread of the journal has failed; see the message above. What it has written is used at the next \
         start"
    )]
    JournalFailed,
    /// Something else the system refused.
    #[error("cannot {what}")]
    System {
        /// The action that was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl ServerError {
    /// It is about a file or a URL that the options name, as `margay config check` finds it too: somebody has to
    /// mend it, and another start alone does not.
    pub fn is_mistake(&self) -> bool {
        match self {
            ServerError::Key(_)
            | ServerError::Lists(_)
            | ServerError::Screening(_)
            | ServerError::Bans(_)
            | ServerError::Certificates(KeptError::Tls(_)) => true,
            ServerError::Books(error) => error.is_mistake(),
            _ => false,
        }
    }
}

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
}

/// Events that wait for the main thread at most; each source has few under way.
const EVENTS_MAX: usize = 4096;

/// Signals that wait for the main thread.
const SIGNALS_MAX: usize = 4;

/// How often it is looked at what nobody sends an event of.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Says which options would have other values now than at the start.
pub type Changed<'c> = &'c dyn Fn() -> Result<Vec<&'static str>, ConfigError>;

/// Runs the tracker until a signal stops it. At SIGHUP `changed` is asked, and the log says what it says.
pub fn run(config: &Config, changed: Changed<'_>) -> Result<(), ServerError> {
    let started = Instant::now();
    let clock = Clock::start();
    let data = Arc::new(DataDir::open(&config.data)?);
    let ids = connection_ids(config, &data)?;
    let lists = Arc::new(read_lists(config)?);
    let bans = Bans::open(&data, clock.now())?;
    let screening = Screening::open(config, bans.networks())?;
    let certificates = Certificates::open(config, &data)?;
    let (events, arriving) = crossbeam_channel::bounded(EVENTS_MAX);
    let signals = forward_signals()?;

    let placement = cores::placement(config.cores);
    let listeners = Listeners::bind(config, placement.len())?;
    let state = Arc::new(control_state(&listeners, events.clone()));
    say_sizes(&lists, &state);
    certificates.iter().for_each(|certificates| certificates.show(&state));
    state.show_services(&listeners.addresses.services());
    if let Some(screening) = &screening {
        state.screen_by(screening.table());
        screening.show(&state);
    } else if let Some(table) = bans.alone() {
        state.screen_by(table);
    }
    let control = answer(listeners.control.as_ref(), &state, Pages::All, Transport::Plain)?;
    let control_https =
        answer(listeners.control_https.as_ref(), &state, Pages::All, Transport::Tls)?;
    let metrics = answer(listeners.metrics.as_ref(), &state, Pages::Metrics, Transport::Plain)?;
    let addresses = listeners.addresses.clone();

    let snapshot = if config.fresh { None } else { Snapshot::open_newest(&data)? };
    if let Some(snapshot) = &snapshot {
        snapshot.expect_private(config.private)?;
        say_what_is_loaded(snapshot, &state);
    }
    let loading = Instant::now();
    let mut books = None;
    if config.private {
        let events = events.clone();
        let seen = move |seen| _ = events.send(Event::Seen(seen));
        let slots = (0..placement.len()).map(|core| state.slot(core)).collect();
        let opened = Books::open(config, &data, slots, clock, snapshot.as_ref(), seen)?;
        state.show_books(opened.figures());
        books = Some(opened);
    }
    let outfit = Outfit {
        private: books.as_mut().map(Books::outfit),
        settings: Arc::new(config.clone()),
        clock,
        connection_ids: ids,
        lists: lists.clone(),
        screening: screening.as_ref().map(Screening::table).or_else(|| bans.alone()),
        shedding: Arc::default(),
        tls: certificates.as_ref().map(Certificates::config),
    };
    let register = match config.private {
        true => None,
        false => Some(Register::open(&data, config.torrents_max, clock.now())?),
    };
    let said: Vec<_> =
        register.iter().flat_map(|register| control::said(register, clock)).collect();
    let cores = Cores::start(&outfit, placement, listeners, snapshot, said, &state)?;
    let addresses_of_cores = cores.addresses();
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
        data,
        (events, arriving),
        signals,
    );
    server.wait_until_ready(loading).inspect_err(|_| deadline::end_within(deadline::FAILURE))?;
    // Tables that grew while users and torrents were loaded have left holes of what they were before.
    memory::give_back();
    server.state.set_phase(Phase::Ready);
    server.log_ready(&addresses, started.elapsed());
    server.watch().inspect_err(|_| deadline::end_within(deadline::FAILURE))?;
    deadline::end_within(deadline::STOP);
    server.stop()?;
    [control, control_https, metrics]
        .into_iter()
        .flatten()
        .for_each(control::ControlHandle::shutdown);
    Ok(())
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
    /// Where there is `https`.
    certificates: Option<Certificates>,
    snapshots: Snapshots,
    full_scrapes: FullScrapes,
    reconciliation: Reconciliation,
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
            certificates,
            state,
            reconciliation,
            full_scrapes: FullScrapes::new(data, config, events),
            snapshots,
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

    fn log_ready(&self, addresses: &listeners::Addresses, took: Duration) {
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
    fn next_event(&self, until: Option<Instant>) -> Option<Event> {
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

    /// Serves until a signal ends it.
    fn watch(&mut self) -> Result<(), ServerError> {
        loop {
            let due = [self.snapshots.due(), self.full_scrapes.due(), self.reconciliation.due()];
            let due = due.into_iter().flatten().min();
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
                    let _ = self.reload_lists();
                    if let Some(screening) = &mut self.screening {
                        let _ = screening.read(&self.cores, &self.state);
                    }
                    if let Some(certificates) = &mut self.certificates {
                        certificates.read(&self.cores, &self.state);
                    }
                    self.say_what_changed();
                }
                Event::ListsWanted(reply) => _ = reply.send(self.reload_lists()),
                Event::Bans(asked, reply) => _ = reply.send(self.hear_bans(asked)),
                Event::Signal(_) => return Ok(()),
                Event::SnapshotWanted => self.snapshots.start(&self.cores, &self.state, self.clock),
                Event::SnapshotDone(outcome) => {
                    self.snapshots.done(outcome, &self.state);
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
        }
        if self.snapshots.due().is_some_and(|due| due <= now) {
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
            Some(Event::SnapshotDone(outcome)) => self.snapshots.done(outcome, &self.state),
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

fn control_state(listeners: &Listeners, events: Sender<Event>) -> control::State {
    let udp_ports = listeners.addresses.udp.iter().map(SocketAddr::port).collect();
    control::State::new(listeners.cores.len(), udp_ports, move |command| {
        let event = match command {
            control::Command::Snapshot => Event::SnapshotWanted,
            control::Command::Lists(reply) => Event::ListsWanted(reply),
            control::Command::Bans(asked, reply) => Event::Bans(asked, reply),
        };
        events.try_send(event).map_err(|_| control::Declined("the tracker is busy; try again"))
    })
}

/// Signals have a queue of their own, so that one that ends the tracker is never lost behind something else. A
/// second one ends it at once, whatever the main thread waits for.
/// A signal to stop that comes sooner after the first one is taken for the same.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

fn forward_signals() -> Result<Receiver<Event>, ServerError> {
    // Without a handler, a limit on the size of files (setrlimit(2)) would end the process; with one, writing
    // fails, as on a full disk.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ])
        .map_err(|source| system("listen for signals", source))?;
    let (forward, arriving) = crossbeam_channel::bounded(SIGNALS_MAX);
    std::thread::Builder::new()
        .name("margay-signals".to_owned())
        .spawn(move || {
            let mut ending: Option<Instant> = None;
            for signal in signals.forever().filter(|signal| *signal != SIGXFSZ) {
                if [SIGUSR1, SIGUSR2].contains(&signal) {
                    tracing::warn!(
                        signal,
                        "nothing is done at this signal; SIGHUP reads the lists again, SIGTERM stops, and `POST \
                         /snapshot` on the control listener writes a snapshot"
                    );
                    continue;
                }
                let ends = signal != SIGHUP;
                match ending {
                    // timeout(1) and shells may send the first one twice.
                    Some(since) if ends && since.elapsed() < SECOND_SIGNAL_AFTER => continue,
                    Some(_) if ends => {
                        tracing::warn!("stopped by a second signal, without a last snapshot");
                        std::process::exit(1);
                    }
                    _ if ends => ending = Some(Instant::now()),
                    _ => {}
                }
                // A busy main thread reads the lists once for several; the last place is for the end.
                if ends || forward.len() + 1 < SIGNALS_MAX {
                    let _ = forward.try_send(Event::Signal(signal));
                }
            }
        })
        .map_err(|source| system("start a thread", source))?;
    Ok(arriving)
}

/// Says what is in the way of an address, and who knows more.
fn what_to_do(protocol: &str, address: SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    let kind = if protocol == "udp" { 'u' } else { 't' };
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another process has it; `ss -{kind}lnp sport = :{port}` says which; end that one, or give another \
             address"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `ip address` shows those that it has".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is for processes with CAP_NET_BIND_SERVICE; give another one, or that right"
        ),
        _ => "give another address".to_owned(),
    }
}

fn system(what: &'static str, source: io::Error) -> ServerError {
    ServerError::System { what, source }
}
