//! What the tracker says: failures, peers and their form, the client's address, the interval.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};

use super::{on_both_families, on_both_families_with};
use crate::tracker::bencode::Value;
use crate::tracker::http::{announce, answer, counts, fetch, peers};
use crate::tracker::{HOMES, Tracker, at, hash};

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
            [(1, "&left=0&event=completed", [1, 0, 0]), (2, "&left=5", [1, 1, 0])]
        {
            let told = scene.announce(port, more);
            assert_eq!(counts(&told), expected);
            assert!(told.integer("interval") >= told.integer("min interval"));
            assert!(told.integer("min interval") > 0);
            told.text("peers");
        }
        let failed = fetch(scene.tracker, "/announce").dictionary();
        assert_eq!(failed.integer("interval"), failed.integer("min interval"));
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
fn a3_who_comes_at_min_interval_is_told_the_interval() {
    on_both_families(|scene| {
        let mut intervals = BTreeSet::new();
        for peer_id in ["A2-1-36-0-abcdefghij", "-lt0D80-abcdefghijkl", "-rQ9100-abcdefghijkl"] {
            for _ in 0..10 {
                let query = format!("info_hash={{torrent}}&peer_id={peer_id}&port=1&left=5");
                let told = scene.ask(&query);
                assert_eq!(told.integer("interval"), told.integer("min interval"), "{peer_id}");
                intervals.insert(told.integer("interval"));
            }
        }
        assert!(intervals.len() > 5, "no jitter: {intervals:?}");
    });
}

#[test]
fn a26_what_will_not_be_served_is_told_quietly_where_that_is_wanted() {
    let folder = tempfile::TempDir::new().unwrap();
    let list = folder.path().join("deny");
    let denied = hash("denied");
    std::fs::write(&list, denied.map(|byte| format!("{byte:02x}")).concat()).unwrap();
    let options = format!("--deny-list {}", list.display());
    let text = "Torrent not allowed on this tracker";
    on_both_families_with(&options, |scene| {
        let page = fetch(scene.tracker, announce(denied, 1, "&left=5"));
        assert_eq!(page.failure(), text);
        let told = page.dictionary();
        assert_eq!(told.integer("interval"), told.integer("min interval"));
        let leaves = answer(scene.tracker, announce(denied, 1, "&left=5&event=stopped"));
        assert_eq!(peers(&leaves).len(), 0);
    });
    on_both_families_with(&format!("{options} --refusals quiet"), |scene| {
        let told = answer(scene.tracker, announce(denied, 1, "&left=5"));
        assert_eq!((counts(&told), peers(&told).len()), ([0, 0, 0], 0));
        assert_eq!((told.integer("interval"), told.integer("min interval")), (5400, 5400));
        assert_eq!(told.text("warning message"), text.as_bytes());
    });
}

#[test]
fn a26_a_tracker_that_is_full_asks_to_come_back_soon() {
    on_both_families_with("--peers-max 1", |scene| {
        scene.announce(1, "&left=5");
        for port in 2..20 {
            let told = scene.announce(port, "&left=5");
            assert_eq!((counts(&told), peers(&told).len()), ([0, 0, 0], 0));
            let interval = told.integer("interval");
            assert!((60..=120).contains(&interval), "{interval}");
            assert_eq!(told.integer("min interval"), interval);
            assert_eq!(told.find("warning message"), None);
        }
    });
}
