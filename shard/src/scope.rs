//! Scopes: who may be told about an endpoint. Addresses that mean something only nearby stay nearby.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an endpoint can be reached, in two bits. Ordered: a requester is handed the endpoints
/// whose scope is at most its own [`Scope::of_requester`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Scope {
    /// Handed to everybody.
    #[default]
    Public = 0,
    /// Loopback, link-local or private: handed to requesters of that kind.
    Local = 1,
    /// Unspecified, multicast, broadcast, reserved, or port 0: counted, handed to nobody.
    Nobody = 2,
}

impl Scope {
    /// The scope of an endpoint that may be handed out.
    pub fn of_peer(address: IpAddr, port: u16) -> Self {
        if port == 0 { Self::Nobody } else { Self::of(address) }
    }

    /// The widest scope a requester at `address` is handed. One whose address makes no sense
    /// is treated as the public is.
    pub fn of_requester(address: IpAddr) -> Self {
        if Self::of(address) == Self::Local { Self::Local } else { Self::Public }
    }

    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// The special-purpose blocks of RFC 6890 that a tracker can meet. The shared address space of
    /// carrier-grade NAT (RFC 6598) counts as local: it is not routed beyond the carrier.
    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0 | 224..=255, ..] => Self::Nobody,
            [10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..] => Self::Local,
            _ => Self::Public,
        }
    }

    /// `::1`, link-local `fe80::/10`, the old site-local `fec0::/10` and unique local `fc00::/7`
    /// (RFC 4193) are local.
    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] | [0xff00..=0xffff, ..] => Self::Nobody,
            [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff | 0xfe80..=0xfeff, ..] => Self::Local,
            _ => Self::Public,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, peer: Scope, requester: Scope) {
        let address = address.parse().unwrap();
        assert_eq!(Scope::of_peer(address, 6881), peer, "peer {address}");
        assert_eq!(Scope::of_peer(address, 0), Scope::Nobody, "port 0 at {address}");
        assert_eq!(Scope::of_requester(address), requester, "requester {address}");
    }

    #[test]
    fn public_addresses_are_for_everybody() {
        for address in ["8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"] {
            check(address, Scope::Public, Scope::Public);
        }
        for address in ["2001:db8::1", "2a00::1", "64:ff9b::1", "::2"] {
            check(address, Scope::Public, Scope::Public);
        }
    }

    #[test]
    fn addresses_of_one_network_stay_there() {
        for address in ["127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.9.9", "192.168.0.1"] {
            check(address, Scope::Local, Scope::Local);
        }
        for address in ["169.254.1.1", "100.64.0.1", "100.127.255.255"] {
            check(address, Scope::Local, Scope::Local);
        }
        for address in ["::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fdff::1"] {
            check(address, Scope::Local, Scope::Local);
        }
    }

    #[test]
    fn addresses_of_no_host_are_for_nobody() {
        for address in ["0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"] {
            check(address, Scope::Nobody, Scope::Public);
        }
        for address in ["::", "ff02::1"] {
            check(address, Scope::Nobody, Scope::Public);
        }
    }
}
