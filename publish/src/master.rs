//! The Master: a file that came becomes a torrent that is seeded and told of.
//!
//! `watch` says what is in the folder, `names` what is to be done about it, `hasher` hashes, `steps` take a torrent into
//! the world and out of it, `feed_writer` writes the feed, and `manifest` keeps what must outlive the process. This file
//! joins them: one task takes what each of them says, one after the other.

mod docroot;
mod feed_writer;
mod hasher;
mod manifest;
mod names;
mod report;
mod role;
mod start;
mod steps;
mod tracker;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shard::InfoHash;
use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;
use tokio::time::interval;

use crate::durable::{self, Readers};
use crate::engine::upload;
use crate::feed::{self, List};
use crate::node::Node;
use crate::torrent::Metainfo;
use crate::watch::{Event, Folder, Look, Watcher};
use crate::web::status::Status;
use crate::web::{Command, Content, Ordered};
use feed_writer::{FeedWriter, WriteError, Written};
use hasher::{Hasher, Outcome};
use manifest::{Files, Item, Known, Manifest, ManifestError, Step};
use names::{Act, Names, Seen};
use steps::{Stepped, Steps};

pub use role::{key, run};
pub use start::StartError;

/// A Master at work.
struct Master {
    data: PathBuf,
    folder: PathBuf,
    node: Node,
    manifest: Manifest,
    names: Names,
    watcher: Watcher,
    hasher: Hasher,
    steps: Steps,
    writer: FeedWriter,
    served: Arc<Content>,
    /// URL of the folder in which `torrents/` is.
    base: url::Url,
    epoch: u64,
    /// Whether it is still our turn.
    holds: Box<dyn Fn() -> bool + Send + Sync>,
    /// The key that is to follow, during a rotation.
    next_key: Option<feed::PublicKey>,
    torrents: HashMap<InfoHash, Torrent>,
    feed: FeedState,
    /// Torrents that are withdrawn once a list without them is out.
    leaving: HashSet<InfoHash>,
    /// What is published again when it has been withdrawn.
    returning: HashMap<InfoHash, (String, Look, Box<Metainfo>)>,
    /// Torrents that were hashed and are to be published.
    hashed: HashMap<InfoHash, Box<Metainfo>>,
    /// Why a torrent's steps are delayed, or are refused.
    delayed: HashMap<InfoHash, String>,
    /// Why the folder is not watched.
    lost: Option<String>,
    confirmed_until: Option<Instant>,
    status: watch::Sender<Status>,
    started: u64,
}

/// A torrent as it is handed out.
struct Torrent {
    metainfo: Arc<Metainfo>,
    torrent_sha256: [u8; 32],
    /// Tracker and docroot have it.
    offered: bool,
}

/// How the feed is.
struct FeedState {
    /// What is out is not what should be.
    is_dirty: bool,
    is_being_written: bool,
    /// Not before this.
    next: Instant,
    last: Option<Arc<List>>,
    trouble: Option<String>,
}

/// What arrives at the Master.
struct Arriving {
    watched: mpsc::Receiver<Event>,
    uploads: mpsc::UnboundedReceiver<upload::Event>,
    hashed: mpsc::UnboundedReceiver<Outcome>,
    stepped: mpsc::UnboundedReceiver<Stepped>,
    written: mpsc::UnboundedReceiver<Result<Written, WriteError>>,
    orders: mpsc::Receiver<Ordered>,
}

impl Master {
    /// Works until `stop`.
    ///
    /// # Errors
    /// When the manifest cannot be written: what is published then would not be known after a start.
    async fn work(
        &mut self,
        mut arriving: Arriving,
        stop: tokio_util::sync::CancellationToken,
    ) -> Result<(), ManifestError> {
        let mut ticks = interval(TICK);
        let mut reports = interval(REPORT);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(event) = arriving.watched.recv() => self.watched(event)?,
                Some(upload::Event::Changed { info_hash, path, how }) = arriving.uploads.recv() => {
                    tracing::info!(torrent = %info_hash, path = %path.display(), ?how, "its file is not what was hashed; it is seeded no more");
                    let acts = self.names.changed(&info_hash);
                    self.act(acts)?;
                }
                Some(outcome) = arriving.hashed.recv() => self.hashed(outcome)?,
                Some(stepped) = arriving.stepped.recv() => self.stepped(stepped)?,
                Some(written) = arriving.written.recv() => self.written(written)?,
                Some((command, reply)) = arriving.orders.recv() => {
                    let done = self.order(command)?;
                    // Whoever asked may be gone.
                    let _ = reply.send(done);
                }
                _ = ticks.tick() => self.write_feed()?,
                _ = reports.tick() => {
                    let status = self.report();
                    self.status.send_replace(status);
                }
            }
        }
    }

    fn watched(&mut self, event: Event) -> Result<(), ManifestError> {
        let (name, state) = match event {
            Event::Name { name, state } => (name, state),
            Event::Folder(Folder::Watching { path, how, identity }) => {
                tracing::info!(folder = %path.display(), ?how, "watching");
                self.lost = None;
                let known = serde_json::to_vec(&(identity.device, identity.inode))
                    .expect("numbers are JSON");
                let path = self.data.join(start::FOLDER);
                block_in_place(|| durable::write(&path, &known, Readers::All))?;
                return Ok(());
            }
            Event::Folder(Folder::Lost(why)) => {
                tracing::error!(folder = %self.folder.display(), why, "the watched folder is lost; nothing is withdrawn");
                self.lost = Some(why);
                return Ok(());
            }
        };
        let Some(name) = name.to_str() else {
            tracing::warn!(name = %name.to_string_lossy(), "a name that is not UTF-8 cannot be published; rename it");
            return Ok(());
        };
        let seen = names::seen(state);
        if let Seen::Failed(why) = &seen {
            tracing::warn!(name, why, "it cannot be published");
        }
        let acts = self.names.see(name, seen);
        self.act(acts)
    }

    fn hashed(&mut self, outcome: Outcome) -> Result<(), ManifestError> {
        let Outcome { name, look, metainfo, hashed } = outcome;
        if let names::Hashed::Failed(why) = &hashed {
            tracing::warn!(name, why, "it cannot be published");
        }
        if let Some(metainfo) = metainfo {
            self.hashed.insert(metainfo.info_hash, metainfo);
        }
        let acts = self.names.hear(&name, &look, hashed);
        self.act(acts)?;
        self.hashed.clear();
        Ok(())
    }

    fn act(&mut self, acts: Vec<Act>) -> Result<(), ManifestError> {
        for act in acts {
            match act {
                Act::Hash(name, look) => self.hasher.hash(&name, look),
                Act::Cancel(name) => self.hasher.cancel(&name),
                Act::Look(name) => self.watcher.again(OsStr::new(&name)),
                Act::Silence(info_hash) => self.silence(&info_hash),
                Act::Refresh(info_hash, look) => self.refresh(info_hash, &look)?,
                Act::Publish(name, info_hash, look) => {
                    if let Some(metainfo) = self.hashed.remove(&info_hash) {
                        self.publish(name, look, metainfo)?;
                    }
                }
                Act::Withdraw(info_hash) => self.withdraw(info_hash)?,
                Act::KeepOut(name, look) => {
                    let known = self.manifest.known(&name).cloned().unwrap_or_default();
                    let withdrawn = look.as_ref().and_then(Files::of);
                    block_in_place(|| self.manifest.know(Known { name, withdrawn, ..known }))?;
                }
            }
        }
        Ok(())
    }

    /// Nobody gets bytes of a torrent whose files are not what they were.
    fn silence(&mut self, info_hash: &InfoHash) {
        self.node.leave(info_hash);
        if let Some(item) = self.manifest.item(info_hash) {
            self.served.remove_files(&item.files_were.paths(&item.name));
        }
    }

    /// The files of a torrent are others, with the same bytes.
    fn refresh(&mut self, info_hash: InfoHash, look: &Look) -> Result<(), ManifestError> {
        let (Some(item), Some(files_were)) = (self.manifest.item(&info_hash), Files::of(look))
        else {
            return Ok(());
        };
        let item = Item { files_were, root: self.folder.clone(), ..item.clone() };
        self.watcher.published(OsStr::new(&item.name), look.clone());
        self.seed(&item);
        if self.manifest.item(&info_hash) != Some(&item) {
            block_in_place(|| self.manifest.put(item))?;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        name: String,
        look: Look,
        metainfo: Box<Metainfo>,
    ) -> Result<(), ManifestError> {
        let Some(files_were) = Files::of(&look) else { return Ok(()) };
        let info_hash = metainfo.info_hash;
        if self.manifest.item(&info_hash).is_some() {
            // It is on its way out, and comes in again behind that.
            self.returning.insert(info_hash, (name, look, metainfo));
            return Ok(());
        }
        let item = Item {
            info_hash,
            title: self.manifest.next_title(&name),
            size: metainfo.total(),
            files: metainfo.files.len() as u64,
            files_were,
            published: crate::unix_seconds(),
            root: self.folder.clone(),
            step: Step::Publishing,
            name,
        };
        block_in_place(|| self.manifest.begin(item.clone(), &metainfo.bytes))?;
        self.watcher.published(OsStr::new(&item.name), look);
        tracing::info!(name = item.name, torrent = %info_hash, bytes = item.size, "hashed; it is being published");
        self.enter(&item, Arc::new(*metainfo));
        Ok(())
    }

    /// A torrent of the manifest goes into the world: it is seeded, and tracker and docroot are told.
    fn enter(&mut self, item: &Item, metainfo: Arc<Metainfo>) {
        let bytes = metainfo.bytes.clone();
        let torrent_sha256 = start::sha256(&bytes);
        let torrent = Torrent { metainfo, torrent_sha256, offered: item.step == Step::Published };
        self.torrents.insert(item.info_hash, torrent);
        self.steps.offer(item.info_hash, item.name.clone(), bytes);
    }

    /// Uploads and announces a torrent whose files are what they were.
    fn seed(&mut self, item: &Item) {
        let Some(torrent) = self.torrents.get(&item.info_hash) else { return };
        self.node.leave(&item.info_hash);
        match self.node.seed(&torrent.metainfo, item.root.clone(), item.files_were.identities()) {
            Ok(()) => self.served.put_files(&item.root, &item.files_were.paths(&item.name)),
            Err(error) => tracing::error!(name = item.name, %error, "it is not seeded"),
        }
    }

    fn withdraw(&mut self, info_hash: InfoHash) -> Result<(), ManifestError> {
        self.returning.remove(&info_hash);
        let Some(item) = self.manifest.item(&info_hash) else { return Ok(()) };
        tracing::info!(name = item.name, torrent = %info_hash, "it is being withdrawn");
        self.watcher.withdrawn(OsStr::new(&item.name));
        let item = Item { step: Step::Withdrawing, ..item.clone() };
        block_in_place(|| self.manifest.put(item))?;
        self.leaving.insert(info_hash);
        self.feed.is_dirty = true;
        Ok(())
    }

    fn stepped(&mut self, stepped: Stepped) -> Result<(), ManifestError> {
        match stepped {
            Stepped::Offered(info_hash) => {
                self.delayed.remove(&info_hash);
                let Some(item) = self.manifest.item(&info_hash).cloned() else { return Ok(()) };
                if item.step != Step::Withdrawing {
                    self.seed_if_same(&item)?;
                    if let Some(torrent) = self.torrents.get_mut(&info_hash) {
                        torrent.offered = true;
                    }
                    self.feed.is_dirty |= item.step == Step::Publishing;
                }
            }
            Stepped::Refused(info_hash, why) => {
                tracing::error!(torrent = %info_hash, why, "it is not published");
                self.delayed.insert(info_hash, why);
            }
            Stepped::Delayed(info_hash, why) => {
                if self.delayed.insert(info_hash, why.clone()).is_none() {
                    tracing::warn!(torrent = %info_hash, why, "its next step is delayed");
                }
            }
            Stepped::Withdrawn(info_hash) => {
                self.delayed.remove(&info_hash);
                self.silence(&info_hash);
                self.torrents.remove(&info_hash);
                if let Some(item) = self.manifest.item(&info_hash) {
                    tracing::info!(name = item.name, torrent = %info_hash, "withdrawn");
                }
                block_in_place(|| self.manifest.forget(&info_hash))?;
                if let Some((name, look, metainfo)) = self.returning.remove(&info_hash) {
                    self.publish(name, look, metainfo)?;
                }
            }
        }
        Ok(())
    }

    /// Seeds what the tracker serves, where its files are still the ones that were hashed.
    fn seed_if_same(&mut self, item: &Item) -> Result<(), ManifestError> {
        let path = item.root.join(&item.name);
        let now = block_in_place(|| Files::of(&crate::watch::look(&path)));
        match now {
            Some(now) if now == item.files_were => self.seed(item),
            Some(now) if now.is_moved(&item.files_were) => {
                // Numbers of devices change over a restart of the machine.
                let item = Item { files_were: now, ..item.clone() };
                self.names.restore(&item.name, item.info_hash, item.files_were.look());
                self.seed(&item);
                block_in_place(|| self.manifest.put(item))?;
            }
            // The watcher finds the same, and says what it is now.
            _ if item.root == self.folder => self.watcher.again(OsStr::new(&item.name)),
            _ => {
                tracing::warn!(name = item.name, torrent = %item.info_hash, "its content is not here whole; it is published and not seeded here")
            }
        }
        Ok(())
    }

    /// Writes the feed, where it is not what it should be and the last one is out.
    fn write_feed(&mut self) -> Result<(), ManifestError> {
        let feed = &mut self.feed;
        if !feed.is_dirty || feed.is_being_written || Instant::now() < feed.next || !(self.holds)()
        {
            return Ok(());
        }
        feed.is_dirty = false;
        feed.is_being_written = true;
        let generation = block_in_place(|| self.manifest.next_generation())?;
        let mut items: Vec<feed::Item> = self
            .manifest
            .items()
            .filter(|item| item.step != Step::Withdrawing)
            .filter_map(|item| self.told(item))
            .collect();
        items.sort_by_key(|item| (item.published, item.info_hash));
        let items_count = items.len();
        let list = List {
            epoch: self.epoch,
            generation,
            made: crate::unix_seconds(),
            items,
            masters: start::masters(&self.node),
            withdraw: self.is_meant(items_count),
            next_key: self.next_key,
        };
        self.writer.write(list);
        Ok(())
    }

    /// Whether Seeders are told that all that vanished is meant: the operator says so, or the last of a few went, as
    /// they do not believe an empty list otherwise.
    fn is_meant(&self, items: usize) -> bool {
        let confirmed = self.confirmed_until.is_some_and(|until| Instant::now() < until);
        let few = feed::RemovalRules::default().few;
        let last = self.feed.last.as_ref();
        confirmed
            || (items == 0
                && last.is_some_and(|list| {
                    list.items.len() <= few && (list.withdraw || !list.items.is_empty())
                }))
    }

    /// A torrent as the list tells of it, where tracker and docroot have it.
    fn told(&self, item: &Item) -> Option<feed::Item> {
        let torrent = self.torrents.get(&item.info_hash).filter(|torrent| torrent.offered)?;
        let path = docroot::Docroot::torrent_path(&item.info_hash);
        Some(feed::Item {
            info_hash: item.info_hash,
            name: item.name.clone(),
            title: item.title.clone(),
            size: item.size,
            files: item.files,
            published: item.published,
            torrent_url: self.base.join(&path).expect("hex is a path").to_string(),
            torrent_length: torrent.metainfo.bytes.len() as u64,
            torrent_sha256: torrent.torrent_sha256,
        })
    }

    fn written(&mut self, written: Result<Written, WriteError>) -> Result<(), ManifestError> {
        let feed = &mut self.feed;
        feed.is_being_written = false;
        let Written { list, took } = match written {
            Ok(written) => written,
            Err(error) => {
                let why = crate::chain(&error);
                tracing::error!(
                    why,
                    "the feed cannot be written; it is tried again, and nothing is withdrawn until then"
                );
                feed.trouble = Some(why);
                feed.is_dirty = true;
                feed.next = Instant::now() + FEED_RETRY;
                return Ok(());
            }
        };
        feed.trouble = None;
        // Large lists take their time: most of it is left to everything else.
        feed.next = Instant::now() + took * 4;
        let told: HashSet<InfoHash> = list.items.iter().map(|item| item.info_hash).collect();
        for info_hash in &told {
            let item = self.manifest.item(info_hash).filter(|item| item.step == Step::Publishing);
            if let Some(item) = item.cloned() {
                tracing::info!(name = item.name, torrent = %info_hash, generation = list.generation, "published");
                block_in_place(|| self.manifest.put(Item { step: Step::Published, ..item }))?;
            }
        }
        for info_hash in
            self.leaving.extract_if(|info_hash| !told.contains(info_hash)).collect::<Vec<_>>()
        {
            self.steps.withdraw(info_hash);
        }
        self.feed.last = Some(Arc::new(list));
        Ok(())
    }

    fn order(&mut self, command: Command) -> Result<Result<String, String>, ManifestError> {
        let (name, acts, done) = match command {
            Command::Withdraw { name } => {
                let acts = self.names.withdraw(&name);
                (name, acts, "is being withdrawn; it stays out until its content changes")
            }
            Command::Republish { name } => {
                if let Some((info_hash, item)) = self.refused_of(&name) {
                    let bytes = block_in_place(|| self.manifest.torrent(&info_hash))?;
                    self.delayed.remove(&info_hash);
                    self.steps.offer(info_hash, item.name.clone(), bytes);
                }
                let acts = self.names.republish(&name);
                (name, acts, "is being published")
            }
            Command::Confirm => {
                self.confirmed_until = Some(Instant::now() + CONFIRMED);
                self.feed.is_dirty = true;
                return Ok(Ok("Seeders are told that what has vanished is meant to be gone, for the next hour".to_owned()));
            }
            Command::AcceptFolder => {
                self.watcher.accept_folder();
                return Ok(Ok("the folder is the one that is watched from now on; what is not in it is withdrawn".to_owned()));
            }
            Command::Promote => return Ok(Err("this is the Master already".to_owned())),
        };
        match acts {
            Ok(acts) => {
                self.act(acts)?;
                Ok(Ok(format!("{name:?} {done}")))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    /// The torrent of a name whose steps were refused.
    fn refused_of(&self, name: &str) -> Option<(InfoHash, Item)> {
        let mut items = self.manifest.items();
        let item = items.find(|item| item.name == name && item.step == Step::Publishing)?;
        self.delayed.contains_key(&item.info_hash).then(|| (item.info_hash, item.clone()))
    }
}

/// How often it is looked whether the feed has to be written.
const TICK: Duration = Duration::from_millis(100);

/// How often the status is made.
const REPORT: Duration = Duration::from_secs(1);

/// How long after a feed could not be written it is tried again.
const FEED_RETRY: Duration = Duration::from_secs(5);

/// How long the word holds that what vanished is meant to be gone. Seeders poll more often.
const CONFIRMED: Duration = Duration::from_secs(3600);
