//! The Master: a file that came becomes a torrent that is seeded and told of.
//!
//! `watch` says what is in the folder, `names` what is to be done about it, `hasher` hashes, `steps` take a torrent into
//! the world and out of it, `feed_writer` writes the feed, and `manifest` keeps what must outlive the process. This file
//! joins them: one task takes what each of them says, one after the other, and as much of it at a time as is there.
//! What that changes in the manifest is put on disk together, before anybody else is told of it.

mod claim;
mod docroot;
mod feed_writer;
mod hasher;
mod manifest;
mod names;
mod orders;
mod report;
mod role;
mod start;
mod steps;
mod tracker;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shard::InfoHash;
use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

use crate::engine::upload;
use crate::feed::{self, List};
use crate::node::Node;
use crate::screening::Screening;
use crate::torrent::Metainfo;
use crate::watch::{Event, Folder, Look, State, Watcher};
use crate::web::status::Status;
use crate::web::{Certificates, Content, Ordered};
use feed_writer::{FeedWriter, WriteError, Written};
use hasher::{Hasher, Outcome};
use manifest::{Files, Item, Known, Manifest, ManifestError, Step};
use names::{Act, Names, Seen};
use steps::{Stepped, Steps};
use upkeep::Upkeep;

pub use claim::{NEW_KEY, has_published};
pub use role::run;
pub use start::StartError;

/// A Master at work.
struct Master {
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
    upkeep: Upkeep,
    /// Torrents whose files are others: written down with the next `commit`.
    refreshed: HashSet<InfoHash>,
    /// Torrents that go: written down with the next `commit`, and nothing is done before that.
    withdrawing: HashSet<InfoHash>,
    /// Torrents that are published, with their names: as those that go.
    entering: HashMap<InfoHash, (String, Box<Metainfo>)>,
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
    /// What could not be written down, and waits until it can.
    undone: Vec<Undone>,
    /// When it is tried again.
    undone_next: Instant,
    /// Why the data folder cannot be written to.
    data_trouble: Option<String>,
    /// Those that the docroot is served with, where it is over TLS.
    certificates: Option<Certificates>,
    screening: Screening,
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

/// A step that has to be written down before it is done. While it cannot, as on a full disk, all else goes on.
enum Undone {
    Publish(String, InfoHash, Box<Metainfo>),
    Withdraw(InfoHash),
    Forget(InfoHash),
    Know(Known),
}

/// How the feed is.
struct FeedState {
    /// What is out is not what should be.
    is_dirty: bool,
    is_being_written: bool,
    /// Not before this.
    next: Instant,
    last: Option<Arc<List>>,
    /// What no list was out with yet.
    new: HashSet<InfoHash>,
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
    async fn work(&mut self, mut arriving: Arriving, stop: tokio_util::sync::CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = Instant::now();
        let (mut events, mut outcomes, mut all_stepped) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                1.. = arriving.watched.recv_many(&mut events, BATCH) => {
                    events.drain(..).for_each(|event| self.watched(event));
                }
                Some(upload::Event::Changed { info_hash, path, how }) = arriving.uploads.recv() => {
                    tracing::info!(torrent = %info_hash, path = %path.display(), ?how, "its file is not what was hashed; it is seeded no more");
                    let acts = self.names.changed(&info_hash);
                    self.act(acts);
                }
                1.. = arriving.hashed.recv_many(&mut outcomes, BATCH) => {
                    outcomes.drain(..).for_each(|outcome| self.hashed(outcome));
                }
                1.. = arriving.stepped.recv_many(&mut all_stepped, BATCH) => {
                    all_stepped.drain(..).for_each(|stepped| self.stepped(stepped));
                }
                Some(written) = arriving.written.recv() => self.written(written),
                Some((command, reply)) = arriving.orders.recv() => {
                    let done = self.order(command);
                    self.commit();
                    // Whoever asked may be gone.
                    let _ = reply.send(done);
                }
                _ = ticks.tick() => {
                    self.do_undone();
                    self.write_feed();
                    self.look_after_docroot();
                    if Instant::now() >= report {
                        let from = Instant::now();
                        let status = self.report();
                        self.status.send_replace(status);
                        // Of many files it is seldom made: never more than a part of the time.
                        report = from + REPORT.max(from.elapsed() * REPORT_PART);
                    }
                }
            }
            self.commit();
        }
    }

    /// What came together is written down together, and then whoever is to be told of it is told. What cannot be written
    /// down is put off, and all else goes on.
    fn commit(&mut self) {
        if !self.refreshed.is_empty() {
            let refreshed = std::mem::take(&mut self.refreshed);
            let items: Vec<Item> = refreshed
                .iter()
                .filter_map(|info_hash| self.manifest.item(info_hash).cloned())
                .collect();
            let torrents = items.len();
            if let Err(error) = block_in_place(|| self.manifest.put_all(items)) {
                tracing::warn!(
                    torrents,
                    why = crate::chain(&error),
                    "they will be looked at or hashed again after a start"
                );
            }
        }
        if !self.withdrawing.is_empty() {
            self.commit_withdrawing();
        }
        if !self.entering.is_empty() {
            self.commit_entering();
        }
    }

    fn commit_withdrawing(&mut self) {
        let items: Vec<Item> = std::mem::take(&mut self.withdrawing)
            .iter()
            .filter_map(|info_hash| self.manifest.item(info_hash))
            // What is on its way out already goes it once.
            .filter(|item| item.step != Step::Withdrawing)
            .map(|item| Item { step: Step::Withdrawing, ..item.clone() })
            .collect();
        let leaving: Vec<InfoHash> = items.iter().map(|item| item.info_hash).collect();
        if block_in_place(|| self.manifest.put_all(items.clone())).is_ok() {
            self.feed.is_dirty |= !leaving.is_empty();
            self.leaving.extend(leaving);
            return;
        }
        // As many as there is room for.
        let mut is_full = false;
        for item in items {
            let info_hash = item.info_hash;
            if is_full {
                self.undone.push(Undone::Withdraw(info_hash));
            } else if let Err(error) = block_in_place(|| self.manifest.put_all(vec![item])) {
                is_full = true;
                self.put_off(&error, Undone::Withdraw(info_hash));
            } else {
                self.leaving.insert(info_hash);
                self.feed.is_dirty = true;
            }
        }
    }

    fn commit_entering(&mut self) {
        let mut new = Vec::new();
        for (info_hash, (name, metainfo)) in std::mem::take(&mut self.entering) {
            // It may be another one by now, or gone.
            let torrent = self.names.torrent(&name).filter(|(is, _)| *is == info_hash);
            let Some((_, look)) = torrent.cloned() else { continue };
            let Some(files_were) = Files::of(&look) else { continue };
            if self.manifest.item(&info_hash).is_some() {
                // It is on its way out, and comes in again behind that.
                self.returning.insert(info_hash, (name, look, metainfo));
                continue;
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
            new.push((item, look, metainfo));
        }
        // Small ones first: where one finds no room, those that follow find none either.
        new.sort_by_key(|(_, _, metainfo)| metainfo.bytes.len());
        let (mut new, mut is_full) = (new.into_iter(), false);
        while new.len() > 0 {
            let batch: Vec<_> = new.by_ref().take(BATCH).collect();
            let written: Vec<_> = batch
                .iter()
                .map(|(item, _, metainfo)| (item.clone(), metainfo.bytes.clone()))
                .collect();
            let all = !is_full && block_in_place(|| self.manifest.begin_all(&written)).is_ok();
            for ((item, look, metainfo), written) in batch.into_iter().zip(&written) {
                if is_full {
                    let undone = Undone::Publish(item.name, item.info_hash, metainfo);
                    self.undone.push(undone);
                    continue;
                }
                // As many as there is room for.
                let one = std::slice::from_ref(written);
                if !all && let Err(error) = block_in_place(|| self.manifest.begin_all(one)) {
                    is_full = true;
                    self.put_off(&error, Undone::Publish(item.name, item.info_hash, metainfo));
                    continue;
                }
                self.watcher.published(OsStr::new(&item.name), look);
                tracing::info!(name = item.name, torrent = %item.info_hash, bytes = item.size, "hashed; it is being published");
                self.enter(&item, Arc::new(*metainfo));
            }
        }
    }

    fn watched(&mut self, event: Event) {
        let (name, state) = match event {
            Event::Name { name, state } => (name, state),
            Event::Folder(Folder::Watching { path, how, identity }) => {
                tracing::info!(folder = %path.display(), ?how, "watching");
                self.lost = None;
                if self.manifest.folder() != Some(identity)
                    && let Err(error) = block_in_place(|| self.manifest.know_folder(identity))
                {
                    tracing::warn!(
                        why = crate::chain(&error),
                        "which folder it is will not be known after a start"
                    );
                }
                return;
            }
            Event::Folder(Folder::Lost(why)) => {
                tracing::error!(folder = %self.folder.display(), why, "the watched folder is lost; nothing is withdrawn, and nothing new is published until it is back. If it is another one on purpose, say `margay publish confirm`");
                self.lost = Some(why);
                return;
            }
        };
        let Some(name) = name.to_str() else {
            if self.names.see_unreadable(&name, &names::seen(state)) {
                tracing::warn!(name = %name.to_string_lossy(), "{}", names::UNREADABLE);
            }
            return;
        };
        if let State::Changed(how) = &state {
            tracing::info!(
                name,
                ?how,
                "its files have changed; it is not served until it is known what they are"
            );
        }
        let seen = names::seen(state);
        if let Seen::Failed(why) = &seen {
            tracing::warn!(name, why, "it cannot be published");
        }
        let acts = self.names.see(name, seen);
        self.act(acts);
    }

    fn hashed(&mut self, outcome: Outcome) {
        let Outcome { name, look, metainfo, hashed } = outcome;
        if let names::Hashed::Failed(why) = &hashed {
            tracing::warn!(name, why, "it cannot be published");
        }
        if let Some(metainfo) = metainfo {
            self.hashed.insert(metainfo.info_hash, metainfo);
        }
        let acts = self.names.hear(&name, &look, hashed);
        self.act(acts);
        self.hashed.clear();
    }

    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Hash(name, look) => self.hasher.hash(&name, look),
                Act::Cancel(name) => self.hasher.cancel(&name),
                Act::Look(name) => self.watcher.again(OsStr::new(&name)),
                Act::Silence(info_hash) => self.silence(&info_hash),
                Act::Refresh(info_hash, look) => self.refresh(info_hash, &look),
                Act::Publish(name, info_hash, look) => {
                    if let Some(metainfo) = self.hashed.remove(&info_hash) {
                        self.publish(name, look, metainfo);
                    }
                }
                Act::Withdraw(info_hash) => {
                    self.returning.remove(&info_hash);
                    self.withdraw(info_hash);
                }
                Act::Warn(name, why) => {
                    tracing::warn!(
                        name,
                        why,
                        "it is published and is not served here until this is mended"
                    );
                }
                Act::KeepOut(name, look) => {
                    let known = self.manifest.known(&name).cloned().unwrap_or_default();
                    let withdrawn = look.as_ref().and_then(Files::of);
                    self.know(Known { name, withdrawn, ..known });
                }
            }
        }
    }

    fn know(&mut self, known: Known) {
        self.undone.retain(|undone| !matches!(undone, Undone::Know(old) if old.name == known.name));
        if let Err(error) = block_in_place(|| self.manifest.know(known.clone())) {
            self.put_off(&error, Undone::Know(known));
        }
    }

    /// The data folder cannot be written to: this is done when it can.
    fn put_off(&mut self, error: &ManifestError, undone: Undone) {
        let why = crate::chain(error);
        if self.data_trouble.is_none() {
            tracing::error!(
                why,
                "the data folder cannot be written to; it is tried again, and nothing is published or withdrawn until then"
            );
        }
        self.data_trouble = Some(why);
        self.undone_next = Instant::now() + FEED_RETRY;
        self.undone.push(undone);
    }

    fn do_undone(&mut self) {
        if self.undone.is_empty() || Instant::now() < self.undone_next {
            return;
        }
        let before = self.data_trouble.take();
        for next in std::mem::take(&mut self.undone) {
            match next {
                Undone::Publish(name, info_hash, metainfo) => {
                    self.entering.insert(info_hash, (name, metainfo));
                }
                Undone::Withdraw(info_hash) => _ = self.withdrawing.insert(info_hash),
                later if self.data_trouble.is_some() => self.undone.push(later),
                Undone::Forget(info_hash) => self.forget(&info_hash),
                Undone::Know(known) => self.know(known),
            }
        }
        self.commit();
        if before.is_some() && self.undone.is_empty() {
            tracing::info!("the data folder can be written to again");
        }
    }

    /// Nobody gets bytes of a torrent whose files are not what they were.
    fn silence(&mut self, info_hash: &InfoHash) {
        self.node.leave(info_hash);
        if let Some(item) = self.manifest.item(info_hash) {
            self.served.hold_files(*info_hash, &item.files_were.paths(&item.name));
        }
    }

    /// The files of a torrent are others, with the same bytes.
    fn refresh(&mut self, info_hash: InfoHash, look: &Look) {
        let (Some(item), Some(files_were)) = (self.manifest.item(&info_hash), Files::of(look))
        else {
            return;
        };
        let item = Item { files_were, root: self.folder.clone(), ..item.clone() };
        self.watcher.published(OsStr::new(&item.name), look.clone());
        self.seed(&item);
        if self.manifest.item(&info_hash) != Some(&item) {
            self.manifest.remember(item);
            self.refreshed.insert(info_hash);
        }
    }

    fn publish(&mut self, name: String, look: Look, metainfo: Box<Metainfo>) {
        let info_hash = metainfo.info_hash;
        if self.manifest.item(&info_hash).is_some() {
            // It is on its way out, and comes in again behind that.
            self.returning.insert(info_hash, (name, look, metainfo));
        } else {
            self.entering.insert(info_hash, (name, metainfo));
        }
    }

    /// A torrent of the manifest goes into the world: tracker and docroot are told, and then it is seeded.
    fn enter(&mut self, item: &Item, metainfo: Arc<Metainfo>) {
        let bytes = metainfo.bytes.clone();
        let torrent_sha256 = start::sha256(&bytes);
        let torrent = Torrent { metainfo, torrent_sha256, offered: item.step == Step::Published };
        self.torrents.insert(item.info_hash, torrent);
        self.served.hold_files(item.info_hash, &item.files_were.paths(&item.name));
        self.steps.offer(item.info_hash, item.name.clone(), bytes);
    }

    /// Uploads and announces a torrent whose files are what they were.
    fn seed(&mut self, item: &Item) {
        let Some(torrent) = self.torrents.get(&item.info_hash) else { return };
        self.node.leave(&item.info_hash);
        match self.node.seed(&torrent.metainfo, item.root.clone(), item.files_were.identities()) {
            Ok(()) => {
                let paths = item.files_were.paths(&item.name);
                self.served.put_files(item.info_hash, &item.root, &paths);
            }
            Err(error) => tracing::error!(name = item.name, %error, "it is not seeded"),
        }
    }

    fn withdraw(&mut self, info_hash: InfoHash) {
        let Some(item) = self.manifest.item(&info_hash) else { return };
        if item.step == Step::Withdrawing {
            // It is on its way out already, and goes it once.
            return;
        }
        tracing::info!(name = item.name, torrent = %info_hash, "it is being withdrawn");
        self.watcher.withdrawn(OsStr::new(&item.name));
        self.withdrawing.insert(info_hash);
    }

    /// A torrent has left everywhere.
    fn forget(&mut self, info_hash: &InfoHash) {
        if let Err(error) = block_in_place(|| self.manifest.forget(info_hash)) {
            return self.put_off(&error, Undone::Forget(*info_hash));
        }
        if let Some((name, look, metainfo)) = self.returning.remove(info_hash) {
            self.publish(name, look, metainfo);
        }
    }

    fn stepped(&mut self, stepped: Stepped) {
        match stepped {
            Stepped::Offered(info_hash) => {
                self.delayed.remove(&info_hash);
                let Some(item) = self.manifest.item(&info_hash).cloned() else { return };
                // What was published before the start is seeded since then.
                let is_new = self.torrents.get(&info_hash).is_some_and(|torrent| !torrent.offered);
                if item.step != Step::Withdrawing && is_new {
                    self.seed_if_same(&item);
                    if let Some(torrent) = self.torrents.get_mut(&info_hash) {
                        torrent.offered = true;
                    }
                    self.feed.is_dirty |= item.step == Step::Publishing;
                }
            }
            Stepped::Looked(vanished) => self.vanished(vanished),
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
                    self.served.remove_files(info_hash, &item.files_were.paths(&item.name));
                    tracing::info!(name = item.name, torrent = %info_hash, "withdrawn");
                }
                self.forget(&info_hash);
            }
        }
    }

    /// Seeds what the tracker serves, where its files are still the ones that were hashed.
    fn seed_if_same(&mut self, item: &Item) {
        let path = item.root.join(&item.name);
        let now = block_in_place(|| Files::of(&crate::watch::look(&path)));
        match now {
            Some(now) if now == item.files_were => self.seed(item),
            Some(now) if now.is_moved(&item.files_were) => {
                // Numbers of devices change over a restart of the machine.
                let item = Item { files_were: now, ..item.clone() };
                self.names.restore(&item.name, item.info_hash, item.files_were.look());
                self.seed(&item);
                self.refreshed.insert(item.info_hash);
                self.manifest.remember(item);
            }
            // The watcher finds the same, and says what it is now.
            _ if item.root == self.folder => self.watcher.again(OsStr::new(&item.name)),
            _ => {
                tracing::warn!(name = item.name, torrent = %item.info_hash, "its content is not here whole; it is published and not seeded here")
            }
        }
    }

    /// Writes the feed, where it is not what it should be and the last one is out.
    fn write_feed(&mut self) {
        let feed = &mut self.feed;
        if !feed.is_dirty || feed.is_being_written || Instant::now() < feed.next || !(self.holds)()
        {
            return;
        }
        match block_in_place(|| self.next_list()) {
            Ok(list) => {
                self.feed.is_dirty = false;
                self.feed.is_being_written = true;
                self.writer.write(list);
            }
            Err(error) => self.feed_fails(crate::chain(&error)),
        }
    }

    /// The list of what is published now. What was told once is told by every list until it is withdrawn, also by the
    /// first one after a crash: so it is kept as published before the list is out.
    fn next_list(&mut self) -> Result<List, ManifestError> {
        let mut items: Vec<feed::Item> = self
            .manifest
            .items()
            .filter(|item| item.step != Step::Withdrawing)
            .filter_map(|item| self.told(item))
            .collect();
        items.sort_by_key(|item| (item.published, item.info_hash));
        let new: Vec<Item> = items
            .iter()
            .filter_map(|told| self.manifest.item(&told.info_hash))
            .filter(|item| item.step == Step::Publishing)
            .map(|item| Item { step: Step::Published, ..item.clone() })
            .collect();
        let hashes: Vec<InfoHash> = new.iter().map(|item| item.info_hash).collect();
        self.manifest.put_all(new)?;
        self.feed.new.extend(hashes);
        let generation = self.manifest.next_generation()?;
        let items_count = items.len();
        Ok(List {
            epoch: self.epoch,
            generation,
            made: crate::unix_seconds(),
            items,
            masters: start::masters(&self.node),
            withdraw: self.is_meant(items_count),
            next_key: self.next_key,
        })
    }

    fn feed_fails(&mut self, why: String) {
        if self.feed.trouble.as_ref() != Some(&why) {
            tracing::error!(
                why,
                "the feed cannot be written; it is tried again, and nothing is withdrawn until then"
            );
        }
        self.feed.trouble = Some(why);
        self.feed.is_dirty = true;
        self.feed.next = Instant::now() + FEED_RETRY;
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

    fn written(&mut self, written: Result<Written, WriteError>) {
        self.feed.is_being_written = false;
        let Written { list, took } = match written {
            Ok(written) => written,
            Err(error) => return self.feed_fails(crate::chain(&error)),
        };
        if self.feed.trouble.take().is_some() {
            tracing::info!("the feed can be written again");
        }
        // Large lists take their time: most of it is left to everything else.
        // And no two in a second: the tag of most web servers is that of the second.
        self.feed.next = Instant::now() + (took * 4).max(FEED_PAUSE);
        let told: HashSet<InfoHash> = list.items.iter().map(|item| item.info_hash).collect();
        let new = std::mem::take(&mut self.feed.new);
        for item in list.items.iter().filter(|item| new.contains(&item.info_hash)) {
            tracing::info!(name = item.name, torrent = %item.info_hash, generation = list.generation, "published");
        }
        for info_hash in
            self.leaving.extract_if(|info_hash| !told.contains(info_hash)).collect::<Vec<_>>()
        {
            self.steps.withdraw(info_hash);
        }
        self.feed.last = Some(Arc::new(list));
    }
}

/// How often it is looked whether the feed has to be written.
const TICK: Duration = Duration::from_millis(100);

/// How often the status is made.
const REPORT: Duration = Duration::from_secs(1);

/// One part of so many of the time is given to it at most.
const REPORT_PART: u32 = 100;

/// What is taken at a time of what arrives, and put on disk together.
const BATCH: usize = 256;

/// The least time between two lists.
const FEED_PAUSE: Duration = Duration::from_secs(1);

/// How long after a feed could not be written it is tried again.
const FEED_RETRY: Duration = Duration::from_secs(5);
