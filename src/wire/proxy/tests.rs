use super::*;

/// A header of version 2 with these two bytes, and so many addresses and other things.
fn bytes(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

/// 192.0.2.1:4711 to 198.51.100.1:443.
const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xBB];

/// [2001:db8::1]:4711 to [2001:db8::2]:443.
fn v6() -> Vec<u8> {
    let address = |last: u8| [&[0x20, 0x01, 0x0D, 0xB8][..], &[0; 11], &[last]].concat();
    [address(1), address(2), vec![0x12, 0x67, 0x01, 0xBB]].concat()
}

fn simple(client: &str, proxy: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_simple(&mut out, client.parse().unwrap(), proxy.parse().unwrap());
    out
}

/// Checks what a connection that begins with `header` is said to be of, whatever follows, and wherever it is split.
#[track_caller]
fn check(header: &[u8], client: Option<&str>) {
    let said = client.map_or(Said::Nobody, |client| Said::Client(client.parse().unwrap()));
    let whole = Ok(Parsed::Complete { said, consumed: header.len() });
    assert_eq!(parse(header), whole, "{}", header.escape_ascii());
    for rest in [&b"GET / HTTP/1.1\r\n"[..], b"\n", b"\x16\x03\x01", b"PROXY "] {
        assert_eq!(parse(&[header, rest].concat()), whole, "{}", header.escape_ascii());
    }
    for end in 0..header.len() {
        let begin = &header[..end];
        assert_eq!(parse(begin), Ok(Parsed::Partial), "{}", begin.escape_ascii());
    }
}

#[track_caller]
fn check_none(begin: &[u8]) {
    assert_eq!(parse(begin), Err(NoHeader), "{}", begin.escape_ascii());
}

#[test]
fn a22_version_1_is_a_line() {
    check(b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", Some("192.0.2.1:4711"));
    check(b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", Some("[2001:db8::1]:4711"));
    check(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 443\r\n", Some("192.0.2.1:4711"));
    check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", Some("255.255.255.255:65535"));
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    check(
        format!("PROXY TCP6 {full} {full} 65535 65535\r\n").as_bytes(),
        Some(&format!("[{full}]:65535")),
    );
    check(b"PROXY UNKNOWN\r\n", None);
    check(b"PROXY UNKNOWN whatever this is\r\n", None);
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    check(longest.as_bytes(), None);
}

#[test]
fn a22_another_line_is_no_header() {
    for line in [
        "GET /announce HTTP/1.1\r\n",
        "PROXX",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +471 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 000443 443\r\n",
        "PROXY TCP4 192.0.2.1 nobody 4711 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.02.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
    ] {
        check_none(line.as_bytes());
    }
    let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; LINE_BYTES_MAX]].concat();
    assert_eq!(parse(&endless[..LINE_BYTES_MAX - 1]), Ok(Parsed::Partial));
    check_none(&endless);
    check_none(b"PROXY TCP4 \xff\r\n");
}

#[test]
fn a22_version_2_is_bytes() {
    let unix = [0; 216];
    check(&bytes(0x21, 0x11, &V4), Some("192.0.2.1:4711"));
    check(&bytes(0x21, 0x12, &V4), Some("192.0.2.1:4711"));
    check(&bytes(0x21, 0x21, &v6()), Some("[2001:db8::1]:4711"));
    check(&bytes(0x21, 0x22, &v6()), Some("[2001:db8::1]:4711"));
    check(&bytes(0x21, 0x31, &unix), None);
    check(&bytes(0x21, 0x32, &unix), None);
    check(&bytes(0x21, 0x00, b""), None);
    check(&bytes(0x21, 0x00, b"anything"), None);
    check(&bytes(0x20, 0x00, b""), None);
    // What a proxy says of itself is passed over, whatever it is.
    check(&bytes(0x20, 0x11, &V4), None);
    check(&bytes(0x20, 0xFF, b"?"), None);
    let more = [&V4[..], &[0x04, 0x00, 0x03, 1, 2, 3], &[0xEA; 300]].concat();
    check(&bytes(0x21, 0x11, &more), Some("192.0.2.1:4711"));
    check(&bytes(0x21, 0x11, &[&V4[..], &[0; BYTES_MAX - 28]].concat()), Some("192.0.2.1:4711"));
    let mapped = [&[0; 10][..], &[0xFF, 0xFF, 192, 0, 2, 1], &[0; 16], &[0x12, 0x67, 0, 80]];
    check(&bytes(0x21, 0x21, &mapped.concat()), Some("192.0.2.1:4711"));
}

#[test]
fn a22_other_bytes_are_no_header() {
    check_none(&bytes(0x21, 0x11, &V4[..11]));
    check_none(&bytes(0x21, 0x21, &v6()[..35]));
    check_none(&bytes(0x21, 0x31, &[0; 215]));
    check_none(&bytes(0x21, 0x11, &[0; BYTES_MAX - 15]));
    for command in [0x00, 0x01, 0x11, 0x22, 0x2F, 0x31, 0xFF] {
        check_none(&bytes(command, 0x11, &V4));
    }
    for family in [0x01, 0x10, 0x13, 0x20, 0x23, 0x30, 0x33, 0x41, 0xFF] {
        check_none(&bytes(0x21, family, &V4));
    }
    check_none(b"\r\n\r\nGET / HTTP/1.1\r\n");
    check_none(b"\x16\x03\x01\x02\x00");
    check_none(&simple("192.0.2.1:1", "192.0.2.2:2"));
}

#[test]
fn c17_a_datagram_has_a_whole_header() {
    let stamp = parse_datagram(&[&bytes(0x21, 0x12, &V4)[..], b"rest"].concat()).unwrap();
    let client = "192.0.2.1:4711".parse().unwrap();
    assert_eq!(stamp, Stamp { said: Said::Client(client), echo: None, consumed: 28 });
    let header = simple("192.0.2.1:4711", "[2001:db8::2]:6969");
    let stamp = parse_datagram(&[&header[..], b"rest"].concat()).unwrap();
    let echo = Some("[2001:db8::2]:6969".parse().unwrap());
    assert_eq!(stamp, Stamp { said: Said::Client(client), echo, consumed: SIMPLE_BYTES });
    for header in [header, bytes(0x21, 0x22, &v6()), bytes(0x20, 0, b"")] {
        for end in 0..header.len() {
            assert_eq!(parse_datagram(&header[..end]), Err(NoHeader), "{end}");
        }
    }
    assert_eq!(parse_datagram(b"PROXY UNKNOWN\r\n"), Err(NoHeader));
    assert_eq!(parse_datagram(&0x417_2710_1980_u64.to_be_bytes()), Err(NoHeader));
}

#[test]
fn c17_a_simple_header_comes_back_as_it_was() {
    for (client, proxy) in [
        ("192.0.2.1:4711", "198.51.100.1:6969"),
        ("[2001:db8::1]:1", "[2001:db8::2]:65535"),
        ("[::1]:1", "0.0.0.0:0"),
        ("[::]:0", "[::]:0"),
    ] {
        let header = simple(client, proxy);
        assert_eq!((header.len(), &header[..2]), (SIMPLE_BYTES, &SIMPLE_MAGIC[..]));
        let Ok(Stamp { said: Said::Client(client), echo: Some(proxy), .. }) =
            parse_datagram(&header)
        else {
            panic!("{client} {proxy}")
        };
        let mut again = Vec::new();
        write_simple(&mut again, client, proxy);
        assert_eq!(again, header);
    }
    let mapped = simple("192.0.2.1:4711", "198.51.100.1:6969");
    assert_eq!(mapped[2..18], Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets());
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(14);
    let seeds = [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n".to_vec(),
        bytes(0x21, 0x11, &V4),
        bytes(0x21, 0x22, &v6()),
        simple("192.0.2.1:4711", "198.51.100.1:6969"),
    ];
    for _ in 0..50_000 {
        let mut bytes = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(0..=bytes.len()));
        bytes.extend((0..random.usize(0..8)).map(|_| random.u8(..)));
        if let Ok(Parsed::Complete { consumed, .. }) = parse(&bytes) {
            assert!(consumed <= bytes.len());
        }
        if let Ok(Stamp { consumed, .. }) = parse_datagram(&bytes) {
            assert!(consumed <= bytes.len());
        }
    }
}
