//! The PROXY protocol over UDP: version 2, and the simple form, whose header the answers carry.

use std::net::{IpAddr, SocketAddr};

use super::{LOCAL, OPTIONS, PROXIED, PROXY, STRANGER, bytes, line};
use crate::tracker::http::{Http, announce, answer, peers};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, Tracker, hash};

/// The simple header of a datagram from `client`.
fn simple(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let address = match client.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let proxy: Vec<u8> = (100..116).collect();
    [&[0x56, 0xEC][..], &address, &proxy, &client.port().to_be_bytes(), &[0x1A, 0x2B]].concat()
}

/// Asks through a proxy; the answer behind the header that it carries.
#[track_caller]
fn ask(proxy: &Udp, header: &[u8], datagram: &[u8]) -> Vec<u8> {
    proxy.send(&[header, datagram].concat());
    let reply = proxy.receive();
    let reply = match header.starts_with(&[0x56, 0xEC]) {
        true => reply.strip_prefix(header).expect("the header comes back"),
        false => &reply,
    };
    assert_eq!(reply[4..8], datagram[12..16], "the transaction comes back");
    reply.to_vec()
}

#[track_caller]
fn connect(proxy: &mut Udp, header: &[u8]) {
    let reply = ask(proxy, header, &proxy.connect_request());
    proxy.id = u64::from_be_bytes(reply[8..].try_into().unwrap());
}

#[test]
fn c17_clients_behind_a_proxy_have_their_own_addresses() {
    let tracker = Tracker::start(&format!("{OPTIONS} --cores 2"));
    let mut proxy = Udp::at(tracker.udp_at(PROXIED), PROXY);
    // On both cores, wherever the kernel brings the datagrams.
    for number in 0..20 {
        let torrent = hash(&number.to_string());
        for (client, header) in [
            ("9.9.1.1:5", bytes("9.9.1.1:5", 2)),
            ("9.9.1.2:6", simple("9.9.1.2:6")),
            ("[2a00::1]:7", bytes("[2a00::1]:7", 2)),
            ("[2a00::2]:8", simple("[2a00::2]:8")),
        ] {
            let client: SocketAddr = client.parse().unwrap();
            connect(&mut proxy, &header);
            let request = proxy.announce_request(&Announce::new(torrent, 7000 + client.port()));
            let reply = ask(&proxy, &header, &request);
            assert_eq!(reply[..4], [0, 0, 0, 1]);
            let hashes = [torrent, hash("nobody")];
            let reply = ask(&proxy, &header, &proxy.scrape_request(&hashes));
            assert_eq!(reply.len(), 8 + 24);
            // What it was given is good for nobody else.
            let other = simple("9.9.1.3:5");
            proxy.send(&[&other[..], &request].concat());
        }
        let told = answer(tracker.http(HOMES[0]), announce(torrent, 1, "&left=1"));
        let expected = ["9.9.1.1:7005", "9.9.1.2:7006", "[2a00::1]:7007", "[2a00::2]:7008"];
        assert_eq!(peers(&told), expected.map(|peer| peer.parse().unwrap()).into());
    }
    tracker.await_metric("margay_refusals_total", &["reason=\"connection_id\""], 80.0);
    // A proxy may ask for itself.
    connect(&mut proxy, LOCAL);
    let own = hash("own");
    ask(&proxy, LOCAL, &proxy.announce_request(&Announce::seeder(own, 7009)));
    let mut http = Http::connect(tracker.http(HOMES[0]));
    let told = http.get(&announce(own, 1, "&left=1")).dictionary();
    assert_eq!(peers(&told), [SocketAddr::new(PROXY, 7009)].into());
}

#[test]
fn c17_peers_are_of_the_family_of_the_client() {
    let tracker = Tracker::start(OPTIONS);
    let mut proxy = Udp::at(tracker.udp_at(PROXIED), PROXY);
    let torrent = hash("families");
    for (client, port) in [("9.9.1.1:5", 7001), ("[2a00::1]:5", 7002)] {
        let header = simple(client);
        connect(&mut proxy, &header);
        ask(&proxy, &header, &proxy.announce_request(&Announce::seeder(torrent, port)));
    }
    for (client, told) in [
        ("9.9.1.9:1", [&[9, 9, 1, 1][..], &7001_u16.to_be_bytes()].concat()),
        ("[2a00::9]:1", [&[0x2a, 0][..], &[0; 13], &[1], &7002_u16.to_be_bytes()].concat()),
    ] {
        let header = simple(client);
        connect(&mut proxy, &header);
        let reply = ask(&proxy, &header, &proxy.announce_request(&Announce::new(torrent, 7003)));
        assert_eq!(reply[20..], told, "{client}");
    }
}

#[test]
fn c17_without_a_header_and_from_others_there_is_silence() {
    let tracker = Tracker::start(OPTIONS);
    let at = tracker.udp_at(PROXIED);
    let mut proxy = Udp::at(at, PROXY);
    let connect_request = proxy.connect_request();
    let good = simple("9.9.9.7:5");
    let mut refused = 0.0;
    for datagram in [
        connect_request.clone(),
        [&line("9.9.9.7:5")[..], &connect_request].concat(),
        [&[0x56][..], &connect_request].concat(),
        bytes("9.9.9.7:5", 2)[..27].to_vec(),
        good[..37].to_vec(),
    ] {
        proxy.send(&datagram);
        refused += 1.0;
    }
    proxy.send(b"");
    refused += 1.0;
    // A client that nobody can answer.
    for nobody in ["0.0.0.0:5", "9.9.9.7:0", "224.0.0.1:5", "[ff02::1]:5"] {
        proxy.send(&[&simple(nobody)[..], &connect_request].concat());
    }
    // The first answer is that to the first good one.
    let reply = ask(&proxy, &good, &proxy.connect_request());
    assert_eq!(reply.len(), 16);
    let stranger = Udp::at(at, STRANGER);
    for header in [&good[..], &bytes("9.9.9.7:5", 2), LOCAL, b""] {
        stranger.send(&[header, &connect_request].concat());
        refused += 1.0;
    }
    tracker.await_metric("margay_refusals_total", &["reason=\"proxy\"", "udp"], refused);
    tracker.await_metric("margay_refusals_total", &["reason=\"source\""], 4.0);
    // Elsewhere a header is no request.
    let plain = tracker.udp(HOMES[0]);
    let client = Udp::connect(plain);
    client.check_silence([&good[..], &connect_request].concat());
    client.check_silence([&bytes("9.9.9.7:5", 2)[..], &connect_request].concat());
    connect(&mut proxy, &good);
}
