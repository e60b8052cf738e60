//! A connected peer, as its connection, the slots and the statistics see it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

/// What is known of a peer.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// This side has connected.
    pub(crate) is_dialled: bool,
    pub(crate) client: Mutex<String>,
    /// Bytes of blocks that it was sent.
    pub(crate) uploaded: AtomicU64,
    /// Bytes a second of late.
    pub(crate) rate: AtomicU64,
    /// What `uploaded` was when the rate was taken last.
    pub(crate) uploaded_before: AtomicU64,
    /// The pieces that it has.
    pub(crate) pieces: AtomicU32,
    unchoked: AtomicBool,
    /// There is something to do for the side that writes.
    pub(crate) work: Notify,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, client: String, is_dialled: bool) -> Self {
        Self {
            address,
            is_dialled,
            client: Mutex::new(client),
            uploaded: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            uploaded_before: AtomicU64::new(0),
            pieces: AtomicU32::new(0),
            unchoked: AtomicBool::new(false),
            work: Notify::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new(([127, 0, 0, 1], 1).into(), String::new(), false)
    }

    /// Its requests are to be answered.
    pub(crate) fn is_unchoked(&self) -> bool {
        self.unchoked.load(Ordering::Acquire)
    }

    pub(crate) fn set_unchoked(&self, unchoked: bool) {
        self.unchoked.store(unchoked, Ordering::Release);
        self.work.notify_one();
    }

    /// Takes the rate of the `seconds` since it was taken last.
    pub(crate) fn take_rate(&self, seconds: f64) {
        let uploaded = self.uploaded.load(Ordering::Relaxed);
        let before = self.uploaded_before.swap(uploaded, Ordering::Relaxed);
        let now = (uploaded - before) as f64 / seconds;
        let smooth = (self.rate.load(Ordering::Relaxed) as f64 + now) / 2.0;
        self.rate.store(smooth as u64, Ordering::Relaxed);
    }
}
