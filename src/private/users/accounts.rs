//! Users by passkey: read by every core with every announce, written when the site says so.
//!
//! The one thing that cores share: maps of `dashmap`. A reader locks one of many parts for some nanoseconds,
//! and only a writer to the same part can make it wait.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use persist::journal::Columns;
use persist::postgres::SaidAt;
use shard::private::{GroupId, Passkey, Stamp, User, UserId};
use shard::{PeerState, Seconds};

use super::formers::{Former, Formers};
use super::groups::Groups;
use super::packed::Packed;
use super::pages::Pages;
use super::unwritten::Unwritten;

/// All users that are known: those who may announce, and those who may not any more.
pub struct Accounts {
    /// Whose account to look at. A passkey is good where the account says the same one: between two steps of
    /// a change this map may be behind.
    holders: DashMap<Packed, UserId>,
    accounts: Pages<Account>,
    /// Passkeys of before that are good for a while.
    formers: Formers,
    /// How many may announce.
    enabled: AtomicUsize,
    /// Users of whom nothing is known any more, whose clients may still be in swarms.
    removed: DashMap<UserId, ()>,
    /// Held while a user is changed after the start: what is true afterwards follows from what is before.
    pending: Mutex<Pending>,
    groups: Groups,
}

/// What is to be held against rows of the database that were read before.
#[derive(Default)]
struct Pending {
    /// Who has changed since somebody began to compare all users with the database.
    changed: Option<HashSet<UserId>>,
    /// What was said through the tracker and may not be there yet.
    unwritten: Unwritten<UserId>,
    /// The same of former passkeys.
    unwritten_formers: Unwritten<UserId>,
}

/// Parts of a map with a lock each. Many: one that grows, or is read to its end for a snapshot, then
/// keeps a core waiting for some microseconds, not for milliseconds. With 500,000 users, 500 in each.
const PARTS: usize = 1024;

impl Default for Accounts {
    fn default() -> Self {
        Self {
            holders: DashMap::with_shard_amount(PARTS),
            accounts: Pages::with_parts(PARTS),
            formers: Formers::default(),
            enabled: AtomicUsize::new(0),
            removed: DashMap::new(),
            pending: Mutex::default(),
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
    /// Until when the passkey before this one is good, or was; see [`Known::at`].
    pub former_until: Option<Seconds>,
}

impl Known {
    /// As it is at this moment: a former passkey that is over is none.
    #[must_use]
    pub fn at(self, now: Seconds) -> Self {
        Self { former_until: self.former_until.filter(|until| now < *until), ..self }
    }
}

/// What is said of a user through the tracker: only what is there.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    /// Who.
    pub id: UserId,
    /// The secret of the announce URL. Whose row is made is given one.
    pub passkey: Option<Passkey>,
    /// Until when the passkey that he has now stays good, where he is given another; at once no longer unless said.
    pub former_until: Option<Seconds>,
    /// May download; true for a new one unless said.
    pub can_leech: Option<bool>,
    /// Addresses are written nowhere; false for a new one unless said.
    pub hidden: Option<bool>,
    /// May announce; true for a new one unless said.
    pub enabled: Option<bool>,
    /// The group, or none; none for a new one unless said.
    pub group: Option<Option<GroupId>>,
    /// One who is not known is made.
    pub makes: bool,
}

impl Says {
    /// Nothing yet, of one who is known.
    pub fn of(id: UserId) -> Self {
        let (passkey, former_until, can_leech, hidden, enabled, group) = Default::default();
        Self { id, passkey, former_until, can_leech, hidden, enabled, group, makes: false }
    }

    /// Which columns of his row that is.
    pub fn columns(&self) -> Columns {
        let one = |said: bool, column| if said { column } else { Columns::NONE };
        one(self.passkey.is_some(), Columns::PASSKEY)
            .and(one(self.can_leech.is_some(), Columns::CAN_LEECH))
            .and(one(self.hidden.is_some(), Columns::HIDDEN))
            .and(one(self.enabled.is_some(), Columns::ENABLED))
            .and(one(self.group.is_some(), Columns::GROUP))
            .and(one(self.makes, Columns::MAKES))
    }
}

/// Why what was said of a user is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsaid {
    /// He is not known.
    Unknown,
    /// The passkey is that of this user, or was and is good still; he may be one who may not announce.
    PasskeyTaken(UserId),
}

/// What has become of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Became {
    /// He is like this.
    pub known: Known,
    /// Cores have to hear of it: they know him otherwise, or were told that he is gone.
    pub is_news: bool,
    /// The database gives him the passkey that the tracker is about to give to another there: it will
    /// refuse that, and only a comparison finds out what the other has then.
    pub contested: bool,
    /// What was said of his former passkey: that he has this one, or none.
    pub former: Option<Option<Former>>,
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

    /// Whose former passkey this is and good now, of those who may announce. For one that [`Accounts::find`] does
    /// not know.
    pub fn find_former(&self, passkey: &Passkey, now: Seconds) -> Option<User> {
        self.of(self.formers.holder(Packed::new(passkey), now)?)
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

    /// Who has this passkey, or had it and it is good now, whether he may announce or not.
    pub fn holder_at(&self, passkey: &Passkey, now: Seconds) -> Option<UserId> {
        self.holder(passkey).or_else(|| self.formers.holder(Packed::new(passkey), now))
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
        Some(self.known_by(id, account, self.formers.good_until(id)))
    }

    fn known_by(&self, id: UserId, account: Account, former_until: Option<Seconds>) -> Known {
        let Account { passkey, active, enabled, .. } = account;
        let (user, passkey) = (account.user(id), passkey.passkey());
        Known { user, passkey, enabled, active, former_until }
    }

    /// A user may announce, with this passkey and these rights. His passkey before is good no longer, and
    /// whoever had this one has it no longer. For loading; see [`Accounts::say`] and [`Accounts::hear`].
    pub fn put(&self, passkey: Passkey, user: User) {
        self.set(passkey, user, true);
    }

    /// A user is there and may not announce: what is known of him stays known.
    pub fn disable(&self, passkey: Passkey, user: User) {
        self.set(passkey, user, false);
    }

    /// Does what is said of a user through the tracker, where nobody else has his passkey. The database gets
    /// it by way of the journal; until [`Accounts::written`] says that it has, no row that is read there
    /// undoes it.
    ///
    /// # Errors
    /// Nothing has changed then; see [`Unsaid`].
    pub fn say(&self, says: Says, at: Stamp) -> Result<Became, Unsaid> {
        let mut pending = self.pending();
        let before = self.known(says.id);
        if before.is_none() && !says.makes {
            return Err(Unsaid::Unknown);
        }
        let passkey =
            says.passkey.or(before.map(|before| before.passkey)).ok_or(Unsaid::Unknown)?;
        let now = Seconds(u32::try_from(at.millis / 1000).unwrap_or(u32::MAX));
        let holder = self.holder_at(&passkey, now);
        if let Some(holder) = holder.filter(|holder| *holder != says.id) {
            return Err(Unsaid::PasskeyTaken(holder));
        }
        let was = before.map(|before| before.user);
        let user = User {
            id: says.id,
            can_leech: says.can_leech.or(was.map(|was| was.can_leech)).unwrap_or(true),
            hidden: says.hidden.or(was.map(|was| was.hidden)).unwrap_or(false),
            group: says.group.unwrap_or(was.and_then(|was| was.group)),
        };
        let enabled = says.enabled.or(before.map(|before| before.enabled)).unwrap_or(true);
        let former = self.former_of(&says, before, passkey, now);
        pending.note(says.id);
        pending.unwritten.note(says.id, says.columns(), at);
        if let Some(former) = former {
            pending.unwritten_formers.note(says.id, Columns::ALL, at);
            // Before he has another one: so it is good all the time.
            self.formers.set(says.id, former);
        }
        Ok(Became { former, ..self.make(before, passkey, user, enabled) })
    }

    /// What follows for the former passkey of a user, when he is given this one; nothing where it is as it was.
    fn former_of(
        &self,
        says: &Says,
        before: Option<Known>,
        passkey: Passkey,
        now: Seconds,
    ) -> Option<Option<Former>> {
        let own = before?.passkey;
        match says.former_until {
            // To say it twice is to say it once: he has the new one already.
            Some(good_until) if own == passkey => {
                let there = self.formers.get(says.id).filter(|there| now < there.good_until)?;
                Some(Some(Former { good_until, ..there }))
            }
            None if own == passkey => None,
            good_until => Some(good_until.map(|good_until| Former { passkey: own, good_until })),
        }
    }

    /// A row of the database says that a user has this former passkey, or that he has none; whether the tracker
    /// is about to write over that. The database has all records of the journal before `position`.
    pub fn hear_former(&self, id: UserId, former: Option<Former>, position: u64) -> bool {
        let mut pending = self.pending();
        pending.unwritten_formers.written(position);
        if pending.unwritten_formers.has(&id) {
            return true;
        }
        pending.note(id);
        self.formers.set(id, former);
        false
    }

    /// A user has this former passkey, or none. For loading; see [`Accounts::say`] and [`Accounts::hear_former`].
    pub fn put_former(&self, id: UserId, former: Option<Former>) {
        self.formers.set(id, former);
    }

    /// The same, unless the user has changed since [`Accounts::watch_changes`]. Whether it was done.
    pub fn put_former_unless_changed(&self, id: UserId, former: Option<Former>) -> bool {
        let pending = self.pending();
        let is_old = pending.is_unchanged(id);
        if is_old {
            self.formers.set(id, former);
        }
        is_old
    }

    /// The former passkey of a user, which may be over.
    pub fn former(&self, id: UserId) -> Option<Former> {
        self.formers.get(id)
    }

    /// Shows the former passkey of each user who has one; some may be over.
    pub fn for_each_former(&self, visit: impl FnMut(UserId, Former)) {
        self.formers.for_each(visit);
    }

    /// Lets former passkeys go that are over. Looks at each: for a thread that may take its time.
    pub fn forget_over_formers(&self, now: Seconds) {
        self.formers.forget_over(now);
    }

    /// A row of the database says this of a user, and SQL said its columns at these moments. What was said
    /// through the tracker later stays.
    pub fn hear(&self, passkey: Passkey, user: User, enabled: bool, said_at: &SaidAt) -> Became {
        let mut pending = self.pending();
        pending.note(user.id);
        let before = self.known(user.id);
        let kept = pending.unwritten.kept(&user.id, said_at);
        let other = self.holder(&passkey).filter(|other| *other != user.id);
        let contested = other.is_some_and(|other| pending.unwritten.has(&other));
        let Some(here) = before else {
            return Became { contested, ..self.make(None, passkey, user, enabled) };
        };
        let user = User {
            id: user.id,
            can_leech: if kept.has(Columns::CAN_LEECH) {
                here.user.can_leech
            } else {
                user.can_leech
            },
            hidden: if kept.has(Columns::HIDDEN) { here.user.hidden } else { user.hidden },
            group: if kept.has(Columns::GROUP) { here.user.group } else { user.group },
        };
        let passkey = if kept.has(Columns::PASSKEY) { here.passkey } else { passkey };
        let enabled = if kept.has(Columns::ENABLED) { here.enabled } else { enabled };
        Became { contested, ..self.make(before, passkey, user, enabled) }
    }

    /// Whether the tracker is about to make the row of a user, where there is none.
    pub fn is_made(&self, id: UserId) -> bool {
        self.pending().unwritten.is_made(&id)
    }

    /// There is no row of a user in the database. Whether he is gone: one whom the tracker is about to
    /// make there is not.
    pub fn hear_gone(&self, id: UserId) -> bool {
        let mut pending = self.pending();
        pending.note(id);
        if pending.unwritten.is_made(&id) {
            return false;
        }
        self.forget(id);
        true
    }

    fn make(&self, before: Option<Known>, passkey: Passkey, user: User, enabled: bool) -> Became {
        let is_news = match before {
            Some(before) => before.user != user || before.enabled != enabled,
            None => self.removed.remove(&user.id).is_some() || !enabled,
        };
        self.set(passkey, user, enabled);
        let active = before.map(|before| before.active).unwrap_or_default();
        let former_until = self.formers.good_until(user.id);
        let known = Known { user, passkey, enabled, active, former_until };
        Became { known, is_news, contested: false, former: None }
    }

    /// The journal has what was said; see [`Unwritten::journaled`].
    pub fn journaled(&self, behind: u64, all: bool) {
        let mut pending = self.pending();
        pending.unwritten.journaled(behind, all);
        pending.unwritten_formers.journaled(behind, all);
    }

    /// The database has all records of the journal before `position`.
    pub fn written(&self, position: u64) {
        let mut pending = self.pending();
        pending.unwritten.written(position);
        pending.unwritten_formers.written(position);
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
        if let Some(before) = before.filter(|before| before.passkey != passkey) {
            self.let_go(before.passkey, id);
        }
        // Whoever had it is there still, and cannot announce until he has another: of two who exchange theirs
        // by SQL, one is heard of first.
        if self.holders.get(&passkey).is_none_or(|holder| *holder != id) {
            self.holders.insert(passkey, id);
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

    fn forget(&self, id: UserId) -> Option<User> {
        self.removed.insert(id, ());
        let account = self.accounts.remove_if(id, |_| true)?;
        self.let_go(account.passkey, id);
        self.formers.set(id, None);
        self.no_longer(Some(&account));
        Some(account.user(id))
    }

    /// From now on it is noted who changes, or no longer.
    pub fn watch_changes(&self, on: bool) {
        self.pending().changed = on.then(HashSet::new);
    }

    /// A user is like this, unless he has changed since [`Accounts::watch_changes`]: then what is here is
    /// newer than what somebody read before. Whether it was done.
    pub fn put_unless_changed(&self, passkey: Passkey, user: User, enabled: bool) -> bool {
        // Under the lock: who changes him now waits.
        let pending = self.pending();
        let is_old = pending.is_unchanged(user.id);
        if is_old {
            self.set(passkey, user, enabled);
        }
        is_old
    }

    /// The same for one of whom there is nothing.
    pub fn remove_unless_changed(&self, id: UserId) -> bool {
        let pending = self.pending();
        pending.is_unchanged(id) && self.forget(id).is_some()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of a user came, went, or finished. One who is not known any more is not counted.
    pub fn count(&self, id: UserId, change: impl FnOnce(&mut Active)) {
        self.accounts.change(id, |account| change(&mut account.active));
    }

    /// The groups of users.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// There is no such group any more, and nobody is in it. Whether there was. Looks at every user: 10 ms where
    /// there are 500,000.
    pub fn remove_group(&self, id: GroupId) -> bool {
        let was_there = self.groups.remove(id);
        let mut members = Vec::new();
        self.for_each(|known| {
            if known.user.group == Some(id) {
                members.push(known.user.id);
            }
        });
        for member in members {
            self.accounts
                .change(member, |account| account.group = account.group.filter(|of| *of != id));
        }
        was_there
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

    /// The next users by number, at most so many.
    pub fn after(&self, after: Option<UserId>, max: usize) -> Vec<Known> {
        let there = self.accounts.after(after, max).into_iter();
        let known = |(id, account): (UserId, Account)| {
            self.known_by(id, account, self.formers.good_until(id))
        };
        there.map(known).collect()
    }

    /// Shows every user, in no order, also those who may not announce.
    pub fn for_each(&self, mut visit: impl FnMut(Known)) {
        let none = self.formers.is_empty();
        self.accounts.for_each(|id, account| {
            let former_until = if none { None } else { self.formers.good_until(id) };
            visit(self.known_by(id, *account, former_until));
        });
    }
}

impl Pending {
    fn note(&mut self, id: UserId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id);
        }
    }

    fn is_unchanged(&self, id: UserId) -> bool {
        self.changed.as_ref().is_some_and(|changed| !changed.contains(&id))
    }
}

const _: () = assert!(size_of::<Option<Account>>() == 44, "there may be half a million");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::users::groups::Group;

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
    fn a_passkey_that_sql_gives_to_another_is_his_alone() {
        let accounts = Accounts::default();
        let (one, two) = (passkey('a'), passkey('b'));
        accounts.put(one, user(1));
        accounts.put(two, user(2));
        accounts.count(UserId(2), |active| active.seeding += 3);
        // One statement exchanges them, and the rows are heard of one by one.
        accounts.hear(two, user(1), true, &SaidAt::default());
        assert_eq!((accounts.find(&two), accounts.find(&one)), (Some(user(1)), None));
        accounts.hear(one, user(2), true, &SaidAt::default());
        assert_eq!((accounts.find(&two), accounts.find(&one)), (Some(user(1)), Some(user(2))));
        assert_eq!((accounts.known(UserId(2)).unwrap().active.seeding, accounts.len()), (3, 2));
        // One is renumbered: there is no 1 any more, and a 3 with his passkey.
        assert!(accounts.hear_gone(UserId(1)));
        accounts.hear(two, user(3), true, &SaidAt::default());
        assert_eq!((accounts.find(&two), accounts.known(UserId(1))), (Some(user(3)), None));
    }

    fn at(millis: u64) -> Stamp {
        Stamp { millis, node: 0 }
    }

    #[test]
    fn a_passkey_is_not_taken_from_one_who_has_it() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        accounts.disable(passkey('b'), user(2));
        let new = |id, letter| Says {
            passkey: Some(passkey(letter)),
            makes: true,
            ..Says::of(UserId(id))
        };
        assert_eq!(accounts.say(new(3, 'a'), at(1)), Err(Unsaid::PasskeyTaken(UserId(1))));
        assert_eq!(accounts.say(new(3, 'b'), at(1)), Err(Unsaid::PasskeyTaken(UserId(2))));
        let change = Says { makes: false, ..new(1, 'b') };
        assert_eq!(accounts.say(change, at(1)), Err(Unsaid::PasskeyTaken(UserId(2))));
        let unknown = Says { can_leech: Some(false), ..Says::of(UserId(3)) };
        assert_eq!(accounts.say(unknown, at(1)), Err(Unsaid::Unknown));
        assert_eq!((accounts.known(UserId(3)), accounts.len()), (None, 1));
        // Whoever lets his go makes it free.
        accounts.say(Says { makes: false, ..new(2, 'c') }, at(1)).unwrap();
        assert_eq!(accounts.say(new(3, 'b'), at(1)).unwrap().known.user, user(3));
    }

    #[test]
    fn a_former_passkey_is_what_was_said_last() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        let former =
            |letter, until| Former { passkey: passkey(letter), good_until: Seconds(until) };
        let rotate = |letter, until: Option<u32>| Says {
            passkey: Some(passkey(letter)),
            former_until: until.map(Seconds),
            ..Says::of(UserId(1))
        };
        let became = accounts.say(rotate('b', Some(90)), at(1_000)).unwrap();
        assert_eq!(became.former, Some(Some(former('a', 90))));
        assert_eq!(became.known.former_until, Some(Seconds(90)));
        assert_eq!((became.known.at(Seconds(90)).former_until, became.is_news), (None, false));
        let found = |letter, now| accounts.find_former(&passkey(letter), Seconds(now));
        assert_eq!((found('a', 89), found('a', 90)), (Some(user(1)), None));
        // A row that was read before does not undo it; when the database has it, SQL may.
        assert!(accounts.hear_former(UserId(1), None, 0));
        assert!(found('a', 89).is_some());
        accounts.journaled(2, true);
        assert!(!accounts.hear_former(UserId(1), Some(former('c', 70)), 2));
        assert_eq!((found('a', 1), found('c', 1)), (None, Some(user(1))));
        let taken = Says { passkey: Some(passkey('c')), makes: true, ..Says::of(UserId(2)) };
        assert_eq!(accounts.say(taken, at(69_999)), Err(Unsaid::PasskeyTaken(UserId(1))));
        // What was read before it changed comes too late.
        accounts.watch_changes(true);
        assert!(accounts.put_former_unless_changed(UserId(1), Some(former('d', 70))));
        accounts.say(rotate('b', Some(80)), at(2_000)).unwrap();
        assert!(!accounts.put_former_unless_changed(UserId(1), None));
        assert_eq!(accounts.former(UserId(1)), Some(former('d', 80)));
        // It goes with its user, and is not brought back when it is over.
        assert_eq!(accounts.say(rotate('b', Some(99)), at(80_000)).unwrap().former, None);
        assert_eq!(accounts.say(taken, at(80_000)).unwrap().known.user, user(2));
        accounts.hear_gone(UserId(1));
        assert_eq!(accounts.former(UserId(1)), None);
    }

    #[test]
    fn what_was_said_and_is_not_written_survives_a_row_without_it() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        let says = Says { can_leech: Some(false), enabled: Some(false), ..Says::of(UserId(1)) };
        accounts.say(says, at(50)).unwrap();
        // SQL hides him, and knows nothing else of him that is new.
        let hidden = User { hidden: true, ..user(1) };
        let mut said_at = SaidAt::default();
        said_at[2] = Some(60_000);
        let known = accounts.hear(passkey('a'), hidden, true, &said_at).known;
        assert_eq!((known.user.can_leech, known.user.hidden, known.enabled), (false, true, false));
        // It enables him later than the tracker was told to disable him.
        said_at[3] = Some(50_001);
        let known = accounts.hear(passkey('a'), hidden, true, &said_at).known;
        assert_eq!((known.user.can_leech, known.enabled), (false, true));
        accounts.journaled(8, true);
        accounts.written(8);
        let known = accounts.hear(passkey('a'), hidden, true, &said_at).known;
        assert!(known.user.can_leech, "the database has had it");
    }

    #[test]
    fn one_who_is_about_to_be_made_is_not_gone() {
        let accounts = Accounts::default();
        let says = Says { passkey: Some(passkey('a')), makes: true, ..Says::of(UserId(1)) };
        accounts.say(says, at(1)).unwrap();
        assert!(!accounts.hear_gone(UserId(1)) && accounts.of(UserId(1)).is_some());
        accounts.journaled(1, true);
        accounts.written(1);
        accounts.say(Says { hidden: Some(true), ..Says::of(UserId(1)) }, at(2)).unwrap();
        assert!(accounts.hear_gone(UserId(1)), "what is said of one who is gone comes too late");
        assert_eq!(accounts.known(UserId(1)), None);
    }

    #[test]
    fn what_was_read_before_does_not_undo_what_came_since() {
        let accounts = Accounts::default();
        (1..=4).for_each(|id| accounts.put(passkey(char::from(b'a' + id as u8)), user(id)));
        assert!(!accounts.put_unless_changed(passkey('x'), user(1), true), "nobody compares");
        accounts.watch_changes(true);
        let new = Says { passkey: Some(passkey('n')), ..Says::of(UserId(1)) };
        accounts.say(new, at(1)).unwrap();
        accounts.hear_gone(UserId(2));
        assert!(!accounts.put_unless_changed(passkey('b'), user(1), true));
        assert!(!accounts.put_unless_changed(passkey('c'), user(2), true));
        assert!(!accounts.remove_unless_changed(UserId(1)));
        assert!(accounts.put_unless_changed(passkey('z'), user(3), true));
        assert!(accounts.remove_unless_changed(UserId(4)));
        assert!(accounts.put_unless_changed(passkey('y'), user(5), false));
        accounts.watch_changes(false);
        let known = [1, 2, 3, 4, 5].map(|id| accounts.passkey(UserId(id)));
        let expected = [Some('n'), None, Some('z'), None, Some('y')].map(|key| key.map(passkey));
        assert_eq!((known, accounts.len()), (expected, 2));
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
            accounts.groups().put(GroupId(4), Group { name: None, downloads_max });
            assert_eq!(accounts.downloads_full(&in_group), full, "{downloads_max:?}");
            assert!(!accounts.downloads_full(&user(2)));
        }
        accounts.remove_group(GroupId(4));
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
    }

    #[test]
    fn a_removed_user_is_unknown() {
        let accounts = Accounts::default();
        accounts.put(passkey('a'), user(1));
        let hear = |user| accounts.hear(passkey('a'), user, true, &SaidAt::default()).is_news;
        assert!(!hear(user(1)) && hear(User { hidden: true, ..user(1) }));
        assert!(accounts.hear_gone(UserId(1)));
        assert_eq!(accounts.find(&passkey('a')), None);
        accounts.count(UserId(1), |active| active.leeching += 1);
        assert!(accounts.is_empty());
        assert!(hear(user(1)) && !hear(user(1)));
        accounts.hear_gone(UserId(1));
        assert!(!hear(user(2)));
    }
}
