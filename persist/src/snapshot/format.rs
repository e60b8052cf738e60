//! The frame of a snapshot file: header, frame heads and totals. No I/O.
//!
//! ```text
//! file    = header (swarms* | (users | groups | former passkeys)* rules* (torrents | names | deletions)*) end
//! header  = 0..8 magic · 8..12 format · 12..28 version of the writer (ASCII, zero padded)
//!           28..32 written at (Unix seconds) · 32..36 mode: 0 open, 1 private
//!           36..40 interval · 40..44 peer timeout (seconds)
//!           44..52 id of the journal · 52..60 its records covered (0 and 0 in the open mode)
//!           60..64 checksum of 0..60
//! frame   = 0..4 kind · 4..8 number · 8..12 payload bytes · 12..16 checksum · payload
//! swarms  = a frame of kind 1, in the open mode; its payload is an rkyv archive, see `columns`
//! end     = a frame of kind 2; its payload is ten u64, see `Totals`
//! users, rules, torrents, deletions = frames of kinds 3, 4, 5 and 6, in the private mode; their
//!           payloads are rkyv archives, see `users`, `rules`, `torrents` and `deletions`
//! users of whom some are in a group, groups = frames of kinds 7 and 8, in the private mode; see
//!           `users` and `groups`; there are none in format 2. Users who may not
//!           announce are there since format 4
//! torrents with peers of which some have a port for each family = a frame of kind 9, in the private
//!           mode, since format 5; see `torrents`
//! names of hybrid torrents, and who is there by the second = a frame of kind 10, in the private mode,
//!           after the torrents it is of, since format 5; see `hybrids`
//! former passkeys = a frame of kind 11, in the private mode, since format 6; see `formers`
//! ```
//! Numbers are little endian. A checksum is CRC-32: it finds every flipped bit, every burst of up
//! to 32 bits and all but one in 2^32 of other damages. That of a frame begins with the header's
//! checksum and the frame's number, so that a frame of another file, or one in the wrong place,
//! does not pass. The length of the header and the places of its magic, format, version and
//! checksum stay the same in all formats: a newer format is told from damage.

use rkyv::Serialize;
use rkyv::api::high::{HighSerializer, to_bytes_in};
use rkyv::rancor::BoxedError;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use shard::Seconds;

use super::frames::Damage;

/// The format this code writes.
pub const FORMAT: u32 = 6;

/// The earliest format this code reads: there are no groups of users in it.
pub const FORMAT_OLDEST: u32 = 2;

/// Whether this code reads files of a format.
pub(super) fn is_read(format: u32) -> bool {
    (FORMAT_OLDEST..=FORMAT).contains(&format)
}

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes before a frame's payload.
pub(super) const HEAD_BYTES: usize = 16;
/// The largest payload written or read. The fullest piece (see `columns::ENTRIES_MAX`) has less.
pub(super) const PAYLOAD_BYTES_MAX: usize = 512 * 1024;

const MAGIC: [u8; 8] = *b"\x93margay\n";
const VERSION_BYTES: usize = 16;

/// The modes in the header.
const OPEN: u32 = 0;
const PRIVATE: u32 = 1;

/// What a tracker says about itself when it writes a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Wall clock when the export began.
    pub written_at: Seconds,
    /// The longest interval answered to clients at that time: after so long, everybody who is
    /// still there has announced again.
    pub interval: Seconds,
    /// How long a peer could be silent before it left its swarm.
    pub peer_timeout: Seconds,
    /// Which kind of tracker it is.
    pub mode: Mode,
}

/// Which kind of tracker wrote a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// One that tracks for anybody.
    #[default]
    Open,
    /// One with users and registered torrents, and with a journal.
    Private(Covered),
}

/// Which records of a journal a snapshot contains: all below `position`. What the others did may be in
/// it or not, so they are to be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Covered {
    /// The journal's id.
    pub journal: u64,
    /// The sequence number of the first record that is to be replayed.
    pub position: u64,
}

/// What a snapshot holds in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Frames before the last one.
    pub frames: u64,
    /// Entries of swarms: a swarm that needs several frames has one in each.
    pub records: u64,
    /// Swarms, those without peers included; in the private mode, registered torrents.
    pub swarms: u64,
    /// IPv4 endpoints; in the private mode, clients without an IPv6 address.
    pub peers_v4: u64,
    /// IPv6 endpoints; in the private mode, clients with an IPv6 address, whether they have an IPv4
    /// one as well or not.
    pub peers_v6: u64,
    /// Completed downloads, over all swarms.
    pub snatches: u64,
    /// Users, since format 4 also those who may not announce.
    pub users: u64,
    /// Client programs that are allowed or refused.
    pub client_rules: u64,
    /// Tokens.
    pub tokens: u64,
    /// Torrents that were removed.
    pub deletions: u64,
}

/// The header of a file whose checksum holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) version: [u8; VERSION_BYTES],
    pub(super) meta: Meta,
    /// Begins the checksum of every frame.
    pub(super) checksum: u32,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Swarms,
    End,
    Users,
    Rules,
    Torrents,
    Deletions,
    /// Users of whom some are in a group.
    GroupedUsers,
    Groups,
    /// Torrents with peers of which some have a port for each family.
    PortedTorrents,
    /// Torrents with two names, and which clients are there by the second; after those it is of.
    Hybrids,
    /// Passkeys that users had before.
    Formers,
}

/// The head of a frame whose kind, number and length are possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) payload_bytes: usize,
    checksum: u32,
}

impl Header {
    /// The header and its bytes for a new file of this program.
    pub(super) fn write(meta: Meta) -> (Self, [u8; HEADER_BYTES]) {
        let text = env!("CARGO_PKG_VERSION").as_bytes();
        let mut version = [0; VERSION_BYTES];
        let shown = text.len().min(VERSION_BYTES);
        version[..shown].copy_from_slice(&text[..shown]);

        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..28].copy_from_slice(&version);
        let (mode, covered) = match meta.mode {
            Mode::Open => (OPEN, Covered::default()),
            Mode::Private(covered) => (PRIVATE, covered),
        };
        bytes[28..32].copy_from_slice(&meta.written_at.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&mode.to_le_bytes());
        bytes[36..40].copy_from_slice(&meta.interval.0.to_le_bytes());
        bytes[40..44].copy_from_slice(&meta.peer_timeout.0.to_le_bytes());
        bytes[44..52].copy_from_slice(&covered.journal.to_le_bytes());
        bytes[52..60].copy_from_slice(&covered.position.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        (Self { format: FORMAT, version, meta, checksum }, bytes)
    }

    /// Reads a header of any format; `meta` only means something when `format` is one that [`is_read`].
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Damage> {
        if bytes[..8] != MAGIC {
            return Err(Damage::Magic);
        }
        let checksum = u32_at(bytes, 60);
        if checksum != crc32fast::hash(&bytes[..60]) {
            return Err(Damage::Header);
        }
        let mut version = [0; VERSION_BYTES];
        version.copy_from_slice(&bytes[12..28]);
        let format = u32_at(bytes, 8);
        let mode = match u32_at(bytes, 32) {
            PRIVATE => {
                Mode::Private(Covered { journal: u64_at(bytes, 44), position: u64_at(bytes, 52) })
            }
            found if found != OPEN && is_read(format) => return Err(Damage::Mode { found }),
            _ => Mode::Open,
        };
        let meta = Meta {
            written_at: Seconds(u32_at(bytes, 28)),
            interval: Seconds(u32_at(bytes, 36)),
            peer_timeout: Seconds(u32_at(bytes, 40)),
            mode,
        };
        Ok(Self { format, version, meta, checksum })
    }

    /// The version of the program that wrote the file.
    pub(super) fn version(&self) -> String {
        let end = self.version.iter().position(|&b| b == 0).unwrap_or(VERSION_BYTES);
        self.version[..end]
            .iter()
            .map(|&b| if b.is_ascii_graphic() { b.into() } else { '?' })
            .collect()
    }

    /// The head of the frame with this number and payload.
    pub(super) fn head(&self, kind: Kind, number: u32, payload: &[u8]) -> [u8; HEAD_BYTES] {
        let bytes = u32::try_from(payload.len()).expect("payloads are below PAYLOAD_BYTES_MAX");
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&kind.code().to_le_bytes());
        head[4..8].copy_from_slice(&number.to_le_bytes());
        head[8..12].copy_from_slice(&bytes.to_le_bytes());
        let checksum = self.frame_checksum(&head, payload);
        head[12..].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    /// Reads the head of the frame with this number, which begins at `offset` of the file.
    pub(super) fn parse_head(
        &self,
        bytes: &[u8; HEAD_BYTES],
        number: u32,
        offset: u64,
    ) -> Result<Head, Damage> {
        let found = u32_at(bytes, 0);
        let kind = Kind::of(found).filter(|kind| kind.belongs_to(self.meta.mode));
        let kind = kind.ok_or(Damage::Kind { offset, found })?;
        let found = u32_at(bytes, 4);
        if found != number {
            return Err(Damage::Number { offset, found, expected: number });
        }
        let payload_bytes = u32_at(bytes, 8) as usize;
        let possible = match kind {
            Kind::End => payload_bytes == Totals::BYTES,
            _ => payload_bytes <= PAYLOAD_BYTES_MAX,
        };
        if !possible {
            return Err(Damage::Length { offset, found: payload_bytes });
        }
        Ok(Head { kind, payload_bytes, checksum: u32_at(bytes, 12) })
    }

    /// True when head and payload are as they were written.
    pub(super) fn holds(&self, head: &Head, bytes: &[u8; HEAD_BYTES], payload: &[u8]) -> bool {
        self.frame_checksum(bytes, payload) == head.checksum
    }

    fn frame_checksum(&self, head: &[u8; HEAD_BYTES], payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.checksum.to_le_bytes());
        hasher.update(&head[..12]);
        hasher.update(payload);
        hasher.finalize()
    }
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Swarms,
        Kind::End,
        Kind::Users,
        Kind::Rules,
        Kind::Torrents,
        Kind::Deletions,
        Kind::GroupedUsers,
        Kind::Groups,
        Kind::PortedTorrents,
        Kind::Hybrids,
        Kind::Formers,
    ];

    pub(super) fn code(self) -> u32 {
        match self {
            Kind::Swarms => 1,
            Kind::End => 2,
            Kind::Users => 3,
            Kind::Rules => 4,
            Kind::Torrents => 5,
            Kind::Deletions => 6,
            Kind::GroupedUsers => 7,
            Kind::Groups => 8,
            Kind::PortedTorrents => 9,
            Kind::Hybrids => 10,
            Kind::Formers => 11,
        }
    }

    pub(super) fn of(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether a file of this mode may have such frames.
    pub(super) fn belongs_to(self, mode: Mode) -> bool {
        match self {
            Kind::End => true,
            Kind::Swarms => mode == Mode::Open,
            Kind::Users
            | Kind::Rules
            | Kind::Torrents
            | Kind::Deletions
            | Kind::GroupedUsers
            | Kind::Groups
            | Kind::PortedTorrents
            | Kind::Hybrids
            | Kind::Formers => mode != Mode::Open,
        }
    }

    /// Frames come in the order of their places.
    pub(super) fn place(self) -> u8 {
        match self {
            Kind::Users | Kind::GroupedUsers | Kind::Groups | Kind::Formers => 0,
            Kind::Rules => 1,
            Kind::Swarms
            | Kind::Torrents
            | Kind::PortedTorrents
            | Kind::Hybrids
            | Kind::Deletions => 2,
            Kind::End => 3,
        }
    }
}

impl Totals {
    const NUMBERS: usize = 10;
    /// Bytes of the last frame's payload.
    pub(super) const BYTES: usize = 8 * Self::NUMBERS;

    /// Endpoints of both families, or clients in the private mode.
    pub fn peers(&self) -> u64 {
        self.peers_v4 + self.peers_v6
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let Self { frames, records, swarms, peers_v4, peers_v6, snatches, .. } = self;
        let Self { users, client_rules, tokens, deletions, .. } = self;
        let numbers: [u64; Self::NUMBERS] = [
            frames,
            records,
            swarms,
            peers_v4,
            peers_v6,
            snatches,
            users,
            client_rules,
            tokens,
            deletions,
        ];
        let mut bytes = [0; Self::BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            frames: u64_at(bytes, 0),
            records: u64_at(bytes, 8),
            swarms: u64_at(bytes, 16),
            peers_v4: u64_at(bytes, 24),
            peers_v6: u64_at(bytes, 32),
            snatches: u64_at(bytes, 40),
            users: u64_at(bytes, 48),
            client_rules: u64_at(bytes, 56),
            tokens: u64_at(bytes, 64),
            deletions: u64_at(bytes, 72),
        }
    }
}

/// `at` is a constant of this file inside the array.
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Archives the columns of a frame into `buffer`, whose capacity is used again, and leaves empty ones.
pub(super) fn archive_taken<C>(
    columns: &mut C,
    mut buffer: AlignedVec,
) -> Result<AlignedVec, BoxedError>
where
    C: Default + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, BoxedError>>,
{
    buffer.clear();
    to_bytes_in(&std::mem::take(columns), buffer)
}
