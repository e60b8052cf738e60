//! What the service manager is told (sd_notify(3)), and the sockets that it has.
//!
//! Where no service manager listens (`NOTIFY_SOCKET` is not there) nothing is said.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use crossbeam_channel::Sender;
use persist::Trouble;
use sd_notify::NotifyState;

use super::listeners::Inherited;
use crate::config::{Config, HttpAddress};
use crate::handover::{Given, Kind};
use crate::net::activation::{self, Passed};

/// What is said: a thread of its own says it, so that a service manager that hangs keeps nobody waiting.
enum Word {
    State(NotifyState<'static>),
    Keep(String, OwnedFd),
    /// All before it has been said.
    Nothing(Sender<()>),
}

static WORDS: OnceLock<Option<Sender<Word>>> = OnceLock::new();

/// How long is waited for what is left to be said at an end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Requests are answered.
pub(super) fn ready() {
    say(Word::State(NotifyState::Ready));
}

/// It is not over yet; a start may take so much longer.
pub(super) fn more_time(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    say(Word::State(NotifyState::ExtendTimeoutUsec(micros)));
}

/// The process is to end.
pub(super) fn stopping() {
    say(Word::State(NotifyState::Stopping));
}

/// Another process is the service now.
pub(super) fn succeeded_by(pid: i32) {
    say(Word::State(NotifyState::MainPid(pid.unsigned_abs())));
}

/// Waits until all is said, for a while.
pub(super) fn finish() {
    let (sender, done) = crossbeam_channel::bounded(1);
    say(Word::Nothing(sender));
    let _ = done.recv_timeout(LAST_WORDS);
}

fn say(word: Word) {
    if let Some(words) = WORDS.get_or_init(begin) {
        let _ = words.try_send(word);
    }
}

/// Starts the thread, where there is somebody to be told.
fn begin() -> Option<Sender<Word>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (sender, words) = crossbeam_channel::unbounded();
    let speak = move || {
        for word in words {
            let said = match word {
                Word::State(state) => sd_notify::notify(&[state]),
                Word::Keep(name, socket) => activation::keep(&name, &socket),
                Word::Nothing(done) => {
                    let _ = done.try_send(());
                    Ok(())
                }
            };
            if let Err(error) = said
                && let Some(times) = UNSAID.again("")
            {
                tracing::warn!(%error, times, "the service manager cannot be told how the tracker is");
            }
        }
    };
    match std::thread::Builder::new().name("margay-systemd".to_owned()).spawn(speak) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "cannot start a thread; the service manager is told nothing");
            None
        }
    }
}

static UNSAID: Trouble = Trouble::new();

/// The sockets that the service manager has bound or kept, of addresses that are wanted. Others are closed, and forgotten
/// there.
pub(super) fn sockets(config: &Config) -> Inherited {
    let mut inherited = Inherited::default();
    let passed = match activation::passed() {
        Ok(passed) => passed,
        Err(error) => {
            tracing::warn!(%error, "what the service manager has passed cannot be taken");
            return inherited;
        }
    };
    for Passed { name, address, is_udp, socket } in passed {
        match wanted(config, &name, address, is_udp) {
            Some((kind, wanted)) => {
                let place = place(&name).unwrap_or_else(|| inherited.count(kind, wanted));
                let given = Given { kind, address: Some(wanted), place };
                tracing::info!(name, %address, option = kind.option(), "the service manager has passed a socket");
                inherited.put(given, socket);
            }
            None => {
                tracing::warn!(name, %address, is_udp, "the service manager has passed a socket of an address that no option names; it is closed");
                let _ = activation::forget(&name);
            }
        }
    }
    inherited
}

/// The option that names an address of this sort, and as it names it. Two of them may differ by the socket's name alone.
fn wanted(
    config: &Config,
    name: &str,
    address: SocketAddr,
    is_udp: bool,
) -> Option<(Kind, SocketAddr)> {
    let http: Vec<SocketAddr> = config.http.iter().filter_map(HttpAddress::at).collect();
    let lists = [
        (Kind::Udp, &config.udp[..]),
        (Kind::Http, &http[..]),
        (Kind::Https, &config.https[..]),
        (Kind::Control, config.control.as_slice()),
        (Kind::ControlHttps, config.control_https.as_slice()),
        (Kind::Metrics, config.metrics.as_slice()),
    ];
    let named = |kind: Kind| {
        name.strip_prefix(kind.option()).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix('-').is_some_and(|place| place.parse::<usize>().is_ok())
        })
    };
    let all = lists
        .into_iter()
        .filter(|(kind, _)| (*kind == Kind::Udp) == is_udp)
        .flat_map(|(kind, addresses)| addresses.iter().map(move |wanted| (kind, *wanted)))
        .filter(|(_, wanted)| *wanted == address);
    let all: Vec<_> = all.collect();
    all.iter().find(|(kind, _)| named(*kind)).or(all.first()).copied()
}

/// The place of a socket in its group, which this program has given it in its name.
fn place(name: &str) -> Option<usize> {
    name.rsplit_once('-')?.1.parse().ok()
}

/// Has the service manager keep the sockets, for a start after a crash: what has arrived meanwhile is answered then.
pub(super) fn keep(sockets: &[(Given, OwnedFd)]) {
    // A socket at a path is bound anew: nothing waits in it that a client would not say again.
    for (given, socket) in sockets.iter().filter(|(given, _)| given.address.is_some()) {
        if let Ok(copy) = socket.try_clone() {
            say(Word::Keep(format!("{}-{}", given.kind.option(), given.place), copy));
        }
    }
}
