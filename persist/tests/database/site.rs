//! What the tests stand on: a schema, a journal in memory, facts, a server to kill.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use persist::journal::{Columns, Said};
use persist::ledger::{Record, Source, SourceError};
use persist::{Database, Ledger, LedgerOptions};
use postgres::{Client, NoTls};
use shard::private::{
    Change, Counters, Endpoints, Fact, Freeleech, Names, Passkey, PeerId, Stamp, Swarm, TorrentId,
    UserId,
};
use shard::{InfoHash, Seconds};

pub(crate) const NOW: Seconds = Seconds(1_800_000_000);

/// As long as a slow machine may need.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A schema of its own, gone with the test.
pub(crate) struct Site {
    pub(crate) database: Database,
    pub(crate) sql: Client,
    pub(crate) url: String,
    schema: String,
    /// Its journal, unless a test has others.
    tape: Tape,
}

impl Site {
    /// With its tables, in the server of `MARGAY_TEST_POSTGRES`; `None` where there is none, which is
    /// said.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let site = Self::empty(test)?;
        site.database.migrate().unwrap();
        Some(site)
    }

    /// Without a schema yet.
    pub(crate) fn empty(test: &str) -> Option<Self> {
        let Ok(url) = env::var("MARGAY_TEST_POSTGRES") else {
            eprintln!("SKIPPED: {test} needs PostgreSQL: ops/test.d/postgres run cargo test");
            return None;
        };
        Some(Self::at(&url, test))
    }

    /// In this server.
    pub(crate) fn at(url: &str, test: &str) -> Self {
        // A name that has to be quoted.
        let schema = format!("Test \"{test}\" {}", std::process::id());
        let schema: String = schema.chars().take(48).collect();
        let mut sql = Client::connect(url, NoTls).unwrap();
        let quoted = quote(&schema);
        sql.batch_execute(&format!(
            "DROP SCHEMA IF EXISTS {quoted} CASCADE; SET search_path TO {quoted}"
        ))
        .unwrap();
        let database = Database::new(url, None, &schema).unwrap();
        Self { database, sql, url: url.to_owned(), schema, tape: Tape::new(fastrand::u64(..)) }
    }

    /// One more connection to the same schema, which stays when it goes.
    pub(crate) fn beside(&self) -> Client {
        let mut sql = Client::connect(&self.url, NoTls).unwrap();
        sql.batch_execute(&format!("SET search_path TO {}", quote(&self.schema))).unwrap();
        sql
    }

    /// One number.
    pub(crate) fn number(&mut self, query: &str) -> i64 {
        self.sql.query_one(query, &[]).unwrap().get(0)
    }

    /// The first column of a row as text, `-` for NULL.
    pub(crate) fn text(&mut self, query: &str) -> String {
        let query =
            format!("SELECT coalesce(string_agg(row::text, '; '), '') FROM ({query}) AS row");
        self.sql.query_one(&query, &[]).unwrap().get(0)
    }

    /// What the site writes.
    pub(crate) fn write(&mut self, statements: &str) {
        self.sql.batch_execute(statements).unwrap();
    }

    /// Connects anew, after the server was away.
    pub(crate) fn reconnect(&mut self) {
        self.sql = self.beside();
    }

    /// Writes records behind those before them, to the end.
    pub(crate) fn apply(&self, records: Vec<Record>) -> persist::LedgerStatus {
        self.tape.append(records);
        self.run(&self.tape)
    }

    /// Writes all that is in a journal.
    pub(crate) fn run(&self, tape: &Tape) -> persist::LedgerStatus {
        self.run_with(tape, quick())
    }

    /// The same with other options.
    pub(crate) fn run_with(&self, tape: &Tape, options: LedgerOptions) -> persist::LedgerStatus {
        let ledger = Ledger::start(self.database.clone(), options, tape.reader()).unwrap();
        assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
        ledger.stop(PATIENCE)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.sql.batch_execute(&format!("DROP SCHEMA {} CASCADE", quote(&self.schema)));
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Options for tests, which do not wait for more.
pub(crate) fn quick() -> LedgerOptions {
    LedgerOptions {
        node: "node".into(),
        period: Duration::from_millis(20),
        ..LedgerOptions::default()
    }
}

/// A journal in memory.
#[derive(Clone)]
pub(crate) struct Tape {
    id: u64,
    first: u64,
    tells_end: bool,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Tape {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, first: 0, tells_end: false, records: Arc::default() }
    }

    /// One that says how long it is, as a real one does: whoever is far behind writes many records at once.
    pub(crate) fn with_end(id: u64) -> Self {
        Self { tells_end: true, ..Self::new(id) }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn append(&self, records: impl IntoIterator<Item = Record>) {
        self.records.lock().unwrap().extend(records);
    }

    pub(crate) fn reader(&self) -> TapeReader {
        TapeReader { tape: self.clone(), next: 0 }
    }
}

pub(crate) struct TapeReader {
    tape: Tape,
    next: u64,
}

impl Source for TapeReader {
    fn journal(&self) -> u64 {
        self.tape.id
    }

    fn first(&self) -> u64 {
        self.tape.first
    }

    fn end(&self) -> Option<u64> {
        self.tape.tells_end.then(|| self.tape.records.lock().unwrap().len() as u64)
    }

    fn seek(&mut self, number: u64) -> Result<(), SourceError> {
        let end = self.tape.records.lock().unwrap().len() as u64;
        if number > end {
            return Err(format!("the journal ends at {end}").into());
        }
        self.next = number;
        Ok(())
    }

    fn next_batch(&mut self, max: usize, out: &mut Vec<(u64, Record)>) -> Result<(), SourceError> {
        let records = self.tape.records.lock().unwrap();
        let more = records.iter().skip(self.next as usize).take(max).cloned();
        let before = out.len();
        out.extend((self.next..).zip(more));
        self.next += (out.len() - before) as u64;
        Ok(())
    }
}

/// An announce of a leecher that changes nothing; tests say what differs.
pub(crate) fn fact(user: u32, torrent: u32) -> Fact {
    let mut peer_id = *b"-qB4520-abcdefghijkl";
    peer_id[16..].copy_from_slice(&user.to_be_bytes());
    Fact {
        at: NOW,
        stamp: Stamp::at(NOW),
        over_v6: false,
        after: None,
        user: UserId(user),
        torrent: TorrentId(torrent),
        info_hash: hash(torrent),
        peer_id: PeerId(peer_id),
        key: 7,
        endpoints: Endpoints {
            v6: "[2001:db8::1]:2222".parse::<SocketAddr>().map(Endpoints::from).unwrap().v6,
            ..Endpoints::new(Some([10, 0, 0, 1].into()), None, 1111)
        },
        hidden: false,
        visible: true,
        reported: Counters::default(),
        said: None,
        left: 1000,
        partial: false,
        active: true,
        names: Names::FIRST,
        since: NOW,
        elapsed: 0,
        announces: 1,
        moved: Counters::default(),
        upload_percent: 100,
        download_percent: 100,
        token: false,
        credited_up: 0,
        credited_down: 0,
        token_down: 0,
        token_spent: false,
        snatched: false,
        swarm: Swarm { seeders: 0, leechers: 1, snatches: 0, balance: 0 },
    }
}

pub(crate) fn hash(torrent: u32) -> InfoHash {
    let mut hash = [0xab; 20];
    hash[..4].copy_from_slice(&torrent.to_be_bytes());
    InfoHash(hash)
}

pub(crate) fn passkey(number: u32) -> Passkey {
    Passkey::new(format!("{number:032}").as_bytes()).unwrap()
}

/// A change that was said in whole, when the world began.
pub(crate) fn said(change: Change) -> Record {
    Record::Said(Said { at: Stamp::at(NOW), columns: Columns::ALL, change })
}

pub(crate) fn user(id: u32) -> Record {
    let (id, passkey) = (UserId(id), passkey(id));
    let (can_leech, hidden, enabled, group) = (true, false, true, None);
    said(Change::User { id, passkey, can_leech, hidden, enabled, group })
}

pub(crate) fn torrent(id: u32) -> Record {
    said(Change::Torrent {
        id: TorrentId(id),
        info_hash: hash(id),
        info_hash_v2: None,
        freeleech: Freeleech::None,
        upload_percent: 100,
    })
}

pub(crate) fn token(user: u32, torrent: u32) -> Record {
    said(Change::Token {
        user: UserId(user),
        torrent: TorrentId(torrent),
        info_hash: hash(torrent),
        expires_at: None,
    })
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server that the test may kill.
pub(crate) struct Server {
    dir: PathBuf,
    pub(crate) url: String,
}

impl Server {
    /// `None` where there is no PostgreSQL, which is said.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if env::var("MARGAY_TEST_POSTGRES").is_err() {
            eprintln!("SKIPPED: {test} needs PostgreSQL: ops/test.d/postgres run cargo test");
            return None;
        }
        let dir = env::temp_dir().join(format!("margay-{test}-{}", std::process::id()));
        let url = script("start", &dir);
        Some(Self { dir, url })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts it again, after it was killed.
    pub(crate) fn restart(&self) {
        assert_eq!(script("start", &self.dir), self.url);
    }

    /// Kills the postmaster, which gives it no time for anything; its processes notice and end.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    }

    /// Ends it, as an administrator does who has no time.
    pub(crate) fn stop(&self) {
        script("stop", &self.dir);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn script(verb: &str, dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/test.d/postgres");
    let output = Command::new(script).arg(verb).arg(dir).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{verb}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
