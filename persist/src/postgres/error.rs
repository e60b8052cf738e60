//! Why the database cannot be used, and whether that passes by itself.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ::postgres::error::SqlState;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL says nothing that makes sense. The URL itself may hold a password, and is not shown.
    #[error(
        "the URL of the database is wrong: {problem}; it looks like postgres://user@host/database"
    )]
    Url {
        /// The mistake in it.
        problem: String,
    },
    /// Not a name that a schema can have.
    #[error("{name:?} cannot be the name of a schema: 1 to 48 bytes, without a NUL")]
    Schema {
        /// The name.
        name: String,
    },
    /// The certificates to check the server with are not there.
    #[error("cannot read certificates{}", .path.as_ref().map(|path| format!(" from {}", path.display())).unwrap_or_default())]
    Certificates {
        /// The file of `sslrootcert`, or else the system's.
        path: Option<PathBuf>,
        /// The error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It does not let us in, or is not there.
    #[error("cannot connect to {database}{}", match is_babble(source) {
        true => "; what listens there is no PostgreSQL, or something between answers for it: is the port right?",
        false => "",
    })]
    Connect {
        /// Where.
        database: String,
        /// The driver's error.
        source: ::postgres::Error,
    },
    /// It is there, and says nothing while a connection is made.
    #[error(
        "{database} did not answer within {:.1} s while a connection was made: its process is stopped, the \
         server is overloaded, or what listens there is no PostgreSQL", patience.as_secs_f32()
    )]
    Silent {
        /// Where.
        database: String,
        /// How long was waited.
        patience: Duration,
    },
    /// A connection is there, and no answer comes.
    #[error("no answer from {database} within {:.1} s: it was asked to {task}", patience.as_secs_f32())]
    Unanswered {
        /// The task that was being done.
        task: String,
        /// Where.
        database: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The server works at it, and it takes longer than the caller waits. It goes on; ask again.
    #[error("{database} still has to {task}: it has worked at that for {:.1} s, and goes on", patience.as_secs_f32())]
    UnderWay {
        /// The task that is being done.
        task: String,
        /// Where.
        database: String,
        /// How long was waited.
        patience: Duration,
    },
    /// Somebody else holds a lock for long.
    #[error(
        "cannot {task} in {database}: {lock} is locked for longer than {:.1} s by {holders}; end that session \
         or its transaction", patience.as_secs_f32()
    )]
    Locked {
        /// The task that was being done.
        task: &'static str,
        /// Where.
        database: String,
        /// Which lock.
        lock: String,
        /// The holders: process ids and names of applications, as far as they are known.
        holders: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The server takes no changes.
    #[error(
        "{database} takes no changes: {}", match standby {
            true => "it is a standby; name the primary, or promote it",
            false => "default_transaction_read_only is on for the server, the database or the role",
        }
    )]
    ReadOnly {
        /// Where.
        database: String,
        /// It replays what another server writes.
        standby: bool,
    },
    /// A PostgreSQL that lacks what is needed.
    #[error("{database} is PostgreSQL {found}; {needed} or later is needed")]
    Old {
        /// Where.
        database: String,
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: u32,
    },
    /// The role lacks rights.
    #[error("role {role} lacks rights in {database}: {rights}")]
    Rights {
        /// Where.
        database: String,
        /// Who.
        role: String,
        /// Which, with what to do.
        rights: String,
    },
    /// A statement failed, or the connection was lost.
    #[error("cannot {task} in {database}")]
    Statement {
        /// The task that was being done.
        task: &'static str,
        /// Where.
        database: String,
        /// The driver's error.
        source: ::postgres::Error,
    },
    /// A later version of the program has been here.
    #[error(
        "schema {schema} is at migration {found}, and this program knows {known}; use {} or a later one",
        version.as_ref().map_or_else(
            || "the version of the program that made it".to_owned(), |version| format!("margay {version}"))
    )]
    Newer {
        /// The schema.
        schema: String,
        /// The last migration that was applied.
        found: u32,
        /// The last one that the program has.
        known: u32,
        /// The version of the program that applied it, where it has written that down.
        version: Option<String>,
    },
    /// A migration was not applied as this program has it.
    #[error(
        "migration {number} ({name}) of schema {schema} is not the one of this program; restore the schema, \
         or use another one"
    )]
    Altered {
        /// The schema.
        schema: String,
        /// The migration.
        number: u32,
        /// Its name.
        name: String,
    },
    /// It is not the database that the data folder belongs to.
    #[error(
        "{database} is not the one that data folder {} belongs to: it is {found}, and {expected} is expected. \
         Is the URL right? A database of its own wants a data folder of its own (--data); to give this folder \
         to it for good, remove the file {}", .data.display(), .data.join("database").display()
    )]
    Foreign {
        /// Where.
        database: String,
        /// The folder.
        data: PathBuf,
        /// The identity that the folder remembers.
        expected: String,
        /// That of the database.
        found: String,
    },
    /// There is nothing in it, and the data folder has users and torrents.
    #[error(
        "{database} has no users and no torrents, and data folder {} does. Is the URL right? Restore the \
         database; or have it filled from here with `margay journal adopt {}`", .data.display(), .data.display()
    )]
    Emptied {
        /// Where.
        database: String,
        /// The folder.
        data: PathBuf,
    },
    /// A row without which nothing goes on, or too many rows that cannot be read.
    #[error("table {table} of {database} holds a row that makes no sense: {problem}")]
    Row {
        /// The table.
        table: &'static str,
        /// Where.
        database: String,
        /// The problem, without secrets.
        problem: String,
    },
    /// A thread to wait for the database cannot be started.
    #[error("cannot start a thread that waits for the database")]
    Thread(#[source] io::Error),
}

/// Whether waiting helps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The server is away, busy, locked or starting up: it may be over with the next try.
    Passing,
    /// It stays until somebody does something: a wrong password, a right that is missing, a later schema.
    Lasting,
}

impl DatabaseError {
    /// Whether waiting helps. A standby counts as passing: it may be promoted.
    pub fn obstacle(&self) -> Obstacle {
        match self {
            Self::Url { .. }
            | Self::Schema { .. }
            | Self::Certificates { .. }
            | Self::ReadOnly { standby: false, .. }
            | Self::Old { .. }
            | Self::Rights { .. }
            | Self::Newer { .. }
            | Self::Altered { .. }
            | Self::Foreign { .. }
            | Self::Emptied { .. }
            | Self::Row { .. } => Obstacle::Lasting,
            Self::Silent { .. }
            | Self::Unanswered { .. }
            | Self::UnderWay { .. }
            | Self::Locked { .. }
            | Self::ReadOnly { standby: true, .. }
            | Self::Thread(_) => Obstacle::Passing,
            Self::Connect { source, .. } | Self::Statement { source, .. } => obstacle_of(source),
        }
    }

    /// It stays until somebody does something.
    pub fn lasts(&self) -> bool {
        self.obstacle() == Obstacle::Lasting
    }
}

/// Whether what was heard is not the language of PostgreSQL. The driver has no kind for that: it is an error of
/// reading that no system gives.
fn is_babble(error: &::postgres::Error) -> bool {
    let read = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let made_up = |error: &io::Error| {
        error.raw_os_error().is_none()
            && !error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
    };
    let odd = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        )
    };
    read.is_some_and(|error| made_up(error) && odd(error))
        || (error.source().is_none() && error.to_string().contains("unexpected message"))
}

/// The same for an error of the driver.
pub(crate) fn obstacle_of(error: &::postgres::Error) -> Obstacle {
    if let Some(state) = error.code() {
        return obstacle_of_state(state);
    }
    let passing = match error.source() {
        // The end of the stream, a refused connection, a name that is not found now. What TLS says of a
        // certificate comes in the clothes of one.
        Some(source) => source
            .downcast_ref::<io::Error>()
            .is_some_and(|error| !error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())),
        // Closed, or no answer in time.
        None => true,
    };
    if passing { Obstacle::Passing } else { Obstacle::Lasting }
}

/// By class, and by code where a class has both (PostgreSQL, "Error Codes"). Codes that nobody knows pass.
fn obstacle_of_state(state: &SqlState) -> Obstacle {
    let lasting = match state.code().as_bytes() {
        // database_dropped; the rest of the class are shutdowns, cancellations and time-outs.
        b"57P04" => true,
        // read_only_sql_transaction: the server became a standby, or will be none.
        [b'2', b'5', ..] => false,
        // invalid_name of a prepared statement: a pooler that mixes sessions.
        b"26000" => true,
        // Not supported; cardinality, data, constraints, authorization, catalog and schema names, rights
        // and names, checks of views, limits, the configuration file, RAISE; damaged data.
        [b'0', b'A', ..]
        | [b'2', b'1' | b'2' | b'3' | b'7' | b'8', ..]
        | [b'3', b'8' | b'9' | b'D' | b'F', ..]
        | [b'4', b'2' | b'4', ..]
        | [b'5', b'4', ..]
        | [b'F', b'0', ..]
        | [b'P', b'0', ..]
        | b"XX001"
        | b"XX002" => true,
        _ => false,
    };
    if lasting { Obstacle::Lasting } else { Obstacle::Passing }
}

/// An error with all of its causes in one line.
pub(crate) fn text_of(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_lasts() {
        for (code, lasts) in [
            ("57P03", false), // cannot_connect_now: starting up
            ("57P01", false), // admin_shutdown
            ("57P04", true),  // database_dropped
            ("57014", false), // query_canceled
            ("53300", false), // too_many_connections
            ("53100", false), // disk_full
            ("55P03", false), // lock_not_available
            ("40P01", false), // deadlock_detected
            ("25006", false), // read_only_sql_transaction
            ("25P03", false), // idle_in_transaction_session_timeout
            ("08006", false), // connection_failure
            ("58030", false), // io_error
            ("28P01", true),  // invalid_password
            ("28000", true),  // invalid_authorization_specification
            ("3D000", true),  // invalid_catalog_name
            ("3F000", true),  // invalid_schema_name
            ("42501", true),  // insufficient_privilege
            ("42P01", true),  // undefined_table
            ("42703", true),  // undefined_column
            ("22P05", true),  // untranslatable_character
            ("XX001", true),  // data_corrupted
            ("ZZZZZ", false),
        ] {
            let found = obstacle_of_state(&SqlState::from_code(code));
            assert_eq!(found == Obstacle::Lasting, lasts, "{code}");
        }
        let database = || "database site at db:5432".to_owned();
        let patience = Duration::from_secs(3);
        let (schema, name) = (|| "margay".to_owned(), || "x".to_owned());
        for (error, lasts) in [
            (DatabaseError::Url { problem: name() }, true),
            (DatabaseError::Schema { name: name() }, true),
            (DatabaseError::Silent { database: database(), patience }, false),
            (DatabaseError::Unanswered { task: name(), database: database(), patience }, false),
            (DatabaseError::UnderWay { task: name(), database: database(), patience }, false),
            (DatabaseError::ReadOnly { database: database(), standby: true }, false),
            (DatabaseError::ReadOnly { database: database(), standby: false }, true),
            (DatabaseError::Old { database: database(), found: "13.4".into(), needed: 14 }, true),
            (DatabaseError::Rights { database: database(), role: name(), rights: name() }, true),
            (
                DatabaseError::Newer {
                    schema: schema(),
                    found: 9,
                    known: 6,
                    version: Some("1.2.0".into()),
                },
                true,
            ),
            (DatabaseError::Altered { schema: schema(), number: 1, name: name() }, true),
        ] {
            assert_eq!(error.lasts(), lasts, "{error}");
        }
    }

    /// What a connection to something says that answers `answer` to whatever it is asked.
    fn said_of(answer: &'static [u8]) -> String {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        });
        let url = format!("postgres://margay@127.0.0.1:{port}/margay?sslmode=disable");
        let database = crate::Database::new(&url, None, "margay").unwrap();
        let error = database.connect("look").err().unwrap();
        stranger.join().unwrap();
        error.to_string()
    }

    #[test]
    fn what_is_no_postgresql_is_said_to_be_none() {
        for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail ESMTP\r\n", "SSH-2.0-x\r\n"] {
            let said = said_of(answer.as_bytes());
            assert!(said.contains("is no PostgreSQL"), "{answer:?}: {said}");
        }
        // Whoever says nothing may be starting.
        let said = said_of(b"");
        assert!(!said.contains("is no PostgreSQL"), "{said}");
    }

    #[test]
    fn a_later_schema_names_the_version_that_is_needed() {
        let newer = |version| DatabaseError::Newer {
            schema: "margay".to_owned(),
            found: 9,
            known: 6,
            version,
        };
        let text = newer(Some("1.2.0".to_owned())).to_string();
        assert!(text.contains("use margay 1.2.0 or a later one"), "{text}");
        let text = newer(None).to_string();
        assert!(text.contains("the version of the program that made it or a later one"), "{text}");
    }
}
