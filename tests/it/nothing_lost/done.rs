//! How often each kind of thing happened, in a run or in all.

use std::collections::BTreeMap;

#[derive(Clone, Default, Debug)]
pub(crate) struct Done(BTreeMap<&'static str, u64>);

impl Done {
    pub(crate) fn count(&mut self, kind: &'static str, times: u64) {
        *self.0.entry(kind).or_default() += times;
    }

    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(kind, times)| self.count(kind, *times));
    }

    /// All of these happened.
    #[track_caller]
    pub(crate) fn check(&self, kinds: &[&str]) {
        let missing: Vec<_> = kinds.iter().filter(|kind| self.of(kind) == 0).collect();
        assert!(missing.is_empty(), "did not happen in any run: {missing:?}");
    }
}
