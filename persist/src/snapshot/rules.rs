//! The payload of a frame of client rules, in the private mode.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::private::ClientPrefix;

use super::format::{PAYLOAD_BYTES_MAX, archive_taken};

/// Rules in one frame at most.
pub(super) const RULES_MAX: usize = 4096;

const _: () = assert!(RULES_MAX * 21 + 256 <= PAYLOAD_BYTES_MAX);

/// Rules; both columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default, Debug)]
struct Columns {
    prefixes: Vec<[u8; 20]>,
    /// The length of the prefix, and [`ALLOWED`].
    marks: Vec<u8>,
}

const ALLOWED: u8 = 0x80;

/// A frame being filled.
#[derive(Default, Debug)]
pub(super) struct Filling {
    columns: Columns,
}

impl Filling {
    pub(super) fn len(&self) -> usize {
        self.columns.marks.len()
    }

    /// Adds a rule. The caller has made sure that there are fewer than [`RULES_MAX`].
    pub(super) fn push(&mut self, prefix: &ClientPrefix, allow: bool) {
        assert!(self.len() < RULES_MAX, "a frame has RULES_MAX rules");
        let mut bytes = [0; 20];
        let length = prefix.bytes().len();
        bytes[..length].copy_from_slice(prefix.bytes());
        self.columns.prefixes.push(bytes);
        self.columns.marks.push(length as u8 | (u8::from(allow) * ALLOWED));
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(&mut self, buffer: AlignedVec) -> Result<AlignedVec, rancor::BoxedError> {
        archive_taken(&mut self.columns, buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct RulesView<'a> {
    columns: &'a ArchivedColumns,
}

impl<'a> RulesView<'a> {
    /// Validates an archive; the text says what is wrong with it.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        if columns.marks.len() > RULES_MAX {
            return Err("too many client rules".to_owned());
        }
        if columns.prefixes.len() != columns.marks.len() {
            return Err("columns of client rules differ in length".to_owned());
        }
        let view = Self { columns };
        match view.read().all(|(prefix, _)| prefix.is_some()) {
            true => Ok(view),
            false => Err("a client rule whose prefix is none".to_owned()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.marks.len()
    }

    /// The rules, in the order of the file.
    pub(super) fn rules(self) -> impl Iterator<Item = (ClientPrefix, bool)> + use<'a> {
        self.read().map(|(prefix, allow)| {
            (prefix.expect("`RulesView::new` looked at every prefix"), allow)
        })
    }

    fn read(self) -> impl Iterator<Item = (Option<ClientPrefix>, bool)> + use<'a> {
        let columns = self.columns;
        columns.prefixes.iter().zip(columns.marks.iter()).map(|(bytes, mark)| {
            let prefix = bytes.get(..usize::from(mark & !ALLOWED));
            (prefix.and_then(ClientPrefix::new), mark & ALLOWED != 0)
        })
    }
}
