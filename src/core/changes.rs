//! What a core has changed while another process takes over its swarms.

use crossbeam_channel::Sender;
use shard::PeerChange;

/// Changes in one parcel at most; about 64 KiB.
pub const PARCEL_CHANGES_MAX: usize = 512;

/// Notes what is changed, and hands it on in parcels.
#[derive(Debug)]
pub struct Changes {
    noted: Vec<PeerChange>,
    out: Sender<Vec<PeerChange>>,
}

impl Changes {
    /// Nothing yet. Parcels go to `out`, which has room for all of them.
    pub fn new(out: Sender<Vec<PeerChange>>) -> Self {
        Self { noted: Vec::new(), out }
    }

    /// Notes one. Its time is that of the wall clock, which both processes go by.
    pub fn note(&mut self, change: PeerChange) {
        self.noted.push(change);
        if self.noted.len() == PARCEL_CHANGES_MAX {
            self.hand_on();
        }
    }

    /// Hands on what was noted.
    pub fn hand_on(&mut self) {
        if !self.noted.is_empty() {
            // Whoever took them may have given up.
            let _ = self.out.send(std::mem::take(&mut self.noted));
        }
    }
}
