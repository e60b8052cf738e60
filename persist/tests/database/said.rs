//! Who wins where SQL and the tracker say something of one row: the later one, column by column.

use crossbeam_channel::unbounded;
use persist::journal::{Columns, Said};
use persist::ledger::Record;
use persist::postgres::{Seen, Watch};
use shard::private::{Change, Freeleech, Stamp, UserId};

use crate::site::{PATIENCE, Site, Tape, hash, passkey, torrent, user};

/// By the clock of the database, so many milliseconds from now.
fn moment(site: &mut Site, millis: i64) -> Stamp {
    let now = site.number("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    Stamp { millis: (now + millis).cast_unsigned(), node: 0 }
}

fn of_user(id: u32, at: Stamp, columns: Columns, key: u32, rights: [bool; 3]) -> Record {
    let [can_leech, hidden, enabled] = rights;
    let (id, passkey, group) = (UserId(id), passkey(key), None);
    let change = Change::User { id, passkey, can_leech, hidden, enabled, group };
    Record::Said(Said { at, columns, change })
}

const USERS: &str =
    "SELECT id, right(passkey, 2), can_leech, hidden, enabled FROM users ORDER BY id";

#[test]
fn the_later_one_wins_column_by_column() {
    let Some(mut site) = Site::new("said") else { return };
    site.apply(vec![user(1), user(2), torrent(1)]);
    let before = moment(&mut site, -5000);
    site.write("UPDATE users SET enabled = false; UPDATE torrents SET upload_percent = 7");
    let after = moment(&mut site, 5000);

    // Whole rows, on their way since before the ban; and one column said after it.
    let all = Columns::ALL;
    let Change::Torrent { id, info_hash, .. } = (match torrent(1) {
        Record::Said(said) => said.change,
        _ => unreachable!(),
    }) else {
        unreachable!()
    };
    let freeleech = Freeleech::Free;
    let change =
        Change::Torrent { id, info_hash, info_hash_v2: None, freeleech, upload_percent: 300 };
    let status = site.apply(vec![
        of_user(1, before, all, 1, [false, true, true]),
        of_user(2, before, all, 2, [false, true, true]),
        of_user(2, after, Columns::ENABLED, 9, [true, false, true]),
        Record::Said(Said { at: before, columns: all, change }),
    ]);
    assert_eq!(status.rejected, 0);
    let users = site.text("SELECT id, can_leech, hidden, enabled FROM users ORDER BY id");
    assert_eq!(users, "(1,f,t,f); (2,f,t,t)");
    assert_eq!(site.text("SELECT freeleech, upload_percent FROM torrents"), "(free,7)");
    // The ledger itself leaves no trace of what it said.
    let traces =
        "SELECT count(*) FROM users WHERE said_at[1] IS NOT NULL OR said_at[2] IS NOT NULL";
    assert_eq!(site.number(traces), 0);
}

#[test]
fn words_about_one_user_in_one_batch_are_taken_together() {
    let Some(mut site) = Site::new("said_together") else { return };
    let at = moment(&mut site, 0);
    let makes = Columns::ALL;
    site.apply(vec![
        of_user(1, at, makes, 1, [true, false, true]),
        of_user(1, at, Columns::CAN_LEECH, 8, [false, true, false]),
        of_user(1, at, Columns::HIDDEN, 8, [true, true, false]),
        // Two exchange their passkeys by way of a third one.
        of_user(2, at, makes, 2, [true; 3]),
        of_user(3, at, makes, 3, [true; 3]),
        of_user(2, at, Columns::PASSKEY, 4, [false; 3]),
        of_user(3, at, Columns::PASSKEY, 2, [false; 3]),
        of_user(2, at, Columns::PASSKEY, 3, [false; 3]),
    ]);
    let expected = |keys: [u32; 3]| {
        let tail = |key: u32| passkey(key).reveal()[30..].to_owned();
        let [one, two, three] = keys.map(tail);
        format!("(1,{one},f,t,t); (2,{two},t,t,t); (3,{three},t,t,t)")
    };
    assert_eq!(site.text(USERS), expected([1, 3, 2]));
    // Once more, where all are there: one gets what another lets go.
    site.apply(vec![
        of_user(1, at, Columns::PASSKEY, 5, [false; 3]),
        of_user(2, at, Columns::PASSKEY, 1, [false; 3]),
        of_user(3, at, Columns::PASSKEY, 3, [false; 3]),
        of_user(4, at, makes, 2, [true; 3]),
    ]);
    assert_eq!(site.number("SELECT count(*) FROM users"), 4);
    site.write("DELETE FROM users WHERE id = 4");
    assert_eq!(site.text(USERS), expected([5, 1, 3]));
}

#[test]
fn what_is_said_of_a_row_that_is_gone_is_kept_and_makes_none() {
    let Some(mut site) = Site::new("said_late") else { return };
    let at = moment(&mut site, 0);
    site.apply(vec![user(1), torrent(1)]);
    site.write("DELETE FROM users; DELETE FROM torrents");
    let change = |info_hash| Change::Torrent {
        id: shard::private::TorrentId(1),
        info_hash,
        info_hash_v2: None,
        freeleech: Freeleech::Free,
        upload_percent: 100,
    };
    let of_torrent =
        |columns, info_hash| Record::Said(Said { at, columns, change: change(info_hash) });
    let tape = Tape::new(77);
    tape.append(vec![
        of_user(1, at, Columns::ENABLED, 1, [true; 3]),
        of_user(2, at, Columns::ALL, 2, [true; 3]),
        of_torrent(Columns::FREELEECH, hash(1)),
    ]);
    let status = site.run(&tape);
    assert_eq!(status.rejected, 2);
    let kept = "SELECT position, part, sqlstate FROM rejected ORDER BY position";
    assert_eq!(site.text(kept), "(0,change,02000); (2,change,02000)");
    assert_eq!(site.text("SELECT id FROM users"), "(2)");
    assert_eq!(site.number("SELECT count(*) FROM torrents"), 0);

    // A number that SQL has given to another torrent stays that one's, with its figures.
    site.apply(vec![of_torrent(Columns::ALL, hash(1))]);
    site.write("UPDATE torrents SET snatches = 5");
    let status = site.apply(vec![of_torrent(Columns::ALL, hash(2))]);
    assert_eq!(status.rejected, 1);
    let whose = format!("SELECT info_hash = '\\x{}', snatches FROM torrents", hash(1));
    assert_eq!(site.text(&whose), "(t,5)");
    // Another journal, of a build that said everything in whole, and not when.
    let old = Stamp::default();
    site.write("UPDATE users SET can_leech = false");
    site.apply(vec![of_user(2, old, Columns::ALL, 2, [true, true, false])]);
    assert_eq!(site.text("SELECT can_leech, hidden, enabled FROM users"), "(f,t,f)");
}

#[test]
fn a_row_that_is_heard_of_comes_with_when_sql_said_what() {
    let Some(mut site) = Site::new("said_heard") else { return };
    let (sender, receiver) = unbounded();
    let watch =
        Watch::start(site.database.clone(), move |heard| sender.send(heard).unwrap()).unwrap();
    let next = || receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next().seen, Seen::Reload);
    let tape = Tape::new(0x77);
    tape.append(vec![user(1), torrent(1)]);
    site.run(&tape);
    let before = moment(&mut site, 0).millis.cast_signed() * 1000;
    site.write("UPDATE users SET enabled = false, group_id = NULL, said_at[1] = 'infinity'");
    let heard = next();
    let [passkey, can_leech, hidden, enabled, group] = heard.said_at();
    assert_eq!((passkey, can_leech, hidden), (Some(i64::MAX), None, None));
    assert!(enabled >= Some(before) && group >= enabled, "{before} {enabled:?} {group:?}");
    assert_eq!((heard.moment.position(0x77), heard.moment.position(0x78)), (2, 0));
    site.write("UPDATE torrents SET upload_percent = 3");
    let [freeleech, upload_percent, ..] = next().said_at();
    assert!(freeleech.is_none() && upload_percent > enabled);
    watch.stop(PATIENCE);
}
