//! The rows that records come to: how many are sent at once, and in which columns.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use shard::private::{TorrentId, UserId};

use super::{Fault, Session, Value};
use crate::journal::Record;
use crate::ledger::batch::{self, Act, Credit, Figures, LastCredits, PeerEnd, PeerKey, TokenUse};
use crate::ledger::client_name::client_name;
use crate::ledger::digest::{PeerRow, Snatch};
use crate::ledger::json::json;
use crate::postgres::journal_name;

impl Session<'_> {
    pub(super) fn apply_credits(&mut self, acts: &[Act<'_>]) -> Result<(), Fault> {
        let credits = batch::credits(acts);
        let unknown = self.write_credits(&credits)?;
        if unknown == 0 {
            return Ok(());
        }
        let users: Vec<i64> = credits.iter().map(|(user, _)| i64::from(user.0)).collect();
        let rows = self.transaction.query(&self.statements.unknown_users, &[&users])?;
        let who: HashSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        if who.len() as u64 != unknown {
            // One came into the table after the credits were written.
            return Err(Fault::Raced);
        }
        self.tally.unknown_users += unknown;
        let acts: Vec<Act<'_>> =
            acts.iter().filter(|act| who.contains(&i64::from(act.user().0))).copied().collect();
        self.keep_credits(&acts, NO_DATA, unknown_user)
    }

    /// How many of these users are not there.
    pub(super) fn write_credits(&mut self, credits: &[(UserId, Credit)]) -> Result<u64, Fault> {
        if credits.is_empty() {
            return Ok(0);
        }
        let mut columns = (Vec::new(), Vec::new(), Vec::new());
        for (user, credit) in credits {
            columns.0.push(i64::from(user.0));
            columns.1.push(at_most(credit.up));
            columns.2.push(at_most(credit.down));
        }
        let values: [Value<'_>; 3] = [&columns.0, &columns.1, &columns.2];
        let known = self.transaction.execute(&self.statements.credits, &values)?;
        Ok((credits.len() as u64).saturating_sub(known))
    }

    /// Keeps credit that the database does not take in the table `rejected`, added up by user.
    pub(in crate::ledger) fn keep_credits(
        &mut self,
        acts: &[Act<'_>],
        sqlstate: &str,
        why: impl Fn(UserId) -> String,
    ) -> Result<(), Fault> {
        let mut last = LastCredits::new();
        for act in acts {
            if let batch::Deed::Fact(fact) = act.deed {
                batch::note_credit(&mut last, act.number, fact);
            }
        }
        let sums: BTreeMap<UserId, Credit> = batch::credits(acts).into_iter().collect();
        self.keep_sums(&last, &sums, sqlstate, why)
    }

    /// The same, of users whose sums are known and in `last`.
    pub(super) fn keep_sums(
        &mut self,
        last: &LastCredits,
        sums: &BTreeMap<UserId, Credit>,
        sqlstate: &str,
        why: impl Fn(UserId) -> String,
    ) -> Result<(), Fault> {
        let ids: Vec<i64> = last.keys().map(|user| i64::from(user.0)).collect();
        let up: Vec<i64> = last.keys().map(|user| at_most(sums[user].up)).collect();
        let down: Vec<i64> = last.keys().map(|user| at_most(sums[user].down)).collect();
        let numbers: Vec<i64> = last.values().map(|(_, number, _)| number.cast_signed()).collect();
        let reasons: Vec<String> = last.keys().map(|user| why(*user)).collect();
        let records: Vec<String> = last
            .values()
            .map(|(count, _, fact)| {
                let last = json(&Record::Fact(*fact));
                serde_json::json!({ "facts": count, "last": last }).to_string()
            })
            .collect();
        let journal = journal_name(self.scope.journal);
        let values: [Value<'_>; 9] =
            [&journal, &self.scope.node, &sqlstate, &ids, &up, &down, &numbers, &reasons, &records];
        self.transaction.execute(&self.statements.keep_credit, &values)?;
        if let Some((count, number, _)) = last.values().last()
            && sqlstate != NO_DATA
        {
            let error = reasons.last().cloned().unwrap_or_default();
            self.tally.refuse(("credit", sqlstate), *count, *number, error);
        }
        Ok(())
    }

    pub(super) fn write_figures(&mut self, figures: &[(TorrentId, Figures)]) -> Result<(), Fault> {
        if figures.is_empty() {
            return Ok(());
        }
        let column = |value: fn(&Figures) -> i64| -> Vec<i64> {
            figures.iter().map(|(_, figures)| value(figures)).collect()
        };
        let ids: Vec<i64> = figures.iter().map(|(id, _)| i64::from(id.0)).collect();
        let seeders = column(|figures| figures.swarm.seeders.into());
        let leechers = column(|figures| figures.swarm.leechers.into());
        let (statement, snatches, balances) = match self.by_difference {
            false => (
                &self.statements.figures,
                column(|figures| figures.swarm.snatches.into()),
                column(|figures| figures.swarm.balance),
            ),
            true => (
                &self.statements.figures_measured,
                column(|figures| figures.snatched.into()),
                column(|figures| {
                    let within = i128::from(i64::MIN)..=i128::from(i64::MAX);
                    i64::try_from(figures.moved.clamp(*within.start(), *within.end()))
                        .expect("it is within")
                }),
            ),
        };
        let active: Vec<Option<i64>> = figures
            .iter()
            .map(|(_, figures)| figures.active_at.map(|at| i64::from(at.0)))
            .collect();
        let values: [Value<'_>; 6] = [&ids, &seeders, &leechers, &snatches, &balances, &active];
        let known = self.transaction.execute(statement, &values)?;
        self.tally.unknown_torrents += (figures.len() as u64).saturating_sub(known);
        Ok(())
    }

    pub(super) fn write_tokens(
        &mut self,
        uses: &[((UserId, TorrentId), TokenUse)],
    ) -> Result<(), Fault> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((user, torrent), token_use) in uses {
            columns.0.push(i64::from(user.0));
            columns.1.push(i64::from(torrent.0));
            columns.2.push(at_most(token_use.down));
            columns.3.push(token_use.spent_at.map(|at| i64::from(at.0)));
        }
        let values: [Value<'_>; 4] = [&columns.0, &columns.1, &columns.2, &columns.3];
        let known = self.transaction.execute(&self.statements.tokens, &values)?;
        self.tally.unknown_tokens += (uses.len() as u64).saturating_sub(known);
        let spent: Vec<usize> = (0..uses.len()).filter(|at| columns.3[*at].is_some()).collect();
        if self.scope.spent_tokens && !spent.is_empty() {
            let of = |column: &[i64]| -> Vec<i64> { spent.iter().map(|at| column[*at]).collect() };
            let at: Vec<i64> = columns.3.iter().copied().flatten().collect();
            let values: [Value<'_>; 3] = [&of(&columns.0), &of(&columns.1), &at];
            self.transaction.execute(&self.statements.spent_tokens, &values)?;
        }
        Ok(())
    }

    pub(super) fn write_snatches(
        &mut self,
        snatches: impl Iterator<Item = Snatch>,
    ) -> Result<(), Fault> {
        let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for Snatch { user, torrent, at, v4, v6 } in snatches {
            columns.0.push(i64::from(user.0));
            columns.1.push(i64::from(torrent.0));
            columns.2.push(i64::from(at.0));
            columns.3.push(v4.map(IpAddr::V4).or(v6.map(IpAddr::V6)));
        }
        if !columns.0.is_empty() {
            let values: [Value<'_>; 4] = [&columns.0, &columns.1, &columns.2, &columns.3];
            self.transaction.execute(&self.statements.snatches, &values)?;
        }
        Ok(())
    }

    pub(super) fn apply_peers(&mut self, acts: &[Act<'_>]) -> Result<(), Fault> {
        let ends = batch::peers(acts);
        let (mut rows, mut gone) = (Vec::with_capacity(ends.len()), Vec::new());
        for (key, PeerEnd { fact, gone: left }) in &ends {
            match fact {
                Some(fact) => {
                    let row = PeerRow::of(fact);
                    rows.push((key, PeerRow { active: row.active && !left, ..row }));
                }
                None => gone.push(*key),
            }
        }
        let announced: Vec<_> = rows.iter().map(|(key, row)| (*key, row)).collect();
        self.write_peers(&announced, &gone)
    }

    /// Clients as their last announce left them, and those that have not been heard of since they announced last.
    pub(super) fn write_peers(
        &mut self,
        announced: &[(&PeerKey, &PeerRow)],
        gone: &[PeerKey],
    ) -> Result<(), Fault> {
        for some in announced.chunks(PEERS_AT_ONCE) {
            self.put_peers(some)?;
        }
        for some in gone.chunks(PEERS_AT_ONCE) {
            self.part_peers(some)?;
        }
        Ok(())
    }

    fn part_peers(&mut self, gone: &[PeerKey]) -> Result<(), Fault> {
        let users: Vec<i64> = gone.iter().map(|(user, ..)| i64::from(user.0)).collect();
        let torrents: Vec<i64> = gone.iter().map(|(_, torrent, ..)| i64::from(torrent.0)).collect();
        let peer_ids: Vec<&[u8]> = gone.iter().map(|(_, _, peer_id, _)| &peer_id.0[..]).collect();
        let keys: Vec<i64> = gone.iter().map(|(.., key)| i64::from(*key)).collect();
        let values: [Value<'_>; 4] = [&users, &torrents, &peer_ids, &keys];
        self.transaction.execute(&self.statements.peers_gone, &values)?;
        Ok(())
    }

    fn put_peers(&mut self, peers: &[(&PeerKey, &PeerRow)]) -> Result<(), Fault> {
        fn column<'a, T>(
            peers: &[(&'a PeerKey, &'a PeerRow)],
            value: impl Fn(&'a PeerRow) -> T,
        ) -> Vec<T> {
            peers.iter().map(|(_, row)| value(row)).collect()
        }
        let users: Vec<i64> = peers.iter().map(|(key, _)| i64::from(key.0.0)).collect();
        let torrents: Vec<i64> = peers.iter().map(|(key, _)| i64::from(key.1.0)).collect();
        let peer_ids: Vec<&[u8]> = peers.iter().map(|(key, _)| &key.2.0[..]).collect();
        let clients: Vec<String> = peers.iter().map(|(key, _)| client_name(&key.2.0)).collect();
        let keys: Vec<i64> = peers.iter().map(|(key, _)| i64::from(key.3)).collect();
        self.transaction.execute(
            &self.statements.peers,
            &[
                &users,
                &torrents,
                &peer_ids,
                &column(peers, |row| row.v4.map(IpAddr::V4)),
                &column(peers, |row| row.v6.map(IpAddr::V6)),
                &column(peers, |row| row.port().map(i32::from)),
                &column(peers, |row| at_most(row.reported.uploaded)),
                &column(peers, |row| at_most(row.reported.downloaded)),
                &column(peers, |row| (row.left != u64::MAX).then_some(at_most(row.left))),
                &column(peers, |row| at_most(row.reported.corrupt)),
                &column(peers, |row| at_most(row.upload_rate)),
                &column(peers, |row| at_most(row.download_rate)),
                &column(peers, |row| i64::from(row.seconds)),
                &column(peers, |row| i64::from(row.announces)),
                &clients,
                &column(peers, |row| row.active),
                &column(peers, |row| i64::from(row.at.0)),
                &keys,
                &column(peers, |row| row.port_v6().map(i32::from)),
                &column(peers, |row| at_most(row.stamp.millis)),
            ],
        )?;
        Ok(())
    }
}

/// Peers in one statement. What is sent takes some 250 bytes for each of them several times over, and the
/// connection keeps buffers as large as they ever were.
const PEERS_AT_ONCE: usize = 4096;

/// The same of users and torrents, which are narrow: as many as a batch may have.
pub(super) const ROWS_AT_ONCE: usize = 16_384;

/// The SQLSTATE of what finds no row (SQL, class 02).
pub(in crate::ledger) const NO_DATA: &str = "02000";

pub(super) fn unknown_user(user: UserId) -> String {
    format!("user {} is not in users", user.0)
}

/// A number as the database holds it. Clients may report anything: the largest number stands for all that are larger.
pub(super) fn at_most(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
