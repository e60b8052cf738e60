//! The start and the end of a Seeder.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ops::options::SecretError;
use persist::{DataDir, DataDirError};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::failures::Failures;
use super::following::Following;
use super::looking::{self, Looking};
use super::poll::Poller;
use super::{Came, Held, HeldState, Seeder};
use crate::announce::bridge::Bridge;
use crate::durable::{self, FileError, Readers};
use crate::engine::transmission::Login;
use crate::engine::{Engine, EngineError, Rqbit, RqbitOptions, Transmission, TransmissionOptions};
use crate::feed::{BYTES_MAX, FeedAddress, List, PublicKey, RemovalRules};
use crate::node::{Node, NodeError, NodeOptions};
use crate::options::{self, Fetcher, Order};
use crate::screening::{OpenError, Screening};
use crate::shelf::{Shelf, ShelfError};
use crate::torrent::{Identity, Metainfo, TorrentError};
use crate::web::status::{Role, Status};
use crate::web::{Control, Listener, ListenerError};

/// Why a Seeder does not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The rules about addresses cannot be used.
    #[error(transparent)]
    Screening(#[from] OpenError),
    /// The data folder cannot be used, as when another process has it.
    #[error(transparent)]
    Data(#[from] DataDirError),
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
    /// A password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The engine cannot be told of peers.
    #[error("cannot listen on loopback for the engine")]
    Bridge(#[source] io::Error),
    /// The HTTP client cannot be made.
    #[error(
        "the HTTP client cannot be made; are certificates installed (package ca-certificates)?"
    )]
    Http(#[from] reqwest::Error),
}

/// How a Seeder works, as a Seeder's options say it, or a Master's that stands by.
pub struct Settings {
    /// Folder for content and torrents.
    pub data: PathBuf,
    /// Where it is asked how it is.
    pub control: Option<SocketAddr>,
    /// What it follows, each feed with its key.
    pub feeds: Vec<(FeedAddress, PublicKey)>,
    /// When what vanished is removed.
    pub rules: RemovalRules,
    /// How often feeds are asked for.
    pub poll: Duration,
    /// How it is reached.
    pub node: NodeOptions,
    /// Bytes a second that are downloaded at most.
    pub download_rate: Option<u64>,
    /// Bytes of content on the disk at most.
    pub bytes_max: Option<u64>,
    /// What goes first.
    pub order: Order,
    /// Torrents that are fetched at a time.
    pub fetches_max: usize,
    /// What fetches.
    pub fetcher: By,
    /// A Seeder, or a standby.
    pub role: Role,
    /// A standby becomes the Master when it is told to; otherwise somebody else decides.
    pub may_be_promoted: bool,
    /// Content that is complete elsewhere: it is seeded from there while it is published, and not fetched.
    pub own: Vec<Own>,
}

/// What fetches.
pub enum By {
    /// librqbit, within this process.
    Rqbit,
    /// A transmission-daemon on this machine.
    Transmission {
        /// Its RPC.
        url: Url,
        /// Who asks it.
        login: Option<Login>,
    },
}

/// Content that is complete elsewhere.
pub struct Own {
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// The folder that its files are below.
    pub root: PathBuf,
    /// Which files they were, in the torrent's order.
    pub identities: Vec<Identity>,
}

/// How a Seeder has ended.
pub struct Ended {
    /// It was told to become the Master.
    pub promoted: bool,
    /// The list that it followed last, of the first feed's key.
    pub list: Option<Arc<List>>,
}

/// Runs a Seeder until `stop`.
pub async fn run(options: &options::Seeder, stop: CancellationToken) -> Result<(), StartError> {
    durable::folder(&options.data)?;
    let _alone = DataDir::open(&options.data)?;
    let settings = Settings {
        data: options.data.clone(),
        control: options.control,
        feeds: options.feeds(),
        rules: RemovalRules {
            seconds: options.removal_wait.as_secs(),
            percent: (options.removal_share * 100.0) as u64,
            ..RemovalRules::default()
        },
        poll: options.poll,
        node: NodeOptions {
            listen: options.peers.listen.clone(),
            announce_port: options.peers.announce_port,
            upload_rate: options.peers.upload_rate.map(|rate| rate.0 as u64),
            tiers: options.tracker_override.iter().map(|tier| tier.0.clone()).collect(),
            screening: Screening::open(
                options.screening.sources(),
                options.screening.lookups(&options.data),
            )?,
        },
        download_rate: options.download_rate.map(|rate| rate.0 as u64),
        bytes_max: options.disk_max.map(|max| max.0 as u64),
        order: options.order,
        fetches_max: options.fetches_max.into(),
        fetcher: fetcher(options)?,
        role: Role::Seeder,
        may_be_promoted: false,
        own: Vec::new(),
    };
    follow(settings, stop).await.map(drop)
}

/// What options say that fetches.
fn fetcher(options: &options::Seeder) -> Result<By, SecretError> {
    Ok(match options.engine {
        Fetcher::Rqbit => By::Rqbit,
        Fetcher::Transmission => {
            let password = options.given_transmission_password()?;
            let login = |user: &options::Line| Login { user: user.0.clone(), password };
            By::Transmission {
                url: options.transmission_url.0.clone(),
                login: options.transmission_user.as_ref().map(login),
            }
        }
    })
}

/// Follows feeds until `stop`, or until it is told to become the Master.
pub async fn follow(settings: Settings, stop: CancellationToken) -> Result<Ended, StartError> {
    let data = &settings.data;
    durable::folder(data)?;
    let data = data.canonicalize().map_err(FileError::of("find the folder", data))?;
    durable::files(&data)?;
    let shelf: Shelf<Held> = Shelf::open(&data.join(ITEMS))?;
    let content = data.join(CONTENT);
    durable::folder(&content)?;
    let following = Following::open(data.join("feeds.json"), settings.feeds, settings.rules)?;

    // What serves pages ends with this, also where the process goes on in another role.
    let stop = stop.child_token();
    let (status, said) = watch::channel(Status::default());
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let control = Control::new(said, orders);
    let ready = control.ready();
    let mut pages = tokio::task::JoinSet::new();
    if let Some(at) = settings.control {
        let listener = Listener::bind("control", at).await?;
        tracing::info!(address = %listener.address(), "status, metrics, health and commands");
        pages.spawn(listener.serve(
            control.router(),
            false,
            None,
            Screening::default(),
            stop.clone(),
        ));
    }
    let screening = settings.node.screening.clone();
    pages.spawn(screening.clone().look_after());
    let (node, uploads) = Node::start(&settings.node).await?;
    tracing::info!(addresses = ?node.addresses(), port = node.port(), "listening for peers");
    let engine: Arc<dyn Engine> = match settings.fetcher {
        By::Rqbit => Arc::new(
            Rqbit::start_screened(
                RqbitOptions {
                    peer_id: node.peer_id(),
                    announce_port: node.port(),
                    download_rate: settings.download_rate,
                    upload_rate: settings.node.upload_rate,
                    peers_max: PEERS_MAX,
                    descriptors_max: 128,
                },
                screening.clone(),
            )
            .await?,
        ),
        By::Transmission { url, login } => Arc::new(
            Transmission::start(TransmissionOptions {
                url,
                login,
                folder: content.clone(),
                download_rate: settings.download_rate,
                upload_rate: settings.node.upload_rate,
                peers_max: PEERS_MAX,
            })
            .await?,
        ),
    };
    let bridge = Bridge::start(node.announcer().clone(), screening.clone());
    let bridge = bridge.await.map_err(StartError::Bridge)?;
    let (came, coming) = mpsc::unbounded_channel();
    let name = name(&data, &node.peer_id());
    let looking = Looking::begin(&content).map_err(FileError::of("read", &content))?;
    let mut seeder = Seeder {
        node,
        engine,
        bridge,
        poller: Poller::new()?,
        shelf,
        following,
        content,
        metainfos: HashMap::new(),
        own: HashMap::new(),
        asking: HashSet::new(),
        fetching: HashMap::new(),
        failures: Failures::default(),
        waiting: Vec::new(),
        wanted: VecDeque::new(),
        choose_at: Instant::now(),
        bytes_max: settings.bytes_max,
        order: settings.order,
        fetches_max: settings.fetches_max,
        masters: HashMap::new(),
        came,
        status,
        role: settings.role,
        may_be_promoted: settings.may_be_promoted,
        promoted: false,
        trouble: None,
        started: crate::unix_seconds(),
        name,
        looking,
        screening,
    };
    seeder.resume()?;
    for Own { metainfo, root, identities } in settings.own {
        match seeder.node.seed(&metainfo, root, identities) {
            Ok(()) => {
                seeder.own.insert(metainfo.info_hash, (metainfo.name.clone(), metainfo.total()));
            }
            Err(error) => tracing::error!(name = metainfo.name, %error, "it is not seeded"),
        }
    }
    for at in 0..seeder.following.len() {
        seeder.poll(at, Duration::ZERO, settings.poll);
    }
    ready.store(true, Ordering::Relaxed);
    tracing::info!(
        role = seeder.role.word(),
        feeds = seeder.following.len(),
        torrents = seeder.shelf.len(),
        "following"
    );
    seeder.work(uploads, coming, ordered, settings.poll, stop.clone()).await;
    ready.store(false, Ordering::Relaxed);
    stop.cancel();
    seeder.engine.stop().await;
    seeder.node.stop(STOP_TIME).await;
    pages.shutdown().await;
    seeder.screening.keep().await;
    Ok(Ended { promoted: seeder.promoted, list: seeder.following.list() })
}

impl Seeder {
    /// Goes on with what a start finds: what is complete and unchanged is seeded, without hashing it.
    fn resume(&mut self) -> Result<(), StartError> {
        self.adopt();
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
            if looking::is_same(&metainfo, &self.folder(&info_hash), identities) {
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
            if name.parse().is_ok_and(|info_hash| self.shelf.get(&info_hash).is_none()) {
                super::removal::remove_folder(&path).map_err(FileError::of("remove", &path))?;
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
        format!(
            "name={}; holds={count}; bytes={bytes}; generation={}",
            self.name,
            self.following.generation()
        )
    }
}

/// What Masters know the Seeder of this data folder by, over its starts.
fn name(data: &Path, peer_id: &[u8; 20]) -> String {
    let path = data.join(NAME);
    if let Ok(kept) = fs::read_to_string(&path)
        && (1..=NAME_BYTES_MAX).contains(&kept.len())
        // The letters of a peer ID.
        && kept.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter))
    {
        return kept;
    }
    let name: String = peer_id[8..].iter().map(|letter| char::from(*letter)).collect();
    if let Err(error) = durable::write(&path, name.as_bytes(), Readers::All) {
        // Then it is counted twice for a while after the next start.
        tracing::warn!(
            why = crate::chain(&error),
            "the name of this Seeder cannot be written down"
        );
    }
    name
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

/// Folder of what is known of torrents, in the data folder.
pub const ITEMS: &str = "items";
/// File of the Seeder's name, in the data folder.
const NAME: &str = "seeder.name";

const NAME_BYTES_MAX: usize = 64;

/// Folder of their content, in the data folder.
pub const CONTENT: &str = "content";

/// Peers of a torrent that is fetched, at most.
const PEERS_MAX: usize = 100;

/// Orders that wait at most.
const ORDERS_MAX: usize = 16;

/// How long trackers are told that we stop.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The least time that a Master is waited for.
const PATIENCE_MIN: Duration = Duration::from_secs(30);
