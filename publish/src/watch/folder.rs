//! The folder that is watched: how, what is told of it, and what its owner says.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::inbox::{Order, Shared};
use super::look::Look;
use super::place::{FolderIdentity, Place, identity_of};
use super::rules::{Rules, RulesError};
use super::settle::State;
use super::turns::Turns;

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
        let place = Place { path, resolved, identity: identity_of(&metadata) };
        let turns = Turns::new(options, place, Arc::clone(&shared), started, sender);
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

/// Events that the receiver has not taken. Beyond, nothing is looked at, and what is touched is remembered by name.
const EVENTS_MAX: usize = 8192;
