//! IPv6 addresses that stand for an IPv4 address: whoever comes from one is judged by the other.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The prefixes of such addresses, and how long they are.
///
/// - `::ffff:0:0/96` (RFC 4291, 2.5.5.2): how a socket of both families names an IPv4 address.
/// - `2002::/16` (6to4, RFC 3056): the network of a host with the IPv4 address behind the prefix.
/// - `2001::/32` (Teredo, RFC 4380): a host behind the NAT of an IPv4 address, and the server it was let in by.
/// - `64:ff9b::/96` (NAT64, RFC 6052): of itself the other way round, IPv4 servers as IPv6 clients see them. But a
///   tracker that has IPv6 alone, behind a translator for those who have IPv4 (SIIT-DC, RFC 7755), sees all of them so.
pub(super) const PREFIXES: [(u128, u8); 4] =
    [(0xffff << 32, 96), (0x2002 << 112, 16), (0x2001_0000 << 96, 32), (0x64_ff9b << 96, 96)];

/// The IPv4 addresses that one stands for: of a Teredo address its client's and its server's, of another the one it has.
pub(super) fn addresses(address: Ipv6Addr) -> [Ipv4Addr; 2] {
    let bits = u128::from(address);
    let at = |behind: u32| Ipv4Addr::from((bits >> (96 - behind)) as u32);
    match address.segments() {
        [0x2002, ..] => [at(16); 2],
        // The client's has all its bits turned, so that no NAT on the way changes it.
        [0x2001, 0, ..] => [Ipv4Addr::from(!(bits as u32)), at(32)],
        _ => [at(96); 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_stands_for_its_address() {
        for (address, expected) in [
            ("::ffff:192.0.2.33", ["192.0.2.33"; 2]),
            ("2002:c000:221::5", ["192.0.2.33"; 2]),
            ("64:ff9b::192.0.2.33", ["192.0.2.33"; 2]),
            // The example of RFC 4380, 4.
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", ["192.0.2.45", "65.54.227.120"]),
        ] {
            let address: Ipv6Addr = address.parse().unwrap();
            assert_eq!(addresses(address).map(|address| address.to_string()), expected);
            let is_in =
                |(start, len): &(u128, u8)| (u128::from(address) ^ start) >> (128 - len) == 0;
            assert_eq!(PREFIXES.iter().filter(|prefix| is_in(prefix)).count(), 1);
        }
    }
}
