//! What earlier builds wrote is read for ever: their snapshots, their journals, their schema. The files in
//! `fixtures` were written by the program itself, and are never made anew.
//!
//! `private` and `open` are data folders, and `schema-5.sql` is a dump of the database beside the first, of
//! the last build before format 3 of the journal and migration 6: four users that SQL made and one that the
//! API did, five clients, a snapshot in the middle, a torrent deleted and a token given after it, a kill.

#![allow(clippy::unwrap_used)] // All of this is test code.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use persist::journal::{Columns, Journal, Options, Reader, Record, Said, segments, survey};
use persist::ledger::JournalSource;
use persist::postgres::Home;
use persist::restart::replay_tail;
use persist::{Covered, DataDir, Database, Grace, Ledger, LedgerOptions, Mode, Snapshot};
use postgres::{Client, NoTls};
use shard::private::{Change, Counters, Facts, Limits, Stamp, Swarms, TorrentId, UserId};
use shard::{InfoHash, Seconds, Shard};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A copy of a folder, which may be written.
fn copy(name: &str) -> TempDir {
    let to = TempDir::new().unwrap();
    copy_into(&fixtures().join(name), to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy_into(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

const JOURNAL: u64 = 0xa793_635a_8758_6ac1;

#[test]
fn a_journal_of_format_2_is_read_and_gone_on_with() {
    let folder = copy("private");
    let mut records = Vec::new();
    for file in segments(folder.path()).unwrap() {
        let survey = survey(&file, |_, record| records.push(record.clone())).unwrap();
        assert_eq!((survey.format, survey.id, &*survey.version), (2, JOURNAL, "0.1.0"));
    }
    check_records(&records);

    let data = DataDir::open(folder.path()).unwrap();
    let mut journal = Journal::open(&data, Options::default()).unwrap();
    assert_eq!((journal.id(), journal.begin(), journal.end()), (JOURNAL, 0, 14));
    journal.append(&[Record::Tick(Stamp { millis: 7, node: 1 })]).unwrap();
    journal.sync().unwrap();
    let mut reader = Reader::follow(journal.status(), 0).unwrap();
    let mut again = Vec::new();
    reader.read_into(100, &mut again).unwrap();
    assert_eq!(again.pop(), Some(Record::Tick(Stamp { millis: 7, node: 1 })));
    assert_eq!(again, records);
}

/// What happened while the fixture was made.
fn check_records(records: &[Record]) {
    assert_eq!(records.len(), 14);
    let Record::Said(Said { at, columns, change }) = &records[0] else { panic!() };
    assert_eq!((*at, columns.has(Columns::PASSKEY)), (Stamp::default(), true));
    // Nobody had said anything of a group.
    assert!(!columns.has(Columns::GROUP) && columns.has(Columns::MAKES));
    assert!(matches!(change, Change::User { id: UserId(5), enabled: true, group: None, .. }));

    let facts: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Fact(fact) => Some(fact),
            _ => None,
        })
        .collect();
    assert_eq!(facts.len(), 11);
    for fact in &facts {
        assert_eq!(fact.stamp, Stamp::at(fact.at));
        assert_eq!((fact.over_v6, fact.after), (false, None));
        assert_eq!(fact.endpoints.address_v4(), Some([127, 0, 0, 1].into()));
    }
    let completed: Vec<_> = facts.iter().filter(|fact| fact.snatched).collect();
    let (first, second) = (completed[0], completed[1]);
    // With a token, and on a torrent where uploads count twice and downloads nothing.
    assert_eq!((first.user, first.torrent, first.token_spent), (UserId(1), TorrentId(1), true));
    assert_eq!(first.reported, Counters { uploaded: 300, downloaded: 5000, corrupt: 0 });
    assert_eq!((first.upload_percent, first.download_percent, first.token), (100, 100, true));
    assert_eq!(
        (second.user, second.torrent, second.endpoints.port()),
        (UserId(5), TorrentId(2), Some(1005))
    );
    assert_eq!((second.moved.uploaded, second.credited_up), (3_999_999_999_990, 7_999_999_999_980));
    assert_eq!(second.upload_percent, 200);
}

#[test]
fn a_private_snapshot_and_the_journal_behind_it_are_read() {
    let folder = copy("private");
    let data = DataDir::open(folder.path()).unwrap();
    let snapshot = Snapshot::open_newest(&data).unwrap().unwrap();
    assert_eq!(snapshot.meta().mode, Mode::Private(Covered { journal: JOURNAL, position: 8 }));
    let mut users = Vec::new();
    snapshot.accounts(|_, user, enabled| users.extend(enabled.then_some(user))).unwrap();
    users.sort_by_key(|user| user.id);
    let ids: Vec<u32> = users.iter().map(|user| user.id.0).collect();
    // One may not announce, and was in no snapshot then.
    assert_eq!(ids, [1, 2, 3, 5]);
    assert_eq!(snapshot.totals().users, 4);
    assert!(users[1].hidden && !users[2].can_leech);

    let limits = Limits {
        torrents_max: 100,
        peers_max: 100,
        clients_max: 0,
        peer_timeout: Seconds(3600),
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 100,
        facts: Facts::Changed,
    };
    let (mut swarms, now) = (Swarms::new(1, limits), Seconds(snapshot.meta().written_at.0 + 60));
    snapshot.restore_private(|_| true, &mut swarms).unwrap();
    let from = snapshot.replay_from(JOURNAL).unwrap();
    let dir = folder.path().join("journal");
    replay_tail(dir, (from, 14), |_| true, &mut swarms, |_| {}, now).unwrap();
    let (first, peers) = swarms.swarm(&InfoHash([0x61; 20]), 10).unwrap();
    assert_eq!(
        (first.terms.id, first.snatches, first.balance),
        (TorrentId(1), 1, 300 - 5000 + 6000)
    );
    assert_eq!(peers.len(), 2);
    let ann = peers.iter().find(|peer| peer.user == UserId(1)).unwrap();
    assert_eq!((ann.reported.uploaded, ann.endpoints.port()), (300, Some(1001)));
    assert!(swarms.has_token(UserId(5), &InfoHash([0x61; 20]), now));
    assert!(!swarms.has_token(UserId(1), &InfoHash([0x61; 20]), now));
    assert_eq!(swarms.terms(&InfoHash([0x64; 20])), None);
    assert_eq!(swarms.deletion(&InfoHash([0x64; 20]), now).as_deref(), Some("Trump"));
}

#[test]
fn an_open_snapshot_is_read() {
    let folder = copy("open");
    let data = DataDir::open(folder.path()).unwrap();
    let snapshot = Snapshot::open_newest(&data).unwrap().unwrap();
    let now = Seconds(snapshot.meta().written_at.0 + 60);
    let grace: Grace = snapshot.grace(now);
    let limits = shard::Limits {
        swarms_max: 100,
        peers_max: 100,
        peer_timeout: Seconds(3600),
        swarm_retention: Seconds(3600),
        count_unknown: false,
    };
    let mut shard = Shard::new(1, limits);
    let restored = snapshot.restore(&grace, |_| true, &mut shard).unwrap();
    assert_eq!((restored.swarms, restored.peers_v4, restored.peers_v6), (5, 9, 0));
    let counts = shard.scrape(&InfoHash(*b"aaaaaaaaaaaaaaaaaaa1")).unwrap();
    assert_eq!((counts.seeders, counts.leechers), (5, 0));
}

/// A database with the tables of migration 5, of its own as its schema has the name that it had; the server's own
/// connection, and where it is. `None` where there is no PostgreSQL, which is said.
fn migration_5(name: &str) -> Option<(Client, String)> {
    let Ok(url) = std::env::var("MARGAY_TEST_POSTGRES") else {
        eprintln!(
            "SKIPPED: migrations of an old schema need PostgreSQL: ops/test.d/postgres run cargo test"
        );
        return None;
    };
    let mut sql = Client::connect(&url, NoTls).unwrap();
    sql.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).unwrap();
    sql.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    let inside = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
    let dump = fs::read_to_string(fixtures().join("schema-5.sql")).unwrap();
    Client::connect(&inside, NoTls).unwrap().batch_execute(&dump).unwrap();
    Some((sql, inside))
}

#[test]
fn a_ledger_that_begins_without_the_start_brings_a_schema_up_to_date() {
    let name = "formats_5_ledger";
    let Some((mut sql, inside)) = migration_5(name) else { return };
    let folder = copy("private");
    let data = DataDir::open(folder.path()).unwrap();
    let journal = Journal::open(&data, Default::default()).unwrap();
    let status = journal.status().clone();
    let home = Home::new(folder.path(), status.clone(), true);
    let database = Database::new(&inside, None, "margay").unwrap();
    let options = LedgerOptions { home: Some(home), ..LedgerOptions::default() };
    let ledger = Ledger::start_held(database, options, JournalSource::new(status)).unwrap();
    let mut books = Client::connect(&inside, NoTls).unwrap();
    let mut last = || {
        let row = books.query_one("SELECT max(number) FROM margay.migrations", &[]).unwrap();
        row.get::<_, i32>(0)
    };
    assert!(!ledger.drain(Duration::from_millis(100)), "another one writes");
    assert_eq!(last(), 5);
    ledger.take_over();
    assert!(ledger.drain(Duration::from_secs(60)), "{:?}", ledger.status());
    assert!(last() > 5);
    ledger.stop(Duration::from_secs(10));
    drop((books, journal));
    sql.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
}

#[test]
fn a_schema_of_migration_5_is_brought_up_to_date_with_what_is_in_it() {
    let name = "formats_5";
    let Some((mut sql, inside)) = migration_5(name) else { return };
    let database = Database::new(&inside, None, "margay").unwrap();
    let migrated = database.migrate().unwrap();
    assert_eq!(migrated.from, 5);
    let mut users = Vec::new();
    let loaded = database.load(JOURNAL, Seconds(0), |stored| {
        if let Change::User { id, .. } = stored.change {
            users.push(id.0);
        }
    });
    let loaded = loaded.unwrap();
    users.sort_unstable();
    assert_eq!((loaded.position, loaded.torrents, loaded.groups), (Some(14), 3, 2));
    assert!([1, 2, 3, 5].iter().all(|id| users.contains(id)), "{users:?}");
    let mut books = Client::connect(&inside, NoTls).unwrap();
    books.batch_execute("SET search_path TO margay").unwrap();
    let row = books.query_one("SELECT sum(uploaded)::bigint FROM users", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 302 + 6000 + 7_999_999_999_980);
    let row = books.query_one("SELECT count(*), count(port_v6) FROM peers", &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (5, 0));
    let row = books.query_one("SELECT count(*) FROM identity", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    let versions = "SELECT array_agg(version IS NULL ORDER BY number) FROM migrations";
    let versions: Vec<bool> = books.query_one(versions, &[]).unwrap().get(0);
    assert_eq!(versions, [true, true, true, true, true, false, false, false, false, false]);
    drop(books);
    sql.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
}
