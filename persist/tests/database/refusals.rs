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

    assert_eq!(status.rejected, 5, "{status:?}");
    assert_eq!(status.position, Some(206));
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), 100 * 1000 + 4950);
    assert_eq!(site.number("SELECT count(*) FROM users"), 100);
    // The rest of those facts is written all the same.
    assert_eq!(site.number("SELECT count(*) FROM snatches"), 103);
    assert_eq!(
        site.text("SELECT position, part, sqlstate FROM rejected ORDER BY position"),
        "(101,change,23505); (102,change,22021); (203,credit,22003); (204,credit,22003); (205,credit,22003)"
    );
    assert_eq!(
        site.text("SELECT record #>> '{fact,credited_up}', record #> '{fact,user_id}' FROM rejected WHERE position = 203"),
        format!("({},7)", u64::MAX)
    );
    assert_eq!(site.text("SELECT record #>> '{user,passkey}' = passkey FROM rejected, users WHERE position = 101 AND users.id = 5"), "(t)");
    let errors = site.text("SELECT error FROM rejected");
    assert!(!errors.contains(passkey(5).reveal()), "{errors}");
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
    for (sqlstate, journal) in
        [("53100", 1), ("40P01", 2), ("40001", 3), ("57P01", 4), ("25006", 5)]
    {
        site.write(&format!(
            "CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'no room' USING ERRCODE = '{sqlstate}'; END $$; \
             CREATE TRIGGER no BEFORE INSERT ON snatches FOR EACH ROW EXECUTE FUNCTION no();"
        ));
        let tape = Tape::new(journal);
        tape.append([user(1), torrent(1)]);
        tape.append([Record::Fact(Fact { snatched: true, credited_up: 2, ..fact(1, 1) })]);
        let ledger = persist::Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
        until("it fails", || ledger.status().retries >= 2);
        assert!(ledger.status().last_error.unwrap().contains("no room"));
        assert_eq!(ledger.status().position, Some(0));
        site.write("DROP TRIGGER no ON snatches");
        assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
        assert_eq!(ledger.stop(PATIENCE).rejected, 0);
        assert_eq!(site.number("SELECT uploaded FROM users"), 2 * journal as i64);
    }
}
