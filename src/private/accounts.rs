//! Users by passkey: read by every core with every announce, written when the site says so.
//!
//! The one map that cores share. A `dashmap`: a reader locks one of many parts for some nanoseconds, and
//! only a writer to the same part can make it wait.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use shard::private::{Passkey, User, UserId};

use super::packed::Packed;

/// All users who may announce.
pub struct Accounts {
    users: DashMap<Packed, Account>,
    passkeys: DashMap<UserId, Packed>,
    /// Who has changed since somebody began to compare all users with the database.
    changed: Mutex<Option<HashSet<UserId>>>,
}

/// Parts of a map with a lock each. Many: one that grows, or is read to its end for a snapshot, then
/// keeps a core waiting for some microseconds, not for milliseconds. With 500,000 users, 500 in each.
const PARTS: usize = 1024;

impl Default for Accounts {
    fn default() -> Self {
        Self {
            users: DashMap::with_shard_amount(PARTS),
            passkeys: DashMap::with_shard_amount(PARTS),
            changed: Mutex::default(),
        }
    }
}

/// One user, and how many of his clients are in swarms now.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: User,
    active: Active,
}

/// Clients of a user in swarms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Active {
    /// Those that have everything.
    pub seeding: u32,
    /// Those that do not.
    pub leeching: u32,
}

impl Accounts {
    /// Users who may announce.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// True while nobody may announce.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whose passkey this is.
    #[inline]
    pub fn find(&self, passkey: &Passkey) -> Option<User> {
        self.users.get(&Packed::new(passkey)).map(|account| account.user)
    }

    /// The passkey of a user.
    pub fn passkey(&self, id: UserId) -> Option<Passkey> {
        self.packed(id).map(Packed::passkey)
    }

    fn packed(&self, id: UserId) -> Option<Packed> {
        self.passkeys.get(&id).map(|packed| *packed)
    }

    /// A user by number.
    pub fn of(&self, id: UserId) -> Option<User> {
        self.users.get(&self.packed(id)?).map(|account| account.user)
    }

    /// Whose passkey this is, and what he is doing.
    pub fn look(&self, passkey: &Passkey) -> Option<(User, Active)> {
        self.users.get(&Packed::new(passkey)).map(|account| (account.user, account.active))
    }

    /// A user is there, with this passkey and these rights. His passkey before is good no longer, and
    /// whoever had this one has it no longer.
    pub fn put(&self, passkey: Passkey, user: User) {
        self.note(user.id);
        self.place(passkey, user);
    }

    fn place(&self, passkey: Passkey, user: User) {
        let passkey = Packed::new(&passkey);
        let active = match self.passkeys.insert(user.id, passkey) {
            Some(before) => self.users.remove(&before).map(|(_, account)| account.active),
            None => None,
        };
        let account = Account { user, active: active.unwrap_or_default() };
        if let Some(before) = self.users.insert(passkey, account)
            && before.user.id != user.id
        {
            self.passkeys.remove_if(&before.user.id, |_, his| *his == passkey);
        }
    }

    /// A user may announce no longer; who it was.
    pub fn remove(&self, id: UserId) -> Option<User> {
        self.note(id);
        self.take(id)
    }

    /// From now on it is noted who changes, or no longer.
    pub fn watch_changes(&self, on: bool) {
        *self.changed() = on.then(HashSet::new);
    }

    /// Does what [`Accounts::put`] does, unless the user has changed since [`Accounts::watch_changes`]: then
    /// what is here is newer than what somebody read before. Whether it was done.
    pub fn put_unless_changed(&self, passkey: Passkey, user: User) -> bool {
        // Under the lock: who changes him now notes that first.
        let changed = self.changed();
        let is_old = changed.as_ref().is_some_and(|changed| !changed.contains(&user.id));
        if is_old {
            self.place(passkey, user);
        }
        is_old
    }

    /// The same for [`Accounts::remove`].
    pub fn remove_unless_changed(&self, id: UserId) -> bool {
        let changed = self.changed();
        let is_old = changed.as_ref().is_some_and(|changed| !changed.contains(&id));
        is_old && self.take(id).is_some()
    }

    fn note(&self, id: UserId) {
        if let Some(changed) = &mut *self.changed() {
            changed.insert(id);
        }
    }

    fn changed(&self) -> MutexGuard<'_, Option<HashSet<UserId>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, id: UserId) -> Option<User> {
        let (_, passkey) = self.passkeys.remove(&id)?;
        let (_, account) = self.users.remove_if(&passkey, |_, account| account.user.id == id)?;
        Some(account.user)
    }

    /// A client of a user came, went, or finished. One who is not known any more is not counted.
    pub fn count(&self, id: UserId, change: impl FnOnce(&mut Active)) {
        if let Some(passkey) = self.packed(id)
            && let Some(mut account) = self.users.get_mut(&passkey)
        {
            change(&mut account.active);
        }
    }

    /// Shows every user, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(&Passkey, User)) {
        for account in &self.users {
            visit(&account.key().passkey(), account.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passkey(letter: char) -> Passkey {
        Passkey::new(letter.to_string().repeat(32).as_bytes()).unwrap()
    }

    fn user(id: u32) -> User {
        User { id: UserId(id), can_leech: true, hidden: false }
    }

    #[test]
    fn a_changed_passkey_keeps_the_user_and_what_he_does() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        accounts.count(UserId(1), |active| active.seeding += 2);
        accounts.put(passkey('b'), User { can_leech: false, ..user(1) });
        assert_eq!(accounts.find(&passkey('a')), None);
        let (now, active) = accounts.look(&passkey('b')).unwrap();
        assert!(!now.can_leech);
        assert_eq!(active, Active { seeding: 2, leeching: 0 });
        assert_eq!((accounts.len(), accounts.passkey(UserId(1))), (1, Some(passkey('b'))));
    }

    #[test]
    fn a_passkey_taken_over_belongs_to_one_user() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        accounts.put(passkey('a'), user(2));
        assert_eq!(accounts.find(&passkey('a')), Some(user(2)));
        assert_eq!(accounts.passkey(UserId(1)), None);
        assert_eq!(accounts.remove(UserId(1)), None);
        assert_eq!(accounts.find(&passkey('a')), Some(user(2)));
    }

    #[test]
    fn what_was_read_before_does_not_undo_what_came_since() {
        let accounts = Accounts::default();
        (1..=4).for_each(|id| accounts.put(passkey(char::from(b'a' + id as u8)), user(id)));
        assert!(!accounts.put_unless_changed(passkey('x'), user(1)), "nobody compares");
        accounts.watch_changes(true);
        accounts.put(passkey('n'), user(1));
        accounts.remove(UserId(2));
        assert!(!accounts.put_unless_changed(passkey('b'), user(1)));
        assert!(!accounts.put_unless_changed(passkey('c'), user(2)));
        assert!(!accounts.remove_unless_changed(UserId(1)));
        assert!(accounts.put_unless_changed(passkey('z'), user(3)));
        assert!(accounts.remove_unless_changed(UserId(4)));
        assert!(accounts.put_unless_changed(passkey('y'), user(5)));
        accounts.watch_changes(false);
        let known = [1, 2, 3, 4, 5].map(|id| accounts.passkey(UserId(id)));
        let expected = [Some('n'), None, Some('z'), None, Some('y')].map(|key| key.map(passkey));
        assert_eq!(known, expected);
    }

    #[test]
    fn a_removed_user_is_unknown() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        assert_eq!(accounts.remove(UserId(1)), Some(user(1)));
        assert_eq!(accounts.find(&passkey('a')), None);
        assert_eq!(accounts.remove(UserId(1)), None);
        accounts.count(UserId(1), |active| active.leeching += 1);
        assert!(accounts.is_empty());
    }
}
