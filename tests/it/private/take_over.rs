//! A process takes over a private tracker: its journal, its database, its users' clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Site, announce, passkey};
use crate::take_over::start_one_that_fails;
use crate::tracker::http::{Http, answer, counts};
use crate::tracker::tls::{Issued, Trusting, issue};
use crate::tracker::udp::{Announce, NONE, STARTED, STOPPED, Udp};
use crate::tracker::{HOMES, Tracker, get, hash};

/// How many take-overs; `MARGAY_TEST_TAKE_OVERS=100` makes it the long form.
fn extent() -> usize {
    std::env::var("MARGAY_TEST_TAKE_OVERS").ok().and_then(|many| many.parse().ok()).unwrap_or(4)
}

/// Announces of a session; the last one says that it ends, and what it has moved since the one before.
const ANNOUNCES: u64 = 7;

/// What a session moves between two announces.
const MOVED: u64 = 1000;

/// Clients of one user, one session after the other, each until its end.
struct Client {
    user: u32,
    /// What was answered: announces, and bytes that were reported.
    answered: AtomicU64,
    reported: AtomicU64,
    /// The longest time for an answer, in microseconds.
    slowest: AtomicU64,
    over: AtomicBool,
}

impl Client {
    fn new(user: u32) -> Arc<Self> {
        Arc::new(Self {
            user,
            answered: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// Announces by `ask`, which is given the torrent, port, uploaded bytes and event, until it is over.
    fn run(
        self: &Arc<Self>,
        mut ask: impl FnMut(&str, u16, u64, u32) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let client = self.clone();
        thread::spawn(move || {
            let mut session = 0;
            while !client.over.load(Ordering::Relaxed) {
                let torrent = ["disk", "tape", "book"][session % 3];
                let port = 1000 + (session % 20_000) as u16;
                for number in 0..ANNOUNCES {
                    let event = match number {
                        0 => STARTED,
                        _ if number == ANNOUNCES - 1 => STOPPED,
                        _ => NONE,
                    };
                    let asked = Instant::now();
                    ask(torrent, port, number * MOVED, event);
                    let took = asked.elapsed().as_micros() as u64;
                    client.slowest.fetch_max(took, Ordering::Relaxed);
                    client.answered.fetch_add(1, Ordering::Relaxed);
                    client
                        .reported
                        .fetch_add(if number == 0 { 0 } else { MOVED }, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(1));
                }
                session += 1;
            }
        })
    }
}

fn target(user: u32, torrent: &str, port: u16, uploaded: u64, event: u32) -> String {
    let event = ["", "", "&event=started", "&event=stopped"][event as usize];
    announce(user, torrent, port, &format!("uploaded={uploaded}&downloaded=0&left=0{event}"))
}

/// Over UDP, from one socket; without an answer the test ends.
fn over_udp(tracker: SocketAddr, user: u32) -> impl FnMut(&str, u16, u64, u32) {
    let (mut client, mut connected) = (Udp::connect(tracker), Instant::now());
    let path = format!("/{}/announce", passkey(user));
    let options = [&[2, path.len() as u8], path.as_bytes()].concat();
    move |torrent, port, uploaded, event| {
        if connected.elapsed() > Duration::from_secs(60) {
            (client, connected) = (Udp::connect(tracker), Instant::now());
        }
        let options = options.clone();
        let left = Announce::seeder(hash(torrent), port);
        let told = client.announce(&Announce { uploaded, event, options, ..left });
        assert!(event == STOPPED || told.seeders > 0);
    }
}

/// A connection for each announce, of which none is refused nor broken.
fn in_turn(connect: impl Fn() -> Http, user: u32) -> impl FnMut(&str, u16, u64, u32) {
    move |torrent, port, uploaded, event| {
        let target = target(user, torrent, port, uploaded, event);
        let mut client = connect();
        client.send(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        counts(&client.page().dictionary());
        client.check_end();
    }
}

/// One connection, until an answer ends it; `many` counts them.
fn kept(
    connect: impl Fn() -> Http,
    user: u32,
    many: Arc<AtomicU64>,
) -> impl FnMut(&str, u16, u64, u32) {
    let mut client = None;
    move |torrent, port, uploaded, event| {
        let mut on = client.take().unwrap_or_else(|| {
            many.fetch_add(1, Ordering::Relaxed);
            connect()
        });
        let page = on.get(&target(user, torrent, port, uploaded, event));
        counts(&page.dictionary());
        match page.head.to_ascii_lowercase().contains("connection: close") {
            true => on.check_end(),
            false => client = Some(on),
        }
    }
}

impl Site {
    /// Starts a tracker that takes over; the one before.
    fn take_over(&mut self, cores: usize) -> Tracker {
        let options = format!("{} --cores {cores} --take-over", self.options());
        let next = Tracker::start_on(self.data(), &options);
        self.tracker.replace(next).unwrap()
    }
}

#[test]
fn under_load_no_byte_is_lost_nor_counted_twice() {
    let folder = TempDir::new().unwrap();
    let issued = Arc::new(issue(&["localhost"]));
    issued.write(folder.path(), "a");
    let options = format!("--snapshots-kept 2 {}", Issued::options(folder.path(), "a"));
    let Some(mut site) = Site::open("take_over", &options) else { return };
    let clients: Vec<_> = (1..=5).map(Client::new).collect();
    clients.iter().for_each(|client| site.add_user(client.user));
    for (id, name) in [(10, "disk"), (11, "tape"), (12, "book")] {
        site.add_torrent(id, name);
    }
    // Somebody who stays, and says nothing meanwhile.
    site.add_user(9);
    let http = site.tracker().http(HOMES[0]);
    let stays = |uploaded| answer(http, target(9, "disk", 999, uploaded, NONE));
    stays(0);

    let (udp, https) = (site.tracker().udp(HOMES[1]), site.tracker().https(HOMES[0]));
    let secure = || Trusting::new(&[&issued], true);
    let connect = move || Http::connect(http);
    let (plain, sealed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let threads = [
        clients[0].run(over_udp(udp, 1)),
        clients[1].run(in_turn(connect, 2)),
        clients[2].run({
            let client = secure();
            in_turn(move || client.connect(https), 3)
        }),
        clients[3].run(kept(connect, 4, plain.clone())),
        clients[4].run({
            let client = secure();
            kept(move || client.connect(https), 5, sealed.clone())
        }),
    ];
    let (many, mut gaps, mut leaving) = (extent(), Vec::new(), Vec::new());
    for number in 0..many {
        thread::sleep(Duration::from_millis(300));
        let before = site.take_over([2, 3, 1, 1][number % 4]);
        let handed = before.logged("a successor serves");
        gaps.push(handed["gap_milliseconds"].as_f64().unwrap());
        leaving.push(before);
        if leaving.len() > 4 {
            leaving.remove(0).await_exit();
        }
    }
    thread::sleep(Duration::from_millis(300));
    clients.iter().for_each(|client| client.over.store(true, Ordering::Relaxed));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    leaving.into_iter().for_each(Tracker::await_exit);
    let now = |of: fn(&Client) -> &AtomicU64| -> Vec<u64> {
        clients.iter().map(|client| of(client).load(Ordering::Relaxed)).collect()
    };
    gaps.sort_by(f64::total_cmp);
    println!(
        "{many} take-overs; UDP, HTTP, HTTPS, kept HTTP, kept HTTPS answered {:?}, the slowest in {:?} µs; {} and {} \
         connections were kept; nobody read for {:.1} ms (median), {:.1} ms (longest)",
        now(|client| &client.answered),
        now(|client| &client.slowest),
        plain.load(Ordering::Relaxed),
        sealed.load(Ordering::Relaxed),
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1],
    );
    assert!(now(|client| &client.answered).iter().all(|answered| *answered > ANNOUNCES));
    assert_eq!(plain.load(Ordering::Relaxed), 1, "a connection without TLS stays");
    // Only who stayed is there, and goes on from where he was.
    assert_eq!(counts(&stays(500))[0], 1);
    site.check_credit(9, [500, 0]);
    for (client, reported) in clients.iter().zip(now(|client| &client.reported)) {
        site.check_credit(client.user.into(), [reported as i64, 0]);
    }
    let query = "SELECT count(*) FROM peers WHERE active";
    assert_eq!(site.database.query_one(query, &[]).unwrap().get::<_, i64>(0), 1);
    // The site says something, which the one that serves now does.
    site.add_user(10);
    answer(site.tracker().http(HOMES[0]), target(10, "disk", 1, 0, STARTED));
    site.stop();
    site.start();
    site.check_credit(9, [500, 0]);
}

#[test]
fn one_that_fails_at_the_last_moment_leaves_the_journal_to_the_one_before() {
    let Some(mut site) = Site::open("take_over_fails", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let mut uploaded = 0;
    let mut serves = |site: &mut Site| {
        let http = site.tracker().http(HOMES[0]);
        answer(http, target(1, "disk", 1, uploaded, NONE));
        uploaded += 1000;
        answer(http, target(1, "disk", 1, uploaded, NONE));
        site.check_credit(1, [uploaded as i64, 0]);
        assert_eq!(get(site.tracker().control(), "/health/ready").as_deref(), Some("ready\n"));
    };
    serves(&mut site);
    for (failed, dies) in [(1, "yes"), (2, "no")] {
        let mut other = start_one_that_fails(site.data(), dies);
        site.tracker().await_logged("a process has not taken over", failed);
        other.wait().unwrap();
        serves(&mut site);
    }
    let before = site.take_over(2);
    before.await_exit();
    serves(&mut site);
    site.kill();
    site.start();
    serves(&mut site);
}
