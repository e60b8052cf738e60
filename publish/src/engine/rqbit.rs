//! Fetching by librqbit, within this process.
//!
//! It announces only to the tracker that a torrent is fetched with, listens on loopback only (the node's port is
//! `upload`'s, which relays), has no DHT, no local discovery, no port forwarding, and keeps nothing over a restart: what
//! is on the disk is looked at again.

mod storage;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use librqbit::api::TorrentIdOrHash;
use librqbit::dht::Id20;
use librqbit::limits::LimitsConfig;
use librqbit::storage::StorageFactoryExt;
use librqbit::{
    AddTorrent, AddTorrentOptions, AddTorrentResponse, ConnectionOptions, ListenerMode,
    ListenerOptions, ManagedTorrent, PeerConnectionOptions, Session, SessionOptions,
    TorrentStatsState,
};
use shard::InfoHash;
use tokio_util::sync::CancellationToken;

use self::storage::{Factory, Files};
use super::content::Descriptors;
use super::fetch::{Engine, EngineError, Failure, Fetch, POLL, Progress, State, blocking, said};
use super::gateway::Gateway;
use crate::screening::Screening;

/// How librqbit is used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The node's: peers must not see two.
    pub peer_id: [u8; 20],
    /// The node's port: peers are told to connect there.
    pub announce_port: u16,
    /// Bytes a second; none is no limit.
    pub download_rate: Option<u64>,
    /// Bytes a second to peers that it connects to itself; none is no limit. Others are limited by `upload`.
    pub upload_rate: Option<u64>,
    /// Connected peers of a torrent.
    pub peers_max: usize,
    /// Files that are held open.
    pub descriptors_max: usize,
}

/// librqbit as an engine.
pub struct Rqbit {
    session: Arc<Session>,
    descriptors: Arc<Descriptors>,
    fetches: Mutex<HashMap<InfoHash, Arc<Fetching>>>,
    peers_max: usize,
    /// Where there are rules about addresses.
    _gateway: Option<Gateway>,
}

struct Fetching {
    handle: Arc<ManagedTorrent>,
    files: Arc<Files>,
    state: Mutex<State>,
    stop: CancellationToken,
}

impl Rqbit {
    /// Starts it; must be called within a tokio runtime of several threads, as it hashes on them.
    pub async fn start(options: Options) -> Result<Self, EngineError> {
        Self::start_screened(options, Screening::default()).await
    }

    /// The same, and it connects to nobody whom the rules about addresses refuse. Its own list of them is read once; so it
    /// goes by a proxy in this process where there are any rules.
    pub async fn start_screened(
        options: Options,
        screening: Screening,
    ) -> Result<Self, EngineError> {
        let gateway = match screening.has_rules() {
            true => Some(Gateway::start(screening).await.map_err(said("did not start"))?),
            false => None,
        };
        let through = |gateway: &Gateway| ConnectionOptions {
            proxy_url: Some(gateway.url()),
            ..ConnectionOptions::default()
        };
        let listen = ListenerOptions {
            mode: ListenerMode::TcpOnly,
            listen_addr: ([127, 0, 0, 1], 0).into(),
            announce_port: Some(options.announce_port),
            enable_upnp_port_forwarding: false,
            ipv4_only: true,
            ..ListenerOptions::default()
        };
        let session = SessionOptions {
            dht: None,
            disable_local_service_discovery: true,
            persistence: None,
            fastresume: false,
            peer_id: Some(Id20::new(options.peer_id)),
            listen: Some(listen),
            connect: gateway.as_ref().map(through),
            ratelimits: LimitsConfig {
                download_bps: bytes_per_second(options.download_rate),
                upload_bps: bytes_per_second(options.upload_rate),
            },
            peer_limit: Some(options.peers_max),
            client_name_and_version: Some(
                concat!("margay-publish ", env!("CARGO_PKG_VERSION")).into(),
            ),
            ..SessionOptions::default()
        };
        // Each torrent says its own folder; nothing is ever written to this one.
        let session = Session::new_with_opts("/nonexistent".into(), session)
            .await
            .map_err(said("did not start"))?;
        Ok(Self {
            session,
            descriptors: Arc::new(Descriptors::new(options.descriptors_max)),
            fetches: Mutex::default(),
            peers_max: options.peers_max,
            _gateway: gateway,
        })
    }

    /// Sets the bytes a second to peers that it has connected to itself.
    pub fn set_upload_rate(&self, rate: Option<u64>) {
        self.session.ratelimits.set_upload_bps(bytes_per_second(rate));
    }

    fn fetching(&self, info_hash: &InfoHash) -> Option<Arc<Fetching>> {
        self.lock().get(info_hash).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InfoHash, Arc<Fetching>>> {
        self.fetches.lock().expect("nothing panics while it is held")
    }

    async fn begin(&self, fetch: Fetch) -> Result<(), EngineError> {
        let info_hash = fetch.metainfo.info_hash;
        if self.fetching(&info_hash).is_some() {
            return Err(EngineError::Twice(info_hash));
        }
        let files = Arc::new(Files::new(
            fetch.metainfo.clone(),
            fetch.folder.clone(),
            self.descriptors.clone(),
        ));
        let torrent = fetch.torrent(None);
        let options = AddTorrentOptions {
            overwrite: true,
            output_folder: Some(fetch.folder.to_string_lossy().into_owned()),
            peer_limit: Some(self.peers_max),
            peer_opts: Some(PeerConnectionOptions {
                // Its own 10 seconds are less than a peer may be silent (BEP 3), or wait for its turn.
                read_write_timeout: Some(PEER_TIMEOUT),
                ..PeerConnectionOptions::default()
            }),
            initial_peers: Some(fetch.peers),
            disable_trackers: fetch.tracker.is_none(),
            storage_factory: Some(Factory::new(files.clone()).boxed()),
            ..AddTorrentOptions::default()
        };
        let added = self.session.add_torrent(AddTorrent::from_bytes(torrent), Some(options)).await;
        let handle = match added.map_err(said("does not take the torrent"))? {
            AddTorrentResponse::Added(_, handle) => handle,
            AddTorrentResponse::AlreadyManaged(..) | AddTorrentResponse::ListOnly(_) => {
                return Err(EngineError::Twice(info_hash));
            }
        };
        let fetching = Arc::new(Fetching {
            handle,
            files,
            state: Mutex::new(State::Checking),
            stop: CancellationToken::new(),
        });
        self.lock().insert(info_hash, fetching.clone());
        tokio::spawn(async move {
            let stop = fetching.stop.clone();
            stop.run_until_cancelled(watch(fetching)).await;
        });
        Ok(())
    }

    async fn end(&self, info_hash: InfoHash, delete_files: bool) -> Result<(), EngineError> {
        let fetching = self.lock().remove(&info_hash).ok_or(EngineError::Unknown(info_hash))?;
        fetching.stop.cancel();
        // What still writes afterwards writes to nothing.
        fetching.files.close();
        let id = TorrentIdOrHash::Hash(Id20::new(info_hash.0));
        self.session.delete(id, false).await.map_err(said("does not let go of the torrent"))?;
        if delete_files {
            let files = fetching.files.clone();
            blocking(move || files.delete())
                .await
                .map_err(|(path, source)| EngineError::Delete { path, source })?;
        }
        Ok(())
    }
}

impl Engine for Rqbit {
    fn fetch(&self, fetch: Fetch) -> BoxFuture<'_, Result<(), EngineError>> {
        self.begin(fetch).boxed()
    }

    fn progress(&self, info_hash: InfoHash) -> BoxFuture<'_, Option<Progress>> {
        async move { Some(self.fetching(&info_hash)?.progress()) }.boxed()
    }

    fn remove(
        &self,
        info_hash: InfoHash,
        delete_files: bool,
    ) -> BoxFuture<'_, Result<(), EngineError>> {
        self.end(info_hash, delete_files).boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Vec<(InfoHash, Progress)>> {
        async move {
            let fetches: Vec<_> =
                self.lock().iter().map(|(hash, fetching)| (*hash, fetching.clone())).collect();
            fetches.into_iter().map(|(hash, fetching)| (hash, fetching.progress())).collect()
        }
        .boxed()
    }

    fn set_download_rate(&self, rate: Option<u64>) -> BoxFuture<'_, Result<(), EngineError>> {
        self.session.ratelimits.set_download_bps(bytes_per_second(rate));
        async { Ok(()) }.boxed()
    }

    fn address(&self) -> Option<SocketAddr> {
        self.session.listen_addr()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async move {
            let fetches: Vec<_> = self.lock().drain().map(|(_, fetching)| fetching).collect();
            fetches.iter().for_each(|fetching| fetching.stop.cancel());
            // Files are closed when nobody writes any more: it would be taken for a broken disk.
            self.session.stop().await;
            fetches.iter().for_each(|fetching| fetching.files.close());
        }
        .boxed()
    }
}

impl Fetching {
    fn progress(&self) -> Progress {
        let stats = self.handle.stats();
        let live = stats.live.as_ref();
        let state = self.state.lock().expect("nothing panics while it is held").clone();
        Progress {
            // What is counted while it is looked at is not what is right.
            bytes: if matches!(state, State::Checking) { 0 } else { stats.progress_bytes },
            state,
            total: self.files.total(),
            uploaded: stats.uploaded_bytes,
            rate: live.map_or(0, |live| (live.download_speed.mbps * f64::from(1 << 20)) as u64),
            peers: live.map_or(0, |live| live.snapshot.peer_stats.live as usize),
        }
    }

    fn set(&self, state: State) {
        *self.state.lock().expect("nothing panics while it is held") = state;
    }
}

/// Follows a torrent until it is complete and safe on the disk, or has failed.
async fn watch(fetching: Arc<Fetching>) {
    let mut wait = POLL_MIN;
    let failure = loop {
        // What the storage says comes first: librqbit goes on after some errors, and has only words for the others.
        if let Some(failure) = fetching.files.failure() {
            break failure;
        }
        let stats = fetching.handle.stats();
        match stats.state {
            TorrentStatsState::Error => break Failure::Other(stats.error.unwrap_or_default()),
            TorrentStatsState::Initializing { .. } => {}
            TorrentStatsState::Live | TorrentStatsState::Paused => {
                if stats.finished {
                    let files = fetching.files.clone();
                    match blocking(move || files.settle()).await {
                        Ok(identities) => return fetching.set(State::Complete(identities)),
                        Err(failure) => break failure,
                    }
                }
                fetching.set(State::Fetching);
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(POLL);
    };
    fetching.files.close();
    fetching.set(State::Failed(failure));
}

fn bytes_per_second(rate: Option<u64>) -> Option<NonZeroU32> {
    // Its limits are numbers of 32 bits: more is no limit.
    NonZeroU32::new(u32::try_from(rate?.max(1)).ok()?)
}

/// How soon a torrent is looked at again at first: small ones take no time.
const POLL_MIN: Duration = Duration::from_millis(5);

/// Peers are silent for two minutes at most (BEP 3).
const PEER_TIMEOUT: Duration = Duration::from_secs(150);
