//! Uploading of complete content (BEP 3, 6, 9, 10 over TCP).
//!
//! Nothing is hashed here: the files are those that were hashed as long as their identities say so, and a torrent whose
//! files are not is stopped at once. A torrent that nobody asks for costs its entry in a map, and no descriptor.

mod acceptor;
mod admission;
mod connection;
mod peer;
mod rate;
mod slots;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use ops::screening::Verdict;
use shard::InfoHash;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::{Admission, Bounds};
use self::peer::Peer;
use self::rate::Bucket;
use self::slots::Slots;
pub use super::content::Change;
use super::content::{Content, Descriptors};
use crate::screening::Screening;
use crate::torrent::{Identity, Metainfo};

/// The bounds of uploading.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes a second, of all peers together; none is no limit. [`Uploads::set_upload_rate`] changes it.
    pub upload_rate: Option<u64>,
    /// Connections, relayed ones and half open ones included. More are closed at once.
    pub connections_max: usize,
    /// Connections of an IPv4 address, or of an IPv6 network of 64 bits.
    pub per_address_max: usize,
    /// Peers of a torrent.
    pub per_torrent_max: usize,
    /// Peers that are sent blocks at the same time; more wait for their turn.
    pub slots_max: usize,
    /// Requests of a peer that wait for their blocks; more are rejected, or dropped.
    pub requests_queued_max: usize,
    /// Connections that have not said what they want, and those of one address.
    pub half_open_max: usize,
    /// Those of one address.
    pub half_open_per_address_max: usize,
    /// How long a peer may take for its handshake.
    pub handshake_timeout: Duration,
    /// A peer that says nothing for so long, or takes nothing of what it asked for, is closed. Peers say something every
    /// two minutes (BEP 3).
    pub idle_timeout: Duration,
    /// Whom blocks are sent to is looked at so often when more want some than there are slots.
    pub turn_interval: Duration,
    /// Files that are held open, but for those that are read at the moment.
    pub descriptors_max: usize,
    /// Batches that wait for the disk at the same time.
    pub reads_max: usize,
    /// Bytes of batches larger than one block that are in memory.
    pub buffers_max: usize,
    /// Connections that this side is making.
    pub dials_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_rate: None,
            connections_max: 400,
            per_address_max: 100,
            per_torrent_max: 200,
            slots_max: 64,
            requests_queued_max: 512,
            half_open_max: 128,
            half_open_per_address_max: 16,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(150),
            turn_interval: Duration::from_secs(10),
            descriptors_max: 128,
            reads_max: 16,
            buffers_max: 32 << 20,
            dials_max: 32,
        }
    }
}

/// What the owner is told.
#[derive(Debug)]
pub enum Event {
    /// A file of the torrent is not the one that was hashed. The torrent is not uploaded any more, and its connections
    /// are closed.
    Changed {
        /// The torrent.
        info_hash: InfoHash,
        /// The file, below the torrent's folder.
        path: PathBuf,
        /// What is known of it.
        how: Change,
    },
}

/// Why a torrent cannot be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It is being uploaded already.
    #[error("torrent {0} is being uploaded already")]
    Twice(InfoHash),
    /// The identities are not those of its files.
    #[error("torrent {0} has other files than its manifest, by number or size; hash it again")]
    Files(InfoHash),
}

/// Why nothing is uploaded.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be listened on.
    #[error(
        "cannot listen for peers on {address} (option listen); it runs already, another program has the port (`ss -tlnp \
         sport = :{port}` says which), or the address is none of this machine",
        port = address.port()
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a peer was not connected to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The torrent is not uploaded.
    #[error("torrent {0} is not uploaded")]
    Unknown(InfoHash),
    /// There is a connection with it, or there are as many connections as may be.
    #[error("there are enough connections")]
    Enough,
    /// The rules about addresses refuse it.
    #[error("the rules about addresses refuse it")]
    Refused,
    /// It did not answer.
    #[error("the peer does not answer")]
    Unreachable(#[source] io::Error),
    /// It answered, but not as a peer with this torrent.
    #[error("what answers there is not a peer of this torrent")]
    Stranger,
}

/// The uploading side of a node; clones are the same.
#[derive(Clone)]
pub struct Uploads(Arc<Shared>);

struct Shared {
    limits: Limits,
    peer_id: [u8; 20],
    port: Option<u16>,
    addresses: Vec<SocketAddr>,
    torrents: RwLock<HashMap<InfoHash, Entry>>,
    numbers: AtomicU64,
    admission: Arc<Admission>,
    screening: Screening,
    bucket: Bucket,
    slots: Slots,
    descriptors: Descriptors,
    reads: Semaphore,
    buffers: Arc<Semaphore>,
    dials: Semaphore,
    events: mpsc::UnboundedSender<Event>,
    uploaded: AtomicU64,
    refused: AtomicU64,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Where a handshake leads.
#[derive(Clone)]
enum Entry {
    Complete(Arc<Torrent>),
    /// It is being fetched by an engine that listens there.
    Fetching {
        engine: SocketAddr,
        pieces: u32,
    },
}

/// A torrent that is uploaded.
struct Torrent {
    content: Content,
    uploaded: Arc<AtomicU64>,
    peers: Mutex<Vec<Arc<Peer>>>,
    stop: CancellationToken,
}

impl Uploads {
    /// Begins to listen; must be called within a tokio runtime. The address families share a port where the port is 0.
    ///
    /// The receiver has room without end, but there is at most one event for each call of [`Uploads::add`].
    pub fn listen(
        addresses: &[SocketAddr],
        limits: Limits,
        peer_id: [u8; 20],
    ) -> Result<(Self, mpsc::UnboundedReceiver<Event>), ListenError> {
        Self::listen_screened(addresses, limits, peer_id, Screening::default())
    }

    /// The same, without those whom the rules about addresses refuse: they are closed without a word, also when rules
    /// change.
    pub fn listen_screened(
        addresses: &[SocketAddr],
        limits: Limits,
        peer_id: [u8; 20],
        screening: Screening,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Event>), ListenError> {
        let listeners = acceptor::bind(addresses)?;
        let addresses: Vec<_> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let (events, received) = mpsc::unbounded_channel();
        let bounds = Bounds {
            connections_max: limits.connections_max,
            per_address_max: limits.per_address_max,
            half_open_max: limits.half_open_max,
            half_open_per_address_max: limits.half_open_per_address_max,
        };
        let shared = Arc::new(Shared {
            limits,
            peer_id,
            port: addresses.first().map(SocketAddr::port),
            addresses,
            torrents: RwLock::default(),
            numbers: AtomicU64::new(0),
            admission: Arc::new(Admission::new(bounds)),
            screening,
            bucket: Bucket::new(limits.upload_rate),
            slots: Slots::new(limits.slots_max),
            descriptors: Descriptors::new(limits.descriptors_max),
            reads: Semaphore::new(limits.reads_max.max(1)),
            buffers: Arc::new(Semaphore::new(limits.buffers_max.min(Semaphore::MAX_PERMITS))),
            dials: Semaphore::new(limits.dials_max),
            events,
            uploaded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        for listener in listeners {
            shared.spawn(acceptor::accept(shared.clone(), listener));
        }
        shared.spawn(turns(shared.clone()));
        shared.spawn(rates(shared.clone()));
        Ok((Self(shared), received))
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// Uploads a torrent whose files are complete below `folder`; `identities` are those that they were hashed as, in
    /// the torrent's order. No file is looked at before somebody asks for a block of it.
    ///
    /// Gives the count of the bytes that were uploaded of it, which begins at 0.
    pub fn add(
        &self,
        metainfo: Arc<Metainfo>,
        folder: PathBuf,
        identities: Vec<Identity>,
    ) -> Result<Arc<AtomicU64>, AddError> {
        let info_hash = metainfo.info_hash;
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let content =
            Content::new(number, metainfo, folder, identities).ok_or(AddError::Files(info_hash))?;
        let torrents = &mut *self.0.torrents.write().expect("nothing panics while it is held");
        if let Some(Entry::Complete(_)) = torrents.get(&info_hash) {
            return Err(AddError::Twice(info_hash));
        }
        let uploaded = Arc::new(AtomicU64::new(0));
        let torrent = Torrent {
            content,
            uploaded: uploaded.clone(),
            peers: Mutex::default(),
            stop: self.0.stop.child_token(),
        };
        torrents.insert(info_hash, Entry::Complete(Arc::new(torrent)));
        Ok(uploaded)
    }

    /// Hands the peers of a torrent that is being fetched to the engine that listens at `engine`, on this machine. [`Uploads::add`] takes its place.
    ///
    /// Do not take a torrent out of the engine as soon as it is complete when peers are connected to that: they would have
    /// to connect again, and many wait a minute before they do.
    pub fn relay(&self, metainfo: &Metainfo, engine: SocketAddr) {
        let (info_hash, pieces) = (metainfo.info_hash, metainfo.pieces_count());
        let torrents = &mut *self.0.torrents.write().expect("nothing panics while it is held");
        if !matches!(torrents.get(&info_hash), Some(Entry::Complete(_))) {
            torrents.insert(info_hash, Entry::Fetching { engine, pieces });
        }
    }

    /// Uploads a torrent no more, or hands its peers on no more; the connections of the first are closed. False when
    /// there was none.
    pub fn remove(&self, info_hash: &InfoHash) -> bool {
        self.0.remove(info_hash)
    }

    /// Sets the bytes a second of all peers together, from now on.
    pub fn set_upload_rate(&self, rate: Option<u64>) {
        self.0.bucket.set(rate);
    }

    /// Connects to a peer that cannot connect to this side; it is uploaded to as long as it wants.
    pub async fn dial(&self, info_hash: InfoHash, address: SocketAddr) -> Result<(), DialError> {
        let shared = &self.0;
        let torrent = match shared.entry(&info_hash) {
            Some(Entry::Complete(torrent)) => torrent,
            _ => return Err(DialError::Unknown(info_hash)),
        };
        if shared.screening.judge_patiently(address.ip(), "peer").await != Verdict::Allow {
            return Err(DialError::Refused);
        }
        let is_there = torrent.peers().iter().any(|peer| peer.address == address);
        let _dial = shared.dials.try_acquire().map_err(|_| DialError::Enough)?;
        let pass =
            shared.admission.enter(address.ip()).filter(|_| !is_there).ok_or(DialError::Enough)?;
        let connecting = async {
            let mut stream = TcpStream::connect(address).await?;
            let handshake = connection::greet(shared, &torrent, &mut stream, None).await?;
            Ok((stream, handshake))
        };
        let answered = tokio::select! {
            () = torrent.stop.cancelled() => return Err(DialError::Unknown(info_hash)),
            answered = timeout(shared.limits.handshake_timeout, connecting) => answered,
        };
        let (stream, handshake) = answered
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(DialError::Unreachable)?;
        let handshake = handshake
            .filter(|theirs| theirs.info_hash == info_hash && theirs.peer_id != shared.peer_id)
            .ok_or(DialError::Stranger)?;
        shared.spawn_screened(
            address.ip(),
            connection::run(shared.clone(), torrent, stream, address, handshake, pass, true),
        );
        Ok(())
    }

    /// What a torrent has given so far, and to whom.
    pub fn torrent(&self, info_hash: &InfoHash) -> Option<TorrentStats> {
        match self.0.entry(info_hash)? {
            Entry::Complete(torrent) => Some(torrent.stats()),
            Entry::Fetching { .. } => None,
        }
    }

    /// What all torrents have given so far, and to whom.
    pub fn stats(&self) -> Stats {
        let shared = &self.0;
        let torrents: Vec<_> = shared
            .torrents
            .read()
            .expect("nothing panics while it is held")
            .values()
            .filter_map(|entry| {
                if let Entry::Complete(torrent) = entry { Some(torrent.clone()) } else { None }
            })
            .collect();
        let count = shared.admission.count();
        Stats {
            torrents: torrents.iter().map(|torrent| torrent.stats()).collect(),
            uploaded: shared.uploaded.load(Ordering::Relaxed),
            connections: count.connections,
            half_open: count.half_open,
            refused: shared.refused.load(Ordering::Relaxed),
            open_files: shared.descriptors.count(),
            upload_rate: shared.bucket.rate(),
        }
    }

    /// Listens no more and closes every connection; waits until that is done.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// What is uploaded.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Each torrent, in no order.
    pub torrents: Vec<TorrentStats>,
    /// Bytes of blocks that were sent since the start.
    pub uploaded: u64,
    /// Connections, relayed ones and half open ones included.
    pub connections: usize,
    /// Those that have not said what they want.
    pub half_open: usize,
    /// Connections that were closed since the start because there were too many.
    pub refused: u64,
    /// Files that are held open.
    pub open_files: usize,
    /// Bytes a second that may be sent.
    pub upload_rate: Option<u64>,
}

/// What is uploaded of a torrent.
#[derive(Clone, Debug)]
pub struct TorrentStats {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Bytes of blocks that were sent since it was added.
    pub uploaded: u64,
    /// Its pieces.
    pub pieces: u32,
    /// Who is connected.
    pub peers: Vec<PeerStats>,
}

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerStats {
    /// Where it is. Its port is that of the connection.
    pub address: SocketAddr,
    /// Its client, as it says itself.
    pub client: String,
    /// The pieces that it has.
    pub pieces: u32,
    /// Bytes of blocks that it was sent.
    pub uploaded: u64,
    /// Bytes a second of late.
    pub rate: u64,
    /// It is sent blocks when it asks for them; others wait for their turn, or want nothing.
    pub unchoked: bool,
    /// This side has connected.
    pub is_dialled: bool,
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The same, until new rules refuse who is at the other end.
    fn spawn_screened(
        self: &Arc<Self>,
        address: IpAddr,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        if !self.screening.has_rules() {
            return self.spawn(task);
        }
        let screening = self.screening.clone();
        self.spawn(async move {
            tokio::select! {
                () = task => {}
                () = screening.until_refused(address) => {}
            }
        });
    }

    fn entry(&self, info_hash: &InfoHash) -> Option<Entry> {
        self.torrents.read().expect("nothing panics while it is held").get(info_hash).cloned()
    }

    fn remove(&self, info_hash: &InfoHash) -> bool {
        match self.torrents.write().expect("nothing panics while it is held").remove(info_hash) {
            Some(Entry::Complete(torrent)) => {
                torrent.stop.cancel();
                torrent.content.close(&self.descriptors);
                true
            }
            Some(Entry::Fetching { .. }) => true,
            None => false,
        }
    }

    /// Stops `torrent` because of a file, unless it is stopped already.
    fn changed(&self, torrent: &Arc<Torrent>, path: PathBuf, how: Change) {
        let info_hash = torrent.content.metainfo().info_hash;
        let is_this = matches!(self.entry(&info_hash), Some(Entry::Complete(found)) if Arc::ptr_eq(&found, torrent));
        if is_this && self.remove(&info_hash) {
            tracing::info!(
                "torrent {info_hash} is not uploaded any more: {} {how}; it is to be hashed again",
                path.display()
            );
            // Nobody may listen: the torrent is stopped in either case.
            let _ = self.events.send(Event::Changed { info_hash, path, how });
        }
    }
}

impl Torrent {
    fn peers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Peer>>> {
        self.peers.lock().expect("nothing panics while it is held")
    }

    fn stats(&self) -> TorrentStats {
        let peers = self.peers().clone();
        let peers = peers.iter().map(|peer| PeerStats {
            address: peer.address,
            client: peer.client.lock().expect("nothing panics while it is held").clone(),
            pieces: peer.pieces.load(Ordering::Relaxed),
            uploaded: peer.uploaded.load(Ordering::Relaxed),
            rate: peer.rate.load(Ordering::Relaxed),
            unchoked: peer.is_unchoked(),
            is_dialled: peer.is_dialled,
        });
        let peers = peers.collect();
        let metainfo = self.content.metainfo();
        TorrentStats {
            info_hash: metainfo.info_hash,
            uploaded: self.uploaded.load(Ordering::Relaxed),
            pieces: metainfo.pieces_count(),
            peers,
        }
    }
}

async fn turns(shared: Arc<Shared>) {
    let mut turns = interval(shared.limits.turn_interval);
    while shared.stop.run_until_cancelled(turns.tick()).await.is_some() {
        shared.slots.turn();
        shared.descriptors.close_unused();
    }
}

async fn rates(shared: Arc<Shared>) {
    let mut ticks = interval(RATE_INTERVAL);
    let mut before = Instant::now();
    while shared.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = Instant::now();
        let seconds = now.duration_since(before).as_secs_f64().max(0.001);
        before = now;
        for entry in shared.torrents.read().expect("nothing panics while it is held").values() {
            if let Entry::Complete(torrent) = entry {
                torrent.peers().iter().for_each(|peer| peer.take_rate(seconds));
            }
        }
    }
}

/// The rates of peers are taken so often.
const RATE_INTERVAL: Duration = Duration::from_secs(2);
