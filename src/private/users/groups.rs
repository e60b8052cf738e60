//! Groups of users, and how many downloads each of their users may have at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use shard::private::GroupId;

use super::unwritten::Unwritten;

/// All groups. Read by every core, with the announces of users who are in one.
pub struct Groups {
    groups: DashMap<GroupId, Group>,
    /// How often a group has changed; held while one changes.
    version: Mutex<u64>,
    /// Groups that were changed through the tracker, and may not be in the database yet.
    unwritten: Mutex<Unwritten<GroupId>>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// 1 to 255 bytes, and no other group has it; `None` where a snapshot alone said of it, which has no names.
    pub name: Option<Arc<str>>,
    /// The downloads that each of its users may have at once; `None` for any number.
    pub downloads_max: Option<u32>,
}

impl Group {
    /// A group that is called this.
    pub fn named(name: &str, downloads_max: Option<u32>) -> Self {
        Self { name: Some(name.into()), downloads_max }
    }
}

/// Parts of the map with a lock each. There are few groups.
const PARTS: usize = 4;

impl Default for Groups {
    fn default() -> Self {
        let groups = DashMap::with_shard_amount(PARTS);
        Self { groups, version: Mutex::default(), unwritten: Mutex::default() }
    }
}

impl Groups {
    /// How many downloads each user of a group may have at once; `None` for any number, and where there is
    /// no such group.
    pub fn downloads_max(&self, id: GroupId) -> Option<u32> {
        self.groups.get(&id).and_then(|group| group.downloads_max)
    }

    /// What there is of a group.
    pub fn get(&self, id: GroupId) -> Option<Group> {
        self.groups.get(&id).map(|group| group.clone())
    }

    /// The group that is called this.
    pub fn holder(&self, name: &str) -> Option<GroupId> {
        let mut groups = self.groups.iter();
        let holder = groups.find(|group| group.name.as_deref() == Some(name));
        holder.map(|group| *group.key())
    }

    /// True while a snapshot alone says of some of them: what they are called is not known.
    pub fn has_unnamed(&self) -> bool {
        self.groups.iter().any(|group| group.name.is_none())
    }

    /// All of them, by number.
    pub fn all(&self) -> BTreeMap<GroupId, Group> {
        self.groups.iter().map(|group| (*group.key(), group.clone())).collect()
    }

    /// There is a group, and it is like this.
    pub fn put(&self, id: GroupId, group: Group) {
        let mut version = self.change();
        *version += 1;
        self.groups.insert(id, group);
    }

    /// There is no such group any more; its users have no bound. Whether there was.
    pub(super) fn remove(&self, id: GroupId) -> bool {
        let mut version = self.change();
        *version += 1;
        self.groups.remove(&id).is_some()
    }

    /// What was said of groups through the tracker and may not be in the database yet.
    pub fn unwritten(&self) -> MutexGuard<'_, Unwritten<GroupId>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a group has changed.
    pub fn version(&self) -> u64 {
        *self.change()
    }

    /// Replaces all groups, if none has changed since it was this version; how many differed.
    pub fn replace(&self, version: u64, with: &BTreeMap<GroupId, Group>) -> usize {
        let now = self.change();
        if *now != version {
            return 0;
        }
        let before = self.groups.len();
        self.groups.retain(|id, _| with.contains_key(id));
        let mut differed = before - self.groups.len();
        for (id, group) in with {
            let was = self.groups.insert(*id, group.clone());
            // A name that was not known is no difference.
            let same =
                |was: Group| Group { name: was.name.or(group.name.clone()), ..was } == *group;
            differed += usize::from(!was.is_some_and(same));
        }
        differed
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
        groups.put(GroupId(1), Group::named("one", Some(1)));
        groups.put(GroupId(2), Group::named("two", Some(2)));
        groups.put(GroupId(5), Group { name: None, downloads_max: Some(5) });
        let version = groups.version();
        let read = BTreeMap::from([
            (GroupId(2), Group::named("two", None)),
            (GroupId(3), Group::named("three", Some(3))),
            (GroupId(5), Group::named("five", Some(5))),
        ]);
        assert_eq!(groups.replace(version, &read), 3, "a name that was not known is no difference");
        assert_eq!(groups.all(), read);
        assert_eq!(groups.holder("three"), Some(GroupId(3)));
        assert_eq!(groups.holder("one"), None);
        assert_eq!(groups.replace(version, &read), 0, "nothing differs");
        groups.put(GroupId(4), Group::default());
        assert_eq!(groups.replace(version, &BTreeMap::new()), 0, "it is older");
    }
}
