//! Announces over HTTP as clients send them (BEP 3, 7, 21, 23, 24, 31), over both families. A test is
//! named after the line of the project's list of wire requirements that it shows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};

use crate::tracker::bencode::Value;
use crate::tracker::http::{announce, answer, counts, escape, fetch, peers, scraped};
use crate::tracker::udp::{self, Udp};
use crate::tracker::{HOMES, Tracker, at, hash, peer_id};

/// What a story is told about: a tracker, asked over one family, and a torrent nobody knows yet.
#[derive(Clone, Copy)]
struct Scene {
    tracker: SocketAddr,
    /// Where the clients are.
    home: IpAddr,
    torrent: [u8; 20],
}

impl Scene {
    /// Announces as the client that listens on `port`; `more` is further parameters.
    #[track_caller]
    fn announce(&self, port: u16, more: &str) -> Value {
        answer(self.tracker, announce(self.torrent, port, more))
    }

    /// Announces with exactly this query, in which `{torrent}` and `{peer_id}` are filled in.
    #[track_caller]
    fn ask(&self, query: &str) -> Value {
        answer(self.tracker, self.fill(query))
    }

    /// Why an announce with this query is refused.
    #[track_caller]
    fn refused(&self, query: &str) -> String {
        fetch(self.tracker, self.fill(query)).failure()
    }

    fn fill(&self, query: &str) -> String {
        let query = query.replace("{torrent}", &escape(&self.torrent));
        format!("/announce?{}", query.replace("{peer_id}", &escape(&peer_id(7))))
    }

    #[track_caller]
    fn check_counts(&self, seeders_leechers_snatches: [i64; 3]) {
        assert_eq!(scraped(self.tracker, self.torrent), seeders_leechers_snatches);
    }
}

/// Tells a story once for each family, on one tracker started with `args`.
fn on_both_families_with(args: &str, story: impl Fn(Scene)) {
    let tracker = Tracker::start(args);
    for home in HOMES {
        let torrent = hash(&format!("a torrent of {home}"));
        story(Scene { tracker: tracker.http(home), home, torrent });
    }
}

fn on_both_families(story: impl Fn(Scene)) {
    on_both_families_with("", story);
}

#[test]
fn a1_a_failure_has_status_200_and_a_bencoded_reason() {
    on_both_families(|scene| {
        for (query, reason) in [
            ("", "info_hash is missing"),
            ("peer_id={peer_id}&port=1", "info_hash is missing"),
            ("info_hash=short&peer_id={peer_id}&port=1", "info_hash is not 20 bytes long"),
            ("info_hash={torrent}%00&peer_id={peer_id}", "info_hash is not 20 bytes long"),
            ("info_hash={torrent}&port=1", "peer_id is missing"),
            ("info_hash={torrent}&peer_id=short&port=1", "peer_id is not 20 bytes long"),
        ] {
            assert_eq!(scene.refused(query), reason, "{query}");
        }
        // At a path that is not there, a client is told so; a browser gets a page.
        let lost = fetch(scene.tracker, "/tracker?info_hash=x");
        assert_eq!(lost.failure(), "There is no tracker at this path");
        assert_eq!(fetch(scene.tracker, "/favicon.ico").status, 404);
        let root = fetch(scene.tracker, "/");
        assert!(root.status == 200 && root.body.starts_with(b"This is a BitTorrent tracker"));
    });
}

#[test]
fn a2_bodies_are_canonical_to_the_last_byte() {
    on_both_families(|scene| {
        // Every other test reads with the strict reader as well; this one has all keys at once.
        scene.announce(1, "&left=0");
        let full = scene.announce(2, "&left=5");
        assert!(full.entries().len() >= 6, "{full:?}");
        let list = scene.announce(2, "&left=5&compact=0");
        assert!(matches!(list.get("peers"), Value::List(peers) if peers.len() == 1), "{list:?}");
        assert!(!scene.refused("info_hash=x").is_empty());
    });
}

#[test]
fn a3_success_has_interval_peers_and_counts_and_a_failure_the_interval() {
    on_both_families(|scene| {
        for (port, more, expected) in
            [(1, "&left=0&event=completed", [1, 0, 1]), (2, "&left=5", [1, 1, 1])]
        {
            let told = scene.announce(port, more);
            assert_eq!(counts(&told), expected);
            assert!(told.integer("interval") >= told.integer("min interval"));
            assert!(told.integer("min interval") > 0);
            told.text("peers");
        }
        let failed = fetch(scene.tracker, "/announce").dictionary();
        assert!(failed.integer("interval") >= failed.integer("min interval"));
    });
}

#[test]
fn a4_peer_lists_are_whole_and_always_there() {
    let tracker = Tracker::start("");
    let torrent = hash("mixed");
    for (round, home) in HOMES.into_iter().enumerate() {
        let alone = answer(tracker.http(home), announce(hash("nobody else"), 7, "&left=5"));
        assert_eq!(alone.text("peers"), b"", "the key is there without any peer");
        for port in 1..40 {
            let port = round as u16 * 100 + port;
            let told = answer(tracker.http(home), announce(torrent, port, "&left=5&numwant=13"));
            // Both lists have whole entries, or this would fail; and together no more than asked.
            assert!(peers(&told).len() <= 13);
            assert_ne!(told.find("peers6"), Some(&Value::Text(vec![])));
        }
    }
}

#[test]
fn a5_endpoints_are_in_network_order() {
    on_both_families(|scene| {
        scene.announce(0x1AE1, "&left=5");
        let told = scene.announce(2, "&left=5");
        let (key, address) = match scene.home {
            IpAddr::V4(address) => ("peers", address.octets().to_vec()),
            IpAddr::V6(address) => ("peers6", address.octets().to_vec()),
        };
        assert_eq!(told.text(key), [&address[..], &[0x1A, 0xE1]].concat());
    });
}

#[test]
fn a5_what_only_the_neighbourhood_can_reach_is_not_for_the_public() {
    let trust = "--ip-parameter --trusted-network 127.0.0.0/8,::1/128";
    on_both_families_with(trust, |scene| {
        scene.announce(1, "&left=0");
        scene.announce(2, "&left=0&ip=203.0.113.9");
        scene.announce(3, "&left=0&ip=2a00::9");
        scene.announce(0, "&left=0&ip=203.0.113.9");
        let public: BTreeSet<SocketAddr> =
            ["203.0.113.9:2", "[2a00::9]:3"].map(|endpoint| endpoint.parse().unwrap()).into();
        for requester in ["203.0.113.10", "2a00::a"] {
            let told = scene.announce(9, &format!("&left=5&ip={requester}"));
            assert_eq!((peers(&told), told.integer("complete")), (public.clone(), 4));
        }
        let neighbour = scene.announce(9, "&left=5");
        assert_eq!(peers(&neighbour), &public | &at(scene.home, [1]));
    });
}

#[test]
fn a6_an_ipv4_mapped_address_is_the_ipv4_address() {
    let tracker = Tracker::start("--udp [::]:0 --http [::]:0,127.0.0.1:0");
    // A listener on all of IPv6 takes no IPv4 connections, so no mapped address gets in by itself.
    let on_v6 = tracker.http(HOMES[1]).port();
    assert!(TcpStream::connect((HOMES[0], on_v6)).is_err());
    let mapped = TcpStream::connect(format!("[::ffff:127.0.0.1]:{on_v6}"));
    assert!(mapped.is_err(), "{mapped:?}");
    // One that a trusted neighbour names is IPv4 from there on.
    let tracker = Tracker::start("--ip-parameter --trusted-network ::1/128,127.0.0.0/8");
    for home in HOMES {
        let torrent = hash(&format!("mapped {home}"));
        let named = announce(torrent, 1, "&left=0&ip=::ffff:203.0.113.9");
        let told = answer(tracker.http(home), named);
        assert_eq!(told.text("external ip"), [203, 0, 113, 9]);
        let told = answer(tracker.http(home), announce(torrent, 2, "&left=5"));
        assert_eq!(peers(&told), ["203.0.113.9:1".parse().unwrap()].into());
        assert_eq!(told.find("peers6"), None);
    }
}

#[test]
fn a7_both_forms_of_peers() {
    on_both_families(|scene| {
        scene.announce(6881, "&left=0");
        for compact in ["", "&compact=1", "&compact=", "&compact"] {
            let told = scene.announce(2, &format!("&left=5{compact}"));
            assert_eq!(peers(&told), at(scene.home, [6881]), "{compact}");
        }
        for more in ["&compact=0", "&compact=0&no_peer_id=1", "&no_peer_id=0&compact=0"] {
            let told = scene.announce(2, &format!("&left=5{more}"));
            let Value::List(list) = told.get("peers") else { panic!("{told:?}") };
            assert_eq!((list.len(), told.find("peers6")), (1, None));
            assert_eq!(list[0].text("ip"), scene.home.to_string().as_bytes());
            assert_eq!(list[0].integer("port"), 6881);
        }
    });
}

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
        scene.ask(&format!("{raw}&port={port}&key={port}"));
        scene.ask(&format!("{}&port={port}&key={port}", raw.replace('+', "%2B")));
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
        assert_eq!(counts(&scene.announce(51, completed)), [1, 11, 1]);
        assert_eq!(counts(&scene.announce(50, "&left=5&event=stopped")), [1, 10, 1]);
    });
}

#[test]
fn a15_stopping_twice_or_without_having_been_there_succeeds() {
    on_both_families(|scene| {
        let told = scene.announce(1, "&left=5&event=stopped");
        assert_eq!((counts(&told), peers(&told).len()), ([0, 0, 0], 0));
        scene.announce(2, "&left=5");
        scene.announce(1, "&left=0&event=stopped");
        for remaining in [0, 0] {
            let told = scene.announce(2, "&left=5&event=stopped");
            assert_eq!(counts(&told), [0, remaining, 0]);
        }
    });
}

#[test]
fn a16_stopping_without_a_port_succeeds() {
    on_both_families(|scene| {
        let start = "info_hash={torrent}&peer_id={peer_id}&left=5&event=stopped";
        for port in ["", "&port=0", "&port=", "&port=x", "&port=70000"] {
            let told = scene.ask(&format!("{start}{port}"));
            assert_eq!(counts(&told), [0, 0, 0], "{port}");
        }
    });
}

#[test]
fn a17_a_peer_without_a_port_counts_and_is_not_handed_out() {
    on_both_families(|scene| {
        scene.announce(0, "&left=0");
        let told = scene.announce(1, "&left=5");
        assert_eq!((counts(&told), peers(&told).len()), ([1, 1, 0], 0));
        let without = "info_hash={torrent}&peer_id={peer_id}&left=0";
        assert_eq!(peers(&scene.ask(without)), at(scene.home, [1]));
        assert_eq!(peers(&scene.announce(1, "&left=5")).len(), 0);
    });
}

#[test]
fn a18_a_download_is_counted_once() {
    on_both_families(|scene| {
        let story = [
            (1, "&left=0&event=started", [1, 0, 0]),
            (2, "&left=5&event=completed", [1, 1, 0]),
            (2, "&left=0&event=completed", [2, 0, 1]),
            (2, "&left=0&event=completed", [2, 0, 1]),
            (2, "&left=0", [2, 0, 1]),
            (2, "&left=0&event=completed", [2, 0, 1]),
            (1, "&left=0&event=completed", [2, 0, 1]),
            // Nobody has seen this one before: the tracker may have been restarted.
            (3, "&left=0&event=completed", [3, 0, 2]),
            (4, "&left=5&event=started", [3, 1, 2]),
            (4, "&left=0&event=completed", [4, 0, 3]),
        ];
        for (step, (port, more, expected)) in story.into_iter().enumerate() {
            assert_eq!(counts(&scene.announce(port, more)), expected, "step {step}");
        }
    });
}

#[test]
fn a19_the_first_announce_need_not_be_started() {
    on_both_families(|scene| {
        assert_eq!(counts(&scene.announce(1, "&left=0")), [1, 0, 0]);
        assert_eq!(peers(&scene.announce(2, "&left=5&event=")), at(scene.home, [1]));
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
fn a23_the_key_is_opaque_and_tells_clients_with_two_addresses() {
    let tracker = Tracker::start("");
    let keys = ["", "&key=00AB34EF", "&key=-1234567", "&key=%00%ff%80%01%02%03%04%05", "&key="];
    for (number, key) in keys.iter().enumerate() {
        let torrent = hash(key);
        let target = announce(torrent, 5, &format!("&left=0{key}"));
        for home in HOMES {
            answer(tracker.http(home), &target);
        }
        assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [1, 0, 0], "key {number}");
        // Another key is another client, though the peer id is the same.
        let other = announce(torrent, 6, &format!("&left=0{key}&key=other{number}"));
        let other = other.replace(&escape(&peer_id(6)), &escape(&peer_id(5)));
        answer(tracker.http(HOMES[1]), other.replacen(key, "", usize::from(!key.is_empty())));
        assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [2, 0, 0], "key {number}");
    }
}

#[test]
fn a24_a_client_with_both_families_counts_once() {
    let tracker = Tracker::start("");
    let torrent = hash("both");
    let both =
        |port, more| HOMES.map(|home| answer(tracker.http(home), announce(torrent, port, more)));
    both(1, "&left=5&event=started&key=0000000A");
    assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [0, 1, 0]);
    both(1, "&left=0&event=completed&key=0000000A");
    assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [1, 0, 1], "completed once, not twice");

    // Whoever asks gets both of its endpoints, whatever family it asks over.
    let endpoints: BTreeSet<SocketAddr> = HOMES.map(|home| SocketAddr::new(home, 1)).into();
    for told in both(2, "&left=5&key=0000000B") {
        assert_eq!((peers(&told), told.integer("complete")), (endpoints.clone(), 1));
    }
    // The same client over UDP, where the key is four bytes: still one.
    for home in HOMES {
        let seeder = udp::Announce::seeder(torrent, 1).event(udp::NONE);
        let seeder = udp::Announce { key: [0, 0, 0, 0x0A], ..seeder };
        assert_eq!(Udp::connect(tracker.udp(home)).announce(&seeder).seeders, 1);
    }
    // One address goes: the client stays. The other goes: it is gone.
    let stop = announce(torrent, 1, "&left=0&event=stopped&key=0000000A");
    answer(tracker.http(HOMES[0]), &stop);
    assert_eq!(scraped(tracker.http(HOMES[1]), torrent), [1, 1, 1]);
    answer(tracker.http(HOMES[1]), &stop);
    assert_eq!(scraped(tracker.http(HOMES[1]), torrent), [0, 1, 1]);
}

#[test]
fn a25_the_client_is_told_its_address() {
    on_both_families(|scene| {
        let address = match scene.home {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        assert_eq!(scene.announce(1, "&left=5").text("external ip"), address);
    });
    on_both_families_with("--no-external-ip", |scene| {
        assert_eq!(scene.announce(1, "&left=5").find("external ip"), None);
    });
}

#[test]
fn a29_intervals_are_acceptable_and_spread() {
    on_both_families(|scene| {
        let mut intervals = BTreeSet::new();
        for _ in 0..50 {
            let told = scene.announce(1, "&left=5");
            assert_eq!(told.integer("min interval"), 900);
            let interval = told.integer("interval");
            assert!((1620..=1980).contains(&interval), "{interval}");
            intervals.insert(interval);
        }
        assert!(intervals.len() > 10, "no jitter: {intervals:?}");
    });
    on_both_families_with("--interval 10m --interval-jitter 0% --interval-min 5m", |scene| {
        let told = scene.announce(1, "&left=5");
        assert_eq!((told.integer("interval"), told.integer("min interval")), (600, 300));
    });
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
fn a33_nobody_gets_itself_and_seeders_get_no_seeders() {
    on_both_families(|scene| {
        for port in 1..=3 {
            scene.announce(port, "&left=0");
        }
        for port in 4..=6 {
            scene.announce(port, "&left=5");
        }
        assert_eq!(peers(&scene.announce(1, "&left=0")), at(scene.home, 4..=6));
        assert_eq!(peers(&scene.announce(4, "&left=5")), at(scene.home, [1, 2, 3, 5, 6]));
        // Not even at another port, as long as it is the same client.
        let moved = announce(scene.torrent, 4, "&left=5").replace("port=4", "port=44");
        assert_eq!(peers(&answer(scene.tracker, moved)), at(scene.home, [1, 2, 3, 5, 6]));
    });
}

#[test]
fn a34_both_hashes_of_a_hybrid_torrent_are_torrents_of_their_own() {
    on_both_families(|scene| {
        let v2 = hash(&format!("the truncated SHA-256 of {}", scene.home));
        scene.announce(1, "&left=0");
        answer(scene.tracker, announce(v2, 1, "&left=5"));
        scene.check_counts([1, 0, 0]);
        assert_eq!(scraped(scene.tracker, v2), [0, 1, 0]);
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
