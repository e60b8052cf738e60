//! By which name a listener is asked that takes commands.
//!
//! A web page can point a name of its own at any address, and is then of the same origin as what answers there
//! ("DNS rebinding"). So what takes commands is asked by an address, or as `localhost` (RFC 6761, 6.3), which
//! nobody can point elsewhere.

use std::net::IpAddr;

/// True for an address or `localhost`: a host without its port, IPv6 with or without brackets.
pub fn is_own(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}
