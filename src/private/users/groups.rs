//! Groups of users, and how many downloads each of their users may have at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use shard::private::GroupId;

/// All groups. Read by every core, with the announces of users who are in one.
pub struct Groups {
    /// The downloads that users of a group may have at once; `None` for any number.
    downloads_max: DashMap<GroupId, Option<u32>>,
    /// How often a group has changed; held while one changes.
    version: Mutex<u64>,
}

/// Parts of the map with a lock each. There are few groups.
const PARTS: usize = 4;

impl Default for Groups {
    fn default() -> Self {
        let downloads_max = DashMap::with_shard_amount(PARTS);
        Self { downloads_max, version: Mutex::default() }
    }
}

impl Groups {
    /// How many downloads each user of a group may have at once; `None` for any number, and where there is
    /// no such group.
    pub fn downloads_max(&self, id: GroupId) -> Option<u32> {
        self.downloads_max.get(&id).and_then(|most| *most)
    }

    /// There is a group, with this bound.
    pub fn put(&self, id: GroupId, downloads_max: Option<u32>) {
        let mut version = self.change();
        *version += 1;
        self.downloads_max.insert(id, downloads_max);
    }

    /// There is no such group any more; its users have no bound.
    pub fn remove(&self, id: GroupId) {
        let mut version = self.change();
        *version += 1;
        self.downloads_max.remove(&id);
    }

    /// How often a group has changed.
    pub fn version(&self) -> u64 {
        *self.change()
    }

    /// Replaces all groups, if none has changed since it was this version; how many differed.
    pub fn replace(&self, version: u64, with: &BTreeMap<GroupId, Option<u32>>) -> usize {
        let now = self.change();
        if *now != version {
            return 0;
        }
        let before = self.downloads_max.len();
        self.downloads_max.retain(|id, _| with.contains_key(id));
        let mut differed = before - self.downloads_max.len();
        for (id, most) in with {
            differed += usize::from(self.downloads_max.insert(*id, *most) != Some(*most));
        }
        differed
    }

    /// Shows every group, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(GroupId, Option<u32>)) {
        for group in &self.downloads_max {
            visit(*group.key(), *group.value());
        }
    }

    fn change(&self) -> MutexGuard<'_, u64> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_were_read_replace_those_that_did_not_change_since() {
        let groups = Groups::default();
        groups.put(GroupId(1), Some(1));
        groups.put(GroupId(2), Some(2));
        let version = groups.version();
        let read = BTreeMap::from([(GroupId(2), None), (GroupId(3), Some(3))]);
        assert_eq!(groups.replace(version, &read), 3);
        let mut found = BTreeMap::new();
        groups.for_each(|id, most| _ = found.insert(id, most));
        assert_eq!(found, read);
        assert_eq!(groups.replace(version, &read), 0, "nothing differs");
        groups.put(GroupId(4), None);
        assert_eq!(groups.replace(version, &BTreeMap::new()), 0, "it is older");
    }
}
