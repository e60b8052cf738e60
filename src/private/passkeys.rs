//! The passkey of each user, by number.
//!
//! A site numbers its users one after the other, so their passkeys lie in pages of sixteen numbers: 27 bytes
//! a user where a map with an entry each takes 60 while it is half empty. Where numbers are far apart a user
//! takes a page, of some 450 bytes.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use shard::private::UserId;

use super::packed::Packed;

/// Users whose numbers differ in these bits only share a page.
const PAGE_BITS: u32 = 4;

type Page = Box<[Packed; 1 << PAGE_BITS]>;

/// Passkeys by user.
pub(super) struct Passkeys {
    pages: DashMap<u32, Page>,
}

impl Passkeys {
    /// In so many parts with a lock each.
    pub(super) fn with_parts(parts: usize) -> Self {
        Self { pages: DashMap::with_shard_amount(parts) }
    }

    /// The passkey of a user.
    pub(super) fn get(&self, id: UserId) -> Option<Packed> {
        let page = self.pages.get(&page(id))?;
        Some(page[place(id)]).filter(|passkey| *passkey != Packed::NONE)
    }

    /// Gives a user a passkey; the one before.
    pub(super) fn insert(&self, id: UserId, passkey: Packed) -> Option<Packed> {
        let mut page =
            self.pages.entry(page(id)).or_insert_with(|| Box::new([Packed::NONE; 1 << PAGE_BITS]));
        let before = std::mem::replace(&mut page[place(id)], passkey);
        Some(before).filter(|before| *before != Packed::NONE)
    }

    /// A user has none any more; the one before.
    pub(super) fn remove(&self, id: UserId) -> Option<Packed> {
        self.remove_if(id, |_| true)
    }

    /// The same when the one before is as it should be.
    pub(super) fn remove_if(
        &self,
        id: UserId,
        condition: impl FnOnce(Packed) -> bool,
    ) -> Option<Packed> {
        let Entry::Occupied(mut page) = self.pages.entry(page(id)) else { return None };
        let before = page.get()[place(id)];
        if before == Packed::NONE || !condition(before) {
            return None;
        }
        page.get_mut()[place(id)] = Packed::NONE;
        if page.get().iter().all(|passkey| *passkey == Packed::NONE) {
            page.remove();
        }
        Some(before)
    }
}

fn page(id: UserId) -> u32 {
    id.0 >> PAGE_BITS
}

fn place(id: UserId) -> usize {
    (id.0 & ((1 << PAGE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use shard::private::Passkey;

    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut random = fastrand::Rng::with_seed(5);
        let (passkeys, mut model) = (Passkeys::with_parts(4), HashMap::new());
        for _ in 0..20_000 {
            // Some that share pages, and some at the ends of all numbers.
            let id = UserId(random.choice([0, 1, u32::MAX - 63]).unwrap() + random.u32(..64));
            let letter = random.alphanumeric().to_string();
            let passkey = Packed::new(&Passkey::new(letter.repeat(32).as_bytes()).unwrap());
            match random.u8(..4) {
                0 => assert!(passkeys.insert(id, passkey) == model.insert(id, passkey)),
                1 => assert!(passkeys.remove(id) == model.remove(&id)),
                2 => {
                    let fits = model.get(&id) == Some(&passkey);
                    let expected = if fits { model.remove(&id) } else { None };
                    assert!(passkeys.remove_if(id, |his| his == passkey) == expected);
                }
                _ => assert!(passkeys.get(id) == model.get(&id).copied()),
            }
        }
        for id in model.keys() {
            passkeys.remove(*id);
        }
        assert!(passkeys.pages.is_empty(), "no page is kept");
    }
}
