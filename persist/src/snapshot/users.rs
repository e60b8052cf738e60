//! The payload of a frame of users, in the private mode: 37 bytes for each, and two more in a frame in
//! which some are in a group.

use rkyv::rancor;
use rkyv::rend::u16_le;
use rkyv::util::AlignedVec;
use shard::private::{GroupId, Passkey, User, UserId};

use super::format::PAYLOAD_BYTES_MAX;

/// Users in one frame at most.
pub(super) const USERS_MAX: usize = 8192;

const _: () = assert!(USERS_MAX * (4 + Passkey::BYTES + 1 + 2) + 256 <= PAYLOAD_BYTES_MAX);

/// Users; all columns have the same length.
#[derive(rkyv::Archive, rkyv::Serialize, Default)]
struct Columns {
    ids: Vec<u32>,
    passkeys: Vec<[u8; Passkey::BYTES]>,
    marks: Vec<u8>,
}

/// Users of whom some are in a group.
#[derive(rkyv::Archive, rkyv::Serialize, Default)]
struct Grouped {
    users: Columns,
    /// As long as the columns of `users`; or [`NO_GROUP`].
    groups: Vec<u16>,
}

const NO_GROUP: u16 = u16::MAX;

/// In `marks`.
const CAN_LEECH: u8 = 1;
const HIDDEN: u8 = 2;
/// May not announce; since format 4.
const DISABLED: u8 = 4;

/// A frame being filled.
#[derive(Default)]
pub(super) struct Filling {
    columns: Grouped,
    /// Somebody is in a group.
    grouped: bool,
}

impl Filling {
    pub(super) fn len(&self) -> usize {
        self.columns.users.ids.len()
    }

    /// Somebody in the frame is in a group: it goes into a frame of that kind.
    pub(super) fn is_grouped(&self) -> bool {
        self.grouped
    }

    /// Adds a user. The caller has made sure that there are fewer than [`USERS_MAX`].
    pub(super) fn push(&mut self, passkey: &Passkey, user: User, enabled: bool) {
        assert!(self.len() < USERS_MAX, "a frame has USERS_MAX users");
        let mut bytes = [0; Passkey::BYTES];
        bytes.copy_from_slice(passkey.reveal().as_bytes());
        let mark = (u8::from(user.can_leech) * CAN_LEECH)
            | (u8::from(user.hidden) * HIDDEN)
            | (u8::from(!enabled) * DISABLED);
        self.columns.users.ids.push(user.id.0);
        self.columns.users.passkeys.push(bytes);
        self.columns.users.marks.push(mark);
        self.columns.groups.push(user.group.map_or(NO_GROUP, |group| group.0));
        self.grouped |= user.group.is_some();
    }

    /// Archives what was pushed into `buffer` and starts an empty frame.
    pub(super) fn archive(
        &mut self,
        mut buffer: AlignedVec,
    ) -> Result<AlignedVec, rancor::BoxedError> {
        buffer.clear();
        let buffer = match self.grouped {
            true => rkyv::api::high::to_bytes_in(&self.columns, buffer)?,
            false => rkyv::api::high::to_bytes_in(&self.columns.users, buffer)?,
        };
        self.columns.users.ids.clear();
        self.columns.users.passkeys.clear();
        self.columns.users.marks.clear();
        self.columns.groups.clear();
        self.grouped = false;
        Ok(buffer)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy)]
pub(super) struct UsersView<'a> {
    columns: &'a ArchivedColumns,
    /// As many as there are users; none in a frame of users without groups.
    groups: &'a [u16_le],
}

impl<'a> UsersView<'a> {
    /// Validates an archive; the text says what is wrong with it, and shows no passkey.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, String> {
        let columns = rkyv::access::<ArchivedColumns, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        Self::of(columns, &[])
    }

    /// The same for users of whom some are in a group.
    pub(super) fn new_grouped(payload: &'a [u8]) -> Result<Self, String> {
        let grouped = rkyv::access::<ArchivedGrouped, rancor::BoxedError>(payload)
            .map_err(|error| error.to_string())?;
        if grouped.groups.len() != grouped.users.ids.len() {
            return Err("columns of users and their groups differ in length".to_owned());
        }
        let possible = |group: u16| group == NO_GROUP || GroupId(group) <= GroupId::MAX;
        if !grouped.groups.iter().all(|group| possible(group.to_native())) {
            return Err("a group that cannot be".to_owned());
        }
        Self::of(&grouped.users, &grouped.groups)
    }

    fn of(columns: &'a ArchivedColumns, groups: &'a [u16_le]) -> Result<Self, String> {
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
        if columns.marks.iter().any(|mark| mark & !(CAN_LEECH | HIDDEN | DISABLED) != 0) {
            return Err("no such right".to_owned());
        }
        Ok(Self { columns, groups })
    }

    pub(super) fn len(&self) -> usize {
        self.columns.ids.len()
    }

    /// The users, and whether they may announce, in the order of the file.
    pub(super) fn users(self) -> impl Iterator<Item = (Passkey, User, bool)> + use<'a> {
        let (columns, groups) = (self.columns, self.groups);
        let names = columns.ids.iter().zip(columns.passkeys.iter());
        names.zip(columns.marks.iter()).enumerate().map(move |(at, ((id, passkey), mark))| {
            let group = groups.get(at).map(|group| group.to_native());
            let passkey = Passkey::new(passkey).expect("`UsersView::new` looked at every passkey");
            let user = User {
                id: UserId(id.to_native()),
                can_leech: mark & CAN_LEECH != 0,
                hidden: mark & HIDDEN != 0,
                group: group.filter(|group| *group != NO_GROUP).map(GroupId),
            };
            (passkey, user, mark & DISABLED == 0)
        })
    }
}
