//! Far behind, many records are written as the few rows that come of them: the same rows, all or none.

use std::time::Duration;

use fastrand::Rng;
use persist::journal::{Columns, Said};
use persist::ledger::Record;
use persist::{Ledger, LedgerOptions, LedgerStatus};
use shard::private::{
    Change, Counters, Endpoints, Fact, Freeleech, Gone, GroupId, Names, PeerId, Stamp, Swarm,
    TorrentId, UserId,
};
use shard::{PeerState, Seconds};

use crate::site::{
    NOW, PATIENCE, Site, Tape, fact, hash, passkey, quick, token, torrent, until, user,
};

const USERS: u32 = 60;
const TORRENTS: u32 = 30;

/// Anything that a journal may have, in any order: also of users and torrents that are not there.
fn anything(seed: u64, length: u32) -> Vec<Record> {
    let mut rng = Rng::with_seed(seed);
    let mut records: Vec<Record> = (0..USERS).map(user).collect();
    records.extend((0..TORRENTS).map(torrent));
    records.extend((0..10).map(|id| token(id, id)));
    records.extend((0..length).map(|at| match rng.u32(..200) {
        0..=8 => change(&mut rng, at),
        9..=20 => {
            let fact = announce(&mut rng, at);
            let swarm = rng.bool().then_some(Swarm { snatches: 3, ..fact.swarm });
            let Fact { at, stamp, user, torrent, info_hash, peer_id, key, .. } = fact;
            let state = PeerState::Leecher;
            Gone { at, stamp, user, torrent, info_hash, peer_id, key, state, swarm }.into()
        }
        21 => Record::Tick(Stamp::at(NOW + Seconds(at))),
        _ => announce(&mut rng, at).into(),
    }));
    records
}

fn announce(rng: &mut Rng, at: u32) -> Fact {
    // One in thirty is of nobody, or of nothing.
    let mut fact = fact(rng.u32(..USERS + 2), rng.u32(..TORRENTS + 1));
    fact.peer_id = PeerId(*[b"-qB4520-abcdefghijkl", b"-TR4060-abcdefghijkl"][rng.usize(..2)]);
    fact.key = rng.u32(..2);
    let moved = |rng: &mut Rng| match rng.u8(..4) {
        0 => 0,
        _ => rng.u64(..1 << 40),
    };
    let counters = |rng: &mut Rng| Counters {
        uploaded: moved(rng),
        downloaded: moved(rng),
        corrupt: moved(rng) >> 20,
    };
    let v6 = rng.bool().then(|| "2001:db8::7".parse().unwrap());
    let v4 = (v6.is_none() || rng.bool()).then(|| [10, 0, 0, rng.u8(..)].into());
    Fact {
        at: NOW + Seconds(at),
        stamp: Stamp::at(NOW + Seconds(at)),
        endpoints: Endpoints::new(v4, v6, rng.u16(..)),
        hidden: rng.u8(..10) == 0,
        reported: counters(rng),
        said: None,
        left: [0, 1000, u64::MAX][rng.usize(..3)],
        active: rng.u8(..10) != 0,
        names: Names::FIRST,
        elapsed: rng.u32(..3) * 900,
        announces: at,
        moved: counters(rng),
        credited_up: if rng.u16(..2000) == 0 { u64::MAX } else { moved(rng) },
        credited_down: moved(rng),
        token_down: if rng.u8(..3) == 0 { moved(rng) } else { 0 },
        token_spent: rng.u8(..40) == 0,
        snatched: rng.u8(..20) == 0,
        swarm: Swarm {
            seeders: rng.u32(..3),
            leechers: rng.u32(..9),
            snatches: at,
            balance: rng.i64(..),
        },
        ..fact
    }
}

fn change(rng: &mut Rng, at: u32) -> Record {
    let (user, torrent) = (UserId(rng.u32(..USERS)), TorrentId(rng.u32(..TORRENTS)));
    let info_hash = hash(torrent.0);
    let change = match rng.u8(..9) {
        0..=2 => Change::User {
            id: user,
            passkey: passkey(user.0),
            can_leech: rng.bool(),
            hidden: rng.u8(..4) == 0,
            enabled: true,
            group: rng.bool().then_some(GroupId(1)),
        },
        3..=4 => Change::Torrent {
            id: torrent,
            info_hash,
            info_hash_v2: None,
            freeleech: Freeleech::Free,
            upload_percent: rng.u16(..300),
        },
        5 => {
            let (reason, at) = ("a reason".to_owned(), NOW + Seconds(at));
            Change::TorrentRemoved { id: torrent, info_hash, reason, at }
        }
        6 => Change::TokenRemoved { user, torrent, info_hash },
        7 => Change::Group { id: GroupId(1), name: format!("group {at}"), downloads_max: None },
        _ => Change::Token { user, torrent, info_hash, expires_at: Some(NOW + Seconds(at + 9999)) },
    };
    let columns = match rng.u8(..4) {
        0 => Columns::ALL,
        1 => Columns::HIDDEN.and(Columns::GROUP),
        _ => Columns::FREELEECH,
    };
    Record::Said(Said { at: Stamp::at(NOW + Seconds(at)), columns, change })
}

/// All that is in the tables, but for when it was put there, and how credit of nobody was divided.
fn everything(site: &mut Site) -> Vec<String> {
    [
        "SELECT id, passkey, can_leech, hidden, enabled, group_id, uploaded, downloaded FROM users ORDER BY 1",
        "SELECT * FROM torrents ORDER BY id",
        "SELECT user_id, torrent_id, downloaded, expires_at, spent_at FROM tokens ORDER BY 1, 2",
        "SELECT user_id, torrent_id, at, address FROM snatches ORDER BY 1, 2, 3, 4",
        "SELECT * FROM peers ORDER BY user_id, torrent_id, peer_id, key",
        // One that is spent twice, which cannot be, is told of once a transaction.
        "SELECT user_id, torrent_id, min(at) FROM spent_tokens GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT id, name FROM user_groups ORDER BY 1",
        "SELECT info_hash, torrent_id, reason, at FROM deletion_reasons ORDER BY 1",
        "SELECT part, sqlstate, error, user_id, uploaded, downloaded, position, record -> 'last' AS what \
         FROM rejected ORDER BY position, part",
        "SELECT next, life, written_until FROM ledger",
    ]
    .map(|query| site.text(query))
    .to_vec()
}

fn options() -> LedgerOptions {
    LedgerOptions { batch_max: 40, period: Duration::from_millis(1), spent_tokens: true, ..quick() }
}

fn run(site: &Site, tape: Tape, records: &[Record]) -> LedgerStatus {
    tape.append(records.iter().cloned());
    site.run_with(&tape, options())
}

#[test]
fn records_taken_together_leave_what_small_batches_leave() {
    for seed in 0..8 {
        let Some(mut one) = Site::new("one by one") else { return };
        let mut many = Site::new("together").unwrap();
        let records = anything(seed, 4000);
        let total = Some(records.len() as u64);
        let small = run(&one, Tape::new(1), &records);
        let large = run(&many, Tape::with_end(1), &records);
        assert_eq!((small.position, large.position), (total, total));
        assert!(small.batches > 100 && large.batches < small.batches / 2, "{large:?}");
        let told = |status: &LedgerStatus| (status.facts, status.gone, status.changes);
        assert_eq!(told(&small), told(&large));
        for (one, many) in everything(&mut one).iter().zip(everything(&mut many)) {
            assert_eq!(*one, many, "seed {seed}");
        }
    }
}

/// What it takes together is undone, and batches find out what it is that is refused.
#[test]
fn a_row_that_is_refused_costs_itself() {
    let Some(mut site) = Site::new("refused far behind") else { return };
    let mut records: Vec<Record> = (1..=50).map(user).collect();
    records.push(torrent(1));
    site.apply(records);
    site.write(
        "ALTER TABLE users ADD CONSTRAINT enough CHECK (uploaded <= 1000); \
         ALTER TABLE peers ADD CONSTRAINT not_he CHECK (user_id <> 8)",
    );
    let facts = (0..40 * 50).map(|at| Fact { credited_up: 10, ..fact(at % 50 + 1, 1) });
    let mut facts: Vec<Record> = facts.map(Record::from).collect();
    facts.push(Fact { credited_up: 999, ..fact(9, 1) }.into());
    let status = run(&site, Tape::with_end(2), &facts);
    assert_eq!(status.position, Some(2001));
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 400 * 50);
    assert_eq!(
        site.text("SELECT part, sqlstate, user_id, uploaded FROM rejected WHERE part = 'credit'"),
        "(credit,23514,9,999)"
    );
    assert_eq!(site.number("SELECT count(*) FROM peers"), 49);
    // Who is caught up takes together again what comes then. A journal after another one would be measured.
    site.write("ALTER TABLE peers DROP CONSTRAINT not_he; DELETE FROM ledger");
    let ledger = {
        let tape = Tape::with_end(3);
        let ledger = Ledger::start(site.database.clone(), options(), tape.reader()).unwrap();
        assert!(ledger.drain(PATIENCE));
        tape.append(facts.iter().take(1000).cloned());
        assert!(ledger.drain(PATIENCE));
        ledger.stop(PATIENCE)
    };
    assert!(ledger.batches < 10 && ledger.rejected == 0, "{ledger:?}");
    assert_eq!(site.number("SELECT count(*) FROM peers"), 50);
}

/// The connection ends in the middle of it, when nearly all rows are written: none of them is there.
#[test]
fn what_is_ended_in_the_middle_has_changed_nothing() {
    let Some(mut site) = Site::new("ended far behind") else { return };
    site.apply((1..=50).map(user).chain([torrent(1)]).collect());
    let tape = Tape::with_end(2);
    tape.append((0..2000).map(|at| Fact { credited_up: 10, ..fact(at % 50 + 1, 1) }.into()));
    // It comes to users after the rows of peers.
    site.write("BEGIN; LOCK TABLE users IN SHARE MODE");
    let ledger = Ledger::start(site.database.clone(), options(), tape.reader()).unwrap();
    let mut beside = site.beside();
    let mut number = |query| -> i64 { beside.query_one(query, &[]).unwrap().get(0) };
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = relation \
                 JOIN pg_namespace n ON n.oid = relnamespace \
                 WHERE nspname = current_schema() AND relname = 'users' AND NOT granted";
    until("it waits", || number(waits) == 1);
    assert_eq!(number("SELECT count(*) FROM peers"), 0);
    number(
        "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_class c ON c.oid = relation \
         JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE nspname = current_schema() AND relname = 'users' AND NOT granted",
    );
    until("it notices", || ledger.status().retries > 0);
    assert_eq!(ledger.status().facts, 0);
    let next = "SELECT coalesce(sum(next), 0)::bigint FROM ledger \
                WHERE journal = lpad('2', 16, '0')";
    assert_eq!(number("SELECT count(*) FROM peers") + number(next), 0);
    site.write("COMMIT");
    assert!(ledger.drain(PATIENCE));
    ledger.stop(PATIENCE);
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 2000 * 10);
    assert_eq!(site.number("SELECT count(*) FROM peers"), 50);
    assert_eq!(number(next), 2000);
}

/// Those who announce are added up: a hidden user's addresses are taken out behind what he announced before.
#[test]
fn who_becomes_hidden_is_hidden() {
    let Some(mut site) = Site::new("hidden far behind") else { return };
    site.apply(vec![user(1), user(2), torrent(1)]);
    let mut records: Vec<Record> = (0..400).map(|at| fact(at % 2 + 1, 1).into()).collect();
    let (id, passkey, hidden) = (UserId(1), passkey(1), true);
    let (can_leech, enabled, group) = (true, true, None);
    let change = Change::User { id, passkey, can_leech, hidden, enabled, group };
    records.push(Record::Said(Said { at: Stamp::at(NOW), columns: Columns::HIDDEN, change }));
    records.extend((0..400).map(|_| Record::from(fact(2, 1))));
    run(&site, Tape::with_end(2), &records);
    assert_eq!(
        site.text("SELECT user_id, port, address_v4 IS NULL FROM peers ORDER BY 1"),
        "(1,,t); (2,1111,f)"
    );
}
