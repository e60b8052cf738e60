//! The payload of a frame of names, in the private mode: torrents with two infohashes, and clients that are not
//! there by the first alone.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::InfoHash;
use shard::private::{NamedRecord, Names, PeerId, UserId};

use super::format::{PAYLOAD_BYTES_MAX, archive_taken};

/// Torrents and clients in one frame at most.
const ENTRIES_MAX: usize = 4096;

const _: () = assert!(ENTRIES_MAX * 64 + 1024 <= PAYLOAD_BYTES_MAX);

/// The columns of torrents have one length, and those of clients another one.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct Columns {
    firsts: Vec<[u8; 20]>,
    seconds: Vec<[u8; 20]>,
    info_hashes: Vec<[u8; 20]>,
    users: Vec<u32>,
    peer_ids: Vec<[u8; 20]>,
    keys: Vec<u32>,
    names: Vec<u8>,
}

/// In `names`.
const BY_FIRST: u8 = 1;
const BY_SECOND: u8 = 1 << 1;

/// A frame being filled.
#[derive(Default, Debug)]
pub(super) struct Filling {
    columns: Columns,
}

impl Filling {
    fn len(&self) -> usize {
        self.columns.firsts.len() + self.columns.users.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= ENTRIES_MAX
    }

    /// Adds the names of a torrent. The caller has made sure that the frame is not full.
    pub(super) fn push(&mut self, first: &InfoHash, second: &InfoHash) {
        assert!(!self.is_full(), "a frame has ENTRIES_MAX entries");
        self.columns.firsts.push(first.0);
        self.columns.seconds.push(second.0);
    }

    /// Adds a client; as above.
    pub(super) fn push_named(&mut self, named: &NamedRecord) {
        assert!(!self.is_full(), "a frame has ENTRIES_MAX entries");
        let NamedRecord { info_hash, user, peer_id, key, names } = *named;
        self.columns.info_hashes.push(info_hash.0);
        self.columns.users.push(user.0);
        self.columns.peer_ids.push(peer_id.0);
        self.columns.keys.push(key);
        let names = (u8::from(names.first) * BY_FIRST) | (u8::from(names.second) * BY_SECOND);
        self.columns.names.push(names);
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(&mut self, buffer: AlignedVec) -> Result<AlignedVec, rancor::BoxedError> {
        archive_taken(&mut self.columns, buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct HybridsView<'a> {
    columns: &'a ArchivedColumns,
}

impl<'a> HybridsView<'a> {
    /// Validates an archive; the text says what is wrong with it.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        let (torrents, clients) = (columns.firsts.len(), columns.users.len());
        if torrents + clients > ENTRIES_MAX {
            return Err("too many names".to_owned());
        }
        let lengths = [
            columns.info_hashes.len(),
            columns.peer_ids.len(),
            columns.keys.len(),
            columns.names.len(),
        ];
        if columns.seconds.len() != torrents || lengths != [clients; 4] {
            return Err("columns of names differ in length".to_owned());
        }
        if columns.names.iter().any(|names| names & !(BY_FIRST | BY_SECOND) != 0) {
            return Err("no such name".to_owned());
        }
        Ok(Self { columns })
    }

    /// The two names of each torrent, the first one first.
    pub(super) fn hybrids(self) -> impl Iterator<Item = (InfoHash, InfoHash)> + use<'a> {
        let names = self.columns.firsts.iter().zip(self.columns.seconds.iter());
        names.map(|(first, second)| (InfoHash(*first), InfoHash(*second)))
    }

    /// The clients, in the order of the file.
    pub(super) fn named(self) -> impl Iterator<Item = NamedRecord> + use<'a> {
        let columns = self.columns;
        (0..columns.users.len()).map(move |at| NamedRecord {
            info_hash: InfoHash(columns.info_hashes[at]),
            user: UserId(columns.users[at].to_native()),
            peer_id: PeerId(columns.peer_ids[at]),
            key: columns.keys[at].to_native(),
            names: Names {
                first: columns.names[at] & BY_FIRST != 0,
                second: columns.names[at] & BY_SECOND != 0,
            },
        })
    }
}
