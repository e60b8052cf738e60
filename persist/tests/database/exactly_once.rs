//! Whatever dies in between: each record is in the database once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use persist::ledger::Record;
use persist::{Ledger, LedgerOptions};
use shard::private::{Change, Fact, Swarm, TorrentId, UserId};

use crate::site::{
    NOW, PATIENCE, Server, Site, Tape, fact, hash, passkey, quick, said, token, torrent, until,
    user,
};

const USERS: u32 = 40;
const TORRENTS: u32 = 25;

/// What the tables have to say in the end.
#[derive(Default, PartialEq, Eq, Debug)]
struct Model {
    users: BTreeMap<i64, (i64, i64, bool)>,
    torrents: BTreeMap<i64, (i64, i64)>,
    tokens: BTreeMap<(i64, i64), i64>,
    snatches: BTreeMap<i64, i64>,
    peers: BTreeMap<(i64, i64), i64>,
}

/// Users, torrents and tokens, then what happens to them; and what comes of it.
fn story(seed: u64, length: usize) -> (Vec<Record>, Model) {
    let mut rng = Rng::with_seed(seed);
    let mut model = Model::default();
    let mut records = Vec::new();
    for id in 1..=USERS {
        records.push(user(id));
        model.users.insert(id.into(), (0, 0, true));
    }
    for id in 1..=TORRENTS {
        records.push(torrent(id));
        model.torrents.insert(id.into(), (0, 0));
        for owner in 1..=3 {
            records.push(token(owner, id));
            model.tokens.insert((owner.into(), id.into()), 0);
        }
    }
    for announces in 1..=length as u32 {
        let id = rng.u32(1..=USERS);
        if rng.u8(..) < 8 {
            let can_leech = rng.bool();
            let (id, passkey) = (UserId(id), passkey(id));
            records.push(said(Change::User {
                id,
                passkey,
                can_leech,
                hidden: false,
                enabled: true,
                group: None,
            }));
            model.users.get_mut(&i64::from(id.0)).unwrap().2 = can_leech;
            continue;
        }
        let number = rng.u32(1..=TORRENTS);
        let key = (i64::from(id), i64::from(number));
        if rng.u8(..) < 3 {
            let (id, info_hash) = (TorrentId(number), hash(number));
            let reason = "made anew".to_owned();
            records.push(said(Change::TorrentRemoved { id, info_hash, reason, at: NOW }));
            records.push(torrent(number));
            model.torrents.insert(key.1, (0, 0));
            model.tokens.retain(|(_, torrent), _| *torrent != key.1);
            model.peers.retain(|(_, torrent), _| *torrent != key.1);
        }
        let (up, down) = (rng.u64(..1 << 30), rng.u64(..1 << 30));
        let fact = Fact {
            credited_up: up,
            credited_down: down,
            token_down: rng.u64(..100),
            snatched: rng.u8(..) < 30,
            announces,
            swarm: Swarm {
                seeders: announces,
                leechers: 0,
                snatches: 0,
                balance: up as i64 - down as i64,
            },
            ..fact(id, number)
        };
        let user = model.users.get_mut(&key.0).unwrap();
        user.0 += up as i64;
        user.1 += down as i64;
        model.torrents.insert(key.1, (announces.into(), fact.swarm.balance));
        if let Some(used) = model.tokens.get_mut(&key) {
            *used += fact.token_down as i64;
        }
        if fact.snatched {
            *model.snatches.entry(key.0).or_default() += 1;
        }
        model.peers.insert(key, announces.into());
        records.push(Record::Fact(fact));
    }
    (records, model)
}

fn found(site: &mut Site) -> Model {
    let mut rows = |query| site.sql.query(query, &[]).unwrap();
    Model {
        users: rows("SELECT id, uploaded, downloaded, can_leech FROM users")
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3))))
            .collect(),
        torrents: rows("SELECT id, seeders, balance FROM torrents")
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2))))
            .collect(),
        tokens: rows("SELECT user_id, torrent_id, downloaded FROM tokens")
            .iter()
            .map(|row| ((row.get(0), row.get(1)), row.get(2)))
            .collect(),
        snatches: rows("SELECT user_id, count(*) FROM snatches GROUP BY 1")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect(),
        peers: rows("SELECT user_id, torrent_id, announces FROM peers")
            .iter()
            .map(|row| ((row.get(0), row.get(1)), row.get(2)))
            .collect(),
    }
}

fn small_batches() -> LedgerOptions {
    LedgerOptions { batch_max: 40, period: Duration::from_millis(1), ..quick() }
}

#[test]
fn connections_are_ended_at_random_moments() {
    connections_end("terminated", Tape::new);
}

#[test]
fn connections_are_ended_while_it_catches_up() {
    connections_end("terminated far behind", Tape::with_end);
}

fn connections_end(test: &str, tape: impl Fn(u64) -> Tape) {
    let Some(server) = Server::start(test) else { return };
    let mut site = Site::at(&server.url, test);
    site.database.migrate().unwrap();
    let (records, model) = story(1, 4_000);
    let tape = tape(1);
    tape.append(records);
    let ledger = Ledger::start(site.database.clone(), small_batches(), tape.reader()).unwrap();
    let mut rng = Rng::with_seed(2);
    let before = ledger.status().caught_up;
    let mut ended = 0;
    while ledger.status().caught_up == before {
        thread::sleep(Duration::from_micros(rng.u64(..150_000)));
        ended += site.number(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name LIKE 'margay ledger %'",
        );
        // Waiting is what the back-off is for; here there is no time.
        ledger.wake();
    }
    let status = ledger.stop(PATIENCE);
    assert!(ended > 3 && status.retries > 3, "{ended} ended, {status:?}");
    assert_eq!(status.rejected, 0);
    assert_eq!(found(&mut site), model);
}

#[test]
fn the_server_is_killed_and_comes_back() {
    the_server_dies("killed", Tape::new, 3);
}

#[test]
fn the_server_is_killed_while_it_catches_up() {
    the_server_dies("killed far behind", Tape::with_end, 0);
}

/// It is killed after more than so many transactions each time.
fn the_server_dies(test: &str, tape: impl Fn(u64) -> Tape, batches: u64) {
    let Some(server) = Server::start(test) else { return };
    let mut site = Site::at(&server.url, test);
    site.database.migrate().unwrap();
    let (records, model) = story(3, 20_000);
    let total = records.len() as u64;
    let tape = tape(1);
    let ledger = Ledger::start(site.database.clone(), small_batches(), tape.reader()).unwrap();
    let mut rng = Rng::with_seed(4);
    // A part of the story each time, so that there is always something under way when it happens.
    let mut rest = records.as_slice();
    for kills in 1..=5 {
        let (part, later) = rest.split_at(rest.len() / (7 - kills));
        rest = later;
        tape.append(part.iter().cloned());
        let begun = ledger.status().batches;
        until("it writes", || ledger.status().batches > begun + batches);
        thread::sleep(Duration::from_micros(rng.u64(..20_000)));
        server.kill();
        until("the ledger notices", || !ledger.status().connected);
        server.restart();
        ledger.wake();
    }
    tape.append(rest.iter().cloned());
    until("all is written", || {
        ledger.wake();
        ledger.status().position == Some(total)
    });
    let status = ledger.stop(PATIENCE);
    assert!(status.retries >= 5 && status.rejected == 0, "{status:?}");
    site.reconnect();
    assert_eq!(found(&mut site), model);
}

#[test]
fn trackers_come_and_go_and_two_run_at_once() {
    two_trackers("two", &Tape::new(9));
}

#[test]
fn trackers_come_and_go_far_behind() {
    two_trackers("two far behind", &Tape::with_end(9));
}

fn two_trackers(test: &str, tape: &Tape) {
    let Some(mut site) = Site::new(test) else { return };
    let (records, model) = story(5, 6_000);
    let total = records.len() as u64;
    tape.append(records);
    let stop = AtomicBool::new(false);
    let database = site.database.clone();
    thread::scope(|scope| {
        for seed in 0..2 {
            let (database, stop) = (&database, &stop);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed);
                let mut lives = 0;
                while !stop.load(Ordering::Relaxed) {
                    lives += 1;
                    let ledger =
                        Ledger::start(database.clone(), small_batches(), tape.reader()).unwrap();
                    // A machine that has much else to do gets there as well.
                    let (begun, life) = (Instant::now(), Duration::from_millis(20 * lives));
                    let batches = rng.u64(..12);
                    while ledger.status().batches < batches && begun.elapsed() < life {
                        thread::sleep(Duration::from_micros(rng.u64(..500)));
                    }
                    // Without any patience, it is left in the middle of what it does.
                    ledger.stop(Duration::ZERO);
                }
            });
        }
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut written = 0;
        while written < total && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
            written = site.number("SELECT coalesce(max(next), 0) FROM ledger") as u64;
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(written, total);
    });
    assert_eq!(found(&mut site), model);
    assert_eq!(site.number("SELECT count(*) FROM rejected"), 0);
}

/// A site that writes the same rows in another order may run into a deadlock with the ledger; who of the two
/// has to begin anew is up to the server.
#[test]
fn the_site_writes_the_same_rows() {
    let Some(mut site) = Site::new("same rows") else { return };
    let (records, model) = story(6, 6_000);
    let tape = Tape::new(1);
    tape.append(records);
    let ledger = Ledger::start(site.database.clone(), small_batches(), tape.reader()).unwrap();
    let (mut given, mut rng) = (0, Rng::with_seed(7));
    until("users are there", || site.number("SELECT count(*) FROM users") > 0);
    while ledger.status().caught_up == 0 {
        let (a, b) = (rng.u32(1..=USERS), rng.u32(1..=USERS));
        let update = |id| format!("UPDATE users SET uploaded = uploaded + 1 WHERE id = {id};");
        let both = format!("BEGIN; {} SELECT pg_sleep(0.001); {} COMMIT", update(a), update(b));
        match site.sql.batch_execute(&both) {
            Ok(()) => given += 2,
            Err(_) => site.sql.batch_execute("ROLLBACK").unwrap(),
        }
    }
    ledger.stop(PATIENCE);
    let sum: i64 = model.users.values().map(|user| user.0).sum();
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), sum + given);
}

/// A backup of the database is older than the journal: what it lacks is written again, if it is there.
#[test]
fn a_database_that_went_back_is_caught_up() {
    let Some(mut site) = Site::new("backup") else { return };
    let tape = Tape::new(4);
    tape.append([user(1), torrent(1)]);
    site.run(&tape);
    site.write("CREATE TABLE old_users AS TABLE users; CREATE TABLE old_ledger AS TABLE ledger");
    let ledger = Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
    tape.append([Record::Fact(Fact { credited_up: 5, ..fact(1, 1) })]);
    assert!(ledger.drain(PATIENCE));
    site.write(
        "BEGIN; DELETE FROM users; INSERT INTO users TABLE old_users; \
         UPDATE ledger SET next = old_ledger.next FROM old_ledger; COMMIT",
    );
    tape.append([Record::Fact(Fact { credited_up: 6, ..fact(1, 1) })]);
    assert!(ledger.drain(PATIENCE));
    let status = ledger.stop(PATIENCE);
    assert_eq!(site.number("SELECT uploaded FROM users"), 11);
    assert!(status.last_error.unwrap().contains("moved"));
}

/// A database that is ahead of the journal knows what the journal lost: it is not believed blindly.
#[test]
fn a_journal_that_went_back_is_noticed_and_another_one_begins_anew() {
    let Some(mut site) = Site::new("lost") else { return };
    let tape = Tape::new(4);
    tape.append([user(1), torrent(1), user(2)]);
    site.run(&tape);
    let shorter = Tape::new(4);
    shorter.append([user(1)]);
    let ledger = Ledger::start(site.database.clone(), quick(), shorter.reader()).unwrap();
    until("it is noticed", || ledger.status().last_error.is_some());
    let status = ledger.stop(Duration::ZERO);
    assert!(status.last_error.unwrap().contains("the journal ends at 1"));

    let other = Tape::new(5);
    other.append([Record::Fact(Fact { credited_up: 5, ..fact(1, 1) })]);
    site.run(&other);
    assert_eq!(site.number("SELECT uploaded FROM users WHERE id = 1"), 5);
    assert_eq!(site.number("SELECT count(*) FROM ledger"), 2);
}
