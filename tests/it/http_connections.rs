//! HTTP as clients, and those who are none, really speak it (rule A30 of `docs/wire.md`): requests in
//! pieces, in heaps, too large, too slow, and no requests at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::tracker::http::{
    Http, Page, announce, answer, bare, counts, fetch, peers, scrape, scraped,
};
use crate::tracker::{HOMES, PATIENCE, Tracker, at, hash};

/// Runs a story once for each family, on one tracker started with `args`.
fn on_both_families_with(args: &str, story: impl Fn(&Tracker, SocketAddr)) {
    let mut tracker = Tracker::start(args);
    HOMES.into_iter().for_each(|home| story(&tracker, tracker.http(home)));
    tracker.check_alive();
}

fn on_both_families(story: impl Fn(SocketAddr)) {
    on_both_families_with("", |_, tracker| story(tracker));
}

/// A torrent that only this client of the tracker knows.
fn own_torrent(tracker: SocketAddr) -> [u8; 20] {
    hash(&format!("a torrent of {}", tracker.ip()))
}

/// The reply that a client gets who sends `request`, after which the connection must end in order: a
/// reset could destroy the reply on its way.
#[track_caller]
fn last_reply(tracker: SocketAddr, request: &[u8]) -> Page {
    let mut client = Http::connect(tracker);
    // The tracker may have seen enough before all is sent.
    let _ = client.try_send(request);
    let page = client.page();
    client.check_end();
    page
}

#[test]
fn a30_a_request_may_come_byte_by_byte() {
    on_both_families_with("--cores 2", |_, tracker| {
        // Both cores have one of the torrents, so one of the connections travels.
        for torrent in [[0, 0, 0, 0], [0, 0, 0, 1]].map(|start| [&start[..], &[7; 16]].concat()) {
            let torrent: [u8; 20] = torrent.try_into().unwrap();
            let mut client = Http::connect(tracker);
            for target in [announce(torrent, 1, "&left=5"), scrape(&[torrent])] {
                for byte in
                    format!("GET {target} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").bytes()
                {
                    client.send([byte]);
                }
                client.page().dictionary();
            }
            assert_eq!(scraped(tracker, torrent), [0, 1, 0]);
        }
    });
}

#[test]
fn a30_fifty_requests_at_once_are_answered_in_order() {
    on_both_families(|tracker| {
        let torrent = own_torrent(tracker);
        let mut client = Http::connect(tracker);
        let mut requests = String::new();
        for port in 1..=50 {
            requests += &bare(&announce(torrent, port, "&left=5&numwant=0"));
            if port % 10 == 0 {
                requests += "\r\n\n";
                requests += &bare(&scrape(&[torrent]));
                requests += &bare("/nowhere");
            }
        }
        client.send(&requests);
        for port in 1..=50 {
            assert_eq!(counts(&client.page().dictionary()), [0, port, 0]);
            if port % 10 == 0 {
                let told = client.page().dictionary();
                assert_eq!(counts(told.get("files").get(torrent)), [0, port, 0]);
                assert_eq!(client.page().status, 404);
            }
        }
        // And in pieces that are no requests.
        for piece in requests.as_bytes().chunks(1009) {
            client.send(piece);
        }
        client.finish();
        for _ in 0..60 {
            client.page();
        }
        client.check_end();
    });
}

#[test]
fn a30_the_connection_stays_as_long_as_the_client_wants() {
    on_both_families(|tracker| {
        for (version, headers, stays) in [
            ("1.1", "", true),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.1", "connection: Upgrade, Keep-Alive\r\n", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "CONNECTION:close\r\n", false),
            ("1.1", "Connection: keep-alive, close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: close\r\n", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let mut client = Http::connect(tracker);
            for _ in 0..3 {
                client.send(format!("GET /scrape?info_hash=x HTTP/{version}\r\n{headers}\r\n"));
                let page = client.page();
                let said = page.header("connection");
                let named = (version == "1.0").then_some("keep-alive");
                assert_eq!(said, if stays { named } else { Some("close") }, "{version} {headers}");
                assert_eq!(page.header("content-length"), Some(&*page.body.len().to_string()));
                if !stays {
                    client.check_end();
                    break;
                }
            }
        }
    });
    on_both_families_with("--no-http-keep-alive", |_, tracker| {
        let page = last_reply(tracker, bare("/").as_bytes());
        assert_eq!(page.header("connection"), Some("close"));
    });
}

#[test]
fn a30_headers_may_be_many_odd_or_none() {
    on_both_families(|tracker| {
        let torrent = own_torrent(tracker);
        let target = announce(torrent, 1, "&left=0");
        let many: String =
            (0..100).map(|number| format!("X-Header-{number}: {number}\r\n")).collect();
        let mut client = Http::connect(tracker);
        for headers in [
            "",
            "Host: \r\n",
            "hOsT: tracker\r\nuser-AGENT: x/1\r\naccept-ENCODING: gzip\r\n",
            "Want-Digest: SHA-512;q=1, SHA-256;q=1, SHA;q=0.1\r\n",
            "no colon\r\n: no name\r\n\u{e9}: \u{e9}\r\n folded\r\n",
            "X:\u{0}\u{1}\r\n",
            &many,
        ] {
            client.send(format!("GET {target} HTTP/1.1\r\n{headers}\r\n"));
            assert_eq!(counts(&client.page().dictionary()), [1, 0, 0], "{headers}");
            client.send(format!("GET {target} HTTP/1.1\n{}\n", headers.replace("\r\n", "\n")));
            assert_eq!(counts(&client.page().dictionary()), [1, 0, 0], "LF only, {headers}");
        }
    });
}

#[test]
fn a30_the_target_may_be_absolute() {
    on_both_families(|tracker| {
        let torrent = own_torrent(tracker);
        let target = announce(torrent, 1, "&left=0");
        let mut client = Http::connect(tracker);
        for start in ["http://tracker", "HTTP://tracker:6969", "https://[::1]:1", "http://"] {
            let told = client.get(&format!("{start}{target}")).dictionary();
            assert_eq!(counts(&told), [1, 0, 0], "{start}");
        }
    });
}

#[test]
fn a30_head_is_answered_without_the_body() {
    on_both_families(|tracker| {
        let mut client = Http::connect(tracker);
        for target in ["/", "/announce", "/nowhere"] {
            client.send(format!("HEAD {target} HTTP/1.1\r\n\r\n"));
            let head = client.try_page(false).unwrap();
            let whole = client.get(target);
            assert_eq!(head.status, whole.status);
            assert_eq!(head.header("content-length"), whole.header("content-length"));
        }
    });
}

#[test]
fn a30_a_request_over_8_kib_is_told_so() {
    on_both_families_with("", |tracker, address| {
        let fits = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(8192 - 18));
        assert_eq!(fits.len(), 8192);
        let mut client = Http::connect(address);
        client.send(&fits);
        assert_eq!(client.page().status, 404, "{} bytes fit", fits.len());

        let before = tracker.metric("margay_refusals_total", &["too_large"]);
        let long_line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(bytes));
        let many = |bytes: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(bytes / 6));
        let mut sent = 0.0;
        for bytes in [8192, 9000, 20_000, 200_000] {
            for request in [long_line(bytes), many(bytes)] {
                let reason = last_reply(address, request.as_bytes()).failure();
                assert_eq!(reason, "Request is larger than 8 KiB", "{bytes}");
                sent += 1.0;
            }
        }
        tracker.await_metric("margay_refusals_total", &["too_large"], before + sent);
    });
}

#[test]
fn a30_what_is_no_request_gets_a_reply() {
    let body = "x".repeat(3000);
    let requests = [
        ("\u{13}BitTorrent protocol\0\0\0\0", "Request is neither GET nor HEAD"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}", "Request is neither GET nor HEAD"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Request is neither GET nor HEAD"),
        ("GEX", "Request is neither GET nor HEAD"),
        ("get / HTTP/1.1\r\n\r\n", "Request is neither GET nor HEAD"),
        (
            &format!("POST / HTTP/1.1\r\nContent-Length: 3000\r\n\r\n{body}"),
            "Request is neither GET nor HEAD",
        ),
        ("GET /\r\n\r\n", "Request is not HTTP/1.0 or HTTP/1.1"),
        ("GET / HTTP/2.0\r\n\r\n", "Request is not HTTP/1.0 or HTTP/1.1"),
        ("GET / HTTP/1.1 x\r\n\r\n", "Request is not HTTP/1.0 or HTTP/1.1"),
        ("GET \r\n", "Request is not HTTP/1.0 or HTTP/1.1"),
        ("GET x HTTP/1.1\r\n\r\n", "Request has no valid target"),
        ("GET ftp://x/ HTTP/1.1\r\n\r\n", "Request has no valid target"),
        ("GET * HTTP/1.1\r\n\r\n", "Request has no valid target"),
    ];
    on_both_families(|tracker| {
        for (request, reason) in &requests {
            assert_eq!(last_reply(tracker, request.as_bytes()).failure(), *reason, "{request}");
            // Requests before it have their answers; what comes after it has none.
            let mut client = Http::connect(tracker);
            client.send([&bare("/"), *request, &bare("/")].concat());
            assert_eq!(client.page().status, 200);
            assert_eq!(client.page().failure(), *reason);
            client.check_end();
        }
    });
}

#[test]
fn a30_random_bytes_do_no_harm() {
    on_both_families(|tracker| {
        let mut random = fastrand::Rng::with_seed(30);
        for _ in 0..200 {
            let mut client = Http::connect(tracker);
            let mut bytes: Vec<u8> = (0..random.usize(1..3000)).map(|_| random.u8(..)).collect();
            if random.bool() {
                bytes.splice(0..0, *b"GET /announce?info_hash=");
            }
            let _ = client.try_send(&bytes);
            client.finish();
            client.await_end();
        }
        assert_eq!(fetch(tracker, "/").status, 200);
    });
}

#[test]
fn a30_a_body_is_not_taken_for_a_request() {
    on_both_families(|tracker| {
        let torrent = own_torrent(tracker);
        let smuggled = bare(&announce(torrent, 1, "&left=0"));
        for header in [format!("Content-Length: {}", smuggled.len()), "Transfer-Encoding: x".into()]
        {
            let request = format!("GET / HTTP/1.1\r\n{header}\r\n\r\n{smuggled}");
            assert_eq!(last_reply(tracker, request.as_bytes()).status, 200);
        }
        assert_eq!(scraped(tracker, torrent), [0, 0, 0]);
    });
}

#[test]
fn a30_a_body_that_comes_after_the_reply_does_not_cost_the_reply() {
    on_both_families_with("--cores 2", |_, tracker| {
        // Both cores have one of the torrents, so one of the connections travels.
        let torrents = [[0; 20], [0, 0, 0, 1].repeat(5).try_into().unwrap()];
        let targets = torrents.map(|torrent| announce(torrent, 1, "&left=5"));
        for target in targets.iter().chain(&["/".to_owned(), scrape(&torrents)]) {
            for header in ["Content-Length: 9000", "Transfer-Encoding: chunked"] {
                let mut client = Http::connect(tracker);
                client.send(format!("GET {target} HTTP/1.1\r\n{header}\r\n\r\n"));
                client.await_bytes();
                for _ in 0..3 {
                    client.send([b'x'; 3000]);
                }
                assert_eq!(client.page().status, 200);
                client.check_end();
            }
        }
    });
}

#[test]
fn a30_a_slow_request_is_cut_off_whatever_trickles() {
    let args = "--http-header-timeout 1s --http-idle-timeout 1h --http-request-timeout 1h";
    on_both_families_with(args, |tracker, address| {
        let before = tracker.metric("margay_refusals_total", &["timeout"]);
        for start in ["G", "GET /announce?x=", "GET / HTTP/1.1\r\nX: ", &bare("/")] {
            let mut client = Http::connect(address);
            client.send(start);
            let deadline = Instant::now() + PATIENCE;
            // A byte now and then; the last start has a whole request before it.
            while client.try_send("x").is_ok() {
                assert!(Instant::now() < deadline, "still open after {start}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // One that never says anything.
        Http::connect(address).await_end();
        tracker.await_metric("margay_refusals_total", &["timeout"], before + 5.0);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
    });
}

#[test]
fn a30_an_idle_connection_ends() {
    on_both_families_with("--http-idle-timeout 1s", |_, tracker| {
        let mut client = Http::connect(tracker);
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200);
        }
        client.check_end();
    });
}

#[test]
fn a30_connections_are_bounded_and_the_others_go_on() {
    on_both_families_with("--http-connections-max 4", |tracker, address| {
        let before = tracker.metric("margay_refusals_total", &["connections"]);
        let mut held: Vec<Http> = (0..4).map(|_| Http::connect(address)).collect();
        for client in &mut held {
            assert_eq!(client.get("/").status, 200);
        }
        for more in 1..=3 {
            let mut client = Http::connect(address);
            client.send("GET /announce");
            client.await_end();
            // Who does not want to stay is answered as ever.
            let told = answer(address, announce(own_torrent(address), more, "&left=5"));
            assert_eq!(counts(&told), [0, i64::from(more), 0]);
        }
        tracker.await_metric("margay_refusals_total", &["connections"], before + 3.0);
        tracker.await_metric("margay_http_connections_open", &[], 4.0);
        for client in &mut held {
            assert_eq!(client.get("/").status, 200, "those who are there stay");
        }
        drop(held);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
        let mut client = Http::connect(address);
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200, "a place is free again");
        }
    });
}

#[test]
fn a30_a_client_that_has_closed_its_half_is_answered() {
    on_both_families_with("--cores 2", |_, tracker| {
        let torrents = [[0; 20], [1; 20], [0, 0, 0, 1].repeat(5).try_into().unwrap()];
        for torrent in torrents {
            let mut client = Http::connect(tracker);
            client.send(bare(&announce(torrent, 1, "&left=5")) + &bare(&scrape(&torrents)));
            client.finish();
            client.page().dictionary();
            client.page().dictionary();
            client.check_end();
        }
        // One that leaves within a request gets nothing, and takes nothing with it.
        let mut client = Http::connect(tracker);
        client.send("GET /announce?info_hash=");
        client.finish();
        client.check_end();
    });
}

#[test]
fn a30_a_client_that_never_reads_is_cut_off() {
    on_both_families_with(
        "--http-request-timeout 1s --http-header-timeout 1s",
        |tracker, address| {
            let torrents: Vec<[u8; 20]> = (0..64).map(|number| hash(&number.to_string())).collect();
            let request = bare(&scrape(&torrents));
            let mut client = Http::connect(address);
            let deadline = Instant::now() + PATIENCE;
            while client.try_send(&request).is_ok() {
                assert!(Instant::now() < deadline, "the tracker goes on answering");
            }
            tracker.await_metric("margay_http_connections_open", &[], 0.0);
            assert!(tracker.metric("margay_refusals_total", &["timeout"]) >= 1.0);
            let told = answer(address, announce(own_torrent(address), 1, "&left=5"));
            assert_eq!(peers(&told), at(address.ip(), []));
        },
    );
}

#[test]
fn a30_thousands_of_connections_wait_at_once() {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).unwrap();
    // Both ends of the connections need a file each, in processes of their own.
    let many = limits.maximum.map_or(3000, |most| most.saturating_sub(1024).min(3000)) as u16;
    // On a slow machine the last ones wait for long.
    let time = "--http-header-timeout 10m --http-request-timeout 10m --http-idle-timeout 10m";
    on_both_families_with(&format!("--cores 2 {time}"), |tracker, address| {
        let torrent = own_torrent(address);
        let mut clients: Vec<Http> = (0..many).map(|_| Http::connect(address)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let told = client.get(&announce(torrent, number as u16 + 1, "&left=5&numwant=0"));
            assert_eq!(told.dictionary().integer("incomplete"), number as i64 + 1);
        }
        tracker.await_metric("margay_http_connections_open", &[], many.into());
        for client in clients.iter_mut().rev() {
            assert_eq!(client.get("/").status, 200);
        }
        drop(clients);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
    });
}

#[test]
fn a30_clients_that_hang_up_in_the_middle_leave_nothing_behind() {
    on_both_families_with("--cores 2", |tracker, address| {
        let (torrent, other) = ([0; 20], [0xff; 20]);
        let hang_up = |number: usize| {
            let mut client = Http::connect(address);
            let target = announce([torrent, other][number % 2], 1, "&left=5");
            client.send(bare(&target).repeat(number % 8) + &target[..number]);
            if number.is_multiple_of(3) {
                client.send(bare("/"));
                client.page();
            }
            // Closing with replies unread resets the connection.
        };
        // A core opens some files of its own when it first serves.
        (0..100).for_each(hang_up);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
        let files = tracker.metric("margay_process_open_files", &[]);
        (0..100).for_each(hang_up);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
        tracker.await_files(files);
    });
}
