//! Connections that are kept and busy. The tracker waits for them in another way then and answers them in
//! batches, and no client may notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use crate::tracker::http::{Http, announce, bare, counts, peers, scrape};
use crate::tracker::{HOMES, Tracker, hash, patiently};

/// Connections that keep the tracker busy.
const CROWD: usize = 16;

/// Clients that ask all the time, until they are dropped.
struct Bustle {
    over: Arc<AtomicBool>,
    clients: Option<JoinHandle<()>>,
}

impl Bustle {
    /// Begins, and waits until the tracker answers in batches.
    fn begin(tracker: &Tracker, address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let answers = Arc::new(AtomicU64::new(0));
        let answered = answers.clone();
        let clients = std::thread::spawn(move || {
            let mut clients: Vec<Http> = (0..CROWD).map(|_| Http::connect(address)).collect();
            let torrent = hash("a torrent of the bustle");
            while !until.load(Ordering::Relaxed) {
                for (port, client) in (1..).zip(&mut clients) {
                    client.send(bare(&announce(torrent, port, "&left=5&numwant=0")));
                }
                for client in &mut clients {
                    assert_eq!(client.page().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        patiently("many answers", || (answers.load(Ordering::Relaxed) > 1000).then_some(()));
        // Metrics are up to a second behind: what is counted from here on was answered in this bustle.
        let before = tracker.metric("margay_http_batched_total", &[]);
        patiently("answers in batches", || {
            (tracker.metric("margay_http_batched_total", &[]) > before).then_some(())
        });
        Self { over, clients: Some(clients) }
    }

    /// Ends; every request was answered.
    fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.clients.take().unwrap().join().unwrap();
    }
}

impl Drop for Bustle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Runs a story on both families amid a bustle on the same core.
fn amid_bustle(args: &str, story: impl Fn(&Tracker, SocketAddr)) {
    let mut tracker = Tracker::start(&format!("--cores 1 {args}"));
    for home in HOMES {
        let bustle = Bustle::begin(&tracker, tracker.http(home));
        story(&tracker, tracker.http(home));
        bustle.end();
    }
    tracker.check_alive();
}

#[test]
fn a30_requests_at_once_in_pieces_and_an_end_amid_bustle() {
    amid_bustle("", |_, tracker| {
        let torrent = hash(&format!("a torrent of {}", tracker.ip()));
        let mut requests = String::new();
        for port in 1..=50 {
            requests += &bare(&announce(torrent, port, "&left=5&numwant=0"));
            if port % 10 == 0 {
                requests += &bare(&scrape(&[torrent]));
            }
        }
        for piece in [1, 7, 400, 1009, requests.len()] {
            let mut client = Http::connect(tracker);
            for piece in requests.as_bytes().chunks(piece) {
                client.send(piece);
            }
            client.finish();
            for port in 1..=50 {
                let told = counts(&client.page().dictionary());
                assert_eq!(told[0] + told[2], 0);
                assert!((port..=50).contains(&told[1]), "{told:?} after {port}");
                if port % 10 == 0 {
                    client.page().dictionary().get("files").get(torrent);
                }
            }
            client.check_end();
        }
    });
}

#[test]
fn a30_an_announce_that_is_followed_at_once_is_answered_first() {
    amid_bustle("", |_, tracker| {
        let torrent = hash(&format!("another torrent of {}", tracker.ip()));
        let mut client = Http::connect(tracker);
        for port in 1..=200 {
            // Two packets, so that the second may find the first still waiting for its batch.
            client.send(bare(&announce(torrent, port, "&left=5&numwant=0")));
            client.send(bare("/nowhere"));
            assert_eq!(counts(&client.page().dictionary()), [0, i64::from(port), 0]);
            assert_eq!(client.page().status, 404);
        }
        // The last one is answered though its client sends nothing more.
        client.send(bare(&announce(torrent, 201, "&left=5&numwant=0")));
        client.finish();
        assert_eq!(counts(&client.page().dictionary()), [0, 201, 0]);
        client.check_end();
    });
}

#[test]
fn a30_a_client_that_does_not_read_gets_all_when_it_does() {
    amid_bustle("--numwant-max 200", |_, tracker| {
        let torrent = hash(&format!("a large torrent of {}", tracker.ip()));
        let mut filler = Http::connect(tracker);
        for port in 1..=200 {
            filler.send(bare(&announce(torrent, port, "&left=5&numwant=0")));
            filler.page();
        }
        let mut slow = Http::connect_small(tracker);
        let asked = 201..8201;
        for port in asked.clone() {
            slow.send(bare(&announce(torrent, port, "&left=5&numwant=200")));
            // One at a time, mostly a batch of its own each.
            sleep(Duration::from_micros(20));
        }
        // More than any send buffer holds.
        let mut length = 0;
        for port in asked {
            let page = slow.page();
            length += page.body.len();
            assert_eq!(counts(&page.dictionary()), [0, i64::from(port), 0]);
        }
        assert!(length > 8 << 20, "{length} bytes");
    });
}

#[test]
fn a30_deadlines_hold_amid_bustle() {
    let args = "--http-header-timeout 1s --http-idle-timeout 2s";
    amid_bustle(args, |tracker, address| {
        let mut idle = Http::connect(address);
        assert_eq!(idle.get("/").status, 200);
        let mut slow = Http::connect(address);
        slow.send("GET /announce?x=");
        slow.await_end();
        idle.check_end();
        patiently("only the bustle is left", || {
            let open = tracker.metric("margay_http_connections_open", &[]);
            (open == CROWD as f64).then_some(())
        });
    });
}

#[test]
fn a30_a_connection_that_travels_leaves_nothing_behind() {
    let mut tracker = Tracker::start("--cores 2");
    let address = tracker.http(HOMES[0]);
    let bustle = Bustle::begin(&tracker, address);
    // Each core has one of the torrents, so the connection is on its way all the time.
    let torrents = [[0; 20], [0, 0, 0, 1].repeat(5).try_into().unwrap()];
    let mut client = Http::connect(address);
    for port in 1..=100 {
        for torrent in torrents {
            let told = client.get(&announce(torrent, port, "&left=5&numwant=0")).dictionary();
            assert_eq!(counts(&told), [0, i64::from(port), 0]);
        }
    }
    drop(client);
    patiently("only the bustle is left", || {
        let open = tracker.metric("margay_http_connections_open", &[]);
        (open == CROWD as f64).then_some(())
    });
    bustle.end();
    tracker.check_alive();
}

#[test]
fn a30_after_the_bustle_each_connection_waits_for_itself() {
    let mut tracker = Tracker::start("--cores 1");
    let address = tracker.http(HOMES[0]);
    let torrent = hash("a torrent for later");
    let mut before = Http::connect(address);
    assert_eq!(before.get("/").status, 200);
    for round in 0..2 {
        let bustle = Bustle::begin(&tracker, address);
        let mut amid = Http::connect(address);
        assert_eq!(amid.get("/").status, 200);
        assert_eq!(before.get("/").status, 200);
        bustle.end();
        // Looking ends when it has been in vain for a while: the count of wake-ups stands still.
        let mut seen = 0.0;
        patiently("an end of looking", || {
            let before =
                std::mem::replace(&mut seen, tracker.metric("margay_core_wakeups_total", &[]));
            sleep(Duration::from_millis(1000));
            (seen - before < 100.0).then_some(())
        });
        for client in [&mut before, &mut amid] {
            for port in [1, 2] {
                let told = client.get(&announce(torrent, port, "&left=5")).dictionary();
                assert!(peers(&told).iter().all(|peer| peer.port() != port), "round {round}");
            }
        }
        amid.finish();
        amid.check_end();
    }
    assert_eq!(before.get(&scrape(&[torrent])).dictionary().get("files").entries().len(), 1);
    tracker.check_alive();
}
