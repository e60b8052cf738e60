//! Finds what the database refuses in a batch, keeps it in the table `rejected`, and writes the rest.
//!
//! Each step of a batch is tried by itself in a savepoint, and halves of it where it is refused, until it is
//! about one thing: one change, the credit of one user, the figures of one torrent, one peer. So one
//! user whose row takes no credit costs some twenty savepoints a batch, however often he announced, and is one
//! row of `rejected`, in which his credit is added up. Of other parts a batch keeps some rows of a kind, and
//! the number of the rest: what they said is said again with the next announce.

use std::collections::BTreeMap;

use ::postgres::error::DbError;
use shard::private::{TorrentId, UserId};

use super::Record;
use super::batch::{self, Act, Deed, Group};
use super::json::{change_json, json};
use super::write::{Fault, Part, Session};
use crate::journal::Said;
use crate::postgres::journal_name;

/// Writes all of these records, and puts aside what is refused.
pub(super) fn apply(session: &mut Session<'_>, records: &[(u64, Record)]) -> Result<(), Fault> {
    let mut kinds = Kinds::default();
    for Group { changes, acts, .. } in batch::groups(records) {
        say(session, &changes)?;
        for part in Part::ALL {
            let mut acts = acts.clone();
            // Stable, so that what each is about stays in its order.
            acts.sort_by_key(|act| about(part, act));
            write(session, part, &acts, &mut kinds)?;
        }
    }
    for ((part, sqlstate), (count, number, error)) in kinds.0 {
        if let Some(more) = count.checked_sub(ROWS_MAX).filter(|more| *more > 0) {
            let record = serde_json::json!({ "more": more }).to_string();
            let error = format!("{more} more: {error}");
            put(session, number, part, &sqlstate, &error, &record, (None, None))?;
        }
    }
    Ok(())
}

/// How many rows there are of a part and a code, the last record, and what the database said of it.
#[derive(Default)]
struct Kinds(BTreeMap<(&'static str, String), (u64, u64, String)>);

impl Kinds {
    /// Whether there is to be a row.
    fn count(&mut self, kind: (&'static str, &str), number: u64, error: &str) -> bool {
        let entry = self.0.entry((kind.0, kind.1.to_owned())).or_default();
        *entry = (entry.0 + 1, number, error.to_owned());
        entry.0 <= ROWS_MAX
    }
}

/// The subject of an act, where it is refused together with others.
fn about(part: Part, act: &Act<'_>) -> (Option<UserId>, Option<TorrentId>, u64) {
    match part {
        Part::Credit => (Some(act.user()), None, 0),
        Part::Figures => (None, Some(act.torrent()), 0),
        Part::Token | Part::Peer => (Some(act.user()), Some(act.torrent()), 0),
        Part::Snatch => (None, None, act.number),
    }
}

/// Does what the site said, in its order.
fn say(session: &mut Session<'_>, said: &[(u64, &Said)]) -> Result<(), Fault> {
    if said.is_empty() {
        return Ok(());
    }
    match session.attempt(|session| session.apply_said(said)) {
        Err(Fault::Refused { sqlstate, error }) => match said {
            [(number, said)] => reject(session, *number, said, &sqlstate, &error),
            _ => {
                let (first, second) = said.split_at(said.len() / 2);
                say(session, first)?;
                say(session, second)
            }
        },
        result => result,
    }
}

/// Writes one part of these acts, which are sorted by what they are about.
fn write(
    session: &mut Session<'_>,
    part: Part,
    acts: &[Act<'_>],
    kinds: &mut Kinds,
) -> Result<(), Fault> {
    let (Some(first), Some(last)) = (acts.first(), acts.last()) else { return Ok(()) };
    let (sqlstate, error) = match session.attempt(|session| session.apply_acts(part, acts)) {
        Err(Fault::Refused { sqlstate, error }) => (sqlstate, error),
        result => return result,
    };
    if about(part, first) != about(part, last) {
        let half = acts.len() / 2;
        // Between two that are about the same, there is nothing to part.
        let middle = about(part, &acts[half]);
        let begins = acts.partition_point(|act| about(part, act) < middle);
        let ends = acts.partition_point(|act| about(part, act) <= middle);
        let (first, second) = acts.split_at(if begins > 0 { begins } else { ends });
        write(session, part, first, kinds)?;
        return write(session, part, second, kinds);
    }
    if part == Part::Credit {
        return session.keep_credits(acts, &sqlstate, |_| error.clone());
    }
    if part == Part::Peer && acts.len() > 1 && first.peer() != last.peer() {
        // Of several clients on one torrent.
        let (first, second) = acts.split_at(acts.len() / 2);
        write(session, part, first, kinds)?;
        return write(session, part, second, kinds);
    }
    session.tally.refuse((part.name(), &sqlstate), acts.len() as u64, last.number, error.clone());
    if kinds.count((part.name(), &sqlstate), last.number, &error) {
        let record = json(&match last.deed {
            Deed::Fact(fact) => Record::Fact(*fact),
            Deed::Gone(gone) => Record::Gone(*gone),
        });
        let who = (Some(last.user()), Some(last.torrent()));
        put(session, last.number, part.name(), &sqlstate, &error, &record.to_string(), who)?;
    }
    Ok(())
}

/// Keeps what the site said and was not written in the table `rejected`.
pub(super) fn reject(
    session: &mut Session<'_>,
    number: u64,
    said: &Said,
    sqlstate: &str,
    error: &str,
) -> Result<(), Fault> {
    session.tally.refuse(("change", sqlstate), 1, number, error.to_owned());
    let text = change_json(&said.change).to_string();
    put(session, number, "change", sqlstate, error, &text, (None, None))
}

fn put(
    session: &mut Session<'_>,
    number: u64,
    part: &str,
    sqlstate: &str,
    error: &str,
    record: &str,
    (user, torrent): (Option<UserId>, Option<TorrentId>),
) -> Result<(), Fault> {
    let journal = journal_name(session.scope.journal);
    let (node, number) = (&session.scope.node, number.cast_signed());
    let user = user.map(|user| i64::from(user.0));
    let torrent = torrent.map(|torrent| i64::from(torrent.0));
    session.transaction.execute(
        &session.statements.reject,
        &[node, &journal, &number, &part, &sqlstate, &error, &record, &user, &torrent],
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

/// Rows of one kind that a batch puts into `rejected`, of what is no credit and no change of the site.
const ROWS_MAX: u64 = 256;
