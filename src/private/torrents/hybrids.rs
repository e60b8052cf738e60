//! The second names of hybrid torrents (BEP 52), on all cores: the core that owns the first name hears both.

use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use shard::InfoHash;

/// The first name by the second. A name stays when its torrent is gone, so that whoever still asks for it is told
/// what became of it, until another torrent has it.
#[derive(Debug, Default)]
pub struct Hybrids {
    firsts: DashMap<InfoHash, First>,
    /// There is one, or was.
    any: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct First {
    name: InfoHash,
    registered: bool,
}

impl Hybrids {
    /// The first name of the torrent that has this one, or this one.
    #[inline]
    pub fn first_of(&self, name: &InfoHash) -> InfoHash {
        if !self.any.load(Ordering::Relaxed) {
            return *name;
        }
        self.look(name)
    }

    #[inline(never)]
    fn look(&self, name: &InfoHash) -> InfoHash {
        self.firsts.get(name).map_or(*name, |first| first.name)
    }

    /// The torrent of which this is the second name, where it is registered.
    pub fn registered(&self, second: &InfoHash) -> Option<InfoHash> {
        let first = *self.firsts.get(second)?;
        first.registered.then_some(first.name)
    }

    /// Gives a torrent a second name, unless another one has it.
    ///
    /// # Errors
    /// The first name of the torrent that has it.
    pub fn claim(&self, first: &InfoHash, second: &InfoHash) -> Result<(), InfoHash> {
        let new = First { name: *first, registered: true };
        match self.firsts.entry(*second) {
            Entry::Occupied(known) if known.get().registered && known.get().name != *first => {
                return Err(known.get().name);
            }
            entry => _ = entry.insert(new),
        }
        self.any.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A torrent does not have this second name any more; `gone` where it is not registered at all.
    pub fn release(&self, first: &InfoHash, second: &InfoHash, gone: bool) {
        let Entry::Occupied(mut known) = self.firsts.entry(*second) else { return };
        if known.get().name != *first {
            return;
        }
        if gone {
            known.get_mut().registered = false;
        } else {
            known.remove();
        }
    }

    /// A registered torrent had this second name, and has that one from now on. Its first name is no second one of
    /// a torrent that is gone.
    ///
    /// # Errors
    /// As [`Hybrids::claim`]; then it has none.
    pub fn change(
        &self,
        first: &InfoHash,
        before: Option<InfoHash>,
        second: Option<InfoHash>,
    ) -> Result<(), InfoHash> {
        if self.any.load(Ordering::Relaxed) {
            self.firsts.remove_if(first, |_, other| !other.registered);
        }
        if let Some(before) = before.filter(|before| second != Some(*before)) {
            self.release(first, &before, false);
        }
        second.map_or(Ok(()), |second| self.claim(first, &second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_torrents() {
        let (hybrids, name) = (Hybrids::default(), |byte| InfoHash([byte; 20]));
        assert_eq!(hybrids.first_of(&name(2)), name(2));
        assert_eq!(hybrids.claim(&name(1), &name(2)), Ok(()));
        assert_eq!(hybrids.claim(&name(1), &name(2)), Ok(()));
        assert_eq!(hybrids.claim(&name(3), &name(2)), Err(name(1)));
        assert_eq!(hybrids.first_of(&name(2)), name(1));
        hybrids.release(&name(3), &name(2), false);
        assert_eq!(hybrids.registered(&name(2)), Some(name(1)));
        hybrids.release(&name(1), &name(2), true);
        assert_eq!((hybrids.first_of(&name(2)), hybrids.registered(&name(2))), (name(1), None));
        assert_eq!(hybrids.claim(&name(3), &name(2)), Ok(()));
        hybrids.release(&name(3), &name(2), false);
        assert_eq!(hybrids.first_of(&name(2)), name(2));
        hybrids.claim(&name(1), &name(4)).unwrap();
        hybrids.change(&name(4), None, None).unwrap();
        assert_eq!(hybrids.first_of(&name(4)), name(1), "another one has it");
        hybrids.release(&name(1), &name(4), true);
        hybrids.change(&name(4), None, None).unwrap();
        assert_eq!(hybrids.first_of(&name(4)), name(4));
        hybrids.change(&name(1), None, Some(name(5))).unwrap();
        hybrids.change(&name(1), Some(name(5)), Some(name(6))).unwrap();
        assert_eq!((hybrids.first_of(&name(5)), hybrids.first_of(&name(6))), (name(5), name(1)));
    }
}
