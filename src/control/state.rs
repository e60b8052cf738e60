//! What the control listener knows: filled by the cores and the server, read by the pages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use ipnet::IpNet;
use ops::counters::{Books, Core, Lists, Lookups, Screened, Screening, Snapshot, Tls};
use ops::health::{Phase, Watch};
use ops::metrics::{Exporter, Sample};
use ops::process;
use ops::screening::lookups::{Ask, Said};
use ops::screening::{Gate, Table, Verdict};
use ops::service::{Service, Serving};
use ops::slot::Slot;
use persist::bans::Ban;
use rustls::ServerConfig;
use shard::Seconds;
use tokio::sync::oneshot;

use super::Api;
use crate::api::Failure;

/// What an operator can ask for.
#[derive(Debug)]
pub enum Command {
    /// Write a snapshot now.
    Snapshot,
    /// Read the lists of torrents again, and say what they are then, or why not.
    Lists(oneshot::Sender<Result<String, String>>),
    /// Say who is banned, or ban somebody.
    Bans(BansAsked, oneshot::Sender<Result<BansAnswer, Failure>>),
}

/// What is asked of bans.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BansAsked {
    /// Those behind one, at most so many.
    Page(Option<IpNet>, usize),
    /// These networks are banned.
    Put {
        /// Who.
        networks: Vec<IpNet>,
        /// For how long; `None` for ever.
        time: Option<Seconds>,
        /// Why.
        reason: Box<str>,
    },
    /// This network is not banned any more.
    Remove(IpNet),
}

/// What has become of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BansAnswer {
    /// These are in force.
    Bans(Vec<Ban>),
    /// It is not there now: whether it was, and the network of another ban that it lies in.
    Removed(bool, Option<IpNet>),
}

/// A command that is not carried out now; the text says why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Declined(pub &'static str);

/// Everything the pages are made of.
pub struct State {
    slots: Vec<Arc<Slot>>,
    phase: Mutex<Phase>,
    /// Another process takes over.
    is_handing_over: AtomicBool,
    snapshot: Mutex<Snapshot>,
    lists: Mutex<Lists>,
    tls: Mutex<Tls>,
    certificates: Mutex<Option<Arc<ServerConfig>>>,
    /// What the tracker listens for, and whether it is on.
    services: Mutex<Vec<(Service, bool)>>,
    screening: Mutex<Screening>,
    lookups: OnceLock<Box<dyn Fn() -> Lookups + Send + Sync>>,
    /// Who may ask here, and who was turned away.
    gate: Mutex<(Gate, Screened)>,
    books: OnceLock<Box<dyn Fn() -> Books + Send + Sync>>,
    api: OnceLock<Arc<Api>>,
    metrics: Mutex<Metrics>,
    watch: Mutex<Watch>,
    udp_ports: Vec<u16>,
    command: Box<dyn Fn(Command) -> Result<(), Declined> + Send + Sync>,
}

/// The exporter and the page it made last.
struct Metrics {
    exporter: Exporter,
    page: Option<(Instant, Bytes)>,
}

impl State {
    /// The state of a process that begins now, with `cores` cores, in [`Phase::Loading`].
    ///
    /// `udp_ports` are the ports whose drops are taken from the kernel. `command` is called on the
    /// control thread and must not block: it passes the command on, or declines it.
    pub fn new(
        cores: usize,
        udp_ports: Vec<u16>,
        command: impl Fn(Command) -> Result<(), Declined> + Send + Sync + 'static,
    ) -> Self {
        let exporter = Exporter::new(env!("CARGO_PKG_VERSION"), unix_seconds());
        Self {
            slots: (0..cores).map(|_| Arc::default()).collect(),
            phase: Mutex::new(Phase::Loading { done: 0, total: 0 }),
            is_handing_over: AtomicBool::new(false),
            snapshot: Mutex::default(),
            lists: Mutex::default(),
            tls: Mutex::default(),
            certificates: Mutex::default(),
            services: Mutex::default(),
            screening: Mutex::default(),
            lookups: OnceLock::new(),
            gate: Mutex::default(),
            books: OnceLock::new(),
            api: OnceLock::new(),
            metrics: Mutex::new(Metrics { exporter, page: None }),
            watch: Mutex::default(),
            udp_ports,
            command: Box::new(command),
        }
    }

    /// The place for the counters of core `number`, which is below the number of cores.
    pub fn slot(&self, number: usize) -> Arc<Slot> {
        self.slots[number].clone()
    }

    /// Where the process is now.
    pub fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// Says that the process has come to `phase`.
    pub fn set_phase(&self, phase: Phase) {
        *lock(&self.phase) = phase;
    }

    /// Changes what is known about snapshots.
    pub fn update_snapshot(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut lock(&self.snapshot));
    }

    /// Changes what is known about the lists of torrents.
    pub fn update_lists(&self, change: impl FnOnce(&mut Lists)) {
        change(&mut lock(&self.lists));
    }

    /// Shows new connections over TLS these from now on.
    pub fn show_certificates(&self, certificates: Arc<ServerConfig>) {
        *lock(&self.certificates) = Some(certificates);
    }

    /// What new connections over TLS are shown; `None` where there is nothing.
    pub(super) fn certificates(&self) -> Option<Arc<ServerConfig>> {
        lock(&self.certificates).clone()
    }

    /// Says what is known of TLS from now on.
    pub fn show_tls(&self, tls: Tls) {
        *lock(&self.tls) = tls;
    }

    /// What is known of TLS.
    pub(super) fn tls(&self) -> Tls {
        lock(&self.tls).clone()
    }

    /// Says what the tracker listens for; all of it is on.
    pub fn show_services(&self, services: &[Service]) {
        *lock(&self.services) = services.iter().map(|service| (*service, true)).collect();
    }

    /// Says that a service is on from now on, or off.
    pub fn switch(&self, service: Service, is_on: bool) {
        let mut services = lock(&self.services);
        services.iter_mut().filter(|(of, _)| *of == service).for_each(|(_, on)| *on = is_on);
    }

    /// Services that are off.
    pub fn switched_off(&self) -> Vec<Service> {
        let services = lock(&self.services);
        services.iter().filter(|(_, is_on)| !is_on).map(|(service, _)| *service).collect()
    }

    /// What the tracker listens for, whether it is on, and how it is doing on all cores.
    pub(super) fn services(&self) -> Vec<(Service, bool, Serving)> {
        let cores = self.cores();
        let services = lock(&self.services).clone();
        let of = |(service, is_on): (Service, bool)| {
            let sum = cores.iter().map(|core| core.services[service as usize]);
            let sum = sum.fold(Serving::default(), |all, core| Serving {
                is_off: !is_on,
                is_shedding: all.is_shedding || core.is_shedding,
                shed: all.shed + core.shed,
            });
            (service, is_on, sum)
        };
        services.into_iter().map(of).collect()
    }

    /// Says what is known of the rules about addresses from now on.
    pub fn show_screening(&self, screening: Screening) {
        *lock(&self.screening) = screening;
    }

    /// What is known of the rules about addresses.
    pub(super) fn screening(&self) -> Screening {
        lock(&self.screening).clone()
    }

    /// Lets in by these rules about addresses from now on.
    pub fn screen_by(&self, table: Arc<Table>) {
        lock(&self.gate).0.put(table);
    }

    /// Looks countries up that no database names from now on; `look` says how that goes, and must not block. Once; who
    /// comes later is not asked.
    pub fn look_up(&self, ask: Ask, look: impl Fn() -> Lookups + Send + Sync + 'static) {
        let gate = &mut lock(&self.gate).0;
        *gate = std::mem::take(gate).with_lookups(Some(ask), LOOKED_UP_MAX);
        let _ = self.lookups.set(Box::new(look));
    }

    /// Takes in what look-ups say of countries.
    pub fn hear_countries(&self, said: &[Said]) {
        lock(&self.gate).0.take_in(said);
    }

    /// How look-ups of countries go.
    pub(super) fn lookups(&self) -> Lookups {
        self.lookups.get().map(|look| look()).unwrap_or_default()
    }

    /// Whether who comes from an address may ask here. Whoever is on this machine may: a rule that is too wide must not
    /// keep its operator out.
    pub(super) fn lets_in(&self, address: IpAddr) -> bool {
        if address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST {
            return true;
        }
        let (gate, screened) = &mut *lock(&self.gate);
        let now = Seconds(unix_seconds() as u32);
        let verdict = gate.judge(address, "control", now, screened);
        gate.ask(now);
        verdict != Verdict::Deny
    }

    /// Says whether another process takes over: until it serves, the API changes nothing.
    pub fn set_handing_over(&self, is_handing_over: bool) {
        self.is_handing_over.store(is_handing_over, Ordering::Relaxed);
    }

    /// Why the API changes nothing now; `None` where it does.
    pub(super) fn unavailable(&self) -> Option<&'static str> {
        match self.phase() {
            Phase::Draining => Some("stopping"),
            _ if self.is_handing_over.load(Ordering::Relaxed) => Some("being taken over"),
            _ => None,
        }
    }

    /// Has the books of a private tracker told. `look` is called whenever a page is made, on the control
    /// thread, and must not block. Once; who comes later is not asked.
    pub fn show_books(&self, look: impl Fn() -> Books + Send + Sync + 'static) {
        let _ = self.books.set(Box::new(look));
    }

    /// How the books are, where the tracker is private and has come so far.
    pub(super) fn books(&self) -> Option<Books> {
        self.books.get().map(|look| look())
    }

    /// Answers requests for the API from now on. Once; a second one is not used.
    pub fn open_api(&self, api: Api) {
        let _ = self.api.set(Arc::new(api));
    }

    /// The API, where the tracker has come so far.
    pub(super) fn api(&self) -> Option<Arc<Api>> {
        self.api.get().cloned()
    }

    /// Passes a command on.
    pub(super) fn command(&self, command: Command) -> Result<(), Declined> {
        (self.command)(command)
    }

    /// Which core no longer turns. One that ends while cores are being started has failed as well; after, they
    /// end one by one, as they should.
    pub(super) fn stalled(&self) -> Option<String> {
        if self.phase() == Phase::Draining {
            return None;
        }
        if let Some(core) = self.slots.iter().position(|slot| slot.has_ended()) {
            return Some(format!("core {core} has ended"));
        }
        let turning = self.phase().ready();
        let stalled = turning.then(|| lock(&self.watch).look(&self.cores(), Instant::now()));
        stalled.flatten().map(|stalled| stalled.to_string())
    }

    /// The private address that most announces come from on some core, and their share in percent.
    pub(super) fn crowd(&self) -> Option<(IpAddr, u8)> {
        self.cores().iter().filter_map(|core| core.crowd).max_by_key(|(_, percent)| *percent)
    }

    /// The page of metrics. Made anew when the last one is older than [`PAGE_AGE`], so that many
    /// readers cost no more than one.
    pub(super) fn metrics(&self) -> Bytes {
        let mut metrics = lock(&self.metrics);
        if let Some((made, page)) = &metrics.page
            && made.elapsed() < PAGE_AGE
        {
            return page.clone();
        }
        let process = process::read(&self.udp_ports)
            .inspect_err(|error| tracing::debug!(%error, "cannot read the state of the process"))
            .ok();
        let books = self.books.get().map(|look| look());
        metrics.exporter.publish(&Sample {
            cores: &self.cores(),
            phase: self.phase(),
            snapshot: &lock(&self.snapshot),
            lists: *lock(&self.lists),
            tls: &lock(&self.tls),
            services: &lock(&self.services),
            screening: &lock(&self.screening),
            lookups: &self.lookups(),
            screened: &lock(&self.gate).1,
            books: books.as_ref(),
            api: self.api.get().map(|api| api.figures()).unwrap_or_default(),
            process: process.as_ref(),
            now: unix_seconds(),
        });
        let page = Bytes::from(metrics.exporter.render());
        metrics.page = Some((Instant::now(), page.clone()));
        page
    }

    fn cores(&self) -> Vec<Core> {
        self.slots.iter().map(|slot| slot.load()).collect()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("cores", &self.slots.len())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

/// The values behind these locks are whole after every statement, so a panic elsewhere does not spoil
/// them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Networks whose countries are remembered for those who ask here.
const LOOKED_UP_MAX: usize = 10_000;

/// How old a page of metrics may be. Below a second, so that a scraper that comes every second always
/// gets a new one.
const PAGE_AGE: Duration = Duration::from_millis(500);
