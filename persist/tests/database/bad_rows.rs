//! Rows that nobody expected: each is loaded, or costs itself and nothing else.

use std::collections::HashSet;

use crossbeam_channel::unbounded;
use persist::postgres::{Loaded, Seen, SpentTokens, Stored, Watch};
use persist::{Database, DatabaseError};
use postgres::{Client, NoTls};
use shard::Seconds;
use shard::private::{Change, ClientPrefix, GroupId, TorrentId, UserId};

use crate::site::{NOW, PATIENCE, Site, hash, passkey};

fn load(database: &Database) -> (Loaded, Vec<Change>) {
    let mut all = Vec::new();
    let loaded = database.load(1, NOW, |Stored { change, .. }| all.push(change)).unwrap();
    (loaded, all)
}

/// Everything that the constraints let in is loaded.
#[test]
fn values_at_the_ends_of_what_is_allowed() {
    let Some(mut site) = Site::new("ends") else { return };
    let key = |number| passkey(number).reveal().to_owned();
    site.write(&format!(
        "INSERT INTO user_groups VALUES (0, ' ', 0), (32767, repeat('x', 255), 2147483647);
        INSERT INTO users (id, passkey, uploaded, downloaded, group_id) VALUES
            (0, '{}', 9223372036854775807, 0, 0), (4294967295, '{}', 0, 9223372036854775807, 32767);
        INSERT INTO torrents (id, info_hash, upload_percent, snatches, balance, seeders, last_active_at) VALUES
            (0, '\\x{}', 0, 4294967295, -9223372036854775808, 4294967295, 'infinity'),
            (4294967295, '\\x{}', 65535, 0, 9223372036854775807, 0, '-infinity'),
            (1, '\\x{}', 100, 0, 0, 0, '4713-01-01 BC');
        INSERT INTO tokens (user_id, torrent_id, expires_at, granted_at) VALUES
            (0, 0, 'infinity', '-infinity'), (0, 1, '294276-12-31', 'infinity'), (4294967295, 0, '-infinity', now()),
            (4294967295, 1, '4713-01-01 BC', now());
        INSERT INTO client_rules VALUES ('\\x00', true), ('\\x{}', false);
        INSERT INTO deletion_reasons VALUES
            ('\\x{}', 0, '', 'infinity'), ('\\x{}', 4294967295, 'old', '-infinity'),
            ('\\x{}', 7, E'\\u00e9\\U0001f600', '294276-12-31'), ('\\x{}', 8, 'old', '4713-01-01 BC');",
        key(1),
        key(2),
        hash(1),
        hash(2),
        hash(3),
        "ff".repeat(20),
        hash(4),
        hash(5),
        hash(6),
        hash(7),
    ));
    let (loaded, all) = load(&site.database);
    assert_eq!(loaded.set_aside.rows, 0);
    assert_eq!((loaded.users, loaded.torrents, loaded.groups), (2, 3, 2));
    assert_eq!((loaded.tokens, loaded.client_rules, loaded.deletion_reasons), (2, 2, 2));
    let ends = |wanted: u32| {
        all.iter().find_map(|change| match change {
            Change::Token { torrent: TorrentId(id), expires_at, .. } if *id == wanted => {
                Some(*expires_at)
            }
            _ => None,
        })
    };
    // What ends at infinity never does.
    assert_eq!(ends(0), Some(None));
    assert_eq!(ends(1), Some(Some(Seconds(u32::MAX))));
}

/// A site that has dropped constraints: what makes no sense is named, and the rest is loaded.
#[test]
fn each_row_that_makes_no_sense_costs_itself() {
    let Some(mut site) = Site::new("bad rows") else { return };
    let key = |number| passkey(number).reveal().to_owned();
    drop_constraints(&mut site);
    site.write(&format!(
        "INSERT INTO user_groups VALUES (-1, 'below', 1), (1, 'good', 1), (2, '', -5);
        INSERT INTO users (id, passkey) VALUES (-1, '{}'), (4294967296, '{}'), (1, '{}'), (2, 'short'),
            (3, '{}'), (4, '{}'), (5, NULL), (6, '{}');
        INSERT INTO users (id, passkey, group_id) VALUES (7, '{}', -1);
        INSERT INTO torrents (id, info_hash, freeleech, upload_percent, snatches) VALUES
            (1, '\\x{}', 'none', 100, 0), (2, '\\x{}', 'x', 100, 0), (3, '\\x00', 'none', 100, 0),
            (4, '\\x{}', 'none', 65536, 0), (5, '\\x{}', 'none', 100, -1), (-6, '\\x{}', 'none', 100, 0),
            (7, '\\x{}', 'none', 100, 0);
        INSERT INTO tokens (user_id, torrent_id) VALUES (1, 1), (-1, 1), (1, 3), (1, -6);
        INSERT INTO client_rules VALUES ('', true), ('-qB', true), ('\\x{}', false), ('-TR', NULL);
        INSERT INTO deletion_reasons VALUES ('\\x{}', -1, 'x', 'infinity'), ('\\x01', 1, 'x', 'infinity'),
            ('\\x{}', 1, 'good', 'infinity');",
        key(101),
        key(102),
        key(1),
        key(3),
        // The passkey of somebody else.
        key(3),
        key(6),
        key(7),
        hash(1),
        hash(2),
        hash(4),
        hash(5),
        hash(6),
        hash(1),
        "ff".repeat(21),
        hash(11),
        hash(12),
    ));
    let (loaded, all) = load(&site.database);
    let set_aside = &loaded.set_aside;
    let users = [2, 4, 5, 7].map(UserId);
    assert_eq!(set_aside.users, HashSet::from(users));
    assert_eq!(set_aside.torrents, HashSet::from([2, 3, 4, 5, 7].map(TorrentId)));
    assert_eq!(set_aside.tokens, HashSet::from([(UserId(1), TorrentId(3))]));
    assert_eq!(set_aside.groups, HashSet::from([GroupId(2)]));
    let prefix = |bytes: &[u8]| ClientPrefix::new(bytes).unwrap();
    assert_eq!(set_aside.client_rules, HashSet::from([prefix(b"-TR")]));
    // With those whose keys cannot be: 2 users, a torrent, 2 tokens, a group, 2 rules, 2 reasons.
    assert_eq!(set_aside.rows, 4 + 5 + 1 + 1 + 1 + 10);
    assert_eq!((loaded.users, loaded.torrents, loaded.groups), (3, 1, 1));
    assert_eq!((loaded.tokens, loaded.client_rules, loaded.deletion_reasons), (1, 1, 1));
    assert_eq!(all.len() as u64, 3 + 1 + 1 + 1 + 1 + 1);
    assert!(all.iter().any(|change| {
        matches!(change, Change::User { id: UserId(3), passkey: it, .. } if *it == passkey(3))
    }));
}

/// What changes is read again; a row that cannot be is not taken for one that is gone, and the next is heard.
#[test]
fn a_row_that_becomes_unreadable_is_left_alone() {
    let Some(mut site) = Site::new("becomes bad") else { return };
    let key = |number| passkey(number).reveal().to_owned();
    drop_constraints(&mut site);
    site.write(&format!(
        "INSERT INTO user_groups VALUES (1, 'a', 1);
        INSERT INTO users (id, passkey) VALUES (1, '{}'), (2, '{}'), (3, '{}');
        INSERT INTO torrents (id, info_hash) VALUES (1, '\\x{}'), (2, '\\x{}');
        INSERT INTO tokens (user_id, torrent_id) VALUES (1, 1);
        INSERT INTO client_rules VALUES ('-qB', true);",
        key(1),
        key(2),
        key(3),
        hash(1),
        hash(2),
    ));
    let (sender, seen) = unbounded();
    let watch =
        Watch::start(site.database.clone(), move |seen| sender.send(seen).unwrap()).unwrap();
    let next = || seen.recv_timeout(PATIENCE).unwrap().seen;
    assert_eq!(next(), Seen::Reload);
    for (worse, so_far) in [
        ("UPDATE users SET passkey = 'x' WHERE id = 1".to_owned(), 1),
        ("UPDATE users SET group_id = -1 WHERE id = 2".to_owned(), 2),
        (format!("UPDATE users SET passkey = '{}' WHERE id = 3", key(2)), 3),
        ("UPDATE torrents SET freeleech = 'x' WHERE id = 1".to_owned(), 4),
        ("UPDATE torrents SET info_hash = '\\x00' WHERE id = 2".to_owned(), 5),
        ("UPDATE user_groups SET downloads_max = -1".to_owned(), 7),
        ("UPDATE client_rules SET allow = NULL".to_owned(), 8),
        (format!("INSERT INTO users (id, passkey) VALUES (-1, '{}')", key(9)), 9),
    ] {
        site.write(&worse);
        site.write(&format!(
            "INSERT INTO users (id, passkey) VALUES (100, '{}') ON CONFLICT (id) DO UPDATE SET can_leech = NOT users.can_leech",
            key(100)
        ));
        let heard = next();
        let is_the_other = matches!(heard, Seen::Change(Change::User { id: UserId(100), .. }));
        assert!(is_the_other, "{worse}: {heard:?}");
        let status = watch.status();
        assert!(status.set_aside >= so_far, "{worse}: {status:?}");
    }
    // A ban is a ban, whatever else is wrong with the row.
    site.write("UPDATE users SET enabled = false WHERE id = 1");
    assert_eq!(next(), Seen::UserGone(UserId(1)));
    site.write(&format!("UPDATE users SET passkey = '{}', enabled = true WHERE id = 1", key(1)));
    assert!(matches!(next(), Seen::Change(Change::User { id: UserId(1), enabled: true, .. })));
    assert_eq!(watch.status().reloads, 1);
    watch.stop(PATIENCE);
}

/// Texts of a database that is in another encoding.
#[test]
fn text_in_other_encodings() {
    let Some(site) = Site::empty("encodings") else { return };
    for encoding in ["SQL_ASCII", "LATIN1", "WIN1252"] {
        let name = format!("margay_{}_{}", encoding.to_lowercase(), std::process::id());
        let mut admin = Client::connect(&site.url, NoTls).unwrap();
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
        admin
            .batch_execute(&format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            ))
            .unwrap();
        let url = site.url.replace("/postgres", &format!("/{name}"));
        {
            let database = Database::new(&url, None, "margay").unwrap();
            database.migrate().unwrap();
            in_another_encoding(&database, &url, encoding);
        }
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    }
}

fn in_another_encoding(database: &Database, url: &str, encoding: &str) {
    let mut sql = Client::connect(url, NoTls).unwrap();
    sql.batch_execute(&format!(
        "SET search_path TO margay;
        INSERT INTO users (id, passkey) VALUES (1, '{}');
        INSERT INTO torrents (id, info_hash) VALUES (1, '\\x{}');
        INSERT INTO user_groups VALUES (1, E'\\xe9t\\xe9', 1);
        INSERT INTO deletion_reasons VALUES ('\\x{}', 3, E'dupl\\xe9', 'infinity'), ('\\x{}', 4, 'plain', 'infinity');",
        passkey(1).reveal(),
        hash(1),
        hash(3),
        hash(4),
    ))
    .unwrap();
    let reasons = || {
        let (loaded, all) = load(database);
        assert_eq!(loaded.set_aside.rows, 0, "{encoding}");
        assert_eq!((loaded.users, loaded.torrents, loaded.groups), (1, 1, 1), "{encoding}");
        let reason = |change| match change {
            Change::TorrentRemoved { reason, .. } => Some(reason),
            _ => None,
        };
        let mut reasons: Vec<String> = all.into_iter().filter_map(reason).collect();
        reasons.sort();
        reasons
    };
    let converted = if encoding == "SQL_ASCII" { "dupl\u{fffd}" } else { "dupl\u{e9}" };
    assert_eq!(reasons(), [converted, "plain"], "{encoding}");
    if encoding == "WIN1252" {
        // Means nothing in that encoding, and PostgreSQL keeps it.
        sql.batch_execute("UPDATE deletion_reasons SET reason = E'odd\\x81' WHERE torrent_id = 4")
            .unwrap();
        assert_eq!(reasons(), ["dupl\u{fffd}", "odd\u{fffd}"]);
    }
    let (sender, seen) = unbounded();
    let watch = Watch::start(database.clone(), move |seen| sender.send(seen).unwrap()).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().seen, Seen::Reload);
    sql.batch_execute("UPDATE user_groups SET downloads_max = 9").unwrap();
    let heard = seen.recv_timeout(PATIENCE).unwrap().seen;
    let is_it = matches!(heard, Seen::Change(Change::Group { downloads_max: Some(9), .. }));
    assert!(is_it, "{encoding}: {heard:?}");
    // A passkey that is none costs its user.
    sql.batch_execute(
        "ALTER TABLE users DROP CONSTRAINT users_passkey_check; \
         INSERT INTO users (id, passkey) VALUES (2, repeat(E'\\xe9', 32))",
    )
    .unwrap();
    let (loaded, _) = load(database);
    assert_eq!(loaded.set_aside.users, HashSet::from([UserId(2)]), "{encoding}");
    watch.stop(PATIENCE);
}

#[test]
fn tokens_of_nobody_do_not_keep_the_site_from_hearing_of_others() {
    let Some(mut site) = Site::new("spent by nobody") else { return };
    let spent = |user: &str| {
        format!("INSERT INTO spent_tokens (user_id, torrent_id, at) VALUES ({user}, 1, 'infinity')")
    };
    site.write(&spent("-1"));
    site.write(&spent("4294967296"));
    site.write(&spent("7"));
    let mut tokens = SpentTokens::connect(&site.database).unwrap().unwrap();
    let untold = tokens.untold(1).unwrap();
    assert_eq!(untold.iter().map(|token| token.user).collect::<Vec<_>>(), [UserId(7)]);
    assert_eq!(tokens.waiting().unwrap(), 1);
    tokens.told(&untold).unwrap();
    assert!(tokens.untold(9).unwrap().is_empty());
}

/// A position that cannot be is no position: nothing is skipped because of it.
#[test]
fn a_position_that_cannot_be_is_an_error() {
    let Some(mut site) = Site::new("odd position") else { return };
    site.write(
        "ALTER TABLE ledger DROP CONSTRAINT ledger_next_check; \
         INSERT INTO ledger VALUES ('0000000000000001', 'node', -1)",
    );
    for error in
        [site.database.position(1).unwrap_err(), site.database.load(1, NOW, drop).unwrap_err()]
    {
        assert!(matches!(error, DatabaseError::Row { table: "ledger", .. }), "{error}");
        assert!(error.lasts());
    }
}

/// All of them but the primary keys, which become plain.
fn drop_constraints(site: &mut Site) {
    let constraints = site.text(
        "SELECT format('ALTER TABLE %I DROP CONSTRAINT %I CASCADE', relname, conname) FROM pg_constraint \
         JOIN pg_class c ON c.oid = conrelid WHERE connamespace = (SELECT oid FROM pg_namespace WHERE nspname = \
         current_schema()) AND contype IN ('c', 'f', 'u')",
    );
    for statement in constraints.split("; ") {
        site.write(&statement.trim_matches(['(', ')', '"']).replace("\"\"", "\""));
    }
    site.write(
        "ALTER TABLE users ALTER COLUMN passkey DROP NOT NULL; \
         ALTER TABLE client_rules ALTER COLUMN allow DROP NOT NULL",
    );
}
