//! The start of the books: what snapshot, journal and database say of each other, and by what the tracker
//! goes on.
//!
//! Every wait on the database has an end. Where it does not come to one, the tracker serves with what the
//! snapshot says; what was changed by SQL meanwhile is taken over when the database is back.

use std::time::{Duration, Instant};

use persist::books::{self, Found, Lasting, Obstacle, Passing, Start, State, There};
use persist::journal::{Journal, JournalError};
use persist::postgres::Home;
use persist::{Database, DatabaseError, Ledger, Snapshot, belongs};

use super::BooksError;
use ops::log::ErrorChain;

/// By what a start goes on.
#[derive(Debug)]
pub(super) enum Way {
    /// The database is there. With the position of the journal in it.
    Database(Option<u64>),
    /// It is not, or must not be used: this is in the way.
    Snapshot(Obstacle),
}

/// Looks at the database, brings its tables up to date where it is ours, and says by what to go on.
pub(super) fn find_way(
    database: &Database,
    home: &Home,
    snapshot: Option<&Snapshot>,
) -> Result<Way, BooksError> {
    let looked = database.look(home.journal().id());
    let found = Found {
        snapshot: snapshot.is_some(),
        history: home.has_history(),
        remembered: belongs::remembered(home.data()),
        database: match &looked {
            Ok(look) => Ok(There { identity: look.identity.clone(), emptied: look.is_emptied() }),
            Err(error) => Err(error.into()),
        },
    };
    match books::decide(&found) {
        Start::FromDatabase => match database.admit(home, snapshot.map(|_| PATIENCE)) {
            Ok(look) => {
                tracing::info!(%database, identity = look.identity, "the database is there");
                Ok(Way::Database(look.position))
            }
            Err(error) => without(snapshot, error),
        },
        Start::FromSnapshot(_) | Start::Refused(_) => {
            let looked = looked.and_then(|look| home.refuses(&look, database));
            let error = looked.expect_err("a database that may be used is gone on with");
            match books::decide(&found) {
                Start::Refused(_) => Err(error.into()),
                _ => without(snapshot, error),
            }
        }
    }
}

/// Goes on without the database, where there is a snapshot to go by.
pub(super) fn without(
    snapshot: Option<&Snapshot>,
    error: DatabaseError,
) -> Result<Way, BooksError> {
    if snapshot.is_none() {
        return Err(error.into());
    }
    let obstacle = Obstacle::from(&error);
    say_what_is_in_the_way(&obstacle, &ErrorChain(&error).to_string());
    Ok(Way::Snapshot(obstacle))
}

/// One line for whoever is woken by it.
fn say_what_is_in_the_way(obstacle: &Obstacle, error: &str) {
    tracing::error!(
        books = obstacle.name(),
        error,
        "starting with users and torrents of the snapshot: {}",
        obstacle.text()
    );
}

/// Lets the ledger begin. Where the database does not take what the journal has up to record `end`, and there is
/// a snapshot to go by, that is the way from here on.
pub(super) fn begin_to_write(
    ledger: &Ledger,
    end: u64,
    way: Way,
    snapshot: Option<&Snapshot>,
) -> Result<Way, BooksError> {
    if let Way::Snapshot(obstacle) = &way {
        ledger.begin_with(obstacle.clone());
        return Ok(way);
    }
    let Err((obstacle, why)) = catch_up(ledger, end, snapshot.is_some()) else { return Ok(way) };
    if is_final(&obstacle) {
        return Err(BooksError::Refused(why));
    }
    if snapshot.is_none() {
        return Err(BooksError::Stuck { why, text: obstacle.text() });
    }
    say_what_is_in_the_way(&obstacle, &why);
    Ok(Way::Snapshot(obstacle))
}

/// Waits until the database has what the journal has for it. What is in the way, where it does not come to
/// that: with a snapshot to go by, at once when waiting does not help; without one, as long as it goes on.
fn catch_up(ledger: &Ledger, end: u64, snapshot: bool) -> Result<(), (Obstacle, String)> {
    let (began, mut moved_at, mut said_at) = (Instant::now(), Instant::now(), Instant::now());
    let enough = ledger.status().caught_up + 2;
    let mut last = None;
    loop {
        let status = ledger.status();
        if status.caught_up >= enough {
            return Ok(());
        }
        if status.position != last {
            (last, moved_at) = (status.position, Instant::now());
        }
        let why = || status.last_error.clone().unwrap_or_default();
        let obstacle = match &status.state {
            State::Kept(obstacle @ Obstacle::Lasting(_)) => return Err((obstacle.clone(), why())),
            State::Kept(obstacle) => obstacle.clone(),
            _ => Obstacle::Passing(Passing::Behind),
        };
        let stands = match snapshot {
            true => began.elapsed() > PATIENCE || moved_at.elapsed() > STANDSTILL,
            false => moved_at.elapsed() > STANDSTILL_WITHOUT_SNAPSHOT,
        };
        if stands {
            return Err((obstacle, why()));
        }
        if said_at.elapsed() > REPORT_PERIOD {
            said_at = Instant::now();
            let records = end.saturating_sub(status.position.unwrap_or_default());
            tracing::info!(
                records,
                books = obstacle.name(),
                "waiting until the database has what the journal has for it"
            );
        }
        if status.connected {
            ledger.wake();
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Sees to it that no record gets a number that the snapshot has seen already; whether snapshot and journal
/// say where clients are. How journal and database stand to each other finds out the ledger, which goes on by
/// itself: a data folder that is an older copy is measured.
pub(super) fn agree(
    journal: &mut Journal,
    known: Option<u64>,
    snapshot: Option<&Snapshot>,
) -> Result<bool, JournalError> {
    let covered = snapshot.and_then(Snapshot::covered);
    let covered = covered.filter(|covered| covered.journal == journal.id());
    let believed = match covered {
        Some(covered) if known.is_some() => covered.position >= journal.begin(),
        _ => true,
    };
    journal.begin_at(covered.map_or(0, |covered| covered.position))?;
    Ok(believed)
}

/// True for an obstacle with which a start is not gone on, snapshot or not.
fn is_final(obstacle: &Obstacle) -> bool {
    matches!(obstacle, Obstacle::Lasting(Lasting::Shared | Lasting::Foreign))
}

/// How long a start waits for the database to take what the journal has for it, where it can go by a
/// snapshot instead: it is to serve within ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for one that takes nothing.
const STANDSTILL: Duration = Duration::from_secs(4);

/// The same without a snapshot: nothing else can be done.
const STANDSTILL_WITHOUT_SNAPSHOT: Duration = Duration::from_secs(60);

/// How often it is said that a start waits.
const REPORT_PERIOD: Duration = Duration::from_secs(10);

const LOOK_PERIOD: Duration = Duration::from_millis(5);
