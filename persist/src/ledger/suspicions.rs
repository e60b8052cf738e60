//! The suspicions that the ledger noticed on the way, until they are in the database.

use std::collections::BTreeMap;

use shard::Seconds;
use shard::private::{PeerId, TorrentId, UserId};

use super::Record;
use crate::suspicion::{Judge, Kind, Suspected, Thresholds};

/// The judge, and what it said that is not written yet.
pub(super) struct Suspicions {
    judge: Judge,
    /// Records before this one have been heard: a batch may come a second time.
    heard: u64,
    rows: BTreeMap<(Kind, UserId, Option<TorrentId>), Row>,
    suspected: Suspected,
}

/// An addition to a row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) user: UserId,
    pub(super) torrent: Option<TorrentId>,
    pub(super) first_at: Seconds,
    pub(super) last_at: Seconds,
    pub(super) times: u64,
    pub(super) worst: u64,
    /// The last client.
    pub(super) peer_id: PeerId,
}

impl Suspicions {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        let judge = Judge::new(thresholds);
        Self { judge, heard: 0, rows: BTreeMap::new(), suspected: Suspected::default() }
    }

    /// Takes in what of a batch has not been heard before.
    pub(super) fn hear(&mut self, batch: &[(u64, Record)]) {
        if !self.judge.is_on() {
            return;
        }
        for (number, record) in batch {
            let Record::Fact(fact) = record else { continue };
            if *number < self.heard {
                continue;
            }
            self.heard = number + 1;
            self.judge.hear(fact, |found| {
                let key = (found.kind, found.user, found.torrent);
                let row = self.rows.entry(key).or_insert(Row {
                    kind: found.kind,
                    user: found.user,
                    torrent: found.torrent,
                    first_at: found.at,
                    last_at: found.at,
                    times: 0,
                    worst: 0,
                    peer_id: found.peer_id,
                });
                row.last_at = found.at;
                row.times += 1;
                row.worst = row.worst.max(found.figure);
                row.peer_id = found.peer_id;
            });
        }
    }

    /// How many rows are to be written.
    pub(super) fn waiting(&self) -> usize {
        self.rows.len()
    }

    /// The rows to be written, in the order of their keys, so that two trackers cannot deadlock.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.rows.values().copied().collect()
    }

    /// It is written; what that makes in all.
    pub(super) fn settle(&mut self) -> Suspected {
        for row in std::mem::take(&mut self.rows).into_values() {
            self.suspected[row.kind as usize] += row.times;
        }
        self.suspected
    }
}
