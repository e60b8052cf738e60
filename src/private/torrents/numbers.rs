//! Which torrent has which number: a number is one torrent's, on whichever core that is.
//!
//! Of each torrent the first four bytes of its infohash are kept. Two torrents that share them and are given
//! the same number are taken for one, which happens by chance to one in four thousand million.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use shard::InfoHash;
use shard::private::TorrentId;

/// The numbers in use, 17 bytes for each of a page, and about seven bytes a torrent where a site counts up.
#[derive(Debug, Default)]
pub struct Numbers {
    pages: DashMap<u32, Box<Page>>,
    /// Above each number that was ever in use here.
    next: AtomicU64,
}

/// Numbers that differ in these bits only share a page.
const PAGE_BITS: u32 = 4;

/// The torrents of sixteen numbers.
#[derive(Debug, Default)]
struct Page {
    beginnings: [u32; 1 << PAGE_BITS],
    /// A bit for each that is taken.
    taken: u16,
}

/// The beginning of an infohash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning(u32);

impl std::fmt::Display for Beginning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}…", self.0)
    }
}

impl Numbers {
    /// A number above each that was ever in use here; nobody else gets it. `None` when there is none.
    pub fn next(&self) -> Option<TorrentId> {
        // Whichever core asks: what one has taken, no other gets.
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        u32::try_from(next).ok().map(TorrentId)
    }

    /// The number that [`Numbers::next`] gives.
    pub fn upcoming(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Lets [`Numbers::next`] give none below this.
    pub fn at_least(&self, next: u64) {
        self.next.fetch_max(next, Ordering::Relaxed);
    }

    /// Gives a number to a torrent that has it already, or where nobody has.
    ///
    /// # Errors
    /// How the infohash of the torrent begins that has it.
    pub fn claim(&self, id: TorrentId, info_hash: &InfoHash) -> Result<(), Beginning> {
        let mut page = self.pages.entry(id.0 >> PAGE_BITS).or_default();
        let (bit, place) = (bit(id), place(id));
        let beginning = beginning(info_hash);
        if page.taken & bit != 0 && page.beginnings[place] != beginning {
            return Err(Beginning(page.beginnings[place]));
        }
        page.taken |= bit;
        page.beginnings[place] = beginning;
        self.at_least(u64::from(id.0) + 1);
        Ok(())
    }

    /// Whether another torrent has this number.
    pub fn is_of_another(&self, id: TorrentId, info_hash: &InfoHash) -> bool {
        let page = self.pages.get(&(id.0 >> PAGE_BITS));
        page.is_some_and(|page| {
            page.taken & bit(id) != 0 && page.beginnings[place(id)] != beginning(info_hash)
        })
    }

    /// A torrent has this number, whoever had it: the database says so.
    pub fn set(&self, id: TorrentId, info_hash: &InfoHash) {
        let mut page = self.pages.entry(id.0 >> PAGE_BITS).or_default();
        page.taken |= bit(id);
        page.beginnings[place(id)] = beginning(info_hash);
        self.at_least(u64::from(id.0) + 1);
    }

    /// A torrent has this number no longer; nothing where it is another's.
    pub fn release(&self, id: TorrentId, info_hash: &InfoHash) {
        let Entry::Occupied(mut entry) = self.pages.entry(id.0 >> PAGE_BITS) else { return };
        let page = entry.get_mut();
        if page.beginnings[place(id)] == beginning(info_hash) {
            page.taken &= !bit(id);
        }
        if page.taken == 0 {
            entry.remove();
        }
    }
}

fn place(id: TorrentId) -> usize {
    (id.0 & ((1 << PAGE_BITS) - 1)) as usize
}

fn bit(id: TorrentId) -> u16 {
    1 << place(id)
}

fn beginning(InfoHash([a, b, c, d, ..]): &InfoHash) -> u32 {
    u32::from_be_bytes([*a, *b, *c, *d])
}

const _: () = assert!(size_of::<Page>() == 68, "there may be a million torrents");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_torrents() {
        let numbers = Numbers::default();
        let (one, other) = (InfoHash([0; 20]), InfoHash([0xab; 20]));
        for id in [0, 15, 16, u32::MAX].map(TorrentId) {
            assert_eq!(numbers.claim(id, &one), Ok(()));
            assert_eq!(numbers.claim(id, &one), Ok(()));
            assert_eq!(numbers.claim(id, &other), Err(Beginning(0)));
            numbers.release(id, &other);
            assert_eq!(numbers.claim(id, &other), Err(Beginning(0)));
            numbers.set(id, &other);
            assert!(numbers.is_of_another(id, &one) && !numbers.is_of_another(id, &other));
            numbers.release(id, &one);
            assert_eq!(numbers.claim(id, &one), Err(Beginning(0xabab_abab)));
            numbers.release(id, &other);
            assert_eq!(numbers.claim(id, &one), Ok(()));
            numbers.release(id, &one);
        }
        assert!(numbers.pages.is_empty(), "no page is kept");
        assert_eq!(numbers.next(), None, "the highest one was in use");
        assert_eq!(Beginning(0xa).to_string(), "0000000a…");
    }

    #[test]
    fn the_next_number_was_never_in_use() {
        let numbers = Numbers::default();
        assert_eq!(numbers.next(), Some(TorrentId(0)));
        numbers.claim(TorrentId(7), &InfoHash([1; 20])).unwrap();
        numbers.release(TorrentId(7), &InfoHash([1; 20]));
        assert_eq!(numbers.next(), Some(TorrentId(8)));
        numbers.at_least(5);
        assert_eq!(numbers.upcoming(), 9);
        numbers.set(TorrentId(3), &InfoHash([1; 20]));
        let given: std::collections::BTreeSet<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..100).map(|_| numbers.next().unwrap().0).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((given.len(), given.first(), given.last()), (400, Some(&9), Some(&408)));
    }
}
