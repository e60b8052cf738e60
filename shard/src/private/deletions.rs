//! Why torrents are no longer registered, for those who still announce them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::DeletionRecord;
use crate::{InfoHash, Seconds};

/// Reasons by infohash, the latest ones.
#[derive(Debug, Default)]
pub(crate) struct Deletions {
    reasons: BTreeMap<InfoHash, (Arc<str>, Seconds)>,
    /// The same, the oldest first.
    ages: BTreeSet<(Seconds, InfoHash)>,
}

/// How long a reason is told.
const KEPT: Seconds = Seconds(86_400);

/// Bytes that a reason may have; more is cut off.
const REASON_BYTES_MAX: usize = 255;

impl Deletions {
    pub(crate) fn len(&self) -> usize {
        self.reasons.len()
    }

    /// Keeps a reason, and at most `max` of them: the oldest go, and are handed over.
    pub(crate) fn set(
        &mut self,
        info_hash: InfoHash,
        reason: &str,
        at: Seconds,
        max: usize,
        mut gone: impl FnMut(InfoHash, Seconds),
    ) {
        self.remove(&info_hash);
        let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev();
        let end = end.into_iter().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        self.reasons.insert(info_hash, (reason[..end].into(), at));
        self.ages.insert((at, info_hash));
        while self.reasons.len() > max
            && let Some((at, oldest)) = self.ages.pop_first()
        {
            self.reasons.remove(&oldest);
            gone(oldest, at);
        }
    }

    pub(crate) fn remove(&mut self, info_hash: &InfoHash) {
        if let Some((_, at)) = self.reasons.remove(info_hash) {
            self.ages.remove(&(at, *info_hash));
        }
    }

    pub(crate) fn reason(&self, info_hash: &InfoHash, now: Seconds) -> Option<Arc<str>> {
        let (reason, at) = self.reasons.get(info_hash)?;
        is_told(*at, now).then(|| reason.clone())
    }

    /// When a torrent was removed whose reason is here, told or not.
    pub(crate) fn removed_at(&self, info_hash: &InfoHash) -> Option<Seconds> {
        self.reasons.get(info_hash).map(|(_, at)| *at)
    }

    /// Drops up to `budget` reasons that are told no longer, and hands them over.
    pub(crate) fn sweep(
        &mut self,
        now: Seconds,
        budget: usize,
        mut gone: impl FnMut(InfoHash, Seconds),
    ) {
        for _ in 0..budget {
            // What a clock that was wrong has put into times to come is not told, and counts as the newest.
            let Some((at, info_hash)) = self.ages.first().copied() else { return };
            if now.since(at) <= KEPT {
                return;
            }
            self.remove(&info_hash);
            gone(info_hash, at);
        }
    }

    /// The reasons after this infohash.
    pub(crate) fn after(
        &self,
        info_hash: Option<InfoHash>,
    ) -> impl Iterator<Item = DeletionRecord> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = info_hash.map_or(Unbounded, Excluded);
        self.reasons.range((from, Unbounded)).map(|(info_hash, (reason, at))| DeletionRecord {
            info_hash: *info_hash,
            reason: reason.clone(),
            at: *at,
        })
    }
}

fn is_told(at: Seconds, now: Seconds) -> bool {
    now.since(at).max(at.since(now)) <= KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_reasons_are_kept_for_a_day() {
        let (mut deletions, name) = (Deletions::default(), |n: u8| InfoHash([n; 20]));
        for n in 0..10 {
            deletions.set(name(n), "Dupe", Seconds(u32::from(n)), 5, |oldest, at| {
                assert_eq!((oldest, at), (name(n - 5), Seconds(u32::from(n - 5))));
            });
        }
        assert_eq!(deletions.len(), 5);
        assert_eq!(deletions.reason(&name(4), Seconds(10)), None, "it was among the oldest");
        assert_eq!(deletions.reason(&name(5), Seconds(5 + 86_400)).as_deref(), Some("Dupe"));
        assert_eq!(deletions.reason(&name(5), Seconds(6 + 86_400)), None);
        let mut gone = Vec::new();
        deletions.sweep(Seconds(7 + 86_400), 100, |name, at| gone.push((name, at)));
        assert_eq!(gone, [(name(5), Seconds(5)), (name(6), Seconds(6))]);
        assert_eq!(deletions.len(), 3);
        deletions.set(name(7), &"ä".repeat(200), Seconds(3), 5, |_, _| unreachable!());
        let reason = deletions.reason(&name(7), Seconds(3)).unwrap();
        assert_eq!(&*reason, "ä".repeat(127), "cut off where a letter ends");
    }
}
