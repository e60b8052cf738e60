//! The body of a scrape's answer (BEP 48, BEP 21), which may be too long to be held at once.

use shard::{Counts, InfoHash, Seconds};

use crate::wire::bencode::{dictionary, string};

/// A body being written: [`ScrapeBody::begin`], every torrent in order, [`ScrapeBody::end`].
#[derive(Debug)]
pub struct ScrapeBody {
    last: Option<InfoHash>,
}

impl ScrapeBody {
    /// Appends what comes before the torrents.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"d5:filesd");
        Self { last: None }
    }

    /// Appends a torrent, in the bytewise order of infohashes; false for one that has just been there,
    /// which is left out.
    #[inline]
    pub fn torrent(&mut self, out: &mut Vec<u8>, info_hash: &InfoHash, counts: &Counts) -> bool {
        if self.last == Some(*info_hash) {
            return false;
        }
        debug_assert!(self.last < Some(*info_hash), "torrents out of order");
        self.last = Some(*info_hash);
        string(out, &info_hash.0);
        dictionary(out, |file| {
            let downloaders = counts.leechers.saturating_sub(counts.partial_seeds);
            file.integer(b"complete", counts.seeders.into());
            file.integer(b"downloaded", counts.snatches.into());
            file.integer(b"downloaders", downloaders.into());
            file.integer(b"incomplete", counts.leechers.into());
        });
        true
    }

    /// Appends what comes after the torrents. `request_interval_min` is how often to ask at most.
    pub fn end(self, out: &mut Vec<u8>, request_interval_min: Seconds) {
        out.extend_from_slice(b"e5:flags");
        dictionary(out, |flags| {
            flags.integer(b"min_request_interval", request_interval_min.0.into());
        });
        out.push(b'e');
    }
}
