//! A Seeder: what the feed tells of is fetched and seeded.
//!
//! `poll` asks Masters, `following` decides whose list holds and what of it may go, `budget` what is held, the engine
//! fetches, and the node seeds what is complete. What is held is on a shelf in the data folder:
//!
//! ```text
//! DATA/items/INFOHASH.json      what it is, and how far
//! DATA/items/INFOHASH.torrent   the Master's .torrent file, byte for byte
//! DATA/content/INFOHASH/…       its content: no name of a torrent can reach another one's
//! DATA/feeds.json               what was seen of the feeds
//! ```

mod budget;
mod failures;
mod following;
mod looking;
pub mod poll;
mod removal;
mod report;
mod start;
mod unfollowed;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shard::InfoHash;
use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::announce::Transfer;
use crate::announce::bridge::Bridge;
use crate::engine::{Engine, Fetch, Progress, State, upload};
use crate::feed;
use crate::node::Node;
use crate::options::Order;
use crate::screening::Screening;
use crate::shelf::{Shelf, hex};
use crate::torrent::{Identity, Metainfo};
use crate::web::status::{Role, Status};
use crate::web::{Command, Ordered};
use budget::Candidate;
use failures::{Failures, Say};
use following::Following;
use looking::{Looked, Looking};
use poll::{PollError, Polled};

pub use poll::Poller;

pub use start::{By, CONTENT, Ended, ITEMS, Own, Settings, StartError, follow, run};

/// A torrent that is held, or on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    #[serde(with = "hex")]
    pub info_hash: InfoHash,
    /// The name of its content.
    pub name: String,
    /// Bytes of its content.
    pub size: u64,
    /// When it was published, in seconds since 1970.
    pub published: u64,
    /// The key of the feed that it is of.
    pub feed: String,
    /// How far it is.
    pub state: HeldState,
}

/// How far a torrent is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// It is being fetched.
    Fetching,
    /// All of it is there, and its files are these, in the torrent's order.
    Complete(Vec<Identity>),
    /// It is being removed.
    Removing,
}

/// A Seeder at work.
struct Seeder {
    node: Node,
    engine: Arc<dyn Engine>,
    bridge: Bridge,
    poller: Poller,
    shelf: Shelf<Held>,
    following: Following,
    content: PathBuf,
    metainfos: HashMap<InfoHash, Arc<Metainfo>>,
    /// Torrents whose content is complete elsewhere, with their names and sizes.
    own: HashMap<InfoHash, (String, u64)>,
    /// Torrents whose `.torrent` file is being asked for.
    asking: HashSet<InfoHash>,
    /// Torrents that are being fetched, with what was last seen of it.
    fetching: HashMap<InfoHash, Fetching>,
    /// What could not be fetched or removed.
    failures: Failures,
    /// Names of who waits for room.
    waiting: Vec<(String, u64)>,
    /// What is to be fetched next, in order.
    wanted: VecDeque<InfoHash>,
    /// When it is decided anew what is held.
    choose_at: Instant,
    bytes_max: Option<u64>,
    order: Order,
    fetches_max: usize,
    /// Masters by feed key: where their content is fetched without asking a tracker.
    masters: HashMap<String, Vec<SocketAddr>>,
    came: mpsc::UnboundedSender<Came>,
    status: watch::Sender<Status>,
    role: Role,
    may_be_promoted: bool,
    promoted: bool,
    /// Why what is known cannot be kept.
    trouble: Option<String>,
    started: u64,
    /// What Masters know it by.
    name: String,
    looking: Looking,
    screening: Screening,
}

struct Fetching {
    transfer: Arc<Transfer>,
    progress: Option<Progress>,
    /// It is complete, and the engine is letting go of it.
    releasing: bool,
}

/// What tasks say.
enum Came {
    /// A feed was asked.
    Polled(usize, Result<Polled, PollError>),
    /// A `.torrent` file was asked for.
    Torrent(feed::Item, String, Result<bytes::Bytes, PollError>),
    /// Where the Masters of a feed are.
    Masters(String, Vec<SocketAddr>),
    /// How far the engine is.
    Progressed(Vec<(InfoHash, Progress)>),
    /// The engine took a torrent, or did not.
    Begun(InfoHash, Result<(), String>),
    /// The engine has let go of a torrent that is complete.
    Released(InfoHash, Arc<[Identity]>),
    /// What is held was looked at.
    Looked(Looked),
    /// A torrent's files are gone, or could not be removed.
    Removed(InfoHash, Result<(), String>),
}

impl Seeder {
    async fn work(
        &mut self,
        mut uploads: mpsc::UnboundedReceiver<upload::Event>,
        mut came: mpsc::UnboundedReceiver<Came>,
        mut orders: mpsc::Receiver<Ordered>,
        poll: Duration,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = Instant::now();
        let mut all_came = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(upload::Event::Changed { info_hash, path, how }) = uploads.recv() => {
                    tracing::warn!(torrent = %info_hash, path = %path.display(), ?how, "its file was changed by somebody; it is fetched again where it is wrong");
                    self.fetch_again(info_hash);
                }
                1.. = came.recv_many(&mut all_came, BATCH) => {
                    for came in all_came.drain(..) {
                        if let Came::Polled(at, _) = came {
                            self.came(came);
                            // A fifth to both sides, so that Seeders do not come together.
                            self.poll(at, poll.mul_f64(0.8 + 0.4 * fastrand::f64()), poll);
                        } else {
                            self.came(came);
                        }
                    }
                    self.fetch_next();
                }
                Some((command, reply)) = orders.recv() => {
                    // Whoever asked may be gone.
                    let _ = reply.send(self.order(&command));
                    if self.promoted {
                        return;
                    }
                }
                _ = ticks.tick() => {
                    self.look_at_engine();
                    self.look_at_disk();
                    self.hold_what_fits();
                    if Instant::now() >= report {
                        let from = Instant::now();
                        let status = self.report();
                        self.status.send_replace(status);
                        // Of many files it is seldom made: never more than a part of the time.
                        report = from + TICK.max(from.elapsed() * REPORT_PART);
                    }
                }
            }
        }
    }

    fn came(&mut self, came: Came) {
        match came {
            Came::Polled(at, answer) => self.polled(at, answer),
            Came::Torrent(item, feed, answer) => self.torrent(&item, feed, answer),
            Came::Masters(feed, masters) => {
                for info_hash in self.fetching.keys() {
                    self.bridge.offer(*info_hash, &masters);
                }
                self.masters.insert(feed, masters);
            }
            Came::Progressed(all) => self.progressed(all),
            Came::Begun(info_hash, Err(why)) => {
                self.fails(info_hash, &self.name(&info_hash), why);
            }
            Came::Begun(info_hash, Ok(())) => {
                if !self.fetching.contains_key(&info_hash) {
                    // It was withdrawn before the engine had it.
                    let engine = self.engine.clone();
                    tokio::spawn(async move { engine.remove(info_hash, false).await });
                } else {
                    self.await_end(info_hash);
                }
            }
            Came::Looked(looked) => self.looked(looked),
            Came::Released(info_hash, identities) => self.complete(info_hash, &identities),
            Came::Removed(info_hash, removed) => self.removed(info_hash, removed),
        }
    }

    /// It is tried again some time later. Returns what the log is to say of it.
    fn has_failed(&mut self, info_hash: InfoHash, name: &str, why: String) -> Say {
        let now = Instant::now();
        let say = self.failures.fail(info_hash, name, why, now);
        if let Some(due) = self.failures.next_due(now) {
            self.choose_at = self.choose_at.min(due);
        }
        say
    }

    fn name(&self, info_hash: &InfoHash) -> String {
        self.shelf.get(info_hash).map(|held| held.name.clone()).unwrap_or_default()
    }

    /// What is to be known after a start. Where that cannot be written, as on a full disk, what is here goes on, and a
    /// start looks at the content again.
    fn keep(&mut self, held: Held) {
        if let Err(error) = block_in_place(|| self.shelf.put(held.info_hash, held.clone())) {
            tracing::warn!(name = held.name, torrent = %held.info_hash, why = crate::chain(&error), "its state cannot be written down");
            self.shelf.remember(held.info_hash, held);
        }
    }

    /// An answer about a list: what it says is kept before anything is done about it.
    fn polled(&mut self, at: usize, answer: Result<Polled, PollError>) {
        match &answer {
            Ok(Polled::New { .. }) => self.choose_at = Instant::now(),
            // Its list may be the one that holds from now on.
            Ok(Polled::Same) => self.choose_soon(),
            Err(_) => {}
        }
        match block_in_place(|| self.following.hear(at, answer)) {
            Ok(holds) => {
                self.trouble = None;
                if holds {
                    self.remove_what_vanished(at);
                }
            }
            Err(error) => {
                let why = crate::chain(&error);
                if self.trouble.is_none() {
                    tracing::error!(
                        why,
                        "what the feed says cannot be kept; it is not followed until it can, and nothing is removed"
                    );
                }
                self.trouble = Some(why);
                return;
            }
        }
        if let Some((feed, host, masters)) = self.following.masters(at) {
            let came = self.came.clone();
            tokio::spawn(async move {
                let masters = start::reached(&host, masters).await;
                let _ = came.send(Came::Masters(feed, masters));
            });
        }
        self.hold_what_fits();
    }

    /// Asks for what should be held and is not, and lets go of what has to give way.
    fn hold_what_fits(&mut self) {
        let from = Instant::now();
        if from >= self.choose_at {
            // What has failed is tried again at its time.
            let due = self.failures.next_due(from);
            self.choose_at = due.map_or(from + CHOOSE, |due| due.min(from + CHOOSE));
            self.choose();
            self.choose_at = self.choose_at.max(from + from.elapsed() * REPORT_PART);
        }
        self.fetch_next();
        self.remove_what_is_due();
    }

    /// Something is another way: it is decided anew what is held, once for all that comes at a time.
    fn choose_soon(&mut self) {
        self.choose_at = self.choose_at.min(Instant::now() + TICK);
    }

    /// Decides what is held, which costs a look at all that is published.
    fn choose(&mut self) {
        let items: HashMap<InfoHash, &feed::Item> =
            self.following.items().map(|item| (item.info_hash, item)).collect();
        let mut candidates: Vec<Candidate> = items
            .values()
            .filter(|item| !self.own.contains_key(&item.info_hash))
            .map(|item| Candidate {
                info_hash: item.info_hash,
                size: item.size,
                published: item.published,
                seeders: match self.order {
                    Order::Rarest => self.seeders(&item.info_hash),
                    Order::Newest | Order::Oldest => None,
                },
            })
            .collect();
        // What is not in the list and not yet to be removed takes room as well, and is not given up for new ones.
        let strayed = self.shelf.iter().filter(|(info_hash, _)| !items.contains_key(*info_hash));
        let strayed: u64 = strayed.map(|(_, held)| held.size).sum();
        let room = self.bytes_max.map(|max| max.saturating_sub(strayed));
        let held: HashSet<InfoHash> = self.shelf.iter().map(|(info_hash, _)| *info_hash).collect();
        let chosen = budget::choose(&candidates, &held, room, self.order);
        let wanted: HashSet<InfoHash> = chosen.iter().copied().collect();
        // What is neither wanted nor here any more has not failed.
        self.failures.keep(|info_hash| wanted.contains(info_hash) || held.contains(info_hash));
        candidates.retain(|candidate| !wanted.contains(&candidate.info_hash));
        self.waiting = candidates
            .iter()
            .filter(|candidate| !held.contains(&candidate.info_hash))
            .filter_map(|candidate| {
                Some((items.get(&candidate.info_hash)?.name.clone(), candidate.size))
            })
            .collect();
        let give_way: Vec<InfoHash> = candidates
            .iter()
            .map(|candidate| candidate.info_hash)
            .filter(|info_hash| held.contains(info_hash))
            .collect();
        // Of a feed that has not answered since the start: what was begun goes on, from other Seeders.
        let begun = self
            .shelf
            .iter()
            .filter(|(_, held)| {
                held.state == HeldState::Fetching && self.following.awaits(&held.feed)
            })
            .map(|(info_hash, _)| *info_hash);
        self.wanted = chosen
            .into_iter()
            .chain(begun)
            .filter(|info_hash| {
                self.shelf.get(info_hash).is_none_or(|held| held.state == HeldState::Fetching)
            })
            .collect();
        for info_hash in give_way {
            if let Some(held) = self.shelf.get(&info_hash)
                && held.state != HeldState::Removing
            {
                tracing::info!(name = held.name, torrent = %info_hash, "it gives way, as the disk is too small for all");
                self.let_go(info_hash);
            }
        }
        self.leave_unfollowed();
    }

    /// Fetches what is wanted, as many at a time as may be.
    fn fetch_next(&mut self) {
        while !self.looking.is_lost() && self.fetching.len() + self.asking.len() < self.fetches_max
        {
            let Some(info_hash) = self.wanted.pop_front() else { break };
            let is_due = self.failures.is_due(&info_hash, Instant::now());
            if !is_due || self.asking.contains(&info_hash) || self.fetching.contains_key(&info_hash)
            {
                continue;
            }
            match self.shelf.get(&info_hash).map(|held| held.state.clone()) {
                None => {
                    if let Some((item, feed)) = self.following.item(&info_hash) {
                        let (item, feed) = (item.clone(), feed.to_owned());
                        self.ask(item, feed);
                    }
                }
                Some(HeldState::Fetching) => self.fetch(info_hash),
                Some(HeldState::Complete(_) | HeldState::Removing) => {}
            }
        }
    }

    /// Asks for the `.torrent` file of an item.
    fn ask(&mut self, item: feed::Item, feed: String) {
        self.asking.insert(item.info_hash);
        let (poller, came) = (self.poller.clone(), self.came.clone());
        tokio::spawn(async move {
            let answer = match url::Url::parse(&item.torrent_url) {
                Ok(url) => poller.torrent(&url, item.torrent_length, &item.torrent_sha256).await,
                Err(source) => Err(PollError::Url { url: item.torrent_url.clone(), source }),
            };
            let _ = came.send(Came::Torrent(item, feed, answer));
        });
    }

    fn torrent(
        &mut self,
        item: &feed::Item,
        feed: String,
        answer: Result<bytes::Bytes, PollError>,
    ) {
        self.asking.remove(&item.info_hash);
        let why = match answer.map_err(|error| crate::chain(&error)) {
            Err(why) => why,
            Ok(bytes) => match Metainfo::parse(bytes.clone()) {
                Err(error) => format!("its torrent is refused: {}", crate::chain(&error)),
                Ok(metainfo) if metainfo.info_hash != item.info_hash => {
                    format!(
                        "its torrent is {}, which is not what the list says",
                        metainfo.info_hash
                    )
                }
                Ok(metainfo) if metainfo.total() != item.size => {
                    format!(
                        "its torrent has {} bytes, which is not what the list says",
                        metainfo.total()
                    )
                }
                Ok(metainfo) if metainfo.name != item.name => {
                    format!(
                        "its torrent is of {:?}, which is not what the list says",
                        metainfo.name
                    )
                }
                Ok(metainfo) if metainfo.files.len() as u64 != item.files => {
                    format!(
                        "its torrent has {} files, which is not what the list says",
                        metainfo.files.len()
                    )
                }
                Ok(metainfo) => {
                    let held = Held {
                        info_hash: item.info_hash,
                        name: item.name.clone(),
                        size: item.size,
                        published: item.published,
                        feed,
                        state: HeldState::Fetching,
                    };
                    match block_in_place(|| self.shelf.begin(item.info_hash, held, &bytes)) {
                        Err(error) => crate::chain(&error),
                        Ok(()) => {
                            self.failures.tries(&item.info_hash);
                            self.metainfos.insert(item.info_hash, Arc::new(metainfo));
                            return self.fetch(item.info_hash);
                        }
                    }
                }
            },
        };
        self.fails(item.info_hash, &item.name, why);
    }

    /// Has the engine fetch a torrent of the shelf.
    fn fetch(&mut self, info_hash: InfoHash) {
        let Some(held) = self.shelf.get(&info_hash).cloned() else { return };
        let Some(metainfo) = self.metainfos.get(&info_hash).cloned() else { return };
        let folder = self.folder(&info_hash);
        if let Err(error) = block_in_place(|| make_folder(&folder)) {
            let why = format!("cannot use {}: {error}", folder.display());
            return self.fails(info_hash, &held.name, why);
        }
        self.failures.tries(&info_hash);
        tracing::info!(name = held.name, torrent = %info_hash, bytes = held.size, "fetching");
        let transfer: Arc<Transfer> = Arc::default();
        transfer.left.store(held.size, Ordering::Relaxed);
        self.node.announce(&metainfo, transfer.clone());
        let masters = self.masters.get(&held.feed).cloned().unwrap_or_default();
        self.bridge.offer(info_hash, &masters);
        if let Some(address) = self.engine.address() {
            self.node.uploads().relay(&metainfo, address);
        }
        self.fetching.insert(info_hash, Fetching { transfer, progress: None, releasing: false });
        let fetch = Fetch {
            metainfo,
            folder,
            peers: masters,
            tracker: url::Url::parse(self.bridge.url()).ok(),
        };
        let (engine, came) = (self.engine.clone(), self.came.clone());
        tokio::spawn(async move {
            let begun = engine.fetch(fetch).await.map_err(|error| crate::chain(&error));
            let _ = came.send(Came::Begun(info_hash, begun));
        });
    }

    /// Says when a torrent is complete or has failed, sooner than somebody looks: small ones take no time.
    fn await_end(&self, info_hash: InfoHash) {
        let (engine, came) = (self.engine.clone(), self.came.clone());
        tokio::spawn(async move {
            let mut wait = LOOK_MIN;
            while let Some(progress) = engine.progress(info_hash).await {
                if matches!(progress.state, State::Complete(_) | State::Failed(_)) {
                    let _ = came.send(Came::Progressed(vec![(info_hash, progress)]));
                    return;
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(TICK);
            }
        });
    }

    fn look_at_engine(&self) {
        if self.fetching.is_empty() {
            return;
        }
        let (engine, came) = (self.engine.clone(), self.came.clone());
        tokio::spawn(async move {
            let _ = came.send(Came::Progressed(engine.stats().await));
        });
    }

    fn progressed(&mut self, all: Vec<(InfoHash, Progress)>) {
        for (info_hash, progress) in all {
            let Some(fetching) = self.fetching.get_mut(&info_hash).filter(|it| !it.releasing)
            else {
                continue;
            };
            let transfer = &fetching.transfer;
            let before = fetching.progress.as_ref().map_or(progress.bytes, |before| before.bytes);
            if !matches!(progress.state, State::Checking) {
                // What is there already was not downloaded now.
                transfer
                    .downloaded
                    .fetch_add(progress.bytes.saturating_sub(before), Ordering::Relaxed);
                transfer
                    .left
                    .store(progress.total - progress.bytes.min(progress.total), Ordering::Relaxed);
            }
            transfer.uploaded.store(progress.uploaded, Ordering::Relaxed);
            transfer.connected.store(progress.peers as u64, Ordering::Relaxed);
            let state = progress.state.clone();
            fetching.progress = Some(progress);
            match state {
                State::Checking | State::Fetching => {}
                State::Complete(identities) => {
                    let (engine, came) = (self.engine.clone(), self.came.clone());
                    fetching.releasing = true;
                    tokio::spawn(async move {
                        if let Err(error) = engine.remove(info_hash, false).await {
                            tracing::warn!(torrent = %info_hash, %error, "the engine does not let go of it");
                        }
                        let _ = came.send(Came::Released(info_hash, identities));
                    });
                }
                State::Failed(failure) => {
                    self.fails(info_hash, &self.name(&info_hash), failure.to_string());
                }
            }
        }
    }

    fn complete(&mut self, info_hash: InfoHash, identities: &[Identity]) {
        self.fetching.remove(&info_hash);
        let Some(held) = self.shelf.get(&info_hash).cloned() else { return };
        if held.state != HeldState::Fetching {
            return;
        }
        let held = Held { state: HeldState::Complete(identities.to_vec()), ..held };
        self.keep(held.clone());
        self.failures.ends(&info_hash);
        self.bridge.withdraw(&info_hash);
        tracing::info!(name = held.name, torrent = %info_hash, "fetched; seeding");
        self.seed(&held, identities.to_vec());
        self.node.announcer().completed(&info_hash);
    }

    fn seed(&mut self, held: &Held, identities: Vec<Identity>) {
        let Some(metainfo) = self.metainfos.get(&held.info_hash) else { return };
        if let Err(error) = self.node.seed(metainfo, self.folder(&held.info_hash), identities) {
            tracing::error!(name = held.name, %error, "it is not seeded");
        }
    }

    /// A torrent whose files are not what they were: what is right of them is kept.
    fn fetch_again(&mut self, info_hash: InfoHash) {
        let Some(held) = self.shelf.get(&info_hash).cloned() else {
            self.node.leave(&info_hash);
            self.own.remove(&info_hash);
            self.choose_soon();
            return;
        };
        if !matches!(held.state, HeldState::Complete(_)) {
            return;
        }
        self.node.leave(&info_hash);
        self.keep(Held { state: HeldState::Fetching, ..held });
        self.choose_soon();
    }

    fn fails(&mut self, info_hash: InfoHash, name: &str, why: String) {
        match self.has_failed(info_hash, name, why.clone()) {
            Say::First => {
                tracing::warn!(name, torrent = %info_hash, why, "it cannot be fetched; it is tried again");
            }
            Say::Still(torrents) => {
                tracing::warn!(torrents, name, why, "these still fail; they are tried again");
            }
            Say::Nothing => {}
        }
        self.stop_fetching(info_hash);
    }

    fn stop_fetching(&mut self, info_hash: InfoHash) {
        if self.fetching.remove(&info_hash).is_some() {
            self.node.leave(&info_hash);
            let engine = self.engine.clone();
            tokio::spawn(async move {
                // It may not have taken it.
                let _ = engine.remove(info_hash, false).await;
            });
        }
    }

    /// Where a torrent's content is.
    fn folder(&self, info_hash: &InfoHash) -> PathBuf {
        self.content.join(info_hash.to_string())
    }

    /// Seeders that a tracker tells of.
    fn seeders(&self, info_hash: &InfoHash) -> Option<u32> {
        let status = self.node.announcer().status(info_hash)?;
        status.trackers.iter().find_map(|tracker| tracker.seeders)
    }

    fn order(&mut self, command: &Command) -> Result<String, String> {
        let name = match command {
            Command::Republish { name } => name,
            Command::Withdraw { .. } | Command::Confirm => {
                return Err("this is a Seeder: what it holds is decided at its Master".to_owned());
            }
            Command::Promote if self.may_be_promoted => {
                self.promoted = true;
                return Ok("it becomes the Master".to_owned());
            }
            Command::Promote if self.role == Role::Standby => {
                return Err(
                    "the lease in the database decides who is the Master: stop the other one"
                        .to_owned(),
                );
            }
            Command::Promote => return Err("this is a Seeder and no standby".to_owned()),
            Command::Drop { key } => return self.drop_unfollowed(key),
        };
        let failed: Vec<InfoHash> = self
            .failures
            .iter()
            .filter(|(_, failed)| failed.name == *name)
            .map(|(info_hash, _)| *info_hash)
            .collect();
        let now = Instant::now();
        for info_hash in &failed {
            self.failures.now(info_hash, now);
        }
        self.choose_at = Instant::now();
        match failed.is_empty() {
            true => Err(format!("{name:?} has not failed; `margay seed list` shows what is held")),
            false => Ok(format!("{name:?} is tried again")),
        }
    }
}

/// Makes a torrent's folder. One that is a link leads to where nothing of ours is, and is not used.
fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    match fs::symlink_metadata(folder)?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::other("it is no folder, or a link to one; remove it")),
    }
}

/// How often the engine is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How soon the engine is looked at again after a torrent was begun; then half as often each time.
const LOOK_MIN: Duration = Duration::from_millis(5);

/// How often it is decided anew what is held where nothing asks for it sooner: what is rare becomes another.
const CHOOSE: Duration = Duration::from_secs(5);

/// One part of so many of the time is given to looking at all there is, at most.
const REPORT_PART: u32 = 100;

/// What is taken at a time of what arrives.
const BATCH: usize = 256;
