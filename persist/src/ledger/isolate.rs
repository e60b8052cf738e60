//! Finds what the database refuses in a batch, keeps it in the table `rejected`, and writes the rest.
//!
//! Halves of a batch are tried in savepoints, and halves of those that are refused, until single records
//! are left. Of a fact that is refused, each part is tried by itself: when its row in `peers` is refused,
//! the user is credited all the same. A thousand refused records in a batch of 50,000 cost about ten times
//! its time; the usual number is none.

use ::postgres::error::DbError;

use super::Record;
use super::batch::Act;
use super::json::json;
use super::write::{Fault, Part, Session};
use crate::postgres::journal_name;

/// Writes all of these records, and puts aside what is refused.
pub(super) fn apply(session: &mut Session<'_>, records: &[(u64, Record)]) -> Result<(), Fault> {
    match session.attempt(|session| session.apply(records)) {
        Err(Fault::Refused { sqlstate, error }) => match records {
            [] | [(_, Record::Tick(_))] => Ok(()),
            [(number, record @ Record::Said(_))] => {
                reject(session, *number, record, "change", &sqlstate, &error)
            }
            [(number, record @ Record::Fact(fact))] => {
                apply_act(session, *number, record, Act::Fact(fact))
            }
            [(number, record @ Record::Gone(gone))] => {
                apply_act(session, *number, record, Act::Gone(gone))
            }
            _ => {
                let (first, second) = records.split_at(records.len() / 2);
                apply(session, first)?;
                apply(session, second)
            }
        },
        result => result,
    }
}

/// Writes each part of what a peer did, and puts aside those that are refused.
fn apply_act(
    session: &mut Session<'_>,
    number: u64,
    record: &Record,
    act: Act<'_>,
) -> Result<(), Fault> {
    for part in Part::ALL {
        match session.attempt(|session| session.apply_acts(part, &[act])) {
            Err(Fault::Refused { sqlstate, error }) => {
                reject(session, number, record, part.name(), &sqlstate, &error)?;
            }
            result => result?,
        }
    }
    Ok(())
}

/// Keeps a record, or a part of one, that was not written in the table `rejected`.
pub(super) fn reject(
    session: &mut Session<'_>,
    number: u64,
    record: &Record,
    part: &str,
    sqlstate: &str,
    error: &str,
) -> Result<(), Fault> {
    tracing::warn!(
        record = number,
        part,
        sqlstate,
        error,
        "the database refused a record; kept in table rejected"
    );
    session.tally.rejected += 1;
    session.tally.refusal = Some((number, format!("{part}: {error}")));
    let journal = journal_name(session.scope.journal);
    let (node, number) = (&session.scope.node, number.cast_signed());
    let record = json(record).to_string();
    session.transaction.execute(
        &session.statements.reject,
        &[node, &journal, &number, &part, &sqlstate, &error, &record],
    )?;
    Ok(())
}

/// The text of a refusal, without its detail: that shows whole rows, and there may be passkeys in them.
pub(super) fn describe(refusal: &DbError) -> String {
    let mut text = refusal.message().to_owned();
    if let Some(constraint) = refusal.constraint()
        && !text.contains(constraint)
    {
        text.push_str(&format!(" (constraint {constraint})"));
    }
    text
}
