//! Names that are asked for and are not registered: for how long, so that who asks for one that nobody will register
//! is told to wait, and who is a moment early is not.
//!
//! A fixed table of sets: a flood of names that are asked for once drives out names that were, and none that has been
//! asked for again and again.

use crate::hash::Keys;
use crate::{InfoHash, Seconds};

/// The names of a core. Takes no memory before the first one.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    sets: Vec<[Stranger; WAYS]>,
}

/// A name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Stranger {
    /// Of the hash of the name; 0 is none.
    tag: u32,
    /// When it was asked for first, or was no longer registered.
    since: Seconds,
    /// When it was asked for last.
    last: Seconds,
}

const WAYS: usize = 4;

/// 65,536 names in 768 KiB.
const SETS: usize = 1 << 14;
const _: () = assert!(size_of::<[Stranger; WAYS]>() * SETS == 768 << 10, "memory of a core");

/// A name that was not asked for within this is asked for as if for the first time: a week.
const FORGOTTEN: Seconds = Seconds(7 * 86_400);

impl Strangers {
    /// A name is asked for: since when it is, in vain.
    pub(crate) fn ask(&mut self, keys: &Keys, info_hash: &InfoHash, now: Seconds) -> Seconds {
        let (set, tag) = self.place(keys, info_hash);
        if let Some(known) = set.iter_mut().find(|one| one.tag == tag && one.is_kept(now)) {
            known.last = now;
            return known.since.min(now);
        }
        put(set, Stranger { tag, since: now, last: now }, now);
        now
    }

    /// A name has been registered no longer since `at`, and why is not told any more.
    pub(crate) fn bury(&mut self, keys: &Keys, info_hash: &InfoHash, at: Seconds, now: Seconds) {
        self.forget(keys, info_hash);
        let (set, tag) = self.place(keys, info_hash);
        put(set, Stranger { tag, since: at, last: now }, now);
    }

    /// A name is registered.
    pub(crate) fn forget(&mut self, keys: &Keys, info_hash: &InfoHash) {
        if !self.sets.is_empty() {
            let (set, tag) = self.place(keys, info_hash);
            set.iter_mut().filter(|one| one.tag == tag).for_each(|one| *one = Stranger::default());
        }
    }

    fn place(&mut self, keys: &Keys, info_hash: &InfoHash) -> (&mut [Stranger; WAYS], u32) {
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); SETS];
        }
        let hash = keys.info_hash(info_hash);
        (&mut self.sets[hash as usize % SETS], (hash >> 32) as u32 | 1)
    }
}

impl Stranger {
    fn is_kept(&self, now: Seconds) -> bool {
        now.since(self.last) <= FORGOTTEN
    }

    /// The worth of keeping it: how long it has been asked for, nothing where that is over.
    fn worth(&self, now: Seconds) -> u32 {
        if self.tag == 0 || !self.is_kept(now) { 0 } else { 1 + self.last.since(self.since).0 }
    }
}

/// Puts a name in the place of the one that has been asked for the shortest.
fn put(set: &mut [Stranger; WAYS], new: Stranger, now: Seconds) {
    if let Some(least) = set.iter_mut().min_by_key(|one| (one.worth(now), one.last)) {
        *least = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> InfoHash {
        let mut name = [9; 20];
        name[..4].copy_from_slice(&number.to_be_bytes());
        InfoHash(name)
    }

    #[test]
    fn a_name_is_known_since_it_was_asked_for_first() {
        let (keys, mut strangers) = (Keys::new(1), Strangers::default());
        strangers.forget(&keys, &name(1));
        assert!(strangers.sets.is_empty());
        for now in [1000, 1060, 9000, 9000 + FORGOTTEN.0] {
            assert_eq!(strangers.ask(&keys, &name(1), Seconds(now)), Seconds(1000));
        }
        let later = Seconds(9001 + 2 * FORGOTTEN.0);
        assert_eq!(strangers.ask(&keys, &name(1), later), later, "it was forgotten");
        strangers.bury(&keys, &name(1), Seconds(5), later);
        assert_eq!(strangers.ask(&keys, &name(1), later), Seconds(5));
        strangers.forget(&keys, &name(1));
        assert_eq!(strangers.ask(&keys, &name(1), later), later);
        assert_eq!(
            strangers.ask(&keys, &name(1), Seconds(7)),
            Seconds(7),
            "the clock was put back"
        );
    }

    #[test]
    fn a_flood_drives_out_nobody_who_has_been_asked_for_long() {
        let (keys, mut strangers) = (Keys::new(2), Strangers::default());
        let old: Vec<u32> = (0..2000).collect();
        for now in [1000, 4000] {
            old.iter().for_each(|number| _ = strangers.ask(&keys, &name(*number), Seconds(now)));
        }
        for number in 0..1_000_000 {
            strangers.ask(&keys, &name(1 << 20 | number), Seconds(4001 + number / 1000));
        }
        // But for sets in which there were more than fit.
        let is_known =
            |number: &&u32| strangers.ask(&keys, &name(**number), Seconds(6000)) == Seconds(1000);
        let known = old.iter().filter(is_known).count();
        assert!(known > 1990, "{known} of 2000");
    }
}
