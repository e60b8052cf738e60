//! The passkeys that users had before: written, told, loaded, and gone when they are over.

use crossbeam_channel::unbounded;
use persist::Ledger;
use persist::ledger::Record;
use persist::postgres::{Seen, Watch};
use shard::Seconds;
use shard::private::{Change, UserId};

use crate::site::{NOW, PATIENCE, Site, Tape, passkey, quick, said, until, user};

/// A user has this passkey, and the one before until then.
fn rotated(id: u32, new: u32, old: u32, good_until: Seconds) -> [Record; 2] {
    [with(id, new), former(id, old, good_until)]
}

fn with(id: u32, new: u32) -> Record {
    let (id, passkey) = (UserId(id), passkey(new));
    let (can_leech, hidden, enabled, group) = (true, false, true, None);
    said(Change::User { id, passkey, can_leech, hidden, enabled, group })
}

fn former(id: u32, old: u32, good_until: Seconds) -> Record {
    said(Change::Former { user: UserId(id), passkey: passkey(old), good_until })
}

fn removed(id: u32) -> Record {
    said(Change::FormerRemoved { user: UserId(id) })
}

const ROWS: &str = "SELECT user_id, ltrim(passkey, '0'), extract(epoch FROM good_until)::bigint \
                    FROM former_passkeys ORDER BY 1";

#[test]
fn a_user_has_one_former_passkey_and_the_last_word_counts() {
    let Some(mut site) = Site::new("formers") else { return };
    // Of users who are made in the same batch, in turn.
    let records = [rotated(1, 11, 1, NOW), rotated(2, 12, 2, NOW + Seconds(5))].concat();
    site.apply([vec![user(1), user(2)], records].concat());
    let until = |more| u64::from(NOW.0) + more;
    assert_eq!(site.text(ROWS), format!("(1,1,{}); (2,2,{})", until(0), until(5)));
    site.apply(rotated(1, 21, 11, NOW + Seconds(9)).to_vec());
    assert_eq!(site.text(ROWS), format!("(1,11,{}); (2,2,{})", until(9), until(5)));
    site.apply(vec![former(1, 11, NOW), with(2, 2), removed(2)]);
    assert_eq!(site.text(ROWS), format!("(1,11,{})", until(0)));
    // One that is over may be another's by now.
    site.apply([vec![user(3)], rotated(3, 13, 11, NOW + Seconds(1)).to_vec()].concat());
    assert_eq!(site.text(ROWS), format!("(3,11,{})", until(1)));
    // Whoever is gone has none, and what is said of him comes too late.
    site.write("DELETE FROM users WHERE id = 3");
    assert_eq!(site.text(ROWS), "");
    site.apply(vec![former(3, 11, NOW)]);
    let late = "SELECT record -> 'former_passkey' ->> 'user_id' FROM rejected";
    assert_eq!((site.text(ROWS).as_str(), site.text(late).as_str()), ("", "(3)"));
}

#[test]
fn what_sql_says_of_former_passkeys_is_told() {
    let Some(mut site) = Site::new("former notices") else { return };
    site.apply(vec![user(1), user(2)]);
    let (sender, seen) = unbounded();
    let watch =
        Watch::start(site.database.clone(), move |heard| sender.send(heard.seen).unwrap()).unwrap();
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), Seen::Reload);
    let is = |old, good_until| {
        let (user, passkey) = (UserId(1), passkey(old));
        Seen::Change(Change::Former { user, passkey, good_until })
    };
    let none = |user| Seen::Change(Change::FormerRemoved { user: UserId(user) });
    let key = |number| passkey(number).reveal().to_owned();
    let far = Seconds(4_000_000_000);
    let insert = |old: &str| {
        format!("INSERT INTO former_passkeys VALUES (1, '{old}', to_timestamp({}))", far.0)
    };
    // In one transaction, as a site does it: the one that it keeps stays.
    site.write(&format!(
        "BEGIN; {}; UPDATE users SET passkey = '{}' WHERE id = 1; COMMIT",
        insert(&key(1)),
        key(11),
    ));
    assert!(matches!(next(), Seen::Change(Change::User { .. })));
    assert_eq!(next(), is(1, far));
    site.write("UPDATE former_passkeys SET good_until = good_until + interval '0.5 s'");
    assert_eq!(next(), is(1, far + Seconds(1)));
    // What is over is as if it were not there.
    site.write("UPDATE former_passkeys SET good_until = now() - interval '1 s'");
    assert_eq!(next(), none(1));
    site.write("UPDATE former_passkeys SET good_until = 'infinity'");
    assert_eq!(next(), is(1, Seconds(u32::MAX)));
    // Another passkey ends the one before the last.
    site.write(&format!("UPDATE users SET passkey = '{}' WHERE id = 1", key(21)));
    assert!(matches!(next(), Seen::Change(Change::User { .. })));
    assert_eq!(next(), none(1));
    assert_eq!(site.text(ROWS), "");
    // It goes with its user, and follows him to another number.
    site.write(&insert(&key(1)));
    assert_eq!(next(), is(1, far));
    site.write("UPDATE users SET id = 9 WHERE id = 1");
    let mut told = [next(), next(), next(), next()].map(|seen| format!("{seen:?}"));
    told.sort();
    assert!(told[0].contains("Former { user: UserId(9)"), "{told:?}");
    assert!(told[1].contains("FormerRemoved { user: UserId(1)"), "{told:?}");
    site.write("DELETE FROM users WHERE id = 9");
    let told = [next(), next()];
    assert!(told.contains(&none(9)) && told.contains(&Seen::UserGone(UserId(9))), "{told:?}");
    // The tracker's own are silent.
    site.apply(rotated(2, 12, 2, far).to_vec());
    site.write("TRUNCATE former_passkeys");
    assert_eq!(next(), Seen::Reload);
    assert!(seen.is_empty());
    watch.stop(PATIENCE);
}

#[test]
fn rows_that_are_over_are_removed() {
    let Some(mut site) = Site::new("formers over") else { return };
    site.apply(vec![user(1), user(2), user(3)]);
    let key = |number| passkey(number).reveal().to_owned();
    site.write(&format!(
        "INSERT INTO former_passkeys VALUES (1, '{}', now() - interval '1 s'),
            (2, '{}', now() + interval '1 hour'), (3, '{}', '-infinity')",
        key(11),
        key(12),
        key(13),
    ));
    // Also where peers are not written.
    let options = persist::LedgerOptions { peers: false, ..quick() };
    let ledger = Ledger::start(site.database.clone(), options, Tape::new(2).reader()).unwrap();
    until("they are removed", || site.text("SELECT user_id FROM former_passkeys") == "(2)");
    ledger.stop(PATIENCE);
}

/// A site that has dropped constraints.
#[test]
fn a_former_passkey_that_is_none_is_set_aside() {
    let Some(mut site) = Site::new("bad formers") else { return };
    site.apply(vec![user(1), user(2)]);
    let key = passkey(12).reveal().to_owned();
    site.write(&format!(
        "ALTER TABLE former_passkeys DROP CONSTRAINT former_passkeys_passkey_check;
        INSERT INTO former_passkeys VALUES (1, 'short', 'infinity'), (2, '{key}', 'infinity')"
    ));
    let mut formers = Vec::new();
    let loaded = site.database.load(1, NOW, |stored| {
        if let Change::Former { user, .. } = stored.change {
            formers.push(user);
        }
    });
    let loaded = loaded.unwrap();
    assert_eq!((formers, loaded.former_passkeys), (vec![UserId(2)], 1));
    assert_eq!(loaded.set_aside.formers.into_iter().collect::<Vec<_>>(), [UserId(1)]);
}
