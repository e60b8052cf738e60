//! The addresses of trackers' names, each family for itself.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;

/// What the system's resolver said, kept for a while: a thousand torrents of one tracker are one question.
#[derive(Default, Debug)]
pub(crate) struct Names {
    known: Mutex<HashMap<Box<str>, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[IpAddr]>,
    until: Instant,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub(crate) const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// Whether an address is of this family.
    pub(crate) fn has(self, address: &IpAddr) -> bool {
        (self == Family::V6) == address.is_ipv6()
    }
}

impl Names {
    /// The addresses of a host, which may be one itself; at least one.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new([address]));
        }
        let now = Instant::now();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(host) {
                Some(known) if known.until > now => return Ok(Arc::clone(&known.addresses)),
                _ if known.len() >= NAMES_MAX => known.clear(),
                _ => {}
            }
        }
        let resolved = tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((host, 0))).await;
        let mut addresses: Vec<IpAddr> = resolved
            .map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time")
            })??
            .map(|address| address.ip().to_canonical())
            .collect();
        let mut seen = Vec::new();
        addresses.retain(|address| {
            !seen.contains(address) && {
                seen.push(*address);
                true
            }
        });
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let addresses: Arc<[IpAddr]> = addresses.into();
        let known = Known { addresses: Arc::clone(&addresses), until: now + KEPT };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(host.into(), known);
        Ok(addresses)
    }

    /// What a test says of a host.
    #[cfg(test)]
    pub(crate) fn know(&self, host: &str, addresses: Arc<[IpAddr]>) {
        let known = Known { addresses, until: Instant::now() + KEPT };
        self.known.lock().unwrap().insert(host.into(), known);
    }

    /// Forgets a host whose addresses led nowhere: it may have moved.
    pub(crate) fn forget(&self, host: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }
}

/// Resolves names to addresses of one family, for the HTTP client.
#[derive(Clone, Debug)]
pub(crate) struct Only(pub(crate) Family, pub(crate) Arc<Names>);

impl Resolve for Only {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(family, names) = self.clone();
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            let mut of_family =
                addresses.iter().filter(|address| family.has(address)).copied().peekable();
            if of_family.peek().is_none() {
                return Err("the name has no address of this family".into());
            }
            let of_family: Vec<SocketAddr> =
                of_family.map(|address| SocketAddr::new(address, 0)).collect();
            Ok(Box::new(of_family.into_iter()) as Addrs)
        })
    }
}

const KEPT: Duration = Duration::from_secs(300);
const RESOLVE_MAX: Duration = Duration::from_secs(15);
const NAMES_MAX: usize = 1_024;
