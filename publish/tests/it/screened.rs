//! Who gets nothing for its address: content, feed and peer connections of programs, and an engine that fetches.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ops::screening::{Sources, Verdict};
use publish::engine::upload::{Limits, Uploads};
use publish::engine::{Engine, Fetch, Rqbit, RqbitOptions};
use publish::screening::Screening;
use rustix::process::Signal;

use crate::engine::content::Made;
use crate::site::{Site, bytes, until};

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
    let screening = Screening::open(Some(sources)).unwrap();
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
