//! All sockets of all cores, bound before anything is started.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ops::service::Service;
use socket2::Type;

use super::ServerError;
use crate::config::{Config, HttpAddress};
use crate::core::family;
use crate::front::door::Door;
use crate::handover::{Given, Kind};
use crate::net::unix::UnixSocket;
use crate::net::{bind, steer};
use crate::server::core_thread::Sockets;

/// Bound sockets, not yet served.
pub(super) struct Listeners {
    udp: Vec<Group<UdpSocket>>,
    http: Vec<Group<TcpListener>>,
    /// Unix sockets, whose files go with them.
    pub(super) unix: Vec<UnixSocket>,
    /// Copies of them for each core.
    unix_listeners: Vec<(TcpListener, Door)>,
    pub(super) control: Option<TcpListener>,
    pub(super) control_https: Option<TcpListener>,
    pub(super) metrics: Option<TcpListener>,
    pub(super) addresses: Addresses,
    steered: Vec<Steered>,
    /// Copies of them all, for whom this process is succeeded by.
    copies: Vec<(Given, OwnedFd)>,
}

/// The sockets of one address: one for each core, in their order, or as many as the process before had.
struct Group<S> {
    kind: Kind,
    /// The address as the configuration has it,
    wanted: SocketAddr,
    /// and the one that they have.
    address: SocketAddr,
    door: Door,
    sockets: Vec<S>,
    /// The process before has bound some of them.
    is_inherited: bool,
}

/// Sockets of the process before.
#[derive(Debug, Default)]
pub(super) struct Inherited(BTreeMap<(Kind, Option<SocketAddr>), BTreeMap<usize, OwnedFd>>);

impl Inherited {
    /// One more.
    pub(super) fn put(&mut self, given: Given, descriptor: OwnedFd) {
        let Given { kind, address, place } = given;
        self.0.entry((kind, address)).or_default().insert(place, descriptor);
    }

    /// How many there are of an address.
    pub(super) fn count(&self, kind: Kind, address: SocketAddr) -> usize {
        self.0.get(&(kind, Some(address))).map_or(0, BTreeMap::len)
    }

    /// Those at paths, each with its lock.
    fn take_unix(&mut self) -> Vec<(OwnedFd, OwnedFd)> {
        let mut all = self.take(Kind::HttpUnix, None).into_iter();
        std::iter::from_fn(|| Some((all.next()?, all.next()?))).collect()
    }

    /// Those of an address, in the order of the group; none where there are none.
    pub(super) fn take(&mut self, kind: Kind, address: Option<SocketAddr>) -> Vec<OwnedFd> {
        self.0.remove(&(kind, address)).unwrap_or_default().into_values().collect()
    }
}

/// Where the tracker listens, with the ports that the system chose for port 0.
#[derive(Clone, Default, Debug)]
pub(super) struct Addresses {
    pub(super) udp: Vec<SocketAddr>,
    pub(super) http: Vec<SocketAddr>,
    pub(super) https: Vec<SocketAddr>,
    pub(super) control: Option<SocketAddr>,
    pub(super) control_https: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

impl Addresses {
    /// What is listened for, in the order of the services.
    pub(super) fn services(&self) -> Vec<Service> {
        let family = |address: &SocketAddr| family(address.ip());
        let udp = self.udp.iter().map(|address| Service::udp(family(address)));
        let http = self.http.iter().map(|address| Service::http(family(address), false));
        let https = self.https.iter().map(|address| Service::http(family(address), true));
        udp.chain(http).chain(https).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// How long the system may need to take the sockets back from a process that has just ended: io_uring gives
/// them back 4 to 14 ms after it is gone, here, and later on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// How soon it is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// Longer than this is worth a line.
const MOMENT: Duration = Duration::from_millis(100);

impl Listeners {
    /// [`Listeners::bind_now`], again and again for a while where an address is in use: that may be by the
    /// tracker that has just been stopped.
    pub(super) fn bind(
        config: &Config,
        cores: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, ServerError> {
        let began = Instant::now();
        loop {
            match Self::bind_now(config, cores, inherited) {
                Err(error) if is_in_use(&error) && began.elapsed() < PATIENCE => {
                    thread::sleep(PAUSE);
                }
                Ok(listeners) => {
                    let waited = began.elapsed();
                    if waited > MOMENT {
                        tracing::info!(?waited, "addresses that were in use are free now");
                    }
                    return Ok(listeners);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Binds every address once for each of `cores` cores, in core order: that is how the kernel
    /// numbers the sockets of a group. An address that the process before had keeps its sockets.
    fn bind_now(
        config: &Config,
        cores: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, ServerError> {
        let (mut udp, mut http, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        let mut addresses = Addresses::default();
        let is_proxied = |at| config.proxy_protocol.contains(&HttpAddress::At(at));
        for &wanted in &config.udp {
            let bind = |at| bind::udp(at, Some(config.udp_receive_buffer.0));
            let door = Door { is_proxied: is_proxied(wanted), ..Door::default() };
            let asked = Asked { kind: Kind::Udp, wanted, door, cores };
            if let Some(group) = asked.group(inherited, Type::DGRAM, bind)? {
                addresses.udp.push(group.address);
                udp.push(group);
            }
        }
        let plain = config.http.iter().filter_map(HttpAddress::at);
        let plain = plain.map(|wanted| (Kind::Http, wanted));
        let sealed = config.https.iter().map(|wanted| (Kind::Https, *wanted));
        for (kind, wanted) in plain.chain(sealed) {
            let is_tls = kind == Kind::Https;
            let door = Door { is_tls, is_proxied: is_proxied(wanted), is_unix: false };
            let asked = Asked { kind, wanted, door, cores };
            if let Some(group) = asked.group(inherited, Type::STREAM, bind::tcp)? {
                match is_tls {
                    true => addresses.https.push(group.address),
                    false => addresses.http.push(group.address),
                }
                http.push(group);
            }
        }
        let mut bound = inherited.take_unix();
        let (mut unix, mut unix_listeners) = (Vec::new(), Vec::new());
        for address in &config.http {
            let HttpAddress::Unix(path) = address else { continue };
            let failed = |source| ServerError::BindUnix { path: path.clone(), source };
            let mode = config.http_unix_mode.0;
            let socket = match adopt(path, mode, &mut bound) {
                Some(socket) => socket,
                None => UnixSocket::bind(path, mode).map_err(failed)?,
            };
            let copied = socket.copies().map_err(failed)?;
            copies.extend(copied.into_iter().zip([0, 1]).map(|(copy, part)| {
                let place = 2 * unix.len() + part;
                (Given { kind: Kind::HttpUnix, address: None, place }, copy)
            }));
            let is_proxied = config.proxy_protocol.contains(address);
            let door = Door { is_tls: false, is_proxied, is_unix: true };
            for _ in 0..cores {
                unix_listeners.push((socket.listener().map_err(failed)?, door));
            }
            unix.push(socket);
        }
        let mut one = |kind, wanted| one(kind, wanted, inherited, &mut copies);
        let (control, at) = one(Kind::Control, config.control)?.unzip();
        addresses.control = at;
        let (control_https, at) = one(Kind::ControlHttps, config.control_https)?.unzip();
        addresses.control_https = at;
        let (metrics, at) = one(Kind::Metrics, config.metrics)?.unzip();
        addresses.metrics = at;
        Ok(Self {
            udp,
            http,
            unix,
            unix_listeners,
            control,
            control_https,
            metrics,
            addresses,
            steered: Vec::new(),
            copies,
        })
    }

    /// The sockets of each of `cores` cores, and copies of all for whom this process is succeeded by. Where the process before had fewer cores, the others are bound now, behind
    /// those: the places of the former stay. Where it had more, cores get several of an address.
    pub(super) fn for_cores(
        &mut self,
        config: &Config,
        cores: usize,
    ) -> (Vec<Sockets>, Vec<(Given, OwnedFd)>) {
        let mut sockets: Vec<Sockets> = (0..cores).map(|_| Sockets::default()).collect();
        let (mut further, mut copies) = (Vec::new(), std::mem::take(&mut self.copies));
        for (place, group) in std::mem::take(&mut self.udp).into_iter().enumerate() {
            let bind = |at| bind::udp(at, Some(config.udp_receive_buffer.0));
            let group = group.complete(cores, bind, &mut copies);
            let Group { address, door, sockets: group, is_inherited, .. } = group;
            if let Ok(first) = group[0].try_clone() {
                self.steered.push(Steered { first, address, door, is_inherited });
            }
            for (at, socket) in group.into_iter().enumerate() {
                match at < cores {
                    true => sockets[at].udp.push((socket, place, door.is_proxied)),
                    false => further.push((at % cores, (socket, place, door.is_proxied))),
                }
            }
        }
        further.into_iter().for_each(|(core, socket)| sockets[core].udp.push(socket));
        for group in std::mem::take(&mut self.http) {
            let group = group.complete(cores, bind::tcp, &mut copies);
            for (at, socket) in group.sockets.into_iter().enumerate() {
                sockets[at % cores].http.push((socket, group.door));
            }
        }
        for (at, listener) in std::mem::take(&mut self.unix_listeners).into_iter().enumerate() {
            sockets[at % cores].http.push(listener);
        }
        (sockets, copies)
    }

    /// Has the kernel steer datagrams to `cores` cores from now on.
    pub(super) fn steer(&mut self, config: &Config, cores: usize) {
        for Steered { first, address, door, is_inherited } in self.steered.drain(..) {
            // The kernel does not know where the infohash is behind a header of any length.
            let is_steered = config.steering && cores > 1 && !door.is_proxied;
            let steered = match is_steered {
                true => steer::attach(&first, cores as u32),
                false if is_inherited => steer::detach(&first),
                false => Ok(()),
            };
            if let Err(error) = steered {
                tracing::warn!(%error, %address, "the kernel refuses to steer datagrams to their cores; cores pass them on instead, which costs more");
            }
        }
    }
}

/// A group of UDP sockets, for the kernel to be told how to choose among them.
struct Steered {
    /// A copy of one of them.
    first: UdpSocket,
    address: SocketAddr,
    door: Door,
    is_inherited: bool,
}

/// A group that is wanted.
struct Asked {
    kind: Kind,
    wanted: SocketAddr,
    door: Door,
    cores: usize,
}

impl Asked {
    /// Inherits it or binds it; `None` where there is no IPv6.
    fn group<S: AsFd + From<OwnedFd> + Bound>(
        self,
        inherited: &mut Inherited,
        socket: Type,
        bind: impl Fn(SocketAddr) -> io::Result<S>,
    ) -> Result<Option<Group<S>>, ServerError> {
        let Asked { kind, wanted, door, cores } = self;
        let failed =
            |source| ServerError::Bind { protocol: kind.option(), address: wanted, source };
        let descriptors = inherited.take(kind, Some(wanted));
        let is_inherited = !descriptors.is_empty();
        let sockets = if is_inherited {
            descriptors.into_iter().map(S::from).collect()
        } else {
            check_free(kind.option(), wanted, socket)?;
            let bound = group(wanted, cores, bind);
            let Some(group) = unless_no_ipv6(wanted, bound).map_err(failed)? else {
                return Ok(None);
            };
            group
        };
        let address = sockets[0].bound().map_err(failed)?;
        Ok(Some(Group { kind, wanted, address, door, sockets, is_inherited }))
    }
}

impl<S: AsFd + From<OwnedFd>> Group<S> {
    /// With a socket for each core at least, and copies of all. Where one cannot be bound now, two cores read from one.
    fn complete(
        mut self,
        cores: usize,
        bind: impl Fn(SocketAddr) -> io::Result<S>,
        copies: &mut Vec<(Given, OwnedFd)>,
    ) -> Self {
        let Self { kind, wanted, address, .. } = self;
        while self.sockets.len() < cores {
            let bound = bind(address).or_else(|error| {
                tracing::warn!(%error, %address, "a further core gets no socket of its own, and shares one");
                self.sockets[0].as_fd().try_clone_to_owned().map(S::from)
            });
            match bound {
                Ok(socket) => self.sockets.push(socket),
                Err(error) => {
                    tracing::error!(%error, %address, "a further core gets no socket");
                    break;
                }
            }
        }
        for (place, socket) in self.sockets.iter().enumerate() {
            match socket.as_fd().try_clone_to_owned() {
                Ok(copy) => copies.push((Given { kind, address: Some(wanted), place }, copy)),
                Err(error) => {
                    tracing::warn!(%error, %address, "a socket cannot be copied; nobody will take over");
                }
            }
        }
        self
    }
}

/// A socket that knows where it is bound.
trait Bound {
    fn bound(&self) -> io::Result<SocketAddr>;
}

impl Bound for UdpSocket {
    fn bound(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl Bound for TcpListener {
    fn bound(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

/// A listener that all cores share, where one is wanted, and where it is bound.
fn one(
    kind: Kind,
    wanted: Option<SocketAddr>,
    inherited: &mut Inherited,
    copies: &mut Vec<(Given, OwnedFd)>,
) -> Result<Option<(TcpListener, SocketAddr)>, ServerError> {
    let Some(address) = wanted else { return Ok(None) };
    let failed = |source| ServerError::Bind { protocol: kind.option(), address, source };
    let listener = match inherited.take(kind, wanted).pop() {
        Some(descriptor) => TcpListener::from(descriptor),
        None => TcpListener::bind(address).map_err(failed)?,
    };
    let given = Given { kind, address: wanted, place: 0 };
    copies.push((given, listener.as_fd().try_clone_to_owned().map_err(failed)?));
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}

fn is_in_use(error: &ServerError) -> bool {
    match error {
        ServerError::Bind { source, .. } | ServerError::BindUnix { source, .. } => {
            source.kind() == io::ErrorKind::AddrInUse
        }
        _ => false,
    }
}

/// The socket at this path, where it is among these.
fn adopt(path: &Path, mode: u32, bound: &mut Vec<(OwnedFd, OwnedFd)>) -> Option<UnixSocket> {
    let (mut adopted, mut others) = (None, Vec::new());
    for pair in bound.drain(..) {
        match UnixSocket::adopt(path, mode, pair) {
            Ok(socket) => adopted = Some(socket),
            Err(pair) => others.push(pair),
        }
    }
    *bound = others;
    adopted
}

/// Refuses an address that somebody else listens on, which binding a group to it would not.
fn check_free(protocol: &'static str, address: SocketAddr, kind: Type) -> Result<(), ServerError> {
    if bind::in_use(address, kind) {
        let source = io::ErrorKind::AddrInUse.into();
        return Err(ServerError::Bind { protocol, address, source });
    }
    Ok(())
}

/// `None` for all of IPv6 on a machine without any: the default asks for both families, and a tracker
/// that serves one is better than none.
fn unless_no_ipv6<S>(wanted: SocketAddr, bound: io::Result<S>) -> io::Result<Option<S>> {
    let any_v6 = wanted.is_ipv6() && wanted.ip().is_unspecified();
    match bound {
        Err(error)
            if any_v6
                && matches!(
                    error.raw_os_error(),
                    Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                ) =>
        {
            tracing::warn!(address = %wanted, "this machine has no IPv6; serving IPv4 only");
            Ok(None)
        }
        bound => bound.map(Some),
    }
}

/// Binds one socket a core; the first settles the port when `wanted` leaves it open.
fn group<S: Bound>(
    wanted: SocketAddr,
    cores: usize,
    bind: impl Fn(SocketAddr) -> io::Result<S>,
) -> io::Result<Vec<S>> {
    let first = bind(wanted)?;
    let bound = first.bound()?;
    let mut group = vec![first];
    for _ in 1..cores {
        group.push(bind(bound)?);
    }
    Ok(group)
}
