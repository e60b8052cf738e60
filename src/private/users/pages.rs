//! What there is of each user, by number.
//!
//! A site numbers its users one after the other, so they lie in pages of sixteen numbers: a map with an
//! entry for each takes twice the memory while it is half empty. Where numbers are far apart each takes a
//! page.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use shard::private::UserId;

/// Users whose numbers differ in these bits only share a page.
const PAGE_BITS: u32 = 4;

type Page<T> = Box<[Option<T>; 1 << PAGE_BITS]>;

/// One `T` for each of many users, in parts with a lock each.
pub(super) struct Pages<T> {
    pages: DashMap<u32, Page<T>>,
}

impl<T: Copy> Pages<T> {
    /// In so many parts, a power of two.
    pub(super) fn with_parts(parts: usize) -> Self {
        Self { pages: DashMap::with_shard_amount(parts) }
    }

    /// What there is of a user.
    #[inline]
    pub(super) fn get(&self, id: UserId) -> Option<T> {
        self.pages.get(&page(id))?[place(id)]
    }

    /// Changes what there is of a user in place; nothing where there is nothing.
    pub(super) fn change<R>(&self, id: UserId, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.pages.get_mut(&page(id))?[place(id)].as_mut().map(change)
    }

    /// Gives a user what `new` makes of what there was; what there was.
    pub(super) fn put(&self, id: UserId, new: impl FnOnce(Option<T>) -> T) -> Option<T> {
        let mut page = self.pages.entry(page(id)).or_insert_with(|| Box::new([None; _]));
        let place = &mut page[place(id)];
        place.replace(new(*place))
    }

    /// Takes away what there is of a user, where that is as it should be.
    pub(super) fn remove_if(&self, id: UserId, condition: impl FnOnce(&T) -> bool) -> Option<T> {
        let Entry::Occupied(mut page) = self.pages.entry(page(id)) else { return None };
        let before = page.get_mut()[place(id)].take_if(|before| condition(before))?;
        if page.get().iter().all(Option::is_none) {
            page.remove();
        }
        Some(before)
    }

    /// What there is of the next users by number, at most so many; a user with a number up to `after` is none.
    pub(super) fn after(&self, after: Option<UserId>, max: usize) -> Vec<(UserId, T)> {
        let first = after.map_or(Some(0), |after| after.0.checked_add(1));
        let Some(first) = first else { return Vec::new() };
        let mut pages: Vec<u32> = self.pages.iter().map(|page| *page.key()).collect();
        pages.retain(|number| *number >= first >> PAGE_BITS);
        pages.sort_unstable();
        let ids = pages
            .iter()
            .flat_map(|page| (0..1 << PAGE_BITS).map(move |place| (page << PAGE_BITS) + place));
        let there = ids.filter(|id| *id >= first).map(UserId);
        there.filter_map(|id| Some((id, self.get(id)?))).take(max).collect()
    }

    /// Shows all there is, in no order. Nobody changes a user of the part that is being shown.
    pub(super) fn for_each(&self, mut visit: impl FnMut(UserId, &T)) {
        for page in &self.pages {
            let first = page.key() << PAGE_BITS;
            for (place, there) in (0..).zip(&**page.value()) {
                if let Some(there) = there {
                    visit(UserId(first + place), there);
                }
            }
        }
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

    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut random = fastrand::Rng::with_seed(5);
        let (pages, mut model) = (Pages::with_parts(4), HashMap::new());
        for _ in 0..20_000 {
            // Some that share pages, and some at the ends of all numbers.
            let id = UserId(random.choice([0, 1, u32::MAX - 63]).unwrap() + random.u32(..64));
            let number = random.u8(..);
            match random.u8(..5) {
                0 => assert_eq!(pages.put(id, |_| number), model.insert(id, number)),
                1 => assert_eq!(pages.remove_if(id, |_| true), model.remove(&id)),
                2 => {
                    let fits = model.get(&id).is_some_and(|his| his & 1 == number & 1);
                    let expected = if fits { model.remove(&id) } else { None };
                    assert_eq!(pages.remove_if(id, |his| his & 1 == number & 1), expected);
                }
                3 => {
                    let before = pages.change(id, |his| std::mem::replace(his, number));
                    assert_eq!(
                        before,
                        model.get_mut(&id).map(|his| std::mem::replace(his, number))
                    );
                }
                _ => assert_eq!(pages.get(id), model.get(&id).copied()),
            }
        }
        let mut shown = HashMap::new();
        pages.for_each(|id, number| assert_eq!(shown.insert(id, *number), None));
        assert_eq!(shown, model);
        for id in model.keys() {
            pages.remove_if(*id, |_| true);
        }
        assert!(pages.pages.is_empty(), "no page is kept");
    }
}
