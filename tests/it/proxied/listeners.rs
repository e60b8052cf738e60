//! What comes over TCP, in every combination of who says it, where and how.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{LOCAL, OPTIONS, PROXIED, PROXY, STRANGER, bytes, ip, is_taken_for, line, taken_for};
use crate::tracker::http::{Http, announce, answer, bare, counts, peers, scrape, stream_from};
use crate::tracker::tls::{Issued, Trusting, issue};
use crate::tracker::{HOMES, Tracker, get, hash, patiently};

const XFF: &str = "X-Forwarded-For: 9.9.9.1\r\n";
const FORWARDED: &str = "Forwarded: for=9.9.9.2\r\n";
const REAL: &str = "X-Real-IP: 9.9.9.3\r\n";

/// Headers of a request, and whom they name by each `--forwarded-header`.
const HEADERS: [(&str, [Option<&str>; 4]); 5] = [
    ("", [None; 4]),
    (XFF, [Some("9.9.9.1"), None, None, None]),
    (FORWARDED, [None, Some("9.9.9.2"), None, None]),
    (REAL, [None, None, Some("9.9.9.3"), None]),
    (
        "X-Forwarded-For: 9.9.9.1\r\nForwarded: for=9.9.9.2\r\nX-Real-IP: 9.9.9.3\r\n",
        [Some("9.9.9.1"), Some("9.9.9.2"), Some("9.9.9.3"), None],
    ),
];

#[test]
fn a21_a22_in_every_combination_a_trusted_proxy_is_believed_and_nobody_else() {
    let kinds = ["x-forwarded-for", "forwarded", "x-real-ip", "none"];
    for (number, kind) in kinds.into_iter().enumerate() {
        let tracker = Tracker::start(&format!("{OPTIONS} --forwarded-header {kind}"));
        let prefixes: [(Vec<u8>, Option<IpAddr>); 7] = [
            (Vec::new(), None),
            (line("9.9.9.7:1"), Some(ip("9.9.9.7"))),
            (bytes("9.9.9.7:1", 1), Some(ip("9.9.9.7"))),
            (bytes("[2a00::7]:1", 1), Some(ip("2a00::7"))),
            // By way of a further proxy, which is trusted, too.
            (line("127.0.0.1:1"), Some(PROXY)),
            (LOCAL.to_vec(), Some(PROXY)),
            (b"PROXY TCP4 9.9.9.7 1.1.1.1 1\r\n".to_vec(), None),
        ];
        let mut refused = 0.0;
        for (at, is_proxied) in [(tracker.http(HOMES[0]), false), (tracker.http_at(PROXIED), true)]
        {
            for source in [PROXY, STRANGER] {
                for (prefix, named) in &prefixes {
                    for (headers, says) in HEADERS {
                        let connection = match is_proxied {
                            false => prefix.is_empty().then_some(source),
                            true => named.filter(|_| source == PROXY),
                        };
                        let said = says[number].map(ip);
                        let expected = connection.map(|connection| match connection == PROXY {
                            true => said.unwrap_or(connection),
                            false => connection,
                        });
                        let mut client = Http::connect_from(source, at);
                        let _ = client.try_send(prefix);
                        let target = announce(hash("matrix"), 7001, "&left=0");
                        let found = match expected {
                            Some(_) => taken_for(&mut client, &target, headers),
                            None => {
                                // A reset is an end as well.
                                let request = format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
                                let _ = client.try_send(request);
                                let _ = client.try_send("");
                                refused += f64::from(u8::from(is_proxied));
                                client.await_end();
                                None
                            }
                        };
                        let prefix = prefix.escape_ascii();
                        assert_eq!(
                            found, expected,
                            "{kind}: {source} to {at} with {headers:?} behind {prefix}"
                        );
                    }
                }
            }
        }
        tracker.await_metric("margay_refusals_total", &["reason=\"proxy\""], refused);
    }
}

#[test]
fn a21_each_request_of_a_kept_connection_has_its_own_address_on_every_core() {
    let tracker = Tracker::start(
        "--cores 2 --trusted-proxy 127.0.0.1/32,::1/128,10.0.0.0/8 --http-connections-max 100",
    );
    for home in HOMES {
        let mut kept = Http::connect(tracker.http(home));
        for number in 0..40_u16 {
            let (torrent, address) =
                (hash(&format!("{home} {}", number / 2)), format!("9.9.{number}.1"));
            let target = announce(torrent, 7000 + number, "&left=1");
            let headers = format!("X-Forwarded-For: 1.1.1.1, {address}, 10.0.0.7\r\n");
            assert_eq!(taken_for(&mut kept, &target, &headers), Some(ip(&address)));
            // Who says nothing of itself is whose connection it is.
            assert_eq!(taken_for(&mut kept, &announce(hash("none"), 7001, ""), ""), Some(home));
        }
        // All at once; a scrape that takes both cores between them.
        let torrents: Vec<_> = (0..20).map(|number| hash(&format!("{home} {number}"))).collect();
        let mut asked = String::new();
        for (number, torrent) in torrents.iter().enumerate() {
            let target = announce(*torrent, 7100, "&left=0");
            asked += &format!("GET {target} HTTP/1.1\r\nX-Forwarded-For: 2a00::{number:x}\r\n\r\n");
            asked += &bare(&scrape(&torrents));
        }
        kept.send(asked);
        for number in 0..20_u16 {
            let told = kept.page().dictionary();
            let own: [u8; 16] = told.text("external ip").try_into().unwrap();
            assert_eq!(IpAddr::from(own), ip(&format!("2a00::{number:x}")));
            let expected = [2 * number, 2 * number + 1]
                .map(|number| SocketAddr::new(ip(&format!("9.9.{number}.1")), 7000 + number));
            assert_eq!(peers(&told), expected.into(), "{number}");
            kept.page().dictionary();
        }
        // What was taken from them is what others are told.
        let told = answer(tracker.http(home), announce(torrents[3], 7200, "&left=5"));
        assert!(peers(&told).contains(&SocketAddr::new(ip("2a00::3"), 7100)), "{told:?}");
    }
}

#[test]
fn a22_a_header_may_come_in_pieces_before_http_and_before_tls() {
    let folder = TempDir::new().unwrap();
    let issued = issue(&["localhost"]);
    issued.write(folder.path(), "a");
    let tls = Issued::options(folder.path(), "a")
        .replace("--https 127.0.0.1:0,[::1]:0", "--https 127.0.0.1:0,127.0.0.2:0");
    let tracker = Tracker::start(&format!("{OPTIONS} --cores 2 {tls}"));
    let from = |at: SocketAddr| stream_from(PROXY, at);
    for header in [line("9.9.9.7:1"), bytes("9.9.9.7:1", 1), bytes("[2a00::7]:1", 1)] {
        let expected =
            if header.contains(&0x21) && header.len() > 50 { "2a00::7" } else { "9.9.9.7" };
        for pieces in [1, 5, header.len()] {
            let mut plain = from(tracker.http_at(PROXIED));
            let mut sealed = from(tracker.https_at(PROXIED));
            for stream in [&mut plain, &mut sealed] {
                stream.set_nodelay(true).unwrap();
                for piece in header.chunks(header.len().div_ceil(pieces)) {
                    stream.write_all(piece).unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            }
            let client = Trusting::new(&[&issued], pieces > 1);
            let mut connections = [Http::on(plain), client.over(sealed, "localhost").unwrap()];
            for connection in &mut connections {
                for number in 0..5 {
                    let taken = is_taken_for(connection, &format!("pieces {number}"));
                    assert_eq!(taken, Some(ip(expected)));
                }
            }
        }
        // With the request and a further one in the same packet.
        let mut client = Http::on(from(tracker.http_at(PROXIED)));
        let target = bare(&announce(hash("together"), 7001, "&left=0"));
        client.send([&header[..], target.as_bytes(), target.as_bytes()].concat());
        for _ in 0..2 {
            assert_eq!(counts(&client.page().dictionary())[..2], [1, 0]);
        }
    }
    // At the other listener TLS is TLS.
    let client = Trusting::new(&[&issued], true);
    let mut direct = client.connect(tracker.https_at(HOMES[0]));
    assert_eq!(is_taken_for(&mut direct, "direct"), Some(PROXY));
    tracker.await_metric("margay_tls_failures_total", &[], 0.0);
}

#[test]
fn a22_who_does_not_finish_its_header_is_let_go() {
    let mut tracker =
        Tracker::start(&format!("{OPTIONS} --http-header-timeout 1s --http-connections-max 3"));
    let at = tracker.http_at(PROXIED);
    let header = bytes("9.9.9.7:1", 1);
    let mut slow = Vec::new();
    for begin in [&b"PROXY TCP4"[..], &header[..20], &header[..5]] {
        let mut stream = stream_from(PROXY, at);
        stream.write_all(begin).unwrap();
        slow.push(stream);
    }
    let ends = |stream: &mut TcpStream| {
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert_eq!(said, b"");
    };
    patiently("all seats are taken", || {
        (tracker.metric("margay_http_connections_open", &[]) >= 3.0).then_some(())
    });
    // There is no seat for one more that waits, and none is needed by one that does not.
    let mut more = stream_from(PROXY, at);
    more.write_all(b"PROXY").unwrap();
    ends(&mut more);
    slow.iter_mut().for_each(ends);
    tracker.await_metric("margay_refusals_total", &["reason=\"timeout\""], 3.0);
    tracker.await_metric("margay_refusals_total", &["reason=\"connections\""], 1.0);
    for nonsense in
        [&[b'x'; 5000][..], &[b"PROXY UNKNOWN ", &[b'x'; 300][..]].concat(), b"\r\n\r\n\0x"]
    {
        let mut stream = stream_from(PROXY, at);
        let _ = stream.write_all(nonsense);
        ends(&mut stream);
    }
    tracker.check_alive();
    let mut client = Http::connect_from(PROXY, at);
    client.send(&header);
    assert_eq!(is_taken_for(&mut client, "after"), Some(ip("9.9.9.7")));
}

#[test]
fn a_proxy_that_says_nothing_is_counted_and_said_once() {
    let tracker = Tracker::start("--trusted-proxy 127.0.0.1/32");
    let mut kept = Http::connect(tracker.http(HOMES[0]));
    for number in 0..10 {
        assert_eq!(is_taken_for(&mut kept, &number.to_string()), Some(PROXY));
    }
    // A check of health is nobody's announce, and what is said counts.
    kept.get("/");
    kept.get(&scrape(&[]));
    let said = "X-Forwarded-For: 9.9.9.9\r\n";
    assert!(taken_for(&mut kept, &announce(hash("a"), 1, ""), said).is_some());
    tracker.await_metric("margay_proxies_silent_total", &[], 10.0);
    assert_eq!(tracker.times_logged("does not say who announces"), 1);
    assert_eq!(tracker.logged("does not say who announces")["proxy"], "127.0.0.1");
}

#[test]
fn one_private_address_for_all_is_said() {
    let tracker = Tracker::start("");
    assert!(!get(tracker.control(), "/health").unwrap().contains("addresses:"));
    let mut kept = Http::connect(tracker.http(HOMES[0]));
    let requests = |headers: &dyn Fn(usize) -> String| -> Vec<String> {
        (0..1000)
            .map(|number| {
                let target = announce(hash(&format!("{}", number % 7)), 7001, "&left=0");
                format!("GET {target} HTTP/1.1\r\n{}\r\n", headers(number))
            })
            .collect()
    };
    for request in requests(&|_| String::new()) {
        kept.send(request);
        kept.page().dictionary();
    }
    let line = tracker.logged("most announces come from one private address");
    assert_eq!((&line["address"], &line["percent"]), (&"127.0.0.1".into(), &100.into()));
    patiently("health says so", || {
        let health = get(tracker.control(), "/health").unwrap();
        health.contains("addresses: 100% of the announces come from 127.0.0.1").then_some(())
    });
    tracker.await_metric("margay_crowd_ratio", &[], 1.0);

    let tracker = Tracker::start("--trusted-proxy 127.0.0.1/32");
    let mut kept = Http::connect(tracker.http(HOMES[0]));
    for request in requests(&|number| format!("X-Forwarded-For: 9.9.{}.1\r\n", number % 200)) {
        kept.send(request);
        kept.page().dictionary();
    }
    patiently("it was looked at", || {
        (tracker.metric("margay_announces_total", &[]) >= 1000.0).then_some(())
    });
    assert!(!get(tracker.control(), "/health").unwrap().contains("addresses:"));
    assert_eq!(tracker.times_logged("most announces come from one"), 0);
}

#[test]
fn a_claim_by_ip_is_that_of_the_client_and_not_of_the_proxy() {
    let tracker = Tracker::start(
        "--ip-parameter --trusted-network 127.0.0.1/32,9.9.9.0/24 --trusted-proxy 127.0.0.1/32",
    );
    let mut kept = Http::connect(tracker.http(HOMES[0]));
    let target = announce(hash("claim"), 7001, "&left=0&ip=8.8.8.8");
    for (headers, taken) in [
        ("", "8.8.8.8"),
        ("X-Forwarded-For: 9.9.9.1\r\n", "8.8.8.8"),
        ("X-Forwarded-For: 9.9.8.1\r\n", "9.9.8.1"),
    ] {
        assert_eq!(taken_for(&mut kept, &target, headers), Some(ip(taken)), "{headers}");
    }
}
