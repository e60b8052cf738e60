//! The folder itself: inotify, rescans, and whether it is still the same folder.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecursiveMode, Watcher as _};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::look::{Look, look};
use super::names::is_ignored;
use super::settle::{Rules, RulesError, Settle, State, Touch};
use super::writers::writers;
use crate::torrent::Identity;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. It is resolved at the start, and only that folder is ever looked at.
    pub folder: PathBuf,
    /// When a name has settled.
    pub rules: Rules,
    /// The time between rescans, which find what inotify does not tell.
    pub rescan: Duration,
    /// The time between rescans without inotify.
    pub poll: Duration,
    /// Use inotify. Without, as on file systems that others write to over the network, the folder is polled.
    pub inotify: bool,
    /// Ask `/proc` who has files open for writing.
    pub writers: bool,
    /// The folder that was watched before, if the publisher remembers one.
    pub known: Option<FolderIdentity>,
    /// What is published, name by name.
    pub published: Vec<(OsString, Look)>,
}

impl Options {
    /// The defaults for `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            rules: Rules::default(),
            rescan: Duration::from_secs(60),
            poll: Duration::from_secs(5),
            inotify: true,
            writers: true,
            known: None,
            published: Vec::new(),
        }
    }
}

/// Which folder it is, whatever its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FolderIdentity {
    /// The device of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// What the watcher tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Of a top-level name.
    Name {
        /// The name.
        name: OsString,
        /// What it is now.
        state: State,
    },
    /// Of the folder.
    Folder(Folder),
}

/// The folder as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Folder {
    /// It is watched.
    Watching {
        /// Its path without symbolic links.
        path: PathBuf,
        /// To be remembered for the next start.
        identity: FolderIdentity,
        /// How.
        how: How,
    },
    /// It is not the folder that it was, for this reason: withdraw nothing. `Watching` follows when it is back.
    Lost(String),
}

/// How changes are noticed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum How {
    /// By inotify, and by rescans.
    Inotify,
    /// By rescans alone, for this reason.
    Polling(String),
}

/// The folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The rules make no sense.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// It is not there.
    #[error("cannot find the watched folder {}; make it, mount it, or name another", path.display())]
    Find {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("the watched folder {} is not a directory; name the directory that files are uploaded to", .0.display())]
    NotDirectory(PathBuf),
    /// No thread.
    #[error("cannot start the thread that watches the folder")]
    Thread(#[source] io::Error),
}

/// A folder that is being watched, by a thread of its own. Dropping it ends the thread.
#[derive(Debug)]
pub struct Watcher {
    started: Instant,
    inbox: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

/// What has come for the thread since its last turn.
#[derive(Debug, Default)]
struct Inbox {
    /// At most `TOUCHED_MAX`; beyond, everything is looked at.
    touched: HashMap<OsString, Touch>,
    /// In order; as many as the owner gives between two turns.
    orders: Vec<Order>,
    rescan: bool,
    check: bool,
    /// Inotify does not notice everything any more.
    blind: Option<String>,
    stop: bool,
}

#[derive(Debug)]
enum Order {
    Again(OsString),
    Published(OsString, Look),
    Withdrawn(OsString),
    Accept,
}

impl Watcher {
    /// Starts to watch. The receiver gets all that is told, in order; while nobody takes it nothing is looked at.
    ///
    /// Cost: 1 inotify watch for the folder and each directory below; a look at a file is two lstat(2) at most, and a
    /// rescan looks at all. A rescan takes at most a tenth of the time.
    pub fn start(options: Options) -> Result<(Watcher, mpsc::Receiver<Event>), StartError> {
        options.rules.check()?;
        let find = |source| StartError::Find { path: options.folder.clone(), source };
        let path = std::path::absolute(&options.folder).map_err(find)?;
        let resolved = fs::canonicalize(&path).map_err(find)?;
        let metadata = fs::metadata(&resolved).map_err(find)?;
        if !metadata.is_dir() {
            return Err(StartError::NotDirectory(resolved));
        }

        let shared = Arc::new(Shared::default());
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let started = Instant::now();
        let turns = Turns {
            shared: Arc::clone(&shared),
            settle: Settle::new(options.rules.clone()),
            place: Place { path, resolved, identity: identity_of(&metadata) },
            options,
            started,
            sender,
            outbox: VecDeque::new(),
            inotify: None,
            stage: Stage::Starting,
            why_polling: None,
            rescan_at: Duration::ZERO,
            check_at: Duration::ZERO,
            writers_at: Duration::ZERO,
        };
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || turns.run())
            .map_err(StartError::Thread)?;
        Ok((Watcher { started, inbox: shared, thread: Some(thread) }, receiver))
    }

    /// The moment from which the times of states count.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// `name` is told of anew, once it has settled again.
    pub fn again(&self, name: &OsStr) {
        self.order(Order::Again(name.to_owned()));
    }

    /// `name` is published as it was at `look`: any difference is told from now on, also one that is there already.
    pub fn published(&self, name: &OsStr, look: Look) {
        self.order(Order::Published(name.to_owned(), look));
    }

    /// `name` is not published any more, though it is there; it is told of again when it changes.
    pub fn withdrawn(&self, name: &OsStr) {
        self.order(Order::Withdrawn(name.to_owned()));
    }

    /// The folder is another one on purpose, as on a new disk: what is not in it is gone.
    pub fn accept_folder(&self) {
        self.order(Order::Accept);
    }

    /// Ends the thread and waits for it, a rescan that is under way included.
    pub fn stop(mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        self.inbox.put(|inbox| inbox.orders.push(order));
    }

    fn end(&self) {
        self.inbox.put(|inbox| inbox.stop = true);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Takes what is there, or waits for it for at most `wait`.
    fn take(&self, wait: Duration) -> Inbox {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.is_empty() && !wait.is_zero() {
            inbox = self.wake.wait_timeout(inbox, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut inbox)
    }
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.touched.is_empty()
            && self.orders.is_empty()
            && !(self.rescan || self.check || self.stop)
            && self.blind.is_none()
    }

    fn touch(&mut self, name: &OsStr, touch: Touch) {
        if self.touched.len() >= TOUCHED_MAX {
            self.touched.clear();
            self.rescan = true;
        }
        let known = self.touched.entry(name.to_owned()).or_insert(touch);
        if touch != Touch::Written {
            *known = touch;
        }
    }
}

/// Where the folder is to be, and which one.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    resolved: PathBuf,
    identity: FolderIdentity,
}

impl Place {
    /// Why the folder is not the one that it was.
    fn lost(&self) -> Option<String> {
        let resolved = match fs::canonicalize(&self.path) {
            Ok(resolved) => resolved,
            Err(error) => {
                return Some(format!(
                    "the watched folder {} cannot be found: {error}",
                    self.path.display()
                ));
            }
        };
        if resolved != self.resolved {
            return Some(format!(
                "the watched folder {} leads to {} now, and led to {}: a symbolic link was switched",
                self.path.display(),
                resolved.display(),
                self.resolved.display()
            ));
        }
        let identity = match fs::metadata(&resolved) {
            Ok(metadata) => identity_of(&metadata),
            Err(error) => {
                return Some(format!(
                    "the watched folder {} cannot be read: {error}",
                    resolved.display()
                ));
            }
        };
        if identity == self.identity {
            // Its names can be read, and what is under them (`.` as well) be looked at.
            let readable =
                fs::read_dir(&resolved).and_then(|mut entries| entries.next().transpose());
            let readable = readable.and_then(|_| fs::metadata(resolved.join("./.")));
            return readable.err().map(|error| {
                format!(
                    "the watched folder {} cannot be read: {error}; let its user read and enter it",
                    resolved.display()
                )
            });
        }
        let mounts = if identity.device == self.identity.device {
            "moved and made anew"
        } else {
            "unmounted or mounted over"
        };
        Some(format!(
            "the watched folder {} is another one than at the start ({mounts}; device {} inode {}, was device {} inode {})",
            resolved.display(),
            identity.device,
            identity.inode,
            self.identity.device,
            self.identity.inode
        ))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It is not known yet whether it is the folder that the publisher remembers.
    Starting,
    /// As starting, and it was told that it is lost.
    Foreign,
    Watching,
    Lost,
}

struct Turns {
    shared: Arc<Shared>,
    options: Options,
    settle: Settle,
    place: Place,
    started: Instant,
    sender: mpsc::Sender<Event>,
    outbox: VecDeque<Event>,
    inotify: Option<notify::RecommendedWatcher>,
    stage: Stage,
    why_polling: Option<String>,
    rescan_at: Duration,
    check_at: Duration,
    /// Writers are not asked for before.
    writers_at: Duration,
}

impl Turns {
    fn run(mut self) {
        loop {
            let inbox = self.shared.take(self.wait());
            if inbox.stop || self.sender.is_closed() {
                return;
            }
            let began = self.now();
            self.turn(inbox, began);
            self.send();
            // What comes faster than this is taken together.
            thread::sleep(TURN.saturating_sub(self.now() - began));
        }
    }

    fn wait(&self) -> Duration {
        let next = if !self.outbox.is_empty() {
            return RETRY;
        } else if self.stage == Stage::Watching {
            let due = self.settle.next_due().unwrap_or(Duration::MAX);
            due.min(self.rescan_at).min(self.check_at)
        } else {
            self.check_at
        };
        next.saturating_sub(self.now())
    }

    fn turn(&mut self, inbox: Inbox, now: Duration) {
        for order in inbox.orders {
            match order {
                Order::Again(name) => self.settle.again(&name, now),
                Order::Published(name, look) => self.settle.published(&name, look, now),
                Order::Withdrawn(name) => self.settle.withdrawn(&name),
                Order::Accept => self.accept(now),
            }
        }
        for (name, touch) in inbox.touched {
            self.settle.touched(&name, touch, now);
        }
        if inbox.rescan {
            self.rescan_at = now;
        }
        if let Some(reason) = inbox.blind
            && self.stage == Stage::Watching
        {
            self.poll(reason);
            self.rescan_at = now;
        }

        if inbox.check || now >= self.check_at || self.stage == Stage::Starting {
            self.check_at = now + CHECK;
            self.check();
        }
        if self.stage != Stage::Watching || !self.outbox.is_empty() {
            return;
        }
        if now >= self.rescan_at {
            self.list(now);
        }
        if self.stage == Stage::Watching {
            self.look(now);
        }
    }

    /// Whether it is the folder that it was; arms it when it is again.
    fn check(&mut self) {
        match self.stage {
            Stage::Starting | Stage::Foreign => match self.foreign() {
                None => self.begin(),
                Some(reason) => self.lost(reason, Stage::Foreign),
            },
            Stage::Watching | Stage::Lost => match self.place.lost() {
                Some(_) if self.is_mounted_again() => self.arm(),
                Some(reason) => self.lost(reason, Stage::Lost),
                None if self.stage == Stage::Lost => self.arm(),
                None => {}
            },
        }
    }

    /// Why the folder at the start is not the one that the publisher remembers: another one, without most of what is
    /// published. One of the same content is taken: numbers of devices change with a restart of the machine.
    fn foreign(&mut self) -> Option<String> {
        if self.stage == Stage::Foreign {
            // It is not watched yet: wherever its path leads now is the folder.
            if let Ok(resolved) = fs::canonicalize(&self.place.path)
                && let Ok(metadata) = fs::metadata(&resolved)
            {
                self.place.identity = identity_of(&metadata);
                self.place.resolved = resolved;
            }
        }
        let known = self.options.known?;
        if known == self.place.identity {
            return None;
        }
        let published = self.options.published.iter().map(|(name, look)| (name.as_os_str(), look));
        let (all, there) =
            (self.options.published.len(), self.there(published, known, self.place.identity));
        (there * 2 < all).then(|| {
            format!(
                "the watched folder {} is another one than before, and has {there} of {all} published names as they \
                 were: mount the right one, or accept this one",
                self.place.resolved.display()
            )
        })
    }

    /// The file system of the folder was mounted again and has another number: most of what is published is there, in
    /// the same inodes.
    fn is_mounted_again(&mut self) -> bool {
        let Ok(metadata) = fs::metadata(&self.place.resolved) else { return false };
        let (known, now) = (self.place.identity, identity_of(&metadata));
        if now.inode != known.inode
            || fs::canonicalize(&self.place.path).ok().as_ref() != Some(&self.place.resolved)
        {
            return false;
        }
        let published = self.settle.published_names();
        let there = self.there(published.iter().map(|(name, look)| (*name, *look)), known, now);
        let is_there = there > 0 && there * 2 >= published.len();
        if is_there {
            self.settle.moved(known.device, now.device);
            self.place.identity = now;
        }
        is_there
    }

    /// How many of the published names are as they were, if the device that was `known` is what it is `now`.
    fn there<'a>(
        &self,
        published: impl Iterator<Item = (&'a OsStr, &'a Look)>,
        known: FolderIdentity,
        now: FolderIdentity,
    ) -> usize {
        let is_there = |(name, was): &(&OsStr, &Look)| {
            look(&self.place.resolved.join(name)).moved(now.device, known.device).same_files(was)
        };
        published.filter(is_there).count()
    }

    /// The folder is accepted: from here it is this one and no other.
    fn begin(&mut self) {
        let now = self.now();
        let to = self.place.identity.device;
        for (name, mut look) in std::mem::take(&mut self.options.published) {
            if let Some(known) = self.options.known {
                look = look.moved(known.device, to);
            }
            self.settle.published(&name, look, now);
        }
        self.arm();
    }

    fn accept(&mut self, now: Duration) {
        match self.stage {
            Stage::Starting | Stage::Foreign => self.begin(),
            Stage::Watching => {}
            Stage::Lost => {
                if let Ok(resolved) = fs::canonicalize(&self.place.path)
                    && let Ok(metadata) = fs::metadata(&resolved)
                    && metadata.is_dir()
                {
                    self.place = Place {
                        path: self.place.path.clone(),
                        resolved,
                        identity: identity_of(&metadata),
                    };
                    self.arm();
                }
            }
        }
        self.rescan_at = now;
    }

    /// Watches before it lists: what comes in between is seen by one of both.
    fn arm(&mut self) {
        self.stage = Stage::Watching;
        self.rescan_at = self.now();
        if !self.options.inotify {
            self.poll("it is set so".to_owned());
            return;
        }
        match self.inotify() {
            Ok(inotify) => {
                self.inotify = Some(inotify);
                self.why_polling = None;
                self.tell_watching(How::Inotify);
            }
            Err(error) => self.poll(limit(&error)),
        }
    }

    fn inotify(&self) -> notify::Result<notify::RecommendedWatcher> {
        let mut tries = 0;
        loop {
            let shared = Arc::clone(&self.shared);
            let folder = self.place.resolved.clone();
            let config = notify::Config::default().with_follow_symlinks(false);
            let mut watcher = notify::RecommendedWatcher::new(
                move |event| notice(&shared, &folder, event),
                config,
            )?;
            match watcher.watch(&self.place.resolved, RecursiveMode::Recursive) {
                Ok(()) => return Ok(watcher),
                // A directory below vanished while they were listed.
                Err(error)
                    if tries < 5 && matches!(error.kind, notify::ErrorKind::PathNotFound) =>
                {
                    tries += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poll(&mut self, reason: String) {
        if self.options.inotify {
            warn!(folder = %self.place.resolved.display(), every = ?self.options.poll, "the folder is polled: {reason}");
        }
        self.inotify = None;
        self.why_polling = Some(reason.clone());
        self.tell_watching(How::Polling(reason));
    }

    fn tell_watching(&mut self, how: How) {
        let Place { resolved, identity, .. } = &self.place;
        info!(folder = %resolved.display(), ?how, "watching");
        self.outbox.push_back(Event::Folder(Folder::Watching {
            path: resolved.clone(),
            identity: *identity,
            how,
        }));
    }

    fn lost(&mut self, reason: String, stage: Stage) {
        if self.stage == stage {
            return;
        }
        error!("{reason}; nothing is withdrawn, and nothing new is published until it is back");
        self.stage = stage;
        self.inotify = None;
        self.outbox.push_back(Event::Folder(Folder::Lost(reason)));
    }

    /// A rescan: everything that is there or known is to be looked at.
    fn list(&mut self, now: Duration) {
        match fs::read_dir(&self.place.resolved)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        {
            Ok(names) => {
                let names: Vec<OsString> = names;
                for name in names {
                    self.settle.listed(&name, now);
                }
                self.settle.look_at_all(now);
                let every = if self.why_polling.is_some() {
                    self.options.poll
                } else {
                    self.options.rescan
                };
                self.rescan_at = now + every.max((self.now() - now) * 10);
            }
            Err(error) => {
                let reason = format!(
                    "the watched folder {} cannot be read: {error}",
                    self.place.resolved.display()
                );
                self.rescan_at = now + CHECK;
                if self.stage == Stage::Watching {
                    self.lost(reason, Stage::Lost);
                }
            }
        }
    }

    /// Looks at what is due, some names at a time.
    fn look(&mut self, now: Duration) {
        let mut names = self.settle.due(now, LOOKS_MAX);
        if self.options.writers && now < self.writers_at {
            names.retain(|name| self.settle.ripe(name, now).is_none());
        }
        if names.is_empty() {
            return;
        }
        // Before the looks: who has closed by then has written before them.
        let mut open = HashMap::new();
        if self.options.writers {
            let ripe = names.iter().filter_map(|name| self.settle.ripe(name, now));
            let files: HashSet<_> =
                ripe.flat_map(Look::identities).map(|file| (file.device, file.inode)).collect();
            if !files.is_empty() {
                open = writers(&files);
                self.writers_at = now + (self.now() - now) * 10;
            }
        }
        let mut looks = Vec::with_capacity(names.len());
        for name in names {
            let path = self.place.resolved.join(&name);
            let before = self.now();
            // The marker first: one that is made after the last write is never seen with an older write.
            let marker = self.settle.asks_marker(&name).then(|| self.marker(&name)).flatten();
            let found = look(&path);
            let writer =
                found.identities().find_map(|file| open.get(&(file.device, file.inode)).copied());
            looks.push((name, found, marker, writer, before, self.now() - before));
        }
        // What was seen counts only if it was seen in this folder.
        if self.place.lost().is_some() {
            self.check();
            return;
        }
        for (name, look, marker, writer, at, took) in looks {
            self.settle.looked(&name, look, marker, writer, at, took);
        }
        self.outbox.extend(self.settle.tell().map(|(name, state)| Event::Name { name, state }));
    }

    fn marker(&self, name: &OsStr) -> Option<Identity> {
        let marker = self.place.resolved.join(self.settle.rules().marker(name));
        fs::symlink_metadata(marker).ok().map(|metadata| Identity::of(&metadata))
    }

    fn send(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.sender.try_send(event) {
                self.outbox.push_front(event);
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Takes an event of inotify, on the thread of its reader.
fn notice(shared: &Shared, folder: &Path, event: notify::Result<notify::Event>) {
    let event = match event {
        Ok(event) => event,
        Err(error) => return shared.put(|inbox| inbox.blind = Some(limit(&error))),
    };
    if event.need_rescan() {
        return shared.put(|inbox| inbox.rescan = true);
    }
    match event.kind {
        // Reading changes nothing, and a rename is told as two already.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
        _ => {}
    }
    for path in &event.paths {
        let Ok(below) = path.strip_prefix(folder) else { continue };
        let mut parts = below.iter();
        let Some(name) = parts.next() else {
            shared.put(|inbox| inbox.check = true);
            continue;
        };
        if is_ignored(name) {
            continue;
        }
        let touch = match event.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) if parts.next().is_none() => {
                Touch::Renamed
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_)
                if parts.next().is_none() =>
            {
                Touch::Removed
            }
            _ => Touch::Written,
        };
        shared.put(|inbox| inbox.touch(name, touch));
    }
}

/// What is wrong with inotify, and what to raise.
fn limit(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "inotify has no watch left for each directory: raise the sysctl fs.inotify.max_user_watches and restart".to_owned()
        }
        notify::ErrorKind::Io(io) if io.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "inotify has no instance left, or the process no descriptor: raise the sysctl \
             fs.inotify.max_user_instances or the limit of open files, and restart"
                .to_owned()
        }
        _ => format!("inotify fails: {error}"),
    }
}

fn identity_of(metadata: &fs::Metadata) -> FolderIdentity {
    FolderIdentity { device: metadata.dev(), inode: metadata.ino() }
}

/// Events that the receiver has not taken. Beyond, nothing is looked at, and what is touched is remembered by name.
const EVENTS_MAX: usize = 8192;

/// Names that were touched since the last turn. Beyond, all are looked at.
const TOUCHED_MAX: usize = 100_000;

/// Names that are looked at before what was seen is told.
const LOOKS_MAX: usize = 1_000;

/// The shortest time between two turns.
const TURN: Duration = Duration::from_millis(25);

/// The time between two tries to tell what the receiver did not take.
const RETRY: Duration = Duration::from_millis(50);

/// The time between two looks at the folder itself: some ten system calls.
const CHECK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag};

    use super::*;

    fn noticed(kind: EventKind, path: &str) -> Inbox {
        let shared = Shared::default();
        let event = notify::Event::new(kind).add_path(PathBuf::from(path));
        notice(&shared, Path::new("/in"), Ok(event));
        shared.take(Duration::ZERO)
    }

    #[test]
    fn events_touch_top_level_names() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, path, name, touch) in [
            (written, "/in/a", "a", Touch::Written),
            (written, "/in/d/e/f", "d", Touch::Written),
            (to, "/in/a", "a", Touch::Renamed),
            (to, "/in/d/a", "d", Touch::Written),
            (EventKind::Create(CreateKind::File), "/in/d/.x.iso.AbCdEf", "d", Touch::Written),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/in/a", "a", Touch::Removed),
        ] {
            let touched: Vec<_> = noticed(kind, path).touched.into_iter().collect();
            assert_eq!(touched, [(OsString::from(name), touch)], "{kind:?} {path}");
        }
        for path in ["/in/.a.iso.AbCdEf", "/in/a.part", "/elsewhere/a"] {
            assert!(noticed(written, path).is_empty(), "{path}");
        }
        assert!(noticed(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/in/a").is_empty());
        assert!(noticed(written, "/in").check);
    }

    #[test]
    fn what_inotify_loses_is_looked_for() {
        let shared = Shared::default();
        notice(
            &shared,
            Path::new("/in"),
            Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan)),
        );
        assert!(shared.take(Duration::ZERO).rescan);
        let full = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        notice(&shared, Path::new("/in"), Err(full));
        assert!(shared.take(Duration::ZERO).blind.unwrap().contains("max_user_watches"));
    }

    #[test]
    fn touched_names_are_bounded() {
        let mut inbox = Inbox::default();
        for name in 0..=TOUCHED_MAX {
            inbox.touch(OsStr::new(&name.to_string()), Touch::Written);
        }
        assert!(inbox.rescan);
        assert_eq!(inbox.touched.len(), 1);
        inbox.touch(OsStr::new("a"), Touch::Renamed);
        inbox.touch(OsStr::new("a"), Touch::Written);
        assert_eq!(inbox.touched[OsStr::new("a")], Touch::Renamed);
    }
}
