//! The frame of a journal segment: header and frame heads. No I/O.
//!
//! ```text
//! segment = header frame*
//! header  = 0..8 magic · 8..12 format · 12..28 version of the writer (ASCII, zero padded)
//!           28..36 first sequence number · 36..44 the journal's id · 44..52 begun at (Unix
//!           nanoseconds) · 52..60 the life it was written in; zero of programs that had none ·
//!           60..64 checksum of 0..60
//! frame   = 0..4 payload bytes · 4..8 records; the highest bit: the batch goes on in the next frame
//!           8..16 first sequence number · 16..20 bytes of this file that were durable when the
//!           frame was written · 20..24 checksum · payload: records, see `record`
//! ```
//! A batch whose last frame is missing does not count: it was never said to be written.
//!
//! Numbers are little endian, checksums CRC-32, as in snapshots. That of a frame begins with the
//! header's checksum and the frame's place in the file, so that a frame of another file, of an
//! earlier life of this one, or in the wrong place does not pass. Magic, format, version and
//! checksum have their places in all formats.
//!
//! The durable bytes tell a torn tail from damage: after a power cut anything may be missing from
//! the first byte on that was not synced. Where a whole frame says of an earlier byte that it was
//! durable, and that byte is in a frame that does not hold any more, the disk has lost it.

/// The format this code writes. It reads all from [`FORMAT_OLDEST`] on, and goes on in a new segment after
/// one of them: they differ in the kinds of records that there may be. Format 4 brought former passkeys. Format 3
/// gave each record a stamp, and a port to each address; until 2 what the site changed was said in whole. In format
/// 1 there were no groups of users, and nobody was noted who left without a word.
pub const FORMAT: u32 = 4;
/// The oldest format this code reads.
pub const FORMAT_OLDEST: u32 = 1;

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes before a frame's payload.
pub(super) const HEAD_BYTES: usize = 24;
/// The largest payload, which a single large record may have.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// A frame that has more than one record has a payload of at most this.
pub(super) const PAYLOAD_BYTES: usize = 64 << 10;

const MAGIC: [u8; 8] = *b"\x93mgjrnl\n";
/// Beside the number of records.
const MORE: u32 = 1 << 31;
const VERSION_BYTES: usize = 16;

/// The damage of a segment, and at which byte.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum Damage {
    #[error("it does not begin like a segment of a journal")]
    Magic,
    #[error("the checksum of its header (bytes 0 to {HEADER_BYTES}) is wrong")]
    Header,
    #[error("its header says that it begins with record {found}, and its name {expected}")]
    Name { found: u64, expected: u64 },
    #[error("it belongs to another journal ({found:016x}, not {expected:016x})")]
    Journal { found: u64, expected: u64 },
    #[error("it ends early: the {what} at byte {offset} is not complete")]
    Truncated { offset: u64, what: &'static str },
    #[error("the frame at byte {offset} says that it has {records} records in {bytes} bytes")]
    Length { offset: u64, records: u32, bytes: u32 },
    #[error("the frame at byte {offset} begins with record {found}, not {expected}")]
    Sequence { offset: u64, found: u64, expected: u64 },
    #[error("the checksum of the frame at byte {offset} is wrong")]
    Checksum { offset: u64 },
    #[error("the frame at byte {offset} has a good checksum, but its content is not valid: {what}")]
    Content { offset: u64, what: &'static str },
    #[error(
        "the frame at byte {offset} does not hold, though it was durable when the one at byte \
         {later} was written"
    )]
    Lost { offset: u64, later: u64 },
}

/// The header of a segment whose checksum holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) format: u32,
    version: [u8; VERSION_BYTES],
    /// The sequence number of the first record.
    pub(super) first: u64,
    /// Which journal.
    pub(super) id: u64,
    /// When the segment was begun, in Unix nanoseconds; also makes its checksum unlike any other.
    pub(super) begun_at: u64,
    /// The life of the journal that it was written in; see [`super::Life::id`].
    pub(super) life: u64,
    checksum: u32,
}

/// The head of a frame whose numbers are possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) payload_bytes: usize,
    pub(super) records: u32,
    /// The batch goes on in the next frame.
    pub(super) more: bool,
    /// The sequence number of the first record.
    pub(super) first: u64,
    /// Bytes of the file that were durable.
    pub(super) synced: u32,
    checksum: u32,
}

impl Damage {
    /// The byte from which on the segment is of no use.
    pub fn offset(&self) -> u64 {
        match *self {
            Self::Magic | Self::Header | Self::Name { .. } | Self::Journal { .. } => 0,
            Self::Truncated { offset, .. }
            | Self::Length { offset, .. }
            | Self::Sequence { offset, .. }
            | Self::Checksum { offset }
            | Self::Content { offset, .. }
            | Self::Lost { offset, .. } => offset,
        }
    }
}

impl Header {
    /// The header and its bytes for a new segment of this program.
    pub(super) fn write(
        first: u64,
        id: u64,
        life: u64,
        begun_at: u64,
    ) -> (Self, [u8; HEADER_BYTES]) {
        let text = env!("CARGO_PKG_VERSION").as_bytes();
        let mut version = [0; VERSION_BYTES];
        let shown = text.len().min(VERSION_BYTES);
        version[..shown].copy_from_slice(&text[..shown]);

        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..28].copy_from_slice(&version);
        bytes[28..36].copy_from_slice(&first.to_le_bytes());
        bytes[36..44].copy_from_slice(&id.to_le_bytes());
        bytes[44..52].copy_from_slice(&begun_at.to_le_bytes());
        bytes[52..60].copy_from_slice(&life.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        (Self { format: FORMAT, version, first, id, begun_at, life, checksum }, bytes)
    }

    /// Reads a header of any format; only format and version mean something when this code does not read it.
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
        Ok(Self {
            format: u32_at(bytes, 8),
            version,
            first: u64_at(bytes, 28),
            id: u64_at(bytes, 36),
            begun_at: u64_at(bytes, 44),
            life: u64_at(bytes, 52),
            checksum,
        })
    }

    /// The version of the program that wrote the segment.
    pub(super) fn version(&self) -> String {
        let end = self.version.iter().position(|&b| b == 0).unwrap_or(VERSION_BYTES);
        let shown = |&b: &u8| if b.is_ascii_graphic() { char::from(b) } else { '?' };
        self.version[..end].iter().map(shown).collect()
    }

    /// Completes the frames in `frames`, written by [`open_frame`] and [`close_frame`], for this
    /// segment: the first will be at byte `offset`, and `synced` bytes of the file are durable.
    pub(super) fn seal(&self, mut frames: &mut [u8], mut offset: u64, synced: u64) {
        let synced = u32::try_from(synced).expect("segments are below 4 GiB").to_le_bytes();
        while let Some((head, rest)) = frames.split_first_chunk_mut::<HEAD_BYTES>() {
            head[16..20].copy_from_slice(&synced);
            let (payload, rest) = rest.split_at_mut(u32_at(head, 0) as usize);
            let checksum = self.frame_checksum(head, offset, payload);
            head[20..].copy_from_slice(&checksum.to_le_bytes());
            offset += (HEAD_BYTES + payload.len()) as u64;
            frames = rest;
        }
    }

    /// True when head and payload are as they were written at this place.
    pub(super) fn holds(
        &self,
        head: &Head,
        bytes: &[u8; HEAD_BYTES],
        offset: u64,
        payload: &[u8],
    ) -> bool {
        self.frame_checksum(bytes, offset, payload) == head.checksum
    }

    fn frame_checksum(&self, head: &[u8; HEAD_BYTES], offset: u64, payload: &[u8]) -> u32 {
        let mut start = [0; 12 + 20];
        start[..4].copy_from_slice(&self.checksum.to_le_bytes());
        start[4..12].copy_from_slice(&offset.to_le_bytes());
        start[12..].copy_from_slice(&head[..20]);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&start);
        hasher.update(payload);
        hasher.finalize()
    }
}

impl Head {
    /// Reads the head of the frame at byte `offset`.
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES], offset: u64) -> Result<Self, Damage> {
        let (payload_bytes, records) = (u32_at(bytes, 0), u32_at(bytes, 4));
        let (more, records) = (records & MORE != 0, records & !MORE);
        let possible = payload_bytes as usize <= PAYLOAD_BYTES_MAX
            && (1..=payload_bytes).contains(&records)
            && u64_at(bytes, 8).checked_add(records.into()).is_some();
        if !possible {
            return Err(Damage::Length { offset, records, bytes: payload_bytes });
        }
        Ok(Self {
            payload_bytes: payload_bytes as usize,
            records,
            more,
            first: u64_at(bytes, 8),
            synced: u32_at(bytes, 16),
            checksum: u32_at(bytes, 20),
        })
    }
}

/// Makes place for a frame's head at the end of `frames`. Records follow, then [`close_frame`].
pub(super) fn open_frame(frames: &mut Vec<u8>) -> usize {
    let at = frames.len();
    frames.extend_from_slice(&[0; HEAD_BYTES]);
    at
}

/// Fills in what is known of the head of the frame that begins at `at`; [`Header::seal`] does the rest.
/// `more`: the next frame belongs to the same batch.
pub(super) fn close_frame(frames: &mut [u8], at: usize, records: u32, more: bool, first: u64) {
    let records = if more { records | MORE } else { records };
    let payload_bytes = u32::try_from(frames.len() - at - HEAD_BYTES);
    let payload_bytes = payload_bytes.expect("payloads are below PAYLOAD_BYTES_MAX");
    frames[at..at + 4].copy_from_slice(&payload_bytes.to_le_bytes());
    frames[at + 4..at + 8].copy_from_slice(&records.to_le_bytes());
    frames[at + 8..at + 16].copy_from_slice(&first.to_le_bytes());
}

/// `at` is a constant of this file inside the array.
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
