//! The payload of a frame of former passkeys, in the private mode: 40 bytes for each.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::Seconds;
use shard::private::{Passkey, UserId};

use super::format::{PAYLOAD_BYTES_MAX, archive_taken};

/// Former passkeys in one frame at most.
pub(super) const FORMERS_MAX: usize = 8192;

const _: () = assert!(FORMERS_MAX * (4 + Passkey::BYTES + 4) + 256 <= PAYLOAD_BYTES_MAX);

/// Former passkeys; all columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default)]
struct Columns {
    users: Vec<u32>,
    passkeys: Vec<[u8; Passkey::BYTES]>,
    good_until: Vec<u32>,
}

/// A frame being filled.
#[derive(Default)]
pub(super) struct Filling {
    columns: Columns,
}

impl Filling {
    pub(super) fn len(&self) -> usize {
        self.columns.users.len()
    }

    /// Adds one. The caller has made sure that there are fewer than [`FORMERS_MAX`].
    pub(super) fn push(&mut self, user: UserId, passkey: &Passkey, good_until: Seconds) {
        assert!(self.len() < FORMERS_MAX, "a frame has FORMERS_MAX former passkeys");
        let mut bytes = [0; Passkey::BYTES];
        bytes.copy_from_slice(passkey.reveal().as_bytes());
        self.columns.users.push(user.0);
        self.columns.passkeys.push(bytes);
        self.columns.good_until.push(good_until.0);
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(&mut self, buffer: AlignedVec) -> Result<AlignedVec, rancor::BoxedError> {
        archive_taken(&mut self.columns, buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct FormersView<'a> {
    columns: &'a ArchivedColumns,
}

impl<'a> FormersView<'a> {
    /// Validates an archive; the text says what is wrong with it, and shows no passkey.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        let formers = columns.users.len();
        if formers > FORMERS_MAX {
            return Err("too many former passkeys".to_owned());
        }
        if [columns.passkeys.len(), columns.good_until.len()] != [formers; 2] {
            return Err("columns of former passkeys differ in length".to_owned());
        }
        if columns.passkeys.iter().any(|bytes| Passkey::new(bytes).is_err()) {
            return Err("a passkey that is none".to_owned());
        }
        Ok(Self { columns })
    }

    /// Whose they are and until when they are good, in the order of the file.
    pub(super) fn formers(self) -> impl Iterator<Item = (UserId, Passkey, Seconds)> + use<'a> {
        let columns = self.columns;
        let names = columns.users.iter().zip(columns.passkeys.iter());
        names.zip(columns.good_until.iter()).map(|((user, passkey), good_until)| {
            let passkey =
                Passkey::new(passkey).expect("`FormersView::new` looked at every passkey");
            (UserId(user.to_native()), passkey, Seconds(good_until.to_native()))
        })
    }
}
