//! An announce of a known user.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{PeerId, User};
use crate::{Event, Families, InfoHash, Seconds};

/// Bytes that a client says it has moved since its `started` (BEP 3). They only grow, until it starts
/// again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Sent to others.
    pub uploaded: u64,
    /// Received from others, corrupt data left out.
    pub downloaded: u64,
    /// Received and thrown away, where the client says so.
    pub corrupt: u64,
}

/// Where a client can be reached over one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint<A> {
    /// The address; never an IPv4-mapped one.
    pub address: A,
    /// Its port there; 0 is recorded and never handed out.
    pub port: u16,
}

/// Where a client can be reached, as far as this announce tells. At least one of the two. Each family has
/// a port of its own: behind NAT the two often differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Endpoints {
    /// Over IPv4.
    pub v4: Option<Endpoint<Ipv4Addr>>,
    /// Over IPv6.
    pub v6: Option<Endpoint<Ipv6Addr>>,
}

impl Endpoints {
    /// Endpoints with one port for all addresses there are.
    #[inline]
    pub fn new(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>, port: u16) -> Self {
        Self {
            v4: v4.map(|address| Endpoint { address, port }),
            v6: v6.map(|address| Endpoint { address, port }),
        }
    }

    /// The IPv4 address.
    #[inline]
    pub fn address_v4(&self) -> Option<Ipv4Addr> {
        self.v4.map(|v4| v4.address)
    }

    /// The IPv6 address.
    #[inline]
    pub fn address_v6(&self) -> Option<Ipv6Addr> {
        self.v6.map(|v6| v6.address)
    }

    /// Whether the two have an endpoint in common at which somebody can be reached.
    pub(crate) fn share_one(&self, other: &Self) -> bool {
        fn same<A: PartialEq>(one: Option<Endpoint<A>>, other: Option<Endpoint<A>>) -> bool {
            one.is_some_and(|one| one.port > 0 && Some(one) == other)
        }
        same(self.v4, other.v4) || same(self.v6, other.v6)
    }

    /// The port over IPv4; without an IPv4 address, that over IPv6.
    #[inline]
    pub fn port(&self) -> Option<u16> {
        self.v4.map(|v4| v4.port).or(self.v6.map(|v6| v6.port))
    }

    /// The port over IPv6.
    #[inline]
    pub fn port_v6(&self) -> Option<u16> {
        self.v6.map(|v6| v6.port)
    }
}

impl Announce {
    /// Where its peer, of which `known` is known, can be reached from now on.
    #[inline]
    pub(crate) fn meets(&self, known: &Endpoints) -> Endpoints {
        let Endpoints { v4, v6 } = self.endpoints;
        Endpoints { v4: met(known.v4, v4, self.assumed.v4), v6: met(known.v6, v6, self.assumed.v6) }
    }
}

/// An endpoint after one is said; of one with an assumed port, only the address is.
#[inline]
fn met<A: PartialEq + Copy>(
    known: Option<Endpoint<A>>,
    new: Option<Endpoint<A>>,
    is_assumed: bool,
) -> Option<Endpoint<A>> {
    let address = |at: Option<Endpoint<A>>| at.map(|at| at.address);
    if is_assumed && address(known) == address(new) { known } else { new.or(known) }
}

impl From<SocketAddr> for Endpoints {
    #[inline]
    fn from(at: SocketAddr) -> Self {
        match at.ip().to_canonical() {
            IpAddr::V4(address) => Self::new(Some(address), None, at.port()),
            IpAddr::V6(address) => Self::new(None, Some(address), at.port()),
        }
    }
}

/// An announce, already parsed, its user looked up, and bounded by the front end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The user who announces.
    pub user: User,
    /// With the user, the torrent and `key`, the identity of a peer.
    pub peer_id: PeerId,
    /// The client's `key` (BEP 3, 7, 15) where it lasts, see [`crate::lasting_key`]; 0 where it does not, or there is
    /// none. The same over all addresses and protocols of one client.
    pub key: u32,
    /// Where it announced from; added to what is known of the same peer.
    pub endpoints: Endpoints,
    /// Families of which the port is not said: it is that of the other. Where the same address is known
    /// already, the port that it is known with stays.
    pub assumed: Families,
    /// The counters that it says it has moved.
    pub counters: Counters,
    /// Bytes left to download; 0 is a seeder, anything else (or unknown, as `u64::MAX`) a leecher. No size is read
    /// from it: with a magnet link clients say 0, 1, 16384 or 2^63 − 1.
    pub left: u64,
    /// The event.
    pub event: Event,
    /// Peers asked for, all families together; already capped by the front end.
    pub numwant: u16,
    /// Families to hand out.
    pub families: Families,
    /// The interval that the client is told.
    pub interval: Seconds,
    /// The user has as many downloads under way as his group allows. A peer of his that does not
    /// download yet is not let in as a leecher; one that does goes on.
    pub downloads_full: bool,
}
