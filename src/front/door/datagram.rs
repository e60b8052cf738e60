//! Datagrams that begin with the PROXY protocol.
//!
//! The answer goes to the proxy, which knows whose it is. Behind a simple header it carries the same header, as that
//! protocol asks for; behind version 2 it is bare, as nothing is said of answers there and proxies that send it over UDP
//! take them so.

use ops::counters::{Protocol, Reason};

use crate::core::family;
use crate::front::{Core, refused};
use crate::net::batch::{Correspondent, Path, Via};
use crate::wire::proxy::{self, Said};

impl Core {
    /// The datagram of a client in one that `from` has passed on, and whose it is. One that is not passed on by a proxy is
    /// refused.
    pub(in crate::front) fn behind_proxy<'d>(
        &mut self,
        datagram: &'d [u8],
        from: Correspondent,
    ) -> Option<(&'d [u8], Correspondent)> {
        let address = from.remote.ip().to_canonical();
        let stamp = match self.is_proxy(address) {
            true => proxy::parse_datagram(datagram)
                .inspect_err(|no_header| refused::say(Protocol::Udp, address, no_header)),
            false => {
                refused::say(Protocol::Udp, address, &"not a trusted-proxy");
                Err(proxy::NoHeader)
            }
        };
        let Ok(stamp) = stamp else {
            let front = self.engine.counters.front(Protocol::Udp, family(address));
            front.received_bytes += datagram.len() as u64;
            front.refuse(Reason::Proxy);
            return None;
        };
        let client = match stamp.said {
            Said::Client(client) => {
                let path = Path::Proxied(Via::new(from.remote, stamp.echo));
                Correspondent { remote: client, path }
            }
            Said::Nobody => from,
        };
        Some((&datagram[stamp.consumed..], client))
    }
}
