//! The start and the end of a Seeder.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::following::Following;
use super::poll::Poller;
use super::{Came, Held, HeldState, Seeder};
use crate::announce::bridge::Bridge;
use crate::durable::{self, FileError};
use crate::engine::{EngineError, Rqbit, RqbitOptions};
use crate::feed::{BYTES_MAX, FeedAddress, PublicKey, RemovalRules};
use crate::node::{Node, NodeError, NodeOptions};
use crate::options;
use crate::shelf::{Shelf, ShelfError, hex};
use crate::torrent::{Identity, Metainfo, TorrentError};
use crate::web::status::Status;
use crate::web::{Control, Listener, ListenerError};

/// Why a Seeder does not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is held is not known, or cannot be kept.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// A torrent on the shelf cannot be read.
    #[error(
        "a torrent in the data folder is damaged: {name}; remove its files in `items/`, and it is fetched again"
    )]
    Torrent {
        /// The name of its content.
        name: String,
        /// What is wrong.
        source: TorrentError,
    },
    /// Peers or trackers cannot be reached.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A page cannot be served.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine cannot be told of peers.
    #[error("cannot listen on loopback for the engine")]
    Bridge(#[source] io::Error),
    /// The HTTP client cannot be made.
    #[error(
        "the HTTP client cannot be made; are certificates installed (package ca-certificates)?"
    )]
    Http(#[from] reqwest::Error),
}

/// Runs a Seeder until `stop`.
pub async fn run(options: &options::Seeder, stop: CancellationToken) -> Result<(), StartError> {
    durable::folder(&options.data)?;
    let data =
        options.data.canonicalize().map_err(FileError::of("find the folder", &options.data))?;
    durable::files(&data)?;
    let shelf: Shelf<Held> = Shelf::open(&data.join("items"))?;
    let content = data.join("content");
    durable::folder(&content)?;
    let rules = RemovalRules {
        seconds: options.removal_wait.as_secs(),
        percent: (options.removal_share * 100.0) as u64,
        ..RemovalRules::default()
    };
    let feeds: Vec<(FeedAddress, PublicKey)> = options.feeds();
    let following = Following::open(data.join("feeds.json"), feeds, rules)?;

    let (status, said) = watch::channel(Status::default());
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let control = Control::new(said, orders);
    let ready = control.ready();
    let mut pages = tokio::task::JoinSet::new();
    if let Some(at) = options.control {
        let listener = Listener::bind(at).await?;
        tracing::info!(address = %listener.address(), "status, metrics, health and commands");
        pages.spawn(listener.serve(control.router(), false, stop.clone()));
    }
    let node_options = NodeOptions {
        listen: options.peers.listen.clone(),
        announce_port: options.peers.announce_port,
        upload_rate: options.peers.upload_rate.map(|rate| rate.0 as u64),
        tiers: options.tracker_override.iter().map(|tier| tier.0.clone()).collect(),
    };
    let (node, uploads) = Node::start(&node_options).await?;
    tracing::info!(addresses = ?node.addresses(), port = node.port(), "listening for peers");
    let engine = Rqbit::start(RqbitOptions {
        peer_id: node.peer_id(),
        announce_port: node.port(),
        download_rate: options.download_rate.map(|rate| rate.0 as u64),
        upload_rate: node_options.upload_rate,
        peers_max: 100,
        descriptors_max: 128,
    })
    .await?;
    let bridge = Bridge::start(node.announcer().clone()).await.map_err(StartError::Bridge)?;
    let (came, coming) = mpsc::unbounded_channel();
    let mut seeder = Seeder {
        node,
        engine: Arc::new(engine),
        bridge,
        poller: Poller::new()?,
        shelf,
        following,
        content,
        metainfos: HashMap::new(),
        asking: HashSet::new(),
        fetching: HashMap::new(),
        failed: HashMap::new(),
        waits: HashMap::new(),
        waiting: Vec::new(),
        bytes_max: options.disk_max.map(|max| max.0 as u64),
        order: options.order,
        fetches_max: options.fetches_max.into(),
        masters: HashMap::new(),
        came,
        status,
        trouble: None,
        started: crate::unix_seconds(),
    };
    seeder.resume()?;
    for at in 0..seeder.following.len() {
        seeder.poll(at, Duration::ZERO, options.poll);
    }
    ready.store(true, Ordering::Relaxed);
    tracing::info!(feeds = seeder.following.len(), torrents = seeder.shelf.len(), "following");
    seeder.work(uploads, coming, ordered, options.poll, stop.clone()).await;
    ready.store(false, Ordering::Relaxed);
    stop.cancel();
    seeder.engine.stop().await;
    for unsaid in seeder.node.stop(STOP_TIME).await {
        tracing::warn!(torrent = %unsaid.info_hash, tracker = unsaid.tracker, "not told that we stop");
    }
    pages.shutdown().await;
    Ok(())
}

impl Seeder {
    /// Goes on with what a start finds: what is complete and unchanged is seeded, without hashing it.
    fn resume(&mut self) -> Result<(), StartError> {
        let all: Vec<Held> = self.shelf.iter().map(|(_, held)| held.clone()).collect();
        for held in all {
            let info_hash = held.info_hash;
            if held.state == HeldState::Removing {
                self.remove(info_hash);
                continue;
            }
            let bytes = self.shelf.torrent(&info_hash)?;
            let metainfo = Metainfo::parse(bytes)
                .map_err(|source| StartError::Torrent { name: held.name.clone(), source })?;
            let metainfo = Arc::new(metainfo);
            self.metainfos.insert(info_hash, metainfo.clone());
            let HeldState::Complete(identities) = &held.state else { continue };
            let folder = self.folder(&info_hash);
            let is_same = metainfo.files.iter().zip(identities).all(|(file, was)| {
                let now = fs::symlink_metadata(folder.join(&file.path));
                // Numbers of devices change with a start of the machine.
                now.is_ok_and(|now| {
                    now.is_file() && Identity { device: was.device, ..Identity::of(&now) } == *was
                })
            });
            if is_same && identities.len() == metainfo.files.len() {
                self.seed(&held, identities.clone());
            } else {
                tracing::warn!(name = held.name, torrent = %info_hash, "its files are not what they were; it is checked, and fetched where it is wrong");
                self.keep(Held { state: HeldState::Fetching, ..held });
            }
        }
        self.remove_strayed()?;
        Ok(())
    }

    /// Content of torrents that are not on the shelf: a crash came between its first byte and its entry, or its last.
    fn remove_strayed(&self) -> Result<(), StartError> {
        let reading = FileError::of("read", &self.content);
        for entry in fs::read_dir(&self.content).map_err(reading)? {
            let path: PathBuf = entry.map_err(FileError::of("read", &self.content))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if hex::read(name).is_some_and(|info_hash| self.shelf.get(&info_hash).is_none()) {
                super::remove_folder(&path).map_err(FileError::of("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Asks a feed after some time.
    pub(super) fn poll(&self, at: usize, wait: Duration, patience: Duration) {
        let (url, etag) = self.following.question(at);
        let (poller, came, holds) = (self.poller.clone(), self.came.clone(), self.holds());
        tokio::spawn(async move {
            sleep(wait).await;
            let asked = poller.list(&url, etag.as_deref(), &holds, BYTES_MAX);
            // A Master that hangs is asked again with the next poll, and no sooner.
            let answer = tokio::time::timeout(patience.max(PATIENCE_MIN), asked).await;
            let answer = answer.unwrap_or_else(|_| Err(super::poll::PollError::Late { url }));
            let _ = came.send(Came::Polled(at, answer));
        });
    }

    /// What a Master is told.
    fn holds(&self) -> String {
        let complete =
            self.shelf.iter().filter(|(_, held)| matches!(held.state, HeldState::Complete(_)));
        let (count, bytes) =
            complete.fold((0, 0), |(count, bytes), (_, held)| (count + 1, bytes + held.size));
        let id: String =
            self.node.peer_id()[8..].iter().map(|letter| char::from(*letter)).collect();
        format!(
            "name={id}; holds={count}; bytes={bytes}; generation={}",
            self.following.generation()
        )
    }
}

/// Where Masters are: an unspecified address stands for the host of the feed.
pub(super) async fn reached(host: &str, masters: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut reached = Vec::new();
    for master in masters {
        if !master.ip().is_unspecified() {
            reached.push(master);
            continue;
        }
        let Ok(found) = tokio::net::lookup_host((host, master.port())).await else { continue };
        reached.extend(found.filter(|found| found.is_ipv4() == master.is_ipv4()));
    }
    reached
}

/// Orders that wait at most.
const ORDERS_MAX: usize = 16;

/// How long trackers are told that we stop.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The least time that a Master is waited for.
const PATIENCE_MIN: Duration = Duration::from_secs(30);
