//! Where the database is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::postgres::config::SslMode;
use ::postgres::{Client, Config};

use super::aside::Said;
use super::errands::{Errands, Readers};
use super::session::each_host;
use super::tls::{Proof, Tls};
use super::{DatabaseError, Look, Migrated, text_of};

/// A PostgreSQL database, and the schema of the tracker in it. Cheap to clone; whoever needs it connects
/// for himself.
#[derive(Clone)]
pub struct Database {
    /// At least one; each is tried in turn.
    pub(super) hosts: Arc<[Config]>,
    pub(super) tls: Tls,
    schema: Arc<str>,
    /// For people: without the password.
    shown: Arc<str>,
    /// Threads that wait for a server that does not answer.
    pub(super) connecting: Arc<Errands<Client>>,
    pub(super) migrating: Arc<Errands<Migrated>>,
    pub(super) looking: Arc<Errands<Look>>,
    pub(super) readers: Arc<Readers>,
    /// Which rows were said to be unreadable.
    pub(super) said: Arc<Said>,
}

impl Database {
    /// A database by its URL, as libpq takes it (PostgreSQL, "Connection URIs"), such as
    /// `postgres://margay@db.example/site?sslmode=verify-full` or, for a socket,
    /// `postgres://margay@%2Frun%2Fpostgresql/site`.
    ///
    /// `password` wins over one in the URL. `sslmode` means what it does to libpq: `disable`, `prefer`
    /// (the default) and `require` believe any certificate, the latter unless `sslrootcert` names a file;
    /// `verify-ca` and `verify-full` believe the certificates of `sslrootcert`, or else of the system.
    /// `connect_timeout` bounds the whole of a connection, with the handshake: 3 s where the URL does not say.
    /// Of several hosts, the first that is a primary and answers within its part of that is taken.
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
        if let Some(raw) = raw_in_password(url) {
            return Err(wrong(&format!(
                "a raw {raw} in the password ends it there: write it as %{:02X}, or give the password in \
                 --database-password-file",
                u32::from(raw)
            )));
        }
        let (url, ssl) = split_ssl(url).map_err(|problem| wrong(&problem))?;
        let mut config: Config = url.parse().map_err(|error| wrong(&text_of(&error)))?;
        if let Some(password) = password {
            config.password(password);
        }
        config.ssl_mode(ssl.mode);
        config.keepalives_idle(KEEPALIVE);
        config.keepalives_interval(KEEPALIVE);
        config.keepalives_retries(3);
        config.tcp_user_timeout(*config.get_tcp_user_timeout().unwrap_or(&SILENCE_TIME));
        let shown = show(&config).into();
        let tls = Tls::new(ssl.mode, ssl.proof, ssl.roots)?;
        Ok(Self {
            hosts: each_host(&config).into(),
            tls,
            schema: schema.into(),
            shown,
            connecting: Arc::default(),
            migrating: Arc::default(),
            looking: Arc::default(),
            readers: Arc::default(),
            said: Arc::default(),
        })
    }

    /// The name of the schema, as given.
    pub fn schema(&self) -> &str {
        &self.schema
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

/// A character in the password of a URL that has to be percent-encoded there (PostgreSQL, "Connection URIs") and
/// is not: one that ends the password too early, or `%` without two hexadecimal digits.
fn raw_in_password(url: &str) -> Option<char> {
    let (_, rest) = url.split_once("://")?;
    let before_query = rest.split_once('?').map_or(rest, |(before, _)| before);
    let (user, _) = before_query.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    let raw = password.chars().find(|raw| matches!(raw, '@' | '/' | '#' | ' '));
    raw.or_else(|| decode(password).err().map(|_| '%'))
}

/// The part of a URL that is about TLS, and not understood by the driver.
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

pub(super) fn show(config: &Config) -> String {
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
        assert_eq!(database.hosts[0].get_password(), Some(&b"secret2"[..]));
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
    fn what_is_raw_in_a_password_is_named_with_what_to_write() {
        for (password, raw) in [
            ("sec@ret", "%40"),
            ("sec/ret", "%2F"),
            ("sec#ret", "%23"),
            ("sec%ret", "%25"),
            ("secret%4", "%25"),
            ("@", "%40"),
        ] {
            let url = format!("postgres://ann:{password}@db.example:5433/site?application_name=a");
            let error = Database::new(&url, None, "margay").unwrap_err();
            let text = text_of(&error);
            assert!(text.contains(raw) && text.contains("--database-password-file"), "{text}");
            assert!(!text.contains("sec"), "{text}");
        }
        for (url, password) in [
            ("postgres://ann:a%40b%2Fc%23d%25@db.example/site", Some("a@b/c#d%")),
            ("postgres://ann:a!$&'()*+,;=:b@db.example/site", Some("a!$&'()*+,;=:b")),
            ("postgres://ann@%2Frun%2Fpostgresql/site", None),
            ("postgres://db.example:5433/site?application_name=a%40b", None),
        ] {
            let database = Database::new(url, None, "margay").unwrap();
            let found = database.hosts[0].get_password();
            assert_eq!(found, password.map(str::as_bytes), "{url}");
        }
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
