//! The process that this one takes over from.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::process::{Pid, test_kill_process};
use shard::PeerChange;

use super::cores::Cores;
use super::listeners::Inherited;
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::succession::{Promises, Step};
use crate::core::mesh::{Address, barrier};
use crate::core::route;
use crate::handover::{self, HandoverError, Heard, Kind, PROTOCOL, Said, Talk};

/// Why this process does not take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Nobody serves from there.
    #[error(
        "no margay serves from the data folder {data}, so there is nobody to take over from; start this one without \
         --take-over"
    )]
    Nobody {
        /// The data folder.
        data: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other one does not want to, or something went wrong.
    #[error("cannot take over from the margay that serves from {data}, which goes on")]
    Broken {
        /// The data folder.
        data: PathBuf,
        /// What went wrong.
        source: HandoverError,
    },
    /// A core does not do its part.
    #[error("cannot take over: a core does not do its part")]
    Core(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How long the other process may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to write a snapshot.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(600);

/// How long it may take until it has nothing more to say of what has changed.
const YIELD_PATIENCE: Duration = Duration::from_secs(60);

/// Cores that a process may have.
const CORES_MAX: usize = 4096;

/// How often it is looked whether this process is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The process before, as far as it has come.
pub(super) struct Predecessor {
    data: PathBuf,
    pid: i32,
    talk: Arc<Talk>,
    /// The lock of the data folder, until it is taken.
    lock: Option<File>,
    /// Its sockets.
    pub(super) inherited: Inherited,
    /// What it says, by a thread that reads it: so it never waits for this process.
    heard: Receiver<Result<Heard, HandoverError>>,
    /// What it has changed, and nobody has followed yet.
    unfollowed: Vec<PeerChange>,
}

impl Predecessor {
    /// Asks the process that serves from this data folder, and takes its sockets.
    pub(super) fn meet(data: &Path, private: bool) -> Result<Self, TakeOverError> {
        let talk = Talk::begin(data)
            .map_err(|source| TakeOverError::Nobody { data: data.to_owned(), source })?;
        let broken = |source| TakeOverError::Broken { data: data.to_owned(), source };
        let meet = || {
            let (pid, _) = talk.link().other()?;
            let version = env!("CARGO_PKG_VERSION").to_owned();
            talk.say(&Said::Hello { protocol: PROTOCOL, version, private })?;
            let (version, cores) = match talk.hear(Some(ANSWER_PATIENCE))? {
                Heard::Said(Said::Welcome { version, cores }, _) => (version, cores),
                other => return Err(unexpected(other)),
            };
            let (mut lock, mut inherited) = (None, Inherited::default());
            loop {
                match talk.hear(Some(ANSWER_PATIENCE))? {
                    Heard::Said(Said::Sockets { given }, descriptors) => {
                        sort(given, descriptors, &mut lock, &mut inherited);
                    }
                    Heard::Said(Said::AllSockets, _) => break,
                    other => return Err(unexpected(other)),
                }
            }
            tracing::info!(pid, version, cores, "taking over");
            Ok((pid, lock, inherited))
        };
        let (pid, lock, inherited) = meet().map_err(broken)?;
        let talk = Arc::new(talk);
        let heard = listen(talk.clone()).map_err(|error| broken(error.into()))?;
        let data = data.to_owned();
        Ok(Self { data, pid, talk, lock, inherited, heard, unfollowed: Vec::new() })
    }

    /// The lock of the data folder, once.
    pub(super) fn lock(&mut self) -> Option<File> {
        self.lock.take()
    }

    /// Waits for the snapshot to begin with. `is_ending` is asked now and then whether this process is to end.
    pub(super) fn snapshot(
        &mut self,
        is_ending: &dyn Fn() -> bool,
    ) -> Result<PathBuf, TakeOverError> {
        let until = Instant::now() + SNAPSHOT_PATIENCE;
        loop {
            match self.next(until, is_ending).map_err(|source| self.broken(source))? {
                Heard::Said(Said::Snapshot { path }, _) => return Ok(path),
                Heard::Changes(changes) => self.unfollowed.extend(changes),
                other => return Err(self.broken(unexpected(other))),
            }
        }
    }

    /// Says that the cores have loaded, and follows what changes until the other process has stopped reading: what it has
    /// promised, and whether everything is to be read again.
    pub(super) fn follow(
        &mut self,
        cores: &Cores,
        is_ending: &dyn Fn() -> bool,
    ) -> Result<(Vec<Promises>, bool), TakeOverError> {
        follow(cores, &std::mem::take(&mut self.unfollowed), false);
        self.talk.say(&Said::Loaded).map_err(|source| self.broken(source))?;
        let (mut promised, until) = (Vec::new(), Instant::now() + YIELD_PATIENCE);
        loop {
            match self.next(until, is_ending) {
                Ok(Heard::Changes(changes)) => follow(cores, &changes, false),
                Ok(Heard::Said(Said::Promises { core, interval, due }, _)) => {
                    let core: usize = core;
                    if core < CORES_MAX && promised.len() <= core {
                        promised.resize(core + 1, Promises::default());
                    }
                    if let Some(place) = promised.get_mut(core) {
                        *place = handover::promises(interval, due);
                    }
                }
                Ok(Heard::Said(Said::Yours { reload }, _)) => return Ok((promised, reload)),
                Ok(other) => return Err(self.broken(unexpected(other))),
                // It has died, so nobody serves but this one, which knows nearly all.
                Err(HandoverError::Gone) if !self.lives() => {
                    tracing::error!(
                        pid = self.pid,
                        "the process before has died while this one took over; this one serves, without what changed in \
                         the last moment"
                    );
                    return Ok((promised, true));
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// Says that this process serves; what the other one still does for connections that it has is followed by a thread.
    pub(super) fn succeed(self, cores: &Cores) {
        // Where it is gone there is nobody to be told.
        let _ = self.talk.say(&Said::Serving);
        let addresses = cores.addresses();
        let follow = move || {
            for heard in &self.heard {
                if let Ok(Heard::Changes(changes)) = heard {
                    tell(&addresses, &changes, true);
                }
            }
        };
        let thread = std::thread::Builder::new().name("margay-follow".to_owned());
        if let Err(error) = thread.spawn(follow) {
            tracing::warn!(%error, "cannot start a thread; what the process before does at last is not known");
        }
    }

    /// Whether the other process is there.
    fn lives(&self) -> bool {
        // It may take a moment to be gone after its descriptors are.
        std::thread::sleep(LOOK);
        Pid::from_raw(self.pid).is_some_and(|pid| test_kill_process(pid).is_ok())
    }

    fn next(&self, until: Instant, is_ending: &dyn Fn() -> bool) -> Result<Heard, HandoverError> {
        loop {
            match self.heard.recv_timeout(LOOK) {
                Ok(heard) => return heard,
                Err(RecvTimeoutError::Disconnected) => return Err(HandoverError::Gone),
                Err(RecvTimeoutError::Timeout) if is_ending() => {
                    tracing::info!("stopped before it has taken over; the process before goes on");
                    std::process::exit(0);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > until => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn broken(&self, source: HandoverError) -> TakeOverError {
        TakeOverError::Broken { data: self.data.clone(), source }
    }
}

/// Reads what the other process says, for as long as it says something.
fn listen(talk: Arc<Talk>) -> io::Result<Receiver<Result<Heard, HandoverError>>> {
    let (sender, heard) = crossbeam_channel::unbounded();
    let listen = move || {
        loop {
            let heard = talk.hear(None);
            let is_over = heard.is_err();
            if sender.send(heard).is_err() || is_over {
                return;
            }
        }
    };
    std::thread::Builder::new().name("margay-before".to_owned()).spawn(listen)?;
    Ok(heard)
}

fn sort(
    given: Vec<handover::Given>,
    descriptors: Vec<OwnedFd>,
    lock: &mut Option<File>,
    inherited: &mut Inherited,
) {
    for (given, descriptor) in given.into_iter().zip(descriptors) {
        match given.kind {
            Kind::Lock => *lock = Some(File::from(descriptor)),
            _ => inherited.put(given, descriptor),
        }
    }
}

fn unexpected(heard: Heard) -> HandoverError {
    match heard {
        Heard::Said(Said::Refused { why }, _) => HandoverError::Refused(why),
        Heard::Said(said, _) => HandoverError::Unexpected(format!("{said:?}")),
        Heard::Changes(_) => HandoverError::Unexpected("changes".to_owned()),
    }
}

fn follow(cores: &Cores, changes: &[PeerChange], is_late: bool) {
    tell(&cores.addresses(), changes, is_late);
}

/// Has each core follow what changed of what it owns.
fn tell(cores: &[Address<Message>], changes: &[PeerChange], is_late: bool) {
    let mut parts = vec![Vec::new(); cores.len()];
    for change in changes {
        parts[route::owner(&change.info_hash, cores.len())].push(*change);
    }
    for (core, part) in cores.iter().zip(parts) {
        if !part.is_empty() {
            let step = Step::Follow(Arc::new(part), is_late);
            if let Err(unreached) = barrier::tell_one(core, Command::Succession(step)) {
                tracing::error!(%unreached, "a core does not follow the process before");
            }
        }
    }
}
