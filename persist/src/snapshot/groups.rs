//! The payload of a frame of groups of users, in the private mode.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::private::GroupId;

use super::format::{PAYLOAD_BYTES_MAX, archive_taken};

/// Groups in one frame at most.
pub(super) const GROUPS_MAX: usize = 8192;

const _: () = assert!(GROUPS_MAX * 6 + 256 <= PAYLOAD_BYTES_MAX);

/// Groups; both columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default)]
struct Columns {
    ids: Vec<u16>,
    /// Or [`ANY_NUMBER`].
    downloads_max: Vec<u32>,
}

/// No bound; as one it would never be reached.
const ANY_NUMBER: u32 = u32::MAX;

/// A frame being filled.
#[derive(Default)]
pub(super) struct Filling {
    columns: Columns,
}

impl Filling {
    pub(super) fn len(&self) -> usize {
        self.columns.ids.len()
    }

    /// Adds a group. The caller has made sure that there are fewer than [`GROUPS_MAX`].
    pub(super) fn push(&mut self, id: GroupId, downloads_max: Option<u32>) {
        assert!(self.len() < GROUPS_MAX, "a frame has GROUPS_MAX groups");
        self.columns.ids.push(id.0);
        self.columns.downloads_max.push(downloads_max.unwrap_or(ANY_NUMBER));
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(&mut self, buffer: AlignedVec) -> Result<AlignedVec, rancor::BoxedError> {
        archive_taken(&mut self.columns, buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct GroupsView<'a> {
    columns: &'a ArchivedColumns,
}

impl<'a> GroupsView<'a> {
    /// Validates an archive; the text says what is wrong with it.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        if columns.ids.len() > GROUPS_MAX {
            return Err("too many groups".to_owned());
        }
        if columns.downloads_max.len() != columns.ids.len() {
            return Err("columns of groups differ in length".to_owned());
        }
        if columns.ids.iter().any(|id| GroupId(id.to_native()) > GroupId::MAX) {
            return Err("a group that cannot be".to_owned());
        }
        Ok(Self { columns })
    }

    /// The groups, in the order of the file.
    pub(super) fn groups(self) -> impl Iterator<Item = (GroupId, Option<u32>)> + use<'a> {
        let columns = self.columns;
        columns.ids.iter().zip(columns.downloads_max.iter()).map(|(id, downloads_max)| {
            let downloads_max = Some(downloads_max.to_native());
            (GroupId(id.to_native()), downloads_max.filter(|most| *most != ANY_NUMBER))
        })
    }
}
