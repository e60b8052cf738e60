//! The process that takes over from this one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ops::log::ErrorChain;
use ops::service::Service;
use persist::DataDir;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use shard::PeerChange;

use super::Event;
use super::cores::Cores;
use super::systemd;
use crate::core::mesh::barrier::{self, Unreached};
use crate::core::mesh::message::Command;
use crate::core::mesh::succession::{Leaving, Standing, Step};
use crate::handover::{self, Given, HandoverError, Heard, Kind, PROTOCOL, Said, Talk};
use crate::net::link::{DESCRIPTORS_MAX, Meeting};
use crate::private::books::{Books, Unfollowed};

/// How long a successor may take from its first word until it has loaded.
const LOAD_PATIENCE: Duration = Duration::from_secs(900);

/// How long it may take to serve from the moment when this process has stopped reading.
const SERVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long who connects may take to say what for.
const FIRST_WORD: Duration = Duration::from_secs(2);

/// Parcels of changes that may wait for the successor. More mean that it does not read.
const PARCELS_MAX: usize = 20_000;

/// Parcels that may be on their way when this process stops reading.
const PARCELS_FEW: usize = 4;

/// A successor follows closely that has followed within so long all that has changed; or is asked so often whether it does.
const CLOSE: Duration = Duration::from_millis(10);
const MARKS_MAX: u32 = 20;

/// How soon it is looked again whether so few are.
const LOOK: Duration = Duration::from_millis(5);

/// What is said by whoever connects, for the main thread.
pub(crate) enum Visit {
    /// A process would take over.
    Successor(Talk),
    /// Somebody wants a successor started, and hears what becomes of it.
    StartWanted(Talk),
    /// The successor with this number says something, or is gone.
    Said(u64, Result<Said, HandoverError>),
    /// The successor that was started has ended, with this for people.
    Ended(String),
}

/// Where successors come, and the one that there is.
pub(super) struct Successors {
    sockets: Vec<(Given, OwnedFd)>,
    events: Sender<Event>,
    current: Option<Successor>,
    /// How many there were.
    many: u64,
    /// Who wants to know what becomes of a successor.
    asking: Option<Talk>,
}

/// A process that takes over.
struct Successor {
    /// Counted from the first.
    number: u64,
    talk: Arc<Talk>,
    pid: i32,
    /// By which it can be ended, and no other process that gets its number.
    handle: OwnedFd,
    began: Instant,
    stage: Stage,
    /// How often it has followed all that had changed by some moment.
    marks: u32,
    /// By which the cores say what they have changed.
    parcels: Sender<Vec<PeerChange>>,
    mouth: Arc<Mutex<Mouth>>,
    /// Connections for it, once it serves.
    leaving: Sender<Leaving>,
    /// Somebody has asked that everything is read again.
    reload: bool,
    /// Services that are switched off.
    off: Vec<Service>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A snapshot is to be begun.
    Welcomed,
    /// It is being written.
    Snapshot,
    /// The successor loads it.
    Loading,
    /// It has.
    Loaded,
    /// It was asked then to say when it has followed all that was said before.
    Marked(Instant),
    /// It follows closely.
    Close,
}

impl Successors {
    /// Waits for them in this data folder. Without that nothing is worse, but that nobody can take over.
    pub(super) fn open(data: &Path, sockets: Vec<(Given, OwnedFd)>, events: Sender<Event>) -> Self {
        if let Err(error) = receive(data, events.clone()) {
            tracing::warn!(%error, data = %data.display(), "nobody can take over from this process: its socket in the data folder cannot be made");
        }
        Self { sockets, events, current: None, many: 0, asking: None }
    }

    /// Whether somebody is taking over.
    pub(super) fn is_coming(&self) -> bool {
        self.current.is_some()
    }

    /// When it is to be looked again; `None` when nothing is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let current = self.current.as_ref()?;
        Some(match current.stage {
            Stage::Loaded | Stage::Close => Instant::now() + LOOK,
            _ => current.began + LOAD_PATIENCE,
        })
    }

    /// Everything is to be read again by whoever takes over.
    pub(super) fn reload(&mut self) {
        if let Some(current) = &mut self.current {
            current.reload = true;
        }
    }

    /// These services are switched off, and so by whoever takes over.
    pub(super) fn switched_off(&mut self, off: Vec<Service>) {
        if let Some(current) = &mut self.current {
            current.off = off;
        }
    }

    /// Starts a successor: this program as it is on the disk now, with the same arguments.
    pub(super) fn start(&mut self, asking: Talk) {
        if self.current.is_some() || self.asking.is_some() {
            let text = "a successor is being started already".to_owned();
            _ = asking.say(&Said::Outcome { done: false, text });
            return;
        }
        match spawn() {
            Ok(child) => {
                tracing::info!(pid = child.id(), "a successor was started");
                self.asking = Some(asking);
                self.watch(child);
            }
            Err(error) => {
                let text = format!("cannot start a successor: {error}");
                tracing::error!(%error, "cannot start a successor");
                _ = asking.say(&Said::Outcome { done: false, text });
            }
        }
    }

    /// Waits for the end of a successor that this process has started.
    fn watch(&self, mut child: Child) {
        let events = self.events.clone();
        let wait = move || {
            let ended = match child.wait() {
                Ok(status) => format!("the successor has ended: {status}; its messages say why"),
                Err(error) => format!("nobody knows what became of the successor: {error}"),
            };
            _ = events.send(Event::Visit(Visit::Ended(ended)));
        };
        let thread = thread::Builder::new().name("margay-successor".to_owned());
        if let Err(error) = thread.spawn(wait) {
            tracing::warn!(%error, "cannot start a thread that watches the successor");
        }
    }

    /// A successor that was started has ended.
    pub(super) fn ended(&mut self, text: &str) {
        if let Some(asking) = self.asking.take() {
            tracing::error!("{text}; this process goes on");
            let text = format!("{text}; the process before goes on");
            _ = asking.say(&Said::Outcome { done: false, text });
        }
    }

    /// Hears who would take over, and gives the sockets; changes are noted from then on.
    pub(super) fn welcome(&mut self, talk: Talk, cores: &Cores, data: &DataDir) {
        if let Some(current) = &self.current {
            let why = format!("process {} is taking over already", current.pid);
            tracing::warn!(why, "a process that would take over was refused");
            _ = talk.say(&Said::Refused { why });
            return;
        }
        self.many += 1;
        match self.begin(talk, cores, data) {
            Ok(current) => {
                tracing::info!(
                    pid = current.pid,
                    "a process takes over; it gets a snapshot and what changes since"
                );
                self.current = Some(current);
            }
            Err(error) => {
                tracing::error!(error = %ErrorChain(&*error), "a process cannot take over");
                barrier::tell_all(&cores.addresses(), &Command::Succession(Step::Note(None))).ok();
            }
        }
    }

    fn begin(
        &self,
        talk: Talk,
        cores: &Cores,
        data: &DataDir,
    ) -> Result<Successor, Box<dyn std::error::Error>> {
        let (pid, _) = talk.link().other()?;
        let raw = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let handle = pidfd_open(raw, PidfdFlags::empty())?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        talk.say(&Said::Welcome { version, cores: cores.count() })?;
        let lock = (Given { kind: Kind::Lock, address: None, place: 0 }, data.lock().as_fd());
        let sockets = self.sockets.iter().map(|(given, socket)| (*given, socket.as_fd()));
        let all: Vec<(Given, BorrowedFd<'_>)> = [lock].into_iter().chain(sockets).collect();
        for some in all.chunks(DESCRIPTORS_MAX) {
            let (given, descriptors): (Vec<_>, Vec<_>) = some.iter().copied().unzip();
            talk.give(&Said::Sockets { given }, &descriptors)?;
        }
        talk.say(&Said::AllSockets)?;
        let talk = Arc::new(talk);
        let (parcels, waiting) = crossbeam_channel::unbounded();
        let (leaving, left) = crossbeam_channel::unbounded();
        let mouth = Arc::new(Mutex::new(Mouth { talk: talk.clone(), parcels: waiting, left }));
        forward(Arc::downgrade(&mouth))?;
        let number = self.many;
        hear(number, talk.clone(), self.events.clone())?;
        let note = Command::Succession(Step::Note(Some(parcels.clone())));
        barrier::tell_all(&cores.addresses(), &note)?;
        let (began, stage) = (Instant::now(), Stage::Welcomed);
        Ok(Successor {
            number,
            talk,
            pid,
            handle,
            began,
            stage,
            marks: 0,
            parcels,
            mouth,
            leaving,
            reload: false,
            off: Vec::new(),
        })
    }

    /// A snapshot that the successor can begin with has been begun.
    pub(super) fn snapshot_begun(&mut self) {
        if let Some(current) = &mut self.current
            && current.stage == Stage::Welcomed
        {
            current.stage = Stage::Snapshot;
        }
    }

    /// Whether a snapshot is still to be begun for the successor.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.stage == Stage::Welcomed)
    }

    /// A snapshot is written, or could not be; `journal` is durable up to there.
    pub(super) fn snapshot_done(
        &mut self,
        written: Option<&Path>,
        journal: Option<u64>,
        cores: &Cores,
    ) {
        let Some(current) = &mut self.current else { return };
        if current.stage != Stage::Snapshot {
            return;
        }
        let Some(path) = written else {
            return self.give_up("the snapshot for it cannot be written", cores);
        };
        current.stage = Stage::Loading;
        let said = Said::Snapshot { path: path.to_owned(), journal };
        if let Err(error) = current.talk.say(&said) {
            self.give_up(&ErrorChain(&error).to_string(), cores);
        }
    }

    /// The successor with this number has said something.
    pub(super) fn said(&mut self, number: u64, said: Result<Said, HandoverError>, cores: &Cores) {
        let Some(current) = &mut self.current else { return };
        if current.number != number {
            return;
        }
        match said {
            Ok(Said::Loaded) if current.stage == Stage::Loading => current.stage = Stage::Loaded,
            Ok(Said::Marked) if let Stage::Marked(at) = current.stage => {
                current.marks += 1;
                let is_close = at.elapsed() <= CLOSE || current.marks >= MARKS_MAX;
                current.stage = if is_close { Stage::Close } else { Stage::Loaded };
            }
            Ok(said) => self.give_up(&format!("it says what it should not: {said:?}"), cores),
            Err(error) => self.give_up(&ErrorChain(&error).to_string(), cores),
        }
    }

    /// Looks how far the successor is; true when it has loaded and follows closely, so that little is left to be said when
    /// nobody reads.
    pub(super) fn is_ready(&mut self, cores: &Cores) -> bool {
        let Some(current) = &self.current else { return false };
        if current.began.elapsed() > LOAD_PATIENCE || current.parcels.len() > PARCELS_MAX {
            self.give_up("it takes too long", cores);
            return false;
        }
        if current.stage == Stage::Loaded
            && current.parcels.len() <= PARCELS_FEW
            && let Err(error) = self.mark(cores)
        {
            self.give_up(&ErrorChain(&*error).to_string(), cores);
        }
        self.current.as_ref().is_some_and(|current| current.stage == Stage::Close)
    }

    /// Asks the successor to say when it has followed all that has changed by now.
    fn mark(&mut self, cores: &Cores) -> Result<(), Box<dyn std::error::Error>> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let at = Instant::now();
        // So that they hand on what they have noted.
        stand(cores)?;
        current.say(Said::Mark)?;
        current.stage = Stage::Marked(at);
        Ok(())
    }

    /// Stops reading, says the last, and waits until the successor serves; true when it does. Otherwise this process reads
    /// again, and the successor is ended.
    /// What else comes meanwhile is put into `others`.
    ///
    /// # Errors
    /// It was to go on, and the journal cannot be gone on with.
    pub(super) fn hand_over(
        &mut self,
        cores: &Cores,
        arriving: &Receiver<Event>,
        others: &mut VecDeque<Event>,
        mut books: Option<&mut Books>,
    ) -> Result<bool, Unfollowed> {
        let Some(current) = &self.current else { return Ok(false) };
        let mut rested_at = None;
        let handed = current.hand_over(cores, arriving, others, books.as_deref(), &mut rested_at);
        match handed {
            Ok(gap) => {
                let pid = current.pid;
                systemd::succeeded_by(pid);
                tracing::info!(
                    pid,
                    gap_milliseconds = gap.as_secs_f64() * 1000.0,
                    "a successor serves"
                );
                if let Some(asking) = self.asking.take() {
                    let text = format!(
                        "process {pid} has taken over; nobody read for {:.1} ms",
                        gap.as_secs_f64() * 1000.0
                    );
                    _ = asking.say(&Said::Outcome { done: true, text });
                }
                Ok(true)
            }
            Err(error) => {
                // It must not serve beside this process.
                current.end();
                let gone_on = match (&mut books, rested_at) {
                    (Some(books), Some(rested_at)) => books.go_on(rested_at, &cores.addresses()),
                    _ => Ok(()),
                };
                self.give_up(&ErrorChain(&*error).to_string(), cores);
                gone_on.map(|()| false)
            }
        }
    }

    /// Says that the database is the successor's.
    pub(super) fn say_books_left(&self) {
        if let Some(current) = &self.current {
            // Where it is gone there is nobody to be told.
            let _ = current.say(Said::BooksLeft);
        }
    }

    /// Waits until the connections have ended that this process still has, though not for long beyond `until`, and all that
    /// they have changed is told. `is_ending` says whether not to wait.
    pub(super) fn leave(&self, cores: &Cores, until: Instant, is_ending: &dyn Fn() -> bool) {
        // One may be on its way from a core to another when none has it.
        let mut empty = 0;
        while empty < 2 {
            match stand(cores) {
                Ok(cores) if cores.iter().any(|core| core.connections > 0) => empty = 0,
                Ok(_) => empty += 1,
                Err(_) => break,
            }
            if is_ending() || Instant::now() > until {
                break;
            }
        }
        if let Some(current) = &self.current {
            current.flush();
        }
    }

    /// Goes on without a successor.
    fn give_up(&mut self, why: &str, cores: &Cores) {
        let Some(current) = self.current.take() else { return };
        let resumed = [Step::Read(true), Step::Note(None)]
            .map(|step| barrier::tell_all(&cores.addresses(), &Command::Succession(step)));
        tracing::error!(
            pid = current.pid,
            why,
            resumed = resumed.iter().all(Result::is_ok),
            "a process has not taken over; this one goes on"
        );
        let _ = current.talk.say(&Said::Refused { why: why.to_owned() });
        current.talk.link().end();
        if let Some(asking) = self.asking.take() {
            let text =
                format!("the successor has not taken over: {why}; the process before goes on");
            _ = asking.say(&Said::Outcome { done: false, text });
        }
    }
}

impl Successor {
    /// How long nobody read; `rested_at` is where the journal rests, once it does.
    fn hand_over(
        &self,
        cores: &Cores,
        arriving: &Receiver<Event>,
        others: &mut VecDeque<Event>,
        books: Option<&Books>,
        rested_at: &mut Option<u64>,
    ) -> Result<Duration, Box<dyn std::error::Error>> {
        let addresses = cores.addresses();
        if let Some(books) = books {
            books.prepare_to_rest(&addresses)?;
        }
        let began = handover::moment();
        barrier::tell_all(&addresses, &Command::Succession(Step::Read(false)))?;
        // When all have answered, nobody reads. What they have sent each other before is told with what is late.
        let standings = stand(cores)?;
        if let Some(books) = books {
            *rested_at = Some(books.rest(&addresses)?);
        }
        for standing in &standings {
            self.say(Said::promises(standing.core, &standing.promises))?;
        }
        let off = self.off.iter().map(|service| service.label().to_owned()).collect();
        self.say(Said::Yours { reload: self.reload, journal: *rested_at, off })?;
        let until = Instant::now() + SERVE_PATIENCE;
        let served = loop {
            match arriving.recv_deadline(until)? {
                Event::Visit(Visit::Said(number, said)) if number == self.number => match said? {
                    Said::Serving { at } => break at,
                    said => return Err(HandoverError::Unexpected(format!("{said:?}")).into()),
                },
                other => others.push_back(other),
            }
        };
        let gap = Duration::from_nanos(served.saturating_sub(began));
        let succeeded = Step::Succeeded(self.leaving.clone());
        if let Err(unreached) = barrier::tell_all(&addresses, &Command::Succession(succeeded)) {
            // The other one serves, whatever is here.
            tracing::error!(%unreached, "a core has not heard that another process serves");
        }
        Ok(gap)
    }

    /// Ends it, and waits until it has ended.
    fn end(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        let mut ended = [PollFd::new(&self.handle, PollFlags::IN)];
        let patience = Timespec { tv_sec: SERVE_PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let _ = poll(&mut ended, Some(&patience));
    }

    /// Says something, after the changes that were handed on before.
    fn say(&self, said: Said) -> Result<(), HandoverError> {
        let mouth = self.mouth.lock().unwrap_or_else(PoisonError::into_inner);
        mouth.say_what_waits()?;
        mouth.talk.say(&said)
    }

    /// Says all that waits.
    fn flush(&self) {
        let mouth = self.mouth.lock().unwrap_or_else(PoisonError::into_inner);
        // Where it is gone there is nobody to be told.
        let _ = mouth.say_what_waits();
    }
}

/// By which things are said to the successor, one after the other.
struct Mouth {
    talk: Arc<Talk>,
    /// What waits to be said.
    parcels: Receiver<Vec<PeerChange>>,
    left: Receiver<Leaving>,
}

impl Mouth {
    fn say_what_waits(&self) -> Result<(), HandoverError> {
        self.left.try_iter().for_each(|leaving| hand_on(&self.talk, leaving));
        self.parcels.try_iter().try_for_each(|parcel| self.talk.tell(&parcel))
    }
}

/// How the cores are, when they have done all that they were told before.
pub(super) fn stand(cores: &Cores) -> Result<Vec<Standing>, Unreached> {
    let mut standings = barrier::ask_all(&cores.addresses(), Step::Stand)?;
    standings.sort_by_key(|standing| standing.core);
    Ok(standings)
}

/// Receives who comes, for as long as the process lives.
fn receive(data: &Path, events: Sender<Event>) -> io::Result<()> {
    let meeting = Meeting::open(&handover::meeting(data))?;
    let receive = move || {
        loop {
            let visit = meeting.accept().map(Talk::new).map(first_word);
            match visit {
                Ok(Ok(visit)) => {
                    if events.send(Event::Visit(visit)).is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %ErrorChain(&error), "somebody connected who would take over, and was not understood");
                }
                Err(error) => {
                    tracing::error!(%error, "nobody can take over any more");
                    return;
                }
            }
        }
    };
    thread::Builder::new().name("margay-visits".to_owned()).spawn(receive)?;
    Ok(())
}

fn first_word(talk: Talk) -> Result<Visit, HandoverError> {
    let (_, user) = talk.link().other()?;
    if user != 0 && user != rustix::process::geteuid().as_raw() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
    }
    match talk.hear(Some(FIRST_WORD))? {
        Heard::Said(Said::Start, _) => Ok(Visit::StartWanted(talk)),
        Heard::Said(Said::Hello { protocol: PROTOCOL, .. }, _) => Ok(Visit::Successor(talk)),
        Heard::Said(Said::Hello { version, .. }, _) => {
            let why = format!(
                "margay {} serves, and {version} speaks another version of the hand-over: stop the one, then start the \
                 other",
                env!("CARGO_PKG_VERSION")
            );
            talk.say(&Said::Refused { why: why.clone() })?;
            Err(HandoverError::Refused(why))
        }
        Heard::Said(said, _) => Err(HandoverError::Unexpected(format!("{said:?}"))),
        Heard::Changes(_) => Err(HandoverError::Unexpected("changes".to_owned())),
    }
}

/// Says to the successor what changes, on a thread of its own, for as long as there is one.
fn forward(mouth: Weak<Mutex<Mouth>>) -> io::Result<()> {
    let forward = move || {
        while let Some(mouth) = mouth.upgrade() {
            let said = mouth.lock().unwrap_or_else(PoisonError::into_inner).say_what_waits();
            if said.is_err() {
                return;
            }
            drop(mouth);
            thread::sleep(FORWARD_LOOK);
        }
    };
    thread::Builder::new().name("margay-changes".to_owned()).spawn(forward)?;
    Ok(())
}

/// Hands a connection on. One that has said more than a message holds is closed.
fn hand_on(talk: &Talk, Leaving { connection, remote, input }: Leaving) {
    if let Err(error) = talk.give(&Said::Connection { remote, input }, &[connection.as_fd()]) {
        tracing::warn!(error = %ErrorChain(&error), "a connection cannot be handed on, and is closed");
    }
}

/// How often it is looked for changes.
const FORWARD_LOOK: Duration = Duration::from_millis(2);

/// Brings what the successor says to the main thread, until it is gone.
fn hear(number: u64, talk: Arc<Talk>, events: Sender<Event>) -> io::Result<()> {
    let hear = move || {
        loop {
            let said = match talk.hear(None) {
                Ok(Heard::Said(said, _)) => Ok(said),
                Ok(Heard::Changes(_)) => Err(HandoverError::Unexpected("changes".to_owned())),
                Err(error) => Err(error),
            };
            let is_over = said.is_err();
            if events.send(Event::Visit(Visit::Said(number, said))).is_err() || is_over {
                return;
            }
        }
    };
    thread::Builder::new().name("margay-after".to_owned()).spawn(hear)?;
    Ok(())
}

/// This program as it is on the disk, with the same arguments, to take over.
fn spawn() -> io::Result<Child> {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if !arguments.iter().any(|argument| argument == TAKE_OVER) {
        arguments.push(TAKE_OVER.into());
    }
    let program = super::PROGRAM.get().cloned().map_or_else(std::env::current_exe, Ok)?;
    std::process::Command::new(program).args(arguments).stdin(Stdio::null()).spawn()
}

/// The flag of a process that takes over.
const TAKE_OVER: &str = "--take-over";
