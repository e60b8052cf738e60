//! What fetches content, whichever program it is done by.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use shard::InfoHash;
use url::Url;

use crate::bencode::write_string;
use crate::torrent::{Identity, Metainfo};

/// A program that fetches content and verifies it. It announces to nobody but the tracker that it is given.
pub trait Engine: Send + Sync {
    /// Begins to fetch. What is in the folder already is looked at first and kept as far as it is right; so what was
    /// interrupted goes on when it is begun again.
    fn fetch(&self, fetch: Fetch) -> BoxFuture<'_, Result<(), EngineError>>;

    /// How far it is; `None` when it is not being fetched.
    fn progress(&self, info_hash: InfoHash) -> BoxFuture<'_, Option<Progress>>;

    /// Fetches it no more. With `delete_files` its files go, and the folders that are empty then.
    fn remove(
        &self,
        info_hash: InfoHash,
        delete_files: bool,
    ) -> BoxFuture<'_, Result<(), EngineError>>;

    /// All that is being fetched.
    fn stats(&self) -> BoxFuture<'_, Vec<(InfoHash, Progress)>>;

    /// Sets the bytes a second that all of it together may take.
    fn set_download_rate(&self, rate: Option<u64>) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Where it can be reached by peers, on this machine.
    fn address(&self) -> Option<SocketAddr>;

    /// Ends what is being fetched; it can go on after a restart.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// The folder that the torrent's files are below. It must exist.
    pub folder: PathBuf,
    /// Peers that are known now. An engine may take peers from the tracker alone, so that has to know them as well.
    pub peers: Vec<SocketAddr>,
    /// Tells of peers that become known later: a tracker on this machine.
    pub tracker: Option<Url>,
}

impl Fetch {
    /// The torrent with no tracker but its own; its info dictionary is the same byte for byte, and so is the infohash.
    pub(super) fn torrent(&self, comment: Option<&str>) -> Vec<u8> {
        let mut out = b"d".to_vec();
        let tracker = self.tracker.as_ref().map(Url::as_str);
        for (key, value) in [("announce", tracker), ("comment", comment)] {
            if let Some(value) = value {
                write_string(&mut out, key.as_bytes());
                write_string(&mut out, value.as_bytes());
            }
        }
        write_string(&mut out, b"info");
        out.extend_from_slice(&self.metainfo.info);
        out.push(b'e');
        out
    }
}

/// How far a torrent is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What is being done.
    pub state: State,
    /// Bytes of the content that are there and right.
    pub bytes: u64,
    /// Bytes of the content.
    pub total: u64,
    /// Bytes that peers were sent.
    pub uploaded: u64,
    /// Bytes a second of late.
    pub rate: u64,
    /// Connected peers.
    pub peers: usize,
}

/// What is being done about a torrent.
#[derive(Clone, Debug)]
pub enum State {
    /// What is there is being looked at.
    Checking,
    /// It is being fetched.
    Fetching,
    /// All of it is verified and safe on the disk; its files have these identities, in the torrent's order.
    Complete(Arc<[Identity]>),
    /// It has ended. Fetch it again when what is wrong has changed.
    Failed(Failure),
}

/// Why fetching ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The disk is full, or a quota.
    #[error("there is no room on the disk for it: {0}")]
    DiskFull(String),
    /// It may not write there.
    #[error("its folder cannot be written to: {0}")]
    Permission(String),
    /// Another reason.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The failure that an error of the file system is.
    pub(crate) fn of(error: &io::Error, about: &str) -> Self {
        let text = format!("{about}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull(text),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission(text)
            }
            _ => Self::Other(text),
        }
    }
}

/// Why an engine does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is being fetched already.
    #[error("torrent {0} is being fetched already")]
    Twice(InfoHash),
    /// It is not being fetched.
    #[error("torrent {0} is not being fetched")]
    Unknown(InfoHash),
    /// The engine cannot be started, or says that it cannot do it.
    #[error("the engine {what}")]
    Engine {
        /// What it did not do.
        what: String,
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Files cannot be deleted.
    #[error("cannot delete {path}")]
    Delete {
        /// The first that cannot.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Waits until a torrent is complete or has failed; `None` when it is not being fetched.
pub async fn finished(
    engine: &dyn Engine,
    info_hash: InfoHash,
) -> Option<Result<Arc<[Identity]>, Failure>> {
    loop {
        match engine.progress(info_hash).await?.state {
            State::Complete(identities) => return Some(Ok(identities)),
            State::Failed(failure) => return Some(Err(failure)),
            State::Checking | State::Fetching => tokio::time::sleep(POLL).await,
        }
    }
}

/// Work that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// What an engine says that it did not do, and why.
pub(super) fn said<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &str,
) -> impl FnOnce(E) -> EngineError {
    move |source| EngineError::Engine { what: what.into(), source: source.into() }
}

/// Progress is looked at so often.
pub(crate) const POLL: Duration = Duration::from_millis(100);
