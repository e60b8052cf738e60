//! Users by passkey: read by every core with every announce, written when the site says so.
//!
//! The one map that cores share. A `dashmap`: a reader locks one of many parts for some nanoseconds, and
//! only a writer to the same part can make it wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use shard::private::{Passkey, User, UserId};

/// All users that are known: those who may announce, and those who may not any more.
#[derive(Debug)]
pub struct Accounts {
    users: DashMap<Passkey, Account>,
    passkeys: DashMap<UserId, Passkey>,
    /// How many may announce.
    enabled: AtomicUsize,
    /// Users of whom nothing is known any more, whose clients may still be in swarms.
    removed: DashMap<UserId, ()>,
}

/// Parts of a map with a lock each. Many: one that grows, or is read to its end for a snapshot, then
/// keeps a core waiting for some microseconds, not for milliseconds. With 500,000 users, 500 in each.
const PARTS: usize = 1024;

impl Default for Accounts {
    fn default() -> Self {
        Self {
            users: DashMap::with_shard_amount(PARTS),
            passkeys: DashMap::with_shard_amount(PARTS),
            enabled: AtomicUsize::new(0),
            removed: DashMap::new(),
        }
    }
}

/// One user, and how many of his clients are in swarms now.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: User,
    active: Active,
    /// May announce.
    enabled: bool,
}

/// All that is known of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The user.
    pub user: User,
    /// The secret of the announce URL.
    pub passkey: Passkey,
    /// May announce.
    pub enabled: bool,
    /// How many of the user's clients are in swarms.
    pub active: Active,
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
        self.enabled.load(Ordering::Relaxed)
    }

    /// True while nobody may announce.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose passkey this is, of those who may announce.
    #[inline]
    pub fn find(&self, passkey: &Passkey) -> Option<User> {
        self.users.get(passkey).filter(|account| account.enabled).map(|account| account.user)
    }

    /// The passkey of a user, who may not be able to announce with it.
    pub fn passkey(&self, id: UserId) -> Option<Passkey> {
        self.passkeys.get(&id).map(|passkey| *passkey)
    }

    /// A user who may announce, by number.
    pub fn of(&self, id: UserId) -> Option<User> {
        self.find(&self.passkey(id)?)
    }

    /// All that is known of a user.
    pub fn known(&self, id: UserId) -> Option<Known> {
        let passkey = self.passkey(id)?;
        let account = self.users.get(&passkey)?;
        let Account { user, active, enabled } = *account;
        (user.id == id).then_some(Known { user, passkey, enabled, active })
    }

    /// Who has this passkey, whether he may announce or not.
    pub fn holder(&self, passkey: &Passkey) -> Option<UserId> {
        self.users.get(passkey).map(|account| account.user.id)
    }

    /// Whose passkey this is, of those who may announce, and what he is doing.
    pub fn look(&self, passkey: &Passkey) -> Option<(User, Active)> {
        let account = self.users.get(passkey).filter(|account| account.enabled)?;
        Some((account.user, account.active))
    }

    /// A user may announce, with this passkey and these rights. His passkey before is good no longer, and
    /// whoever had this one has it no longer.
    pub fn put(&self, passkey: Passkey, user: User) {
        self.set(passkey, user, true);
    }

    /// A user is there and may not announce: what is known of him stays known.
    pub fn disable(&self, passkey: Passkey, user: User) {
        self.set(passkey, user, false);
    }

    fn set(&self, passkey: Passkey, user: User, enabled: bool) {
        let before = self.passkeys.insert(user.id, passkey);
        if before == Some(passkey)
            && let Some(mut account) = self.users.get_mut(&passkey)
            && account.user.id == user.id
        {
            // In place: nobody must see the passkey gone meanwhile.
            self.enabled.fetch_add(usize::from(enabled), Ordering::Relaxed);
            self.enabled.fetch_sub(usize::from(account.enabled), Ordering::Relaxed);
            (account.user, account.enabled) = (user, enabled);
            return;
        }
        let before = before.and_then(|before| self.take(&before, user.id));
        let active = before.map(|account| account.active).unwrap_or_default();
        self.enabled.fetch_add(usize::from(enabled), Ordering::Relaxed);
        if let Some(before) = self.users.insert(passkey, Account { user, active, enabled }) {
            self.enabled.fetch_sub(usize::from(before.enabled), Ordering::Relaxed);
            if before.user.id != user.id {
                self.passkeys.remove_if(&before.user.id, |_, his| *his == passkey);
            }
        }
    }

    /// Whether cores have to hear that a user is like this from now on: they know him otherwise, or were
    /// told that he is gone. Asked before [`Accounts::put`].
    pub fn is_news(&self, user: User) -> bool {
        match self.known(user.id) {
            Some(known) => !known.enabled || known.user != user,
            None => self.removed.remove(&user.id).is_some(),
        }
    }

    /// Nothing is known of a user any more; who it was.
    pub fn remove(&self, id: UserId) -> Option<User> {
        self.removed.insert(id, ());
        let (_, passkey) = self.passkeys.remove(&id)?;
        self.take(&passkey, id).map(|account| account.user)
    }

    fn take(&self, passkey: &Passkey, id: UserId) -> Option<Account> {
        let (_, account) = self.users.remove_if(passkey, |_, account| account.user.id == id)?;
        self.enabled.fetch_sub(usize::from(account.enabled), Ordering::Relaxed);
        Some(account)
    }

    /// A client of a user came, went, or finished. One who is not known any more is not counted.
    pub fn count(&self, id: UserId, change: impl FnOnce(&mut Active)) {
        if let Some(passkey) = self.passkey(id)
            && let Some(mut account) = self.users.get_mut(&passkey)
        {
            change(&mut account.active);
        }
    }

    /// Shows every user who may announce, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(&Passkey, User)) {
        for account in self.users.iter().filter(|account| account.enabled) {
            visit(account.key(), account.user);
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
    fn a_disabled_user_may_not_announce_and_stays_known() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        accounts.count(UserId(1), |active| active.seeding += 2);
        accounts.disable(passkey('a'), user(1));
        assert_eq!((accounts.find(&passkey('a')), accounts.of(UserId(1))), (None, None));
        assert_eq!((accounts.look(&passkey('a')), accounts.len()), (None, 0));
        let known = accounts.known(UserId(1)).unwrap();
        // His clients leave their swarms one by one, and are counted when they do.
        assert_eq!((known.enabled, known.active), (false, Active { seeding: 2, leeching: 0 }));
        assert_eq!(accounts.holder(&passkey('a')), Some(UserId(1)));
        accounts.put(known.passkey, known.user);
        assert_eq!((accounts.find(&passkey('a')), accounts.len()), (Some(user(1)), 1));
        accounts.disable(passkey('b'), user(2));
        accounts.put(passkey('b'), user(1));
        assert_eq!((accounts.known(UserId(2)), accounts.len()), (None, 1));
    }

    #[test]
    fn a_removed_user_is_unknown() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        assert!(!accounts.is_news(user(1)) && accounts.is_news(User { hidden: true, ..user(1) }));
        assert_eq!(accounts.remove(UserId(1)), Some(user(1)));
        assert_eq!(accounts.find(&passkey('a')), None);
        assert!(accounts.is_news(user(1)) && !accounts.is_news(user(2)));
        assert_eq!(accounts.remove(UserId(1)), None);
        accounts.count(UserId(1), |active| active.leeching += 1);
        assert!(accounts.is_empty());
    }
}
