//! The pieces of a content.

use bytes::Bytes;

/// SHA-1 of each piece of a content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pieces {
    /// Bytes in a piece but the last.
    pub piece_length: u32,
    /// 20 bytes for each piece.
    pub hashes: Bytes,
}
