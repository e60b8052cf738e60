//! A pooler between the tracker and PostgreSQL: whether the tracker hears what the site writes, it has to find out
//! itself.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use persist::Database;
use persist::postgres::{Seen, Watch};
use shard::private::Change;
use tempfile::TempDir;

use crate::site::{PATIENCE, Site, passkey};

/// PgBouncer, in one of its modes.
struct Pooler {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Pooler {
    fn start(server: &postgres::Config, mode: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=margay password=margay\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            server.get_ports()[0]
        );
        let file = dir.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        // It does not run as root.
        let open = Command::new("chmod").args(["-R", "a+rX"]).arg(dir.path()).status().unwrap();
        assert!(open.success());
        let process = Command::new("pgbouncer")
            .args(["-q", "-u", "nobody"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "PgBouncer does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Self { process, port, _dir: dir }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_watch_that_hears_nothing_finds_out_and_compares() {
    for (mode, hears) in [("session", true), ("transaction", false)] {
        let Some(mut site) = Site::new(&format!("pooler {mode}")) else { return };
        let pooler = Pooler::start(&site.url.parse().unwrap(), mode);
        let url = format!("postgres://margay@127.0.0.1:{}/postgres", pooler.port);
        let database = Database::new(&url, None, site.database.schema()).unwrap();
        let (sender, seen) = unbounded();
        let watch = Watch::start(database, move |heard| sender.send(heard.seen).unwrap()).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Reload);
        if hears {
            // Longer than a notice may take.
            thread::sleep(Duration::from_secs(7));
            let status = watch.status();
            assert_eq!((status.connected, status.unheard, status.reloads), (true, 0, 1));
            let insert = "INSERT INTO users (id, passkey)";
            site.write(&format!("{insert} VALUES (1, '{}')", passkey(1).reveal()));
            let told = seen.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(told, Seen::Change(Change::User { .. })), "{told:?}");
        } else {
            assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Reload);
            let status = watch.status();
            assert_eq!((status.connected, status.unheard, status.reloads), (false, 1, 2));
            assert_eq!(status.last_error.as_deref(), Some("notices do not come through"));
        }
        watch.stop(PATIENCE);
    }
}
