use super::*;
use crate::wire::private::Dialect;

fn networks() -> Vec<IpNet> {
    ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"].map(|net| net.parse().unwrap()).to_vec()
}

/// Checks where a client can be reached that announces from `address` with this in its query: its
/// addresses, `illegal` when it is to be warned.
#[track_caller]
fn check_located(address: &str, query: &str, expected: &str) {
    let query = format!("port=6881&{query}");
    let asked = Asked::parse(query.as_bytes(), Dialect::Standard).unwrap();
    check_asked(address, &asked, expected);
}

#[track_caller]
fn check_asked(address: &str, asked: &Asked<'_>, expected: &str) {
    let located = locate(asked, address.parse().unwrap(), &networks());
    assert_eq!(located.address, address.parse::<IpAddr>().unwrap().to_canonical());
    let text = |address: Option<String>| address.unwrap_or("-".to_owned());
    let found = format!(
        "{} {} {}",
        text(located.endpoints.address_v4().map(|address| address.to_string())),
        text(located.endpoints.address_v6().map(|address| address.to_string())),
        match (located.illegal, located.endpoints.port_v6()) {
            (true, _) => "illegal".to_owned(),
            (false, Some(v6)) if Some(v6) != located.endpoints.port() => {
                format!("{} {v6}", located.endpoints.port().unwrap())
            }
            _ => located.endpoints.port().unwrap().to_string(),
        }
    );
    assert_eq!(found, expected, "{address} {:?}", asked.claims);
    let Endpoints { v4, v6 } = located.endpoints;
    for port in v4.map(|v4| v4.port).into_iter().chain(v6.map(|v6| v6.port)) {
        assert_eq!(located.illegal, port == 0);
    }
}

#[test]
fn a20_a_claim_of_anybody_is_nothing() {
    check_located("203.0.113.7", "", "203.0.113.7 - 6881");
    check_located("2001:db8::7", "", "- 2001:db8::7 6881");
    check_located("::ffff:203.0.113.7", "", "203.0.113.7 - 6881");
    for claim in ["ip=198.51.100.1", "ipv4=198.51.100.1", "ipv6=2001:db8::1", "ip=nonsense"] {
        check_located("203.0.113.7", claim, "203.0.113.7 - 6881");
    }
}

#[test]
fn a20_a_trusted_network_may_claim_addresses_of_both_families() {
    check_located("10.0.0.7", "ip=198.51.100.1", "198.51.100.1 - 6881");
    check_located("10.0.0.7", "ip=198%2E51.100.1", "198.51.100.1 - 6881");
    check_located("10.0.0.7", "ipv6=2001:db8::1", "10.0.0.7 2001:db8::1 6881");
    check_located(
        "10.0.0.7",
        "ipv4=198.51.100.1&ipv6=2001:db8::1",
        "198.51.100.1 2001:db8::1 6881",
    );
    check_located("10.0.0.7", "ip=2001%3Adb8%3A%3A1", "10.0.0.7 2001:db8::1 6881");
    check_located("10.0.0.7", "ipv6=[2001:db8::1]:1234", "10.0.0.7 2001:db8::1 6881 1234");
    check_located("10.0.0.7", "ip=198.51.100.1:1234", "198.51.100.1 - 1234");
    check_located("10.0.0.7", "ip=1.1.1.1&ipv4=198.51.100.1", "198.51.100.1 - 6881");
    check_located("2001:db8:ffff::7", "ip=198.51.100.1", "198.51.100.1 2001:db8:ffff::7 6881");
}

#[test]
fn a_port_that_is_not_said_is_assumed() {
    for (address, query, assumed) in [
        ("10.0.0.7", "ipv6=2001:db8::1", (false, true)),
        ("10.0.0.7", "ipv6=[2001:db8::1]:1234", (false, false)),
        ("10.0.0.7", "ip=198.51.100.1&ipv6=2001:db8::1", (false, true)),
        ("2001:db8:ffff::7", "ip=198.51.100.1&ipv6=2001:db8::1", (true, false)),
        ("10.0.0.7", "ip=198.51.100.1", (false, false)),
        ("10.0.0.7", "ip=198.51.100.1&ipv6=2001:db8::1&ipv4=x", (false, false)),
        ("203.0.113.7", "ipv6=2001:db8::1", (false, false)),
    ] {
        let query = format!("port=6881&{query}");
        let asked = Asked::parse(query.as_bytes(), Dialect::Standard).unwrap();
        let found = locate(&asked, address.parse().unwrap(), &networks()).assumed;
        assert_eq!((found.v4, found.v6), assumed, "{address} {query}");
    }
}

#[test]
fn a20_only_public_addresses_can_be_claimed() {
    for claim in ["127.0.0.1", "192.168.1.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1"] {
        check_located("10.0.0.7", &format!("ip={claim}"), "10.0.0.7 - 6881");
    }
}

#[test]
fn ocelot_12_18_a_claim_that_is_no_address_is_warned_of_and_hides_the_peer() {
    for claim in ["ip=nonsense", "ip=1.2.3", "ipv4=1.2.3.4.5", "ipv6=x", "ip=example.org"] {
        check_located("10.0.0.7", claim, "10.0.0.7 - illegal");
    }
    check_located("10.0.0.7", "ip=&ipv4", "10.0.0.7 - 6881");
}

#[test]
fn a20_the_claim_of_a_datagram() {
    let mut asked = Asked::parse(b"port=6881", Dialect::Standard).unwrap();
    asked.claims.udp = Some([198, 51, 100, 1].into());
    check_asked("10.0.0.7", &asked, "198.51.100.1 - 6881");
    check_asked("203.0.113.7", &asked, "203.0.113.7 - 6881");
}
