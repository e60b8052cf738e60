//! The door: where a request came from, when proxies stand in between.
//!
//! What a proxy says counts where its operator has named it (`trusted-proxy`), and from then on nothing else does: not for
//! the swarm, the counters or the log. It says it once for a connection or a datagram ([`stream`], [`datagram`]), in front
//! of it, or for each request in a header (here).

pub mod datagram;
pub mod stream;

use std::net::IpAddr;

use ops::log::Daily;

use crate::config::ForwardedHeader;
use crate::front::Core;
use crate::net::remote::Remote;
use crate::wire::http::Head;
use crate::wire::http::forwarded::{Forwarded, Kind, client_behind, is_trusted};
use crate::wire::query;

/// How one enters by a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Door {
    /// With TLS.
    pub is_tls: bool,
    /// With the PROXY protocol, before TLS.
    pub is_proxied: bool,
    /// By a Unix socket.
    pub is_unix: bool,
}

impl Core {
    /// Where the request with this head came from over that connection.
    #[inline]
    pub(super) fn client_of(&mut self, head: &Head<'_>, remote: Remote) -> IpAddr {
        match self.engine.settings.trusted_proxy.is_empty() && !remote.is_unix() {
            true => remote.connection(),
            false => self.client_behind(head, remote),
        }
    }

    #[inline(never)]
    fn client_behind(&mut self, head: &Head<'_>, remote: Remote) -> IpAddr {
        let connection = remote.connection();
        let settings = &self.engine.settings;
        let kind = match settings.forwarded_header {
            ForwardedHeader::None => return connection,
            ForwardedHeader::XForwardedFor => Kind::XForwardedFor,
            ForwardedHeader::Forwarded => Kind::Forwarded,
            ForwardedHeader::XRealIp => Kind::XRealIp,
        };
        let trusted = &settings.trusted_proxy;
        if !remote.is_unix() && !is_trusted(connection, trusted) {
            return connection;
        }
        let forwarded = Forwarded::of(head, kind);
        // A proxy that looks whether the tracker is there speaks for itself.
        if forwarded.says_nothing() && query::has_info_hash(head.query) {
            self.engine.counters.proxies_silent += 1;
            if SILENT.is_due() {
                tracing::warn!(
                    proxy = %connection,
                    "a trusted-proxy does not say who announces: its own address is taken, and all who come \
                     through it are as one; have it set the header that forwarded-header names (docs/proxies.md)"
                );
            }
        }
        client_behind(connection, true, &forwarded, trusted)
    }

    /// Whether what comes from there begins with the PROXY protocol.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        is_trusted(address, &self.engine.settings.trusted_proxy)
    }
}

/// Of all cores.
static SILENT: Daily = Daily::new();
