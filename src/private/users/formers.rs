//! The passkeys that users had before, each good for a while: looked at when a passkey is nobody's own.

use dashmap::DashMap;
use shard::Seconds;
use shard::private::{Passkey, UserId};

use super::packed::Packed;

/// A passkey that a user had before, and until when it is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Former {
    /// The passkey before his own.
    pub passkey: Passkey,
    /// From this moment on it is good no longer.
    pub good_until: Seconds,
}

/// All of them, one a user at most. Those that are over stay until [`Formers::forget_over`] has looked.
pub(super) struct Formers {
    /// Whose entry in `of` to look at; a passkey is good where that says the same one.
    holders: DashMap<Packed, UserId>,
    of: DashMap<UserId, Kept>,
}

/// In 28 bytes, as passkeys are changed of all users at once where they have leaked.
#[derive(Clone, Copy)]
struct Kept {
    passkey: Packed,
    good_until: Seconds,
}

impl Kept {
    fn former(self) -> Former {
        Former { passkey: self.passkey.passkey(), good_until: self.good_until }
    }
}

/// Parts of a map with a lock each. Few look here, so fewer than users have.
const PARTS: usize = 64;

impl Default for Formers {
    fn default() -> Self {
        Self { holders: DashMap::with_shard_amount(PARTS), of: DashMap::with_shard_amount(PARTS) }
    }
}

impl Formers {
    /// There are none.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whose former passkey this is, good now.
    pub(super) fn holder(&self, passkey: Packed, now: Seconds) -> Option<UserId> {
        let id = *self.holders.get(&passkey)?;
        let kept = *self.of.get(&id)?;
        (kept.passkey == passkey && now < kept.good_until).then_some(id)
    }

    /// What a user has, which may be over.
    pub(super) fn get(&self, id: UserId) -> Option<Former> {
        self.of.get(&id).map(|kept| kept.former())
    }

    /// Until when the former passkey of a user is good, or was.
    pub(super) fn good_until(&self, id: UserId) -> Option<Seconds> {
        self.of.get(&id).map(|kept| kept.good_until)
    }

    /// A user has this one, and none of before; or none at all. What he had.
    pub(super) fn set(&self, id: UserId, former: Option<Former>) -> Option<Former> {
        let kept = former.map(|Former { passkey, good_until }| Kept {
            passkey: Packed::new(&passkey),
            good_until,
        });
        let before = match kept {
            Some(kept) => self.of.insert(id, kept),
            None => self.of.remove(&id).map(|(_, kept)| kept),
        };
        if let Some(before) = before
            && kept.is_none_or(|kept| kept.passkey != before.passkey)
        {
            self.holders.remove_if(&before.passkey, |_, holder| *holder == id);
        }
        if let Some(kept) = kept {
            self.holders.insert(kept.passkey, id);
        }
        before.map(Kept::former)
    }

    /// Shows each of them.
    pub(super) fn for_each(&self, mut visit: impl FnMut(UserId, Former)) {
        self.of.iter().for_each(|kept| visit(*kept.key(), kept.former()));
    }

    /// Lets those go that are over. Looks at all of them, at one part after the other.
    pub(super) fn forget_over(&self, now: Seconds) {
        self.of.retain(|_, kept| now < kept.good_until);
        // Where one was set meanwhile, its entry is there already.
        self.holders
            .retain(|passkey, id| self.of.get(id).is_some_and(|kept| kept.passkey == *passkey));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn former(letter: char, good_until: u32) -> Former {
        let passkey = Passkey::new(letter.to_string().repeat(32).as_bytes()).unwrap();
        Former { passkey, good_until: Seconds(good_until) }
    }

    fn holder(formers: &Formers, letter: char, now: u32) -> Option<u32> {
        let passkey = Packed::new(&former(letter, 0).passkey);
        formers.holder(passkey, Seconds(now)).map(|id| id.0)
    }

    #[test]
    fn a_former_passkey_is_good_until_its_moment_and_one_replaces_the_other() {
        let formers = Formers::default();
        assert!(formers.is_empty() && formers.set(UserId(1), None).is_none());
        formers.set(UserId(1), Some(former('a', 10)));
        assert_eq!((holder(&formers, 'a', 9), holder(&formers, 'a', 10)), (Some(1), None));
        assert_eq!(formers.set(UserId(1), Some(former('b', 20))), Some(former('a', 10)));
        assert_eq!((holder(&formers, 'a', 9), holder(&formers, 'b', 9)), (None, Some(1)));
        // The same one for longer.
        formers.set(UserId(1), Some(former('b', 30)));
        assert_eq!(holder(&formers, 'b', 29), Some(1));
        assert_eq!(formers.good_until(UserId(1)), Some(Seconds(30)));
        formers.set(UserId(1), None);
        assert_eq!((holder(&formers, 'b', 1), formers.get(UserId(1))), (None, None));
    }

    #[test]
    fn what_is_over_is_let_go_and_may_be_anothers() {
        let formers = Formers::default();
        formers.set(UserId(1), Some(former('a', 10)));
        formers.set(UserId(2), Some(former('b', 20)));
        formers.set(UserId(3), Some(former('a', 30)));
        assert_eq!(holder(&formers, 'a', 5), Some(3));
        formers.forget_over(Seconds(10));
        assert_eq!((holder(&formers, 'a', 10), holder(&formers, 'b', 10)), (Some(3), Some(2)));
        let mut all = Vec::new();
        formers.for_each(|id, _| all.push(id.0));
        all.sort_unstable();
        assert_eq!(all, [2, 3]);
        formers.forget_over(Seconds(99));
        assert!(formers.is_empty() && formers.holders.is_empty());
    }
}
