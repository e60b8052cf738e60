//! One batch, one transaction.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ::postgres::types::ToSql;
use ::postgres::{Client, Error, Transaction};
use shard::private::{Change, TorrentId, UserId};

use super::batch::{self, Act, Credit, Figures, Group, LastCredits, PeerEnd, PeerKey, TokenUse};
use super::client_name::client_name;
use super::digest::{Digest, PeerRow, Snatch};
use super::gaps::{self, Gap, Gaps};
use super::json::json;
use super::measure::Measure;
use super::standing::Written;
use super::statements::Statements;
use super::suspicions::Row;
use super::{Record, isolate};
use crate::journal::{Columns, Said};
use crate::postgres::{journal_name, let_go, wait_for_locks};

/// Writes batches over one connection.
pub(super) struct Writer {
    client: Client,
    statements: Statements,
    scope: Scope,
    /// What clients moved is not known by the journal.
    measure: Option<Measure>,
    /// The tracker's own figures of torrents are not those of the database, so only what they differ by is
    /// written. So it was once measured, and the tracker has not started anew since.
    by_difference: bool,
}

/// Whose journal, and what of it is to be written.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) journal: u64,
    pub(super) node: String,
    pub(super) peers: bool,
    /// Tokens that are used up are noted, for who tells the site of them.
    pub(super) spent_tokens: bool,
}

/// The records of a transaction: from the first, up to `next`.
struct Span {
    first: u64,
    next: u64,
    /// When the last of them was made.
    until_millis: Option<u64>,
    /// That of the last of them.
    life: Option<u64>,
}

/// What came of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the database for good.
    Written(Tally),
    /// The position was not where this batch begins: somebody else wrote, or the database is an older
    /// one. Nothing has changed.
    Moved,
}

/// What was noticed while writing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Tally {
    pub(super) unknown_users: u64,
    pub(super) unknown_torrents: u64,
    pub(super) unknown_tokens: u64,
    pub(super) rejected: u64,
    /// What was refused, by part and code: how often, and the last record with what the database says.
    pub(super) refusals: BTreeMap<(&'static str, String), (u64, u64, String)>,
}

/// What is written for a fact; each can be refused by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Credit,
    Figures,
    Token,
    Snatch,
    Peer,
}

impl Part {
    pub(super) const ALL: [Self; 5] =
        [Self::Credit, Self::Figures, Self::Token, Self::Snatch, Self::Peer];

    /// As the table `rejected` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Figures => "figures",
            Self::Token => "token",
            Self::Snatch => "snatch",
            Self::Peer => "peer",
        }
    }
}

/// Why something was not written.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database does not take it; with the code and the text of the error.
    Refused { sqlstate: String, error: String },
    /// It has nothing to do with what was to be written: try again, perhaps over a new connection.
    Failed(Error),
    /// Somebody put in a row at the same moment: nothing is written, and it is to be tried again.
    Raced,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(refusal) if is_about_data(refusal.code().code()) => Self::Refused {
                sqlstate: refusal.code().code().to_owned(),
                error: isolate::describe(refusal),
            },
            _ => Self::Failed(error),
        }
    }
}

/// The classes of errors (PostgreSQL, "Error Codes") that come again with the same data, and only with it:
/// cardinality, data, constraints, triggers, routines, WITH CHECK OPTION, limits, RAISE. Everything else is
/// of the server, the connection, the schema or its rights; there, every record would be refused.
fn is_about_data(code: &str) -> bool {
    matches!(
        code.as_bytes(),
        [b'2', b'1' | b'2' | b'3' | b'7', ..]
            | [b'3', b'8' | b'9', ..]
            | [b'4', b'4', ..]
            | [b'5', b'4', ..]
            | [b'P', b'0', ..]
    )
}

impl Writer {
    /// Prepares statements. The tables have to be there.
    pub(super) fn new(mut client: Client, scope: Scope) -> Result<Self, Error> {
        let statements = Statements::prepare(&mut client)?;
        Ok(Self { client, statements, scope, measure: None, by_difference: false })
    }

    /// What the database has of the journal; `None` for one that it does not know.
    pub(super) fn written(&mut self) -> Result<Option<Written>, Error> {
        let journal = journal_name(self.scope.journal);
        let select = "SELECT next, life, written_until FROM ledger WHERE journal = $1";
        let row = self.client.query_opt(select, &[&journal])?;
        Ok(row.map(|row| Written {
            next: row.get::<_, i64>(0).cast_unsigned(),
            // A name that no program writes is one that nobody knows.
            life: row
                .get::<_, Option<&str>>(1)
                .map(|life| u64::from_str_radix(life, 16).unwrap_or(u64::MAX)),
            until: row.get::<_, Option<i64>>(2).map(i64::cast_unsigned),
        }))
    }

    /// The database is to know the journal, which begins with this record.
    pub(super) fn begin(&mut self, next: u64) -> Result<(), Error> {
        let journal = journal_name(self.scope.journal);
        let insert = "INSERT INTO ledger (journal, node, next) VALUES ($1, $2, $3)";
        self.client.execute(insert, &[&journal, &self.scope.node, &next.cast_signed()])?;
        Ok(())
    }

    /// Notes that records are missing for good, and goes on with record `next`; the one before it is of this
    /// life. With `measured`, what clients moved is measured from then on.
    pub(super) fn skip(
        &mut self,
        gap: &Gap,
        next: u64,
        life: Option<u64>,
        measured: bool,
    ) -> Result<(), Error> {
        let journal = journal_name(self.scope.journal);
        let mut transaction = self.client.transaction()?;
        gaps::note(&mut transaction, &journal, &self.scope.node, gap)?;
        let life = life.map(life_name);
        let number = next.cast_signed();
        transaction.execute(SKIP, &[&journal, &number, &life, &measured])?;
        transaction.commit()
    }

    /// From which record on clients are to be measured.
    pub(super) fn measured_from(&mut self) -> Result<Option<u64>, Error> {
        let select = "SELECT measured_from FROM ledger WHERE journal = $1";
        let row = self.client.query_opt(select, &[&journal_name(self.scope.journal)])?;
        let from = row.and_then(|row| row.get::<_, Option<i64>>(0));
        Ok(from.map(i64::cast_unsigned))
    }

    /// Has clients measured from this record on, anew where they are already.
    pub(super) fn begin_measuring(&mut self, from: u64) -> Result<(), Error> {
        let update = "UPDATE ledger SET measured_from = $2, measured_since = now() \
                      WHERE journal = $1";
        let journal = journal_name(self.scope.journal);
        self.client.execute(update, &[&journal, &from.cast_signed()]).map(drop)
    }

    /// Ends it when it has gone on for so many seconds; whether it goes on no more.
    pub(super) fn end_measuring(&mut self, seconds: u64) -> Result<bool, Error> {
        let update = "UPDATE ledger SET measured_from = NULL, measured_since = NULL WHERE journal = $1 \
                      AND measured_since < now() - make_interval(secs => $2)";
        let journal = journal_name(self.scope.journal);
        let ended = self.client.execute(update, &[&journal, &(seconds as f64)])? == 1;
        if ended {
            self.measure = None;
        }
        Ok(ended)
    }

    pub(super) fn set_measure(&mut self, measure: Option<Measure>, by_difference: bool) {
        (self.measure, self.by_difference) = (measure, by_difference);
    }

    /// Which records are missing for good, of all journals.
    pub(super) fn gaps(&mut self) -> Result<Gaps, Error> {
        gaps::read(&mut self.client)
    }

    /// When another journal of this node was written last, where there was one: as text.
    pub(super) fn other_journal(&mut self) -> Result<Option<String>, Error> {
        let journal = journal_name(self.scope.journal);
        let select = "SELECT max(updated_at)::text FROM ledger WHERE node = $1 AND journal <> $2";
        Ok(self.client.query_one(select, &[&self.scope.node, &journal])?.get(0))
    }

    /// Writes records, in their order and without a gap, and moves the position behind them: both, or
    /// neither. What the database refuses is put aside, see [`isolate`].
    /// `life` is that of the last one.
    pub(super) fn write(
        &mut self,
        records: &[(u64, Record)],
        life: Option<u64>,
    ) -> Result<Outcome, Fault> {
        match self.write_with(records, life, |session, records| session.apply(records)) {
            Err(Fault::Refused { .. }) => self.write_with(records, life, isolate::apply),
            result => result,
        }
    }

    fn write_with(
        &mut self,
        records: &[(u64, Record)],
        life: Option<u64>,
        apply: impl FnOnce(&mut Session<'_>, &[(u64, Record)]) -> Result<(), Fault>,
    ) -> Result<Outcome, Fault> {
        let (Some((first, _)), Some((last, _))) = (records.first(), records.last()) else {
            return Ok(Outcome::Written(Tally::default()));
        };
        let until_millis = records.iter().map(|(_, record)| record.stamp().millis).max();
        let span = Span { first: *first, next: last + 1, until_millis, life };
        let mut measure = self.measure.take();
        let mut measured = None;
        let result = self.transact(span, |session| {
            if let Some(measure) = &mut measure {
                let baselines = &session.statements.baselines;
                measured = Some(measure.measure(&mut session.transaction, baselines, records)?);
            }
            apply(session, measured.as_ref().map_or(records, |measured| &measured.records))
        });
        if let (Some(measure), Some(measured), Ok(Outcome::Written(_))) =
            (&mut measure, measured, &result)
        {
            measure.written(measured);
        }
        self.measure = measure;
        result
    }

    /// The same with many records that were added up before. Whatever the database refuses, nothing is written.
    ///
    /// `strays` are the last facts of the users that [`Writer::strangers`] names.
    pub(super) fn write_digest(
        &mut self,
        digest: &Digest,
        strays: &LastCredits,
        life: Option<u64>,
    ) -> Result<Outcome, Fault> {
        debug_assert!(!self.is_measuring());
        let (first, next) = digest.span();
        let span = Span { first, next, until_millis: digest.until_millis(), life };
        self.transact(span, |session| session.apply_digest(digest, strays))
    }

    /// Those who are credited and neither in the database nor made by the digest.
    pub(super) fn strangers(&mut self, digest: &Digest) -> Result<HashSet<UserId>, Error> {
        let made = digest.said.iter().filter_map(|(_, said)| match said.change {
            Change::User { id, .. } if said.columns.has(Columns::MAKES) => Some(id),
            _ => None,
        });
        let made: HashSet<UserId> = made.collect();
        let users = digest.credits().into_iter().map(|(user, _)| user);
        let users = users.filter(|user| !made.contains(user));
        let users: Vec<i64> = users.map(|user| i64::from(user.0)).collect();
        let mut strangers = HashSet::new();
        for some in users.chunks(ROWS_AT_ONCE) {
            for row in self.client.query(&self.statements.unknown_users, &[&some])? {
                let number = u32::try_from(row.get::<_, i64>(0)).expect("it was asked for");
                strangers.insert(UserId(number));
            }
        }
        Ok(strangers)
    }

    /// Whether what clients moved is not known by the journal.
    pub(super) fn is_measuring(&self) -> bool {
        self.measure.is_some()
    }

    fn transact(
        &mut self,
        span: Span,
        apply: impl FnOnce(&mut Session<'_>) -> Result<(), Fault>,
    ) -> Result<Outcome, Fault> {
        let mut session = Session {
            transaction: self.client.transaction()?,
            statements: &self.statements,
            scope: &self.scope,
            by_difference: self.by_difference,
            tally: Tally::default(),
        };
        let journal = journal_name(self.scope.journal);
        // The row is locked until the end, so two processes with one journal take turns here, and the
        // second finds that it has moved.
        let row = session.transaction.query_opt(&self.statements.position, &[&journal])?;
        if row.map(|row| row.get::<_, i64>(0)) != Some(span.first.cast_signed()) {
            return Ok(Outcome::Moved);
        }
        apply(&mut session)?;
        let next = span.next.cast_signed();
        let until = span.until_millis.map(at_most);
        let life = span.life.map(life_name);
        let values: [Value<'_>; 5] = [&journal, &self.scope.node, &next, &until, &life];
        session.transaction.execute(&self.statements.advance, &values)?;
        let tally = session.tally;
        session.transaction.commit()?;
        Ok(Outcome::Written(tally))
    }

    /// Adds to what is suspicious, in a transaction of its own.
    pub(super) fn write_suspicions(&mut self, rows: &[Row]) -> Result<(), Fault> {
        fn column<T>(rows: &[Row], value: impl Fn(&Row) -> T) -> Vec<T> {
            rows.iter().map(value).collect()
        }
        self.client.execute(
            &self.statements.suspicions,
            &[
                &column(rows, |row| row.kind.name()),
                &column(rows, |row| i64::from(row.user.0)),
                &column(rows, |row| row.torrent.map(|torrent| i64::from(torrent.0))),
                &column(rows, |row| i64::from(row.first_at.0)),
                &column(rows, |row| i64::from(row.last_at.0)),
                &column(rows, |row| at_most(row.times)),
                &column(rows, |row| at_most(row.worst)),
                &column(rows, |row| client_name(&row.peer_id.0)),
            ],
        )?;
        Ok(())
    }

    /// From now on a lock is waited for as long as this.
    pub(super) fn wait_for_locks(&mut self, patience: Duration) -> Result<(), Error> {
        wait_for_locks(&mut self.client, patience)
    }

    /// Gives up a connection that failed.
    pub(super) fn let_go(self) {
        let_go(self.client);
    }

    /// Whether the server still answers.
    pub(super) fn check(&mut self, patience: Duration) -> Result<(), Error> {
        self.client.is_valid(patience)
    }

    /// Removes peers that have not announced for so many seconds, at most `max` of them; how many.
    pub(super) fn remove_stale_peers(&mut self, seconds: u64, max: u64) -> Result<u64, Error> {
        let values: [Value<'_>; 2] = [&(seconds as f64), &max.cast_signed()];
        self.client.execute(&self.statements.stale_peers, &values)
    }
}

/// As the table `ledger` has it.
fn life_name(life: u64) -> String {
    format!("{life:016x}")
}

const SKIP: &str = "
    UPDATE ledger SET next = $2, life = $3, updated_at = now(),
        measured_from = CASE WHEN $4 THEN $2 ELSE measured_from END,
        measured_since = CASE WHEN $4 THEN now() ELSE measured_since END
    WHERE journal = $1";

type Value<'a> = &'a (dyn ToSql + Sync);

/// A transaction, or a savepoint in one.
pub(super) struct Session<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) statements: &'a Statements,
    pub(super) scope: &'a Scope,
    by_difference: bool,
    pub(super) tally: Tally,
}

impl Session<'_> {
    /// Writes all of these records, or fails.
    pub(super) fn apply(&mut self, records: &[(u64, Record)]) -> Result<(), Fault> {
        for Group { changes, acts, .. } in batch::groups(records) {
            self.apply_said(&changes)?;
            for part in Part::ALL {
                self.apply_acts(part, &acts)?;
            }
        }
        Ok(())
    }

    /// Writes what many records made, or fails. The rows that only the tracker writes come first, as there are many
    /// of them: those of users and torrents, which the site may want, are locked for as short as can be.
    fn apply_digest(&mut self, digest: &Digest, strays: &LastCredits) -> Result<(), Fault> {
        let said: Vec<(u64, &Said)> =
            digest.said.iter().map(|(number, said)| (*number, said)).collect();
        self.apply_said(&said)?;
        let (announced, gone) = digest.peers();
        self.write_peers(&announced, &gone)?;
        self.write_snatches(digest.snatches.iter().copied())?;
        let credits = digest.credits();
        let mut unknown = 0;
        for some in credits.chunks(ROWS_AT_ONCE) {
            unknown += self.write_credits(some)?;
        }
        if unknown != strays.len() as u64 {
            return Err(Fault::Raced);
        }
        if !strays.is_empty() {
            self.tally.unknown_users += strays.len() as u64;
            let credits = credits.into_iter().filter(|(user, _)| strays.contains_key(user));
            let sums: BTreeMap<UserId, Credit> = credits.collect();
            self.keep_sums(strays, &sums, NO_DATA, unknown_user)?;
        }
        for some in digest.figures().chunks(ROWS_AT_ONCE) {
            let some: Vec<(TorrentId, Figures)> =
                some.iter().map(|(id, it)| (**id, **it)).collect();
            self.write_figures(&some)?;
        }
        self.write_tokens(&digest.token_uses())
    }

    /// Writes what the site said, each run of one kind at once.
    pub(super) fn apply_said(&mut self, said: &[(u64, &Said)]) -> Result<(), Fault> {
        let kind = |said: &Said| std::mem::discriminant(&said.change);
        for run in said.chunk_by(|(_, one), (_, next)| kind(one) == kind(next)) {
            self.apply_changes(run)?;
        }
        Ok(())
    }

    /// Does `work` in a savepoint: when the database refuses it, nothing of it is done.
    pub(super) fn attempt(
        &mut self,
        work: impl FnOnce(&mut Session<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut inner = Session {
            transaction: self.transaction.transaction()?,
            statements: self.statements,
            scope: self.scope,
            by_difference: self.by_difference,
            tally: self.tally.clone(),
        };
        let result = work(&mut inner);
        let tally = inner.tally;
        match &result {
            Ok(()) => {
                inner.transaction.commit()?;
                self.tally = tally;
            }
            Err(Fault::Refused { .. }) => inner.transaction.rollback()?,
            Err(Fault::Failed(_) | Fault::Raced) => {}
        }
        result
    }

    /// Writes one part of what peers did.
    pub(super) fn apply_acts(&mut self, part: Part, acts: &[Act<'_>]) -> Result<(), Fault> {
        match part {
            Part::Credit => self.apply_credits(acts),
            Part::Figures => self.write_figures(&batch::figures(acts)),
            Part::Token => self.write_tokens(&batch::token_uses(acts)),
            Part::Snatch => self.write_snatches(batch::snatches(acts).map(Snatch::of)),
            Part::Peer if self.scope.peers => self.apply_peers(acts),
            Part::Peer => Ok(()),
        }
    }

    fn apply_credits(&mut self, acts: &[Act<'_>]) -> Result<(), Fault> {
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
    fn write_credits(&mut self, credits: &[(UserId, Credit)]) -> Result<u64, Fault> {
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
    pub(super) fn keep_credits(
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
    fn keep_sums(
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

    fn write_figures(&mut self, figures: &[(TorrentId, Figures)]) -> Result<(), Fault> {
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

    fn write_tokens(&mut self, uses: &[((UserId, TorrentId), TokenUse)]) -> Result<(), Fault> {
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

    fn write_snatches(&mut self, snatches: impl Iterator<Item = Snatch>) -> Result<(), Fault> {
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

    fn apply_peers(&mut self, acts: &[Act<'_>]) -> Result<(), Fault> {
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
    fn write_peers(
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
                &column(peers, |row| (!row.hidden).then_some(i32::from(row.port))),
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
                &column(peers, |row| row.v6.map(|_| i32::from(row.port))),
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
const ROWS_AT_ONCE: usize = 16_384;

/// The SQLSTATE of what finds no row (SQL, class 02).
pub(super) const NO_DATA: &str = "02000";

fn unknown_user(user: UserId) -> String {
    format!("user {} is not in users", user.0)
}

impl Tally {
    /// Notes that the database refused something.
    pub(super) fn refuse(
        &mut self,
        (part, sqlstate): (&'static str, &str),
        count: u64,
        number: u64,
        error: String,
    ) {
        self.rejected += count;
        let entry = self.refusals.entry((part, sqlstate.to_owned())).or_default();
        *entry = (entry.0 + count, number, error);
    }
}

/// What a client reports may be anything; the largest number stands for all that are larger.
fn at_most(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
