//! One batch or digest, one transaction.

mod rows;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ::postgres::types::ToSql;
use ::postgres::{Client, Error, Transaction};
use shard::private::{Change, TorrentId, UserId};

use super::batch::{self, Act, Credit, Figures, Group, LastCredits};
use super::client_name::client_name;
use super::digest::{Digest, Snatch};
use super::gaps::{self, Gap, Gaps};
use super::measure::Measure;
use super::standing::Written;
use super::statements::Statements;
use super::suspicions::Row;
use super::{Record, isolate};
use crate::journal::{Columns, Said};
use crate::postgres::{journal_name, let_go, wait_for_locks};
pub(super) use rows::NO_DATA;
use rows::{ROWS_AT_ONCE, at_most, unknown_user};

/// Writes batches over one connection.
pub(super) struct Writer {
    client: Client,
    statements: Statements,
    scope: Scope,
    /// Its epoch: what it writes is only taken as long as no other session has begun a later one.
    epoch: i64,
    /// The measuring of clients, where the journal does not know what they moved.
    measure: Option<Measure>,
    /// The tracker's own figures of torrents are not those of the database, so only what they differ by is
    /// written. So it was once measured, and the tracker has not started anew since.
    by_difference: bool,
}

/// The journal, and what of it is to be written.
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

/// A journal that is not the one that is written.
#[derive(Debug)]
pub(super) struct OtherJournal {
    /// The database has all of its records before this one.
    pub(super) next: u64,
    /// When the newest of them was made, in milliseconds since 1970.
    pub(super) until: Option<u64>,
    /// When it was written last, for people.
    pub(super) written_at: String,
}

/// The outcome of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the database for good.
    Written(Tally),
    /// The position was not where this batch begins: somebody else wrote, or the database is an older
    /// one. Nothing has changed.
    Moved,
}

/// Counts of what was noticed while writing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Tally {
    pub(super) unknown_users: u64,
    pub(super) unknown_torrents: u64,
    pub(super) unknown_tokens: u64,
    pub(super) rejected: u64,
    /// The refusals, by part and code: how often, and the last record with what the database says.
    pub(super) refusals: BTreeMap<(&'static str, String), (u64, u64, String)>,
}

/// A part of what is written for a fact; each can be refused by itself.
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
    /// Prepares statements, and begins an epoch. The tables have to be there, and the lock is this session's.
    pub(super) fn new(mut client: Client, scope: Scope) -> Result<Self, Error> {
        let statements = Statements::prepare(&mut client)?;
        let epoch = client.query_one(TAKE, &[&journal_name(scope.journal), &scope.node])?.get(0);
        Ok(Self { client, statements, scope, epoch, measure: None, by_difference: false })
    }

    /// The part of the journal that the database has; `None` for a journal that it does not know.
    /// And when another journal was written last, where that was after this one.
    pub(super) fn written(&mut self) -> Result<Option<(Written, Option<String>)>, Error> {
        let journal = journal_name(self.scope.journal);
        let row = self.client.query_opt(WRITTEN, &[&journal])?;
        Ok(row.map(|row| {
            let written = Written {
                next: row.get::<_, i64>(0).cast_unsigned(),
                // A name that no program writes is one that nobody knows.
                life: row
                    .get::<_, Option<&str>>(1)
                    .map(|life| u64::from_str_radix(life, 16).unwrap_or(u64::MAX)),
                until: row.get::<_, Option<i64>>(2).map(i64::cast_unsigned),
            };
            (written, row.get(3))
        }))
    }

    /// The database is to know the journal, which begins with this record. With a gap, that is noted, and with
    /// `true`, what clients moved is measured from then on.
    pub(super) fn begin(&mut self, next: u64, gap: Option<(&Gap, bool)>) -> Result<(), Error> {
        let journal = journal_name(self.scope.journal);
        let mut transaction = self.client.transaction()?;
        let insert = "INSERT INTO ledger (journal, node, next) VALUES ($1, $2, $3)";
        transaction.execute(insert, &[&journal, &self.scope.node, &next.cast_signed()])?;
        if let Some((gap, measured)) = gap {
            gaps::note(&mut transaction, &journal, &self.scope.node, gap)?;
            if measured {
                transaction.execute(BEGIN_MEASURING, &[&journal, &next.cast_signed()])?;
            }
        }
        transaction.commit()
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

    /// From which record on clients are to be measured, and when the last record of other journals was made, in
    /// milliseconds since 1970.
    pub(super) fn measured_from(&mut self) -> Result<Option<(u64, Option<u64>)>, Error> {
        let row = self.client.query_opt(MEASURED_FROM, &[&journal_name(self.scope.journal)])?;
        Ok(row.and_then(|row| {
            let from = row.get::<_, Option<i64>>(0)?;
            Some((from.cast_unsigned(), row.get::<_, Option<i64>>(1).map(i64::cast_unsigned)))
        }))
    }

    /// Has clients measured from this record on, anew where they are already.
    pub(super) fn begin_measuring(&mut self, from: u64) -> Result<(), Error> {
        let journal = journal_name(self.scope.journal);
        self.client.execute(BEGIN_MEASURING, &[&journal, &from.cast_signed()]).map(drop)
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

    /// The other journal that was written last, where there was one.
    pub(super) fn other_journal(&mut self) -> Result<Option<OtherJournal>, Error> {
        let journal = journal_name(self.scope.journal);
        let row = self.client.query_opt(OTHER_JOURNAL, &[&journal])?;
        Ok(row.map(|row| OtherJournal {
            next: row.get::<_, i64>(0).cast_unsigned(),
            until: row.get::<_, Option<i64>>(1).map(i64::cast_unsigned),
            written_at: row.get(2),
        }))
    }

    /// Whether there are rows of clients.
    pub(super) fn has_peers(&mut self) -> Result<bool, Error> {
        Ok(self.client.query_one("SELECT EXISTS (SELECT FROM peers)", &[])?.get(0))
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

    /// The users who are credited and neither in the database nor made by the digest.
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
        let values: [Value<'_>; 2] = [&journal, &self.epoch];
        let row = session.transaction.query_opt(&self.statements.position, &values)?;
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

    /// Says that it is alive, as long as no session of a later epoch writes.
    pub(super) fn beat(&mut self) -> Result<(), Error> {
        self.client.execute(&self.statements.beat, &[&self.epoch]).map(drop)
    }

    /// Whether the journal is to be written from this record on, as it was, and by this session: a database that went
    /// back to a backup says something else, and so does one in which a later epoch has begun.
    pub(super) fn is_at(&mut self, next: u64) -> Result<bool, Error> {
        let journal = journal_name(self.scope.journal);
        let values: [Value<'_>; 2] = [&journal, &self.epoch];
        let row = self.client.query_opt(&self.statements.position, &values)?;
        Ok(row.map(|row| row.get::<_, i64>(0)) == Some(next.cast_signed()))
    }

    /// Removes peers that have not announced for so many seconds, at most `max` of them; how many.
    pub(super) fn remove_stale_peers(&mut self, seconds: u64, max: u64) -> Result<u64, Error> {
        let values: [Value<'_>; 2] = [&(seconds as f64), &max.cast_signed()];
        self.client.execute(&self.statements.stale_peers, &values)
    }

    /// Removes former passkeys that are good no longer, at most `max` of them; how many.
    pub(super) fn remove_over_formers(&mut self, max: u64) -> Result<u64, Error> {
        self.client.execute(&self.statements.former_over, &[&max.cast_signed()])
    }
}

/// As the table `ledger` has it.
fn life_name(life: u64) -> String {
    format!("{life:016x}")
}

/// A session writes from here on, and none of before.
const TAKE: &str = "
    INSERT INTO writer (epoch, journal, node, pid, beat_at)
    VALUES (1, $1, $2, pg_backend_pid(), clock_timestamp())
    ON CONFLICT (one) DO UPDATE SET epoch = writer.epoch + 1, journal = excluded.journal,
        node = excluded.node, pid = excluded.pid, beat_at = excluded.beat_at
    RETURNING epoch";

const OTHER_JOURNAL: &str = "
    SELECT next, written_until, updated_at::text FROM ledger WHERE journal <> $1
    ORDER BY updated_at DESC LIMIT 1";

const WRITTEN: &str = "
    SELECT next, life, written_until,
        (SELECT max(other.updated_at)::text FROM ledger other WHERE other.updated_at > own.updated_at)
    FROM ledger own WHERE journal = $1";

const MEASURED_FROM: &str = "
    SELECT measured_from, (SELECT max(written_until) FROM ledger other WHERE other.journal <> $1)
    FROM ledger WHERE journal = $1";

const BEGIN_MEASURING: &str = "
    UPDATE ledger SET measured_from = $2, measured_since = now(), updated_at = now() WHERE journal = $1";

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

    /// Writes what the site said, each run of one kind at once. Former passkeys come last: each is said after its
    /// user, and nothing else is about them, so that users whose passkeys all change are one run.
    pub(super) fn apply_said(&mut self, said: &[(u64, &Said)]) -> Result<(), Fault> {
        let is_former = |said: &Said| {
            matches!(said.change, Change::Former { .. } | Change::FormerRemoved { .. })
        };
        let (formers, others): (Vec<_>, Vec<_>) =
            said.iter().copied().partition(|(_, said)| is_former(said));
        let kind = |said: &Said| std::mem::discriminant(&said.change);
        for run in others.chunk_by(|(_, one), (_, next)| kind(one) == kind(next)) {
            self.apply_changes(run)?;
        }
        self.apply_changes(&formers)
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
