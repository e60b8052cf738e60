//! Connections: made within a bound, to a server that will do, with settings that are ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::postgres::config::{Host, LoadBalanceHosts};
use ::postgres::{Client, Config, SimpleQueryMessage};

use super::settings::quote;
use super::tls::Tls;
use super::{Database, DatabaseError};

/// The oldest PostgreSQL that is supported. `idle_session_timeout` is of this one, and what it is not told
/// about it cannot be asked to leave alone.
pub(super) const OLDEST: u32 = 14;

/// How long a connection may take, with the handshake and its settings, where the URL does not say
/// (`connect_timeout`). With several hosts, each has its part of it.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// The least that one of several hosts is waited for.
const HOST_PATIENCE_MIN: Duration = Duration::from_secs(1);

/// How long sessions that work in the background wait for a lock, before they begin anew and say so.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The time that sessions wait for locks when somebody waits for them.
pub(crate) const START_LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// From now on the session waits for a lock as long as this.
pub(crate) fn wait_for_locks(
    client: &mut Client,
    patience: Duration,
) -> Result<(), ::postgres::Error> {
    client.batch_execute(&format!("SET lock_timeout TO {}", patience.as_millis()))
}

impl Database {
    /// A connection whose first schema is the tracker's (which need not be there yet). `purpose` is
    /// shown in `pg_stat_activity`. A server that is no primary, or too old, is none; with several hosts
    /// the next one is tried.
    ///
    /// Takes [`CONNECT_PATIENCE`] or the `connect_timeout` of the URL at most, whatever the server does. A
    /// connection that comes later is taken by the next caller with the same purpose.
    pub(crate) fn connect(&self, purpose: &str) -> Result<Client, DatabaseError> {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        if self.hosts[0].get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut order);
        }
        let mut failed: Option<DatabaseError> = None;
        for host in order {
            match self.connect_to(host, purpose) {
                Ok(client) => return Ok(client),
                // Where one of them may be there soon, that is what is to be said.
                Err(error) if failed.as_ref().is_none_or(|failed| failed.lasts()) => {
                    failed = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failed.expect("there is at least one host, and it failed"))
    }

    fn connect_to(&self, host: usize, purpose: &str) -> Result<Client, DatabaseError> {
        let mut config = self.hosts[host].clone();
        let whole = self.connect_patience();
        let count = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        let patience = (whole / count).max(HOST_PATIENCE_MIN.min(whole));
        // A network that swallows everything is told from a server that says nothing.
        config.connect_timeout(patience.mul_f32(0.9));
        config.application_name(&format!("margay {purpose}"));
        let shown: Arc<str> = match self.hosts.len() {
            1 => self.to_string().into(),
            _ => super::settings::show(&config).into(),
        };
        let opening = Opening {
            config,
            tls: self.tls.clone(),
            schema: quote(self.schema()),
            shown: shown.clone(),
        };
        let name = format!("{purpose} {host}");
        self.connecting.run(&name, patience, |_| None, move |_| opening.open()).unwrap_or_else(
            |_| Err(DatabaseError::Silent { database: shown.to_string(), patience }),
        )
    }

    /// How long a connection may take, at most.
    pub(super) fn connect_patience(&self) -> Duration {
        *self.hosts[0].get_connect_timeout().unwrap_or(&CONNECT_PATIENCE)
    }

    /// Whether the server lets us in now.
    pub(super) fn answers(&self) -> bool {
        self.connect("look").is_ok()
    }
}

/// Gives a connection up that did not answer. The driver ends one in good order, and waits for what the
/// server still owes it; so that is done elsewhere.
pub(crate) fn let_go(client: Client) {
    let end = move || drop(client);
    // Without a thread it is ended here, which takes as long as it takes.
    let _ = std::thread::Builder::new().name("margay-ends".into()).spawn(end);
}

/// All that is needed to make one connection.
struct Opening {
    config: Config,
    tls: Tls,
    /// As an identifier.
    schema: String,
    shown: Arc<str>,
}

impl Opening {
    fn open(self) -> Result<Client, DatabaseError> {
        let database = self.shown.to_string();
        let connected = self.config.connect(self.tls.clone());
        let mut client = connected
            .map_err(|source| DatabaseError::Connect { database: database.clone(), source })?;
        let failed = |source| DatabaseError::Statement {
            task: "prepare a session",
            database: database.clone(),
            source,
        };
        // In one go: a connection that is lost again and again is to be of use in between.
        let facts = format!("{FACTS}; {}", settings(&self.schema));
        let facts = client.simple_query(&facts).map_err(failed)?;
        let fact = |place: usize| {
            let row = facts.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            row.and_then(|row| row.get(place)).unwrap_or_default()
        };
        if !supported(fact(0)) {
            let found = fact(1).to_owned();
            return Err(DatabaseError::Old { database, found, needed: OLDEST });
        }
        if fact(2) == "on" {
            let standby = fact(3) == "t";
            return Err(DatabaseError::ReadOnly { database, standby });
        }
        Ok(client)
    }
}

/// Whether a version will do; later ones than are known do.
fn supported(version: &str) -> bool {
    version.parse().is_ok_and(|version: u32| version >= OLDEST * 10_000)
}

/// The facts to be known of a server before it is used.
const FACTS: &str = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
    current_setting('transaction_read_only'), pg_is_in_recovery()";

/// Roles and databases may have settings of their own (`ALTER ROLE … SET`): time-outs that end what takes
/// long, another isolation, policies that hide rows. Those that would break ours are set here.
/// `default_transaction_read_only` is not: whoever sets it wants the database to stay as it is.
/// A setting that a version does not know is set where it is known, so that an old server can say that it is one.
///
/// A session whose host is gone would hold its locks for as long as the server's keepalive says, two hours where
/// nobody has changed that: the server is asked to look after a quiet session each ten seconds, and to give it up
/// after 30 (over a Unix socket it need not, and says 0).
fn settings(schema: &str) -> String {
    let lock_timeout = LOCK_PATIENCE.as_millis();
    format!(
        "SET search_path TO {schema}, pg_catalog; SET margay.ledger TO 'on'; SET TimeZone TO 'UTC'; \
         SET client_min_messages TO warning; SET statement_timeout TO 0; SET lock_timeout TO {lock_timeout}; \
         SET idle_in_transaction_session_timeout TO '5min'; \
         SET tcp_keepalives_idle TO 10; SET tcp_keepalives_interval TO 10; SET tcp_keepalives_count TO 3; \
         SET tcp_user_timeout TO 30000; SET standard_conforming_strings TO on; SET row_security TO off; \
         SET default_transaction_isolation TO 'read committed'; SET default_transaction_deferrable TO off; \
         SELECT set_config('idle_session_timeout', '0', false) \
         WHERE current_setting('server_version_num')::int >= 140000; \
         SELECT set_config('transaction_timeout', '0', false) \
         WHERE current_setting('server_version_num')::int >= 170000; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
}

/// The same for each host by itself: the driver would wait for the first one for ever.
pub(super) fn each_host(config: &Config) -> Vec<Config> {
    let count = config.get_hosts().len().max(config.get_hostaddrs().len());
    if count <= 1 {
        return vec![config.clone()];
    }
    (0..count).map(|place| of_host(config, place)).collect()
}

fn of_host(config: &Config, place: usize) -> Config {
    let mut one = Config::new();
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    match config.get_hosts().get(place) {
        Some(Host::Tcp(name)) => _ = one.host(name),
        Some(Host::Unix(path)) => _ = one.host_path::<&Path>(path),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(place) {
        one.hostaddr(*address);
    }
    if let Some(port) = config.get_ports().get(place).or(config.get_ports().first()) {
        one.port(*port);
    }
    if let Some(time) = config.get_connect_timeout() {
        one.connect_timeout(*time);
    }
    if let Some(time) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*time);
    }
    one.keepalives(config.get_keepalives());
    one.keepalives_idle(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(config.get_ssl_mode());
    one.ssl_negotiation(config.get_ssl_negotiation());
    one.channel_binding(config.get_channel_binding());
    one.target_session_attrs(config.get_target_session_attrs());
    one.load_balance_hosts(config.get_load_balance_hosts());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_from_the_oldest_on_will_do() {
        for good in ["140000", "150014", "990001"] {
            assert!(supported(good), "{good}");
        }
        for old in ["130022", "90624", "80002", "", "15.4"] {
            assert!(!supported(old), "{old}");
        }
    }

    #[test]
    fn the_server_looks_after_a_session_whose_host_may_be_gone() {
        let Ok(url) = std::env::var("MARGAY_TEST_POSTGRES") else {
            return eprintln!("SKIPPED: it needs PostgreSQL: ops/test.d/postgres run cargo test");
        };
        let database = Database::new(&url, None, "margay").unwrap();
        let mut client = database.connect("test").unwrap();
        let query = "SELECT array[current_setting('tcp_keepalives_idle'), \
             current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count'), \
             current_setting('tcp_user_timeout')], inet_client_addr() IS NOT NULL";
        let row = client.query_one(query, &[]).unwrap();
        let (found, over_tcp): (Vec<String>, bool) = (row.get(0), row.get(1));
        let expected = if over_tcp { ["10", "10", "3", "30s"] } else { ["0"; 4] };
        assert_eq!(found, expected, "over TCP: {over_tcp}");
    }

    #[test]
    fn each_host_has_all_that_the_url_says() {
        let url = "postgres://ann:key@db1:5433,db2:5434/site?connect_timeout=7&application_name=x\
            &target_session_attrs=read-write";
        let hosts = each_host(&url.parse().unwrap());
        assert_eq!(hosts.len(), 2);
        for (host, name, port) in [(&hosts[0], "db1", 5433), (&hosts[1], "db2", 5434)] {
            assert_eq!(host.get_hosts(), [Host::Tcp(name.to_owned())]);
            assert_eq!(host.get_ports(), [port]);
            assert_eq!((host.get_user(), host.get_dbname()), (Some("ann"), Some("site")));
            assert_eq!(host.get_password(), Some(&b"key"[..]));
            assert_eq!(host.get_connect_timeout(), Some(&Duration::from_secs(7)));
        }
        assert_eq!(each_host(&"postgres://a@b/c".parse().unwrap()).len(), 1);
    }
}
