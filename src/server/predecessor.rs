//! The process that this one takes over from.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use ops::service::Service;
use rustix::process::{Pid, test_kill_process};
use shard::PeerChange;

use super::cores::Cores;
use super::listeners::Inherited;
use super::successor::stand;
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::succession::{Leaving, Promises, Step};
use crate::core::mesh::{Address, barrier};
use crate::core::route;
use crate::handover::{self, HandoverError, Heard, Kind, PROTOCOL, Said, Talk};
use crate::private::books::Books;

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
    /// The journal of the other one.
    #[error("cannot take over the journal of the margay that serves from there, which goes on")]
    Books(#[source] Box<dyn std::error::Error + Send + Sync>),
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

/// How long a process may take to be gone after its descriptors are.
const LOOK: Duration = Duration::from_millis(100);

/// How often it is looked what is new in the journal, and whether this process is to end.
const FOLLOW_LOOK: Duration = Duration::from_millis(5);

/// How long it is tried to give a connection to a core.
const TAKE_PATIENCE: Duration = Duration::from_secs(1);

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

/// What is left to be done when the process before has stopped reading.
pub(super) struct Handed {
    /// What each of its cores has promised.
    pub(super) promised: Vec<Promises>,
    /// Everything is to be read again.
    pub(super) reload: bool,
    /// These services are switched off.
    pub(super) off: Vec<Service>,
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

    /// Waits for the snapshot to begin with, and of a private tracker up to which record its journal is durable. `is_ending` is asked now and then whether this process is to end.
    pub(super) fn snapshot(
        &mut self,
        is_ending: &dyn Fn() -> bool,
    ) -> Result<(PathBuf, Option<u64>), TakeOverError> {
        let until = Instant::now() + SNAPSHOT_PATIENCE;
        loop {
            let heard = self.next(until, is_ending).map_err(|source| self.broken(source))?;
            match heard {
                Heard::Said(Said::Snapshot { path, journal }, _) => return Ok((path, journal)),
                Heard::Changes(changes) => self.unfollowed.extend(changes),
                other => return Err(self.broken(unexpected(other))),
            }
        }
    }

    /// Says that the cores have loaded, and follows what changes until the other process has stopped reading. The books are
    /// this process's then.
    pub(super) fn follow(
        &mut self,
        cores: &Cores,
        is_ending: &dyn Fn() -> bool,
        mut books: Option<&mut Books>,
    ) -> Result<Handed, TakeOverError> {
        let addresses = cores.addresses();
        let mut following = books.as_ref().map(|books| books.following());
        // What does not go now goes later, or the last time says why not.
        let mut follow_journal = || {
            if let (Some(books), Some(following)) = (&mut books, &mut following) {
                let _ = books.follow(following, &addresses);
            }
        };
        tell(&addresses, &std::mem::take(&mut self.unfollowed), false);
        follow_journal();
        self.talk.say(&Said::Loaded).map_err(|source| self.broken(source))?;
        let (mut promised, until) = (Vec::new(), Instant::now() + YIELD_PATIENCE);
        let (reload, journal, off) = loop {
            follow_journal();
            match self.next_or_look(until, is_ending) {
                Ok(None) => {}
                Ok(Some(Heard::Changes(changes))) => tell(&addresses, &changes, false),
                Ok(Some(Heard::Said(Said::Mark, _))) => {
                    follow_journal();
                    // They have followed what they were told.
                    stand(cores).map_err(|error| TakeOverError::Core(Box::new(error)))?;
                    self.talk.say(&Said::Marked).map_err(|source| self.broken(source))?;
                }
                Ok(Some(Heard::Said(Said::Promises { core, interval, due }, _))) => {
                    let core: usize = core;
                    if core < CORES_MAX && promised.len() <= core {
                        promised.resize(core + 1, Promises::default());
                    }
                    if let Some(place) = promised.get_mut(core) {
                        *place = handover::promises(interval, due);
                    }
                }
                Ok(Some(Heard::Said(Said::Yours { reload, journal, off }, _))) => {
                    break (reload, journal, off);
                }
                Ok(Some(other)) => return Err(self.broken(unexpected(other))),
                // It has died, so nobody serves but this one, which knows nearly all.
                Err(HandoverError::Gone) if !self.lives() => {
                    tracing::error!(
                        pid = self.pid,
                        "the process before has died while this one took over; this one serves, without what changed in \
                         the last moment"
                    );
                    break (true, None, Vec::new());
                }
                Err(error) => return Err(self.broken(error)),
            }
        };
        if let (Some(books), Some(following)) = (books, &mut following) {
            let taken = books.take_over(following, journal, &addresses);
            taken.map_err(|error| TakeOverError::Books(Box::new(error)))?;
        }
        let off = off.iter().filter_map(|label| Service::parse(label)).collect();
        Ok(Handed { promised, reload, off })
    }

    /// Says that this process serves; what the other one still does for connections that it has is followed by a thread,
    /// which also takes the connections that it hands on. `write` is called when the database is this one's.
    pub(super) fn succeed(self, cores: &Cores, write: Option<impl Fn() + Send + 'static>) {
        // Where it is gone there is nobody to be told.
        let _ = self.talk.say(&Said::Serving { at: handover::moment() });
        let addresses = cores.addresses();
        let follow = move || {
            for (number, heard) in self.heard.iter().enumerate() {
                match heard {
                    Ok(Heard::Changes(changes)) => tell(&addresses, &changes, true),
                    Ok(Heard::Said(Said::Connection { remote, input }, descriptors)) => {
                        for connection in descriptors {
                            let leaving = Leaving { connection, remote, input: input.clone() };
                            take(&addresses, number, leaving);
                        }
                    }
                    Ok(Heard::Said(Said::BooksLeft, _)) => write.iter().for_each(|write| write()),
                    Ok(_) | Err(_) => {}
                }
            }
            // Whatever became of it.
            write.iter().for_each(|write| write());
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
            if let Some(heard) = self.next_or_look(until, is_ending)? {
                return Ok(heard);
            }
        }
    }

    /// What comes next, or nothing when that takes a moment.
    fn next_or_look(
        &self,
        until: Instant,
        is_ending: &dyn Fn() -> bool,
    ) -> Result<Option<Heard>, HandoverError> {
        match self.heard.recv_timeout(FOLLOW_LOOK) {
            Ok(heard) => heard.map(Some),
            Err(RecvTimeoutError::Disconnected) => Err(HandoverError::Gone),
            Err(RecvTimeoutError::Timeout) if is_ending() => {
                tracing::info!("stopped before it has taken over; the process before goes on");
                std::process::exit(0);
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() > until => {
                Err(io::Error::from(io::ErrorKind::TimedOut).into())
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
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

/// Gives a connection to one of the cores.
fn take(cores: &[Address<Message>], number: usize, leaving: Leaving) {
    let mut message = Message::Taken(Box::new(leaving));
    let until = Instant::now() + TAKE_PATIENCE;
    for core in cores.iter().cycle().skip(number % cores.len()) {
        match core.send(message) {
            Ok(()) => return,
            Err(back) => message = back,
        }
        if Instant::now() > until {
            tracing::warn!("no core has room for a connection of the process before; it is closed");
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
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
