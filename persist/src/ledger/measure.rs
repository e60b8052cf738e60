//! Counts anew what clients moved, where the journal does not know where they were before.
//!
//! After a data folder was restored from a backup, the tracker compares a client's next announce with what
//! it had reported when the backup was made, and would credit once more what is credited already. The
//! database knows better: its row in `peers` is the last report that was credited. So the first fact of each
//! client is measured from there; from then on tracker and database know the same. Without that table,
//! the first fact of each credits nothing.
//!
//! Where a client began anew since the backup, what it says may look late, or like a copy's, to a tracker
//! that has its older and higher counters. So what it said counts, not what the tracker made of it; and as
//! the tracker stays with its own, the next fact of that client is measured as well.

use std::collections::{HashMap, HashSet};

use ::postgres::types::ToSql;
use ::postgres::{Error, Statement, Transaction};
use shard::private::fold::{self, Credit, Factors};
use shard::private::{Change, Counters, Fact, PeerId, TorrentId, UserId};

use super::Record;
use super::batch::{PeerKey, peer_of};

/// From which record on is measured, and what is known by now.
#[derive(Debug)]
pub(super) struct Measure {
    from: u64,
    /// When that record was made, in milliseconds since 1970; a row that is not older was measured already.
    from_millis: u64,
    /// What other journals wrote was made before this: a data folder that comes back after another one was used has
    /// records that are older than rows of that one.
    others_until: u64,
    /// Without rows: who has been heard since.
    heard: Option<HashSet<PeerKey>>,
}

/// A client as it is known.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    reported: Counters,
    complete: bool,
    millis: u64,
    /// The tracker compares with the same.
    agreed: bool,
}

/// A batch that was measured.
pub(super) struct Measured {
    pub(super) records: Vec<(u64, Record)>,
    heard: Vec<PeerKey>,
}

impl Measure {
    /// `from_millis` is when record `from` was made, where that is known, and `others_until` when the last record
    /// of other journals was.
    pub(super) fn new(
        from: u64,
        from_millis: Option<u64>,
        others_until: Option<u64>,
        peers: bool,
    ) -> Self {
        let heard = (!peers).then(HashSet::new);
        let others_until = others_until.map_or(0, |last| last.saturating_add(1));
        Self { from, from_millis: from_millis.unwrap_or(u64::MAX), others_until, heard }
    }

    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// Takes note of who is in records that are written already.
    pub(super) fn hear(&mut self, records: &[(u64, Record)]) {
        let Some(heard) = &mut self.heard else { return };
        let since = records.iter().filter(|(number, _)| *number >= self.from);
        heard.extend(since.filter_map(|(_, record)| key_of(record)).take(HEARD_MAX));
    }

    /// These records as they are to be written. Locks the rows of their clients.
    pub(super) fn measure(
        &mut self,
        transaction: &mut Transaction<'_>,
        statement: &Statement,
        records: &[(u64, Record)],
    ) -> Result<Measured, Error> {
        if self.from_millis == u64::MAX
            && let Some((_, first)) = records.iter().find(|(number, _)| *number == self.from)
        {
            self.from_millis = first.stamp().millis;
        }
        let mut keys: Vec<PeerKey> = records.iter().filter_map(|(_, r)| key_of(r)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut known = match &self.heard {
            None => self.rows(transaction, statement, &keys)?,
            Some(heard) => keys
                .iter()
                .filter(|key| heard.contains(key) || heard.len() >= HEARD_MAX)
                .map(|key| (*key, Baseline::AGREED))
                .collect(),
        };
        let records = measured_all(records, self.from, &mut known);
        let heard = if self.heard.is_some() { keys } else { Vec::new() };
        Ok(Measured { records, heard })
    }

    /// They are written.
    pub(super) fn written(&mut self, measured: Measured) {
        if let Some(heard) = &mut self.heard {
            heard.extend(measured.heard);
        }
    }

    fn rows(
        &self,
        transaction: &mut Transaction<'_>,
        statement: &Statement,
        keys: &[PeerKey],
    ) -> Result<HashMap<PeerKey, Baseline>, Error> {
        let mut known = HashMap::with_capacity(keys.len());
        for some in keys.chunks(ROWS_AT_ONCE) {
            let users: Vec<i64> = some.iter().map(|key| key.0.0.into()).collect();
            let torrents: Vec<i64> = some.iter().map(|key| key.1.0.into()).collect();
            let peer_ids: Vec<&[u8]> = some.iter().map(|key| &key.2.0[..]).collect();
            let its_keys: Vec<i64> = some.iter().map(|key| key.3.into()).collect();
            let values: [&(dyn ToSql + Sync); 4] = [&users, &torrents, &peer_ids, &its_keys];
            for row in transaction.query(statement, &values)? {
                let bytes = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or_default();
                let number = |at: usize| u32::try_from(row.get::<_, i64>(at)).unwrap_or_default();
                let peer_id = row.get::<_, &[u8]>(2).try_into().unwrap_or([0; 20]);
                let key = (UserId(number(0)), TorrentId(number(1)), PeerId(peer_id), number(3));
                let millis = row.get::<_, Option<i64>>(8).map_or(0, i64::cast_unsigned);
                let (uploaded, downloaded, corrupt) = (bytes(4), bytes(5), bytes(6));
                let baseline = Baseline {
                    reported: Counters { uploaded, downloaded, corrupt },
                    complete: row.get::<_, Option<i64>>(7) == Some(0),
                    millis,
                    agreed: millis >= self.from_millis.max(self.others_until),
                };
                known.insert(key, baseline);
            }
        }
        Ok(known)
    }
}

impl Baseline {
    const AGREED: Self = Self {
        reported: Counters { uploaded: 0, downloaded: 0, corrupt: 0 },
        complete: false,
        millis: 0,
        agreed: true,
    };
}

fn key_of(record: &Record) -> Option<PeerKey> {
    match record {
        Record::Fact(fact) => Some(peer_of(fact)),
        _ => None,
    }
}

/// Records as they are to be written, those from `from` on after what is known of their clients.
fn measured_all(
    records: &[(u64, Record)],
    from: u64,
    known: &mut HashMap<PeerKey, Baseline>,
) -> Vec<(u64, Record)> {
    let records = records.iter().map(|(number, record)| {
        if let Record::Said(said) = record
            && let Change::TorrentRemoved { id, .. } = &said.change
        {
            // Its clients' rows go with it. One that is registered again begins without.
            known.retain(|(_, torrent, ..), _| torrent != id);
        }
        match record {
            Record::Fact(fact) if *number >= from => (*number, measured(fact, known)),
            record => (*number, record.clone()),
        }
    });
    records.collect()
}

/// A fact as it is to be written, after what is known of its client, which it becomes.
fn measured(fact: &Fact, known: &mut HashMap<PeerKey, Baseline>) -> Record {
    let key = peer_of(fact);
    let before = known.get(&key).copied();
    if before.is_some_and(|before| fact.stamp.millis < before.millis) {
        // The database has a later one.
        return Record::Tick(fact.stamp);
    }
    let (mut fact, mut agreed) = (*fact, true);
    match before {
        Some(before) if before.agreed => {}
        before => {
            let said = fact.said.unwrap_or(fact.reported);
            let goes_on = before.filter(|before| fold::goes_on(&before.reported, &said));
            // Nothing when the client has begun anew, or says what nobody can move.
            fact.moved = goes_on
                .map(|before| (fold::moved(&before.reported, &said), before.millis))
                .filter(|(moved, millis)| {
                    !fold::is_impossible(moved, fact.stamp.millis.saturating_sub(*millis))
                })
                .map_or_else(Counters::default, |(moved, _)| moved);
            // The tracker may have measured nothing itself, so nothing of what it credited says by what.
            let Fact { upload_percent, download_percent, token, .. } = fact;
            let credit =
                Credit::of(&fact.moved, &Factors { upload_percent, download_percent, token });
            fact.credited_up = fold::whole_bytes(credit.up);
            fact.credited_down = fold::whole_bytes(credit.down);
            fact.token_down = fold::whole_bytes(credit.token_down);
            // The database knows what it had. One that was complete completes nothing again, and spends no token that
            // was given since; one that was not has completed its download, whatever the tracker knew of it.
            if let Some(before) = before {
                let has_completed =
                    !before.complete && fact.left == 0 && (said.downloaded > 0 || fact.snatched);
                (fact.snatched, fact.token_spent) = (has_completed, has_completed && fact.token);
            }
            // Between which announces that was, nobody knows.
            fact.elapsed = 0;
            if fact.said.is_some() {
                fact.reported = before.filter(|_| goes_on.is_none()).map_or(said, |it| it.reported);
                if before.is_some_and(|before| before.complete) {
                    fact.left = 0;
                }
                // The tracker goes on from something else, unless it forgets the client: the row stays one
                // from before.
                agreed = !fact.active;
                if !agreed {
                    fact.stamp.millis = before.map_or(0, |before| before.millis);
                }
            }
        }
    }
    let (reported, millis) = (fact.reported, fact.stamp.millis);
    let complete = fact.left == 0;
    known.insert(key, Baseline { reported, complete, millis, agreed });
    Record::Fact(fact)
}

/// Clients that are remembered where the database does not know them, of some 50 bytes each. What more there
/// are is believed.
const HEARD_MAX: usize = 4_000_000;

/// Rows that are asked for at once.
const ROWS_AT_ONCE: usize = 4096;

#[cfg(test)]
mod tests {
    use shard::Seconds;
    use shard::private::Stamp;

    use super::*;
    use crate::journal::random;

    const HOUR: u64 = 3_600_000;

    /// Checks the worth of the first fact after an older copy, an hour after the row of its client, which has 1000 of
    /// everything: upload, download, and what a token took over.
    fn check(fact: Fact, expected: (u64, u64, u64)) {
        let reported = Counters { uploaded: 1000, downloaded: 1000, corrupt: 0 };
        let row = Baseline { reported, complete: false, millis: HOUR, agreed: false };
        let mut known = HashMap::from([(peer_of(&fact), row)]);
        let Record::Fact(fact) = measured(&fact, &mut known) else { panic!("it is a later one") };
        assert_eq!((fact.credited_up, fact.credited_down, fact.token_down), expected);
    }

    /// The tracker does not know its client, and credits nothing.
    fn first_fact(uploaded: u64, downloaded: u64) -> Fact {
        Fact {
            stamp: Stamp { millis: 2 * HOUR, node: 0 },
            reported: Counters { uploaded, downloaded, corrupt: 0 },
            moved: Counters::default(),
            upload_percent: 150,
            download_percent: 100,
            token: false,
            credited_up: 0,
            credited_down: 0,
            token_down: 0,
            ..random::usual_fact(&mut fastrand::Rng::with_seed(1), Seconds(7200))
        }
    }

    #[test]
    fn what_was_moved_since_the_row_counts_by_the_rules_of_the_fact() {
        check(first_fact(1200, 1070), (300, 70, 0));
        check(first_fact(900, 1070), (0, 0, 0));
        check(Fact { download_percent: 0, ..first_fact(1200, 1070) }, (300, 0, 0));
    }

    #[test]
    fn a_token_takes_over_what_the_tracker_did_not_measure() {
        check(Fact { token: true, ..first_fact(1200, 1070) }, (300, 0, 70));
        // One that the tracker has measured from an older report.
        let older = Fact { token: true, token_down: 500, ..first_fact(1200, 1070) };
        check(older, (300, 0, 70));
    }

    #[test]
    fn what_a_client_said_counts_where_the_tracker_takes_it_for_something_else() {
        let counters = |uploaded| Counters { uploaded, downloaded: 1000, corrupt: 0 };
        let of = |uploaded, active| {
            let said = Some(counters(uploaded));
            // What the copy of the folder had of it, before it began anew.
            Fact { reported: counters(9000), said, active, ..first_fact(0, 0) }
        };
        let row =
            Baseline { reported: counters(1000), complete: false, millis: HOUR, agreed: false };
        let reported = |uploaded| Fact { reported: counters(uploaded), said: None, ..of(0, true) };
        let credited = |facts: &[Fact]| -> Vec<u64> {
            let mut known = HashMap::from([(peer_of(&facts[0]), row)]);
            let credited = facts.iter().map(|fact| match measured(fact, &mut known) {
                Record::Fact(fact) => fact.moved.uploaded,
                _ => panic!("it is later"),
            });
            credited.collect()
        };
        // It is late, so the tracker stays with its 9000 and measures the next ones from there.
        let goes_on = Fact { moved: counters(300), ..reported(9300) };
        assert_eq!(credited(&[of(1200, true), of(1300, true), goes_on]), [200, 100, 8000]);
        // Two announces: from then on both have the same.
        let after = Fact { moved: counters(50), ..reported(1450) };
        assert_eq!(credited(&[of(1200, true), reported(1400), after]), [200, 200, 50]);
        // It has left, and is a new client when it comes again.
        assert_eq!(credited(&[of(1200, false), reported(1700)]), [200, 0]);
        // What lies below the row says nothing.
        assert_eq!(credited(&[of(900, true), of(1100, true)]), [0, 100]);
    }

    #[test]
    fn who_was_complete_completes_nothing_and_spends_no_token() {
        for complete in [false, true] {
            // The tracker may not have known it at all.
            let first = first_fact(10, 10);
            let fact = Fact { token: true, token_spent: complete, snatched: complete, ..first };
            let spends = Fact { left: 0, ..fact };
            let reported = Counters::default();
            let row = Baseline { reported, complete, millis: HOUR, agreed: false };
            let mut known = HashMap::from([(peer_of(&spends), row)]);
            let Record::Fact(fact) = measured(&spends, &mut known) else { panic!("it is later") };
            assert_eq!((fact.snatched, fact.token_spent), (!complete, !complete));
        }
    }

    #[test]
    fn of_a_torrent_that_went_and_came_again_no_client_is_known() {
        let (fact, now) = (first_fact(1200, 1070), Seconds(7200));
        let (id, info_hash) = (fact.torrent, fact.info_hash);
        let removed = Change::TorrentRemoved { id, info_hash, reason: String::new(), at: now };
        let reported = Counters { uploaded: 1000, downloaded: 1000, corrupt: 0 };
        for (before, moved) in [(Record::Tick(fact.stamp), 200), (random::said(removed), 0)] {
            let row = Baseline { reported, complete: false, millis: HOUR, agreed: false };
            let mut known = HashMap::from([(peer_of(&fact), row)]);
            let records = measured_all(&[(7, before), (8, Record::Fact(fact))], 7, &mut known);
            let Record::Fact(fact) = &records[1].1 else { panic!("it is a fact") };
            assert_eq!(fact.moved.uploaded, moved);
        }
    }

    #[test]
    fn what_nobody_can_move_is_not_credited() {
        check(first_fact(1 << 60, 1070), (0, 0, 0));
        check(first_fact(1200, 1 << 60), (0, 0, 0));
        // Two hours of the fastest link that there is.
        let most = 2 * 3600 * fold::LINE_RATE;
        check(first_fact(1000 + most, 1000), (most / 100 * 150, 0, 0));
        check(first_fact(1001 + most, 1000), (0, 0, 0));
    }
}
