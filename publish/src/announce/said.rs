//! What is said to a tracker, over either protocol.

use shard::InfoHash;

/// What is said with an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Who announces.
    pub peer_id: [u8; 20],
    /// Where it is reached.
    pub port: u16,
    /// Eight hex digits over HTTP.
    pub key: u32,
    /// What happened.
    pub event: Event,
    /// Bytes that are missing.
    pub left: u64,
    /// Bytes sent since `started`.
    pub uploaded: u64,
    /// Bytes received since `started`.
    pub downloaded: u64,
    /// Peers that are wanted, at most.
    pub numwant: u32,
    /// What the tracker wants to be told again.
    pub tracker_id: Option<Box<[u8]>>,
}

/// What happened to a torrent (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Time has passed.
    None,
    /// The tracker does not know it yet.
    Started,
    /// What was missing was downloaded.
    Completed,
    /// It is gone.
    Stopped,
}
