//! Why the tracker could not start or had to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ops::lists::ListError;
use ops::screening::ScreeningError;
use ops::screening::lookups::LookupsError;
use ops::tls::KeptError;
use persist::bans::BansError;
use persist::register::RegisterError;
use persist::{DataDirError, SnapshotError};

use super::predecessor::TakeOverError;
use crate::api::token::TokenError;
use crate::config::KeyError;
use crate::core::connection_id;
use crate::private::books::BooksError;
use crate::private::books::restore::Unloaded;

/// Why the tracker could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There are snapshots, and none can be used or safely passed over.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A core could not load its swarms.
    #[error(transparent)]
    Unloaded(#[from] Unloaded),
    /// The books of a private tracker cannot be opened.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// The key of the connection ids cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The same for the file in the data directory.
    #[error(transparent)]
    KeyFile(#[from] connection_id::KeyError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for the keys of the tables")]
    Random(#[source] getrandom::Error),
    /// The token for operators cannot be left in the data directory.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A list of torrents has a mistake.
    #[error(transparent)]
    Lists(#[from] ListError),
    /// The rules about addresses cannot be used.
    #[error(transparent)]
    Screening(#[from] ScreeningError),
    /// The bans cannot be read.
    #[error(transparent)]
    Bans(#[from] BansError),
    /// Countries cannot be looked up.
    #[error(transparent)]
    Lookups(#[from] LookupsError),
    /// The certificates cannot be served.
    #[error(transparent)]
    Certificates(#[from] KeptError),
    /// What the API has said of torrents cannot be read.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {protocol} {address} (option {protocol}): {}", what_to_do(protocol, *address, source)
    )]
    Bind {
        /// `udp`, `http`, `https`, `control`, `control-https` or `metrics`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A Unix socket cannot be listened on.
    #[error(
        "cannot listen on unix:{} (option http): {}",
        path.display(),
        match source.kind() {
            io::ErrorKind::AddrInUse => "another process listens there; end that one, or give another path",
            io::ErrorKind::AlreadyExists => "there is a file that is no socket; give another path",
            _ => "its folder has to be there, and to be written to by the tracker's user",
        }
    )]
    BindUnix {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It cannot take over from the process that serves.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// The snapshot at the stop was not written; the log says why.
    #[error(
        "the last snapshot was not written: the next start goes on from the one before it, and what peers did since is \
         forgotten until they announce"
    )]
    LastSnapshot,
    /// A core's thread did not start.
    #[error(
        "cannot start core {core}: {reason}; glommio needs io_uring (see `sysctl kernel.io_uring_disabled`) and a few hundred KiB of locked memory (`ulimit -l`)"
    )]
    Core {
        /// Its number.
        core: usize,
        /// The reason that glommio gave.
        reason: String,
    },
    /// A core's thread ended by a mistake in the program.
    #[error(
        "core {0} has failed; see the message above. The newest snapshot is used at the next start"
    )]
    CoreFailed(usize),
    /// The journal's thread ended by a mistake in the program.
    #[error(
        "the thread of the journal has failed; see the message above. What it has written is used at the next \
         start"
    )]
    JournalFailed,
    /// No other process has taken over, and the journal that was left to it cannot be gone on with.
    #[error(
        "the journal cannot be gone on with after a take-over that did not come to its end; what is in it is used at the \
         next start"
    )]
    JournalNotGoneOn(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something else the system refused.
    #[error("cannot {what}")]
    System {
        /// The action that was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl ServerError {
    /// It is about a file or a URL that the options name, as `margay config check` finds it too: somebody has to
    /// mend it, and another start alone does not.
    pub fn is_mistake(&self) -> bool {
        match self {
            ServerError::Key(_)
            | ServerError::Lists(_)
            | ServerError::Screening(_)
            | ServerError::Bans(_)
            | ServerError::Lookups(LookupsError::Servers(_) | LookupsError::NoServer)
            | ServerError::Certificates(KeptError::Tls(_)) => true,
            ServerError::Books(error) => error.is_mistake(),
            _ => false,
        }
    }
}

/// Says what is in the way of an address, and who knows more.
fn what_to_do(protocol: &str, address: SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    let kind = if protocol == "udp" { 'u' } else { 't' };
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another process has it; `ss -{kind}lnp sport = :{port}` says which; end that one, or give another \
             address"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `ip address` shows those that it has".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is for processes with CAP_NET_BIND_SERVICE; give another one, or that right"
        ),
        _ => "give another address".to_owned(),
    }
}
