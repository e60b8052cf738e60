//! All sockets of all cores, bound before anything is started.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use ops::service::Service;
use socket2::Type;

use super::ServerError;
use crate::config::Config;
use crate::core::family;
use crate::front::door::Door;
use crate::net::{bind, steer};
use crate::server::core_thread::Sockets;

/// Bound sockets, not yet served.
pub(super) struct Listeners {
    /// The sockets of each core.
    pub(super) cores: Vec<Sockets>,
    pub(super) control: Option<TcpListener>,
    pub(super) control_https: Option<TcpListener>,
    pub(super) metrics: Option<TcpListener>,
    pub(super) addresses: Addresses,
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
    pub(super) fn bind(config: &Config, cores: usize) -> Result<Self, ServerError> {
        let began = Instant::now();
        loop {
            match Self::bind_now(config, cores) {
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
    /// numbers the sockets of a group.
    fn bind_now(config: &Config, cores: usize) -> Result<Self, ServerError> {
        check_free("udp", &config.udp, Type::DGRAM)?;
        check_free("http", &config.http, Type::STREAM)?;
        check_free("https", &config.https, Type::STREAM)?;
        let mut sockets: Vec<Sockets> = (0..cores).map(|_| Sockets::default()).collect();
        let mut addresses = Addresses::default();
        for &wanted in &config.udp {
            let failed = |source| ServerError::Bind { protocol: "udp", address: wanted, source };
            let buffer = Some(config.udp_receive_buffer.0);
            let bound = group(wanted, cores, |at| bind::udp(at, buffer), |s| s.local_addr());
            let Some(group) = unless_no_ipv6(wanted, bound).map_err(failed)? else { continue };
            let is_proxied = config.proxy_protocol.contains(&wanted);
            // The kernel does not know where the infohash is behind a header of any length.
            if config.steering
                && cores > 1
                && !is_proxied
                && let Err(error) = steer::attach(&group[0], cores as u32)
            {
                tracing::warn!(%error, address = %wanted, "the kernel refuses to steer datagrams to their cores; cores pass them on instead, which costs more");
            }
            addresses.udp.push(group[0].local_addr().map_err(failed)?);
            for (core, socket) in sockets.iter_mut().zip(group) {
                core.udp.push((socket, is_proxied));
            }
        }
        for &wanted in &config.http {
            let Some(group) = tcp_group("http", wanted, cores, &mut addresses.http)? else {
                continue;
            };
            let door = Door { is_tls: false, is_proxied: config.proxy_protocol.contains(&wanted) };
            sockets.iter_mut().zip(group).for_each(|(core, socket)| core.http.push((socket, door)));
        }
        for &wanted in &config.https {
            let Some(group) = tcp_group("https", wanted, cores, &mut addresses.https)? else {
                continue;
            };
            let door = Door { is_tls: true, is_proxied: config.proxy_protocol.contains(&wanted) };
            sockets.iter_mut().zip(group).for_each(|(core, socket)| core.http.push((socket, door)));
        }
        let control = one("control", config.control, &mut addresses.control)?;
        let control_https =
            one("control-https", config.control_https, &mut addresses.control_https)?;
        let metrics = one("metrics", config.metrics, &mut addresses.metrics)?;
        Ok(Self { cores: sockets, control, control_https, metrics, addresses })
    }
}

/// A listener for each core on one address; `None` where there is no IPv6. Where it is `bound` is noted.
fn tcp_group(
    protocol: &'static str,
    wanted: SocketAddr,
    cores: usize,
    bound: &mut Vec<SocketAddr>,
) -> Result<Option<Vec<TcpListener>>, ServerError> {
    let failed = |source| ServerError::Bind { protocol, address: wanted, source };
    let group = group(wanted, cores, bind::tcp, |s| s.local_addr());
    let Some(group) = unless_no_ipv6(wanted, group).map_err(failed)? else { return Ok(None) };
    bound.push(group[0].local_addr().map_err(failed)?);
    Ok(Some(group))
}

/// A listener that all cores share, where one is wanted, and where it is `bound`.
fn one(
    protocol: &'static str,
    wanted: Option<SocketAddr>,
    bound: &mut Option<SocketAddr>,
) -> Result<Option<TcpListener>, ServerError> {
    let Some(address) = wanted else { return Ok(None) };
    let failed = |source| ServerError::Bind { protocol, address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    *bound = Some(listener.local_addr().map_err(failed)?);
    Ok(Some(listener))
}

fn is_in_use(error: &ServerError) -> bool {
    matches!(error, ServerError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

/// Refuses addresses that somebody else listens on, which binding a group to them would not.
fn check_free(
    protocol: &'static str,
    addresses: &[SocketAddr],
    kind: Type,
) -> Result<(), ServerError> {
    match addresses.iter().find(|address| bind::in_use(**address, kind)) {
        None => Ok(()),
        Some(&address) => {
            let source = io::ErrorKind::AddrInUse.into();
            Err(ServerError::Bind { protocol, address, source })
        }
    }
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
fn group<S>(
    wanted: SocketAddr,
    cores: usize,
    bind: impl Fn(SocketAddr) -> io::Result<S>,
    address: impl Fn(&S) -> io::Result<SocketAddr>,
) -> io::Result<Vec<S>> {
    let first = bind(wanted)?;
    let bound = address(&first)?;
    let mut group = vec![first];
    for _ in 1..cores {
        group.push(bind(bound)?);
    }
    Ok(group)
}
