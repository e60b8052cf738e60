//! Where a client is, in spite of what is claimed.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use shard::private::Endpoints;
use shard::{Families, Scope};

use super::Asked;
use crate::wire::http::forwarded::is_trusted;
use crate::wire::query::claimed_address;

/// Where a client is, and what of it is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Located {
    /// Where it announces from.
    pub address: IpAddr,
    /// Where it can be reached. One whose claim is nonsense has port 0, and is handed to nobody.
    pub endpoints: Endpoints,
    /// Families that were claimed without a port, over the other one.
    pub assumed: Families,
    /// Its claim is nonsense: it is to be warned ([`crate::wire::private::ILLEGAL_ADDRESS`]).
    pub illegal: bool,
}

/// Where the client of an announce from `address` can be reached: there, and where it claims to be when `address` is in a
/// trusted network. A claim holds for its own family, and only public addresses can be claimed; of two for the same
/// family, `ipv4=` and `ipv6=` go before `ip=`. One with a port (BEP 7) is reached at that port.
pub fn locate(asked: &Asked<'_>, address: IpAddr, trusted: &[IpNet]) -> Located {
    let address = address.to_canonical();
    let mut endpoints = Endpoints::from(SocketAddr::new(address, asked.port));
    let mut assumed = Families::default();
    let mut illegal = false;
    if is_trusted(address, trusted) {
        let claims = &asked.claims;
        let mut claim = |claimed: IpAddr, port: Option<u16>| {
            // Any port but 0 does; the scope is that of the address.
            if Scope::of_peer(claimed, 1) != Scope::Public {
                return;
            }
            let at = Endpoints::from(SocketAddr::new(claimed, port.unwrap_or(asked.port)));
            endpoints = Endpoints { v4: at.v4.or(endpoints.v4), v6: at.v6.or(endpoints.v6) };
            let is_assumed = port.is_none() && claimed.is_ipv4() != address.is_ipv4();
            match claimed {
                IpAddr::V4(_) => assumed.v4 = is_assumed,
                IpAddr::V6(_) => assumed.v6 = is_assumed,
            }
        };
        if let Some(udp) = claims.udp {
            claim(udp.into(), None);
        }
        for raw in [claims.ip, claims.ipv4, claims.ipv6].into_iter().flatten() {
            match claimed_address(raw) {
                Some((claimed, port)) => claim(claimed, port),
                None => illegal |= !raw.is_empty(),
            }
        }
    }
    if illegal {
        endpoints = Endpoints::new(endpoints.address_v4(), endpoints.address_v6(), 0);
        assumed = Families::default();
    }
    Located { address, endpoints, assumed, illegal }
}

#[cfg(test)]
mod tests;
