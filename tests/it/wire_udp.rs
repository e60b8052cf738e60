//! Datagrams as clients send them (BEP 15, 41, 7, 21), over both families. A test is named after the
//! rule of `docs/wire.md` that it shows.

use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use margay::core::connection_id::ConnectionIds;
use shard::Seconds;

use crate::tracker::http::{self, answer};
use crate::tracker::udp::{
    Announce, COMPLETED, MAGIC, NONE, PAUSED, STARTED, STOPPED, Udp, scraped,
};
use crate::tracker::{HOMES, Tracker, at, hash, hex, patiently};

/// What a story is told about: a client of one family with a connection id, and a torrent nobody knows
/// yet.
struct Scene {
    tracker: SocketAddr,
    client: Udp,
    home: IpAddr,
    torrent: [u8; 20],
}

impl Scene {
    fn of(tracker: &Tracker, home: IpAddr) -> Self {
        let (tracker, torrent) = (tracker.udp(home), hash(&format!("a torrent of {home}")));
        Self { tracker, client: Udp::connect(tracker), home, torrent }
    }

    /// A first announce of the leecher on `port`.
    fn leecher(&self, port: u16) -> Announce {
        Announce::new(self.torrent, port)
    }

    fn seeder(&self, port: u16) -> Announce {
        Announce::seeder(self.torrent, port)
    }

    #[track_caller]
    fn check_scrape(&self, seeders_snatches_leechers: [u32; 3]) {
        assert_eq!(self.client.scrape(&[self.torrent]), [seeders_snatches_leechers]);
    }
}

/// Tells a story once for each family, on one tracker with one core, started with `args`.
fn on_both_families_with(args: &str, story: impl Fn(Scene)) {
    let tracker = Tracker::start(args);
    HOMES.into_iter().for_each(|home| story(Scene::of(&tracker, home)));
}

fn on_both_families(story: impl Fn(Scene)) {
    on_both_families_with("", story);
}

/// The ids of a tracker whose key is 32 times the byte 7.
fn known_ids() -> (String, ConnectionIds) {
    (format!("--connection-id-key {}", "07".repeat(32)), ConnectionIds::new(&[7; 32], Seconds(0)))
}

/// The time on the clock of this machine, moved by `offset` seconds.
fn clock(offset: i64) -> Seconds {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    Seconds((now + offset) as u32)
}

#[test]
fn c1_a_connect_has_16_bytes_or_more_and_the_magic() {
    on_both_families(|Scene { client, .. }| {
        let connect = client.connect_request();
        let reply = client.ask(&connect);
        assert_eq!((reply.len(), &reply[..4]), (16, &[0; 4][..]));
        for more in [1, 2, 82, 2000] {
            let reply = client.ask([client.connect_request(), vec![0xab; more]].concat());
            assert_eq!(reply.len(), 16, "with {more} more bytes");
        }
        for length in 0..16 {
            client.check_silence(&connect[..length]);
        }
        for bit in 0..64 {
            client.check_silence(client.request(MAGIC ^ 1 << bit, 0));
        }
    });
}

#[test]
fn c2_the_transaction_comes_back_and_unknown_actions_are_silence() {
    on_both_families(|scene| {
        let Scene { client, .. } = &scene;
        for transaction in [[0; 4], [0xff; 4], [0, 0, 0, 1], [1, 0, 0, 0], [0x80, 0xff, 0, 0x7f]] {
            let requests = [
                client.connect_request(),
                client.announce_request(&scene.leecher(1)),
                client.scrape_request(&[scene.torrent]),
            ];
            for mut request in requests {
                request[12..16].copy_from_slice(&transaction);
                assert_eq!(client.ask(&request)[4..8], transaction);
            }
        }
        for action in [3, 4, 5, 255, 0x0100_0000, 0x0200_0000, u32::MAX] {
            client.check_silence([client.request(client.id, action), vec![0; 100]].concat());
            client.check_silence(client.request(MAGIC, action));
        }
    });
}

#[test]
fn c3_an_id_is_bound_to_the_address_and_not_to_the_port() {
    on_both_families(|Scene { tracker, client, home, torrent }| {
        let mut rebound = Udp::new(tracker);
        rebound.id = client.id;
        rebound.announce(&Announce::new(torrent, 1));
        if home.is_ipv4() {
            let mut other = Udp::at(tracker, "127.0.0.2".parse().unwrap());
            other.id = client.id;
            other.check_silence(other.announce_request(&Announce::new(torrent, 2)));
            other.check_silence(other.scrape_request(&[torrent]));
            other.connect_again();
            assert_eq!(other.announce(&Announce::new(torrent, 2)).leechers, 2);
        }
    });
    // Nor is the id of one family good over the other.
    let tracker = Tracker::start("");
    let [v4, mut v6] = HOMES.map(|home| Udp::connect(tracker.udp(home)));
    v6.id = v4.id;
    v6.check_silence(v6.announce_request(&Announce::new(hash("c3"), 1)));
}

#[test]
fn c3_an_id_is_good_for_two_minutes_not_longer_and_not_before_its_time() {
    let (key, ids) = known_ids();
    on_both_families_with(&key, |Scene { mut client, home, torrent, .. }| {
        let announce = Announce::new(torrent, 1);
        for age in [0, 1, 60, 119, 120] {
            client.id = ids.issue(home, clock(-age));
            client.announce(&announce);
        }
        for age in [140, 200, 3600, 65_536, 65_536 + 60, -10, -60, -3600] {
            client.id = ids.issue(home, clock(-age));
            client.check_silence(client.announce_request(&announce));
            client.check_silence(client.scrape_request(&[torrent]));
        }
    });
}

#[test]
fn c3_an_id_cannot_be_guessed_or_changed() {
    on_both_families(|Scene { mut client, torrent, .. }| {
        let good = client.id;
        for bit in 0..64 {
            client.id = good ^ 1 << bit;
            client.check_silence(client.announce_request(&Announce::new(torrent, 1)));
        }
        for id in [0, 1, u64::MAX, MAGIC] {
            client.id = id;
            client.check_silence(client.announce_request(&Announce::new(torrent, 1)));
        }
        client.id = good;
        assert_eq!(client.announce(&Announce::new(torrent, 1)).leechers, 1);
    });
}

#[test]
fn c4_grace_is_for_clients_that_keep_ids() {
    let (key, ids) = known_ids();
    on_both_families_with(&format!("{key} --connection-id-grace 10m"), |scene| {
        let Scene { mut client, home, torrent, .. } = scene;
        client.id = ids.issue(home, clock(-700));
        client.announce(&Announce::new(torrent, 1));
        client.id = ids.issue(home, clock(-750));
        client.check_silence(client.announce_request(&Announce::new(torrent, 1)));
    });
}

#[test]
fn c5_an_error_is_action_3_with_a_text() {
    let folder = tempfile::TempDir::new().unwrap();
    let events = [NONE, STARTED, COMPLETED];
    let denied = events.map(|event| hash(&format!("denied {event}")));
    let list = folder.path().join("deny");
    std::fs::write(&list, denied.map(|denied| hex(&denied) + "\n").concat()).unwrap();
    on_both_families_with(
        &format!("--deny-list {}", list.display()),
        |Scene { client, .. }| {
            for (denied, event) in denied.into_iter().zip(events) {
                let request = client.announce_request(&Announce::new(denied, 1).event(event));
                let reply = client.ask(&request);
                assert_eq!(reply[..4], [0, 0, 0, 3]);
                let text = str::from_utf8(&reply[8..]).unwrap();
                assert_eq!(text, "Torrent not allowed on this tracker");
                assert!(reply.len() <= request.len());
            }
            // Some clients wait for the answer to `stopped` for more than a minute.
            let stops = client.announce_request(&Announce::new(denied[0], 1).event(STOPPED));
            assert_eq!(client.ask(&stops)[..4], [0, 0, 0, 1]);
            assert_eq!(client.scrape(&denied), [[0; 3]; 3]);
        },
    );
}

#[test]
fn c5_who_announces_again_at_each_error_is_told_once_a_second() {
    let folder = tempfile::TempDir::new().unwrap();
    let [denied, other] = ["denied", "other"].map(hash);
    let list = folder.path().join("deny");
    std::fs::write(&list, [denied, other].map(|denied| hex(&denied) + "\n").concat()).unwrap();
    let tracker = Tracker::start(&format!("--deny-list {}", list.display()));
    let at = tracker.udp(HOMES[0]);
    let (client, mut neighbour) = (Udp::connect(at), Udp::at(at, "127.0.0.2".parse().unwrap()));
    neighbour.connect_again();
    let (began, mut errors, asked) = (Instant::now(), 0, 3_000);
    for _ in 0..asked {
        client.send(&client.announce_request(&Announce::new(denied, 1)));
        let connect = client.connect_request();
        client.send(&connect);
        let mut reply = client.receive();
        if reply[4..8] != connect[12..16] {
            assert_eq!(reply[..4], [0, 0, 0, 3]);
            errors += 1;
            reply = client.receive();
        }
        assert_eq!(reply[4..8], connect[12..16]);
    }
    // One in each second that it took, and those at its ends are not whole.
    let seconds = began.elapsed().as_secs() + 2;
    assert!((1..=seconds).contains(&errors), "{errors} in {seconds} s");
    // What else it asks about, and who else asks, is told.
    for (client, torrent) in [(&client, other), (&neighbour, denied), (&neighbour, other)] {
        assert_eq!(
            client.ask(client.announce_request(&Announce::new(torrent, 1)))[..4],
            [0, 0, 0, 3]
        );
    }
    let withheld = (asked - errors) as f64;
    tracker.await_metric("margay_udp_errors_withheld_total", &["0"], withheld);
    tracker.await_metric("margay_refusals_total", &["udp", "ipv4", "torrent"], (asked + 3) as f64);
    // Silence is for a second: it is told again when it asks later.
    patiently("the next error", || {
        client.send(&client.announce_request(&Announce::new(denied, 1)));
        let connect = client.connect_request();
        client.send(&connect);
        let told = client.receive()[4..8] != connect[12..16];
        if told {
            client.receive();
        }
        told.then_some(())
    });
}

#[test]
fn c5_a_quiet_refusal_is_20_bytes_with_a_long_interval_and_nobody() {
    let folder = tempfile::TempDir::new().unwrap();
    let denied = hash("denied");
    let list = folder.path().join("deny");
    std::fs::write(&list, hex(&denied)).unwrap();
    let options = format!("--refusals quiet --deny-list {}", list.display());
    on_both_families_with(&options, |Scene { client, .. }| {
        let reply = client.ask(client.announce_request(&Announce::new(denied, 1)));
        assert_eq!((reply.len(), &reply[..4]), (20, &[0, 0, 0, 1][..]));
        assert_eq!(reply[8..], [5400_u32.to_be_bytes(), [0; 4], [0; 4]].concat());
    });
}

#[test]
fn c6_who_has_not_shown_its_address_gets_no_more_than_it_sent() {
    on_both_families(|scene| {
        for port in 1..=50 {
            scene.client.announce(&scene.seeder(port));
        }
        let mut stranger = Udp::new(scene.tracker);
        stranger.id = 0x1234_5678_9abc_def0;
        stranger.check_silence(stranger.announce_request(&scene.leecher(99)));
        stranger.check_silence(stranger.scrape_request(&[scene.torrent; 74]));
        assert_eq!(stranger.ask(stranger.connect_request()).len(), 16);
        // A stranger changes nothing either.
        scene.check_scrape([50, 0, 0]);
    });
}

#[test]
fn c7_an_announce_has_98_bytes_and_its_fields_in_place() {
    on_both_families(|scene| {
        let whole = scene.client.announce_request(&scene.leecher(1));
        for length in 16..98 {
            scene.client.check_silence(&whole[..length]);
        }
        scene.check_scrape([0, 0, 0]);
        // `left` stands between `downloaded` and `uploaded`.
        let story = [
            (Announce { downloaded: 9, left: 0, uploaded: 9, ..scene.leecher(2) }, [1, 0, 0]),
            (Announce { downloaded: 0, left: 9, uploaded: 0, ..scene.leecher(3) }, [1, 0, 1]),
            (Announce { left: u64::MAX, ..scene.leecher(4) }, [1, 0, 2]),
            (Announce { left: i64::MAX as u64, ..scene.leecher(5) }, [1, 0, 3]),
            (scene.seeder(5).event(COMPLETED), [2, 1, 2]),
            (scene.seeder(5).event(COMPLETED), [2, 1, 2]),
            (scene.leecher(6).event(COMPLETED), [2, 1, 3]),
            (scene.leecher(6).event(PAUSED), [2, 1, 3]),
            (scene.leecher(6).event(STOPPED), [2, 1, 2]),
            (scene.leecher(6).event(5), [2, 1, 3]),
            (scene.leecher(7).event(u32::MAX), [2, 1, 4]),
            (scene.leecher(8).event(0x0300_0000), [2, 1, 5]),
            (scene.leecher(9).event(NONE), [2, 1, 6]),
        ];
        for (step, (announce, expected)) in story.into_iter().enumerate() {
            scene.client.announce(&announce);
            assert_eq!(scene.client.scrape(&[scene.torrent]), [expected], "step {step}");
        }
    });
}

#[test]
fn c7_paused_is_a_leecher_that_is_no_downloader() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let scene = Scene::of(&tracker, home);
        scene.client.announce(&scene.leecher(1).event(PAUSED));
        scene.client.announce(&scene.leecher(2));
        let told = answer(tracker.http(home), http::scrape(&[scene.torrent]));
        let file = told.get("files").get(scene.torrent);
        assert_eq!((http::counts(file), file.integer("downloaders")), ([0, 2, 0], 1));
        // A leecher is told of it: it has something to give.
        assert_eq!(scene.client.announce(&scene.leecher(2)).peers, at(home, [1]));
    }
}

#[test]
fn c8_num_want_is_signed_and_bounded() {
    on_both_families(|scene| {
        for port in 1..=60 {
            scene.client.announce(&Announce { numwant: 0, ..scene.seeder(port) });
        }
        for (numwant, expected) in [
            (-1, 50),
            (i32::MIN, 50),
            (0, 0),
            (1, 1),
            (50, 50),
            (51, 50),
            (200, 50),
            (i32::MAX, 50),
        ] {
            let announced = scene.client.announce(&Announce { numwant, ..scene.leecher(99) });
            assert_eq!(announced.peers.len(), expected, "num_want {numwant}");
        }
    });
}

#[test]
fn c8_no_reply_is_larger_than_every_path_carries() {
    on_both_families_with("--numwant-max 1000 --numwant-default 1000", |scene| {
        for port in 1..=300 {
            scene.client.announce(&Announce { numwant: 0, ..scene.seeder(port) });
        }
        for numwant in [-1, 202, 203, 1000, i32::MAX] {
            let request =
                scene.client.announce_request(&Announce { numwant, ..scene.leecher(999) });
            let reply = scene.client.ask(request);
            assert!(reply.len() <= 1232, "{} bytes", reply.len());
            let fit = if scene.home.is_ipv4() { 202 } else { 67 };
            assert_eq!(scene.client.announced(&reply).peers.len(), fit);
        }
    });
}

#[test]
fn c9_families_are_not_mixed_and_the_address_field_is_ignored() {
    let tracker = Tracker::start("");
    let torrent = hash("mixed");
    for home in HOMES {
        let client = Udp::connect(tracker.udp(home));
        for port in 1..=3 {
            let address = Announce { ip: [203, 0, 113, 9], ..Announce::seeder(torrent, port) };
            client.announce(&address);
        }
    }
    for home in HOMES {
        let client = Udp::connect(tracker.udp(home));
        let announced = client.announce(&Announce::new(torrent, 9));
        // Clients of both families are counted, those of one are handed out. One peer id from two
        // addresses is one client.
        assert_eq!((announced.seeders, announced.peers), (3, at(home, 1..=3)));
    }
}

#[test]
fn c10_the_reply_has_leechers_before_seeders() {
    on_both_families(|scene| {
        for port in 1..=3 {
            scene.client.announce(&scene.seeder(port));
        }
        let request = scene.client.announce_request(&scene.leecher(0x1AE1));
        let reply = scene.client.ask(&request);
        assert_eq!(reply[..4], [0, 0, 0, 1]);
        assert_eq!(reply[4..8], request[12..16]);
        let interval = u32::from_be_bytes(reply[8..12].try_into().unwrap());
        assert!((1620..=1980).contains(&interval), "{interval}");
        assert_eq!(reply[12..20], [0, 0, 0, 1, 0, 0, 0, 3]);
        // The endpoint in network order.
        let reply = scene.client.ask(scene.client.announce_request(&scene.seeder(1)));
        let address = match scene.home {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        assert_eq!(reply[20..], [&address[..], &[0x1A, 0xE1]].concat());
    });
}

#[test]
fn c11_stopped_is_answered_in_20_bytes_and_the_peer_is_gone() {
    on_both_families(|scene| {
        for port in 1..=5 {
            scene.client.announce(&scene.seeder(port));
        }
        for (port, remaining) in [(1, 4), (1, 4), (77, 4), (0, 4), (2, 3)] {
            let stop = Announce { numwant: 50, ..scene.leecher(port).event(STOPPED) };
            let reply = scene.client.ask(scene.client.announce_request(&stop));
            assert_eq!(reply.len(), 20, "port {port}");
            assert_eq!(scene.client.announced(&reply).seeders, remaining, "port {port}");
        }
        let announced = scene.client.announce(&scene.leecher(9));
        assert_eq!(announced.peers, at(scene.home, 3..=5));
    });
}

#[test]
fn c11_a_peer_without_a_port_counts_and_is_not_handed_out() {
    on_both_families(|scene| {
        scene.client.announce(&scene.seeder(0));
        let announced = scene.client.announce(&scene.leecher(1));
        assert_eq!((announced.seeders, announced.peers.len()), (1, 0));
    });
}

#[test]
fn c12_no_options_fail_an_announce() {
    on_both_families(|scene| {
        let mut random = fastrand::Rng::with_seed(12);
        let mut garbage = || (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        let mut options: Vec<Vec<u8>> = vec![
            vec![0],
            vec![1, 1, 1],
            b"\x02\x09/announce".to_vec(),
            b"\x02\x09/announce\x00".to_vec(),
            b"\x02\x05/0123\x02\x09/announce".to_vec(),
            b"\x02".to_vec(),
            b"\x02\xff/short".to_vec(),
            b"\x7f\x03abc\x02\x02/a".to_vec(),
            b"\xff\xff".to_vec(),
            vec![2; 1400],
        ];
        options.extend((0..200).map(|_| garbage()));
        for (number, options) in options.into_iter().enumerate() {
            let announce = Announce { options, numwant: 0, ..scene.seeder(number as u16 + 1) };
            let announced = scene.client.announce(&announce);
            assert_eq!(announced.seeders, number as u32 + 1, "{:?}", announce.options);
        }
    });
}

#[test]
fn c13_a_scrape_of_up_to_74_is_answered_in_its_order() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let client = Udp::connect(tracker.udp(home));
        let torrents: Vec<[u8; 20]> =
            (0..80).map(|number| hash(&format!("c13 {number} {home}"))).collect();
        let mut expected = Vec::new();
        for (number, torrent) in torrents.iter().enumerate() {
            let [seeders, snatches, leechers] = [number % 3, number % 2, number % 5];
            for port in 0..seeders {
                let number = port as u16 + 1;
                if port < snatches {
                    client.announce(&Announce::new(*torrent, number));
                }
                client.announce(&Announce::seeder(*torrent, number).event(COMPLETED));
            }
            for port in 0..leechers {
                client.announce(&Announce::new(*torrent, port as u16 + 100));
            }
            expected.push([seeders, snatches.min(seeders), leechers].map(|count| count as u32));
        }
        for asked in [1, 2, 3, 10, 73, 74] {
            let reply = client.ask(client.scrape_request(&torrents[..asked]));
            assert_eq!(reply.len(), 8 + 12 * asked);
            assert_eq!(scraped(&reply), expected[..asked]);
        }
        for asked in [75, 76, 80] {
            assert_eq!(client.scrape(&torrents[..asked]), expected[..74], "of {asked}");
        }
        client.check_silence(client.scrape_request(&[]));
        for trailing in [1, 19] {
            let request = client.scrape_request(&torrents[..2]);
            let reply = client.ask([request, vec![9; trailing]].concat());
            assert_eq!(scraped(&reply), expected[..2]);
            let request = client.scrape_request(&[]);
            client.check_silence([request, vec![9; trailing]].concat());
        }
        let unknown = hash("nobody");
        let backwards = [torrents[4], unknown, torrents[1], torrents[4]];
        assert_eq!(client.scrape(&backwards), [expected[4], [0; 3], expected[1], expected[4]]);
    }
}

#[test]
fn c14_a_reply_leaves_from_the_address_that_was_asked() {
    for args in ["--cores 1", "--cores 2", "--cores 2 --no-steering"] {
        let tracker = Tracker::start(&format!("{args} --udp 0.0.0.0:0,[::]:0"));
        let port = tracker.udp(HOMES[0]).port();
        for asked in ["127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"] {
            let asked: IpAddr = asked.parse().unwrap();
            let port = if asked.is_ipv4() { port } else { tracker.udp(HOMES[1]).port() };
            // A client takes only what comes from the address that it asked.
            let client = Udp::connect(SocketAddr::new(asked, port));
            let torrents: Vec<[u8; 20]> =
                (0..8).map(|number| hash(&format!("c14 {number}"))).collect();
            for torrent in &torrents {
                client.announce(&Announce::new(*torrent, 1));
            }
            assert_eq!(client.scrape(&torrents), [[0, 0, 1]; 8], "{args} {asked}");
        }
    }
}

#[test]
fn c15_a_request_sent_again_changes_nothing() {
    on_both_families(|scene| {
        scene.client.announce(&scene.leecher(1));
        scene.client.announce(&scene.leecher(2));
        let completed = scene.client.announce_request(&scene.seeder(2).event(COMPLETED));
        let stopped = scene.client.announce_request(&scene.leecher(1).event(STOPPED));
        for (request, expected) in [(completed, [1, 1, 1]), (stopped, [1, 1, 0])] {
            for _ in 0..4 {
                scene.client.ask(&request);
                scene.check_scrape(expected);
            }
        }
    });
}

#[test]
fn c16_connection_ids_survive_a_restart_and_nodes_can_share_them() {
    let data = tempfile::TempDir::new().unwrap();
    let announce = Announce::new(hash("c16"), 1);
    let tracker = Tracker::start_on(data.path(), "");
    let ids = HOMES.map(|home| Udp::connect(tracker.udp(home)).id);
    tracker.stop();
    let ask = |tracker: &Tracker, good: bool| {
        for (home, id) in HOMES.into_iter().zip(ids) {
            let mut client = Udp::new(tracker.udp(home));
            client.id = id;
            if good {
                client.announce(&announce);
            } else {
                client.check_silence(client.announce_request(&announce));
            }
        }
    };
    ask(&Tracker::start_on(data.path(), ""), true);
    // Another tracker with a key of its own, and one that is given this one's.
    ask(&Tracker::start(""), false);
    let key = data.path().join("connection-id.key");
    ask(&Tracker::start(&format!("--connection-id-key-file {}", key.display())), true);
    let key = std::fs::read_to_string(key).unwrap();
    ask(&Tracker::start(&format!("--connection-id-key {}", key.trim())), true);
}

#[test]
fn a_silent_peer_leaves_and_one_that_comes_back_stays() {
    let args = "TEST_SHORT_INTERVALS=1 --interval 1s --interval-min 1s --interval-max 1s --interval-jitter 0%";
    on_both_families_with(&format!("{args} --peer-timeout 2s"), |scene| {
        scene.client.announce(&scene.seeder(1));
        let regular = scene.leecher(2).event(NONE);
        patiently("the silent one to leave", || {
            let told = scene.client.announce(&regular);
            assert_eq!(told.leechers, 1);
            (told.seeders == 0 && told.peers.is_empty()).then_some(())
        });
        scene.check_scrape([0, 0, 1]);
    });
}
