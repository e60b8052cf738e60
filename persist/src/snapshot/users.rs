//! The payload of a frame of users, in the private mode: 37 bytes for each.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::private::{Passkey, User, UserId};

use super::format::PAYLOAD_BYTES_MAX;

/// Users in one frame at most.
pub(super) const USERS_MAX: usize = 8192;

const _: () = assert!(USERS_MAX * (4 + Passkey::BYTES + 1) + 256 <= PAYLOAD_BYTES_MAX);

/// Users; all columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default)]
struct Columns {
    ids: Vec<u32>,
    passkeys: Vec<[u8; Passkey::BYTES]>,
    marks: Vec<u8>,
}

/// In `marks`.
const CAN_LEECH: u8 = 1;
const HIDDEN: u8 = 2;

/// A frame being filled.
#[derive(Default)]
pub(super) struct Filling {
    columns: Columns,
}

impl Filling {
    pub(super) fn len(&self) -> usize {
        self.columns.ids.len()
    }

    /// Adds a user. The caller has made sure that there are fewer than [`USERS_MAX`].
    pub(super) fn push(&mut self, passkey: &Passkey, user: User) {
        assert!(self.len() < USERS_MAX, "a frame has USERS_MAX users");
        let mut bytes = [0; Passkey::BYTES];
        bytes.copy_from_slice(passkey.reveal().as_bytes());
        let mark = (u8::from(user.can_leech) * CAN_LEECH) | (u8::from(user.hidden) * HIDDEN);
        self.columns.ids.push(user.id.0);
        self.columns.passkeys.push(bytes);
        self.columns.marks.push(mark);
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(
        &mut self,
        mut buffer: AlignedVec,
    ) -> Result<AlignedVec, rancor::BoxedError> {
        buffer.clear();
        let buffer = rkyv::api::high::to_bytes_in(&self.columns, buffer)?;
        self.columns.ids.clear();
        self.columns.passkeys.clear();
        self.columns.marks.clear();
        Ok(buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct UsersView<'a> {
    columns: &'a ArchivedColumns,
}

impl<'a> UsersView<'a> {
    /// Validates an archive; the text says what is wrong with it, and shows no passkey.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        let users = columns.ids.len();
        if users > USERS_MAX {
            return Err("too many users".to_owned());
        }
        if [columns.passkeys.len(), columns.marks.len()] != [users; 2] {
            return Err("columns of users differ in length".to_owned());
        }
        if columns.passkeys.iter().any(|bytes| Passkey::new(bytes).is_err()) {
            return Err("a passkey that is none".to_owned());
        }
        if columns.marks.iter().any(|mark| mark & !(CAN_LEECH | HIDDEN) != 0) {
            return Err("no such right".to_owned());
        }
        Ok(Self { columns })
    }

    pub(super) fn len(&self) -> usize {
        self.columns.ids.len()
    }

    /// The users, in the order of the file.
    pub(super) fn users(self) -> impl Iterator<Item = (Passkey, User)> + use<'a> {
        let columns = self.columns;
        let names = columns.ids.iter().zip(columns.passkeys.iter());
        names.zip(columns.marks.iter()).map(|((id, passkey), mark)| {
            let passkey = Passkey::new(passkey).expect("`UsersView::new` looked at every passkey");
            let user = User {
                id: UserId(id.to_native()),
                can_leech: mark & CAN_LEECH != 0,
                hidden: mark & HIDDEN != 0,
            };
            (passkey, user)
        })
    }
}
