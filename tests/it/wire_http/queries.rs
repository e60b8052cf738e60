//! What clients say: paths, pairs and their values, however odd.

use std::net::IpAddr;

use super::{on_both_families, on_both_families_with};
use crate::tracker::http::{announce, answer, counts, escape, fetch, peers, scraped};
use crate::tracker::{HOMES, Tracker, at, hash, peer_id};

#[test]
fn a8_an_infohash_may_be_escaped_in_any_way() {
    let torrent = *b"aZ09-_.~!*()\x00\x20\x7f\x80\xff/&%";
    let tracker = Tracker::start("");
    for home in HOMES {
        let upper: String = torrent.iter().map(|byte| format!("%{byte:02X}")).collect();
        let spellings = [
            escape(&torrent).into_bytes(),
            upper.into_bytes(),
            b"aZ09-_.~!*()%00%20%7f%80%FF%2f%26%25".to_vec(),
            b"%61Z%30%39-_.~%21*()%00%20%7F%80%fF/%26%25".to_vec(),
            // Bytes that should be escaped and are not.
            b"aZ09-_.~!*()\x00\x20\x7f\x80\xff/%26%".to_vec(),
        ];
        for (number, spelling) in spellings.iter().enumerate() {
            let port = if home.is_ipv4() { 10 } else { 20 } + number as u16;
            let mut target = b"/announce?info_hash=".to_vec();
            target.extend(spelling);
            target
                .extend(format!("&peer_id={}&port={port}&left=0", escape(&peer_id(port))).bytes());
            answer(tracker.http(home), target);
        }
    }
    assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [10, 0, 0], "one torrent for all");
}

#[test]
fn a9_a_plus_is_a_plus() {
    on_both_families(|scene| {
        let [plus, space] = [*b"a+torrent+with+pluss", *b"a torrent with pluss"];
        let port = if scene.home.is_ipv4() { 1 } else { 2 };
        let raw = "info_hash=a+torrent+with+pluss&peer_id={peer_id}&left=0";
        let raw = raw.replace("{peer_id}", &format!("-MG0001-plus{port}plusplu"));
        let raw = raw.as_str();
        scene.ask(&format!("{raw}&port={port}"));
        scene.ask(&format!("{}&port={port}", raw.replace('+', "%2B")));
        assert_eq!(scraped(scene.tracker, plus)[0], i64::from(port), "both are one torrent");
        assert_eq!(scraped(scene.tracker, space), [0, 0, 0]);
    });
}

#[test]
fn a10_pairs_stand_in_any_order_and_shape() {
    on_both_families(|scene| {
        for (number, query) in [
            "left=0&port=PORT&peer_id={peer_id}&info_hash={torrent}",
            "foo&info_hash={torrent}&&bar=&=baz&peer_id={peer_id}&port=PORT&left=0&event=&",
            "&info_hash={torrent}&peer_id={peer_id}&x=a=b=c&port=PORT&left=0&event",
            "info_hash={torrent}&peer_id={peer_id}&port=PORT&left=0&supportcrypto=1&redundant=0&\
             corrupt=0&key=00ABCDEF&no_peer_id=1&compact=1&trackerid=x&requirecrypto",
        ]
        .iter()
        .enumerate()
        {
            let port = 100 + number;
            scene.ask(&query.replace("PORT", &port.to_string()));
            scene.check_counts([number as i64 + 1, 0, 0]);
        }
        // All of them have the port that they said.
        assert_eq!(peers(&scene.announce(9, "&left=5")), at(scene.home, 100..104));
    });
}

#[test]
fn a11_of_a_key_given_twice_the_first_counts_and_two_infohashes_are_refused() {
    on_both_families(|scene| {
        scene.announce(5, "&port=6&left=0&left=7&ip=1.2.3.4&ip=5.6.7.8");
        scene.check_counts([1, 0, 0]);
        assert_eq!(peers(&scene.announce(9, "&left=5")), at(scene.home, [5]));
        let twice = "info_hash={torrent}&peer_id={peer_id}&port=1&info_hash={torrent}";
        assert_eq!(scene.refused(twice), "info_hash is given twice");
    });
}

#[test]
fn a12_whatever_is_left_is_taken_and_what_is_unknown_is_a_leecher() {
    on_both_families(|scene| {
        let lefts = [
            "&left=1",
            "&left=16384",
            "&left=9223372036854775807",
            "&left=9223372036854775808",
            "&left=18446744073709551615",
            "&left=18446744073709551616",
            "&left=99999999999999999999999999999999",
            "&left=-1",
            "&left=",
            "&left",
            "&left=NaN",
            "&left=null",
            "",
        ];
        for (number, left) in lefts.iter().enumerate() {
            let told = scene.announce(number as u16 + 1, &format!("{left}&event=started"));
            assert_eq!(counts(&told), [0, number as i64 + 1, 0], "{left}");
        }
        for (number, left) in ["&left=0", "&left=000", "&left=%30"].iter().enumerate() {
            let told = scene.announce(number as u16 + 100, left);
            assert_eq!(told.integer("complete"), number as i64 + 1, "{left}");
        }
    });
}

#[test]
fn a13_numwant_is_defaulted_none_or_capped() {
    let args = "--numwant-default 20 --numwant-max 30";
    on_both_families_with(args, |scene| {
        for port in 1..=40 {
            scene.announce(port, "&left=0");
        }
        for (numwant, expected) in [
            ("", 20),
            ("&numwant=", 20),
            ("&numwant=-1", 20),
            ("&numwant=-200", 20),
            ("&numwant=many", 20),
            ("&numwant=0", 0),
            ("&numwant=7", 7),
            ("&numwant=30", 30),
            ("&numwant=31", 30),
            ("&numwant=200", 30),
            ("&numwant=99999999999999999999", 30),
        ] {
            let told = scene.announce(99, &format!("&left=5{numwant}"));
            assert_eq!(peers(&told).len(), expected, "{numwant}");
        }
        for numwant in ["", "&numwant=50", "&numwant=-1"] {
            let told = scene.announce(99, &format!("&left=5&event=stopped{numwant}"));
            assert_eq!(peers(&told).len(), 0, "stopped{numwant}");
        }
    });
}

#[test]
fn a14_no_event_fails() {
    on_both_families(|scene| {
        let events = ["", "&event=", "&event", "&event=started", "&event=empty", "&event=none"];
        let odd = ["&event=update", "&event=STARTED", "&event=%00%ff", "&event=stopped%00"];
        for (number, event) in events.iter().chain(&odd).enumerate() {
            let told = scene.announce(number as u16 + 1, &format!("&left=5{event}"));
            assert_eq!(counts(&told), [0, number as i64 + 1, 0], "{event}");
        }
        let (paused, completed) = ("&left=5&event=paused", "&left=0&event=completed");
        assert_eq!(counts(&scene.announce(50, paused)), [0, 11, 0]);
        assert_eq!(counts(&scene.announce(51, completed)), [1, 11, 0]);
        scene.announce(51, "&left=0&event=stopped");
        assert_eq!(counts(&scene.announce(50, completed)), [1, 10, 1]);
        assert_eq!(counts(&scene.announce(50, "&left=0&event=stopped")), [0, 10, 1]);
    });
}

#[test]
fn a20_an_address_in_the_query_is_taken_from_trusted_networks_and_if_public() {
    let claims = "&left=0&ip=203.0.113.5&ipv4=203.0.113.6&ipv6=2a00::6";
    on_both_families(|scene| {
        scene.announce(1, claims);
        assert_eq!(peers(&scene.announce(2, "&left=5")), at(scene.home, [1]));
    });
    let elsewhere = "--ip-parameter --trusted-network 10.0.0.0/8,fd00::/8";
    on_both_families_with(elsewhere, |scene| {
        scene.announce(1, claims);
        assert_eq!(peers(&scene.announce(2, "&left=5")), at(scene.home, [1]));
    });
    let here = "--ip-parameter --trusted-network 127.0.0.0/8,::1/128";
    on_both_families_with(here, |scene| {
        scene.announce(1, claims);
        let told = peers(&scene.announce(2, "&left=5"));
        assert_eq!(told, ["203.0.113.5:1".parse().unwrap()].into());
        let not_public = [
            "10.1.2.3",
            "127.0.0.9",
            "169.254.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "::",
            "fe80::1",
            "a.b",
        ];
        for (number, claimed) in not_public.iter().enumerate() {
            let told = scene.announce(10 + number as u16, &format!("&left=0&ip={claimed}"));
            let home = match scene.home {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            assert_eq!(told.text("external ip"), home, "{claimed}");
        }
    });
}

#[test]
fn a21_nobody_is_believed_what_a_header_says() {
    on_both_families(|scene| {
        let mut client = crate::tracker::http::Http::connect(scene.tracker);
        let target = announce(scene.torrent, 1, "&left=0");
        client.send(format!(
            "GET {target} HTTP/1.1\r\nX-Forwarded-For: 203.0.113.5, 203.0.113.6\r\n\
             X-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.8\r\n\r\n"
        ));
        client.page().dictionary();
        assert_eq!(peers(&scene.announce(2, "&left=5")), at(scene.home, [1]));
    });
}

#[test]
fn a23_the_key_is_opaque_and_tells_clients_apart_where_it_lasts() {
    let tracker = Tracker::start("");
    let keys = ["", "&key=00AB34EF", "&key=-1234567", "&key=%00%ff%80%01%02%03%04%05", "&key="];
    for (number, key) in keys.iter().enumerate() {
        for (program, lasts) in [("-qB4520-", true), ("A2-1-36-", false)] {
            let torrent = hash(&format!("{key} of {program}"));
            let name = format!("{program}abcdefghijkl");
            let say = |home: usize, port: u16, key: &str| {
                let target = announce(torrent, port, &format!("&left=0{key}"));
                let target = target.replace(&escape(&peer_id(port)), &name);
                answer(tracker.http(HOMES[home]), target);
            };
            say(0, 5, key);
            say(1, 5, key);
            assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [1, 0, 0], "key {number}");
            // Another key is another client, though the peer id is the same.
            say(1, 6, &format!("&key=ABC{number}"));
            let clients = 1 + i64::from(lasts);
            assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [clients, 0, 0], "key {number}");
        }
    }
}

#[test]
fn a31_paths_of_an_announce() {
    on_both_families(|scene| {
        let target = announce(scene.torrent, 1, "&left=0");
        let query = target.strip_prefix("/announce?").unwrap();
        let paths = [
            "/announce?",
            "/0123456789abcdef/announce?",
            "/announce/0123456789abcdef?",
            "/announce.php?passkey=0123456789abcdef&",
            "/announce.php?",
            "/announce?x=y&",
            "/announce?x&",
            "/announce?&",
            "//announce/?",
        ];
        for path in paths {
            answer(scene.tracker, format!("{path}{query}"));
        }
        scene.check_counts([1, 0, 0]);
        for path in ["/?", "/a/b/announce?", "/announced?", "/ANNOUNCE?"] {
            let page = fetch(scene.tracker, format!("{path}{query}"));
            assert!(page.status == 200 && !page.body.starts_with(b"d8:complete"), "{path}");
        }
    });
}

#[test]
fn a35_odd_bytes_in_values_do_no_harm() {
    on_both_families(|scene| {
        let odd = "%00%01%7f%80%c3%28%ff%fe%e2%82%ed%a0%80";
        let fields = [
            "uploaded",
            "downloaded",
            "event",
            "key",
            "numwant",
            "compact",
            "ip",
            "trackerid",
            odd,
        ];
        for (number, field) in fields.iter().enumerate() {
            let port = number as u16 + 1;
            let told = scene.announce(port, &format!("&left=5&{field}={odd}"));
            assert_eq!(told.integer("incomplete"), i64::from(port), "{field}");
        }
        for (number, id) in [[0; 20], [0xff; 20], *b"\xc3\x28\xff\x00\x80\xe2\x82abcdefghi\r\n\0 "]
            .into_iter()
            .enumerate()
        {
            let target = announce(scene.torrent, 100 + number as u16, "&left=0");
            let target = target.replace(&escape(&peer_id(100 + number as u16)), &escape(&id));
            let told = answer(scene.tracker, target);
            assert_eq!(told.integer("complete"), number as i64 + 1);
        }
        let raw = [b"/announce?info_hash=", &[0xff; 20][..], b"&peer_id=", &[0x80; 20], b"&left=0"];
        answer(scene.tracker, raw.concat());
    });
}
