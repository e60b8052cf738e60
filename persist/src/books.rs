//! The state of a private tracker's books: whether what is announced reaches the database, and what to do
//! where it does not.
//!
//! A start finds out what snapshot, journal and database say of each other ([`Found`]), and [`decide`]
//! says what follows. From then on the ledger finds out the same at each of its connections. Every state has a
//! name for metrics, a sentence, and one instruction: the book of operations (`docs/operations.md`) has a
//! paragraph for each.

use std::fmt;

use crate::postgres::DatabaseError;

/// How the books are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// The database has not been asked yet.
    #[default]
    Opening,
    /// Announces are in the database some seconds later.
    Up,
    /// The same, but the journal is new, an older copy, or has lost records: what clients moved is measured from
    /// their rows in the database.
    Measuring,
    /// Nothing reaches the database. The journal keeps it.
    Kept(Obstacle),
}

/// An obstacle that keeps the database from being used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It goes by itself, or with what is wrong there: it is tried again all the time.
    Passing(Passing),
    /// Somebody has to do something. It is looked at again now and then, and nothing is written meanwhile.
    Lasting(Lasting),
}

/// Obstacles that pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passing {
    /// Nobody answers there, or connections end.
    Away,
    /// It takes connections and then says nothing.
    Hanging,
    /// Somebody holds a lock that is needed.
    Locked,
    /// It is starting, recovering, stopping, or has no connection to spare.
    Busy,
    /// It takes no writing: a standby, or its disk is full.
    ReadOnly,
    /// It is at work on what the journal had for it; for a start that waits no longer.
    Behind,
    /// A session of a tracker on this journal, which has ended, is still there.
    Remnant,
    /// The journal cannot be read.
    Journal,
}

/// Obstacles that last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// A later version of the program has made the tables.
    Newer,
    /// The tables are not those of this program.
    Altered,
    /// The server is older than what is supported.
    OldServer,
    /// Password, database or rights are not what they should be.
    Refused,
    /// The tables are empty, and here is what was in them.
    Emptied,
    /// It is not the database that this data folder belongs to.
    Foreign,
    /// Another tracker writes this schema.
    Shared,
}

impl State {
    /// The names of all states, for metrics.
    pub const NAMES: [&str; 18] = [
        "opening",
        "up",
        "measuring",
        "away",
        "hanging",
        "locked",
        "busy",
        "read_only",
        "behind",
        "remnant",
        "journal",
        "newer",
        "altered",
        "old_server",
        "refused",
        "emptied",
        "foreign",
        "shared",
    ];

    /// The state's name, one of [`State::NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Up => "up",
            Self::Measuring => "measuring",
            Self::Kept(obstacle) => obstacle.name(),
        }
    }

    /// The state in words, and what to do; nothing to do where there is nothing after the semicolon.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Opening => "the database has not been asked yet",
            Self::Up => "what is announced reaches the database",
            Self::Measuring => {
                "the data folder does not know where clients were, as it is new or an older copy: what they moved is \
                 measured from their rows in the database, for a day; look into the table gaps for what was lost"
            }
            Self::Kept(obstacle) => obstacle.text(),
        }
    }
}

/// The name, and what it means.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.text())
    }
}

impl Obstacle {
    /// The obstacle in words, and what to do.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Passing(passing) => passing.text(),
            Self::Lasting(lasting) => lasting.text(),
        }
    }

    /// Its name among [`State::NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passing(passing) => passing.name(),
            Self::Lasting(lasting) => lasting.name(),
        }
    }
}

impl Passing {
    fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Hanging => "hanging",
            Self::Locked => "locked",
            Self::Busy => "busy",
            Self::ReadOnly => "read_only",
            Self::Behind => "behind",
            Self::Remnant => "remnant",
            Self::Journal => "journal",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Away => "the database does not answer; start it, or mend the way to it",
            Self::Hanging => {
                "the database takes connections and says nothing; is its process stopped, or its disk stuck?"
            }
            Self::Locked => "somebody holds a lock in the database; see pg_stat_activity for who",
            Self::Busy => {
                "the database is starting or has no connection to spare; wait, or raise max_connections"
            }
            Self::ReadOnly => {
                "the database takes no writing; name the primary in --database, or make room on its disk"
            }
            Self::Behind => {
                "the database is at work on what the journal had for it; wait, all of it is kept"
            }
            Self::Remnant => {
                "a session of this tracker before its restart is still there; it is ended when it has been silent \
                 for half a minute"
            }
            Self::Journal => {
                "the journal cannot be read; `margay journal verify` says which file, and what to do"
            }
        }
    }
}

impl Lasting {
    fn name(self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::Altered => "altered",
            Self::OldServer => "old_server",
            Self::Refused => "refused",
            Self::Emptied => "emptied",
            Self::Foreign => "foreign",
            Self::Shared => "shared",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Newer => {
                "a later margay has made the tables; run the version that the log names, or a later one"
            }
            Self::Altered => "the tables are not those of this margay; restore the schema",
            Self::OldServer => {
                "the PostgreSQL server is too old; upgrade it to the version that the log names"
            }
            Self::Refused => {
                "the database refuses the tracker; mend password, name or rights as the log says"
            }
            Self::Emptied => {
                "the tables are empty; restore them, or let them be filled from what is here with `margay \
                 journal adopt`"
            }
            Self::Foreign => {
                "it is not the database that this data folder belongs to; mend --database, or give this \
                 database a data folder of its own with --data"
            }
            Self::Shared => {
                "another tracker writes this schema; stop it, or give each its own --database-schema"
            }
        }
    }
}

impl From<&DatabaseError> for Obstacle {
    /// The obstacle that an error of the database is for the books.
    fn from(error: &DatabaseError) -> Self {
        use DatabaseError as Error;
        match error {
            Error::Newer { .. } => Self::Lasting(Lasting::Newer),
            Error::Altered { .. } => Self::Lasting(Lasting::Altered),
            Error::Foreign { .. } => Self::Lasting(Lasting::Foreign),
            Error::Emptied { .. } => Self::Lasting(Lasting::Emptied),
            Error::Old { .. } => Self::Lasting(Lasting::OldServer),
            Error::Silent { .. } | Error::Unanswered { .. } => Self::Passing(Passing::Hanging),
            Error::Locked { .. } => Self::Passing(Passing::Locked),
            Error::UnderWay { .. } => Self::Passing(Passing::Behind),
            Error::ReadOnly { .. } => Self::Passing(Passing::ReadOnly),
            Error::Connect { source, .. } | Error::Statement { source, .. } => {
                let code = source.code().map(|code| Self::of_code(code.code()));
                code.unwrap_or(match error.lasts() {
                    true => Self::Lasting(Lasting::Refused),
                    false => Self::Passing(Passing::Away),
                })
            }
            _ if error.lasts() => Self::Lasting(Lasting::Refused),
            _ => Self::Passing(Passing::Away),
        }
    }
}

impl Obstacle {
    /// The obstacle that a code of the server means (PostgreSQL, "Error Codes").
    fn of_code(code: &str) -> Self {
        match code {
            // Invalid password, no such database, schema or role, no right.
            "28000" | "28P01" | "3D000" | "3F000" | "42501" => Self::Lasting(Lasting::Refused),
            // Tables or columns are not what they were.
            "42P01" | "42703" | "42883" => Self::Lasting(Lasting::Altered),
            // Lock not available, deadlock, canceled.
            "55P03" | "40P01" | "57014" => Self::Passing(Passing::Locked),
            // Starting or recovering, too many connections, out of memory.
            "57P03" | "53300" | "53200" => Self::Passing(Passing::Busy),
            // Read only, disk full.
            "25006" | "53100" => Self::Passing(Passing::ReadOnly),
            _ => Self::Passing(Passing::Away),
        }
    }
}

/// Which database: a random number that is made up once, as the hexadecimal text of a UUID.
pub type Identity = String;

/// The findings of a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// There is a snapshot with users and torrents, which a start can go by.
    pub snapshot: bool,
    /// There are records in the journal, or a snapshot.
    pub history: bool,
    /// The database that the data folder belongs to, as far as it is known.
    pub remembered: Option<Identity>,
    /// The database's answer, or the obstacle to one.
    pub database: Result<There, Obstacle>,
}

/// A database that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct There {
    /// Which one; `None` when its tables are not there, or older than that.
    pub identity: Option<Identity>,
    /// There is no user and no torrent in it, though something was written there, or it is new.
    pub emptied: bool,
}

/// How a start goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// Tables are made or brought up to date, and all is loaded from there.
    FromDatabase,
    /// With what is here: this keeps the database from being used.
    FromSnapshot(Obstacle),
    /// Not at all.
    Refused(Obstacle),
}

/// Decides by what was found how a start goes on.
///
/// A wrong URL must not be taken for an empty database and filled: so one that is not the remembered one is
/// refused, and one that is empty while here is not is left alone until somebody says that it is to be
/// filled. Another tracker on the schema is refused, as each would write over the other's figures.
pub fn decide(found: &Found) -> Start {
    let kept = |obstacle| match found.snapshot {
        true => Start::FromSnapshot(obstacle),
        false => Start::Refused(obstacle),
    };
    match &found.database {
        Err(obstacle @ Obstacle::Lasting(Lasting::Shared | Lasting::Foreign)) => {
            Start::Refused(obstacle.clone())
        }
        Err(obstacle) => kept(obstacle.clone()),
        Ok(There { identity, emptied }) => {
            let other = matches!((identity, &found.remembered), (Some(is), Some(was)) if is != was);
            match (other, *emptied && found.history) {
                (true, _) => Start::Refused(Obstacle::Lasting(Lasting::Foreign)),
                (false, true) => kept(Obstacle::Lasting(Lasting::Emptied)),
                (false, false) => Start::FromDatabase,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTIED: Obstacle = Obstacle::Lasting(Lasting::Emptied);
    const FOREIGN: Obstacle = Obstacle::Lasting(Lasting::Foreign);

    fn there(identity: Option<&str>, emptied: bool) -> Result<There, Obstacle> {
        Ok(There { identity: identity.map(str::to_owned), emptied })
    }

    #[test]
    fn what_a_start_finds_says_how_it_goes_on() {
        use Start::{FromDatabase, FromSnapshot, Refused};
        let (away, newer) = (Obstacle::Passing(Passing::Away), Obstacle::Lasting(Lasting::Newer));
        let shared = Obstacle::Lasting(Lasting::Shared);
        // Snapshot, history, remembered, database.
        for (snapshot, history, remembered, database, expected) in [
            (false, false, None, there(None, true), FromDatabase),
            (false, false, None, there(Some("a"), true), FromDatabase),
            (false, false, None, there(Some("a"), false), FromDatabase),
            (true, true, Some("a"), there(Some("a"), false), FromDatabase),
            // Of a build that remembered none, or made none.
            (true, true, None, there(Some("a"), false), FromDatabase),
            (true, true, Some("a"), there(None, false), FromDatabase),
            (true, true, None, there(None, false), FromDatabase),
            // Nobody home, with and without something to go by.
            (true, true, Some("a"), Err(away.clone()), FromSnapshot(away.clone())),
            (false, false, None, Err(away.clone()), Refused(away.clone())),
            (false, true, Some("a"), Err(away.clone()), Refused(away)),
            (true, true, Some("a"), Err(newer.clone()), FromSnapshot(newer)),
            (true, true, Some("a"), Err(shared.clone()), Refused(shared)),
            // Dropped, truncated, or never there.
            (true, true, Some("a"), there(None, true), FromSnapshot(EMPTIED)),
            (true, true, Some("a"), there(Some("a"), true), FromSnapshot(EMPTIED)),
            (true, true, None, there(Some("a"), true), FromSnapshot(EMPTIED)),
            (false, true, None, there(None, true), Refused(EMPTIED)),
            // Another one, whatever is in it.
            (true, true, Some("a"), there(Some("b"), false), Refused(FOREIGN)),
            (true, true, Some("a"), there(Some("b"), true), Refused(FOREIGN)),
            (false, false, Some("a"), there(Some("b"), true), Refused(FOREIGN)),
        ] {
            let remembered = remembered.map(str::to_owned);
            let found = Found { snapshot, history, remembered, database };
            assert_eq!(decide(&found), expected, "{found:?}");
        }
    }

    #[test]
    fn every_state_has_a_name_and_says_what_to_do() {
        let passing = [
            Passing::Away,
            Passing::Hanging,
            Passing::Locked,
            Passing::Busy,
            Passing::ReadOnly,
            Passing::Behind,
            Passing::Remnant,
            Passing::Journal,
        ];
        let lasting = [
            Lasting::Newer,
            Lasting::Altered,
            Lasting::OldServer,
            Lasting::Refused,
            Lasting::Emptied,
            Lasting::Foreign,
            Lasting::Shared,
        ];
        let obstacles = passing.map(Obstacle::Passing).into_iter();
        let obstacles = obstacles.chain(lasting.map(Obstacle::Lasting));
        let states = [State::Opening, State::Up, State::Measuring].into_iter();
        let states: Vec<State> = states.chain(obstacles.map(State::Kept)).collect();
        let names: Vec<_> = states.iter().map(State::name).collect();
        assert_eq!(names, State::NAMES);
        let book = include_str!("../../docs/operations.md");
        for name in names {
            assert!(book.contains(&format!("\n### {name}\n")), "{name} has no paragraph");
        }
        for state in &states[3..] {
            let (is, todo) = state.text().split_once("; ").unwrap();
            assert!(!is.is_empty() && !todo.is_empty(), "{state}");
        }
    }
}
