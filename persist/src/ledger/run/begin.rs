//! With which record a session of the ledger begins, and with which it goes on behind a part that is lost.

use ::postgres::Client;

use super::{LedgerOptions, SessionError, Worker};
use crate::belongs;
use crate::books::State;
use crate::journal::Life;
use crate::ledger::gaps::{Gap, GapReason};
use crate::ledger::measure::Measure;
use crate::ledger::standing::{Kept, Standing, Written, standing};
use crate::ledger::write::{Scope, Writer};
use crate::ledger::{Source, SourceError, adopt, schema_writer};
use crate::postgres::{
    DatabaseError, LOCK_PATIENCE, START_LOCK_PATIENCE, SchemaState, schema_state, text_of,
    wait_for_locks,
};

/// The task of a session that finds out how journal and database stand to each other.
const AGREE: &str = "say from where on the journal is written";

impl<S: Source> Worker<S> {
    /// Sees to it that the database is the one the data folder belongs to, and fills it where it is empty and
    /// somebody has said so.
    fn enter(&self, client: &mut Client) -> Result<(), SessionError> {
        let Some(home) = &self.options.home else { return Ok(()) };
        match self.database.admit_over(client, home) {
            Err(DatabaseError::Emptied { .. }) if belongs::is_to_adopt(home.data()) => {
                Ok(adopt::adopt(&self.database, client, home, &self.options.node)?)
            }
            admitted => Ok(admitted.map(drop)?),
        }
    }

    /// A connection on which this process alone writes this journal, and where it goes on.
    pub(super) fn connect(&mut self) -> Result<(Writer, u64), SessionError> {
        let journal = self.source.journal();
        let LedgerOptions { ref node, peers, spent_tokens, .. } = self.options;
        let scope = Scope { journal, node: node.clone(), peers, spent_tokens };
        let database = self.database.clone();
        let failed = database.failed("begin to write the journal");
        let mut client = database.connect(&schema_writer::purpose(journal, node))?;
        // A start may wait, and is to hear what is in the way.
        wait_for_locks(&mut client, START_LOCK_PATIENCE).map_err(&failed)?;
        let schema = schema_state(&mut client, &database).map_err(&failed)?;
        if let Some(error) = database.state_error(&schema) {
            return Err(error.into());
        }
        self.enter(&mut client)?;
        if let (SchemaState::Older { .. }, Some(_)) = (&schema, &self.options.home) {
            // The start went by without the database: it was away, or another process had it.
            database.migrate()?;
        }
        let lock = schema_writer::lock(&database);
        let alone =
            client.query_one("SELECT pg_try_advisory_lock($1)", &[&lock]).map_err(&failed)?;
        if !alone.get::<_, bool>(0) {
            let other = schema_writer::writer(&mut client, lock).map_err(&failed)?;
            if let Some(other) = &other
                && schema_writer::take_over(&mut client, other).map_err(&failed)?
            {
                return Err(SessionError::Passed);
            }
            return Err(match other {
                Some(other) if other.journal == Some(journal) => SessionError::Remnant(other),
                Some(other) => SessionError::Shared(other),
                None => SessionError::Passed,
            });
        }
        let mut writer = Writer::new(client, scope).map_err(&failed)?;
        let (written, since) = writer.written().map_err(&failed)?.unzip();
        let next = self.agree(&mut writer, written, since.flatten())?;
        self.take_order(&mut writer)?;
        self.begin_measuring(&mut writer, next)?;
        match self.source.seek(next) {
            Ok(()) => {}
            // It is met again by who reads.
            Err(source) if self.source.cut_by(&source).is_some() => {}
            Err(source) => return Err(SessionError::Journal(next, source)),
        }
        writer.wait_for_locks(LOCK_PATIENCE).map_err(&failed)?;
        tracing::info!(database = %self.database, next, "the ledger writes");
        let gaps = writer.gaps().map_err(&failed)?;
        self.shared.set(|status| {
            status.connected = true;
            status.position = Some(next);
            status.gaps = gaps;
        });
        Ok((writer, next))
    }

    /// Makes a journal known that the database does not know, from record `next` on. Where the database knows
    /// another one, the data folder was lost, and with it where clients were: rows of `peers` say it as well, each
    /// written with the credit of the report that is in it. So what clients moved is measured from there, which
    /// credits nothing twice, as counters are absolute.
    fn begin_anew(&self, writer: &mut Writer, next: u64) -> Result<(), ::postgres::Error> {
        if next > 0 {
            tracing::warn!(
                first = next,
                "the database does not know this journal, whose beginning is gone"
            );
        }
        let Some(other) = writer.other_journal()? else { return writer.begin(next, None) };
        let gap = Gap {
            reason: GapReason::JournalLost,
            first: other.next,
            behind: other.next,
            from_millis: other.until,
            to_millis: None,
        };
        let measured = self.options.peers && writer.has_peers()?;
        writer.begin(next, Some((&gap, measured)))?;
        match measured {
            true => tracing::warn!(
                written_at = other.written_at,
                "the database knows another journal, and this one is new: what clients moved is measured from their \
                 rows in the database; what the other journal had for the database after that is lost, see table gaps"
            ),
            false => tracing::warn!(
                written_at = other.written_at,
                "the database knows another journal, and this one is new: what the other one had for the database \
                 after that is lost, see table gaps, and as there are no rows of clients, they are credited from \
                 their next announce on"
            ),
        }
        Ok(())
    }

    /// Where another journal was written since this one, the data folder is one that was put aside and came back:
    /// clients are elsewhere by now.
    fn measure_after_another(
        writer: &mut Writer,
        next: u64,
        written_at: &str,
    ) -> Result<(), ::postgres::Error> {
        writer.begin_measuring(next)?;
        tracing::warn!(
            written_at,
            "another data folder was used since this one: what clients moved is measured from their rows in the \
             database"
        );
        Ok(())
    }

    /// Finds out how journal and database stand to each other, and sees to it that they go on together: with
    /// which record. `since`: when another journal was written last, where that was after this one.
    fn agree(
        &mut self,
        writer: &mut Writer,
        written: Option<Written>,
        since: Option<String>,
    ) -> Result<u64, SessionError> {
        let (lives, first) = (self.source.lives(), self.source.first());
        let kept = Kept { begin: first, end: self.source.end(), lives: &lives };
        let until = written.and_then(|written| written.until);
        let standing = standing(kept, written);
        if let (Standing::GoesOn { next } | Standing::Gone { begin: next, .. }, Some(written_at)) =
            (standing, since)
        {
            let measured = Self::measure_after_another(writer, next, &written_at);
            measured.map_err(self.database.failed(AGREE))?;
        }
        match standing {
            Standing::New { next } => {
                self.begin_anew(writer, next).map_err(self.database.failed(AGREE))?;
                Ok(next)
            }
            Standing::GoesOn { next } => {
                self.say_if_restored(next);
                Ok(next)
            }
            Standing::Gone { next, begin } => {
                let gap = Gap {
                    reason: GapReason::DatabaseRestored,
                    first: next,
                    behind: begin,
                    from_millis: until,
                    to_millis: self.made_at(begin),
                };
                writer.skip(&gap, begin, None, false).map_err(self.database.failed(AGREE))?;
                tracing::error!(
                    from = next,
                    to = begin,
                    records = begin - next,
                    "the database was restored to an older state than the journal reaches back: what was \
                     announced between is lost, see table gaps; the rest is written"
                );
                Ok(begin)
            }
            Standing::OlderCopy { next, from } => {
                let gap = Gap {
                    reason: GapReason::JournalRestored,
                    first: from,
                    behind: next.max(from),
                    from_millis: from.checked_sub(1).and_then(|last| self.made_at(last)),
                    to_millis: until,
                };
                let life = from.checked_sub(1).and_then(|last| Life::of(&lives, last));
                writer.skip(&gap, from, life, true).map_err(self.database.failed(AGREE))?;
                self.say_that_it_is_older(next, from);
                Ok(from)
            }
        }
    }

    /// Says so where the database has less than it had while this process wrote.
    fn say_if_restored(&self, next: u64) {
        let had = self.shared.status().position;
        let lacks = had.and_then(|had| had.checked_sub(next)).filter(|records| *records > 0);
        if let Some(records) = lacks {
            tracing::warn!(
                position = next,
                had,
                records,
                "the database was restored, or failed over to an older copy: what it lacks is written again"
            );
        }
    }

    /// The database goes on with record `next`, and the journal ends at `from`, before it.
    fn say_that_it_is_older(&self, next: u64, from: u64) {
        tracing::error!(
            database = next,
            from,
            "the data folder is an older copy, or has lost the end of its journal: the database has records that \
             are not here. What clients moved is measured from their rows in the database; what the site changed \
             through the tracker meanwhile is in the database alone, see table gaps"
        );
        if !self.options.peers {
            tracing::error!(
                "without --database-peers there are no such rows: the next announce of each client is not credited"
            );
        }
    }

    /// When a record was made, in milliseconds since 1970; `None` for one that cannot be read.
    fn made_at(&mut self, number: u64) -> Option<u64> {
        let mut records = Vec::new();
        self.source.seek(number).ok()?;
        self.source.next_batch(1, &mut records).ok()?;
        records.first().map(|(_, record)| record.stamp().millis)
    }

    /// Sets what is not to be believed of the records that come.
    pub(super) fn begin_measuring(
        &mut self,
        writer: &mut Writer,
        next: u64,
    ) -> Result<(), SessionError> {
        let database = self.database.clone();
        let failed = database.failed("see how the journal is written");
        let from = writer.measured_from().map_err(&failed)?;
        let measure = from.map(|(from, others)| {
            let millis = self.made_at(from);
            let mut measure = Measure::new(from, millis, others, self.options.peers);
            if !self.options.peers {
                self.hear_again(&mut measure, next);
            }
            measure
        });
        self.by_difference |= measure.is_some();
        self.shared.set(|status| {
            status.state = if measure.is_some() { State::Measuring } else { State::Up };
        });
        writer.set_measure(measure, self.by_difference);
        Ok(())
    }

    /// Without rows of clients, the journal says who has been heard since measuring began.
    fn hear_again(&mut self, measure: &mut Measure, next: u64) {
        let begin = measure.from().max(self.source.first());
        let mut records = Vec::new();
        let mut at = begin;
        if self.source.seek(begin).is_err() {
            return;
        }
        while at < next && !self.shared.stops() {
            records.clear();
            let most = usize::try_from(next - at).unwrap_or(usize::MAX).min(self.batch_max);
            if self.source.next_batch(most, &mut records).is_err() || records.is_empty() {
                return;
            }
            measure.hear(&records);
            at += records.len() as u64;
        }
    }

    /// Tells the database what [`Ledger::measure_from`] asked for; whether it did.
    pub(super) fn take_order(&self, writer: &mut Writer) -> Result<bool, SessionError> {
        let order = *self.shared.measure_from.lock().expect("nobody panics with it");
        let Some(from) = order else { return Ok(false) };
        let failed = self.database.failed("note from where on clients are measured");
        writer.begin_measuring(from).map_err(failed)?;
        // Taken when the database has it, so that a connection that is lost costs nothing.
        *self.shared.measure_from.lock().expect("nobody panics with it") = None;
        Ok(true)
    }

    /// The journal cannot be read on. Where that is for good, what is lost is noted, and it goes on behind it:
    /// with which record.
    pub(super) fn go_on_behind(
        &mut self,
        writer: &mut Writer,
        next: u64,
        error: SourceError,
    ) -> Result<u64, SessionError> {
        let Some((from, to)) = self.source.cut_by(&error).filter(|(_, to)| *to > next) else {
            return Err(SessionError::Journal(next, error));
        };
        let from = from.max(next);
        let from_millis = from.checked_sub(1).and_then(|last| self.made_at(last));
        let to_millis = self.made_at(to);
        let gap =
            Gap { reason: GapReason::JournalLost, first: from, behind: to, from_millis, to_millis };
        let life = Life::of(&self.source.lives(), to - 1);
        let failed = self.database.failed("note what the journal has lost");
        writer.skip(&gap, to, life, false).map_err(failed)?;
        tracing::error!(
            from,
            to,
            records = to - from,
            error = text_of(&*error),
            "a part of the journal is lost: see table gaps; it is gone on behind it"
        );
        self.source.seek(to).map_err(|source| SessionError::Journal(to, source))?;
        let gaps = writer.gaps().map_err(self.database.failed("read what is missing"))?;
        self.shared.set(|status| {
            status.position = Some(to);
            status.gaps = gaps;
        });
        Ok(to)
    }
}
