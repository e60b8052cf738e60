//! The start and the end of a Master: what has to be there is looked at first, and what is wrong is said in one line.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ops::tls::KeptError;
use persist::DataDirError;
use ring::digest;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::claim::{self, ClaimError};
use super::docroot::Docroot;
use super::feed_writer::{FeedWriter, feed_name, list_name};
use super::hasher::{Hasher, Making};
use super::manifest::{Item, Manifest, ManifestError, Step};
use super::names::Names;
use super::steps::{Steps, Turns};
use super::tracker::TrackerApi;
use super::upkeep::Upkeep;
use super::{Arriving, FeedState, Master};
use crate::durable::{self, FileError};
use crate::feed::{FeedAddress, KeyError, KeyPair, Page};
use crate::node::{Node, NodeError, NodeOptions};
use crate::options;
use crate::screening::{OpenError, Screening};
use crate::torrent::{self, Metainfo, TorrentError};
use crate::watch::{self as watching, Rules, Watcher};
use crate::web::status::Status;
use crate::web::{Certificates, Content, Control, Listener, ListenerError, public};

/// Why a Master does not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder is inside another one.
    #[error("{} is inside of {}: what is written there would be published; take another folder", inner.display(), outer.display())]
    Inside {
        /// A folder that is written to.
        inner: PathBuf,
        /// The watched folder.
        outer: PathBuf,
    },
    /// The data folder cannot be used, as when another process has it.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The docroot has a feed that is not this Master's.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A folder or file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The watched folder cannot be watched.
    #[error(transparent)]
    Watch(#[from] watching::StartError),
    /// The manifest cannot be used, or no longer.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A torrent of the manifest cannot be read.
    #[error(
        "a torrent in the data folder is damaged: {name}; remove its files in `items/`, and it is published again"
    )]
    Torrent {
        /// The name in the watched folder.
        name: String,
        /// What is wrong.
        source: TorrentError,
    },
    /// The key of the feed cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Peers or trackers cannot be reached.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A page cannot be served.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] KeptError),
    /// The rules about addresses cannot be used.
    #[error(transparent)]
    Screening(#[from] OpenError),
    /// The standby does not start, or has ended.
    #[error(transparent)]
    Standby(#[from] crate::seeder::StartError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] persist::DatabaseError),
    /// The epoch is not readable.
    #[error("{} does not hold a number; write a larger one there than any that Seeders have seen (their status says which)", path.display())]
    Epoch {
        /// The file.
        path: PathBuf,
    },
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] ops::options::SecretError),
    /// The HTTP client cannot be made.
    #[error(
        "the HTTP client cannot be made; are certificates installed (package ca-certificates)?"
    )]
    Http(#[from] reqwest::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A turn as the Master.
pub(super) struct Turn {
    /// Which turn it is: higher than that of any Master before.
    pub(super) epoch: u64,
    /// Whether it is still ours, which is asked before each step that others see.
    pub(super) holds: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Where a Master's own files are, looked at before anything is done with them.
pub(super) fn folders(options: &options::Master) -> Result<(PathBuf, PathBuf), StartError> {
    let data = folder(&options.data)?;
    let watch = watched(options.watch())?;
    for inner in [&data, &self::folder(options.docroot())?] {
        if inner.starts_with(&watch) {
            return Err(StartError::Inside { inner: inner.clone(), outer: watch });
        }
    }
    Ok((data, watch))
}

/// The certificate that the docroot is served with, where it is one for TLS.
fn certificates(
    options: &options::Master,
    data: &Path,
) -> Result<Option<Certificates>, StartError> {
    let (Some(certificate), Some(key)) = (&options.tls_certificate, &options.tls_key) else {
        return Ok(None);
    };
    let tickets = data.join("tls-tickets");
    Ok(Some(Certificates::open(certificate.clone(), key.clone(), tickets)?))
}

/// Is the Master until `stop`, or until the turn is over.
pub(super) async fn publish(
    options: &options::Master,
    turn: Turn,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let (data, folder) = folders(options)?;
    // What serves pages ends with this, also where the process goes on in another role.
    let stop = stop.child_token();
    let manifest = Manifest::open(&data)?;
    let docroot = Docroot::open(options.docroot())?;
    let key = Arc::new(claim::key(options)?);
    let next_key = KeyPair::next(&data)?.map(|key| key.public());
    let feed_url = options.feed_url().0.clone();
    let address = FeedAddress { url: feed_url.clone(), key: Some(key.public()) };

    let served: Arc<Content> = Arc::default();
    let (status, said) = watch::channel(Status::default());
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let control = Control::new(said, orders);
    let ready = control.ready();
    let mut pages = tokio::task::JoinSet::new();
    let screening = Screening::open(options.screening.sources(), options.screening.lookups(&data))?;
    pages.spawn(screening.clone().look_after());
    if let Some(at) = options.control {
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
    let certificates = certificates(options, &data)?;
    if let Some(at) = options.serve {
        let listener = Listener::bind("serve", at).await?;
        let transport = if certificates.is_some() { "https" } else { "http" };
        tracing::info!(address = %listener.address(), transport, "docroot, feed and files");
        if let Some(certificates) = &certificates {
            pages.spawn(certificates.clone().look_after());
        }
        let router = public(docroot.folder(), served.clone());
        let (certificates, screening) = (certificates.clone(), screening.clone());
        pages.spawn(listener.serve(router, true, certificates, screening, stop.clone()));
    }
    let node_options = NodeOptions {
        listen: options.peers.listen.clone(),
        announce_port: options.peers.announce_port,
        upload_rate: options.peers.upload_rate.map(|rate| rate.0 as u64),
        tiers: options.tracker_override.iter().map(|tier| tier.0.clone()).collect(),
        screening: screening.clone(),
    };
    let (node, uploads) = Node::start(&node_options).await?;
    tracing::info!(addresses = ?node.addresses(), port = node.port(), "listening for peers");

    let tracker = match &options.tracker_api {
        Some(control) => {
            let token = options.given_tracker_api_token()?;
            let token = token.as_ref().map_or("", |token| token.reveal());
            Some(TrackerApi::new(&control.0, token.to_owned())?)
        }
        None => None,
    };
    let (stepped, steps_done) = mpsc::unbounded_channel();
    let (written, feeds_done) = mpsc::unbounded_channel();
    let (outcomes, hashed) = mpsc::unbounded_channel();
    let steps = Steps {
        docroot: docroot.clone(),
        tracker,
        done: stepped,
        places: Arc::new(Semaphore::new(STEPS_MAX)),
        turns: Turns::default(),
    };
    let page = Page {
        title: options.feed_title.0.clone(),
        description: format!("What {} publishes", options.feed_title.0),
        link: feed_url.clone(),
        list: address.list_url(),
        ttl: 1,
        items_max: options.feed_items.into(),
    };
    let writer = FeedWriter {
        docroot: docroot.clone(),
        data: data.clone(),
        key,
        page,
        name: feed_name(&feed_url),
        served: served.clone(),
        done: written,
    };
    let making = Making {
        folder: folder.clone(),
        threads: options.hash_threads.unwrap_or_else(processors),
        piece_length: options.piece_length.map(|length| length.0),
        options: torrent::Options {
            tiers: options.tracker.iter().map(|tier| tier.0.clone()).collect(),
            private: options.private,
            source: options.source.as_ref().map(|line| line.0.clone()),
            comment: options.comment.as_ref().map(|line| line.0.clone()),
            web_seeds: Vec::new(),
            created: Some(crate::unix_seconds()),
        },
        files_url: options.files_url.as_ref().map(|url| url.0.clone()),
    };
    let hasher = Hasher::start(making, outcomes).map_err(StartError::Thread)?;

    let wanted: HashSet<_> = manifest.items().map(|item| item.info_hash).collect();
    let strayed = docroot.tidy(&wanted)?;
    if strayed > 0 {
        tracing::info!(strayed, "torrents that nobody knew were removed from the docroot");
    }
    for list in docroot.remove_renamed(&list_name(&feed_name(&feed_url)))? {
        tracing::warn!(
            list,
            feed = %feed_url,
            "the feed has another name now, and its files under the old one were removed: who follows the old address finds \
             nothing there until he is given the new one"
        );
    }
    let mut names = Names::default();
    let stays = |item: &&Item| item.step != Step::Withdrawing && !manifest.is_kept_out(item);
    for item in manifest.items().filter(stays) {
        names.restore(&item.name, item.info_hash, item.files_were.look());
    }
    for known in manifest.names() {
        if let Some(files) = &known.withdrawn {
            names.restore_kept_out(&known.name, files.look());
        }
    }
    let watching = watching::Options {
        rules: rules(options),
        published: manifest
            .items()
            .filter(|item| stays(item) && item.root == folder)
            .map(|item| (OsString::from(&item.name), item.files_were.look()))
            .collect(),
        known: manifest.folder(),
        ..watching::Options::new(&folder)
    };
    let (watcher, watched) = Watcher::start(watching)?;
    let arriving = Arriving {
        watched,
        uploads,
        hashed,
        stepped: steps_done,
        written: feeds_done,
        orders: ordered,
    };
    let mut master = Master {
        folder,
        node,
        manifest,
        names,
        watcher,
        hasher,
        steps,
        writer,
        served,
        base: feed_url.join(".").expect("a URL has a folder"),
        epoch: turn.epoch,
        holds: turn.holds,
        next_key,
        torrents: HashMap::new(),
        feed: FeedState {
            is_dirty: true,
            is_being_written: false,
            next: Instant::now(),
            last: None,
            new: HashSet::new(),
            trouble: None,
        },
        upkeep: Upkeep::new(),
        refreshed: HashSet::new(),
        withdrawing: HashSet::new(),
        entering: HashMap::new(),
        leaving: HashSet::new(),
        returning: HashMap::new(),
        hashed: HashMap::new(),
        delayed: HashMap::new(),
        lost: None,
        confirmed_until: None,
        undone: Vec::new(),
        undone_next: Instant::now(),
        data_trouble: None,
        certificates,
        screening,
        status,
        started: crate::unix_seconds(),
    };
    master.resume()?;
    ready.store(true, Ordering::Relaxed);
    tracing::info!(feed = %address, epoch = turn.epoch, "publishing; Seeders follow this address");
    master.work(arriving, stop.clone()).await;
    ready.store(false, Ordering::Relaxed);
    stop.cancel();
    master.node.stop(STOP_TIME).await;
    pages.shutdown().await;
    master.screening.keep().await;
    Ok(())
}

impl Master {
    /// Goes on with what a start finds: each torrent where it was.
    fn resume(&mut self) -> Result<(), StartError> {
        let items: Vec<_> = self.manifest.items().cloned().collect();
        let count = items.len();
        for item in items {
            if item.step == Step::Withdrawing {
                self.leaving.insert(item.info_hash);
                continue;
            }
            let bytes = self.manifest.torrent(&item.info_hash)?;
            let metainfo = Metainfo::parse(bytes)
                .map_err(|source| StartError::Torrent { name: item.name.clone(), source })?;
            self.enter(&item, Arc::new(metainfo));
            if self.manifest.is_kept_out(&item) {
                self.withdraw(item.info_hash);
            } else if item.step == Step::Published {
                // Tracker and docroot know it; that they are told once more has time.
                self.seed_if_same(&item);
            }
        }
        self.commit();
        if count > 0 {
            tracing::info!(torrents = count, "known from before");
        }
        Ok(())
    }
}

fn rules(options: &options::Master) -> Rules {
    Rules {
        settle: options.settle,
        overwrite: options.overwrite.rule(),
        overwrite_settle: options.overwrite_settle,
        done_marker: options.done_marker,
        ..Rules::default()
    }
}

/// Where Seeders find this node, without asking a tracker. An unspecified address stands for the host of the feed.
pub(super) fn masters(node: &Node) -> Vec<SocketAddr> {
    let mut masters: Vec<SocketAddr> = node.addresses().to_vec();
    masters.iter_mut().for_each(|address| address.set_port(node.port()));
    masters
}

/// Makes a folder and says where it really is.
fn folder(path: &Path) -> Result<PathBuf, FileError> {
    durable::folder(path)?;
    path.canonicalize().map_err(FileError::of("find the folder", path))
}

/// Where the watched folder really is. It is not made: a folder that is not there is rather one that is not mounted.
fn watched(path: &Path) -> Result<PathBuf, FileError> {
    path.canonicalize().map_err(FileError::of("find the watched folder", path))
}

/// SHA-256 of a file.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Orders that wait at most.
const ORDERS_MAX: usize = 16;

/// Torrents whose tracker and docroot are told at a time.
const STEPS_MAX: usize = 16;

/// How long trackers are told that we stop.
const STOP_TIME: Duration = Duration::from_secs(5);
