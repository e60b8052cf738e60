//! Calls to the site: every used up token is told, whatever goes away in between.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{SITE, Site, announce};
use crate::tracker::http::{answer, escape};
use crate::tracker::{HOMES, PATIENCE, hash, patiently};

/// A site's web server, which notes what it is asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    status: Arc<AtomicU16>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// One that answers with this status.
    fn start(status: u16) -> Self {
        let address = SocketAddr::new(HOMES[0], 0);
        let mut server = Self {
            address,
            asked: Arc::default(),
            status: Arc::new(status.into()),
            ending: Arc::default(),
            thread: None,
        };
        server.come_back();
        server
    }

    /// Listens, at the address it had before if it had one.
    fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        let (asked, status) = (self.asked.clone(), self.status.clone());
        let ending = self.ending.clone();
        ending.store(false, Ordering::Relaxed);
        self.thread = Some(std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if ending.load(Ordering::Relaxed) {
                    return;
                }
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                    request.push(byte[0]);
                }
                asked.lock().unwrap().push(String::from_utf8(request).unwrap());
                let status = status.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} Whatever\r\nConnection: close\r\n\r\npage");
                let _ = stream.write_all(answer.as_bytes());
            }
        }));
    }

    /// Listens no longer.
    fn go_away(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The lists of tokens that it was told.
    fn told(&self) -> Vec<String> {
        let list = |request: &String| {
            let (_, rest) = request.split_once("&tokens=").unwrap();
            rest.split_once(' ').unwrap().0.to_owned()
        };
        self.asked().iter().map(list).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.go_away();
        }
    }
}

fn open(test: &str, server: &Server) -> Option<Site> {
    let site = Site::open(test, &format!("--ocelot-site-url http://{}/gazelle", server.address))?;
    site.add_torrent(10, "disk");
    Some(site)
}

/// A user gets a token for the torrent, downloads it, and so uses the token up.
fn spend(site: &Site, user: u32) {
    site.add_user(user);
    site.says(&format!("add_token&info_hash={}&userid={user}", escape(&hash("disk"))));
    let http = site.tracker().http(HOMES[0]);
    let says = |more: &str| {
        answer(http, announce(user, "disk", 7000 + user as u16, more));
    };
    says("uploaded=0&downloaded=0&left=9&event=started");
    says("uploaded=0&downloaded=9&left=0&event=completed");
}

fn untold(site: &mut Site) -> i64 {
    let query = "SELECT count(*) FROM spent_tokens WHERE told_at IS NULL";
    site.database.query_one(query, &[]).unwrap().get(0)
}

#[test]
fn the_site_is_told_of_a_used_up_token() {
    let server = Server::start(200);
    let Some(mut site) = open("told", &server) else { return };
    spend(&site, 1);
    patiently("the call", || (!server.asked().is_empty()).then_some(()));
    let expected = format!(
        "GET /gazelle/tools.php?key={SITE}&type=expiretoken&action=ocelot&tokens=1:10 HTTP/1.0\r\n\
         Host: {}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        server.address
    );
    assert_eq!(server.asked(), [expected]);
    let tracker = site.tracker();
    for (name, value) in [
        ("margay_site_tokens_told_total", 1.0),
        ("margay_site_calls_total", 1.0),
        ("margay_site_call_failures_total", 0.0),
        ("margay_site_tokens_waiting", 0.0),
    ] {
        tracker.await_metric(name, &[], value);
    }
    assert_eq!(untold(&mut site), 0);
    // It is told once.
    site.stop();
    site.start();
    spend(&site, 2);
    patiently("the next call", || (server.told().len() > 1).then_some(()));
    assert_eq!(server.told(), ["1:10", "2:10"]);
}

#[test]
fn a_site_that_refuses_is_told_again() {
    let server = Server::start(403);
    let Some(mut site) = open("refusing", &server) else { return };
    spend(&site, 1);
    patiently("a second call", || (server.asked().len() >= 2).then_some(()));
    let log = site.tracker().logged("cannot tell the site of used up tokens");
    assert!(log.to_string().contains("403") && !log.to_string().contains(SITE), "{log}");
    assert_eq!(untold(&mut site), 1);
    server.status.store(200, Ordering::Relaxed);
    site.tracker().await_metric("margay_site_tokens_told_total", &[], 1.0);
    site.tracker().logged("the site hears of used up tokens again");
    assert_eq!(site.tracker().times_logged("cannot tell the site"), 1);
    assert!(site.tracker().metric("margay_site_call_failures_total", &[]) >= 2.0);
    assert!(server.told().iter().all(|list| list == "1:10"), "{:?}", server.told());
    assert_eq!(untold(&mut site), 0);
}

#[test]
fn what_a_site_that_is_away_misses_is_told_after_a_kill_of_the_tracker_too() {
    let mut server = Server::start(200);
    let Some(mut site) = open("away_site", &server) else { return };
    server.go_away();
    spend(&site, 1);
    spend(&site, 2);
    let tracker = site.tracker();
    tracker.await_metric("margay_site_tokens_waiting", &[], 2.0);
    assert!(tracker.metric("margay_site_call_failures_total", &[]) >= 1.0);
    tracker.logged("cannot tell the site of used up tokens");
    site.kill();
    site.start();
    site.tracker().await_metric("margay_site_tokens_waiting", &[], 2.0);
    assert_eq!(server.told(), Vec::<String>::new());
    server.come_back();
    site.tracker().await_metric("margay_site_tokens_told_total", &[], 2.0);
    assert_eq!(server.told(), ["1:10,2:10"], "in one call");
    assert_eq!(untold(&mut site), 0);
}

#[test]
fn without_a_site_to_tell_nothing_is_kept_for_it() {
    let Some(mut site) = Site::open("no_site", "") else { return };
    site.add_torrent(10, "disk");
    spend(&site, 1);
    let query = "SELECT count(*) FROM tokens WHERE spent_at IS NOT NULL";
    patiently("the token to be used up", || {
        let spent: i64 = site.database.query_one(query, &[]).unwrap().get(0);
        (spent == 1).then_some(())
    });
    let all: i64 =
        site.database.query_one("SELECT count(*) FROM spent_tokens", &[]).unwrap().get(0);
    assert_eq!(all, 0);
}
