//! Steps of a start.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use ops::health::Phase;
use persist::register::Register;
use persist::{DataDir, Snapshot};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::listeners::{Addresses, Listeners};
use super::{Event, LOOK_PERIOD, Server, ServerError, system, systemd};
use crate::api::audit::Audit;
use crate::config::Config;
use crate::control::{self, Api, Pages, Transport};
use crate::core::connection_id::{self, ConnectionIds};
use crate::core::mesh::Address;
use crate::core::mesh::message::Message;
use crate::private::books::Books;
use crate::process::clock::Clock;

/// What most steps go by.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a DataDir,
    pub(super) clock: Clock,
    pub(super) cores: usize,
    pub(super) state: &'a Arc<control::State>,
}

impl Place<'_> {
    /// Opens the books of a private tracker: beside the process before, where that has told up to where its `journal` is
    /// durable.
    pub(super) fn open_books(
        self,
        snapshot: Option<&Snapshot>,
        journal: Option<u64>,
        events: Sender<Event>,
    ) -> Result<Option<Books>, ServerError> {
        let Self { config, data, clock, cores, state } = self;
        if !config.private {
            return Ok(None);
        }
        let seen = move |seen| _ = events.send(Event::Seen(seen));
        let slots = (0..cores).map(|core| state.slot(core)).collect();
        let opened = match (snapshot, journal) {
            (Some(snapshot), Some(end)) => {
                Books::open_beside(config, data, slots, clock, (snapshot, end), seen)?
            }
            _ => Books::open(config, data, slots, clock, snapshot, seen)?,
        };
        state.show_books(opened.figures());
        Ok(Some(opened))
    }

    /// Opens the API, where somebody can ask it.
    pub(super) fn open_api(
        self,
        cores: Vec<Address<Message>>,
        books: Option<&Books>,
        register: Option<Register>,
    ) -> Result<(), ServerError> {
        let Self { config, data, clock, state, .. } = self;
        let api = match (books, register) {
            (Some(books), _) => {
                let (accounts, site) = (books.accounts.clone(), books.site.clone());
                let audit = site.audit().expect("the books have one").file().clone();
                Some(Api::private(cores, accounts, site, data.path(), audit, clock)?)
            }
            (None, Some(register)) if config.control.or(config.control_https).is_some() => {
                let audit = Arc::new(Audit::new(data.path().to_owned(), config.audit_keep));
                Some(Api::open(cores, register, data.path(), audit, clock)?)
            }
            _ => None,
        };
        if let Some(api) = api {
            state.open_api(api);
        }
        Ok(())
    }
}

impl Server<'_> {
    /// Waits until every core has loaded its swarms, which began at `loading`.
    pub(super) fn wait_until_ready(&mut self, loading: Instant) -> Result<(), ServerError> {
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

    pub(super) fn log_ready(&self, addresses: &Addresses, took: Duration) {
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
}

/// Answers on all listeners of the control side.
pub(super) fn answer_all(
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
pub(super) fn answer(
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

pub(super) fn connection_ids(
    config: &Config,
    data: &DataDir,
) -> Result<ConnectionIds, ServerError> {
    let key = match config.given_connection_id_key()? {
        Some(key) => key.0,
        None => connection_id::load_or_create(&data.path().join("connection-id.key"))?,
    };
    let grace = shard::Seconds(config.connection_id_grace.as_secs() as u32);
    Ok(ConnectionIds::new(&key, grace))
}

pub(super) fn say_what_is_loaded(snapshot: &Snapshot, state: &control::State) {
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

pub(super) fn control_state(
    addresses: &Addresses,
    cores: usize,
    events: Sender<Event>,
) -> control::State {
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
