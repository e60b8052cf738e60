//! The control listener as a monitoring system and an operator see it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use margay::control::{self, Command, ControlHandle, Declined, Pages, State, Transport};
use ops::counters::{Core, Family, Protocol};
use ops::health::Phase;

/// A control listener on a free port, with two cores.
struct Control {
    state: Arc<State>,
    handle: ControlHandle,
    snapshots: Arc<AtomicU32>,
}

impl Control {
    fn start() -> Self {
        Self::start_with(Pages::All)
    }

    fn start_with(pages: Pages) -> Self {
        let snapshots = Arc::new(AtomicU32::new(0));
        let asked = snapshots.clone();
        let state = Arc::new(State::new(2, vec![], move |command| match command {
            Command::Snapshot if asked.load(Ordering::SeqCst) == 0 => {
                asked.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            Command::Snapshot => Err(Declined("a snapshot is under way\n")),
            Command::Bans(..) => Err(Declined("not here")),
            Command::Lists(_) => Err(Declined("there are none\n")),
        }));
        // Where nobody else listens: the port is free again while other tests run.
        let listener = TcpListener::bind("127.69.80.0:0").unwrap();
        let handle = control::spawn(listener, state.clone(), pages, Transport::Plain).unwrap();
        Self { state, handle, snapshots }
    }

    fn connect(&self) -> TcpStream {
        connect(self.handle.address())
    }

    /// The status, the header and the body of the answer.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (header, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = header.split(' ').nth(1).unwrap().parse().unwrap();
        (status, header.to_ascii_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// GET answers with this status and a body that contains `text`.
    fn check(&self, path: &str, status: u16, text: &str) {
        let (got, _, body) = self.get(path);
        assert!(got == status && body.contains(text), "{path}: {got} {body}");
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn post_snapshot(headers: &str) -> String {
    format!("POST /snapshot HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}\r\n")
}

#[test]
fn who_asks_under_a_name_that_a_web_page_could_have_is_refused() {
    let control = Control::start();
    let ask = |host: &str, path: &str| {
        control.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).0
    };
    for path in ["/", "/metrics", "/health/live", "/api/v1/users/1", "/nothing"] {
        for host in
            ["rebound.example.org", "rebound.example.org:6980", "margay", "", "127.1.example"]
        {
            assert_eq!(ask(host, path), 421, "{host} {path}");
        }
    }
    for host in
        ["127.0.0.1", "127.0.0.1:6980", "[::1]:1", "localhost", "localhost:6980", "192.0.2.1"]
    {
        assert_eq!(ask(host, "/health/live"), 200, "{host}");
    }
    let (status, ..) =
        control.ask("GET http://rebound.example.org/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status, 421);
    // Tools of HTTP/1.0 say no name.
    assert_eq!(control.ask("GET /health/live HTTP/1.0\r\n\r\n").0, 200);
}

#[test]
fn the_listener_of_metrics_knows_every_name_and_changes_nothing() {
    let control = Control::start_with(Pages::Metrics);
    let ask = |request: &str| control.ask(&format!("{request} HTTP/1.1\r\nHost: margay\r\n\r\n")).0;
    for (request, status) in [
        ("GET /metrics", 200),
        ("GET /health/live", 200),
        ("GET /health/ready", 503),
        ("GET /", 404),
        ("POST /snapshot", 404),
        ("GET /api/v1/openapi.json", 404),
    ] {
        assert_eq!(ask(request), status, "{request}");
    }
    assert_eq!(control.snapshots.load(Ordering::SeqCst), 0);
}

#[test]
fn readiness_follows_the_phase() {
    let control = Control::start();
    control.check("/health/ready", 503, "loading");
    control.state.set_phase(Phase::Loading { done: 3, total: 5 });
    control.check("/health/ready", 503, "loading: 3 of 5 peers");
    control.state.set_phase(Phase::Ready);
    control.check("/health/ready", 200, "ready");
    control.state.set_phase(Phase::Draining);
    control.check("/health/ready", 503, "draining");
    control.check("/health/live", 200, "live");
}

#[test]
fn metrics_are_those_the_cores_stored_last() {
    let control = Control::start();
    let mut core = Core::default();
    core.front(Protocol::Udp, Family::V4).announces = 40;
    control.state.slot(0).store(&core);
    core.front(Protocol::Udp, Family::V4).announces = 2;
    control.state.slot(1).store(&core);
    control.state.update_snapshot(|snapshot| snapshot.bytes = 77);

    let (status, header, body) = control.get("/metrics");
    assert_eq!(status, 200);
    assert!(header.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{header}");
    assert!(
        body.contains("margay_announces_total{protocol=\"udp\",family=\"ipv4\"} 42\n"),
        "{body}"
    );
    assert!(body.contains("margay_snapshot_size_bytes 77\n"), "{body}");
    assert!(body.contains("margay_cores 2\n"), "{body}");
    assert!(body.contains("margay_ready 0\n"), "{body}");
    let version = concat!("margay_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n");
    assert!(body.contains(version), "{body}");

    // A page is kept for half a second; then the new numbers come.
    core.front(Protocol::Udp, Family::V4).announces = 60;
    control.state.slot(1).store(&core);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !control.get("/metrics").2.contains("family=\"ipv4\"} 100\n") {
        assert!(Instant::now() < deadline, "the page of metrics stays as it was");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn unknown_pages_and_methods_are_refused_and_the_index_lists_the_known_ones() {
    let control = Control::start();
    for page in ["/metrics", "/health/live", "/health/ready", "/snapshot"] {
        control.check("/", 200, page);
    }
    control.check("/announce", 404, "no such page");
    control.check("/snapshot", 405, "");
    assert_eq!(control.ask("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").0, 405);
    let (status, _, body) = control.ask("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
}

#[test]
fn a_snapshot_is_written_on_command_once_at_a_time() {
    let control = Control::start();
    let (status, _, body) = control.ask(&post_snapshot("Margay-Command: yes\r\n"));
    assert_eq!((status, body.as_str()), (202, "a snapshot is being written\n"));
    let (status, _, body) = control.ask(&post_snapshot("Margay-Command: yes\r\n"));
    assert_eq!((status, body.as_str()), (409, "a snapshot is under way\n"));
    assert_eq!(control.snapshots.load(Ordering::SeqCst), 1);
}

#[test]
fn a_web_page_cannot_send_commands() {
    let control = Control::start();
    for headers in [
        "",
        "Origin: http://example.com\r\n",
        "Origin: null\r\nMargay-Command: yes\r\n",
        "Sec-Fetch-Site: cross-site\r\nMargay-Command: yes\r\n",
        // A page whose name was pointed at this address counts as the same site.
        "Origin: http://margay\r\nSec-Fetch-Site: same-origin\r\nMargay-Command: yes\r\n",
    ] {
        assert_eq!(control.ask(&post_snapshot(headers)).0, 403, "{headers}");
    }
    let preflight = "OPTIONS /snapshot HTTP/1.1\r\nHost: localhost\r\nOrigin: http://example.com\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: margay-command\r\n\r\n";
    let (status, header, _) = control.ask(preflight);
    assert_eq!(status, 405);
    assert!(!header.contains("access-control-allow"), "{header}");
    assert_eq!(control.snapshots.load(Ordering::SeqCst), 0);
}

#[test]
fn clients_that_say_nothing_are_sent_away_and_do_not_lock_others_out() {
    let control = Control::start();
    // They take every place there is; the one who waits is answered once they are gone.
    let silent: Vec<_> = (0..control::CONNECTIONS_MAX).map(|_| control.connect()).collect();
    control.check("/health/live", 200, "live");
    for mut stream in silent {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap(); // Ends: the connection was closed.
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    }
}

#[test]
fn requests_that_are_too_large_or_no_http_are_refused() {
    let control = Control::start();
    let (status, ..) = control
        .ask(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(15_900)));
    assert_eq!(status, 200);
    let mut stream = control.connect();
    let request = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(30_000));
    let _ = stream.write_all(request.as_bytes()); // The other end may close while this is sent.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(control.ask("BitTorrent protocol\r\n\r\n").0, 400);
    control.check("/health/live", 200, "live");
}

#[test]
fn many_readers_at_once_each_get_a_whole_page() {
    let control = Control::start();
    let address = control.handle.address();
    let readers: Vec<_> = (0..40)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = connect(address);
                stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    for reader in readers {
        let answer = reader.join().unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert!(answer.ends_with('\n') && answer.contains("margay_cores 2\n"), "{answer}");
    }
}

#[test]
fn a_client_that_closes_its_half_after_asking_is_answered() {
    let control = Control::start();
    let mut stream = control.connect();
    stream.write_all(b"GET /health/live HTTP/1.0\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn after_shutdown_nobody_answers() {
    let control = Control::start();
    let address = control.handle.address();
    control.check("/health/live", 200, "live");
    control.handle.shutdown();
    assert!(TcpStream::connect(address).is_err());
}
