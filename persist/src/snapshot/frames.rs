//! Reads a snapshot from any stream, frame by frame, and believes nothing unchecked.
//!
//! One buffer of at most `PAYLOAD_BYTES_MAX` is reused, so the memory does not depend on the file.

use std::io::{self, Read};

use rkyv::util::AlignedVec;

use super::columns::View;
use super::deletions::DeletionsView;
use super::format::{HEAD_BYTES, HEADER_BYTES, Header, Kind, Totals, is_read};
use super::formers::FormersView;
use super::groups::GroupsView;
use super::hybrids::HybridsView;
use super::rules::RulesView;
use super::torrents::TorrentsView;
use super::users::UsersView;

/// What is wrong with a file, and at which byte.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum Damage {
    #[error("it does not begin like a snapshot")]
    Magic,
    #[error("the checksum of its header (bytes 0 to {HEADER_BYTES}) is wrong")]
    Header,
    #[error("its header names an unknown mode, {found}")]
    Mode { found: u32 },
    #[error("it ends early: the {what} at byte {offset} is not complete")]
    Truncated { offset: u64, what: &'static str },
    #[error("the frame at byte {offset} is of unknown kind {found}")]
    Kind { offset: u64, found: u32 },
    #[error("the frame at byte {offset} is of kind {found}, which does not belong there")]
    Order { offset: u64, found: u32 },
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

/// What a frame holds: its archive is valid, and its columns fit each other.
pub(super) enum Content<'a> {
    Swarms(View<'a>),
    Users(UsersView<'a>),
    Groups(GroupsView<'a>),
    Formers(FormersView<'a>),
    Rules(RulesView<'a>),
    Torrents(TorrentsView<'a>),
    Deletions(DeletionsView<'a>),
    Hybrids(HybridsView<'a>),
}

/// The frames of one snapshot.
pub(super) struct Frames<R> {
    stream: R,
    header: Header,
    /// How far the stream is read.
    offset: u64,
    number: u32,
    /// Where the last frame belongs; see [`Kind::place`].
    place: u8,
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
        if !is_read(header.format) {
            return Err(Fault::Format { found: header.format, version: header.version() });
        }
        Ok(Self {
            stream,
            header,
            offset: HEADER_BYTES as u64,
            number: 0,
            place: 0,
            payload: AlignedVec::new(),
            totals: Totals::default(),
            ended: false,
        })
    }

    /// What the next frame holds; `None` when the snapshot is complete and all its totals are right.
    pub(super) fn next_content(&mut self) -> Result<Option<Content<'_>>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.offset;
        let mut head_bytes = [0; HEAD_BYTES];
        fill(&mut self.stream, &mut head_bytes, offset, "head of the frame")?;
        let head = self.header.parse_head(&head_bytes, self.number, offset)?;

        // At most `PAYLOAD_BYTES_MAX`: `parse_head` has seen to it.
        self.payload.resize(head.payload_bytes, 0);
        fill(&mut self.stream, &mut self.payload, offset, "frame")?;
        if !self.header.holds(&head, &head_bytes, &self.payload) {
            return Err(Damage::Checksum { offset }.into());
        }
        if head.kind.place() < self.place {
            return Err(Damage::Order { offset, found: head.kind.code() }.into());
        }
        self.place = head.kind.place();
        self.offset += (HEAD_BYTES + head.payload_bytes) as u64;
        self.number = self.number.wrapping_add(1);
        if head.kind == Kind::End {
            self.end(offset)?;
            return Ok(None);
        }
        let content = Content::new(head.kind, &self.payload)
            .map_err(|what| Fault::from(Damage::Content { offset, what }))?;
        content.count(&mut self.totals);
        Ok(Some(content))
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

impl<'a> Content<'a> {
    /// Validates a payload; the text says what is wrong with it.
    fn new(kind: Kind, payload: &'a [u8]) -> Result<Self, String> {
        Ok(match kind {
            Kind::Swarms => Content::Swarms(View::new(payload)?),
            Kind::Users => Content::Users(UsersView::new(payload)?),
            Kind::GroupedUsers => Content::Users(UsersView::new_grouped(payload)?),
            Kind::Groups => Content::Groups(GroupsView::new(payload)?),
            Kind::Formers => Content::Formers(FormersView::new(payload)?),
            Kind::Rules => Content::Rules(RulesView::new(payload)?),
            Kind::Torrents => Content::Torrents(TorrentsView::new(payload)?),
            Kind::PortedTorrents => Content::Torrents(TorrentsView::new_ported(payload)?),
            Kind::Deletions => Content::Deletions(DeletionsView::new(payload)?),
            Kind::Hybrids => Content::Hybrids(HybridsView::new(payload)?),
            Kind::End => unreachable!("the last frame holds the totals"),
        })
    }

    /// Adds the frame to the totals of its file.
    fn count(&self, totals: &mut Totals) {
        totals.frames += 1;
        match self {
            Content::Swarms(view) => view.count(totals),
            Content::Users(view) => totals.users += view.len() as u64,
            Content::Groups(_) | Content::Formers(_) | Content::Hybrids(_) => {}
            Content::Rules(view) => totals.client_rules += view.len() as u64,
            Content::Torrents(view) => view.count(totals),
            Content::Deletions(view) => totals.deletions += view.len() as u64,
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
