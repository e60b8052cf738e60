//! Announces to trackers: the only ones that are made, as the engine makes none.
//!
//! An [`Announcer`] is one value for a node. It is told which torrents there are and what was transferred, and says to
//! their trackers what BEP 3 has them know, over HTTP (BEP 3, 7, 23, 24, 31) and UDP (BEP 15, 41), over both families, by
//! tiers (BEP 12). [`schedule`] decides what is said when; [`driver`] is the one task that says it; [`bridge`] hands peers
//! to the engine.
//!
//! A torrent takes about 1.2 KB, 250 bytes for each further tracker, and up to 6.4 KB for peers while something of it is
//! missing (`ten_thousand_torrents_take_little` in `schedule`).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use shard::InfoHash;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

mod address;
pub mod answer;
mod ask;
pub mod bridge;
pub mod datagram;
mod driver;
mod http;
mod names;
mod outages;
mod pace;
mod said;
mod schedule;
mod udp;

pub use address::{Address, NoAddress, Protocol};
pub use said::{Announce, Event};

/// What is true of all announces of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The name of this node, the one that peers see.
    pub peer_id: [u8; 20],
    /// Where peers reach it.
    pub port: u16,
    /// Shows a tracker that this is the same node when its address or its peer id is another. It should last.
    pub key: u32,
    /// Announces that are under way at a time.
    pub in_flight_max: usize,
    /// Announces to one tracker in a second.
    pub per_second_max: NonZeroU32,
    /// Peers that are asked for while something is missing.
    pub numwant_fetching: u32,
    /// Peers that are asked for when nothing is: none, as those who want something come.
    pub numwant_seeding: u32,
}

impl Options {
    /// Options of a node with a new name and key that is reached at `port`.
    pub fn new(port: u16) -> Result<Self, StartError> {
        let mut key = [0; 4];
        SystemRandom::new().fill(&mut key).map_err(|_| StartError::Random)?;
        Ok(Self {
            peer_id: peer_id()?,
            port,
            key: u32::from_ne_bytes(key).max(1), // 0 is none.
            in_flight_max: 16,
            per_second_max: NonZeroU32::new(50).expect("50 is not 0"),
            numwant_fetching: 100,
            numwant_seeding: 0,
        })
    }
}

/// A new peer id (BEP 20): `-MG0200-` and twelve letters or digits.
pub fn peer_id() -> Result<[u8; 20], StartError> {
    let mut id = *b"-MG0200-............";
    let mut random = [0; 12];
    SystemRandom::new().fill(&mut random).map_err(|_| StartError::Random)?;
    for (letter, random) in id[8..].iter_mut().zip(random) {
        // 64 of them, so that each is as likely as any other.
        *letter = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
            [usize::from(random % 64)];
    }
    Ok(id)
}

/// A torrent to announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torrent {
    /// Its name in the swarm.
    pub info_hash: InfoHash,
    /// Announce URLs, tier by tier (BEP 12). Of each tier the first that answers is asked, and the next tier only when all
    /// of it fail.
    pub tiers: Vec<Vec<String>>,
    /// Only its trackers tell of peers (BEP 27).
    pub private: bool,
    /// The size of its content in bytes.
    pub total: u64,
    /// Each tier is asked for itself: trackers that know nothing of each other all hear of it.
    pub every_tier: bool,
}

/// What was transferred of a torrent, in bytes. The engine writes it, and each announce reads it.
#[derive(Default, Debug)]
pub struct Transfer {
    /// What is missing.
    pub left: AtomicU64,
    /// Sent to peers. Trackers are told what came since the torrent was added.
    pub uploaded: AtomicU64,
    /// Received from peers, likewise.
    pub downloaded: AtomicU64,
    /// Peers that are connected now.
    pub connected: AtomicU64,
}

/// Peers that a tracker told of and that were not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Of which torrent.
    pub info_hash: InfoHash,
    /// Where they are reached.
    pub peers: Arc<[SocketAddr]>,
}

/// A tracker that was not told that a torrent is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsaid {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The tracker's URL, without passkeys.
    pub tracker: String,
}

/// How a torrent stands with its trackers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentStatus {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Only its trackers tell of peers.
    pub private: bool,
    /// Peers that are known while something is missing.
    pub peers: usize,
    /// Its trackers in the order they were given.
    pub trackers: Vec<TrackerStatus>,
}

/// How a torrent stands with a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackerStatus {
    /// Its URL, without passkeys.
    pub url: String,
    /// What came of the last announce.
    pub state: TrackerState,
    /// The error of it, or a warning.
    pub text: Option<String>,
    /// Seeders that the tracker counted.
    pub seeders: Option<u32>,
    /// Leechers that the tracker counted.
    pub leechers: Option<u32>,
    /// How long ago it answered an announce.
    pub answered_ago: Option<Duration>,
    /// When it may be asked again.
    pub next_in: Option<Duration>,
}

/// What came of the last announce to a tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackerState {
    /// There was none: others come before it.
    NotAsked,
    /// The first one is waiting or under way.
    Asking,
    /// It was answered.
    Working,
    /// It was refused, or answered by what is no answer.
    Refusing,
    /// The tracker is not reached by anybody here.
    Unreachable,
}

/// Why there is no announcer.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Random,
    /// The HTTP client has no certificates, or the like.
    #[error(
        "the HTTP client for trackers cannot be made; are certificates installed (package ca-certificates)?"
    )]
    Http(#[source] reqwest::Error),
}

/// Announces torrents. Clones are the same announcer; when all are gone it ends, without saying `stopped`.
#[derive(Clone, Debug)]
pub struct Announcer {
    shared: Arc<driver::Shared>,
    _end: Arc<DropGuard>,
}

impl Announcer {
    /// Starts it, on the runtime that this is called on.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let mut seed = [0; 8];
        SystemRandom::new().fill(&mut seed).map_err(|_| StartError::Random)?;
        let asker = ask::Asker::new(options.in_flight_max).await?;
        let random = fastrand::Rng::with_seed(u64::from_ne_bytes(seed));
        let shared = Arc::new(driver::Shared::new(schedule::Schedule::new(options, random)));
        let end = shared.end.clone().drop_guard();
        tokio::spawn(driver::drive(Arc::clone(&shared), asker));
        tokio::spawn(outages::tell(Arc::downgrade(&shared)));
        Ok(Self { shared, _end: Arc::new(end) })
    }

    /// Announces a torrent from now on; one that is there already stays as it is. URLs that cannot be asked are left out
    /// and returned.
    pub fn add(&self, torrent: Torrent, transfer: Arc<Transfer>) -> Vec<(String, NoAddress)> {
        let wrong = self.shared.schedule().add(torrent, transfer, Instant::now());
        self.shared.wake.notify_one();
        wrong
    }

    /// What was missing was downloaded, and `left` is 0. Trackers that knew it to be missing are told at once.
    pub fn completed(&self, info_hash: &InfoHash) {
        self.shared.schedule().completed(info_hash, Instant::now());
        self.shared.wake.notify_one();
    }

    /// Peers are wanted: announces as soon as the tracker allows it.
    pub fn hurry(&self, info_hash: &InfoHash) {
        self.shared.schedule().hurry(info_hash, Instant::now());
        self.shared.wake.notify_one();
    }

    /// The torrent is gone. Trackers that know it are told `stopped`, in up to three tries.
    pub fn remove(&self, info_hash: &InfoHash) {
        self.shared.schedule().remove(info_hash, Instant::now());
        self.shared.wake.notify_one();
    }

    /// All torrents are gone. Trackers are told within this time; returns who was not. No more are taken.
    pub async fn stop(&self, within: Duration) -> Vec<Unsaid> {
        let mut done = std::pin::pin!(self.shared.done.notified());
        done.as_mut().enable();
        self.shared.schedule().stop(Instant::now());
        self.shared.hurry.cancel();
        self.shared.wake.notify_one();
        // Out of time or not: what is left says it.
        let _ = tokio::time::timeout(within, done).await;
        self.shared.end.cancel();
        self.shared.schedule().unsaid()
    }

    /// Peers that trackers told of while something is missing, at most 200; the latest last.
    pub fn peers(&self, info_hash: &InfoHash) -> Vec<SocketAddr> {
        self.shared.schedule().peers(info_hash)
    }

    /// Peers as they are found. Who falls behind by 1,024 messages misses some, and finds them in [`Announcer::peers`].
    pub fn found(&self) -> broadcast::Receiver<Found> {
        self.shared.found()
    }

    /// How a torrent stands with its trackers.
    pub fn status(&self, info_hash: &InfoHash) -> Option<TorrentStatus> {
        self.shared.schedule().status(info_hash, Instant::now())
    }

    /// How all stand, in the order of their infohashes.
    pub fn snapshot(&self) -> Vec<TorrentStatus> {
        let schedule = self.shared.schedule();
        let now = Instant::now();
        let mut all: Vec<TorrentStatus> =
            schedule.torrents().filter_map(|info_hash| schedule.status(&info_hash, now)).collect();
        all.sort_by_key(|status| status.info_hash.0);
        all
    }

    /// Trackers that have taken no announces for some minutes, a line each with what to do.
    pub fn troubles(&self) -> Vec<String> {
        self.shared.outages().troubles(Instant::now())
    }

    /// The counters of a torrent that is announced.
    pub fn transfer(&self, info_hash: &InfoHash) -> Option<Arc<Transfer>> {
        self.shared.schedule().transfer(info_hash)
    }

    /// The announces under way.
    pub fn in_flight(&self) -> usize {
        self.shared.schedule().in_flight()
    }
}
