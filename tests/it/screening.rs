//! Rules about addresses: who is refused gets nothing over any protocol, and is told to nobody.

mod lookups;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ipnet::IpNet;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::program::margay;
use crate::tracker::http::{self, Http, announce, bare, counts, peers, scrape};
use crate::tracker::tls::{Issued, issue};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, Tracker, get, hash, patiently};

#[path = "../../ops/src/screening/written.rs"]
#[allow(dead_code, reason = "not all that it can write is needed here")]
mod written;

/// Peers of a large swarm from one address.
const CROWD: u32 = 2000;

/// Files of rules.
pub(crate) struct Rules(TempDir);

impl Rules {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a list as a tool does that replaces it.
    pub(crate) fn list(&self, name: &str, networks: &str) -> String {
        let beside = self.path("beside");
        fs::write(&beside, networks.replace(' ', "\n") + "\n").unwrap();
        fs::rename(beside, self.path(name)).unwrap();
        self.path(name).display().to_string()
    }

    pub(crate) fn database(&self, networks: &[(&str, &str)]) -> String {
        let networks: Vec<(IpNet, &str)> = networks
            .iter()
            .map(|(network, country)| (network.parse().unwrap(), *country))
            .collect();
        let path = self.path("countries.mmdb");
        fs::write(&path, written::database(written::Form::default(), &networks)).unwrap();
        path.display().to_string()
    }
}

/// An address of this host beside the one that others come from.
fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, number).into()
}

/// A connection from an address; `None` where it is closed before it is there.
fn connect(to: SocketAddr, from: IpAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).ok()?;
    let stream = TcpStream::from(socket);
    Http::prepare(&stream);
    Some(stream)
}

/// What is answered to bytes from an address, until the connection ends.
pub(crate) fn said(to: SocketAddr, from: IpAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Some(mut stream) = connect(to, from) {
        // Who is refused may be cut off while he asks.
        let _ = stream.write_all(bytes.as_ref()).and_then(|()| stream.read_to_end(&mut answer));
    }
    answer
}

/// The same for a request, with the connection closed after it.
fn page(to: SocketAddr, from: IpAddr, target: &str) -> Vec<u8> {
    said(to, from, format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"))
}

/// Announces over UDP from an address.
fn seed(tracker: &Tracker, from: IpAddr, torrent: [u8; 20], port: u16) {
    let mut client = Udp::at(tracker.udp(from), from);
    client.connect_again();
    client.announce(&Announce::seeder(torrent, port));
}

/// Whom a client at the usual address is told.
fn told(tracker: &Tracker, torrent: [u8; 20]) -> BTreeSet<SocketAddr> {
    let client = Udp::connect(tracker.udp(HOMES[0]));
    client.announce(&Announce::new(torrent, 9999)).peers
}

#[test]
fn e1_who_is_refused_gets_nothing_over_any_protocol() {
    let rules = Rules::new();
    let issued = issue(&["localhost"]);
    issued.write(rules.0.path(), "a");
    let tracker = Tracker::start(&format!(
        "{} --https 127.0.0.1:0 --screen-deny-list {} --full-scrape",
        Issued::options(rules.0.path(), "a"),
        rules.list("deny", "127.0.0.2 ::1 127.1.0.0/16"),
    ));
    let torrent = hash("a");
    for (refused, served) in [(host(2), host(3)), (HOMES[1], HOMES[0])] {
        let to = tracker.udp(refused);
        let socket = UdpSocket::bind((refused, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        let asked = Udp::connect(tracker.udp(served));
        for datagram in [
            asked.connect_request(),
            asked.announce_request(&Announce::new(torrent, 1)),
            asked.scrape_request(&[torrent]),
            vec![0; 3],
        ] {
            socket.send(&datagram).unwrap();
        }
        let http = tracker.http(refused);
        for target in [&announce(torrent, 1, ""), &scrape(&[torrent]), "/scrape", "/", "/nothing"] {
            assert_eq!(page(http, refused, target).escape_ascii().to_string(), "");
        }
        assert_eq!(said(http, refused, "nonsense\r\n\r\n"), b"");
    }
    assert_eq!(said(tracker.https(host(2)), host(2), [22, 3, 1, 0, 1]), b"");
    // Not even an alert, as others are told.
    assert_ne!(said(tracker.https(host(3)), host(3), "GET / HTTP/1.1\r\n\r\n"), b"");
    tracker.await_metric("margay_screened_total", &["rule=\"network\"", "country=\"none\""], 21.0);
    let line = tracker.logged("denied");
    assert_eq!((&line["address"], &line["rule"]), (&"127.0.0.2".into(), &"network".into()));
    // Others are served, and nobody has come.
    assert_eq!(told(&tracker, torrent), BTreeSet::new());
    let answer = page(tracker.http(host(3)), host(3), &announce(torrent, 1, "&left=0"));
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
}

#[test]
fn e2_the_control_listener_is_screened_but_for_this_machine() {
    let rules = Rules::new();
    let list = rules.list("deny", "127.0.0.0/8 ::1");
    let tracker = Tracker::start(&format!("--screen-deny-list {list}"));
    let control = tracker.control();
    assert_eq!(page(control, host(2), "/metrics"), b"");
    assert!(get(control, "/health").is_some());
    tracker.await_metric("margay_screened_total", &[], 1.0);
}

#[test]
fn e3_peers_that_a_new_rule_refuses_are_gone_and_told_to_nobody() {
    let (rules, data) = (Rules::new(), TempDir::new().unwrap());
    let list = rules.list("deny", "192.0.2.0/24");
    let args = format!("--cores 2 --screen-deny-list {list}");
    let mut tracker = Tracker::start_on(data.path(), &args);
    let torrents: Vec<_> = (0..50).map(|number| hash(&format!("torrent {number}"))).collect();
    for torrent in &torrents {
        [2, 3].into_iter().for_each(|number| seed(&tracker, host(number), *torrent, 7000));
        seed(&tracker, HOMES[1], *torrent, 7000);
    }
    // A swarm of many, of which half go.
    let crowd = hash("crowd");
    for from in [host(2), host(3)] {
        let mut client = Udp::at(tracker.udp(from), from);
        client.connect_again();
        let all: Vec<_> =
            (1000..1000 + CROWD as u16).map(|port| Announce::seeder(crowd, port)).collect();
        all.chunks(100).for_each(|some| client.announce_all(some));
    }
    let mut kept = connect(tracker.http(host(2)), host(2)).unwrap();
    kept.write_all(bare(&scrape(&torrents[..1])).as_bytes()).unwrap();
    assert!(kept.read(&mut [0; 4096]).unwrap() > 0);

    rules.list("deny", "127.0.0.2 ::1");
    tracker.signal(Signal::HUP);
    tracker.logged("rules about addresses read again");
    // From the moment on that the rules are in force, long before all are gone.
    let is_told_of_refused =
        || told(&tracker, crowd).iter().any(|peer| peer.ip() == host(2) || peer.ip() == HOMES[1]);
    patiently("the rules are in force", || (!is_told_of_refused()).then_some(()));
    assert!((0..50).all(|_| !is_told_of_refused()));
    let check = |tracker: &Tracker| {
        let scraped = || Udp::connect(tracker.udp(HOMES[0]));
        patiently("all that are refused are gone", || {
            let counts = scraped().scrape(&torrents);
            let crowd = scraped().scrape(&[crowd])[0][0];
            (counts.iter().all(|[seeders, ..]| *seeders == 1) && crowd == CROWD).then_some(())
        });
        for torrent in &torrents {
            assert_eq!(told(tracker, *torrent), BTreeSet::from([SocketAddr::new(host(3), 7000)]));
        }
    };
    check(&tracker);
    // A connection that was there before ends without an answer.
    let _ = kept.write_all(bare(&scrape(&torrents[..1])).as_bytes());
    let mut rest = Vec::new();
    let _ = kept.read_to_end(&mut rest);
    assert_eq!(rest, b"");

    // What a snapshot brings back goes again.
    rules.list("deny", "192.0.2.0/24");
    tracker.await_logged("rules about addresses read again", 2);
    torrents.iter().for_each(|torrent| seed(&tracker, host(2), *torrent, 7000));
    tracker.check_alive();
    tracker.stop();
    rules.list("deny", "127.0.0.2 ::1");
    check(&Tracker::start_on(data.path(), &args));
}

#[test]
fn e4_rules_with_a_mistake_leave_those_before_in_force() {
    let rules = Rules::new();
    let deny = rules.list("deny", "127.0.0.2");
    let mut tracker = Tracker::start(&format!("--screen-deny-list {deny}"));
    let health = || get(tracker.control(), "/health").unwrap();
    assert!(!health().contains("screening:"));
    rules.list("deny", "127.0.0.3 127.0.0.300");
    let line = tracker.logged("rules about addresses not read");
    assert!(
        line["error"].as_str().unwrap().contains("deny:2: \"127.0.0.300\" is no network"),
        "{line}"
    );
    assert!(health().contains("screening: rules not read again, those before are in force"));
    tracker.await_metric("margay_screening_reload_failures_total", &[], 1.0);
    assert_eq!(page(tracker.http(host(2)), host(2), "/"), b"");
    assert_ne!(page(tracker.http(host(3)), host(3), "/"), b"");
    rules.list("deny", "127.0.0.3");
    tracker.logged("rules about addresses read again");
    patiently("the new rules are in force", || {
        page(tracker.http(host(3)), host(3), "/").is_empty().then_some(())
    });
    assert_ne!(page(tracker.http(host(2)), host(2), "/"), b"");
    assert!(!health().contains("screening:"));
    tracker.await_metric("margay_screening_networks", &["list=\"deny\""], 1.0);
    tracker.check_alive();

    // At a start it is a mistake of the configuration.
    rules.list("deny", "nonsense");
    let data = TempDir::new().unwrap();
    let ended = Tracker::try_start_on(data.path(), &format!("--screen-deny-list {deny}"));
    let ended = ended.err().expect("it does not start");
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("deny:1: \"nonsense\" is no network"), "{}", ended.err);
}

#[test]
fn e5_rules_change_under_load_without_a_wrong_answer() {
    let rules = Rules::new();
    let deny = rules.list("deny", "127.0.0.2");
    let tracker = Tracker::start(&format!("--cores 2 --screen-deny-list {deny}"));
    let (torrent, is_over) = (hash("a"), AtomicBool::new(false));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut client = Udp::connect(tracker.udp(HOMES[0]));
            let mut asked = 0;
            while !is_over.load(Ordering::Relaxed) {
                client.connect_again();
                // Nobody who is refused has come in between two rules.
                let told = client.announce(&Announce::new(torrent, 1)).peers;
                assert!(told.iter().all(|peer| peer.ip() != host(2)), "{told:?}");
                assert_ne!(page(tracker.http(host(5)), host(5), &announce(torrent, 2, "")), b"");
                assert_eq!(page(tracker.http(host(2)), host(2), &announce(torrent, 3, "")), b"");
                asked += 1;
            }
            asked
        });
        let times = std::env::var("MARGAY_TEST_SWAPS").map_or(100, |times| times.parse().unwrap());
        for round in 1..=times {
            let others = ["127.0.0.2 127.0.0.4", "127.0.0.2 10.0.0.0/8 2001:db8::/32"][round % 2];
            rules.list("deny", others);
            tracker.signal(Signal::HUP);
            tracker.await_logged("rules about addresses read again", round);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(asking.join().unwrap() > 10);
    });
}

#[test]
fn e6_an_address_that_is_named_is_judged_too() {
    let rules = Rules::new();
    let database = rules.database(&[("5.0.0.0/8", "CU"), ("1.0.0.0/8", "US"), ("2a00::/16", "CU")]);
    let tracker = Tracker::start(&format!(
        "--ip-parameter --trusted-network 127.0.0.0/8 --screen-deny-country cu --screen-unknown defer \
         --screen-database {database} --screen-allow-list {}",
        rules.list("allow", "5.5.5.5"),
    ));
    let torrent = hash("a");
    let asked = |address: &str| {
        page(
            tracker.http(HOMES[0]),
            HOMES[0],
            &announce(torrent, 1, &format!("&left=0&ip={address}")),
        )
    };
    for refused in ["5.1.1.1", "2a00::1", "2002:501:101::1", "::ffff:5.1.1.1"] {
        assert_eq!(asked(refused).escape_ascii().to_string(), "", "{refused}");
    }
    for deferred in ["77.1.1.1", "2b00::1"] {
        let answer = http::fetch(
            tracker.http(HOMES[0]),
            announce(torrent, 1, &format!("&left=0&ip={deferred}")),
        )
        .dictionary();
        assert!(answer.find("failure reason").is_none());
        assert_eq!((counts(&answer)[..2].to_vec(), peers(&answer).len()), (vec![0, 0], 0));
        let interval = answer.integer("interval");
        assert!((60..=120).contains(&interval), "{interval}");
    }
    for served in ["1.1.1.1", "5.5.5.5"] {
        assert_ne!(asked(served), b"", "{served}");
    }
    assert_eq!(
        told(&tracker, torrent),
        ["1.1.1.1:1", "5.5.5.5:1"].map(|address| address.parse().unwrap()).into()
    );
    tracker.await_metric("margay_screened_total", &["rule=\"country\"", "country=\"CU\""], 4.0);
    tracker.await_metric("margay_screening_deferred_total", &[], 2.0);
}

#[test]
fn a_command_says_what_happens_and_why() {
    let rules = Rules::new();
    let database = rules.database(&[("5.0.0.0/8", "CU"), ("1.0.0.0/8", "US")]);
    let deny = rules.list("deny", "# ours 192.0.2.0/24".replace("# ours ", "").as_str());
    let screen = |options: &str, addresses: &str| {
        let mut command = margay();
        command.arg("screen").args(options.split_whitespace()).args(addresses.split_whitespace());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let options =
        format!("--screen-deny-country CU --screen-database {database} --screen-deny-list {deny}");
    let (code, out, _) = screen(&options, "1.1.1.1 10.0.0.1 77.0.0.1");
    let expected = "1.1.1.1: served: its country is US\n10.0.0.1: served: no rule is about it\n\
                    77.0.0.1: served: no database names its country\n";
    assert_eq!((code, out.as_str()), (Some(0), expected));
    let (code, out, err) = screen(&options, "5.1.1.1 192.0.2.7 2002:501:101::1 1.1.1.1");
    let expected = format!(
        "5.1.1.1: denied: its country is CU\n192.0.2.7: denied: network 192.0.2.0/24, {deny} line 1\n\
         2002:501:101::1 (stands for 5.1.1.1): denied: its country is CU\n\
         1.1.1.1: served: its country is US\n"
    );
    assert_eq!((code, out), (Some(1), expected));
    assert!(err.contains("3 of 4 are not served"), "{err}");
    // With countries to serve, who is nowhere is refused; another answer is taken where it is given.
    let options = format!("--screen-allow-country US --screen-database {database}");
    assert_eq!(screen(&options, "77.0.0.1").0, Some(1));
    let (code, out, _) = screen(&(options + " --screen-unknown defer"), "77.0.0.1");
    assert_eq!((code, out.contains("deferred")), (Some(1), true));
    // Unwise ones are found before anything is read.
    for (options, words) in [
        ("", "there are no rules about addresses"),
        ("--screen-deny-country CU", "need a screen-database"),
        (&format!("--screen-allow-list {deny}"), "excepts networks from other rules"),
        (
            &format!(
                "--screen-deny-country CU --screen-allow-country CU --screen-database {database}"
            ),
            "CU is both",
        ),
        (
            &format!("--screen-deny-country CU --screen-database {deny}"),
            "no database in MaxMind's format",
        ),
        ("--screen-deny-country CUB", "a country of two letters"),
    ] {
        let (code, _, err) = screen(options, "1.1.1.1");
        assert!(code == Some(2) && err.contains(words), "{options}: {code:?} {err}");
    }
}
