//! Peers that are found later reach the engine, by the tracker on loopback: shown with librqbit.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use librqbit::{
    AddTorrent, AddTorrentOptions, ListenerMode, ListenerOptions, ManagedTorrent, Session,
    SessionOptions,
};
use publish::announce::bridge::Bridge;
use publish::announce::{Announcer, Options, Torrent, Transfer};
use publish::screening::Screening;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use shard::InfoHash;

const PATIENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 1 << 16;

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_offered_later_reach_librqbit() {
    let content = content();
    let announcer = Announcer::start(Options::new(6881).unwrap()).await.unwrap();
    let bridge = Bridge::start(announcer.clone(), Screening::default()).await.unwrap();
    let (torrent, info_hash) = torrent(&content, bridge.url());

    let seeding = tempfile::tempdir().unwrap();
    std::fs::write(seeding.path().join("content"), &content).unwrap();
    let (seeder, at) = session(seeding.path()).await;
    add(&seeder, &torrent, true).await.wait_until_completed().await.unwrap();

    // Nobody is known when the engine begins.
    let transfer = Arc::new(Transfer::default());
    transfer.left.store(content.len() as u64, Ordering::Relaxed);
    let known = Torrent {
        info_hash,
        tiers: vec![],
        private: true,
        total: content.len() as u64,
        every_tier: false,
    };
    assert!(announcer.add(known, transfer).is_empty());
    let fetching = tempfile::tempdir().unwrap();
    let (leecher, _) = session(fetching.path()).await;
    let fetched = add(&leecher, &torrent, false).await;
    fetched.wait_until_initialized().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fetched.stats().progress_bytes, 0);

    let begun = std::time::Instant::now();
    bridge.offer(info_hash, &[at]);
    tokio::time::timeout(PATIENCE, fetched.wait_until_completed())
        .await
        .expect("it is downloaded")
        .unwrap();
    println!("downloaded {:?} after the offer", begun.elapsed());
    assert!(std::fs::read(fetching.path().join("content")).unwrap() == content);
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_torrents_of_this_node_are_answered() {
    let announcer = Announcer::start(Options::new(6881).unwrap()).await.unwrap();
    let bridge = Bridge::start(announcer.clone(), Screening::default()).await.unwrap();
    assert!(bridge.url().starts_with("http://127.0.0.1:"));
    let info_hash = InfoHash([b'a'; 20]);
    let url = format!("{}?info_hash=aaaaaaaaaaaaaaaaaaaa", bridge.url());
    assert!(get(&url).await.contains("failure reason"));
    assert!(get(bridge.url()).await.contains("failure reason"));

    bridge.offer(info_hash, &[]);
    assert_eq!(get(&url).await, "d8:intervali2e12:min intervali2e5:peers0:e");
    bridge.offer(info_hash, &["97.97.97.97:24929".parse().unwrap()]);
    assert_eq!(get(&url).await, "d8:intervali2e12:min intervali2e5:peers6:aaaaaae");

    // Who is connected, or has everything, comes less often.
    let transfer = Arc::new(Transfer::default());
    let known = Torrent { info_hash, tiers: vec![], private: true, total: 1, every_tier: false };
    announcer.add(known, Arc::clone(&transfer));
    assert!(get(&url).await.starts_with("d8:intervali15e"));
    transfer.left.store(1, Ordering::Relaxed);
    assert!(get(&url).await.starts_with("d8:intervali2e"));
    transfer.connected.store(1, Ordering::Relaxed);
    assert!(get(&url).await.starts_with("d8:intervali15e"));

    bridge.withdraw(&info_hash);
    assert_eq!(get(&url).await, "d8:intervali15e12:min intervali15e5:peers0:e");
    announcer.remove(&info_hash);
    assert!(get(&url).await.contains("failure reason"));
    let elsewhere = reqwest::get(bridge.url().replace("/announce", "/scrape")).await.unwrap();
    assert_eq!(elsewhere.status(), 404);
}

async fn get(url: &str) -> String {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// A session that knows no way to peers but trackers, and where it is reached.
async fn session(folder: &Path) -> (Arc<Session>, SocketAddr) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let options = SessionOptions {
        dht: None,
        disable_local_service_discovery: true,
        listen: Some(ListenerOptions {
            mode: ListenerMode::TcpOnly,
            listen_addr: at,
            announce_port: Some(at.port()),
            ..ListenerOptions::default()
        }),
        ..SessionOptions::default()
    };
    (Session::new_with_opts(folder.into(), options).await.unwrap(), at)
}

async fn add(session: &Arc<Session>, torrent: &[u8], overwrite: bool) -> Arc<ManagedTorrent> {
    let options = AddTorrentOptions { overwrite, ..AddTorrentOptions::default() };
    let added =
        session.add_torrent(AddTorrent::from_bytes(torrent.to_vec()), Some(options)).await.unwrap();
    added.into_handle().unwrap()
}

fn content() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(3_000_001).collect()
}

/// A private torrent of one file, with one tracker.
fn torrent(content: &[u8], tracker: &str) -> (Vec<u8>, InfoHash) {
    let pieces: Vec<u8> = content
        .chunks(PIECE)
        .flat_map(|piece| digest(&SHA1_FOR_LEGACY_USE_ONLY, piece).as_ref().to_vec())
        .collect();
    let length = content.len();
    let mut info = format!(
        "d6:lengthi{length}e4:name7:content12:piece lengthi{PIECE}e6:pieces{}:",
        pieces.len()
    );
    let mut info = std::mem::take(&mut info).into_bytes();
    info.extend(pieces);
    info.extend(b"7:privatei1ee");
    let info_hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &info).as_ref().try_into().unwrap();
    let mut torrent = format!("d8:announce{}:{tracker}4:info", tracker.len()).into_bytes();
    torrent.extend(info);
    torrent.push(b'e');
    (torrent, InfoHash(info_hash))
}
