use super::*;
use crate::wire::http::{Parsed, parse_head};

fn networks() -> Vec<IpNet> {
    ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"].map(|net| net.parse().unwrap()).to_vec()
}

/// Checks where a request with these headers came from, over a connection from `remote`.
#[track_caller]
fn check(remote: &str, headers: &[(&str, &str)], expected: &str) {
    check_kind(Kind::XForwardedFor, remote, headers, expected);
}

/// The same of a header of the kind.
#[track_caller]
fn check_kind(kind: Kind, remote: &str, headers: &[(&str, &str)], expected: &str) {
    let mut request = "GET / HTTP/1.1\r\n".to_owned();
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let Ok(Parsed::Complete { head, .. }) = parse_head(request.as_bytes(), 0) else { panic!() };
    let found = client_address(remote.parse().unwrap(), &Forwarded::of(&head, kind), &networks());
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
    check("10.0.0.1", &[(XFF, " ,198.51.100.1 ")], "198.51.100.1");
    check("10.0.0.1", &[(XFF, "198.51.100.1,")], "10.0.0.1");
    check("10.0.0.1", &[(XFF, "198.51.100.1, , 10.0.0.2")], "10.0.0.2");
    check("10.0.0.1", &[(XFF, "198.51.100.1"), (XFF, "")], "10.0.0.1");
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
fn a21_one_kind_of_header_counts() {
    let all = [("X-Real-IP", "1.1.1.1"), ("Forwarded", "for=2.2.2.2"), (XFF, "3.3.3.3")];
    check_kind(Kind::XRealIp, "10.0.0.1", &all, "1.1.1.1");
    check_kind(Kind::Forwarded, "10.0.0.1", &all, "2.2.2.2");
    check_kind(Kind::XForwardedFor, "10.0.0.1", &all, "3.3.3.3");
    for kind in [Kind::XRealIp, Kind::Forwarded, Kind::XForwardedFor] {
        check_kind(kind, "203.0.113.7", &all, "203.0.113.7");
        check_kind(kind, "10.0.0.1", &[], "10.0.0.1");
        check_kind(kind, "10.0.0.1", &[("X-Forwarded", "1.1.1.1")], "10.0.0.1");
    }
    check_kind(Kind::XForwardedFor, "10.0.0.1", &all[..2], "10.0.0.1");
    check_kind(Kind::Forwarded, "10.0.0.1", &[(XFF, "for=1.1.1.1")], "10.0.0.1");
}

/// Checks where a request came from that a trusted proxy passes on with this `Forwarded`.
#[track_caller]
fn check_elements(forwarded: &str, expected: &str) {
    check_kind(Kind::Forwarded, "10.0.0.1", &[("Forwarded", forwarded)], expected);
}

#[test]
fn a21_elements_of_rfc_7239() {
    for forwarded in [
        "for=198.51.100.1",
        "For=198.51.100.1",
        "FOR=\"198.51.100.1\"",
        "for=\"198.51.100.1:4711\"",
        "for=198.51.100.1:4711",
        "for=\"198.51.100.1:_port\"",
        "for=198.51.100.1;proto=http;by=203.0.113.43",
        "by=10.0.0.3;for=198.51.100.1",
        "by=10.0.0.3 ; for=198.51.100.1 ;",
        "for=198.51.100.1;host=\"a;b, \\\"c\"",
        "for=1.1.1.1, for=198.51.100.1",
        "for=1.1.1.1,for=198.51.100.1, for=10.0.0.2",
        "for=\"[::ffff:198.51.100.1]\"",
        "for=\", for=198.51.100.1",
        "for=[::, for=198.51.100.1",
    ] {
        // The quoted comma: what is left of it belongs to nobody.
        let expected = if forwarded.contains("b, ") { "10.0.0.1" } else { "198.51.100.1" };
        check_elements(forwarded, expected);
    }
    check_elements("for=1.1.1.1;proto=http, For=\"[2001:db8::1]:80\" ; by=10.0.0.1", "2001:db8::1");
    check_elements("for=[2001:db8::1]", "2001:db8::1");
    let two = [("Forwarded", "for=1.1.1.1"), ("forwarded", "for=198.51.100.1")];
    check_kind(Kind::Forwarded, "10.0.0.1", &two, "198.51.100.1");
}

#[test]
fn a21_an_element_that_is_none_ends_the_reading() {
    for element in [
        "",
        "for",
        "for=",
        "for=\"\"",
        "for=unknown",
        "for=_obfuscated",
        "for=\"_gazonk\"",
        "proto=https",
        "for=1.1.1.1;for=2.2.2.2",
        "for=1.1.1.1 proto=http",
        "for=1.1.1.1;proto",
        "for=1.1.1.1;=http",
        "for=\"1.1.1.1",
        "for=1.1.1.1\"",
        "for=\"1.1.1.1\"x",
        "for=\"1.1.1.1\\\"",
        "for=\"1\\.1.1.1\"",
        "f or=1.1.1.1",
        "for=1.1.1.1;a=b\"c",
    ] {
        check_elements(&format!("for=198.51.100.1, {element}"), "10.0.0.1");
        check_elements(&format!("for=198.51.100.1, {element}, for=10.0.0.2"), "10.0.0.2");
    }
}

#[test]
fn a21_words_of_a_client_in_what_a_proxy_quotes_are_not_believed() {
    for host in [
        "x, for=9.9.9.9",
        "x, for=9.9.9.9;a=",
        "x, for=9.9.9.9;a=b",
        "x, for=9.9.9.9;",
        "x, for=9.9.9.9, ",
        "x, for=9.9.9.9;a=\\\"b",
        "x, for=9.9.9.9;a=\\\"\\\\",
        "x, for=\\\"9.9.9.9\\\"",
        "x, for=\\\"9.9.9.9",
    ] {
        let forwarded = format!("for=198.51.100.1;host=\"{host}\"");
        check_elements(&forwarded, "10.0.0.1");
        check_elements(&format!("{forwarded}, for=10.0.0.2"), "10.0.0.2");
    }
}

#[test]
fn a21_without_trusted_networks_nothing_is_believed() {
    let remote: IpAddr = "127.0.0.1".parse().unwrap();
    let mut forwarded = Forwarded { kind: Kind::XForwardedFor, lines: [&[]; LINES_MAX], count: 0 };
    assert_eq!(client_address(remote, &forwarded, &networks()), remote);
    forwarded.add(b"198.51.100.1");
    assert_eq!(client_address(remote, &forwarded, &[]), remote);
}
