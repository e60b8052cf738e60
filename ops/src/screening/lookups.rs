//! The countries of addresses as a DNS provider says them: what is asked, how an answer is read, and what is known so far.
//!
//! A thread that judges addresses has what is [`Known`], and finds there by the network of an address (/24, /48) what was
//! said of it. What it does not find it asks for by [`Ask`], without waiting, of a thread that looks up ([`Asked`]): that
//! has a [`Cache`] by the networks that answers name, which is kept in a file over a restart.

mod asking;
mod cache;
mod kept;
mod known;
mod numbers;
mod provider;

pub use asking::{Asked, Lookups, LookupsError, Options, open};
pub use cache::{Cache, Cached};
pub use kept::{Kept, Unusable, parse, written};
pub use known::{Known, Said};
pub use provider::{Answer, Preset, Provider, RecordKind, Unreadable, Zone};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Country;

/// How a thread asks for countries, and what is remembered of those of before the start.
#[derive(Clone)]
pub struct Ask {
    ask: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    remembered: Option<Arc<Cache>>,
}

impl Ask {
    /// Asks by `ask`, which does not wait and says whether it can ask for one more now. `remembered` counts until
    /// something else is said.
    pub fn new(
        ask: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        remembered: Option<Arc<Cache>>,
    ) -> Self {
        Self { ask: Arc::new(ask), remembered }
    }

    /// Asks for the country of an address; false where no more can be asked for now. It does not wait.
    pub(super) fn ask(&self, address: IpAddr) -> bool {
        (self.ask)(address)
    }

    /// What was said before the start of the country of an address.
    pub(super) fn remembered(&self, address: IpAddr) -> Option<Option<Country>> {
        self.remembered.as_ref()?.remembered(address)
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.remembered.as_ref().map_or(0, |remembered| remembered.len());
        f.debug_struct("Ask").field("remembered", &remembered).finish_non_exhaustive()
    }
}

/// The network that one answer counts for where it names none: all of a /24, of a /48.
pub fn network_of(address: IpAddr) -> IpNet {
    let len = if address.is_ipv4() { V4_LEN } else { V6_LEN };
    IpNet::new_assert(address, len).trunc()
}

const V4_LEN: u8 = 24;
const V6_LEN: u8 = 48;
