//! Nobody but a trusted proxy is believed, what is believed was written by one, and whatever stands to
//! the left of the address that was found changes nothing.

#![no_main]

use std::net::IpAddr;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use margay::wire::http::forwarded::{Forwarded, client_address};
use margay::wire::http::{Parsed, parse_head};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

fuzz_target!(|headers: &[u8]| {
    let trusted: [IpNet; 2] = ["127.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let Some(found) = found(&[b"", headers], PROXY, &trusted) else { return };
    assert!(found == PROXY || !headers.is_empty());
    assert!(!matches!(found, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()));

    assert_eq!(self::found(&[b"", headers], STRANGER, &trusted), Some(STRANGER));
    assert_eq!(self::found(&[b"", headers], PROXY, &[]), Some(PROXY));

    // What a client adds in front of what proxies add cannot change an address outside of theirs.
    let proxied: &[u8] = b"X-Forwarded-For: 198.51.100.1, 127.0.0.2\r\n";
    let last = self::found(&[headers, b"\r\n", proxied], PROXY, &trusted);
    assert!(last.is_none_or(|last| last == IpAddr::from([198, 51, 100, 1])));
});

/// Where a request with these header lines came from; `None` when they are no headers.
fn found(lines: &[&[u8]], remote: IpAddr, trusted: &[IpNet]) -> Option<IpAddr> {
    let request = [&b"GET / HTTP/1.1\r\n"[..], &lines.concat(), b"\r\n\r\n"].concat();
    match parse_head(&request, 0) {
        Ok(Parsed::Complete { head, consumed }) if consumed + 2 >= request.len() => {
            Some(client_address(remote, &Forwarded::of(&head), trusted))
        }
        _ => None,
    }
}
