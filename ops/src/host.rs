//! By which name a listener is asked that takes commands.
//!
//! A web page can point a name of its own at any address, and is then of the same origin as what answers there
//! ("DNS rebinding"). So what takes commands is asked by an address, or as `localhost` (RFC 6761, 6.3), which
//! nobody can point elsewhere.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// True for a request whose hosts are all ours ([`is_own`]), and for one that names none (HTTP/1.0).
pub fn is_asked_by_address(headers: &HeaderMap, uri: &Uri) -> bool {
    let own = |authority: Option<Authority>| authority.is_some_and(|at| is_own(at.host()));
    let hosts = headers.get_all(HOST).iter();
    let in_headers = hosts.map(|host| host.to_str().ok().and_then(|host| host.parse().ok()));
    let in_uri = uri.authority().cloned().map(Some);
    in_headers.chain(in_uri).all(own)
}

/// True for an address or `localhost`: a host without its port, IPv6 with or without brackets.
pub fn is_own(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}
