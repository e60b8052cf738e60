//! Users by passkey: read by every core with every announce, written when the site says so.
//!
//! The one thing that cores share: maps of `dashmap`. A reader locks one of many parts for some nanoseconds,
//! and only a writer to the same part can make it wait.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use shard::PeerState;
use shard::private::{GroupId, Passkey, User, UserId};

use super::groups::Groups;
use super::packed::Packed;
use super::pages::Pages;

/// All users that are known: those who may announce, and those who may not any more.
pub struct Accounts {
    /// Whose account to look at. A passkey is good where the account says the same one: between two steps of
    /// a change this map may be behind.
    holders: DashMap<Packed, UserId>,
    accounts: Pages<Account>,
    /// How many may announce.
    enabled: AtomicUsize,
    /// Users of whom nothing is known any more, whose clients may still be in swarms.
    removed: DashMap<UserId, ()>,
    /// Who has changed since somebody began to compare all users with the database.
    changed: Mutex<Option<HashSet<UserId>>>,
    groups: Groups,
}

/// Parts of a map with a lock each. Many: one that grows, or is read to its end for a snapshot, then
/// keeps a core waiting for some microseconds, not for milliseconds. With 500,000 users, 500 in each.
const PARTS: usize = 1024;

impl Default for Accounts {
    fn default() -> Self {
        Self {
            holders: DashMap::with_shard_amount(PARTS),
            accounts: Pages::with_parts(PARTS),
            enabled: AtomicUsize::new(0),
            removed: DashMap::new(),
            changed: Mutex::default(),
            groups: Groups::default(),
        }
    }
}

/// What there is of the user of a number, in 44 bytes: his passkey and rights, and how many of his clients
/// are in swarms now.
#[derive(Clone, Copy)]
struct Account {
    passkey: Packed,
    active: Active,
    group: Option<GroupId>,
    can_leech: bool,
    hidden: bool,
    /// May announce.
    enabled: bool,
}

impl Account {
    fn user(&self, id: UserId) -> User {
        let &Self { can_leech, hidden, group, .. } = self;
        User { id, can_leech, hidden, group }
    }
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
    /// Those that do not, and want nothing more (BEP 21).
    pub partial: u32,
    /// Those that download.
    pub leeching: u32,
}

impl Active {
    /// How many are this.
    pub fn of(&mut self, state: PeerState) -> &mut u32 {
        match state {
            PeerState::Seeder => &mut self.seeding,
            PeerState::PartialSeed => &mut self.partial,
            PeerState::Leecher => &mut self.leeching,
        }
    }
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
        self.look(passkey).map(|(user, _)| user)
    }

    /// Whose passkey this is, of those who may announce, and what he is doing.
    #[inline]
    pub fn look(&self, passkey: &Passkey) -> Option<(User, Active)> {
        let (id, account) = self.held(passkey)?;
        account.enabled.then(|| (account.user(id), account.active))
    }

    #[inline]
    fn held(&self, passkey: &Passkey) -> Option<(UserId, Account)> {
        let passkey = Packed::new(passkey);
        let id = *self.holders.get(&passkey)?;
        let account = self.accounts.get(id).filter(|account| account.passkey == passkey)?;
        Some((id, account))
    }

    /// Who has this passkey, whether he may announce or not.
    pub fn holder(&self, passkey: &Passkey) -> Option<UserId> {
        self.held(passkey).map(|(id, _)| id)
    }

    /// The passkey of a user, who may not be able to announce with it.
    pub fn passkey(&self, id: UserId) -> Option<Passkey> {
        self.accounts.get(id).map(|account| account.passkey.passkey())
    }

    /// A user who may announce, by number.
    pub fn of(&self, id: UserId) -> Option<User> {
        self.accounts.get(id).filter(|account| account.enabled).map(|account| account.user(id))
    }

    /// All that is known of a user.
    pub fn known(&self, id: UserId) -> Option<Known> {
        let account = self.accounts.get(id)?;
        let Account { passkey, active, enabled, .. } = account;
        Some(Known { user: account.user(id), passkey: passkey.passkey(), enabled, active })
    }

    /// A user may announce, with this passkey and these rights. His passkey before is good no longer, and
    /// whoever had this one has it no longer.
    pub fn put(&self, passkey: Passkey, user: User) {
        self.note(user.id);
        self.set(passkey, user, true);
    }

    /// A user is there and may not announce: what is known of him stays known.
    pub fn disable(&self, passkey: Passkey, user: User) {
        self.note(user.id);
        self.set(passkey, user, false);
    }

    fn set(&self, passkey: Passkey, user: User, enabled: bool) {
        let passkey = Packed::new(&passkey);
        let User { id, can_leech, hidden, group } = user;
        let before = self.accounts.put(id, |before| {
            let active = before.map(|account| account.active).unwrap_or_default();
            Account { passkey, active, group, can_leech, hidden, enabled }
        });
        self.enabled.fetch_add(usize::from(enabled), Ordering::Relaxed);
        self.no_longer(before.as_ref());
        if before.is_some_and(|before| before.passkey == passkey) {
            return;
        }
        if let Some(before) = before {
            self.let_go(before.passkey, id);
        }
        if let Some(other) = self.holders.insert(passkey, id).filter(|other| *other != id) {
            let other = self.accounts.remove_if(other, |other| other.passkey == passkey);
            self.no_longer(other.as_ref());
        }
    }

    /// One account less, if it was one who may announce.
    fn no_longer(&self, account: Option<&Account>) {
        let enabled = account.is_some_and(|account| account.enabled);
        self.enabled.fetch_sub(usize::from(enabled), Ordering::Relaxed);
    }

    /// A passkey is this user's no longer.
    fn let_go(&self, passkey: Packed, id: UserId) {
        self.holders.remove_if(&passkey, |_, holder| *holder == id);
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
        self.note(id);
        self.forget(id)
    }

    fn forget(&self, id: UserId) -> Option<User> {
        self.removed.insert(id, ());
        let account = self.accounts.remove_if(id, |_| true)?;
        self.let_go(account.passkey, id);
        self.no_longer(Some(&account));
        Some(account.user(id))
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
            self.set(passkey, user, true);
        }
        is_old
    }

    /// The same for [`Accounts::remove`].
    pub fn remove_unless_changed(&self, id: UserId) -> bool {
        let changed = self.changed();
        let is_old = changed.as_ref().is_some_and(|changed| !changed.contains(&id));
        is_old && self.forget(id).is_some()
    }

    fn note(&self, id: UserId) {
        if let Some(changed) = &mut *self.changed() {
            changed.insert(id);
        }
    }

    fn changed(&self) -> MutexGuard<'_, Option<HashSet<UserId>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of a user came, went, or finished. One who is not known any more is not counted.
    pub fn count(&self, id: UserId, change: impl FnOnce(&mut Active)) {
        self.accounts.change(id, |account| change(&mut account.active));
    }

    /// The groups of users.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Whether a user has as many downloads as his group allows: clients in swarms that download, each for
    /// itself, on whichever core. Who announces on two cores in the same moment may get one too many.
    #[inline]
    pub fn downloads_full(&self, user: &User) -> bool {
        user.group.is_some_and(|group| self.reaches(user.id, group))
    }

    fn reaches(&self, id: UserId, group: GroupId) -> bool {
        let Some(most) = self.groups.downloads_max(group) else { return false };
        self.accounts.get(id).is_some_and(|account| account.active.leeching >= most)
    }

    /// Shows every user who may announce, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(&Passkey, User)) {
        self.accounts.for_each(|id, account| {
            if account.enabled {
                visit(&account.passkey.passkey(), account.user(id));
            }
        });
    }
}

const _: () = assert!(size_of::<Option<Account>>() == 44, "there may be half a million");

#[cfg(test)]
mod tests {
    use super::*;

    fn passkey(letter: char) -> Passkey {
        Passkey::new(letter.to_string().repeat(32).as_bytes()).unwrap()
    }

    fn user(id: u32) -> User {
        User { id: UserId(id), can_leech: true, hidden: false, group: None }
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
        assert_eq!(active, Active { seeding: 2, ..Active::default() });
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
    fn a_group_bounds_the_downloads_of_each_of_its_users() {
        let accounts = Accounts::default();
        let in_group = User { group: Some(GroupId(4)), ..user(1) };
        accounts.put(passkey('a'), in_group);
        accounts.put(passkey('b'), user(2));
        for id in [1, 2] {
            accounts.count(UserId(id), |active| (active.leeching, active.partial) = (2, 9));
        }
        assert!(!accounts.downloads_full(&in_group), "there is no such group yet");
        for (downloads_max, full) in
            [(None, false), (Some(3), false), (Some(2), true), (Some(0), true)]
        {
            accounts.groups().put(GroupId(4), downloads_max);
            assert_eq!(accounts.downloads_full(&in_group), full, "{downloads_max:?}");
            assert!(!accounts.downloads_full(&user(2)));
        }
        accounts.groups().remove(GroupId(4));
        assert!(!accounts.downloads_full(&in_group));
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
        assert_eq!(
            (known.enabled, known.active),
            (false, Active { seeding: 2, ..Active::default() })
        );
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
