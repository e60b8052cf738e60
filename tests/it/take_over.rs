//! A process takes over from the one that serves: its sockets, its swarms and its promises.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use socket2::SockRef;
use tempfile::TempDir;

use crate::program::margay;
use crate::tracker::http::{Http, counts as counts_of};
use crate::tracker::tls::{Issued, Trusting, issue};
use crate::tracker::udp::{Announce, COMPLETED, NONE, Udp};
use crate::tracker::{HOMES, PATIENCE, Tracker, get, hash, http, patiently};

/// How many take-overs, and requests a second: UDP announces, HTTP and HTTPS connections.
/// `MARGAY_TEST_TAKE_OVERS=100` makes it the long form, with 20,000, 2,000 and 300.
fn extent() -> (usize, [u64; 3]) {
    match std::env::var("MARGAY_TEST_TAKE_OVERS") {
        Ok(many) if !many.is_empty() => (many.parse().unwrap(), [20_000, 2_000, 300]),
        _ => (4, [2_000, 150, 30]),
    }
}

/// Announces at a steady rate. Over UDP every other one is a new leecher, and the others complete what one of a quarter of
/// a second before has.
struct Load {
    over: AtomicBool,
    sent: [AtomicU64; 3],
    answered: [AtomicU64; 3],
    /// The longest time between two answers over UDP, in microseconds.
    gap: AtomicU64,
}

const TORRENTS: u64 = 200;

/// New connections a second that a thread can hold, one after the other.
const CONNECTIONS_OF_A_THREAD: u64 = 75;

fn torrent(kind: &str, number: u64) -> [u8; 20] {
    hash(&format!("{kind} {}", number % TORRENTS))
}

/// The port of the peer with this number, of those in its torrent.
fn port(number: u64) -> u16 {
    1 + (number / TORRENTS) as u16
}

impl Load {
    /// Calls `ask` with the numbers 0, 1, 2 … at `rate` a second until the load is over.
    fn pace(&self, rate: u64, mut ask: impl FnMut(u64)) {
        let (began, mut number) = (Instant::now(), 0);
        while !self.over.load(Ordering::Relaxed) {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            // After a stall the rate goes on, without what was missed.
            number = number.max(due.saturating_sub(rate / 10));
            while number < due {
                ask(number);
                number += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn udp(self: &Arc<Self>, tracker: SocketAddr, rate: u64) -> thread::JoinHandle<u64> {
        let load = self.clone();
        let mut client = Udp::connect(tracker);
        thread::spawn(move || {
            let socket = UdpSocket::bind((tracker.ip(), 0)).unwrap();
            socket.connect(tracker).unwrap();
            SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
            let receiver = {
                let (load, socket) = (load.clone(), socket.try_clone().unwrap());
                socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
                thread::spawn(move || load.receive(&socket))
            };
            let mut asked: u64 = 0;
            load.pace(rate, |_| {
                let peer = asked / 2;
                let announce = match (asked % 2, peer.checked_sub(rate / 4)) {
                    (0, _) => Announce::new(torrent("udp", peer), port(peer)).event(NONE),
                    (_, None) => Announce::new(torrent("early", peer), port(peer)),
                    (_, Some(peer)) => {
                        Announce::seeder(torrent("udp", peer), port(peer)).event(COMPLETED)
                    }
                };
                if asked.is_multiple_of((rate * 60).max(1)) {
                    client = Udp::connect(tracker);
                }
                socket.send(&client.announce_request(&announce)).unwrap();
                asked += 1;
                load.sent[0].store(asked, Ordering::Relaxed);
            });
            receiver.join().unwrap();
            asked
        })
    }

    fn receive(&self, socket: &UdpSocket) {
        let (mut reply, mut last) = ([0; 2048], Instant::now());
        while socket.recv(&mut reply).is_ok() {
            assert_eq!(reply[..4], [0, 0, 0, 1], "{}", reply[..20].escape_ascii());
            self.gap.fetch_max(last.elapsed().as_micros() as u64, Ordering::Relaxed);
            last = Instant::now();
            self.answered[0].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection for each announce, by `connect`, of which none is refused nor broken; by as many threads as can hold the
    /// rate. How many there were.
    fn connections(
        self: &Arc<Self>,
        (place, kind): (usize, &'static str),
        rate: u64,
        connect: impl Fn() -> Http + Send + Sync + 'static,
    ) -> impl FnOnce() -> u64 {
        let (connect, many) = (Arc::new(connect), rate.div_ceil(CONNECTIONS_OF_A_THREAD));
        let threads: Vec<_> = (0..many)
            .map(|_| {
                let (load, connect) = (self.clone(), connect.clone());
                thread::spawn(move || {
                    load.pace(rate / many, |_| {
                        let asked = load.sent[place].fetch_add(1, Ordering::Relaxed);
                        let target = http::announce(torrent(kind, asked), port(asked), "&left=1");
                        let mut client = connect();
                        client.send(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"));
                        assert!(counts_of(&client.page().dictionary())[1] > 0);
                        client.check_end();
                        load.answered[place].fetch_add(1, Ordering::Relaxed);
                    });
                })
            })
            .collect();
        let load = self.clone();
        move || {
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            load.sent[place].load(Ordering::Relaxed)
        }
    }

    /// One connection that is kept, until an answer ends it. How many announces, and how many connections.
    fn kept(
        self: &Arc<Self>,
        kind: &'static str,
        connect: impl Fn() -> Http + Send + 'static,
    ) -> thread::JoinHandle<(u64, u64)> {
        let load = self.clone();
        thread::spawn(move || {
            let (mut client, mut asked, mut connections) = (connect(), 0, 1);
            load.pace(100, |_| {
                let target = http::announce(torrent(kind, asked), port(asked), "&left=0");
                let page = client.get(&target);
                assert!(counts_of(&page.dictionary())[0] > 0);
                asked += 1;
                if page.head.to_ascii_lowercase().contains("connection: close") {
                    client.check_end();
                    (client, connections) = (connect(), connections + 1);
                }
            });
            (asked, connections)
        })
    }
}

/// Seeders, downloads and leechers of each torrent of a kind.
fn counts(tracker: &Tracker, kind: &str) -> Vec<[u32; 3]> {
    let torrents: Vec<_> = (0..TORRENTS).map(|number| torrent(kind, number)).collect();
    let client = Udp::connect(tracker.udp(HOMES[0]));
    torrents.chunks(74).flat_map(|some| client.scrape(some)).collect()
}

/// How many of `many` peers are in each torrent.
fn spread(many: u64) -> Vec<u32> {
    (0..TORRENTS).map(|torrent| ((many + TORRENTS - 1 - torrent) / TORRENTS) as u32).collect()
}

#[test]
fn under_load_nothing_is_lost_and_every_count_is_right() {
    let (many, rates) = extent();
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let issued = Arc::new(issue(&["localhost"]));
    issued.write(folder.path(), "a");
    let args = |cores: usize| {
        // Both processes, and who asks them, have the same two processors: what waits may be more than usual.
        let room = "--udp-receive-buffer 4MiB";
        format!("--cores {cores} {} --snapshots-kept 2 {room}", Issued::options(folder.path(), "a"))
    };
    let mut tracker = Tracker::start_on(data.path(), &args(2));
    let load = Arc::new(Load {
        over: AtomicBool::new(false),
        sent: Default::default(),
        answered: Default::default(),
        gap: AtomicU64::new(0),
    });
    let (udp, http, https) =
        (tracker.udp(HOMES[0]), tracker.http(HOMES[0]), tracker.https(HOMES[1]));
    let secure = move || Trusting::new(&[&issued], true);
    let udp = load.udp(udp, rates[0]);
    // From many addresses: one has not enough ports for those of a minute (TIME_WAIT).
    let turn = AtomicU64::new(0);
    let plain = load.connections((1, "http"), rates[1], move || {
        let host = 2 + turn.fetch_add(1, Ordering::Relaxed) % 100;
        Http::connect_from(Ipv4Addr::new(127, 0, 0, host as u8).into(), http)
    });
    let client = secure();
    let sealed = load.connections((2, "https"), rates[2], move || client.connect(https));
    let kept = load.kept("kept", move || Http::connect(http));
    let client = secure();
    let kept_sealed = load.kept("kept sealed", move || client.connect(https));

    let (mut gaps, mut leaving) = (Vec::new(), Vec::new());
    for number in 0..many {
        thread::sleep(Duration::from_millis(200));
        let cores = [2, 2, 3, 1][number % 4];
        let next = Tracker::start_on(data.path(), &format!("{} --take-over", args(cores)));
        let handed = tracker.logged("a successor serves");
        gaps.push(handed["gap_milliseconds"].as_f64().unwrap());
        leaving.push(std::mem::replace(&mut tracker, next));
        // Some connections may take a while to end.
        if leaving.len() > 8 {
            leaving.remove(0).await_exit();
        }
    }
    thread::sleep(Duration::from_millis(200));
    load.over.store(true, Ordering::Relaxed);
    let (udp, plain, sealed) = (udp.join().unwrap(), plain(), sealed());
    let ((kept, connections), (kept_sealed, sealed_connections)) =
        (kept.join().unwrap(), kept_sealed.join().unwrap());
    leaving.into_iter().for_each(Tracker::await_exit);
    gaps.sort_by(f64::total_cmp);
    println!(
        "{many} take-overs; UDP {udp}, HTTP {plain}, HTTPS {sealed}, kept {kept} over {connections} connections and \
         {kept_sealed} over {sealed_connections}; nobody read for {:.1} ms (median), {:.1} ms (longest); longest time \
         between two answers over UDP {:.1} ms",
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1],
        load.gap.load(Ordering::Relaxed) as f64 / 1000.0
    );
    for (place, sent) in [udp, plain, sealed].into_iter().enumerate() {
        assert!(sent > 10, "{sent}");
        let answered = load.answered[place].load(Ordering::Relaxed);
        assert_eq!(answered, sent, "of {place}; {} lost", sent - answered);
    }
    // One without TLS goes to the next process as it is.
    assert_eq!(connections, 1);
    assert!(sealed_connections > 1);
    let (joined, completed) =
        (spread(udp.div_ceil(2)), spread((udp / 2).saturating_sub(rates[0] / 4)));
    for ((at, [seeders, downloads, leechers]), joined) in
        counts(&tracker, "udp").into_iter().enumerate().zip(joined)
    {
        assert_eq!([seeders, downloads], [completed[at]; 2], "{at}");
        assert_eq!(seeders + leechers, joined, "{at}");
    }
    for (kind, place, many) in [
        ("http", 2, plain),
        ("https", 2, sealed),
        ("kept", 0, kept),
        ("kept sealed", 0, kept_sealed),
    ] {
        let found: Vec<_> = counts(&tracker, kind).iter().map(|counts| counts[place]).collect();
        assert_eq!(found, spread(many), "{kind}");
    }
    tracker.stop();
}

/// What a process says that would take over, and what it hears.
struct Pretender(OwnedFd);

impl Pretender {
    fn meet(data: &Path) -> Self {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let address = SocketAddrUnix::new(data.join("take-over.socket")).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        let patience = Some(PATIENCE);
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Recv, patience).unwrap();
        Self(socket)
    }

    fn say(&self, json: &str) {
        rustix::io::write(&self.0, format!("m{json}").as_bytes()).unwrap();
    }

    fn hello(&self, protocol: u32) {
        self.say(&format!(
            r#"{{"say":"hello","protocol":{protocol},"version":"0.0.1","private":false}}"#
        ));
    }

    /// What comes until something says this; empty when the other one is gone.
    fn hear(&self, say: &str) -> String {
        let mut bytes = vec![0; 65536];
        loop {
            // Descriptors that nobody takes are closed.
            let length = rustix::io::read(&self.0, &mut bytes).unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if length == 0 || text.contains(&format!(r#""say":"{say}""#)) {
                return text;
            }
        }
    }
}

/// Announces one more peer, which the tracker has to count.
fn check_serves(tracker: &Tracker, peers: &mut u16) {
    *peers += 1;
    let answer = Udp::connect(tracker.udp(HOMES[0])).announce(&Announce::new(hash("one"), *peers));
    assert_eq!(answer.leechers, u32::from(*peers));
    assert_eq!(get(tracker.control(), "/health/ready").as_deref(), Some("ready\n"));
}

#[test]
fn one_that_fails_changes_nothing() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2");
    let mut peers = 0;
    check_serves(&tracker, &mut peers);
    // Another version, garbage, silence, and one that is gone at each step.
    let old = Pretender::meet(data.path());
    old.hello(0);
    assert!(old.hear("refused").contains("another version"));
    Pretender::meet(data.path()).say("garbage");
    drop(Pretender::meet(data.path()));
    check_serves(&tracker, &mut peers);
    let mut failed = 0;
    for last in ["all-sockets", "snapshot"] {
        let one = Pretender::meet(data.path());
        one.hello(2);
        assert!(one.hear("welcome").contains(r#""cores":2"#));
        let other = Pretender::meet(data.path());
        other.hello(2);
        assert!(other.hear("refused").contains("is taking over already"));
        assert!(one.hear(last).contains(last));
        drop(one);
        failed += 1;
        tracker.await_logged("a process has not taken over", failed);
        check_serves(&tracker, &mut peers);
    }
    // One that says what it should not.
    let one = Pretender::meet(data.path());
    one.hello(2);
    one.hear("welcome");
    one.say(r#"{"say":"serving","at":0}"#);
    assert!(one.hear("refused").contains("what it should not"));
    tracker.await_logged("a process has not taken over", failed + 1);
    check_serves(&tracker, &mut peers);
    // After all that, one that does.
    let next = Tracker::start_on(data.path(), "--cores 1 --take-over");
    tracker.await_exit();
    check_serves(&next, &mut peers);
    next.stop();
}

#[test]
fn one_that_hangs_at_the_last_moment_is_ended_and_one_that_dies_is_forgotten() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 1");
    let mut peers = 0;
    check_serves(&tracker, &mut peers);
    for (failed, dies) in [(1, "yes"), (2, "no")] {
        let mut other = start_one_that_fails(data.path(), dies);
        tracker.await_logged("a process has not taken over", failed);
        let ended = other.wait().unwrap();
        assert!(dies == "yes" || ended.signal() == Some(9), "{ended}");
        check_serves(&tracker, &mut peers);
    }
    tracker.stop();
}

/// Starts a process that takes over nearly, and dies or hangs then.
pub(crate) fn start_one_that_fails(data: &Path, dies: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "take_over::a_process_that_fails"])
        .env("MARGAY_TEST_DATA", data)
        .env("MARGAY_TEST_DIES", dies)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "started by another test"]
fn a_process_that_fails() {
    // Its process is ended by the tracker: so it is one of its own.
    let Some(data) = std::env::var_os("MARGAY_TEST_DATA") else { return };
    let one = Pretender::meet(data.as_ref());
    one.hello(2);
    one.hear("snapshot");
    one.say(r#"{"say":"loaded"}"#);
    one.hear("mark");
    one.say(r#"{"say":"marked"}"#);
    one.hear("yours");
    if std::env::var("MARGAY_TEST_DIES").unwrap() == "no" {
        thread::sleep(PATIENCE);
    }
}

#[test]
fn the_command_starts_a_successor_and_says_what_became_of_it() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("margay.toml");
    std::fs::write(&file, "interval = \"30m\"\n").unwrap();
    let tracker = Tracker::start_on(data.path(), &format!("--config {}", file.display()));
    let mut peers = 0;
    check_serves(&tracker, &mut peers);
    let ask = || {
        let output = margay().arg("take-over").arg("--data").arg(data.path()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    std::fs::write(&file, "interval = \"soon\"\n").unwrap();
    let (status, text) = ask();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("exit status: 2") && text.contains("goes on"), "{text}");
    check_serves(&tracker, &mut peers);
    std::fs::write(&file, "interval = \"40m\"\n").unwrap();
    let (status, text) = ask();
    assert_eq!(status, Some(0), "{text}");
    let number = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    let successor = Pid::from_raw(number).unwrap();
    assert!(text.contains("has taken over"), "{text}");
    tracker.logged("left");
    // It was asked before it was the successor, and goes by what the file says now.
    check_serves(&tracker, &mut peers);
    let answer = Udp::connect(tracker.udp(HOMES[0])).announce(&Announce::new(hash("other"), 1));
    assert!((2160..=2640).contains(&answer.interval), "{}", answer.interval);
    kill_process(successor, Signal::TERM).unwrap();
    patiently("the successor ends", || test_kill_process(successor).is_err().then_some(()));
    tracker.await_exit();
    let (status, text) = ask();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("no margay serves"), "{text}");
    let alone = Tracker::try_start_on(data.path(), "--take-over").err().unwrap();
    assert_eq!(alone.code, Some(1));
    assert!(alone.err.contains("start this one without --take-over"), "{}", alone.err);
}

#[test]
fn sockets_at_paths_and_switches_go_along() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = |name: &str| folder.path().join(name);
    let args = |paths: &[&str]| {
        let at = |name: &&str| format!("--http unix:{}", path(name).display());
        format!("--cores 2 {}", paths.iter().map(at).collect::<Vec<_>>().join(" "))
    };
    let mut tracker = Tracker::start_on(data.path(), &args(&["a", "b"]));
    let ask = |stream: &mut UnixStream| {
        let target = http::scrape(&[hash("one")]);
        let more = "Host: tracker\r\nX-Forwarded-For: 192.0.2.1";
        write!(stream, "GET {target} HTTP/1.1\r\n{more}\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
    };
    let mut kept = UnixStream::connect(path("a")).unwrap();
    ask(&mut kept);
    let control = tracker.control().to_string();
    let data_arg = data.path().display().to_string();
    let off = ["service", "udp6", "off", "--control", &control, "--data", &data_arg];
    assert!(margay().args(off).output().unwrap().status.success());
    let mut peers = 0;
    for paths in [&["b", "a"][..], &["a", "c"], &["a"]] {
        let before = std::mem::replace(&mut tracker, {
            Tracker::start_on(data.path(), &format!("{} --take-over", args(paths)))
        });
        ask(&mut kept);
        for name in paths {
            ask(&mut UnixStream::connect(path(name)).unwrap());
        }
        before.await_exit();
        paths.iter().for_each(|name| ask(&mut UnixStream::connect(path(name)).unwrap()));
        let silent = Udp::new(tracker.udp(HOMES[1]));
        let time = Duration::from_millis(200);
        assert_eq!(silent.ask_within(silent.connect_request(), time), None);
        check_serves(&tracker, &mut peers);
    }
    tracker.stop();
    assert!(!path("a").exists());
}

#[test]
fn promises_of_intervals_and_connection_ids_stay_good() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2 --interval 10m --interval-max 20m");
    let client = Udp::connect(tracker.udp(HOMES[1]));
    let torrents: Vec<_> = (0..50).map(|number| torrent("promised", number)).collect();
    for port in 1..=40 {
        let announces: Vec<_> =
            torrents.iter().map(|torrent| Announce::new(*torrent, port)).collect();
        client.announce_all(&announces);
    }
    let next =
        Tracker::start_on(data.path(), "--cores 3 --interval 10m --interval-max 20m --take-over");
    tracker.await_exit();
    // By the connection id of before.
    assert_eq!(client.announce(&Announce::new(torrents[0], 1)).leechers, 40);
    next.stop();
}
