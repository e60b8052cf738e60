//! Where the database is, and a connection to it.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::postgres::config::SslMode;
use ::postgres::{Client, Config};

use super::tls::{Proof, Tls};

/// A PostgreSQL database, and the schema of the tracker in it. Cheap to clone; whoever needs it connects
/// for himself.
#[derive(Clone)]
pub struct Database {
    config: Arc<Config>,
    tls: Tls,
    schema: Arc<str>,
    /// For people: without the password.
    shown: Arc<str>,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL says nothing that makes sense. The URL itself may hold a password, and is not shown.
    #[error(
        "the URL of the database is wrong: {problem}; it looks like postgres://user@host/database"
    )]
    Url {
        /// What is wrong with it.
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
        /// What was wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It does not answer, or does not let us in.
    #[error("cannot connect to {database}")]
    Connect {
        /// Where.
        database: String,
        /// What happened.
        source: ::postgres::Error,
    },
    /// A statement failed, or the connection was lost.
    #[error("cannot {task} in {database}")]
    Statement {
        /// What was being done.
        task: &'static str,
        /// Where.
        database: String,
        /// What happened.
        source: ::postgres::Error,
    },
    /// A later version of the program has been here.
    #[error(
        "schema {schema} is at migration {found}, and this program knows {known}; use the version of the \
         program that made it, or a later one"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// The last migration that was applied.
        found: u32,
        /// The last one that the program has.
        known: u32,
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
    /// A row that no constraint should have let in.
    #[error("table {table} of {database} holds a row that makes no sense: {problem}")]
    Row {
        /// The table.
        table: &'static str,
        /// Where.
        database: String,
        /// What is wrong, without secrets.
        problem: String,
    },
}

impl Database {
    /// A database by its URL, as libpq takes it (PostgreSQL, "Connection URIs"), such as
    /// `postgres://margay@db.example/site?sslmode=verify-full` or, for a socket,
    /// `postgres://margay@%2Frun%2Fpostgresql/site`.
    ///
    /// `password` wins over one in the URL. `sslmode` means what it does to libpq: `disable`, `prefer`
    /// (the default) and `require` believe any certificate, the latter unless `sslrootcert` names a file;
    /// `verify-ca` and `verify-full` believe the certificates of `sslrootcert`, or else of the system.
    /// Connections need a session of their own, so a pooler in between has to be in session mode.
    ///
    /// Nothing is connected yet.
    pub fn new(url: &str, password: Option<&str>, schema: &str) -> Result<Self, DatabaseError> {
        if schema.is_empty() || schema.len() > SCHEMA_BYTES_MAX || schema.contains('\0') {
            return Err(DatabaseError::Schema { name: schema.to_owned() });
        }
        let wrong = |problem: &str| DatabaseError::Url { problem: problem.to_owned() };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it does not start with postgres://"));
        }
        let (url, ssl) = split_ssl(url).map_err(|problem| wrong(&problem))?;
        let mut config: Config = url.parse().map_err(|error| wrong(&text_of(&error)))?;
        if let Some(password) = password {
            config.password(password);
        }
        config.ssl_mode(ssl.mode);
        config.connect_timeout(*config.get_connect_timeout().unwrap_or(&CONNECT_TIME));
        config.keepalives_idle(KEEPALIVE);
        config.keepalives_interval(KEEPALIVE);
        config.keepalives_retries(3);
        config.tcp_user_timeout(*config.get_tcp_user_timeout().unwrap_or(&SILENCE_TIME));
        let shown = show(&config).into();
        let tls = Tls::new(ssl.mode, ssl.proof, ssl.roots)?;
        Ok(Self { config: Arc::new(config), tls, schema: schema.into(), shown })
    }

    /// The name of the schema, as given.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A connection whose first schema is the tracker's (which need not be there yet). `purpose` is
    /// shown in `pg_stat_activity`.
    pub(crate) fn connect(&self, purpose: &str) -> Result<Client, DatabaseError> {
        let mut config = (*self.config).clone();
        config.application_name(&format!("margay {purpose}"));
        let mut client = config
            .connect(self.tls.clone())
            .map_err(|source| DatabaseError::Connect { database: self.to_string(), source })?;
        // A commit that the server may forget is none: journal segments are deleted after it.
        client
            .batch_execute(&format!(
                "SET search_path TO {}, pg_catalog; SET margay.ledger TO 'on'; SET TimeZone TO 'UTC'; \
                 SET client_min_messages TO warning; SET statement_timeout TO 0; SET lock_timeout TO 0; \
                 SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')",
                quote(&self.schema)
            ))
            .map_err(self.failed("prepare a session"))?;
        Ok(client)
    }

    /// Says what was being done.
    pub(crate) fn failed(
        &self,
        task: &'static str,
    ) -> impl Fn(::postgres::Error) -> DatabaseError + '_ {
        move |source| DatabaseError::Statement { task, database: self.to_string(), source }
    }

    /// The number that sessions lock to be alone with something of this schema.
    pub(crate) fn lock_number(&self, what: &str) -> i64 {
        let mut low = crc32fast::Hasher::new();
        low.update(what.as_bytes());
        let mut high = crc32fast::Hasher::new();
        high.update(b"margay ");
        high.update(self.schema.as_bytes());
        i64::from(high.finalize()) << 31 ^ i64::from(low.finalize())
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("at", &self.shown).field("schema", &self.schema).finish()
    }
}

/// An identifier in double quotes (PostgreSQL, "Identifiers and Key Words").
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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

/// What of a URL is about TLS, and not understood by the driver.
struct Ssl {
    mode: SslMode,
    proof: Proof,
    roots: Option<PathBuf>,
}

/// Takes `sslmode` and `sslrootcert` out of a URL.
fn split_ssl(url: &str) -> Result<(String, Ssl), String> {
    let mut ssl = Ssl { mode: SslMode::Prefer, proof: Proof::None, roots: None };
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), ssl)) };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => {
                (ssl.mode, ssl.proof) = match mode {
                    "disable" => (SslMode::Disable, Proof::None),
                    "prefer" => (SslMode::Prefer, Proof::None),
                    "require" => (SslMode::Require, Proof::None),
                    "verify-ca" => (SslMode::Require, Proof::Authority),
                    "verify-full" => (SslMode::Require, Proof::Name),
                    _ => return Err(format!("sslmode is {mode:?}")),
                }
            }
            Some(("sslrootcert", "system")) => {}
            Some(("sslrootcert", path)) => ssl.roots = Some(PathBuf::from(decode(path)?)),
            _ => rest.push(pair),
        }
    }
    if ssl.roots.is_some() && matches!(ssl.mode, SslMode::Require) && ssl.proof == Proof::None {
        ssl.proof = Proof::Authority;
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, ssl))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.first_chunk::<2>().and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("{text:?} is not percent-encoded"))?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not text"))
}

fn show(config: &Config) -> String {
    use ::postgres::config::Host;
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(i, host)| {
            let port = config.get_ports().get(i).or(config.get_ports().first()).unwrap_or(&5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        })
        .collect();
    let name = config.get_dbname().or(config.get_user()).unwrap_or("its default");
    format!("database {name} at {}", hosts.join(","))
}

/// The channel of the notices is named after the schema, and a name has at most 63 bytes.
const SCHEMA_BYTES_MAX: usize = 48;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long sent data may stay unacknowledged before the connection is given up.
const SILENCE_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let database =
            Database::new("postgres://ann:secret1@db.example:5433/site", Some("secret2"), "margay")
                .unwrap();
        let text = format!("{database} {database:?}");
        assert!(text.contains("database site at db.example:5433"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(database.config.get_password(), Some(&b"secret2"[..]));
    }

    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        for (query, mode, proof) in [
            ("", SslMode::Prefer, Proof::None),
            ("?sslmode=disable", SslMode::Disable, Proof::None),
            ("?sslmode=require", SslMode::Require, Proof::None),
            ("?sslmode=require&sslrootcert=%2Fetc%2Fca.pem", SslMode::Require, Proof::Authority),
            ("?sslmode=verify-ca&application_name=x", SslMode::Require, Proof::Authority),
            ("?sslmode=verify-full", SslMode::Require, Proof::Name),
        ] {
            let (rest, ssl) = split_ssl(&format!("postgres://a@b/c{query}")).unwrap();
            assert!(!rest.contains("ssl"), "{rest}");
            assert_eq!((ssl.mode, ssl.proof), (mode, proof), "{query}");
        }
        assert!(split_ssl("postgres://a@b/c?sslmode=never").is_err());
    }

    #[test]
    fn wrong_urls_and_names_are_explained_without_their_secrets() {
        for url in [
            "mysql://a:secret@b",
            "postgres://a:secret@b:port/c",
            "postgres://a:secret@b/c?sslmode=x",
        ] {
            let error = Database::new(url, None, "margay").unwrap_err();
            let text = text_of(&error);
            assert!(matches!(error, DatabaseError::Url { .. }), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        for schema in ["", "a\0b", &"x".repeat(49)] {
            let error = Database::new("postgres://a@b/c", None, schema).unwrap_err();
            assert!(matches!(error, DatabaseError::Schema { .. }));
        }
        assert_eq!(quote("a\"b; --"), "\"a\"\"b; --\"");
    }
}
