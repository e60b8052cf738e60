//! What two processes of one tracker say to each other when the one takes over from the other.
//!
//! ```text
//! successor                                    predecessor
//!   Hello ────────────────────────────────────►  it serves on; changes are noted from here
//!   ◄──────────────── Welcome, Sockets (descriptors of the same sockets), AllSockets
//!   ◄──────────────── Snapshot (a file), changes, changes, …
//!   it loads, and follows the changes
//!   Loaded ───────────────────────────────────►
//!   ◄──────────────── changes, Mark
//!   Marked ───────────────────────────────────►  it stops reading; what is under way is done
//!   ◄──────────────── changes, Promises, Yours
//!   it serves
//!   Serving ──────────────────────────────────►  it hands its connections on as they ask, and ends
//!   ◄──────────────── changes, Connection, Connection, …
//! ```
//!
//! What changes is in the journal where the tracker is private: the successor follows that (see
//! [`crate::private::books`]), and `BooksLeft` says when the database is its own as well.
//!
//! When the successor is gone before it has said `Serving`, the predecessor reads again and nothing has happened. The
//! messages are JSON, and changes are rkyv, behind a byte that says which; [`PROTOCOL`] says which version of them.

mod changes;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shard::{PeerChange, Seconds};

use crate::core::mesh::succession::Promises;
use crate::net::link::{Letter, Link};
use crate::net::remote::Remote;

pub use changes::NoChanges;

/// The version of what is said. Processes of different versions do not take over from each other.
pub const PROTOCOL: u32 = 2;

/// The name in the data folder where a process can be reached that serves.
const MEETING: &str = "take-over.socket";

/// Where the process can be reached that has this data folder.
pub fn meeting(data: &Path) -> PathBuf {
    data.join(MEETING)
}

/// What a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The lock of the data folder.
    Lock,
    /// A socket of UDP.
    Udp,
    /// A listener of HTTP.
    Http,
    /// A listener of HTTP at a path, and the lock of that, by turns.
    HttpUnix,
    /// A listener of HTTPS.
    Https,
    /// The control listener.
    Control,
    /// The same over TLS.
    ControlHttps,
    /// The listener for metrics.
    Metrics,
}

impl Kind {
    /// The option that says its address.
    pub fn option(self) -> &'static str {
        match self {
            Kind::Lock => "data",
            Kind::Udp => "udp",
            Kind::Http | Kind::HttpUnix => "http",
            Kind::Https => "https",
            Kind::Control => "control",
            Kind::ControlHttps => "control-https",
            Kind::Metrics => "metrics",
        }
    }
}

/// A descriptor that is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Given {
    /// What it is.
    pub kind: Kind,
    /// The address as the configuration has it; none of a lock, and of a path.
    pub address: Option<SocketAddr>,
    /// Its place in its group, which is the core that it was bound for.
    pub place: usize,
}

/// A message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum Said {
    /// I would take over.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The version of the program.
        version: String,
        /// It is a private tracker.
        private: bool,
    },
    /// You cannot.
    Refused {
        /// Why not, for people.
        why: String,
    },
    /// You can.
    Welcome {
        /// The version of the program.
        version: String,
        /// How many cores it has.
        cores: usize,
    },
    /// These are the descriptors of this message.
    Sockets {
        /// One for each.
        given: Vec<Given>,
    },
    /// There are no more.
    AllSockets,
    /// Load this; you are told of all that has changed since it was begun.
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Of a private tracker: the journal is durable up to this record. What changes is in there.
        journal: Option<u64>,
    },
    /// I have loaded it, and followed what you have said so far.
    Loaded,
    /// A core has promised this.
    Promises {
        /// Which.
        core: usize,
        /// The interval in seconds.
        interval: f64,
        /// Seconds since the Unix epoch, and how many clients come back then.
        due: Vec<(u32, u32)>,
    },
    /// Nobody reads from the sockets any more: do you.
    Yours {
        /// Somebody has asked meanwhile that lists, rules and certificates are read again.
        reload: bool,
        /// Of a private tracker: the record that comes next in the journal, which is yours.
        journal: Option<u64>,
        /// Services that are switched off, by their labels.
        off: Vec<String>,
    },
    /// Say when you have followed all that was said so far.
    Mark,
    /// I have.
    Marked,
    /// I do.
    Serving {
        /// Since when, see [`moment`].
        at: u64,
    },
    /// The descriptor is a connection: go on with it.
    Connection {
        /// Who is at the other end.
        remote: Remote,
        /// What it has sent, and nobody has answered.
        input: Vec<u8>,
    },
    /// I write the database no more.
    BooksLeft,
    /// Start your successor (said by the command, which hears what becomes of it).
    Start,
    /// What has become of it.
    Outcome {
        /// The successor serves.
        done: bool,
        /// For people.
        text: String,
    },
}

/// What comes over a connection.
#[derive(Debug)]
pub enum Heard {
    /// A message, with its descriptors.
    Said(Said, Vec<OwnedFd>),
    /// What has changed.
    Changes(Vec<PeerChange>),
}

/// Why nothing was understood.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The connection failed.
    #[error("the connection to the other process failed")]
    Link(#[from] io::Error),
    /// The other process is gone, or has given up.
    #[error("the other process has gone")]
    Gone,
    /// It is no message.
    #[error("the other process says what is no message")]
    Message(#[from] serde_json::Error),
    /// It is no parcel of changes.
    #[error(transparent)]
    Changes(#[from] NoChanges),
    /// Something else was to be said.
    #[error("the other process says something else than was to be said: {0}")]
    Unexpected(String),
    /// It does not want to.
    #[error("{0}")]
    Refused(String),
}

/// The byte that a message begins with.
const MESSAGE: u8 = b'm';
const CHANGES: u8 = b'c';

/// A conversation.
#[derive(Debug)]
pub struct Talk(Link);

impl Talk {
    /// With whoever is at the other end.
    pub fn new(link: Link) -> Self {
        Self(link)
    }

    /// With the process that serves from this data folder.
    pub fn begin(data: &Path) -> io::Result<Self> {
        Link::connect(&meeting(data)).map(Self)
    }

    /// The connection.
    pub fn link(&self) -> &Link {
        &self.0
    }

    /// Says something.
    pub fn say(&self, said: &Said) -> Result<(), HandoverError> {
        self.give(said, &[])
    }

    /// The same with descriptors.
    pub fn give(&self, said: &Said, descriptors: &[BorrowedFd<'_>]) -> Result<(), HandoverError> {
        let mut bytes = vec![MESSAGE];
        serde_json::to_writer(&mut bytes, said)?;
        Ok(self.0.send(&bytes, descriptors)?)
    }

    /// Says what has changed.
    pub fn tell(&self, changes: &[PeerChange]) -> Result<(), HandoverError> {
        let mut bytes = vec![CHANGES];
        changes::write(changes, &mut bytes);
        Ok(self.0.send(&bytes, &[])?)
    }

    /// Waits for what comes next; at most for so long.
    pub fn hear(&self, time: Option<Duration>) -> Result<Heard, HandoverError> {
        self.0.wait_for(time)?;
        let Some(Letter { bytes, descriptors }) = self.0.receive()? else {
            return Err(HandoverError::Gone);
        };
        understand(&bytes, descriptors)
    }
}

/// Reads what came.
pub fn understand(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Heard, HandoverError> {
    match bytes {
        [MESSAGE, json @ ..] => Ok(Heard::Said(serde_json::from_slice(json)?, descriptors)),
        [CHANGES, rows @ ..] => Ok(Heard::Changes(changes::read(rows)?)),
        _ => Err(NoChanges.into()),
    }
}

impl Said {
    /// What a core has promised.
    pub fn promises(core: usize, promises: &Promises) -> Self {
        let due = promises.due.iter().map(|(due, clients)| (due.0, *clients)).collect();
        Said::Promises { core, interval: promises.interval, due }
    }
}

/// Nanoseconds of the clock that all processes of a machine have in common and that never jumps (clock_gettime(2),
/// `CLOCK_MONOTONIC`).
pub fn moment() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The promises of a message.
pub fn promises(interval: f64, due: Vec<(u32, u32)>) -> Promises {
    let due = due.into_iter().map(|(due, clients)| (Seconds(due), clients)).collect();
    Promises { interval, due }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        for said in [
            Said::Hello { protocol: PROTOCOL, version: "1".into(), private: false },
            Said::Sockets {
                given: vec![Given {
                    kind: Kind::Udp,
                    address: Some("[::]:6969".parse().unwrap()),
                    place: 3,
                }],
            },
            Said::promises(
                1,
                &Promises { interval: 1800.25, due: vec![(Seconds(4_000_000_000), 7)] },
            ),
            Said::Yours { reload: true, journal: Some(7), off: vec!["udp6".into()] },
            Said::Connection {
                remote: Remote::new("2001:db8::1".parse().unwrap(), true).relayed(),
                input: b"GET \xff".to_vec(),
            },
            Said::Serving { at: 1 },
        ] {
            let mut bytes = vec![MESSAGE];
            serde_json::to_writer(&mut bytes, &said).unwrap();
            let Heard::Said(heard, _) = understand(&bytes, Vec::new()).unwrap() else { panic!() };
            assert_eq!(heard, said);
        }
        assert!(matches!(understand(b"", Vec::new()), Err(HandoverError::Changes(_))));
        assert!(matches!(understand(b"m{}", Vec::new()), Err(HandoverError::Message(_))));
        assert!(matches!(understand(b"cxxx", Vec::new()), Err(HandoverError::Changes(_))));
    }
}
