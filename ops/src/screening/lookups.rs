//! The countries of addresses as a DNS provider says them: what is asked, how an answer is read, and what is known so far.
//!
//! Nothing here asks: that is done by whoever has a resolver. A thread that judges addresses has what is [`Known`], and
//! finds there by the network of an address (/24, /48) what was said of it; who asks has a [`Cache`] by the networks that
//! answers name.

mod cache;
mod known;
mod numbers;
mod provider;

pub use cache::{Cache, Cached};
pub use known::{Known, Said};
pub use provider::{Answer, Preset, Provider, RecordKind, Unreadable, Zone};

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Asks for the country of an address; false where no more can be asked for now. It does not wait.
pub type Ask = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The network that one answer counts for where it names none: all of a /24, of a /48.
pub fn network_of(address: IpAddr) -> IpNet {
    let len = if address.is_ipv4() { V4_LEN } else { V6_LEN };
    IpNet::new_assert(address, len).trunc()
}

const V4_LEN: u8 = 24;
const V6_LEN: u8 = 48;
