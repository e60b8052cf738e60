//! The thread that watches: its turns, and what it knows of the folder.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

use super::folder::{Event, Folder, How, Options};
use super::inbox::{Inbox, Order, Shared, limit, notice};
use super::look::{Look, look};
use super::place::{FolderIdentity, Place, identity_of};
use super::settle::Settle;
use super::writers::writers;
use crate::torrent::Identity;

/// What the thread has.
pub(super) struct Turns {
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
    /// The first turn is still to come; what is told goes to `sender`.
    pub(super) fn new(
        options: Options,
        place: Place,
        shared: Arc<Shared>,
        started: Instant,
        sender: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            shared,
            settle: Settle::new(options.rules.clone()),
            place,
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
        }
    }

    /// Until it is to stop.
    pub(super) fn run(mut self) {
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It is not known yet whether it is the folder that the publisher remembers.
    Starting,
    /// As starting, and it was told that it is lost.
    Foreign,
    Watching,
    Lost,
}

/// Names that are looked at before what was seen is told.
const LOOKS_MAX: usize = 1_000;

/// The shortest time between two turns.
const TURN: Duration = Duration::from_millis(25);

/// The time between two tries to tell what the receiver did not take.
const RETRY: Duration = Duration::from_millis(50);

/// The time between two looks at the folder itself: some ten system calls.
const CHECK: Duration = Duration::from_secs(2);
