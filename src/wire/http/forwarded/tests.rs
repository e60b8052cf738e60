use super::*;
use crate::wire::http::{Parsed, parse_head};

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
