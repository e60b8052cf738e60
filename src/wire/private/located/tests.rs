use super::*;
use crate::wire::http::{Parsed, parse_head};
use crate::wire::private::Dialect;

fn networks() -> Vec<IpNet> {
    ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"].map(|net| net.parse().unwrap()).to_vec()
}

/// Checks where a request with these headers came from, over a connection from `remote`.
#[track_caller]
fn check(remote: &str, headers: &[(&str, &str)], expected: &str) {
    let mut request = "GET / HTTP/1.1\r\n".to_owned();
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let Ok(Parsed::Complete { head, .. }) = parse_head(request.as_bytes(), 0) else { panic!() };
    let found = client_address(remote.parse().unwrap(), &Forwarded::of(&head), &networks());
    assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{remote} {headers:?}");
}

const XFF: &str = "X-Forwarded-For";

#[test]
fn a21_nobody_but_a_trusted_proxy_is_believed() {
    check("203.0.113.7", &[(XFF, "198.51.100.1")], "203.0.113.7");
    check("2001:db8::7", &[(XFF, "198.51.100.1")], "2001:db8::7");
    check("127.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1");
    check("127.0.0.1", &[], "127.0.0.1");
    check("::ffff:127.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1");
    check("::ffff:203.0.113.7", &[(XFF, "198.51.100.1")], "203.0.113.7");
}

#[test]
fn a21_a_list_is_read_from_the_right_past_trusted_proxies() {
    check("10.0.0.1", &[(XFF, "1.1.1.1, 2.2.2.2, 198.51.100.1")], "198.51.100.1");
    check("10.0.0.1", &[(XFF, "1.1.1.1, 198.51.100.1, 10.0.0.2, 10.0.0.3")], "198.51.100.1");
    check("10.0.0.1", &[(XFF, "198.51.100.1, 2001:db8:ffff::9")], "198.51.100.1");
    check("10.0.0.1", &[(XFF, "10.0.0.9, 10.0.0.2")], "10.0.0.9");
    check("10.0.0.1", &[(XFF, " ,198.51.100.1,, ")], "198.51.100.1");
    check("10.0.0.1", &[(XFF, "")], "10.0.0.1");
}

#[test]
fn a21_several_lines_are_one_list() {
    check("10.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "198.51.100.1")], "198.51.100.1");
    check("10.0.0.1", &[(XFF, "198.51.100.1"), ("x-FORWARDED-for", "10.0.0.2")], "198.51.100.1");
    let mut lines = vec![(XFF, "1.1.1.1"); 20];
    lines.push((XFF, "198.51.100.1"));
    lines.extend([(XFF, "10.0.0.2"); 7]);
    check("10.0.0.1", &lines, "198.51.100.1");
}

#[test]
fn a21_ports_brackets_quotes_and_mapped_addresses() {
    for (hop, address) in [
        ("198.51.100.1:4711", "198.51.100.1"),
        ("198.51.100.1:", "198.51.100.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("[::ffff:198.51.100.1]:80", "198.51.100.1"),
        ("\"198.51.100.1\"", "198.51.100.1"),
        ("\"[2001:db8::1]:80\"", "2001:db8::1"),
        ("[198.51.100.1]:80", "198.51.100.1"),
    ] {
        check("10.0.0.1", &[(XFF, hop)], address);
        check("10.0.0.1", &[(XFF, &format!("1.1.1.1, {hop}, 10.0.0.2"))], address);
    }
}

#[test]
fn a21_what_is_no_address_ends_the_reading() {
    for hop in ["unknown", "_hidden", "example.org", "1.2.3", "1.2.3.4.5", "999.1.1.1", "[", "[]"] {
        check("10.0.0.1", &[(XFF, &format!("198.51.100.1, {hop}"))], "10.0.0.1");
        check("10.0.0.1", &[(XFF, &format!("198.51.100.1, {hop}, 10.0.0.2"))], "10.0.0.2");
    }
    for hop in ["[2001:db8::1", "[2001:db8::1]x", "fe80::1%eth0", ":", "::1::", "\"", "\u{fe}"] {
        check("10.0.0.1", &[(XFF, hop)], "10.0.0.1");
    }
}

#[test]
fn a21_other_headers_count_only_without_it() {
    let forwarded = "for=1.1.1.1;proto=http, For=\"[2001:db8::1]:80\" ; by=10.0.0.1";
    check("10.0.0.1", &[("Forwarded", forwarded)], "2001:db8::1");
    check("10.0.0.1", &[("Forwarded", "by=10.0.0.3;for=198.51.100.1")], "198.51.100.1");
    check("10.0.0.1", &[("Forwarded", "for=198.51.100.1, proto=https")], "10.0.0.1");
    check("10.0.0.1", &[("Forwarded", "for=_obfuscated")], "10.0.0.1");
    check("10.0.0.1", &[("X-Real-IP", "198.51.100.1")], "198.51.100.1");
    check("10.0.0.1", &[("X-Real-IP", "1.1.1.1"), ("x-real-ip", "198.51.100.1")], "198.51.100.1");
    check(
        "10.0.0.1",
        &[("X-Real-IP", "1.1.1.1"), ("Forwarded", "for=1.1.1.1"), (XFF, "198.51.100.1")],
        "198.51.100.1",
    );
    check(
        "10.0.0.1",
        &[("X-Real-IP", "1.1.1.1"), ("Forwarded", "for=198.51.100.1")],
        "198.51.100.1",
    );
    check("203.0.113.7", &[("X-Real-IP", "1.1.1.1"), ("Forwarded", "for=1.1.1.1")], "203.0.113.7");
}

#[test]
fn a21_without_trusted_networks_nothing_is_believed() {
    let remote: IpAddr = "127.0.0.1".parse().unwrap();
    let mut forwarded = Forwarded::NONE;
    forwarded.add(b"198.51.100.1");
    assert_eq!(client_address(remote, &forwarded, &[]), remote);
    assert_eq!(client_address(remote, &Forwarded::NONE, &networks()), remote);
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
