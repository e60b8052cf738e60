//! A server that is there and does not answer: nobody waits for it longer than he can.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use persist::postgres::{Migrated, Obstacle, Watch};
use persist::{Database, DatabaseError};
use postgres::{Client, NoTls};
use shard::private::Change;

use crate::site::{NOW, PATIENCE, Server, Site, until};

/// Processes that were stopped, and go on at the end.
pub(crate) struct Stopped(Vec<u32>);

impl Stopped {
    /// All of a server. Its processes have sessions of their own.
    pub(crate) fn server(server: &Server) -> Self {
        let pid = std::fs::read_to_string(server.dir().join("data/postmaster.pid")).unwrap();
        let postmaster: u32 = pid.lines().next().unwrap().parse().unwrap();
        signal("-STOP", &[postmaster]);
        let mut all = children(postmaster);
        signal("-STOP", &all);
        all.push(postmaster);
        Self(all)
    }

    fn process(pid: u32) -> Self {
        signal("-STOP", &[pid]);
        Self(vec![pid])
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    // One may have ended in the meantime.
    let _ = Command::new("kill").arg(name).args(pids).status().unwrap();
}

fn children(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let is_child = |pid: &u32| {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        // "pid (name) state parent …"
        let after = stat.rsplit(')').next().unwrap_or_default();
        after.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

/// Gives up, and says so as something that passes.
#[track_caller]
fn passing<T: std::fmt::Debug>(result: Result<T, DatabaseError>) -> DatabaseError {
    let error = result.unwrap_err();
    assert_eq!(error.obstacle(), Obstacle::Passing, "{error:?}");
    error
}

#[test]
fn a_stopped_server_is_given_up_and_used_again() {
    let Some(server) = Server::start("stopped") else { return };
    let site = Site::at(&server.url, "stopped");
    let made = site.database.migrate().unwrap().to;
    for url in [server.url.clone(), tcp(&server)] {
        let database = Database::new(&url, Some("margay"), site.database.schema()).unwrap();
        database.migrate().unwrap();
        let stopped = Stopped::server(&server);
        for _ in 0..2 {
            let error = passing(database.migrate());
            assert!(matches!(error, DatabaseError::Silent { .. }), "{error:?}");
            assert!(error.to_string().contains("did not answer within 3.0 s"), "{error}");
        }
        let error = passing(database.load(1, NOW, drop));
        assert!(matches!(error, DatabaseError::Silent { .. }), "{error:?}");
        passing(database.position(1));
        drop(stopped);
        until("it answers again", || {
            database.migrate().is_ok_and(|done| done == Migrated { from: made, to: made })
        });
        database.load(1, NOW, drop).unwrap();
    }
}

fn tcp(server: &Server) -> String {
    std::fs::read_to_string(server.dir().join("url_tcp")).unwrap().trim().to_owned()
}

/// Something listens there, and is no PostgreSQL: it says nothing at all, or nothing after the first word.
#[test]
fn what_takes_connections_and_says_nothing_is_given_up() {
    for (first_word, sslmode) in [
        (&b""[..], "prefer"),
        (b"", "disable"),
        (b"S", "prefer"),
        (b"N", "prefer"),
        (b"S", "require"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || -> std::io::Result<()> {
            let mut held: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream?;
                if !first_word.is_empty() {
                    stream.read_exact(&mut [0; 8])?;
                    stream.write_all(first_word)?;
                }
                held.push(stream);
            }
            Ok(())
        };
        thread::spawn(serve);
        let url = format!("postgres://a@127.0.0.1:{port}/b?connect_timeout=1&sslmode={sslmode}");
        let database = Database::new(&url, None, "margay").unwrap();
        let error = passing(database.migrate());
        assert!(matches!(error, DatabaseError::Silent { .. }), "{error:?}");
        assert!(error.to_string().contains("no PostgreSQL"), "{error}");
    }
}

/// The first of two hosts is silent: the other one is the server.
#[test]
fn another_host_is_tried_when_one_is_silent() {
    let Some(server) = Server::start("hosts") else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let url = tcp(&server).replace("@127.0.0.1", &format!("@{silent},127.0.0.1"));
    let database = Database::new(&url, Some("margay"), "hosts").unwrap();
    assert_eq!(database.migrate().unwrap().from, 0);
}

#[test]
fn a_process_that_is_stopped_while_it_sends_rows_is_given_up() {
    let Some(mut site) = Site::new("mid copy") else { return };
    site.write(
        "SET margay.ledger TO 'on'; INSERT INTO users (id, passkey) \
         SELECT n, lpad(n::text, 32, '0') FROM generate_series(1, 400000) AS n",
    );
    let mut other = Client::connect(&site.url, NoTls).unwrap();
    let mut stopped = None;
    let mut rows = 0;
    let schema = site.database.schema().to_owned();
    let result = site.database.load(1, NOW, |stored| {
        rows += 1;
        if stopped.is_none() && matches!(stored.change, Change::User { .. }) {
            // The one that holds this schema's table.
            let sender = other.query_one(
                "SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = relation \
                 JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relname = 'users' \
                 AND l.pid <> pg_backend_pid() LIMIT 1",
                &[&schema],
            );
            stopped = Some(Stopped::process(sender.unwrap().get::<_, i32>(0) as u32));
        }
    });
    let error = passing(result);
    assert!(matches!(error, DatabaseError::Unanswered { .. }), "{error:?}");
    assert!(error.to_string().contains("send table users"), "{error}");
    assert!(rows < 400_000);
    // Others are served meanwhile.
    assert_eq!(site.database.position(1).unwrap(), None);
    drop(stopped);
    assert_eq!(site.database.load(1, NOW, drop).unwrap().users, 400_000);
}

/// Slow, and alive: a server that looks long for its first row is not given up as long as it lets others in,
/// and neither is who takes his time with the rows.
#[test]
fn a_load_that_is_slow_goes_on() {
    let Some(mut site) = Site::new("slow") else { return };
    site.write(
        "SET margay.ledger TO 'on'; INSERT INTO users (id, passkey) \
         SELECT n, lpad(n::text, 32, '0') FROM generate_series(1, 20000) AS n; \
         INSERT INTO client_rules VALUES ('-qB', true); ALTER TABLE client_rules RENAME TO rules; \
         CREATE VIEW client_rules AS SELECT * FROM rules WHERE pg_sleep(6) IS NOT NULL",
    );
    let mut rows = 0;
    let loaded = site.database.load(1, NOW, |_| {
        rows += 1;
        if rows == 2 {
            thread::sleep(std::time::Duration::from_secs(6));
        }
    });
    assert_eq!((loaded.unwrap().users, rows), (20_000, 20_001));
}

#[test]
fn a_locked_table_is_given_up_and_its_holder_named() {
    let Some(mut site) = Site::new("locked") else { return };
    let pid = site.number("SELECT pg_backend_pid()::bigint");
    let holder = format!("process {pid} (");
    site.write(
        "SET application_name TO 'the site'; BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
    );
    let error = passing(site.database.load(1, NOW, drop));
    assert!(matches!(error, DatabaseError::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("table users") && text.contains(&holder), "{text}");
    assert!(text.contains("the site"), "{text}");
    // Nothing is to be done to it, so nobody waits.
    site.database.migrate().unwrap();
    site.write("ROLLBACK; BEGIN; LOCK TABLE migrations, ledger IN ACCESS EXCLUSIVE MODE");
    let error = passing(site.database.migrate());
    assert!(error.to_string().contains("tables ledger, migrations"), "{error}");
    let error = passing(site.database.position(1));
    assert!(matches!(error, DatabaseError::Locked { .. }), "{error:?}");
    site.write("ROLLBACK");
    site.database.load(1, NOW, drop).unwrap();
}

const FIRST_MIGRATIONS: [(&str, &str); 3] = [
    ("tables", include_str!("../../migrations/0001_tables.sql")),
    ("notices", include_str!("../../migrations/0002_notices.sql")),
    ("groups_and_spent_tokens", include_str!("../../migrations/0003_groups_and_spent_tokens.sql")),
];

/// Tables of an earlier version.
fn earlier(site: &mut Site) {
    let schema = site.database.schema().replace('"', "\"\"");
    site.write(&format!(
        "CREATE SCHEMA \"{schema}\"; CREATE TABLE migrations (number integer PRIMARY KEY, name text NOT NULL, \
         checksum bigint NOT NULL, at timestamptz NOT NULL DEFAULT now())"
    ));
    for (number, (name, text)) in (1..).zip(FIRST_MIGRATIONS) {
        site.write(text);
        let checksum = crc32fast::hash(text.as_bytes());
        site.write(&format!(
            "INSERT INTO migrations (number, name, checksum) VALUES ({number}, '{name}', {checksum})"
        ));
    }
}

/// Somebody reads a table that is to be changed, for long: a backup does.
#[test]
fn a_migration_gives_up_a_table_that_is_in_use() {
    let Some(mut site) = Site::empty("in use") else { return };
    earlier(&mut site);
    let pid = site.number("SELECT pg_backend_pid()::bigint");
    site.write("BEGIN; LOCK TABLE peers IN ACCESS SHARE MODE");
    let error = passing(site.database.migrate());
    assert!(matches!(error, DatabaseError::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("table peers") && text.contains(&format!("process {pid} (")), "{text}");
    site.write("ROLLBACK");
    assert_eq!(site.number("SELECT count(*) FROM migrations"), 3);
    assert_eq!(site.database.migrate().unwrap().from, 3);
}

#[test]
fn a_migration_gives_up_when_another_one_takes_long() {
    let Some(mut site) = Site::empty("advisory") else { return };
    let schema = site.database.schema().to_owned();
    // As several trackers lock it that start at once.
    let high = crc32fast::hash(format!("margay {schema}").as_bytes());
    let key = i64::from(high) << 31 ^ i64::from(crc32fast::hash(b"migrations"));
    let pid = site.number("SELECT pg_backend_pid()::bigint");
    site.write(&format!("SELECT pg_advisory_lock({key})"));
    let error = passing(site.database.migrate());
    assert!(matches!(error, DatabaseError::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("the lock of the migrations"), "{text}");
    assert!(text.contains(&format!("process {pid} (")), "{text}");
    site.write(&format!("SELECT pg_advisory_unlock({key})"));
    assert_eq!(site.database.migrate().unwrap().from, 0);
}

/// Who waits no longer than he can, while the server goes on with it; the next one finds it done.
#[test]
fn a_migration_that_takes_long_goes_on_without_who_waited() {
    let Some(mut site) = Site::empty("under way") else { return };
    earlier(&mut site);
    let schema = site.database.schema().replace('"', "\"\"");
    // A later migration makes a table: that takes as long as this says.
    site.write(&format!(
        "CREATE FUNCTION public.slow_{0}() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('search_path') LIKE '%under way%' THEN PERFORM pg_sleep(7); END IF; END $$; \
         CREATE EVENT TRIGGER slow_{0} ON ddl_command_start WHEN TAG IN ('CREATE TABLE') \
         EXECUTE FUNCTION public.slow_{0}(); SET search_path TO \"{schema}\"",
        std::process::id()
    ));
    let error = site.database.migrate_within(std::time::Duration::ZERO);
    let error = error.map(|done| panic!("{done:?}")).unwrap_err();
    site.write(&format!("DROP EVENT TRIGGER slow_{}", std::process::id()));
    assert!(matches!(error, DatabaseError::UnderWay { .. }), "{error:?}");
    assert_eq!(error.obstacle(), Obstacle::Passing);
    assert!(error.to_string().contains("apply migration"), "{error}");
    let done = site.database.migrate().unwrap();
    assert_eq!(site.number("SELECT count(*) FROM migrations"), i64::from(done.to));
    site.write(&format!("DROP FUNCTION public.slow_{}()", std::process::id()));
}

/// A standby lets everybody in, and takes nothing.
#[test]
fn a_standby_is_told_from_a_server_that_takes_changes() {
    let Some(server) = Server::start("standby") else { return };
    let database = Database::new(&server.url, None, "standby").unwrap();
    database.migrate().unwrap();
    server.stop();
    std::fs::write(server.dir().join("data/standby.signal"), "").unwrap();
    server.restart();
    let error = passing(database.migrate());
    assert!(matches!(error, DatabaseError::ReadOnly { standby: true, .. }), "{error:?}");
    assert!(error.to_string().contains("it is a standby"), "{error}");
    passing(database.load(1, NOW, drop));
    let mut admin = Client::connect(&server.url, NoTls).unwrap();
    admin.batch_execute("SELECT pg_promote()").unwrap();
    until("it is promoted", || database.migrate().is_ok());
}

/// The watch notices that nobody answers, and hears again when somebody does.
#[test]
fn a_watch_notices_a_server_that_is_stopped() {
    let Some(server) = Server::start("watched") else { return };
    let site = Site::at(&server.url, "watched");
    site.database.migrate().unwrap();
    let watch = Watch::start(site.database.clone(), |_| ()).unwrap();
    until("it hears", || watch.status().connected);
    let stopped = Stopped::server(&server);
    until("it notices", || !watch.status().connected);
    drop(stopped);
    until("it hears again", || watch.status().connected && watch.status().reloads == 2);
    watch.stop(PATIENCE);
}

#[test]
fn what_lasts_and_what_passes_where_it_is_met() {
    let Some(server) = Server::start("kinds") else { return };
    let at = |url: &str, password: &str| Database::new(url, Some(password), "kinds").unwrap();
    let tcp = tcp(&server);
    for (database, lasts) in [
        (at(&tcp, "wrong"), true),
        (at(&tcp.replace("/postgres", "/nobody"), "margay"), true),
        (at(&tcp.replace("margay@", "nobody@"), "margay"), true),
        (at(&format!("{tcp}?sslmode=verify-full"), "margay"), true),
        (at("postgres://a@127.0.0.1:1/b", "x"), false),
        (at("postgres://a@%2Fnowhere/b", "x"), false),
    ] {
        let error = database.migrate().unwrap_err();
        assert_eq!(error.lasts(), lasts, "{error:?}");
    }
    // No room for another session.
    let mut admin = Client::connect(&server.url, NoTls).unwrap();
    admin.batch_execute("CREATE ROLE busy LOGIN CONNECTION LIMIT 0").unwrap();
    let error = at(&server.url.replace("margay@", "busy@"), "x").migrate().unwrap_err();
    assert!(!error.lasts(), "{error:?}");
    server.stop();
    assert!(!at(&server.url, "x").migrate().unwrap_err().lasts());
}
