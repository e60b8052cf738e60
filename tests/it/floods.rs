//! Floods: how much a network and a service get, and who is not kept out by what others do.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::private::api::{Api, Said, margay};
use crate::tracker::bencode::Value;
use crate::tracker::http::{self, Http, announce, counts, peers, scrape, stream_from};
use crate::tracker::tls::{Issued, issue};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, Tracker, get, hash, patiently};

/// An address of this host beside the one that others come from.
pub(crate) fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, number).into()
}

/// A client over UDP from an address.
pub(crate) fn udp_from(tracker: &Tracker, from: IpAddr) -> Udp {
    let mut client = Udp::at(tracker.udp(from), from);
    client.connect_again();
    client
}

/// What is answered on a connection of its own, and has to succeed.
fn answer_from(to: SocketAddr, from: IpAddr, target: &str) -> Value {
    let mut client = Http::connect_from(from, to);
    client.send(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"));
    client.page().dictionary()
}

/// A success with nobody, after whose interval of one to two intervals there may be more.
#[track_caller]
fn check_turned_away(answer: &Value) {
    assert_eq!(answer.find("failure reason"), None);
    assert_eq!((counts(answer), peers(answer).len()), ([0; 3], 0));
    let interval = answer.integer("interval");
    assert!((1800..=3600).contains(&interval), "{interval}");
    assert_eq!(answer.integer("min interval"), interval);
}

#[test]
fn f1_a_network_that_asks_too_often_hears_nothing_over_udp_and_others_are_served() {
    let tracker = Tracker::start("--rate-requests 1/h:5 --rate-exempt 127.0.0.9/32");
    let torrent = hash("a");
    for home in HOMES {
        let client = udp_from(&tracker, home);
        for port in 1..=4 {
            client.announce(&Announce::new(torrent, port));
        }
        client.scrape(&[torrent]);
        client.check_silence(client.announce_request(&Announce::new(torrent, 9)));
        client.check_silence(client.announce_request(&Announce::new(torrent, 1).event(3)));
        client.check_silence(client.scrape_request(&[torrent]));
        // Another port is the same network, and a new id changes nothing.
        let other = udp_from(&tracker, home);
        other.check_silence(other.announce_request(&Announce::new(torrent, 10)));
    }
    let other = udp_from(&tracker, host(2));
    assert_eq!(other.announce(&Announce::new(torrent, 7)).leechers, 5);
    let exempt = udp_from(&tracker, host(9));
    (1..=20).for_each(|port| _ = exempt.announce(&Announce::new(torrent, port)));
    tracker.await_metric("margay_refusals_total", &["reason=\"rate\"", "protocol=\"udp\""], 8.0);
    let line = tracker.logged("too much comes from a network");
    assert_eq!((&line["network"], &line["what"]), (&"127.0.0.1/32".into(), &"requests".into()));
}

#[test]
fn f1_over_http_it_is_told_nobody_and_to_come_much_later() {
    let tracker = Tracker::start("--rate-requests 1/h:3 --rate-network-v4 24");
    let (torrent, to) = (hash("a"), tracker.http(HOMES[0]));
    let mut kept = Http::connect(to);
    for _ in 0..3 {
        let answer = kept.get(&announce(torrent, 1, "&left=0")).dictionary();
        assert_eq!(counts(&answer), [1, 0, 0]);
    }
    // The one too many ends a kept connection.
    check_turned_away(&kept.get(&announce(torrent, 1, "&left=0&event=stopped")).dictionary());
    kept.check_end();
    // So far and no further, for the whole network.
    check_turned_away(&answer_from(to, host(200), &announce(torrent, 2, "")));
    let scraped = answer_from(to, host(7), &scrape(&[torrent]));
    assert_eq!(scraped.get("files").entries().len(), 0);
    for page in ["/", "/nothing"] {
        let mut client = Http::connect(to);
        client.send(format!("GET {page} HTTP/1.1\r\n\r\n"));
        client.await_end();
    }
    let client = udp_from(&tracker, host(5));
    client.check_silence(client.announce_request(&Announce::new(torrent, 10)));
    // Nothing was changed by who was turned away.
    let other = Http::connect(tracker.http(HOMES[1])).get(&announce(torrent, 9, "")).dictionary();
    assert_eq!(counts(&other), [1, 1, 0]);
    tracker.await_metric("margay_refusals_total", &["reason=\"rate\"", "protocol=\"http\""], 5.0);
}

#[test]
fn f2_nobody_is_shut_out_by_who_asks_in_his_name() {
    let tracker = Tracker::start("--rate-requests 1/h:3");
    let torrent = hash("a");
    // Wrong ids, garbage and connects, as somebody sends them who forges the address.
    let forger = Udp::new(tracker.udp(HOMES[0]));
    for number in 0..200u64 {
        forger.check_silence(forger.announce_request(&Announce::new(torrent, 1)));
        forger.check_silence([number.to_be_bytes().as_slice(), &[7; 30]].concat());
    }
    let client = udp_from(&tracker, HOMES[0]);
    (1..=3).for_each(|port| _ = client.announce(&Announce::new(torrent, port)));
    client.check_silence(client.announce_request(&Announce::new(torrent, 4)));
    // And no more than that is junk, which the interval does not follow.
    tracker.await_metric("margay_interval_seconds", &[], 1800.0);
}

#[test]
fn f3_connections_that_are_too_many_are_closed_at_once() {
    let issued = issue(&["localhost"]);
    let data = TempDir::new().unwrap();
    issued.write(data.path(), "a");
    let tracker = Tracker::start(&format!(
        "--rate-connections 1/h:4 --https 127.0.0.1:0 {}",
        Issued::options(data.path(), "a")
    ));
    let (torrent, to) = (hash("a"), tracker.http(HOMES[0]));
    let mut kept = Http::connect(to);
    for _ in 0..3 {
        http::answer(to, announce(torrent, 1, ""));
    }
    for _ in 0..20 {
        // What a kept connection asks is no connection.
        assert_eq!(counts(&kept.get(&announce(torrent, 1, "")).dictionary())[1], 1);
    }
    for to in [to, tracker.https(HOMES[0])] {
        let mut refused = Http::on(stream_from(HOMES[0], to));
        let _ = refused.try_send("GET / HTTP/1.1\r\n\r\n");
        refused.await_end();
    }
    answer_from(to, host(2), &announce(torrent, 1, ""));
    let client = udp_from(&tracker, HOMES[0]);
    client.announce(&Announce::new(torrent, 10));
    tracker.await_metric("margay_refusals_total", &["reason=\"connection_rate\""], 2.0);
    assert_eq!(tracker.logged("too much comes from a network")["what"], "connections");
}

#[test]
fn f4_who_comes_through_a_proxy_counts_and_not_the_proxy() {
    let tracker = Tracker::start(
        "--rate-requests 1/h:2 --rate-connections 1/h:2 --trusted-proxy 127.0.0.1/32 --cores 1",
    );
    let torrent = hash("a");
    let asked = |client: &str, port| {
        let mut proxy = Http::connect(tracker.http(HOMES[0]));
        let target = announce(torrent, port, "");
        proxy.send(format!(
            "GET {target} HTTP/1.1\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"
        ));
        proxy.page().dictionary()
    };
    for client in ["5.0.0.1", "5.0.0.2", "2a00::1"] {
        assert!((1..=2).all(|port| counts(&asked(client, port))[1] > 0), "{client}");
        check_turned_away(&asked(client, 3));
    }
    check_turned_away(&asked("2a00::2", 3));
    // What the proxy asks by itself is not limited.
    for _ in 0..9 {
        assert_eq!(http::fetch(tracker.http(HOMES[0]), "/").status, 200);
    }
}

#[test]
fn f5_what_comes_beyond_the_bound_of_a_service_is_shed() {
    let tracker = Tracker::start("--shed-above udp4=20 --shed-above http4=5");
    let torrent = hash("a");
    let client = udp_from(&tracker, HOMES[0]);
    let all: u16 = 400;
    for port in 1..=all {
        client.send(&client.announce_request(&Announce::new(torrent, port)));
        if port % 50 == 0 {
            // So that no datagram is lost.
            let past = Udp::at(tracker.udp(HOMES[0]), HOMES[0]);
            past.ask(past.connect_request());
        }
    }
    tracker.logged("more comes than shed-above allows");
    let peers = |tracker: &Tracker| tracker.metric("margay_peers", &["family=\"ipv4\""]);
    patiently("all are counted", || {
        let shed = tracker.metric("margay_refusals_total", &["reason=\"shed\""]);
        (shed + peers(&tracker) == f64::from(all)).then_some(())
    });
    assert!((20.0..200.0).contains(&peers(&tracker)), "{}", peers(&tracker));
    assert_eq!(tracker.metric("margay_service_shedding", &["service=\"udp4\""]), 1.0);
    assert_eq!(tracker.metric("margay_service_shedding", &["service=\"udp6\""]), 0.0);
    assert!(get(tracker.control(), "/health").unwrap().contains("udp4: sheds load"));
    // The other family has a bound of its own, or none.
    udp_from(&tracker, HOMES[1]).announce(&Announce::new(torrent, 1));

    // Over HTTP the sixth within a second is told nobody; a listener lets in ten.
    let to = tracker.http(HOMES[0]);
    let shed = patiently("one is shed over HTTP", || {
        let mut kept = Http::connect(to);
        let mut answers = (0..6).map(|_| kept.get(&announce(torrent, 1, "")).dictionary());
        answers.find(|answer| counts(answer)[1] == 0)
    });
    check_turned_away(&shed);
    tracker.logged("load is no longer shed");
}

#[test]
fn f6_a_service_is_switched_off_and_on() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2");
    let api = Api::at(tracker.control(), data.path());
    let torrent = hash("a");
    let client = Udp::connect(tracker.udp(HOMES[0]));
    client.announce(&Announce::new(torrent, 1));
    let mut kept = Http::connect(tracker.http(HOMES[0]));
    assert_eq!(kept.get(&scrape(&[torrent])).status, 200);

    let place = format!("--control {} --data {}", tracker.control(), data.path().display());
    let service = |args: &str| margay(&[], &format!("service {args} {place}"));
    assert_eq!(service("").out, "udp4    on\nudp6    on\nhttp4   on\nhttp6   on\n");
    assert_eq!(service("udp4 off").out, "udp4    off\n");
    assert_eq!(service("http4 off").out, "http4   off\n");
    assert!(service("https4 off").err.contains("does not listen for"));
    for name in ["udp4", "http4"] {
        let line = format!("{name}: switched off");
        assert!(get(tracker.control(), "/health").unwrap().contains(&line));
        tracker.await_metric("margay_service_on", &[&format!("service=\"{name}\"")], 0.0);
    }
    // Silence over UDP. Over HTTP a connection waits, and a kept one ends.
    client.send(&client.announce_request(&Announce::new(torrent, 2)));
    let _ = kept.try_send(http::bare(&scrape(&[torrent])));
    kept.await_end();
    let mut waiting: TcpStream = stream_from(HOMES[0], tracker.http(HOMES[0]));
    waiting.write_all(http::bare("/").as_bytes()).unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let silence = waiting.read(&mut [0; 100]).unwrap_err().kind();
    assert_eq!(silence, std::io::ErrorKind::WouldBlock);
    // The others go on.
    let other = Udp::connect(tracker.udp(HOMES[1]));
    assert_eq!(other.announce(&Announce::new(torrent, 3)).leechers, 2);
    http::answer(tracker.http(HOMES[1]), scrape(&[torrent]));

    assert_eq!(service("udp4 on").out, "udp4    on\n");
    let on = api.done("PUT", "services/http4", json!({"on": true}));
    assert_eq!(on, json!({"service": "http4", "on": true, "shedding": false, "shed": 0}));
    // What was sent meanwhile is not answered any more.
    let late = Udp::connect(tracker.udp(HOMES[0]));
    assert_eq!(late.announce(&Announce::new(torrent, 4)).leechers, 3);
    // Who waits for a connection is served.
    waiting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(waiting.read(&mut [0; 100]).unwrap() > 0);
    assert!(!get(tracker.control(), "/health").unwrap().contains("switched off"));
    assert_eq!(api.refused("PUT", "services/udp4", json!({"on": "no"})).0, 400);
    assert_eq!(api.refused("PUT", "services/udp9", json!({"on": true})).1, "service_unknown");
    let audit = std::fs::read_dir(data.path()).unwrap().flatten();
    let audit =
        audit.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("audit-"));
    let text = std::fs::read_to_string(audit.unwrap()).unwrap();
    assert_eq!(text.matches("put_service").count(), 4, "{text}");
}

/// A tracker on a data folder, and how its commands are run.
struct Banning {
    data: TempDir,
    tracker: Tracker,
}

impl Banning {
    fn start(args: &str) -> Self {
        let data = TempDir::new().unwrap();
        let tracker = Tracker::start_on(data.path(), args);
        Self { data, tracker }
    }

    fn margay(&self, args: &str) -> Said {
        let (control, data) = (self.tracker.control(), self.data.path().display());
        margay(&[], &format!("{args} --control {control} --data {data}"))
    }

    fn bans(&self) -> String {
        self.margay("bans").out
    }

    /// What is answered to an announce over HTTP from an address; nothing where the connection is closed.
    fn asked(&self, from: IpAddr) -> Option<[i64; 3]> {
        let mut stream = stream_from(from, self.tracker.http(from));
        Http::prepare(&stream);
        let (target, mut answer) = (announce(hash("a"), 1, "&left=0"), Vec::new());
        let request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n");
        // Who is refused may be cut off while he asks.
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        Some(counts(&Value::read(&answer[body..])))
    }
}

#[test]
fn e7_who_is_banned_gets_nothing_until_the_ban_ends() {
    let banning = Banning::start("--cores 2");
    let (one, other) = (host(2), host(3));
    for from in [one, other, HOMES[1]] {
        assert!(banning.asked(from).is_some());
    }
    let banned = banning.margay("ban 127.0.0.2 ::1 --for 1h --reason a-flood");
    assert!(banned.out.contains("127.0.0.2          until 20") && banned.out.contains("a-flood"));
    assert_eq!((banning.asked(one), banning.asked(HOMES[1])), (None, None));
    let socket = std::net::UdpSocket::bind((one, 0)).unwrap();
    socket.connect(banning.tracker.udp(one)).unwrap();
    let client = Udp::connect(banning.tracker.udp(HOMES[0]));
    socket.send(&client.connect_request()).unwrap();
    banning.tracker.await_metric("margay_screened_total", &["rule=\"ban\""], 3.0);
    banning.tracker.await_metric("margay_screening_bans", &[], 2.0);
    // Peers of theirs leave.
    patiently("all who are banned are gone", || {
        (client.scrape(&[hash("a")])[0][0] == 1).then_some(())
    });
    // Also who is in a wider network, and the longer way of writing it.
    assert!(banning.margay("ban 127.0.0.0/24 --for 2s").out.starts_with("127.0.0.0/24"));
    assert_eq!(banning.asked(other), None);
    let unbanned = banning.margay("unban 127.0.0.2 ::1 10.9.9.9");
    assert!(
        unbanned.out.contains("127.0.0.2: banned no longer, but 127.0.0.0/24 is, which it is in")
            && unbanned.out.contains("10.9.9.9: was not banned"),
        "{}",
        unbanned.out
    );
    assert!(banning.asked(HOMES[1]).is_some());
    // It ends by itself.
    banning.tracker.logged("a ban is over");
    assert_eq!(banning.bans(), "");
    patiently("it is served again", || {
        banning.asked(one).filter(|_| banning.asked(other).is_some())
    });
    for (wrong, why) in [
        ("ban 0.0.0.0/0", "wider than a /8"),
        ("ban 1.2.3.4/24", "is 1.2.3.0/24 meant"),
        ("ban example.net", "no network"),
        ("ban 1.2.3.4 --for never", "a duration"),
    ] {
        let said = banning.margay(wrong);
        assert!(said.code != 0 && said.err.contains(why), "{wrong}: {}", said.err);
    }
}

#[test]
fn e7_bans_are_kept_over_a_restart_and_beside_other_rules() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "127.0.0.4\n").unwrap();
    let args = format!("--screen-deny-list {}", list.path().display());
    let banning = Banning::start(&args);
    banning.margay("ban 127.0.0.2");
    banning.margay("ban 127.0.0.9 --for 1s");
    let check = |banning: &Banning| {
        assert_eq!(banning.asked(host(2)), None);
        assert_eq!(banning.asked(host(4)), None);
        assert!(banning.asked(host(3)).is_some());
        assert!(banning.bans().starts_with("127.0.0.2          for ever"));
    };
    check(&banning);
    // The rules are read again, and bans stay.
    std::fs::write(list.path(), "127.0.0.4\n127.0.0.5\n").unwrap();
    banning.tracker.signal(rustix::process::Signal::HUP);
    banning.tracker.logged("rules about addresses read again");
    check(&banning);
    let screened = margay(
        &[],
        &format!("screen 127.0.0.2 127.0.0.5 --data {} {args}", banning.data.path().display()),
    );
    assert!(
        screened.out.contains("127.0.0.2: denied: banned for ever, network 127.0.0.2/32"),
        "{}",
        screened.out
    );
    let Banning { data, tracker } = banning;
    tracker.kill();
    let banning = Banning { tracker: Tracker::start_on(data.path(), &args), data };
    check(&banning);
    patiently("a short ban is over", || (!banning.bans().contains("127.0.0.9")).then_some(()));
    let Banning { data, tracker } = banning;
    tracker.stop();
    // Without other rules.
    let banning = Banning { tracker: Tracker::start_on(data.path(), ""), data };
    assert_eq!((banning.asked(host(2)), banning.asked(host(4)).is_some()), (None, true));
    let Banning { data, tracker } = banning;
    tracker.stop();
    // What is no file of bans is not written over.
    let path = data.path().join("bans.txt");
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, kept.replace("127.0.0.2", "127.0.0.x")).unwrap();
    let ended = Tracker::try_start_on(data.path(), "").err().expect("it does not start");
    assert!(ended.err.contains("bans.txt:2: this is no network"), "{}", ended.err);
    assert!(std::fs::read_to_string(&path).unwrap().contains("127.0.0.x"));
}

/// Ends a thread of a test in any case.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn f7_a_flood_of_junk_does_not_stretch_the_interval() {
    // So low that a flood is far beyond it on any machine.
    let tracker = Tracker::start("--load-target 5%");
    let (to, is_over) = (tracker.udp(HOMES[0]), AtomicBool::new(false));
    let interval = || tracker.metric("margay_interval_seconds", &[]);
    tracker.await_metric("margay_interval_seconds", &[], 1800.0);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            let forger = Udp::new(to);
            let announce = forger.announce_request(&Announce::new(hash("a"), 1));
            let junk = [forger.connect_request(), announce, vec![7; 40]];
            while !is_over.load(Ordering::Relaxed) {
                junk.iter().for_each(|datagram| forger.send(datagram));
            }
        });
        patiently("the core is busier than it is to be", || {
            assert_eq!(interval(), 1800.0);
            (tracker.metric("margay_core_busy_ratio", &[]) > 0.08).then_some(())
        });
        let datagrams = || tracker.metric("margay_udp_datagrams_total", &[]);
        let begin = datagrams();
        patiently("the flood goes on", || {
            assert_eq!(interval(), 1800.0);
            (datagrams() > begin + 50_000.0).then_some(())
        });
    });
    // Whoever is honest is told it.
    let answer = http::answer(tracker.http(HOMES[0]), announce(hash("a"), 1, ""));
    assert!((1620..=1980).contains(&answer.integer("interval")));
}
