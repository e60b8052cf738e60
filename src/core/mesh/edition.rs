//! The answer to a full scrape (BEP 48: a scrape without an infohash): the counts of every torrent, as
//! files that are written once and then only read.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use persist::DataDir;
use shard::{Counts, InfoHash, Seconds};

use crate::wire::http::ScrapeBody;

/// An edition of it, as it is and packed. The files have no names and are gone with the last who has them open.
///
/// To give back a large file takes the kernel some milliseconds, so no core should be the last.
#[derive(Debug)]
pub struct Edition {
    plain: Body,
    packed: Body,
    torrents: usize,
}

/// The body of a reply.
#[derive(Debug)]
pub struct Body {
    /// Where it is, from its first byte on.
    pub file: File,
    /// Its length.
    pub bytes: u64,
}

/// Bytes written at a time.
const WRITE_BYTES: usize = 64 * 1024;

impl Edition {
    /// Writes a body with these torrents, of which none has to be in order. `interval_min` is how long
    /// a reader is asked to wait before the next.
    ///
    /// Blocks on the disk, sorts and packs, so it belongs on a thread of its own.
    pub fn write(
        data: &DataDir,
        torrents: &mut [(InfoHash, Counts)],
        interval_min: Seconds,
    ) -> io::Result<Self> {
        torrents.sort_unstable_by_key(|(info_hash, _)| *info_hash);
        let mut plain = Body { file: data.nameless_file("full-scrape")?, bytes: 0 };
        let packed = data.nameless_file("full-scrape-packed")?;
        // Infohashes cannot be packed and all the rest is alike: the fastest way gains nearly as much.
        let packed = BufWriter::with_capacity(WRITE_BYTES, packed);
        let mut packed = GzEncoder::new(packed, Compression::fast());
        let mut append = |out: &mut Vec<u8>| {
            plain.file.write_all(out)?;
            plain.bytes += out.len() as u64;
            packed.write_all(out)?;
            out.clear();
            io::Result::Ok(())
        };
        let mut out = Vec::with_capacity(WRITE_BYTES + 1024);
        let mut body = ScrapeBody::begin(&mut out);
        let mut named = 0;
        for (info_hash, counts) in torrents {
            // One that went and came again meanwhile is there twice.
            named += usize::from(body.torrent(&mut out, info_hash, counts));
            if out.len() >= WRITE_BYTES {
                append(&mut out)?;
            }
        }
        body.end(&mut out, interval_min);
        append(&mut out)?;
        let packed = packed.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        let bytes = packed.metadata()?.len();
        Ok(Self { plain, packed: Body { file: packed, bytes }, torrents: named })
    }

    /// The body, `packed` with gzip or as it is.
    pub fn body(&self, packed: bool) -> &Body {
        if packed { &self.packed } else { &self.plain }
    }

    /// How many torrents it names.
    pub fn torrents(&self) -> usize {
        self.torrents
    }
}
