//! Reads a snapshot from any stream, frame by frame, and believes nothing unchecked.
//!
//! One buffer of at most `PAYLOAD_BYTES_MAX` is reused, so the memory does not depend on the file.

use std::io::{self, Read};

use rkyv::util::AlignedVec;

use super::columns::View;
use super::format::{FORMAT, HEAD_BYTES, HEADER_BYTES, Head, Header, Kind, Totals};

/// What is wrong with a file, and at which byte.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum Damage {
    #[error("it does not begin like a snapshot")]
    Magic,
    #[error("the checksum of its header (bytes 0 to {HEADER_BYTES}) is wrong")]
    Header,
    #[error("it ends early: the {what} at byte {offset} is not complete")]
    Truncated { offset: u64, what: &'static str },
    #[error("the frame at byte {offset} is of unknown kind {found}")]
    Kind { offset: u64, found: u32 },
    #[error("the frame at byte {offset} has number {found}, not {expected}")]
    Number { offset: u64, found: u32, expected: u32 },
    #[error("the frame at byte {offset} says that it is {found} bytes long")]
    Length { offset: u64, found: usize },
    #[error("the checksum of the frame at byte {offset} is wrong")]
    Checksum { offset: u64 },
    #[error("the frame at byte {offset} has a good checksum, but its content is not valid: {what}")]
    Content { offset: u64, what: String },
    #[error("it holds {found:?}, but its last frame at byte {offset} says {expected:?}")]
    Totals { offset: u64, found: Box<Totals>, expected: Box<Totals> },
    #[error("it goes on after its last frame, from byte {offset} on")]
    Trailing { offset: u64 },
}

/// Why a stream was not read to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream failed; its bytes may be fine.
    Io(io::Error),
    /// A format this program does not know.
    Format { found: u32, version: String },
    /// Not, or no longer, a whole snapshot.
    Damage(Damage),
}

/// The frames of one snapshot.
pub(super) struct Frames<R> {
    stream: R,
    header: Header,
    /// How far the stream is read.
    offset: u64,
    number: u32,
    payload: AlignedVec,
    totals: Totals,
    ended: bool,
}

impl<R: Read> Frames<R> {
    /// Reads the header.
    pub(super) fn new(mut stream: R) -> Result<Self, Fault> {
        let mut bytes = [0; HEADER_BYTES];
        fill(&mut stream, &mut bytes, 0, "header")?;
        let header = Header::parse(&bytes)?;
        if header.format != FORMAT {
            return Err(Fault::Format { found: header.format, version: header.version() });
        }
        Ok(Self {
            stream,
            header,
            offset: HEADER_BYTES as u64,
            number: 0,
            payload: AlignedVec::new(),
            totals: Totals::default(),
            ended: false,
        })
    }

    /// The next frame with swarms; `None` when the snapshot is complete and all its totals are
    /// right.
    pub(super) fn next_view(&mut self) -> Result<Option<View<'_>>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.offset;
        let mut head_bytes = [0; HEAD_BYTES];
        fill(&mut self.stream, &mut head_bytes, offset, "head of the frame")?;
        let head = Header::parse_head(&head_bytes, self.number, offset)?;

        // At most `PAYLOAD_BYTES_MAX`: `parse_head` has seen to it.
        self.payload.resize(head.payload_bytes, 0);
        fill(&mut self.stream, &mut self.payload, offset, "frame")?;
        if !self.header.holds(&head, &head_bytes, &self.payload) {
            return Err(Damage::Checksum { offset }.into());
        }
        self.offset += (HEAD_BYTES + head.payload_bytes) as u64;
        self.number = self.number.wrapping_add(1);
        match head {
            Head { kind: Kind::End, .. } => {
                self.end(offset)?;
                Ok(None)
            }
            Head { kind: Kind::Piece, .. } => {
                let view = View::new(&self.payload)
                    .map_err(|what| Fault::from(Damage::Content { offset, what }))?;
                view.count(&mut self.totals);
                Ok(Some(view))
            }
        }
    }

    /// The header, what has been read until now, and how many bytes that was; after the last
    /// frame, what the snapshot holds and how large it is.
    pub(super) fn summary(&self) -> (Header, Totals, u64) {
        (self.header, self.totals, self.offset)
    }

    fn end(&mut self, offset: u64) -> Result<(), Fault> {
        let payload = self.payload.as_slice().try_into();
        let expected = Totals::parse(payload.expect("`parse_head` compared the length"));
        if self.totals != expected {
            let (found, expected) = (Box::new(self.totals), Box::new(expected));
            return Err(Damage::Totals { offset, found, expected }.into());
        }
        match self.stream.read_exact(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ended = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(()) => Err(Damage::Trailing { offset: self.offset }.into()),
        }
    }
}

/// Fills `bytes`; a stream that ends before is damaged, in what begins at `offset`.
fn fill(
    stream: &mut impl Read,
    bytes: &mut [u8],
    offset: u64,
    what: &'static str,
) -> Result<(), Fault> {
    stream.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::Truncated { offset, what }.into(),
        _ => Fault::Io(error),
    })
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Fault::Damage(damage)
    }
}
