//! What a Master and a Seeder have in common: complete content is uploaded and announced.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shard::InfoHash;
use tokio::sync::mpsc;
use tokio::time::interval;

use crate::announce::{self, Announcer, Torrent, TorrentStatus, Transfer};
use crate::engine::upload::{self, AddError, Limits, ListenError, TorrentStats, Uploads};
use crate::screening::Screening;
use crate::torrent::{Identity, Metainfo};

/// Content that is uploaded, and trackers that are told of it. Clones are the same.
#[derive(Clone)]
pub struct Node {
    uploads: Uploads,
    announcer: Announcer,
    peer_id: [u8; 20],
    port: u16,
    /// Trackers that are announced to instead of those in torrents.
    tiers: Option<Arc<Vec<Vec<String>>>>,
    counts: Arc<Mutex<HashMap<InfoHash, Count>>>,
    /// URLs of trackers that cannot be asked, and that this was told of.
    refused: Arc<Mutex<HashSet<String>>>,
}

/// What is uploaded of a torrent, and where the announcer reads it.
struct Count {
    uploaded: Arc<AtomicU64>,
    transfer: Arc<Transfer>,
}

/// What a node uploads and announces at one moment.
#[derive(Debug)]
pub struct Activity {
    /// What is uploaded of each torrent.
    pub torrents: HashMap<InfoHash, TorrentStats>,
    /// How each torrent stands with its trackers.
    pub announced: HashMap<InfoHash, TorrentStatus>,
    /// Bytes uploaded since the start.
    pub uploaded: u64,
    /// Bytes a second of late.
    pub upload_rate: u64,
    /// Peers that are connected.
    pub peers: usize,
    /// Trackers that have taken no announces for some minutes, a line each.
    pub troubles: Vec<String>,
}

/// How a node is reached.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where peers connect.
    pub listen: Vec<SocketAddr>,
    /// The port that trackers are told, where it is not the one that is listened on.
    pub announce_port: Option<u16>,
    /// Bytes a second that are uploaded at most.
    pub upload_rate: Option<u64>,
    /// Trackers that are announced to instead of those in torrents, tier by tier; none for those in torrents.
    pub tiers: Vec<Vec<String>>,
    /// Who gets nothing for its address.
    pub screening: Screening,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Peers cannot connect.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Trackers cannot be asked.
    #[error(transparent)]
    Announce(#[from] announce::StartError),
}

impl Node {
    /// Listens for peers. The receiver tells of content that is not what it was.
    pub async fn start(
        options: &NodeOptions,
    ) -> Result<(Self, mpsc::UnboundedReceiver<upload::Event>), NodeError> {
        let peer_id = announce::peer_id()?;
        let limits = Limits { upload_rate: options.upload_rate, ..Limits::default() };
        let screening = options.screening.clone();
        let (uploads, events) =
            Uploads::listen_screened(&options.listen, limits, peer_id, screening)?;
        let listened = uploads.addresses().first().map_or(0, SocketAddr::port);
        let port = options.announce_port.unwrap_or(listened);
        let told = announce::Options { peer_id, ..announce::Options::new(port)? };
        let announcer = Announcer::start(told).await?;
        let tiers = (!options.tiers.is_empty()).then(|| Arc::new(options.tiers.clone()));
        let node = Self {
            uploads,
            announcer,
            peer_id,
            port,
            tiers,
            counts: Arc::default(),
            refused: Arc::default(),
        };
        tokio::spawn(count(Arc::downgrade(&node.counts)));
        Ok((node, events))
    }

    /// Where peers connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.uploads.addresses()
    }

    /// The port that trackers are told.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who this is to peers.
    pub fn peer_id(&self) -> [u8; 20] {
        self.peer_id
    }

    /// The uploading side.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// The announcing side.
    pub fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// Uploads and announces a torrent whose files are complete below `folder`; they are those of `identities`, in the
    /// torrent's order. One that is announced already, as it was fetched, stays announced.
    pub fn seed(
        &self,
        metainfo: &Arc<Metainfo>,
        folder: PathBuf,
        identities: Vec<Identity>,
    ) -> Result<(), AddError> {
        let uploaded = self.uploads.add(metainfo.clone(), folder, identities)?;
        let transfer = self.announcer.transfer(&metainfo.info_hash).unwrap_or_default();
        transfer.left.store(0, Ordering::Relaxed);
        self.announce(metainfo, transfer.clone());
        self.counts().insert(metainfo.info_hash, Count { uploaded, transfer });
        Ok(())
    }

    /// Announces a torrent.
    pub fn announce(&self, metainfo: &Metainfo, transfer: Arc<Transfer>) {
        let torrent = Torrent {
            info_hash: metainfo.info_hash,
            tiers: self.tiers.as_deref().unwrap_or(&metainfo.tiers).clone(),
            private: metainfo.private,
            total: metainfo.total(),
            every_tier: true,
        };
        for (url, why) in self.announcer.add(torrent, transfer) {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if refused.len() < REFUSED_MAX && refused.insert(url.clone()) {
                tracing::warn!(torrent = %metainfo.name, url, %why, "this tracker cannot be asked");
            }
        }
    }

    /// A torrent is neither uploaded nor announced any more; its trackers are told `stopped`.
    pub fn leave(&self, info_hash: &InfoHash) {
        self.uploads.remove(info_hash);
        self.announcer.remove(info_hash);
        self.counts().remove(info_hash);
    }

    /// What is uploaded and announced now.
    pub fn activity(&self) -> Activity {
        let uploads = self.uploads.stats();
        let peers = || uploads.torrents.iter().flat_map(|torrent| &torrent.peers);
        Activity {
            uploaded: uploads.uploaded,
            upload_rate: peers().map(|peer| peer.rate).sum(),
            peers: peers().count(),
            troubles: self.announcer.troubles(),
            torrents: uploads
                .torrents
                .into_iter()
                .map(|torrent| (torrent.info_hash, torrent))
                .collect(),
            announced: self
                .announcer
                .snapshot()
                .into_iter()
                .map(|status| (status.info_hash, status))
                .collect(),
        }
    }

    /// Ends it: trackers are told within `patience`, and the log says which were not.
    pub async fn stop(&self, patience: Duration) {
        let (unsaid, ()) = tokio::join!(self.announcer.stop(patience), self.uploads.stop());
        let mut trackers: BTreeMap<String, u64> = BTreeMap::new();
        for unsaid in unsaid {
            *trackers.entry(unsaid.tracker).or_default() += 1;
        }
        for (tracker, torrents) in trackers {
            tracing::warn!(tracker, torrents, "not told that we stop; it will find out by time");
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<InfoHash, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the announcer each second what was uploaded, until the node is gone.
async fn count(counts: std::sync::Weak<Mutex<HashMap<InfoHash, Count>>>) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let Some(counts) = counts.upgrade() else { return };
        for count in counts.lock().unwrap_or_else(PoisonError::into_inner).values() {
            count
                .transfer
                .uploaded
                .store(count.uploaded.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// URLs of trackers that cannot be asked and are told of.
const REFUSED_MAX: usize = 1_024;
