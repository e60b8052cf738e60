//! The answer to a full scrape (BEP 48: a scrape without an infohash): the counts of every torrent, as a
//! file that is written once and then only read.

use std::fs::File;
use std::io::{self, Write};

use persist::DataDir;
use shard::{Counts, InfoHash, Seconds};

use crate::wire::http::ScrapeBody;

/// One making of it. The file has no name and is gone with the last who has it open.
///
/// To give back a large file takes the kernel some milliseconds, so no core should be the last.
#[derive(Debug)]
pub struct Edition {
    file: File,
    bytes: u64,
    torrents: usize,
}

/// Bytes written at a time.
const WRITE_BYTES: usize = 64 * 1024;

impl Edition {
    /// Writes a body with these torrents, of which none has to be in order. `interval_min` is how long
    /// a reader is asked to wait before the next.
    ///
    /// Blocks on the disk and sorts, so it belongs on a thread of its own.
    pub fn write(
        data: &DataDir,
        torrents: &mut [(InfoHash, Counts)],
        interval_min: Seconds,
    ) -> io::Result<Self> {
        torrents.sort_unstable_by_key(|(info_hash, _)| *info_hash);
        let mut edition = Self { file: data.nameless_file("full-scrape")?, bytes: 0, torrents: 0 };
        let mut out = Vec::with_capacity(WRITE_BYTES + 1024);
        let mut body = ScrapeBody::begin(&mut out);
        for (info_hash, counts) in torrents {
            // One that went and came again meanwhile is there twice.
            edition.torrents += usize::from(body.torrent(&mut out, info_hash, counts));
            if out.len() >= WRITE_BYTES {
                edition.append(&mut out)?;
            }
        }
        body.end(&mut out, interval_min);
        edition.append(&mut out)?;
        Ok(edition)
    }

    /// Where the body is, from its first byte on.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The length of the body.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many torrents it names.
    pub fn torrents(&self) -> usize {
        self.torrents
    }

    fn append(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.file.write_all(out)?;
        self.bytes += out.len() as u64;
        out.clear();
        Ok(())
    }
}
