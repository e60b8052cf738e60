//! An announce of a known user.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{PeerId, User};
use crate::{Event, Families, InfoHash};

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

/// Where a client can be reached, as far as this announce tells. At least one of the two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Endpoints {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address; never an IPv4-mapped one.
    pub v6: Option<Ipv6Addr>,
    /// Its port, the same for both; 0 is recorded and never handed out.
    pub port: u16,
}

/// One announce, already parsed, its user looked up, and bounded by the front end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Who announces.
    pub user: User,
    /// With the user, the torrent and `key`, the identity of a peer.
    pub peer_id: PeerId,
    /// The client's `key` (BEP 3, 7, 15) folded to 32 bits; 0 when there was none. The same over all
    /// addresses of one client.
    pub key: u32,
    /// Where it announced from; added to what is known of the same peer.
    pub endpoints: Endpoints,
    /// What it says it has moved.
    pub counters: Counters,
    /// Bytes left to download; 0 is a seeder, anything else (or unknown, as `u64::MAX`) a leecher.
    pub left: u64,
    /// What happened.
    pub event: Event,
    /// Peers asked for, all families together; already capped by the front end.
    pub numwant: u16,
    /// Families to hand out.
    pub families: Families,
    /// The user has as many downloads under way as his group allows. A peer of his that does not
    /// download yet is not let in as a leecher; one that does goes on.
    pub downloads_full: bool,
}
