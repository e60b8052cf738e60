//! Starts with a database that is not as it should be: the tracker serves from its snapshot, and says in one
//! line what is in the way and what to do.

use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use rustix::process::Signal;

use super::{Site, announce, credited, passkey};
use crate::nothing_lost::program::Server;
use crate::tracker::http::{answer, fetch};
use crate::tracker::{HOMES, Tracker, get, patiently};

/// A site with a user, a torrent and a snapshot of them, whose tracker has ended, on a server of its own.
fn site_with_snapshot(test: &str, options: &str) -> Option<(Server, Site)> {
    if std::env::var("MARGAY_TEST_POSTGRES").is_err() {
        eprintln!("SKIPPED: {test} needs PostgreSQL: ops/test.d/postgres run cargo test");
        return None;
    }
    let server = Server::start(test);
    let mut site = Site::open_at(&server.url, test, options);
    site.add_user(1);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    credited(&site, 700, "");
    site.check_credit(1, [700, 0]);
    site.stop();
    Some((server, site))
}

/// It serves, soon after its start, says why it goes by the snapshot, and shows it.
#[track_caller]
fn check_serves(site: &mut Site, state: &str) {
    let began = Instant::now();
    site.start();
    let http = site.tracker().http(HOMES[0]);
    answer(http, announce(1, "disk", 7001, "uploaded=700&downloaded=0&left=0"));
    // Ten seconds are promised; a loaded machine is slow.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let said = site.tracker().logged("starting with users and torrents of the snapshot");
    assert_eq!(said["books"], state, "{said}");
    assert_eq!(site.tracker().times_logged("starting with users and torrents"), 1);
    patiently("the state in the metrics", || {
        let label = format!("state=\"{state}\"");
        (site.tracker().metric("margay_books_state", &[&label]) == 1.0).then_some(())
    });
    let health = get(site.tracker().control(), "/health").unwrap();
    assert!(health.contains(&format!("books: {state}: ")), "{health}");
}

/// Back to normal: what was moved meanwhile is credited.
#[track_caller]
fn check_recovers(site: &mut Site, moved: u64) {
    site.tracker().await_metric("margay_books_state", &["state=\"up\""], 1.0);
    credited(site, moved, "");
    site.check_credit(1, [moved as i64, 0]);
}

#[test]
fn a_stopped_server_is_away() {
    let Some((mut server, mut site)) = site_with_snapshot("away", "") else { return };
    server.stop();
    check_serves(&mut site, "away");
    server.come_back();
    site.connect_again(&server.url);
    check_recovers(&mut site, 900);
}

#[test]
fn a_server_whose_processes_are_stopped_hangs() {
    let Some((server, mut site)) = site_with_snapshot("hanging", "") else { return };
    server.signal(Signal::STOP);
    check_serves(&mut site, "hanging");
    server.signal(Signal::CONT);
    check_recovers(&mut site, 900);
}

#[test]
fn a_locked_table_is_not_waited_for() {
    let Some((server, mut site)) = site_with_snapshot("locked", "") else { return };
    let schema = site.schema();
    let mut other = Client::connect(&server.url, NoTls).unwrap();
    let mut lock = other.transaction().unwrap();
    lock.batch_execute(&format!("LOCK TABLE {schema}.users IN ACCESS EXCLUSIVE MODE")).unwrap();
    check_serves(&mut site, "locked");
    lock.rollback().unwrap();
    check_recovers(&mut site, 900);
}

#[test]
fn a_newer_schema_is_not_written() {
    let Some((_server, mut site)) = site_with_snapshot("newer", "") else { return };
    let newer = "INSERT INTO migrations (number, name, checksum, version) \
                 SELECT max(number) + 1, 'later', 7, '9.9.9' FROM migrations";
    site.database.batch_execute(newer).unwrap();
    check_serves(&mut site, "newer");
    let said = site.tracker().logged("starting with users and torrents of the snapshot");
    assert!(said["error"].as_str().unwrap().contains("9.9.9"), "{said}");
    credited(&site, 1_000, "");
    std::thread::sleep(Duration::from_secs(3));
    site.check_credit(1, [700, 0]);
    site.database.batch_execute("DELETE FROM migrations WHERE name = 'later'").unwrap();
    check_recovers(&mut site, 1_200);
}

#[test]
fn an_emptied_database_is_filled_when_somebody_says_so() {
    let Some((_server, mut site)) = site_with_snapshot("emptied", "") else { return };
    let schema = site.schema();
    for emptied in ["TRUNCATE users, torrents, tokens, ledger CASCADE", "DROP SCHEMA"] {
        let statement = match emptied {
            "DROP SCHEMA" => format!("DROP SCHEMA {schema} CASCADE"),
            statement => statement.to_owned(),
        };
        site.database.batch_execute(&statement).unwrap();
        check_serves(&mut site, "emptied");
        // Nothing is made or written by itself.
        std::thread::sleep(Duration::from_secs(3));
        let there = format!("SELECT to_regclass('{schema}.users') IS NULL");
        let dropped: bool = site.database.query_one(&there, &[]).unwrap().get(0);
        if !dropped {
            let users: i64 =
                site.database.query_one("SELECT count(*) FROM users", &[]).unwrap().get(0);
            assert_eq!(users, 0);
        }
        let (text, code) = site.command(&["journal", "adopt", site.data().to_str().unwrap()]);
        assert_eq!(code, Some(0), "{text}");
        site.tracker().await_metric("margay_books_state", &["state=\"up\""], 1.0);
        let row = site.database.query_one("SELECT passkey FROM users WHERE id = 1", &[]).unwrap();
        assert_eq!(row.get::<_, String>(0), passkey(1));
        credited(&site, 900, "");
        // Nobody here knows whether the site is older than the journal.
        let gap = "SELECT reason, first, behind, to_at < now() FROM gaps";
        let gap = site.database.query_one(gap, &[]).unwrap();
        assert_eq!(
            (gap.get::<_, &str>(0), gap.get(1), gap.get(2)),
            ("database_emptied", 0_i64, 0_i64)
        );
        assert_eq!(gap.get::<_, Option<bool>>(3), Some(true));
        // All of the journal was kept, so all that was ever credited is there again.
        site.check_credit(1, [900, 0]);
        site.tracker().write_snapshot();
        site.stop();
        // And it starts as usual.
        site.start();
        assert_eq!(site.tracker().times_logged("starting with users and torrents"), 0);
        site.stop();
        // For the next round.
        let back = "UPDATE users SET uploaded = 700; DELETE FROM gaps";
        site.database.batch_execute(back).unwrap();
    }
}

#[test]
fn a_damaged_journal_is_noticed_before_it_is_needed() {
    let Some(mut site) = Site::open("damaged_journal", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    credited(&site, 700, "");
    site.check_credit(1, [700, 0]);
    site.stop();
    site.start();
    credited(&site, 800, "");
    site.check_credit(1, [800, 0]);
    site.stop();
    // What the database and the snapshot have, and no start reads.
    let segments = persist::journal::segments(site.data()).unwrap();
    assert!(segments.len() > 1, "{segments:?}");
    let oldest = &segments[0].path;
    let mut bytes = std::fs::read(oldest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(oldest, bytes).unwrap();
    site.start();
    site.tracker().await_metric("margay_journal_damaged_segments", &[], 1.0);
    let said = site.tracker().logged("a segment of the journal is damaged");
    assert_eq!(said["path"], oldest.to_str().unwrap(), "{said}");
    let health = get(site.tracker().control(), "/health").unwrap();
    assert!(health.contains("journal: 1 segments are damaged"), "{health}");
}

#[test]
fn a_second_tracker_on_a_schema_is_told_so_once() {
    let Some(site) = Site::open("second", "") else { return };
    let other = tempfile::TempDir::new().unwrap();
    let mut arguments: Vec<&str> = site.options().split_whitespace().collect();
    let data = other.path().to_str().unwrap();
    arguments.extend([
        "--data",
        data,
        "--udp",
        "127.0.0.1:0",
        "--http",
        "none",
        "--control",
        "none",
    ]);
    let (text, code) = site.command(&arguments);
    let said = text.lines().find(|line| line.starts_with("margay: error: ")).unwrap();
    assert_eq!((code, said.matches("another tracker").count()), (Some(1), 1), "{text}");
    assert!(said.starts_with("margay: error: another tracker ("), "{text}");
}

#[test]
fn the_database_of_somebody_else_is_refused() {
    let Some((_server, mut site)) = site_with_snapshot("foreign", "") else { return };
    site.database.batch_execute("UPDATE identity SET id = gen_random_uuid()").unwrap();
    let refused = |site: &Site| {
        let Err(ended) = Tracker::try_start_on(site.data(), site.options()) else {
            panic!("it has started")
        };
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("is not the one that data folder"), "{}", ended.err);
    };
    refused(&site);
    // An empty one at a wrong URL is not filled either.
    site.database.batch_execute("TRUNCATE users, torrents, ledger CASCADE").unwrap();
    refused(&site);
}

#[test]
fn what_cannot_be_loaded_in_the_middle_is_like_the_rest() {
    let Some((server, mut site)) = site_with_snapshot("middle", "") else { return };
    let schema = site.schema();
    let mut other = Client::connect(&server.url, NoTls).unwrap();
    let mut lock = other.transaction().unwrap();
    // The last table that is loaded.
    lock.batch_execute(&format!("LOCK TABLE {schema}.tokens IN ACCESS EXCLUSIVE MODE")).unwrap();
    check_serves(&mut site, "locked");
    lock.rollback().unwrap();
    check_recovers(&mut site, 900);
}

/// A ban that SQL says while PostgreSQL restarts, or in bulk after a restart of the tracker, is heard at once:
/// nothing is compared here by the clock.
#[test]
fn the_first_word_after_a_start_is_heard() {
    let Some((mut server, mut site)) = site_with_snapshot("first_word", "--database-reconcile off")
    else {
        return;
    };
    for id in 2..1500 {
        let statement = "INSERT INTO users (id, passkey) VALUES ($1, $2)";
        site.database.execute(statement, &[&i64::from(id), &passkey(id)]).unwrap();
    }
    site.start();
    let is_banned = |site: &Site, user: u32| {
        let http = site.tracker().http(HOMES[0]);
        let target = announce(user, "disk", 8000, "uploaded=0&downloaded=0&left=0");
        fetch(http, target).dictionary().find("failure reason").is_some()
    };
    assert!(!is_banned(&site, 1400));
    site.database.batch_execute("UPDATE users SET enabled = false WHERE id > 1").unwrap();
    patiently("the ban of all", || is_banned(&site, 1400).then_some(()));
    site.database.batch_execute("UPDATE users SET enabled = true WHERE id > 1").unwrap();
    patiently("the end of the ban", || (!is_banned(&site, 1400)).then_some(()));
    // A notice that nobody hears, as the server ends before it is delivered to us.
    site.stop();
    site.start();
    assert!(!is_banned(&site, 7));
    server.stop();
    server.come_back();
    site.connect_again(&server.url);
    site.database
        .batch_execute("SET session_replication_role TO replica; UPDATE users SET enabled = false WHERE id = 7")
        .unwrap();
    server.stop();
    server.come_back();
    patiently("a ban made while nobody listened", || is_banned(&site, 7).then_some(()));
}
