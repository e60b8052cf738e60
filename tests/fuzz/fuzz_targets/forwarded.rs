//! Nobody but a trusted proxy is believed, what is believed was written by one, and whatever stands to
//! the left of the address that was found changes nothing.

#![no_main]

use std::net::IpAddr;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use margay::wire::http::forwarded::{Forwarded, Kind, client_address};
use margay::wire::http::{Parsed, parse_head};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

fuzz_target!(|headers: &[u8]| {
    let trusted: [IpNet; 2] = ["127.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    for (kind, proxied) in KINDS {
        let found = |lines: &[&[u8]], remote, trusted| self::found(kind, lines, remote, trusted);
        let Some(said) = found(&[b"", headers], PROXY, &trusted) else { return };
        assert!(said == PROXY || !headers.is_empty());
        assert!(!matches!(said, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()));

        assert_eq!(found(&[b"", headers], STRANGER, &trusted), Some(STRANGER));
        assert_eq!(found(&[b"", headers], PROXY, &[]), Some(PROXY));

        // What a client adds in front of what proxies add cannot change an address outside of theirs.
        let last = found(&[headers, b"\r\n", proxied], PROXY, &trusted);
        assert!(last.is_none_or(|last| last == IpAddr::from([198, 51, 100, 1])));
    }
});

/// Each kind of header, and what two proxies add.
const KINDS: [(Kind, &[u8]); 3] = [
    (Kind::XForwardedFor, b"X-Forwarded-For: 198.51.100.1, 127.0.0.2\r\n"),
    (Kind::Forwarded, b"Forwarded: for=198.51.100.1;proto=http, for=\"127.0.0.2:80\"\r\n"),
    (Kind::XRealIp, b"X-Real-IP: 198.51.100.1\r\n"),
];

/// Where a request with these header lines came from; `None` when they are no headers.
fn found(kind: Kind, lines: &[&[u8]], remote: IpAddr, trusted: &[IpNet]) -> Option<IpAddr> {
    let request = [&b"GET / HTTP/1.1\r\n"[..], &lines.concat(), b"\r\n\r\n"].concat();
    match parse_head(&request, 0) {
        Ok(Parsed::Complete { head, consumed }) if consumed + 2 >= request.len() => {
            Some(client_address(remote, &Forwarded::of(&head, kind), trusted))
        }
        _ => None,
    }
}
