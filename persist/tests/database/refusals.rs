//! What the database refuses is kept, and nothing else waits for it.

use persist::ledger::Record;
use shard::private::{Change, Fact, TorrentId, UserId};

use crate::site::{NOW, Site, fact, hash, passkey, said, torrent, user};

#[test]
fn one_bad_record_among_many() {
    let Some(mut site) = Site::new("refused") else { return };
    let mut records: Vec<Record> = (0..100).map(user).collect();
    records.push(torrent(1));
    // The passkey of somebody else.
    let (id, twice) = (UserId(500), passkey(5));
    records.push(said(Change::User {
        id,
        passkey: twice,
        can_leech: true,
        hidden: false,
        enabled: true,
        group: None,
    }));
    // A text that PostgreSQL cannot hold.
    records.push(said(Change::TorrentRemoved {
        id: TorrentId(2),
        info_hash: hash(2),
        reason: "a\0b".into(),
        at: NOW,
    }));
    for user in 0..100 {
        records.push(Record::Fact(Fact {
            credited_up: 1000 + u64::from(user),
            snatched: true,
            ..fact(user, 1)
        }));
    }
    // More than a bigint holds, alone and together with what is there.
    records.push(Record::Fact(Fact { credited_up: u64::MAX, snatched: true, ..fact(7, 1) }));
    records.push(Record::Fact(Fact { credited_down: 1 << 63, snatched: true, ..fact(8, 1) }));
    records.push(Record::Fact(Fact { credited_up: i64::MAX as u64, snatched: true, ..fact(9, 1) }));
    let status = site.apply(records);

    assert_eq!(status.rejected, 2, "{status:?}");
    assert_eq!(status.position, Some(206));
    // What no column holds stays at the largest number, and costs nobody else anything.
    let most = format!("(7,{0},0); (8,1008,{0}); (9,{0},0)", i64::MAX);
    assert_eq!(
        site.text("SELECT id, uploaded, downloaded FROM users WHERE id IN (7, 8, 9) ORDER BY 1"),
        most
    );
    let rest = "SELECT sum(uploaded)::bigint FROM users WHERE id NOT IN (7, 8, 9)";
    assert_eq!(site.number(rest), 97 * 1000 + 4950 - 24);
    assert_eq!(site.number("SELECT count(*) FROM users"), 100);
    // The rest of those facts is written all the same.
    assert_eq!(site.number("SELECT count(*) FROM snatches"), 103);
    assert_eq!(
        site.text("SELECT position, part, sqlstate FROM rejected ORDER BY position"),
        "(101,change,23505); (102,change,22021)"
    );
    assert_eq!(site.text("SELECT record #>> '{user,passkey}' = passkey FROM rejected, users WHERE position = 101 AND users.id = 5"), "(t)");
    let errors = site.text("SELECT error FROM rejected");
    assert!(!errors.contains(passkey(5).reveal()), "{errors}");
}

/// One user whose row takes no more is one row of what is refused, however often he announces, and is added up
/// there over batches.
#[test]
fn credit_that_is_refused_again_and_again_is_added_up() {
    let Some(mut site) = Site::new("refused credit") else { return };
    let mut records: Vec<Record> = (1..=50).map(user).collect();
    records.push(torrent(1));
    site.apply(records);
    site.write("ALTER TABLE users ADD CONSTRAINT enough CHECK (uploaded <= 1000)");
    let tape = crate::site::Tape::new(8);
    for batch in 0..2 {
        for _ in 0..394 {
            tape.append([Record::Fact(Fact { credited_up: 7, credited_down: 1, ..fact(9, 1) })]);
        }
        for id in 1..=50 {
            tape.append([Record::Fact(Fact { credited_up: 1, ..fact(id, 1) })]);
        }
        site.run(&tape);
        let others = "SELECT sum(uploaded)::bigint FROM users WHERE id <> 9";
        assert_eq!(site.number(others), 49 * (batch + 1));
    }
    assert_eq!(
        site.text("SELECT part, sqlstate, user_id, torrent_id, uploaded, downloaded FROM rejected"),
        format!("(credit,23514,9,,{},{})", 2 * (394 * 7 + 1), 2 * 394)
    );
    assert_eq!(site.text("SELECT record -> 'facts' FROM rejected"), "(395)");
    assert_eq!(site.number("SELECT announces FROM peers WHERE user_id = 9"), 1);
}

/// Parts that are no credit are kept some rows of, and counted.
#[test]
fn a_table_that_takes_nothing_does_not_flood_the_one_of_what_was_refused() {
    let Some(mut site) = Site::new("flood") else { return };
    site.apply(vec![user(1), torrent(1)]);
    site.write("ALTER TABLE snatches ADD CONSTRAINT none CHECK (user_id = 0)");
    let snatch = || Record::Fact(Fact { snatched: true, credited_up: 1, ..fact(1, 1) });
    let status = site.apply((0..1000).map(|_| snatch()).collect());
    assert_eq!(status.rejected, 1000);
    assert_eq!(site.number("SELECT uploaded FROM users"), 1000);
    assert_eq!(site.number("SELECT count(*) FROM rejected"), 257);
    assert_eq!(
        site.text("SELECT record FROM rejected ORDER BY id DESC LIMIT 1"),
        "(\"{\"\"more\"\": 744}\")"
    );
}

/// Renumbered users, an emptied table: credit of nobody known waits for the site with his number.
#[test]
fn credit_of_users_whom_nobody_knows_is_kept() {
    let Some(mut site) = Site::new("unknown") else { return };
    let tape = crate::site::Tape::new(8);
    tape.append((1..=4).map(user));
    tape.append([torrent(1)]);
    site.run(&tape);
    site.write("UPDATE users SET id = 40 WHERE id = 4; DELETE FROM users WHERE id = 3");
    for _ in 0..2 {
        for id in 1..=4 {
            let (credited_up, credited_down) = (100 * u64::from(id), 1);
            tape.append([Record::Fact(Fact { credited_up, credited_down, ..fact(id, 1) })]);
            // Without credit there is nothing to keep.
            tape.append([Record::Fact(fact(id, 1))]);
        }
        let status = site.run(&tape);
        assert_eq!(status.unknown_users, 2);
    }
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 2 * 300);
    assert_eq!(
        site.text(
            "SELECT part, sqlstate, error, user_id, uploaded, downloaded FROM rejected ORDER BY user_id"
        ),
        "(credit,02000,\"user 3 is not in users\",3,600,2); (credit,02000,\"user 4 is not in users\",4,800,2)"
    );
}

#[test]
fn a_trigger_of_the_site_stops_nothing_but_its_table() {
    let Some(mut site) = Site::new("trigger") else { return };
    site.write(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN IF NEW.user_id = 3 THEN RAISE 'not him'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER no BEFORE INSERT ON snatches FOR EACH ROW EXECUTE FUNCTION no();",
    );
    let mut records: Vec<Record> = (1..=4).map(user).collect();
    records.push(torrent(1));
    for user in 1..=4 {
        records.push(Record::Fact(Fact { credited_up: 1, snatched: true, ..fact(user, 1) }));
    }
    let status = site.apply(records);
    assert_eq!(status.rejected, 1);
    assert_eq!(site.text("SELECT part, error FROM rejected"), "(snatch,\"not him\")");
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 4);
    assert_eq!(site.text("SELECT user_id FROM snatches ORDER BY 1"), "(1); (2); (4)");
    assert_eq!(site.number("SELECT count(*) FROM peers"), 4);
}

/// A missing table or right is no property of a record: everything waits until it is there.
#[test]
fn what_every_record_meets_is_waited_for() {
    let Some(mut site) = Site::new("waits") else { return };
    use crate::site::{PATIENCE, Tape, quick, until};
    let tape = Tape::new(3);
    tape.append([user(1), torrent(1)]);
    let ledger = persist::Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
    assert!(ledger.drain(PATIENCE));
    site.write("ALTER TABLE snatches RENAME TO elsewhere");
    tape.append([Record::Fact(Fact { snatched: true, credited_up: 2, ..fact(1, 1) })]);
    until("it fails", || ledger.status().retries >= 2);
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 0);
    assert_eq!(ledger.status().position, Some(2));
    site.write("ALTER TABLE elsewhere RENAME TO snatches");
    assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
    let status = ledger.stop(PATIENCE);
    assert_eq!((status.rejected, status.position), (0, Some(3)));
    assert!(status.last_error.unwrap().contains("snatches"));
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 2);
    assert_eq!(site.number("SELECT count(*) FROM snatches"), 1);
}

/// A full disk, a deadlock, a server that shuts down: nothing of a record is to blame, and nothing of it is
/// put aside.
#[test]
fn what_passes_is_waited_for() {
    let Some(mut site) = Site::new("passes") else { return };
    use crate::site::{PATIENCE, Tape, quick, until};
    let tape = Tape::new(8);
    for (sqlstate, number) in [("53100", 1), ("40P01", 2), ("40001", 3), ("57P01", 4), ("25006", 5)]
    {
        site.write(&format!(
            "CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'no room' USING ERRCODE = '{sqlstate}'; END $$; \
             CREATE TRIGGER no BEFORE INSERT ON snatches FOR EACH ROW EXECUTE FUNCTION no();"
        ));
        tape.append([user(number), torrent(1)]);
        tape.append([Record::Fact(Fact { snatched: true, credited_up: 2, ..fact(number, 1) })]);
        let ledger = persist::Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
        until("it fails", || ledger.status().retries >= 2);
        assert!(ledger.status().last_error.unwrap().contains("no room"));
        assert_eq!(ledger.status().position, Some(3 * u64::from(number - 1)));
        site.write("DROP TRIGGER no ON snatches");
        assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
        assert_eq!(ledger.stop(PATIENCE).rejected, 0);
        assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 2 * i64::from(number));
    }
}
