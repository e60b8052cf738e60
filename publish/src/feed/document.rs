//! A file for the web: its bytes, packed and not, and the tags by which a client asks whether it is new.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use ring::digest::{SHA256, digest};

use super::error::FeedError;
use super::list::BYTES_MAX;

/// A file that is served as it is, and beside it the same packed by gzip (RFC 1952).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// The file.
    pub bytes: Bytes,
    /// The file packed, for those that take `gzip`.
    pub gzip: Bytes,
    /// The strong entity tag of `bytes` (RFC 9110, section 8.8.3), with its quotes. Equal bytes have equal tags, on
    /// every Master and after every start.
    pub etag: String,
    /// The strong entity tag of `gzip`: other bytes, so another tag.
    pub gzip_etag: String,
}

impl Document {
    /// The document of these bytes. Packs them: about 20 ms a megabyte.
    pub fn new(bytes: Vec<u8>) -> Self {
        let hash = digest(&SHA256, &bytes);
        let tag: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        // Without time and name: the same file is the same packed file.
        let mut packer =
            GzBuilder::new().write(Vec::with_capacity(bytes.len() / 2), Compression::default());
        packer.write_all(&bytes).expect("memory takes what is written");
        let gzip = packer.finish().expect("memory takes what is written");
        Self {
            bytes: bytes.into(),
            gzip: gzip.into(),
            etag: format!("\"{tag}\""),
            gzip_etag: format!("\"{tag}-gzip\""),
        }
    }
}

/// Unpacks a list that came as gzip: at most [`BYTES_MAX`] bytes, whatever it would unpack to.
pub fn unpack(gzip: &[u8]) -> Result<Vec<u8>, FeedError> {
    if gzip.is_empty() {
        return Err(FeedError::Empty);
    }
    let mut bytes = Vec::new();
    MultiGzDecoder::new(gzip)
        .take(BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| FeedError::Gzip { why: error.to_string() })?;
    if bytes.len() > BYTES_MAX {
        return Err(FeedError::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_the_same_packed_and_says_when_it_changed() {
        let one = Document::new(b"margay".repeat(1000));
        assert_eq!(unpack(&one.gzip).unwrap(), one.bytes);
        assert!(one.gzip.len() < one.bytes.len() / 10);
        assert_eq!(one, Document::new(b"margay".repeat(1000)));
        let other = Document::new(b"margay".repeat(1001));
        let tags = [&one.etag, &one.gzip_etag, &other.etag, &other.gzip_etag];
        assert!(tags.iter().enumerate().all(|(at, tag)| !tags[..at].contains(tag)), "{tags:?}");
    }

    #[test]
    fn what_unpacks_to_more_than_is_read_or_to_nothing_is_refused() {
        let bomb = Document::new(vec![b'a'; BYTES_MAX + 1]);
        assert_eq!(unpack(&bomb.gzip), Err(FeedError::TooLarge));
        assert_eq!(unpack(b""), Err(FeedError::Empty));
        assert!(matches!(unpack(b"<html>"), Err(FeedError::Gzip { .. })));
        let whole = Document::new(b"margay-list 1".to_vec()).gzip;
        assert!(matches!(unpack(&whole[..whole.len() - 3]), Err(FeedError::Gzip { .. })));
    }
}
