//! Who gets nothing for its address: content, feed and peer connections of programs, and an engine that fetches.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ops::screening::lookups::{Options, Provider, RecordKind, Zone};
use ops::screening::{Country, Sources, Verdict};
use publish::engine::upload::{Limits, Uploads};
use publish::engine::{Engine, Fetch, Rqbit, RqbitOptions};
use publish::screening::Screening;
use rustix::process::Signal;

use crate::engine::content::Made;
use crate::names::{How, Names};
use crate::site::{Site, bytes, until};
use crate::watch::tools::run;

/// Writes a list as a tool does that replaces it.
fn list(folder: &Path, networks: &str) -> PathBuf {
    fs::write(folder.join("beside"), networks.replace(' ', "\n") + "\n").unwrap();
    fs::rename(folder.join("beside"), folder.join("deny")).unwrap();
    folder.join("deny")
}

/// Asks with curl from an address; nothing where the connection is closed.
fn fetch(from: &str, url: &str) -> Option<Vec<u8>> {
    let mut curl = Command::new("curl");
    let output = curl.args(["-sS", "-f", "--interface", from, url]).output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// A connection of a peer from an address that has said who it is.
struct Peer(TcpStream);

impl Peer {
    fn connect(from: [u8; 4], to: SocketAddr, info_hash: [u8; 20]) -> Option<Self> {
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &SocketAddr::new(from.into(), 0)).unwrap();
        rustix::net::connect(&socket, &to).ok()?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let begin = [&b"\x13BitTorrent protocol"[..], &[0; 8], &info_hash, b"-XX0001-abcdefghijkl"];
        stream.write_all(&begin.concat()).ok()?;
        stream.read_exact(&mut [0; 68]).ok()?;
        Some(Self(stream))
    }

    /// Waits until the other side has closed it.
    fn ends(mut self) {
        let mut rest = [0; 4096];
        while !matches!(self.0.read(&mut rest), Ok(0) | Err(_)) {}
    }
}

#[test]
fn a_master_serves_nobody_whom_the_rules_refuse() {
    let home = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let deny = list(folder.path(), "127.0.0.5");
    let deny = deny.display().to_string();
    let options = ["--screen-deny-list", &deny];
    let site = Site::of(home, Ipv4Addr::LOCALHOST.into(), 0, &options);
    let content = bytes(7, 300_000);
    site.put("film", &content);
    site.settles();
    let info_hash = site.published("film").unwrap().0;
    let served = |path: &str| format!("http://{}/{path}", site.served);
    let log = site.master.log();
    let (_, rest) = log.split_once("listening for peers addresses=[").expect("it says where");
    let peers: SocketAddr = rest.split([',', ']']).next().unwrap().parse().unwrap();

    for path in ["feed.xml", "feed.list", "files/film", "nothing"] {
        assert!(fetch("127.0.0.5", &served(path)).is_none(), "{path}");
    }
    assert!(Peer::connect([127, 0, 0, 5], peers, info_hash).is_none());
    assert!(fetch("127.0.0.6", &served("files/film")).unwrap() == content);
    let kept = Peer::connect([127, 0, 0, 6], peers, info_hash).expect("it is served");
    // New rules are in force at SIGHUP, also for who is connected.
    list(folder.path(), "127.0.0.6");
    site.master.signal(Signal::HUP);
    kept.ends();
    until("the new rules are in force", || fetch("127.0.0.6", &served("feed.xml")).is_none());
    assert!(Peer::connect([127, 0, 0, 6], peers, info_hash).is_none());
    assert!(fetch("127.0.0.5", &served("feed.xml")).is_some());
    // A mistake leaves them in force, and is told of.
    list(folder.path(), "127.0.0.300");
    site.master.signal(Signal::HUP);
    site.master.says("rules about addresses are not read again");
    assert!(fetch("127.0.0.6", &served("feed.xml")).is_none());
    list(folder.path(), "127.0.0.7");
    until("they are read by themselves", || fetch("127.0.0.6", &served("feed.xml")).is_some());
    site.master.says("no trouble");
    assert!(site.master.status().unwrap().screened >= 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_connects_to_nobody_whom_the_rules_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let deny = list(folder.path(), "127.0.0.7");
    let sources = Sources {
        deny_countries: Vec::new(),
        allow_countries: Vec::new(),
        deny_lists: vec![deny],
        allow_lists: Vec::new(),
        databases: Vec::new(),
        unknown: Verdict::Allow,
        has_lookups: false,
    };
    let screening = Screening::open(Some(sources), None).unwrap();
    tokio::spawn(screening.clone().look_after());
    let made = Made::single(24 << 20);
    let info_hash = made.metainfo.info_hash;
    let limits = Limits { upload_rate: Some(2 << 20), ..Limits::default() };
    let at: IpAddr = Ipv4Addr::new(127, 0, 0, 7).into();
    let (master, _) =
        Uploads::listen(&[SocketAddr::new(at, 0)], limits, *b"-mg0200-abcdefghijkl").unwrap();
    master.add(made.metainfo.clone(), made.folder.path().into(), made.identities()).unwrap();
    let options = RqbitOptions {
        peer_id: *b"-mg0200-screenedaway",
        announce_port: 6881,
        download_rate: None,
        upload_rate: None,
        peers_max: 32,
        descriptors_max: 16,
    };
    let engine = Rqbit::start_screened(options, screening.clone()).await.unwrap();
    let target = tempfile::tempdir().unwrap();
    let begun = Fetch {
        metainfo: made.metainfo.clone(),
        folder: target.path().into(),
        peers: vec![master.addresses()[0]],
        tracker: None,
    };
    engine.fetch(begun).await.unwrap();
    let wait = |what: &'static str, is: Box<dyn Fn() -> bool + Send>| async move {
        tokio::task::spawn_blocking(move || until(what, is)).await.unwrap();
    };
    let rules = screening.clone();
    wait("it is refused", Box::new(move || rules.refused() > 0)).await;
    assert_eq!((master.stats().connections, master.stats().uploaded), (0, 0));
    // When the rule goes, it is fetched from; when it comes again, that ends.
    list(folder.path(), "127.0.0.8");
    let uploads = master.clone();
    wait("it is fetched", Box::new(move || uploads.stats().uploaded > 0)).await;
    list(folder.path(), "127.0.0.7");
    let uploads = master.clone();
    wait("the connection is cut", Box::new(move || uploads.stats().connections == 0)).await;
    assert!(engine.progress(info_hash).await.unwrap().bytes < 24 << 20);
    engine.stop().await;
    master.stop().await;
}

/// Runs a test again in a network where other addresses are of this machine as well: true there.
fn is_everywhere(test: &str) -> bool {
    if std::env::var_os("MARGAY_TEST_EVERYWHERE").is_some() {
        return true;
    }
    let script = format!(
        "set -e\nip link set lo up\nfor network in 1 5 77; do ip route add local $network.0.0.0/8 dev lo; done\n\
         export MARGAY_TEST_EVERYWHERE=1\nexec \"$1\" --exact screened::{test} --nocapture"
    );
    let exe = std::env::current_exe().unwrap();
    let args = ["--map-root-user", "--net", "--kill-child", "sh", "-c", &script, "sh"];
    run("unshare", args.into_iter().map(Into::into).chain([exe.into_os_string()]));
    false
}

/// The status of an answer to who asks from an address, and when to come back.
fn status(from: &str, url: &str) -> (String, Option<String>) {
    let mut curl = Command::new("curl");
    let output = curl.args(["-sS", "-i", "--interface", from, url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let lines = text.lines().map(str::to_ascii_lowercase);
    let mut later = lines.filter_map(|line| Some(line.strip_prefix("retry-after: ")?.to_owned()));
    (code, later.next())
}

#[test]
fn countries_are_looked_up_for_content_feed_and_peers() {
    if !is_everywhere("countries_are_looked_up_for_content_feed_and_peers") {
        return;
    }
    let names = Names::start();
    let options = format!("{} --screen-unknown defer", names.options());
    let options: Vec<&str> = options.split_whitespace().collect();
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::of(home, Ipv4Addr::LOCALHOST.into(), 0, &options);
    let content = bytes(7, 30_000);
    site.put("film", &content);
    site.settles();
    let info_hash = site.published("film").unwrap().0;
    let served = format!("http://{}/files/film", site.served);
    let log = site.master.log();
    let (_, rest) = log.split_once("listening for peers addresses=[").expect("it says where");
    let peers: SocketAddr = rest.split([',', ']']).next().unwrap().parse().unwrap();

    // The first request waits until the country is known.
    assert!(fetch("1.1.1.1", &served).unwrap() == content);
    assert!(fetch("5.1.1.1", &served).is_none());
    assert_eq!(status("77.1.1.1", &served), ("503".to_owned(), Some("60".to_owned())));
    // A peer does not wait; it comes again.
    assert!(Peer::connect([1, 2, 1, 1], peers, info_hash).is_none());
    until("it is known", || Peer::connect([1, 2, 1, 1], peers, info_hash).is_some());
    for _ in 0..3 {
        assert!(Peer::connect([5, 1, 7, 7], peers, info_hash).is_none());
        assert!(Peer::connect([77, 1, 1, 1], peers, info_hash).is_none());
    }
    let asked =
        |network: &str| names.asked().iter().filter(|name| name.starts_with(network)).count();
    assert_eq!(["1.1.", "1.2.", "5.1.", "77.1."].map(asked), [1; 4]);
    until("the look-ups are counted", || {
        let lookups = site.master.status().unwrap().lookups;
        (lookups.country, lookups.none) == (3, 1)
    });

    // Known countries are known after a restart, though nobody can be asked; others are looked up when that works again.
    site.master.stop();
    names.be(How::Silent);
    site.master.start_again();
    site.master.is_ready();
    assert!(fetch("1.1.9.9", &served).unwrap() == content);
    assert!(fetch("5.1.9.9", &served).is_none());
    names.be(How::Failing);
    for number in 10..18 {
        assert_eq!(status(&format!("1.{number}.1.1"), &served).0, "503");
    }
    site.master.says("countries cannot be looked up");
    names.be(How::Well);
    assert!(fetch("1.20.1.1", &served).unwrap() == content);
    site.master.says("no trouble");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_served_until_it_is_known_is_cut_off_then() {
    let names = Names::start();
    names.be(How::Silent);
    let folder = tempfile::tempdir().unwrap();
    let open = |unknown| {
        let sources = Sources {
            deny_countries: vec![Country::parse("CU").unwrap()],
            allow_countries: Vec::new(),
            deny_lists: Vec::new(),
            allow_lists: Vec::new(),
            databases: Vec::new(),
            unknown,
            has_lookups: true,
        };
        let provider = Provider {
            zone_v4: Zone::parse("v4.test"),
            zone_v6: None,
            record: RecordKind::Txt,
            field: 3,
        };
        let options = Options {
            preset: None,
            provider,
            servers: vec![names.at()],
            rate: 100,
            networks_max: 1000,
            folder: folder.path().to_owned(),
        };
        Screening::open(Some(sources), Some(options)).unwrap()
    };
    let at = |address: &str| -> IpAddr { address.parse().unwrap() };
    let screening = open(Verdict::Allow);
    assert_eq!(screening.judge_patiently(at("5.1.1.1"), "http").await, Verdict::Allow);
    assert!(!screening.refuses_and_asks(at("5.2.1.1")));
    names.be(How::Well);
    assert_eq!(screening.judge(at("5.3.1.1"), "peer"), Verdict::Allow);
    screening.until_refused(at("5.3.1.1")).await;
    // With `deny` peers that a tracker names are looked up, though nobody connects to them before.
    let screening = open(Verdict::Deny);
    assert!(screening.refuses_and_asks(at("1.1.1.1")));
    let rules = screening.clone();
    let is_known = move || !rules.refuses_and_asks(at("1.1.1.1"));
    tokio::task::spawn_blocking(move || until("it is known", is_known)).await.unwrap();
    // Who says nothing in time is deferred.
    let screening = open(Verdict::Defer);
    names.be(How::Silent);
    assert_eq!(screening.judge_patiently(at("1.4.1.1"), "http").await, Verdict::Defer);
    assert_eq!(screening.judge(at("1.4.1.1"), "peer"), Verdict::Defer);
    assert_eq!(screening.refused(), 2);
}
